//! The stacks of `campaign/loads`, with what they teach: databases over a tape, and real power cuts under a user's own load, in a machine
//! of the user's own, too.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use guest_harness::{Assets, Brownout, Device, Guest, Kernel, Machine};
use serde_json::Value;

/// A load or a checker, as users copy it.
fn of_loads(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../campaign/loads").join(name);
    Ok(path.canonicalize()?.display().to_string())
}

/// The program's exit code, and what it said.
fn run(words: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Brownout::run(words)?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), said))
}

/// PostgreSQL's pages are 8 KiB. Without full-page writes it relies on a drive that keeps each whole; this one promises 4 KiB.
#[test]
#[ignore = "make soak: fetches databases, and boots one under emulation"]
fn postgresql_without_full_page_writes_loses_a_row_where_a_drive_keeps_only_half_a_page_whole() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tape = folder.path().join("tape").display().to_string();
    let load = of_loads("postgresql.sh")?;
    let words = ["qemu", "--kernel", "stacks", "--exec", &load, "--append", "FULL_PAGE_WRITES=off ROUNDS=4"];
    let drive = ["--namespace", "size=96MiB,lba=4KiB,atomic.nawupf=0", "--namespace", "size=1MiB,lba=4KiB"];
    let more = ["--tape", &tape, "--media", "cache_age=none", "--timeout", "5min"];
    let (code, said) = run(&[&words[..], &drive[..], &more[..]].concat())?;
    ensure!(code == Some(0) && said.contains("4 transactions, full_page_writes=off, on ext4"), "{said}");
    let check = format!("sh {} {{image}} {{acks}}", of_loads("check-postgresql.sh")?);
    let (code, said) = run(&["crash", "--tape", &tape, "--witness", "2", "--check", &check, "--images", "20"])?;
    ensure!(code == Some(1) && said.contains("broken where there is piece "), "{said}");
    // The table, or the log that the database reads first: either is in its folder.
    ensure!(said.contains("and where there is not piece ") && said.contains(", file /db/"), "{said}");
    Ok(())
}

/// What is kept of a cut, as the report says it.
fn kept(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.first().map(|entry| entry.path()).context("no cut was kept")
}

/// What the kept cut's report says to judge it again with.
fn judged_again(kept: &Path) -> Result<(Option<i32>, String)> {
    let report = fs::read_to_string(kept.join("report"))?;
    let again = report.lines().find_map(|line| line.strip_prefix("brownout ")).context("a command")?;
    run(&again.split(' ').collect::<Vec<_>>())
}

/// One round of the load of files, and then nothing is written any more: no line is erased meanwhile, and power goes for that reason.
fn one_round_of_files(more: &[&str]) -> Result<(Option<i32>, String)> {
    let (load, check) = (of_loads("files.sh")?, of_loads("check-files.sh")?);
    let words = ["crash", "--guest", "--setup", &load, "--load", &load, "--check-guest", &check];
    let drive = ["--append", "FS=ext4 ROUNDS=1", "--disk", "size=32MiB,lba=4KiB", "--points", "line-erased"];
    let cut = ["--policy", "none-survive", "--cuts", "1", "--min-met", "0"];
    run(&[&words[..], &drive[..], &cut[..], more].concat())
}

#[test]
fn a_drive_that_ignores_flushes_is_noticed_by_a_file_system_at_the_first_cut_and_shown_again_without_the_load()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (keep, junit) = (path("kept"), path("junit.xml"));
    let (code, said) = one_round_of_files(&["--misbehave", "ignored-flush", "--keep", &keep, "--junit", &junit])?;
    ensure!(code == Some(1) && said.contains("ILLEGAL, cut 1: the check ended with code "), "{said}");
    ensure!(fs::read_to_string(&junit)?.contains("classname=\"cut\""));
    let kept = kept(Path::new(&keep))?;
    ensure!(fs::read_to_string(kept.join("acks"))?.starts_with("mounted ext4\ntry new 000001\n"));
    let (code, said) = judged_again(&kept)?;
    ensure!(code == Some(1) && said.contains("the check ended with code "), "{said}");
    let (code, said) = one_round_of_files(&[])?;
    ensure!(code == Some(0) && said.contains("0 illegal"), "an honest drive: {said}");
    Ok(())
}

/// ext4 forces the block that commits a transaction of its journal: who ignores that loses what was acknowledged last, and only that.
#[test]
fn a_drive_that_ignores_fua_is_noticed_by_a_file_system_within_three_cuts_whatever_the_seed() -> Result<()> {
    let (load, check) = (of_loads("files.sh")?, of_loads("check-files.sh")?);
    let words = ["crash", "--guest", "--setup", &load, "--load", &load, "--check-guest", &check];
    let drive = ["--append", "FS=ext4 ROUNDS=100", "--disk", "size=32MiB,lba=4KiB", "--cuts", "3"];
    // Of the first of these, the first cut comes behind an operation that needs no FUA, and the third must tell.
    for seed in ["1", "24"] {
        let lying = ["--seed", seed, "--misbehave", "ignored-fua"];
        let (code, said) = run(&[&words[..], &drive[..], &lying[..]].concat())?;
        ensure!(code == Some(1) && said.contains("ILLEGAL, cut "), "seed {seed}: {said}");
        ensure!(said.contains("the check ended with code 3"), "seed {seed}: {said}");
    }
    let (code, said) = run(&[&words[..], &drive[..], &["--seed", "24"]].concat())?;
    ensure!(code == Some(0) && said.contains("0 illegal"), "an honest drive: {said}");
    Ok(())
}

/// What a load of ours begins with: how it says something.
const SAY: &str = r#"#!/bin/sh
say() {
    printf '%s\n' "$*" | dd of="$WITNESS" bs=4096 count=1 conv=sync oflag=direct 2>/dev/null || exit 1
    echo "$*" >>"$ACKS"
}
"#;

/// A file system with a file in it.
const SET_UP: &str = r#"#!/bin/sh
mkfs.ext4 -q -F "$1" && mount -t ext4 "$1" /mnt && echo "set up" >/mnt/seed && umount /mnt
"#;

/// Appends lines to a file of that file system, each durable before it is acknowledged; but not to what another cut has left.
const APPEND: &str = r#"
mount -t ext4 "$IMAGE" /mnt && [ "$(cat /mnt/seed)" = "set up" ] || exit 1
[ ! -e /mnt/appended ] || { echo "this is not what the set-up has left"; exit 1; }
: >/mnt/appended && sync
say begun
echo here >/tmp/load-was-here
number=0
while :; do
    number=$((number + 1))
    say "try $number"
    echo "$number" >>/mnt/appended && sync /mnt/appended || exit 1
    say "did $number"
done
"#;

/// Wants all that was acknowledged and nothing else; and then calls it bad where this machine has never seen the load.
const APPENDED: &str = r#"#!/bin/sh
mount -t ext4 "$1" /mnt || exit 2
[ "$(cat /mnt/seed)" = "set up" ] || exit 3
found=$(cat /mnt/appended | wc -l)
umount /mnt
did=$(sed -n 's/^did //p' "$2" | tail -n 1)
try=$(sed -n 's/^try //p' "$2" | tail -n 1)
echo "$did was acknowledged, $found is there, $try was tried"
[ "$found" -ge "${did:-0}" ] && [ "$found" -le "$try" ] || exit 4
[ -e /tmp/load-was-here ] || exit 7
"#;

#[test]
fn a_kernel_of_the_users_own_finds_what_was_set_up_at_each_cut_and_is_booted_again_at_every_second() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).map(|()| path.display().to_string())
    };
    let (setup, load) = (file("setup.sh", SET_UP)?, file("load.sh", &format!("{SAY}{APPEND}"))?);
    let check = file("check.sh", APPENDED)?;
    let assets = Assets::load()?;
    let of = |path: PathBuf| path.display().to_string();
    let (kernel, initrd) = (of(assets.kernel(Kernel::Debian612)?), of(assets.initrd(Kernel::Debian612)?));
    let keep = of(folder.path().join("kept"));
    let words = ["crash", "--guest", "--setup", &setup, "--load", &load, "--check-guest", &check];
    let machine = ["--kernel", &kernel, "--initrd", &initrd, "--disk", "size=32MiB,lba=4KiB"];
    let more = ["--back", "both", "--cuts", "2", "--min-met", "0", "--keep-going", "--keep", &keep];
    let (code, said) = run(&[&words[..], &machine[..], &more[..]].concat())?;
    ensure!(code == Some(1) && said.contains("2 cuts of a guest"), "{said}");
    ensure!(said.contains("1 machines killed") && said.contains("1 illegal"), "{said}");
    ensure!(said.contains("ILLEGAL, cut 2: the check ended with code 7\n"), "{said}");
    let kept = kept(Path::new(&keep))?;
    ensure!(kept.ends_with("cut-2") && fs::read_to_string(kept.join("acks"))?.starts_with("begun\ntry 1\n"));
    let (code, said) = judged_again(&kept)?;
    ensure!(code == Some(1) && said.contains(" was tried") && said.contains("the check ended with code 7"), "{said}");
    Ok(())
}

/// Writes two blocks one after the other, with no flush between them or behind them, and then nothing any more.
const TWO_BLOCKS: &str = r#"
say begun
for block in 0 1; do
    yes new | head -c 4096 | dd of="$IMAGE" bs=4096 seek=$block count=1 iflag=fullblock oflag=direct conv=notrunc 2>/dev/null || exit 1
done
say "try 1"
sleep 100000
"#;

/// Relies on an order that the drive does not promise.
const IN_ORDER: &str = r#"#!/bin/sh
word() { dd if="$1" bs=4096 skip="$2" count=1 2>/dev/null | head -c 3; }
[ "$(word "$1" 1)" != new ] || [ "$(word "$1" 0)" = new ] || exit 3
"#;

#[test]
fn of_one_cut_all_other_images_are_judged_and_those_are_bad_that_have_the_second_write_without_the_first() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("load.sh"), format!("{SAY}{TWO_BLOCKS}"))?;
    fs::write(path("check.sh"), IN_ORDER)?;
    let (load, check, keep, json) = (path("load.sh"), path("check.sh"), path("kept"), path("json"));
    let words = ["crash", "--guest", "--load", &load, "--check-guest", &check, "--images", "1000"];
    // No line is erased under this load: power goes when the guest has nothing more to write.
    let more = ["--points", "line-erased", "--cuts", "1", "--min-met", "0", "--keep", &keep, "--json", &json];
    let (code, said) = run(&[&words[..], &more[..]].concat())?;
    ensure!(code == Some(1), "{said}");
    let json = fs::read_to_string(&json)?;
    let cut: Value = serde_json::from_str(json.lines().next().context("a cut")?)?;
    // Of the four combinations of two blocks one is bad, whatever else was volatile; the cut's own image has neither.
    let images = cut["images"].as_u64().context("a count")?;
    let bad = fs::read_dir(&keep)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    ensure!(images >= 3 && bad.len() as u64 * 4 == images + 1, "{images} images, {} bad: {said}", bad.len());
    ensure!(said.contains(&format!("{images} other images of these power losses judged\n")), "{said}");
    for kept in &bad {
        let name = kept.file_name().and_then(|name| name.to_str()).context("UTF-8")?;
        ensure!(name.starts_with("cut-1-image-"), "{name} is kept");
        let image = fs::read(kept.join("image"))?;
        ensure!(image[..4096] == [0; 4096] && image[4096..8192].starts_with(b"new\nnew\n"), "{name}");
    }
    let (code, said) = judged_again(&bad[0])?;
    ensure!(code == Some(1) && said.contains("the check ended with code 3"), "{said}");
    Ok(())
}

/// Copies the guest's own system to a disk, and says there which it is.
const INSTALL: &str = r#"
mkfs.ext4 -q -F /dev/nvme0n1 && mount -t ext4 /dev/nvme0n1 /mnt || exit 1
for place in bin sbin lib lib64 usr etc; do
    [ ! -e /$place ] || cp -a /$place /mnt/ || exit 1
done
mkdir -p /mnt/mnt && echo installed >/mnt/etc/installed && umount /mnt
"#;

/// Tells the system that it runs in, and changes it.
const INSTALLED: &str = r#"#!/bin/sh
[ "$(cat /etc/installed)" = installed ] && [ -s "$2" ] && echo changed >/etc/installed && sync && exit 7
exit 1
"#;

#[test]
#[ignore = "make soak: copies a system to a disk, under emulation"]
fn scripts_run_in_the_users_root_image_which_stays_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (name, text) in [("install.sh", INSTALL), ("load.sh", &format!("{SAY}{TWO_BLOCKS}")), ("check.sh", INSTALLED)] {
        fs::write(path(name), text)?;
    }
    let (install, load, check, disk, root) =
        (path("install.sh"), path("load.sh"), path("check.sh"), path("disk"), path("root"));
    let media = format!("store=file:{disk}");
    let (code, said) = run(&["qemu", "--exec", &install, "--namespace", "size=512MiB,lba=4KiB", "--media", &media])?;
    ensure!(code == Some(0), "{said}");
    let (code, said) = run(&["media", "export", &disk, &root])?;
    ensure!(code == Some(0), "{said}");
    let before = fs::read(&root)?;
    let kernel = Assets::load()?.kernel(Kernel::Newest)?.display().to_string();
    let words = ["crash", "--guest", "--load", &load, "--check-guest", &check, "--kernel", &kernel, "--root", &root];
    let more = ["--points", "line-erased", "--back", "both", "--cuts", "2", "--min-met", "0", "--keep-going"];
    let (code, said) = run(&[&words[..], &more[..]].concat())?;
    ensure!(code == Some(1) && said.contains("2 illegal"), "{said}");
    for cut in 1..=2 {
        ensure!(said.contains(&format!("ILLEGAL, cut {cut}: the check ended with code 7\n")), "{said}");
    }
    ensure!(before == fs::read(&root)?, "the root image was changed");
    Ok(())
}

/// Numbers what it does as the campaign understands it.
const ROWS: &str = r#"
mount -t ext4 "$IMAGE" /mnt || exit 1
: >/mnt/rows && sync
say begun
number=0
while :; do
    number=$((number + 1))
    say "try row $number"
    echo "$number" >>/mnt/rows && sync /mnt/rows || exit 1
    say "did row $number"
done
"#;

/// Says what is there, and leaves the judgement to the campaign.
const FOUND: &str = r#"#!/bin/sh
mount -t ext4 "$1" /mnt || exit 2
echo "found row 0"
sed 's/^/found row /' /mnt/rows
umount /mnt
"#;

/// A campaign in a machine that it does not start.
struct Attached {
    campaign: Child,
    said: String,
    socket: PathBuf,
    agent: String,
}

/// What goes without us if the test fails.
impl Drop for Attached {
    fn drop(&mut self) {
        // It has ended, if all went well.
        let _ = self.campaign.kill();
        let _ = self.campaign.wait();
    }
}

impl Attached {
    /// Starts the campaign, and waits until it says how the machine is to be started.
    fn start(folder: &Path, more: &[&str]) -> Result<Self> {
        let path = |name: &str| folder.join(name).display().to_string();
        for (name, text) in [("setup.sh", SET_UP), ("load.sh", &format!("{SAY}{ROWS}")), ("check.sh", FOUND)] {
            fs::write(path(name), text)?;
        }
        let (agent_code, agent) = run(&["crash", "--print-agent"])?;
        ensure!(agent_code == Some(0) && agent.starts_with("#!/bin/sh\n"), "{agent}");
        let (socket, setup, load, check) =
            (folder.join("agent.sock"), path("setup.sh"), path("load.sh"), path("check.sh"));
        let at = socket.display().to_string();
        let words = ["crash", "--guest", "--attach", &at, "--setup", &setup, "--load", &load, "--check-guest", &check];
        let mut command =
            Brownout::command(&[&words[..], &["--disk", "size=32MiB,lba=4KiB", "--min-met", "0"], more].concat())?;
        let mut campaign = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut errors = BufReader::new(campaign.stderr.take().context("a pipe")?);
        let mut said = String::new();
        while !said.contains("--print-agent") {
            ensure!(errors.read_line(&mut said)? > 0, "the campaign ended: {said}");
        }
        // Whatever else it says is not waited for.
        campaign.stderr = Some(errors.into_inner());
        Ok(Self { campaign, said, socket, agent })
    }

    /// The machine, as the campaign says that it shall be.
    fn machine(&self) -> Result<Guest> {
        let word = |beginning: &str| {
            let mut words = self.said.lines().map(|line| line.trim().trim_end_matches(" \\"));
            words
                .find_map(|line| line.strip_prefix(beginning))
                .with_context(|| format!("no {beginning} in {}", self.said))
        };
        let chardev = word("-chardev ")?;
        let port = format!("virtserialport{}", word("-device virtserialport")?);
        let drive = PathBuf::from(format!("{}.nvme", self.socket.display()));
        ensure!(self.said.contains(&format!("\"path\":\"{}\"", drive.display())), "{}", self.said);
        let words = ["-device", "virtio-serial-pci", "-chardev", chardev, "-device", &port];
        let machine = Machine::new(Kernel::Newest).device(Device::VfioUser { socket: drive }).script(&self.agent);
        words.iter().fold(machine, |machine, word| machine.qemu_argument(word)).spawn()
    }

    /// What came of the campaign.
    fn outcome(mut self) -> Result<(Option<i32>, String)> {
        let mut said = String::new();
        self.campaign.stdout.take().context("a pipe")?.read_to_string(&mut said)?;
        self.campaign.stderr.take().context("a pipe")?.read_to_string(&mut said)?;
        Ok((self.campaign.wait()?.code(), said))
    }
}

#[test]
fn in_a_machine_that_the_user_starts_an_honest_drive_keeps_each_row_and_one_that_ignores_fua_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let attached = Attached::start(folder.path(), &["--cuts", "4"])?;
    let machine = attached.machine()?;
    let (code, said) = attached.outcome()?;
    ensure!(code == Some(0) && said.contains("4 cuts of a guest") && said.contains("0 illegal"), "{said}");
    // The agent ends with the campaign, and with it this machine, in which there is nothing else.
    machine.wait()?.require_success()?;

    let folder = tempfile::tempdir()?;
    let attached = Attached::start(folder.path(), &["--cuts", "1", "--misbehave", "ignored-fua"])?;
    let machine = attached.machine()?;
    let (code, said) = attached.outcome()?;
    // The check ended with 0: it is what was acknowledged that tells.
    ensure!(code == Some(1) && said.contains("ILLEGAL, cut 1: row "), "{said}");
    ensure!(said.contains(" was acknowledged, and ") && said.contains(" is the last that was found"), "{said}");
    machine.wait()?.require_success()?;
    Ok(())
}

#[test]
fn a_machine_of_the_users_is_started_again_by_the_users_command_and_finds_each_row() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let order = folder.path().join("order").display().to_string();
    ensure!(Command::new("mkfifo").arg(&order).status()?.success());
    let restart = format!("echo again > {order}");
    let attached = Attached::start(folder.path(), &["--cuts", "2", "--back", "both", "--restart", &restart])?;
    let first = attached.machine()?;
    // Who reads this is the user: power went under the first machine, and the command asks for another one.
    let asked = fs::read_to_string(&order)?;
    ensure!(asked == "again\n", "{asked}");
    first.kill()?;
    let second = attached.machine()?;
    let (code, said) = attached.outcome()?;
    ensure!(code == Some(0) && said.contains("2 cuts of a guest") && said.contains("0 illegal"), "{said}");
    ensure!(said.contains("1 machines killed"), "{said}");
    second.wait()?.require_success().map(drop)
}
