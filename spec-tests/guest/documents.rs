//! Blocks of the documents that boot guests, as `daemon/tests/documents.rs` leaves them to be run here: with fewer cuts and images than a
//! reader would make, and one after the other in a folder of their own.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use guest_harness::{Assets, Brownout};

#[path = "../../daemon/tests/documents/blocks.rs"]
mod blocks;

use blocks::{Block, Fate, blocks, pages, root};

/// Pages whose guests boot among the ordinary tests.
const PAGES: [&str; 2] = ["docs/driver.md", "docs/start.md"];

/// What is run of a line: the same, in less time.
fn shortened(line: &str) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    for at in 1..words.len() {
        if matches!(words[at - 1].as_str(), "--cuts" | "--images") {
            words[at] = "2".to_owned();
        }
    }
    let line = words.join(" ");
    // What lies on a tape is judged at each of its flushes.
    if line.contains("--tape") { line.replace("ROUNDS=12", "ROUNDS=2").replace("ROUNDS=20", "ROUNDS=2") } else { line }
}

/// What a drive that lies comes to, where the load that is shortened meets it.
fn may_find_something(line: &str) -> bool {
    line.contains("--misbehave") || line.contains("--flushes-kept")
}

/// Runs the blocks of one kind of a page.
fn run(page: &str, fate: Fate) -> Result<()> {
    // What guests are made of; the program finds its QEMU there.
    Assets::load()?;
    let folder = tempfile::tempdir()?;
    let bin = folder.path().join("bin");
    std::fs::create_dir(&bin)?;
    let program = std::path::absolute(Brownout::command(&[])?.get_program())?;
    std::os::unix::fs::symlink(program, bin.join("brownout"))?;
    std::os::unix::fs::symlink(root().join("campaign"), folder.path().join("campaign"))?;
    let path = format!("{}:{}:/usr/sbin:/sbin", bin.display(), std::env::var("PATH").unwrap_or_default());
    for block in blocks(page).iter().filter(|block| block.fate() == fate) {
        run_block(block, folder.path(), &path)?;
    }
    Ok(())
}

fn run_block(block: &Block, folder: &std::path::Path, path: &str) -> Result<()> {
    for line in block.commands() {
        let line = shortened(&line);
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", &line]).env("PATH", path).current_dir(folder);
        let output = shell.output().context("a shell")?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let well = output.status.success() || output.status.code() == Some(1) && may_find_something(&line);
        ensure!(well, "{}: {line}\n{said}", block.place());
    }
    Ok(())
}

#[test]
fn the_guests_of_the_first_page_boot() -> Result<()> {
    run("docs/start.md", Fate::Guest)
}

#[test]
fn the_guests_of_the_page_for_drivers_boot() -> Result<()> {
    run("docs/driver.md", Fate::Guest)
}

#[test]
fn no_other_page_leaves_its_guests_to_be_booted_here() {
    for page in pages() {
        let guests = blocks(&page).iter().any(|block| block.fate() == Fate::Guest);
        assert_eq!(guests, PAGES.contains(&page.as_str()), "{page}");
        assert!(
            blocks(&page).iter().all(|block| block.marker("file").is_none() || block.fate() == Fate::Run),
            "{page}"
        );
    }
}

#[test]
#[ignore = "make soak: fetches databases, and boots guests for an hour"]
fn the_guests_of_all_other_pages_boot() -> Result<()> {
    pages().iter().try_for_each(|page| run(page, Fate::Soak))
}
