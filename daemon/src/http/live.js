// The live page: asks for the state once a second and shows it. All text goes in as text, never as markup.
"use strict";

const SECONDS = 120;
const CELL = 18;
const STATES = [
  ["F", "free", "erased", "idle"],
  ["O", "open", "a stream writes it", "link"],
  ["C", "closed", "full", "good"],
  ["V", "victim", "being collected", "remark"],
  ["D", "drained", "empty, and needed after a power loss", "quiet"],
  ["R", "retired", "out of use", "bad"],
];

const byId = (id) => document.getElementById(id);
const history = [];
let last = null;
let crash = { key: "", changes: [], at: 0 };

function element(name, text, ...classes) {
  const made = document.createElement(name);
  made.textContent = text ?? "";
  made.classList.add(...classes);
  return made;
}

function badge(mark, word) {
  const shapes = { good: "\u2713", remark: "!", bad: "\u2717", idle: "\u2013" };
  const made = element("span", "", "badge", mark);
  const shape = element("span", shapes[mark]);
  shape.setAttribute("aria-hidden", "true");
  made.append(shape, ` ${word}`);
  return made;
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

// A table whose rows begin with a head; what is no text is an element.
function table(place, caption, columns, rows) {
  const made = element("table");
  const head = element("tr");
  columns.forEach((column, place) => {
    const numbers = typeof rows[0]?.[place] === "number" ? ["number"] : [];
    head.append(Object.assign(element("th", column, ...numbers), { scope: "col" }));
  });
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    row.forEach((cell, place) => {
      const made = element(place === 0 ? "th" : "td", typeof cell === "object" ? "" : cell);
      if (place === 0) made.scope = "row";
      if (typeof cell === "number") made.className = "number";
      if (typeof cell === "object") made.append(cell);
      line.append(made);
    });
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  made.append(element("caption", caption), top, body);
  // Whoever reads at the moment keeps the place.
  if (place.textContent !== made.textContent) place.replaceChildren(made);
}

const count = (number) => new Intl.NumberFormat("en").format(Math.round(number));

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; number >= 1024 && unit < units.length - 1; unit++) number /= 1024;
  return `${number.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}

function time(nanoseconds) {
  if (nanoseconds < 1e3) return `${Math.round(nanoseconds)} ns`;
  if (nanoseconds < 1e6) return `${(nanoseconds / 1e3).toFixed(1)} \u00b5s`;
  return nanoseconds < 1e9 ? `${(nanoseconds / 1e6).toFixed(1)} ms` : `${(nanoseconds / 1e9).toFixed(1)} s`;
}

// What of a state is counted up.
function counters(state) {
  const commands = state["query-counters"]?.commands ?? [];
  const of = (opcode) => commands.filter((it) => !it.admin && it.opcode === opcode).reduce((sum, it) => sum + it.count, 0);
  const media = state["query-media"];
  const times = state["query-counters"]?.["service-times"];
  const ledger = media?.ledger;
  return {
    at: performance.now(),
    reads: of(2),
    writes: of(1),
    all: commands.filter((it) => !it.admin).reduce((sum, it) => sum + it.count, 0),
    readBytes: media?.counters["host-read-bytes"] ?? 0,
    writeBytes: media?.counters["host-write-bytes"] ?? 0,
    programmed: ledger ? ledger.programs - ledger.metadata : 0,
    host: ledger?.host ?? 0,
    buckets: times?.buckets ?? [],
    sum: times?.["sum-ns"] ?? 0,
  };
}

// The rates between two states.
function rates(before, now) {
  const seconds = Math.max((now.at - before.at) / 1000, 0.001);
  const grown = (name) => Math.max(now[name] - before[name], 0);
  const buckets = now.buckets.map((it, place) => it.count - (before.buckets[place]?.count ?? 0));
  const commands = buckets.reduce((sum, it) => sum + it, 0);
  let passed = 0;
  const slow = now.buckets.find((_, place) => (passed += buckets[place]) >= commands * 0.99);
  return {
    reads: grown("reads") / seconds,
    writes: grown("writes") / seconds,
    others: Math.max(grown("all") - grown("reads") - grown("writes"), 0) / seconds,
    readBytes: grown("readBytes") / seconds,
    writeBytes: grown("writeBytes") / seconds,
    mean: commands > 0 ? grown("sum") / commands : 0,
    slow: commands > 0 ? slow?.["most-ns"] ?? 0 : 0,
    waf: grown("host") > 0 ? grown("programmed") / grown("host") : 0,
  };
}

function chart(id, series, shown) {
  const most = Math.max(...series.flat(), 0);
  const drawing = byId(id);
  const paths = series.map((values, place) => {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const points = values.map((value, at) => {
      const x = SECONDS - values.length + at + 1;
      return `${x} ${(39 - (most > 0 ? value / most : 0) * 38).toFixed(2)}`;
    });
    path.setAttribute("d", points.length > 0 ? `M${points.join("L")}` : "");
    path.setAttribute("class", place === 0 ? "line" : "line dashed");
    return path;
  });
  drawing.replaceChildren(...paths);
  byId(`${id}-most`).textContent = shown(most);
}

function field(lines) {
  const canvas = byId("field");
  const columns = Math.max(Math.floor((canvas.parentElement.clientWidth - 2) / CELL), 1);
  const rows = Math.ceil(lines.states.length / columns);
  const scale = window.devicePixelRatio || 1;
  canvas.width = columns * CELL * scale;
  canvas.height = rows * CELL * scale;
  canvas.style.width = `${columns * CELL}px`;
  canvas.style.height = `${rows * CELL}px`;
  const drawing = canvas.getContext("2d");
  drawing.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const colours = Object.fromEntries(STATES.map(([letter, , , name]) => [letter, colour(name)]));
  drawing.font = "11px ui-monospace, monospace";
  drawing.textAlign = "center";
  drawing.textBaseline = "middle";
  [...lines.states].forEach((letter, place) => {
    const x = (place % columns) * CELL;
    const y = Math.floor(place / columns) * CELL;
    const inner = CELL - 2;
    drawing.strokeStyle = colours[letter];
    drawing.strokeRect(x + 0.5, y + 0.5, inner, inner);
    const full = (inner * lines["valid-percent"][place]) / 100;
    drawing.globalAlpha = 0.35;
    drawing.fillStyle = colours[letter];
    drawing.fillRect(x + 0.5, y + 0.5 + inner - full, inner, full);
    drawing.globalAlpha = 1;
    drawing.fillStyle = colour("text");
    drawing.fillText(letter, x + CELL / 2 - 0.5, y + CELL / 2);
  });
}

function showLines(lines) {
  const valid = (letter) => {
    const shares = [...lines.states].map((it, place) => (it === letter ? lines["valid-percent"][place] : null)).filter((it) => it !== null);
    return shares.length > 0 ? Math.round(shares.reduce((sum, it) => sum + it, 0) / shares.length) : 0;
  };
  const rows = STATES.map(([letter, name, meaning]) => [letter, name, meaning, lines[name], valid(letter)]);
  table(byId("lines"), "Lines by state", ["Letter", "State", "Meaning", "Lines", "Valid units, percent"], rows);
  const each = lines["lines-per-cell"];
  const what = each === 1 ? "A cell for each line" : `A cell for each ${each} lines, by the state of most`;
  byId("cells").textContent = `${what}: the letter is its state, and it is filled as far as its units are valid.`;
  field(lines);
}

function showQueues(state) {
  const queues = state["query-queues"] ?? { submission: [], completion: [] };
  const completion = new Map(queues.completion.map((it) => [it.id, it]));
  const rows = queues.submission.map((it) => {
    const of = completion.get(it["completion-queue"]);
    const depth = (it.tail + it.entries - it.head) % it.entries;
    return [String(it.id), it.entries, depth, of?.reserved ?? 0, String(it["completion-queue"]), String(of?.vector ?? "none")];
  });
  table(byId("queues"), "Submission queues", ["Queue", "Entries", "Waiting", "Under way", "Completion queue", "Vector"], rows);
}

function showViolations(violations) {
  const marks = { must: "bad", should: "remark", performance: "idle" };
  const rows = (violations ?? []).map((it) => [it.rule, it.slug, badge(marks[it.severity] ?? "idle", it.severity), it.count, it.detail]);
  const caption = violations === null ? "Nobody judges the host: checks=off" : `${rows.length} by rule and life of the controller`;
  table(byId("violations"), caption, ["Rule", "Name", "How bad", "Times", "What happened first"], rows);
}

function showEvents(events) {
  const rows = events.map((it) => {
    const at = new Date(it.timestamp.seconds * 1000 + it.timestamp.microseconds / 1000);
    return [at.toISOString().slice(11, 23), it.event, JSON.stringify(it.data)];
  });
  table(byId("events"), "Newest first", ["Time (UTC)", "Event", "Data"], rows);
}

function showCrash(report) {
  const key = JSON.stringify(report);
  if (key === crash.key) return;
  crash = { key, changes: report?.["not-durable"] ?? [], at: 0 };
  byId("steps").hidden = crash.changes.length === 0;
  byId("crash").textContent = report
    ? `At ${report.step ?? "an order"}, after ${count(report.commands)} commands: ${crash.changes.length} changes were not durable.`
    : "There was none.";
  showChange();
}

function showChange() {
  const change = crash.changes[crash.at];
  byId("step").textContent = change ? `${crash.at + 1} of ${crash.changes.length}` : "";
  byId("previous").disabled = crash.at === 0;
  byId("next").disabled = crash.at + 1 >= crash.changes.length;
  const pairs = Object.entries(change ?? {});
  facts(byId("change"), pairs.map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]));
}

function step(by) {
  crash.at = Math.min(Math.max(crash.at + by, 0), Math.max(crash.changes.length - 1, 0));
  showChange();
}

function showNow(state, now) {
  const media = state["query-media"];
  const depth = (state["query-queues"]?.submission ?? []).reduce((sum, it) => sum + ((it.tail + it.entries - it.head) % it.entries), 0);
  facts(byId("now"), [
    ["Reads a second", `${count(now.reads)} (${bytes(now.readBytes)})`],
    ["Writes a second", `${count(now.writes)} (${bytes(now.writeBytes)})`],
    ["Other commands a second", count(now.others)],
    ["Service time, mean", time(now.mean)],
    ["Service time, 99th percentile", now.slow > 0 ? `at most ${time(now.slow)}` : time(0)],
    ["Waiting in queues", count(depth)],
    ["Under way", count(state["query-controller"]?.["commands-in-flight"] ?? 0)],
    ["Write amplification", (media?.["write-amplification"] ?? 0).toFixed(3)],
    ["Life used", `${media?.wear["percentage-used"] ?? 0} %`],
  ]);
  const running = state["query-status"].running;
  const units = running ? media?.cache["staged-units"] ?? 0 : 0;
  const size = units * (media?.geometry["unit-bytes"] ?? 0);
  const room = media?.cache.bytes ?? 0;
  const kept = media?.cache.capacitors ? " Capacitors would save them." : "";
  byId("volatile").textContent = running
    ? `${count(units)} units (${bytes(size)}) wait in the volatile cache, which holds ${bytes(room)}.${kept}`
    : "Power is off: the report below has what was volatile.";
  byId("volatile-share").value = room > 0 ? Math.min(size / room, 1) : 0;
}

function controllerBadge(running, controller) {
  if (!running) return badge("idle", "controller without power");
  if (controller?.fatal) return badge("bad", "controller failed");
  return controller?.ready ? badge("good", "controller ready") : badge("idle", "controller not ready");
}

function showState(state) {
  const status = state["query-status"];
  const controller = state["query-controller"];
  const power = status.running ? badge("good", "power on") : badge("bad", "power off");
  const client = status["client-connected"] ? badge("good", "machine connected") : badge("idle", "no machine");
  const ready = controllerBadge(status.running, controller);
  const text = [power.textContent, client.textContent, ready.textContent].join();
  if (byId("state").dataset.text !== text) {
    byId("state").dataset.text = text;
    byId("state").replaceChildren(power, " ", client, " ", ready);
  }
  byId("cut").disabled = !status.running;
  byId("restore").disabled = status.running;
}

function show(state) {
  const now = counters(state);
  const grown = last ? rates(last, now) : rates(now, now);
  last = now;
  // Of a second without writes there is none.
  if (grown.waf === 0) grown.waf = history.at(-1)?.waf ?? 0;
  history.push({ ...grown, life: state["query-media"]?.["write-amplification"] ?? 0 });
  history.splice(0, history.length - SECONDS);
  showState(state);
  showNow(state, grown);
  const series = (...names) => names.map((name) => history.map((it) => it[name]));
  chart("iops", series("reads", "writes"), count);
  chart("latency", series("mean", "slow"), time);
  chart("waf", series("life", "waf"), (most) => most.toFixed(2));
  if (state["query-lines"]) showLines(state["query-lines"]);
  showQueues(state);
  showViolations(state["query-violations"]);
  showEvents(state.events);
  showCrash(state["query-crash"]?.report ?? null);
}

async function look() {
  try {
    const answer = await fetch("/state");
    if (!answer.ok) throw new Error(await answer.text());
    show(await answer.json());
  } catch (error) {
    byId("state").dataset.text = "";
    byId("state").replaceChildren(badge("bad", "no answer"), ` The drive does not answer: ${error.message}`);
  }
}

async function order(path, words) {
  const told = byId("ordered");
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "X-Brownout-Token": byId("token").value.trim() },
      body: JSON.stringify(words),
    });
    const text = await answer.text();
    told.textContent = answer.ok ? "Done." : `Refused: ${answer.status === 409 ? JSON.parse(text).error : text.trim()}`;
  } catch (error) {
    told.textContent = `The drive does not answer: ${error.message}`;
  }
  await look();
}

function cut() {
  const policy = byId("policy").value;
  const seed = policy === "random" ? { seed: Math.floor(Math.random() * 2 ** 32) } : {};
  return order("/power-cut", { policy, ...seed });
}

async function run() {
  await look();
  setTimeout(run, 1000);
}

// The token comes behind the sign that browsers keep for themselves, and does not stay in the address.
const token = location.hash.slice(1);
if (token) {
  byId("token").value = token;
  window.history.replaceState(null, "", location.pathname);
}
byId("power").addEventListener("submit", (event) => event.preventDefault());
byId("cut").addEventListener("click", cut);
byId("restore").addEventListener("click", () => order("/power-restore", {}));
byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
run();
