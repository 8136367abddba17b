//! Which brownout this is. Nothing of it depends on where or when it was built.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use anyhow::Context as _;
use clap::Args;
use media::store::header;
use serde_json::json;

use crate::failure::Failure;

/// `brownout version`.
#[derive(Debug, Args)]
pub struct Version {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The commit, where whoever built it said which: `make install` and packages do, by `BROWNOUT_COMMIT`.
pub fn commit() -> Option<&'static str> {
    option_env!("BROWNOUT_COMMIT").filter(|commit| !commit.is_empty())
}

/// Release and commit.
pub fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| match commit() {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    });
    &TEXT
}

/// The same, and which media files it makes.
pub fn line() -> &'static str {
    static LINE: LazyLock<String> = LazyLock::new(|| format!("{}, media format {}", text(), header::VERSION));
    &LINE
}

/// Prints it.
///
/// # Errors
/// It cannot be printed.
pub fn version(arguments: &Version) -> Result<(), Failure> {
    let said = if arguments.json {
        let value =
            json!({ "version": env!("CARGO_PKG_VERSION"), "commit": commit(), "media-format": header::VERSION });
        format!("{value:#}\n")
    } else {
        format!("brownout {}\n", line())
    };
    Ok(io::stdout().write_all(said.as_bytes()).context("cannot print")?)
}
