//! The copy of the tree that is mutated. A file is written only if it changed, so that cargo builds only what did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// What is never needed to build or test.
const SKIPPED: &[&str] = &[".git", "target", "corpus", "corpus-new", "artifacts"];

/// Copies everything below `root` to `into`, but `changed` files with the text given, and removes what is not there any more.
///
/// # Errors
/// If a file cannot be read or written.
pub fn copy(root: &Path, into: &Path, changed: &BTreeMap<PathBuf, String>) -> Result<()> {
    let mut wanted = BTreeSet::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let listed = fs::read_dir(root.join(&folder)).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in listed {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if entry.file_type()?.is_file() {
                wanted.insert(path);
            }
        }
    }
    wanted.extend(changed.keys().cloned());
    for path in &wanted {
        let content = match changed.get(path) {
            Some(text) => text.clone().into_bytes(),
            None => fs::read(root.join(path)).with_context(|| format!("cannot read {}", path.display()))?,
        };
        write(&root.join(path), &into.join(path), &content)?;
    }
    remove_others(into, &wanted)
}

fn write(from: &Path, to: &Path, content: &[u8]) -> Result<()> {
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
    fs::write(to, content).with_context(|| format!("cannot write {}", to.display()))?;
    if let Ok(status) = fs::metadata(from) {
        fs::set_permissions(to, status.permissions())?;
    }
    Ok(())
}

fn remove_others(into: &Path, wanted: &BTreeSet<PathBuf>) -> Result<()> {
    let mut folders = vec![into.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.path().strip_prefix(into).is_ok_and(|path| !wanted.contains(path)) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// The Rust files that `names` mean, which are files or folders below `root`; tests left out.
///
/// # Errors
/// If there is none behind a name.
pub fn rust_files(root: &Path, names: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    for name in names {
        let before = found.len();
        let mut waiting = vec![name.clone()];
        while let Some(path) = waiting.pop() {
            let full = root.join(&path);
            let status = fs::metadata(&full).with_context(|| format!("there is no {}", path.display()))?;
            if status.is_dir() {
                for entry in fs::read_dir(&full)? {
                    waiting.push(path.join(entry?.file_name()));
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                found.insert(path);
            }
        }
        ensure!(found.len() > before || name.is_file(), "{} has no Rust files beside tests", name.display());
    }
    Ok(found.into_iter().collect())
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "testing.rs")
}

/// The root file of the crate that a file belongs to: the `lib.rs` or `main.rs` of the nearest `src` above it.
///
/// # Errors
/// If there is none.
pub fn crate_root(root: &Path, file: &Path) -> Result<PathBuf> {
    let source = file.ancestors().find(|folder| folder.file_name().is_some_and(|name| name == "src"));
    let source = source.with_context(|| format!("{} lies in no src folder", file.display()))?;
    let candidates = ["lib.rs", "main.rs"].map(|name| source.join(name));
    let found = candidates.into_iter().find(|candidate| root.join(candidate).is_file());
    found.with_context(|| format!("{} has no lib.rs", source.display()))
}
