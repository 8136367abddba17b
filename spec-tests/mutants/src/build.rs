//! Builds the mutated tree. Mutants that do not compile are left out, round by round, until the rest does.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A test binary.
#[derive(Clone, Debug)]
pub struct TestBinary {
    /// `package` for its unit tests, `package::target` for others.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Where it is started.
    pub folder: PathBuf,
}

/// An error of the compiler: its message, and the places in files of the tree that it speaks of.
#[derive(Debug)]
pub struct Complaint {
    /// As the compiler says it.
    pub message: String,
    /// File from the tree's root, bytes.
    pub places: Vec<(PathBuf, Range<usize>)>,
}

/// Where the tree lies, and where cargo puts things.
#[derive(Debug)]
pub struct Cargo {
    /// The mutated tree.
    pub tree: PathBuf,
    /// Its target folder.
    pub target: PathBuf,
}

impl Cargo {
    /// Checks packages, and says what the compiler has against them.
    ///
    /// # Errors
    /// If cargo cannot be run, or fails for a reason that is no complaint.
    pub fn check(&self, packages: &[String]) -> Result<Vec<Complaint>> {
        let (messages, succeeded, said) = self.run(&["check", "--keep-going"], packages)?;
        let complaints: Vec<Complaint> = messages.iter().filter_map(|message| self.complaint(message)).collect();
        ensure!(succeeded || !complaints.is_empty(), "cargo check fails:\n{said}");
        Ok(complaints)
    }

    /// Builds the test binaries of packages.
    ///
    /// # Errors
    /// If that fails.
    pub fn tests(&self, packages: &[String]) -> Result<Vec<TestBinary>> {
        let (messages, succeeded, said) = self.run(&["test", "--no-run"], packages)?;
        if !succeeded {
            let complaints: Vec<String> = messages
                .iter()
                .filter_map(|message| self.complaint(message))
                .map(|complaint| complaint.message)
                .collect();
            bail!("the tests do not build:\n{}\n{said}", complaints.join("\n"));
        }
        let binaries: BTreeMap<String, TestBinary> =
            messages.iter().filter_map(test_binary).map(|binary| (binary.name.clone(), binary)).collect();
        Ok(binaries.into_values().collect())
    }

    fn run(&self, verb: &[&str], packages: &[String]) -> Result<(Vec<Value>, bool, String)> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(verb).arg("--message-format=json").arg("--target-dir").arg(&self.target);
        // What cargo told the process that called it is not meant for the one it calls.
        command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
        command.args(packages.iter().map(|package| format!("--package={package}")));
        let output = command.current_dir(&self.tree).stderr(Stdio::piped()).output().context("cargo cannot be run")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok((messages, output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    fn complaint(&self, message: &Value) -> Option<Complaint> {
        let message = &message["message"];
        if message["level"] != "error" {
            return None;
        }
        let spans = message["spans"].as_array()?;
        let places: Vec<(PathBuf, Range<usize>)> = spans.iter().filter_map(|span| self.place(span)).collect();
        (!places.is_empty())
            .then(|| Complaint { message: message["rendered"].as_str().unwrap_or_default().to_owned(), places })
    }

    fn place(&self, span: &Value) -> Option<(PathBuf, Range<usize>)> {
        let number = |name: &str| span[name].as_u64().and_then(|number| usize::try_from(number).ok());
        let file = Path::new(span["file_name"].as_str()?);
        let file = file.strip_prefix(&self.tree).unwrap_or(file);
        Some((file.to_owned(), number("byte_start")?..number("byte_end")?))
    }
}

fn test_binary(message: &Value) -> Option<TestBinary> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_owned();
    let package = message["package_id"].as_str()?;
    // path+file:///folder/package#0.1.0, or #package@0.1.0 if the folder is called otherwise.
    let (path, rest) = package.rsplit_once('#')?;
    let package = rest.split_once('@').map_or_else(|| path.rsplit('/').next().unwrap_or(rest), |(name, _)| name);
    let target = message["target"]["name"].as_str()?;
    let is_library = message["target"]["kind"].as_array()?.iter().any(|kind| kind == "lib");
    let name = if is_library { package.to_owned() } else { format!("{package}::{target}") };
    Some(TestBinary { name, path: message["executable"].as_str()?.into(), folder })
}
