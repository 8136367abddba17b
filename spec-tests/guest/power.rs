//! Power and faults that come over the control socket, as stock drivers meet them.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, anyhow};
use guest_harness::{Brownout, Device, Guest, GuestReport, Kernel, Machine, scripts};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use spec_tests::qmp::Qmp;
use spec_tests::waiting::within_a_minute;

/// A guest under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(200);

/// A drive that takes orders, and a guest that uses it.
struct Bench {
    guest: Guest,
    peer: Qmp,
    drive: Brownout,
    // Gone last.
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start(name: &str, kernel: Kernel, script: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let control: PathBuf = folder.path().join("control.sock");
        let words = control.to_str().ok_or_else(|| anyhow!("a folder of ours is not UTF-8"))?;
        let drive =
            Brownout::builder().name(name).namespace("size=64MiB,lba=4KiB").argument("--control").argument(words);
        let drive = drive.start()?;
        let peer = Qmp::connect(&control);
        let machine = Machine::new(kernel).name(name).device(Device::VfioUser { socket: drive.socket().into() });
        // What is overdue is noticed in seconds, not in half a minute.
        let machine = machine.kernel_argument("nvme_core.io_timeout=3").kernel_argument("nvme_core.admin_timeout=3");
        let guest = machine.script(script).timeout(Duration::from_secs(400)).spawn()?;
        Ok(Self { guest, peer, drive, _folder: folder })
    }

    /// Waits until the guest says the word, carries out the commands, and lets it go on.
    fn when(&mut self, word: &str, commands: &[(&str, Value)]) -> Result<()> {
        self.guest.wait_for(word, PATIENCE)?;
        for (command, arguments) in commands {
            self.peer.execute(command, arguments).map_err(|why| anyhow!("{command}: {why}"))?;
        }
        self.guest.send_line("done")
    }

    fn end(self) -> Result<GuestReport> {
        let report = self.guest.wait()?;
        report.require_success()?;
        self.drive.stop()?;
        Ok(report)
    }
}

/// After a cut Linux finds the controller dead and gives it up, and a rescan brings it back; one that is back at once is reset.
fn a_drive_without_power(name: &str, kernel: Kernel) -> Result<()> {
    let mut bench = Bench::start(name, kernel, scripts::POWERLESS)?;
    let cut = ("power-cut", json!({ "policy": "random", "seed": 5 }));
    let restore = ("power-restore", json!({}));
    bench.when("power: cut", std::slice::from_ref(&cut))?;
    bench.when("power: restore", std::slice::from_ref(&restore))?;
    bench.when("power: blink", &[cut, restore])?;
    bench.end().map(drop)
}

#[test]
fn a_drive_without_power_is_given_up_and_found_again_on_6_12() -> Result<()> {
    a_drive_without_power("powerless-6.12", Kernel::Debian612)
}

#[test]
fn a_drive_without_power_is_given_up_and_found_again_on_the_newest_kernel() -> Result<()> {
    a_drive_without_power("powerless-newest", Kernel::Newest)
}

/// A block that cannot be read is an error of the medium to the guest's programs, in its kernel's log and in the drive's; a write heals it.
#[test]
fn an_unreadable_block_is_a_medium_error_until_it_is_written() -> Result<()> {
    let mut bench = Bench::start("medium-error", Kernel::Newest, scripts::MEDIUM)?;
    let fault = json!({ "kind": "unrecovered-read", "nsid": 1, "lba": 100 });
    bench.when("medium: fault", &[("fault-add", fault)])?;
    bench.end().map(drop)
}

/// Runs `brownout crash --guest`; returns its exit code and what it printed.
fn campaign(arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Brownout::run(&[&["crash", "--guest"], arguments].concat())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{stdout}{stderr}");
    Ok((output.status.code(), stdout))
}

/// With one machine that is killed on the way.
#[test]
fn a_short_campaign_with_guests_finds_nothing_illegal() -> Result<()> {
    let (code, said) = campaign(&["--cuts", "12", "--seed", "1"])?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\n1 machines killed and booted again"), "{said}");
    assert!(said.contains("\nunder atomic writes of 16 KiB: ext4 6, xfs 6\n"), "{said}");
    Ok(())
}

/// What the campaign would say of a drive that tears what it promised to keep whole.
#[test]
fn a_drive_that_tears_is_found_out_by_guests() -> Result<()> {
    let (code, said) = campaign(&["--cuts", "100", "--seed", "1", "--misbehave", "shorn-write"])?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("torn") && said.ends_with("\n1 illegal\n"), "{said}");
    Ok(())
}

/// Told to end while its guest boots, a campaign does not wait for that: reports are whole, drive and guest are gone.
#[test]
fn a_campaign_that_is_told_to_end_while_its_guest_boots_ends_and_reports() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (json, junit) = (folder.path().join("json"), folder.path().join("junit"));
    let words = |path: &std::path::Path| path.display().to_string();
    let arguments = ["crash", "--guest", "--cuts", "50", "--json", &words(&json), "--junit", &words(&junit)];
    let mut campaign = Brownout::command(&arguments)?.stdout(Stdio::piped()).spawn()?;
    let of_thread = |thread: String| std::fs::read_to_string(thread).unwrap_or_default();
    let started = || -> Vec<u32> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", campaign.id())).into_iter().flatten().flatten();
        let texts = threads.map(|thread| of_thread(thread.path().join("children").display().to_string()));
        texts.flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
    };
    assert!(within_a_minute(|| started().len() >= 2), "a drive and a guest are started");
    let others = started();
    kill_process(Pid::from_child(&campaign), Signal::TERM)?;
    let mut code = None;
    let ended = within_a_minute(|| {
        code = campaign.try_wait().ok().flatten();
        code.is_some()
    });
    assert!(ended, "it waits for its guest");
    assert_eq!(code.and_then(|status| status.code()), Some(130));
    for line in std::fs::read_to_string(&json)?.lines() {
        serde_json::from_str::<Value>(line)?;
    }
    let junit = std::fs::read_to_string(&junit)?;
    assert!(junit.contains("<testsuite") && junit.trim_end().ends_with("</testsuites>"), "{junit}");
    let mut said = String::new();
    campaign.stdout.take().into_iter().try_for_each(|mut pipe| pipe.read_to_string(&mut said).map(drop))?;
    assert!(said.contains("interrupted after 0 cuts"), "{said}");
    let gone = |id: &u32| !std::path::Path::new(&format!("/proc/{id}")).exists();
    assert!(within_a_minute(|| others.iter().all(gone)), "drive and guest are killed");
    Ok(())
}

/// P6: half of the cuts on each file system, fifty of them with a machine killed and booted again.
#[test]
#[ignore = "an hour"]
fn five_hundred_cuts_of_guests_tear_nothing() -> Result<()> {
    let (code, said) = campaign(&["--cuts", "500", "--seed", "1"])?;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\n50 machines killed and booted again"), "{said}");
    Ok(())
}
