//! Images of a tape that a guest judges: it sees each as it is, whatever it has seen or written before, and finds what a command finds that
//! gets files.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use guest_harness::Brownout;
use nvme_host::HostError;
use nvme_spec::Status;
use serde_json::Value;
use spec_tests::socket_host::SocketPort;

/// Block 0 says which record was written last; the record is in block 1. Both are full of its number.
const CHECK: &str = r#"#!/bin/sh
byte() { dd if="$2" bs=4096 skip="$1" count=1 2>/dev/null | od -A n -t u1 -N 1 | tr -d ' '; }
said=$(byte 0 "$1")
there=$(byte 1 "$1")
echo "$said is committed, $there is there, $(tail -n 1 "$2") was acknowledged"
[ "$said" -le "$there" ] || exit 3
[ "$(tail -n 1 "$2")" -le "$said" ] || exit 4
"#;

/// What a check may leave behind: other contents, in the drive and in the kernel's caches, and a file system that is mounted.
const SOIL: &str = r#"
trap 'code=$?
cat "$1" >/dev/null
yes soiled | dd of="$1" bs=4096 count=4096 iflag=fullblock 2>/dev/null
mkfs.ext4 -q -F -O ^has_journal "$1" && mount -t ext4 "$1" /mnt && echo soiled >/mnt/file
exit $code' EXIT
"#;

/// A host commits records without a flush between record and mark, and acknowledges each in the second namespace.
fn commit(tape: &Path) -> Result<()> {
    let namespaces = ["size=16MiB,lba=4096", "size=1MiB,lba=4096"];
    let drive = namespaces.iter().fold(Brownout::builder(), |drive, namespace| drive.namespace(namespace));
    let drive = drive.argument("--media").argument("cache_age=none").argument("--tape");
    let drive = drive.argument(tape.to_str().context("UTF-8")?).start()?;
    let mut host = SocketPort::host(drive.socket(), 64).map_err(anyhow::Error::msg)?;
    let filled = |byte: u8| vec![byte; 4096];
    let did = |outcome: std::result::Result<Status, HostError>| {
        ensure!(matches!(outcome, Ok(Status::SUCCESS)), "{outcome:?}");
        Ok(())
    };
    for record in 0..5 {
        did(host.write(1, 1, &filled(record), false))?;
        did(host.write(1, 0, &filled(record), false))?;
        did(host.flush(1))?;
        let mut text = record.to_string().into_bytes();
        text.resize(4096, 0);
        did(host.write(2, 0, &text, false))?;
    }
    drop(host);
    drive.stop()?;
    Ok(())
}

/// Names of bad images, with what was said of them.
type Bad = BTreeSet<(String, String)>;

/// A campaign; its exit code, what it said, and what was bad.
fn campaign(folder: &Path, more: &[&str]) -> Result<(Option<i32>, String, Bad)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (tape, report) = (path("tape"), path("report.json"));
    let words = ["crash", "--tape", &tape, "--witness", "2", "--json", &report];
    let output = Brownout::run(&[&words, more].concat())?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(folder.join("report.json")).unwrap_or_default();
    let report: Value = serde_json::from_str(text.lines().last().unwrap_or("null")).unwrap_or_default();
    let name = |bad: &Value| {
        let again = bad["again"].as_str().unwrap_or_default();
        let shown = again.split(" --show ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        (shown.to_owned(), bad["verdict"].as_str().unwrap_or_default().to_owned())
    };
    let bad = report["bad"].as_array().map(|bad| bad.iter().map(name).collect()).unwrap_or_default();
    Ok((output.status.code(), said, bad))
}

#[test]
fn a_guest_sees_each_image_as_it_is_and_finds_what_a_command_finds() -> Result<()> {
    let folder = tempfile::tempdir()?;
    commit(&folder.path().join("tape"))?;
    let script = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let check = script("check.sh", CHECK)?;
    let (code, said, of_command) =
        campaign(folder.path(), &["--keep-going", "--check", &format!("sh {check} {{image}} {{acks}}")])?;
    ensure!(code == Some(1) && of_command.len() >= 4, "{said}");

    let soiling = script("soiling.sh", &CHECK.replacen('\n', SOIL, 1))?;
    let kept = folder.path().join("kept");
    let keep = kept.display().to_string();
    let (code, said, of_guest) =
        campaign(folder.path(), &["--keep-going", "--check-guest", &soiling, "--keep", &keep])?;
    ensure!(code == Some(1) && of_guest == of_command, "{said}\n{of_guest:?}\n{of_command:?}");
    ensure!(said.contains("broken where there is piece 1: write of block 0, command "), "{said}");
    ensure!(said.contains("and where there is not piece 0: write of block 1, command "), "{said}");
    let log = fs::read_to_string(kept.join("place-2").join("log"))?;
    ensure!(log.starts_with("1 is committed, 0 is there, 0 was acknowledged"), "{log}");

    // A guest that panics has judged; so has one that hangs. Who comes next gets a new one.
    let panics =
        "#!/bin/sh\n[ \"$(head -c 1 \"$1\" | od -A n -t u1 | tr -d ' ')\" != 1 ] || echo c >/proc/sysrq-trigger\n";
    let panics = script("panics.sh", panics)?;
    let words = ["--check-guest", &panics, "--show", "2:1"];
    let (code, said, _) = campaign(folder.path(), &words)?;
    ensure!(code == Some(1) && said.contains("the guest ended: ") && said.contains("Kernel panic"), "{said}");
    let hangs = script("hangs.sh", "#!/bin/sh\nsleep 1000\n")?;
    let (code, said, _) =
        campaign(folder.path(), &["--check-guest", &hangs, "--show", "2:1", "--guest-timeout", "3s"])?;
    ensure!(code == Some(1) && said.contains("the guest did not end the check within 3 s"), "{said}");
    Ok(())
}

/// The load and the checker that users copy, over ext4, with and without a drive that keeps its promises. `FS` and `ROUNDS` get to the load
/// as words of the kernel's command line do.
#[test]
fn the_load_of_files_keeps_its_promises_on_ext4_and_its_checker_notices_a_drive_that_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let loads = Path::new(env!("CARGO_MANIFEST_DIR")).join("../campaign/loads").canonicalize()?;
    let (tape, load) = (folder.path().join("tape").display().to_string(), loads.join("files.sh").display().to_string());
    let words = ["qemu", "--exec", &load, "--append", "FS=ext4 ROUNDS=6", "--tape", &tape, "--media", "cache_age=none"];
    let drive = ["--namespace", "size=32MiB,lba=4KiB", "--namespace", "size=1MiB,lba=4KiB", "--timeout", "5min"];
    let output = Brownout::run(&[&words[..], &drive[..]].concat())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && said.contains("6 rounds on ext4"), "{said}");
    let check = format!("sh {} {{image}} {{acks}}", loads.join("check-files.sh").display());
    let of_check = |more: &[&str]| campaign(folder.path(), &[&["--check", &check, "--images", "8"], more].concat());
    let (code, said, _) = of_check(&["--budget", "150"])?;
    ensure!(code == Some(0) && said.contains(": 0 bad"), "{said}");
    let (code, said, bad) = of_check(&["--budget", "300", "--flushes-kept", "8"])?;
    ensure!(code == Some(1) && !bad.is_empty(), "{said}");
    Ok(())
}
