//! The stacks of `campaign/loads`, with what they teach: databases over a tape, and real power cuts under a user's own load.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use guest_harness::Brownout;

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

#[test]
fn a_drive_that_ignores_flushes_is_noticed_by_a_file_system_within_three_cuts_and_shown_again_without_the_load()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (load, check) = (of_loads("files.sh")?, of_loads("check-files.sh")?);
    let words = ["crash", "--guest", "--load", &load, "--check-guest", &check, "--append", "FS=ext4 ROUNDS=500"];
    let drive =
        ["--disk", "size=32MiB,lba=4KiB", "--misbehave", "ignored-flush", "--policy", "none-survive", "--seed", "24"];
    let (keep, junit) = (path("kept"), path("junit.xml"));
    let more = ["--cuts", "3", "--min-met", "0", "--keep", &keep, "--junit", &junit];
    let (code, said) = run(&[&words[..], &drive[..], &more[..]].concat())?;
    ensure!(code == Some(1) && said.contains("ILLEGAL, cut "), "{said}");
    ensure!(fs::read_to_string(&junit)?.contains("classname=\"cut\""));
    let kept = kept(Path::new(&keep))?;
    ensure!(fs::read_to_string(kept.join("acks"))?.starts_with("mounted ext4\ntry new 000001\n"));
    let report = fs::read_to_string(kept.join("report"))?;
    let again = report.lines().find_map(|line| line.strip_prefix("brownout ")).context("a command")?;
    let (code, said) = run(&again.split(' ').collect::<Vec<_>>())?;
    ensure!(code == Some(1) && said.contains("the check ended with code "), "{said}");
    Ok(())
}
