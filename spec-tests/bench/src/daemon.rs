//! The daemon under measurement: the release binary, started with a socket in a folder of its own.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use guest_harness::Brownout;

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// What `--device` takes.
    pub device: String,
    /// What each `--namespace` takes.
    pub namespaces: Vec<String>,
    /// What `--media` takes; nothing for the defaults.
    pub media: String,
    /// What each `--trace` takes.
    pub traces: Vec<String>,
    /// What `--tape` takes.
    pub tape: Option<PathBuf>,
    /// The socket at which `--http` shows it.
    pub http: Option<PathBuf>,
    /// Another program than the product's, with the same command line.
    pub binary: Option<PathBuf>,
}

impl Served {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// The binary is missing, this one was not optimised, or the daemon does not get ready.
    pub fn start(&self, name: &str) -> Result<Brownout> {
        ensure!(!cfg!(debug_assertions), "a bench without optimisation measures nothing: cargo run --release");
        let mut builder = Brownout::builder().name(name).device(&self.device);
        for namespace in &self.namespaces {
            builder = builder.namespace(namespace);
        }
        if let Some(binary) = &self.binary {
            builder = builder.binary(binary);
        }
        if !self.media.is_empty() {
            builder = builder.argument("--media").argument(&self.media);
        }
        for trace in &self.traces {
            builder = builder.argument("--trace").argument(trace);
        }
        if let Some(tape) = &self.tape {
            builder = builder.argument("--tape").argument(&tape.display().to_string());
        }
        if let Some(http) = &self.http {
            builder = builder.argument("--http").argument(&format!("unix:{}", http.display()));
        }
        builder.start()
    }
}
