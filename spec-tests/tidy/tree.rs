//! The files of the repository: what git tracks or would track, or, without git, what lies there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A text file.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Path from the root, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// All text files.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The root of the repository.
    pub root: PathBuf,
    /// Files without a zero byte that are UTF-8, in order of path.
    pub files: Vec<TextFile>,
}

impl Tree {
    /// The repository that this crate lies in.
    pub fn of_this_repository() -> Self {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a repository").to_path_buf();
        let mut paths = from_git(&root).unwrap_or_else(|| walk(&root));
        paths.sort();
        let files = paths.into_iter().filter_map(|path| read_text(&root, path)).collect();
        Self { root, files }
    }

    /// Whether a folder holds anything that is tracked.
    pub fn has_folder(&self, folder: &str) -> bool {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        self.files.iter().any(|file| file.path.starts_with(&prefix)) || self.root.join(folder).is_dir()
    }
}

fn read_text(root: &Path, path: String) -> Option<TextFile> {
    // A file that is tracked and deleted is in the list of git, and not there.
    let bytes = fs::read(root.join(&path)).ok()?;
    if bytes.contains(&0) {
        return None;
    }
    String::from_utf8(bytes).ok().map(|text| TextFile { path, text })
}

/// Tracked files and those that a `git add` would take; `None` if git or its folder is missing.
fn from_git(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = names.split('\0').filter(|name| !name.is_empty()).map(Into::into).collect();
    (!paths.is_empty()).then_some(paths)
}

/// Every file outside folders that builds and version control fill.
fn walk(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            let name = entry.file_name();
            if name == "target" || name == ".git" {
                continue;
            }
            match kind {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let relative = path.strip_prefix(root).expect("found below the root");
                    found.push(relative.to_string_lossy().replace('\\', "/"));
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn walking_finds_what_git_tracks() {
    let tree = Tree::of_this_repository();
    let walked = walk(&tree.root);
    let missing: Vec<&TextFile> = tree.files.iter().filter(|file| !walked.contains(&file.path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
