// The live page of a drive in a real browser: it shows a load, cuts and restores power, steps through the crash report, refuses a wrong
// token, fetches nothing from elsewhere, and has no finding of axe-core, in light and in dark; nor has a campaign's report. `make browser`
// runs it.
//
// usage: node live.mjs BROWNOUT CHROMIUM [FOLDER]      pictures go to FOLDER

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import puppeteer from "puppeteer-core";

const [program, chromium, pictures] = process.argv.slice(2);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "brownout-browser-"));
const axe = fs.readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const children = [];

function start(words) {
  const child = spawn(program, words, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  children.push(child);
  child.said = "";
  child.stderr.on("data", (bytes) => (child.said += bytes));
  return child;
}

async function until(what, ask, seconds = 60) {
  for (let looks = 0; looks < seconds * 10; looks++) {
    const found = await ask();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`not within ${seconds} s: ${what}`);
}

// Writes and reads all over the drive, in the format of the Storage Performance Council: unit, block, bytes, operation, seconds.
function trace(name, commands) {
  let place = 1;
  const lines = Array.from({ length: commands }, (_, at) => {
    place = (place * 48271) % 2147483647;
    return `0,${(place % 30000) * 8},4096,${place % 3 === 0 ? "r" : "w"},${(at / 1000).toFixed(6)}`;
  });
  fs.writeFileSync(path.join(folder, name), `${lines.join("\n")}\n`);
  return name;
}

const replay = (name, ...more) =>
  start(["trace", "replay", name, "--format", "spc", "--socket", "nvme.sock", "--depth", "32", "--wrap", ...more]);
const text = (page, id) => page.$eval(`#${id}`, (it) => it.textContent);

async function look(page, name) {
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    // Drawn again by the next look, in the colours of the scheme.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    if (pictures) await page.screenshot({ path: path.join(pictures, `${name}-${scheme}.png`), fullPage: true });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const told = violations.map((it) => `${it.impact}: ${it.id}: ${it.nodes.map((node) => node.html).join(" ")}`);
    assert.deepEqual(told, [], `${name}, ${scheme}`);
  }
}

async function run(browser) {
  const drive = start(
    ["serve", "--socket", "nvme.sock", "--http", "127.0.0.1:0", "--media", "cache_age=none", "--namespace", "size=128MiB,lba=4KiB"],
  );
  const address = await until("the drive says where its page is", () => drive.said.match(/http:\/\/\S+\/#\w+/)?.[0]);
  const page = await browser.newPage();
  await page.setViewport({ width: 1200, height: 900 });
  // What a test puts into the page itself is none of the page's.
  await page.setBypassCSP(true);
  const [wrong, hosts] = [[], new Set()];
  page.on("pageerror", (error) => wrong.push(error.message));
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
  await page.goto(address);
  await until("the page shows that power is on", async () => (await text(page, "state")).includes("power on"));
  assert.equal(new URL(page.url()).hash, "", "the token does not stay in the address");
  assert.ok((await text(page, "crash")).includes("There was none"));

  const load = replay(trace("load.spc", 60000), "--speed", "1x");
  const writes = async () => Number((await text(page, "now")).match(/Writes a second([\d,]+)/)[1].replaceAll(",", ""));
  await until("writes are shown", async () => (await writes()) > 50);
  await new Promise((resolve) => setTimeout(resolve, 6000));
  await look(page, "load");
  await until("something is volatile", async () => /[1-9]/.test((await text(page, "volatile")).split(" units")[0]));
  assert.match(await text(page, "queues"), /Submission queues/);

  await page.click("#cut");
  await until("power is off", async () => (await text(page, "state")).includes("power off"));
  const steps = () => text(page, "step");
  await until("the report is there", async () => /^1 of \d+$/.test(await steps()));
  const changes = Number((await steps()).split(" of ")[1]);
  if (changes > 1) {
    await page.click("#next");
    assert.equal(await steps(), `2 of ${changes}`);
    await page.click("#previous");
  }
  assert.match(await text(page, "change"), /namespace1/);
  assert.match(await text(page, "events"), /POWER_CUT/);
  await look(page, "cut");
  const metrics = await (await fetch(new URL("/metrics", address))).text();
  assert.match(metrics, /^brownout_power_on 0$/m);
  load.kill("SIGKILL");

  await page.click("#restore");
  await until("power is back", async () => (await text(page, "state")).includes("power on"));
  await page.$eval("#token", (it) => (it.value = "guessed"));
  await page.click("#cut");
  await until("a wrong token is refused", async () => (await text(page, "ordered")).startsWith("Refused"));
  assert.ok((await text(page, "state")).includes("power on"));

  drive.kill("SIGTERM");
  await until("the page says that the drive is gone", async () => (await text(page, "state")).includes("no answer"));
  assert.deepEqual(wrong, []);
  assert.deepEqual([...hosts], [new URL(address).host], "nothing comes from elsewhere");
}

// The page of a campaign that found something, as a file: the same look.
async function report(browser) {
  const words = ["crash", "--in-process", "--cuts", "2000", "--seed", "1", "--misbehave", "ignored-flush", "--html", "report.html"];
  const campaign = start(words);
  const code = await new Promise((resolve) => campaign.on("exit", resolve));
  assert.equal(code, 1, "a drive that ignores flushes is found out");
  const page = await browser.newPage();
  await page.setViewport({ width: 1200, height: 900 });
  await page.setBypassCSP(true);
  const fetched = [];
  page.on("request", (request) => fetched.push(request.url()));
  await page.goto(`file://${folder}/report.html`);
  assert.match(await page.$eval("body", (it) => it.textContent), /ignored-flush/);
  await look(page, "report");
  assert.deepEqual(fetched.filter((url) => !url.startsWith("data:")).length, 1, "it stands by itself");
}

const browser = await puppeteer.launch({ executablePath: chromium, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
try {
  await run(browser);
  await report(browser);
  console.log("the live page and a campaign's report do what they should");
} finally {
  await browser.close();
  children.forEach((child) => child.kill("SIGKILL"));
  fs.rmSync(folder, { recursive: true });
}
