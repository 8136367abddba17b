//! What a package brings beside the program, made from the command line itself: a manual page for each verb, and completion for shells.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Failure;

/// `brownout man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder for the pages; made if it is not there
    pub folder: PathBuf,
}

/// `brownout completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes `brownout.1` and a page for each verb, `brownout-serve.1` and so on.
///
/// # Errors
/// The folder or a page cannot be written.
pub fn man(program: Command, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let written = clap_mangen::generate_to(program, folder);
    Ok(written.with_context(|| format!("cannot write the pages to {}", folder.display()))?)
}

/// Prints what a shell must read to complete a command line.
///
/// # Errors
/// It cannot be printed.
pub fn completions(mut program: Command, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "brownout", &mut script);
    Ok(io::stdout().write_all(&script).context("cannot print")?)
}
