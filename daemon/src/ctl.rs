//! `brownout ctl`: one command to a running device, or its events. Knows the protocol, and of the commands only what the device says.

mod arguments;
pub mod client;

use std::io::{self, Write};

use anyhow::Context;
use serde_json::Value;

use crate::cli;
use crate::failure::Failure;
use client::{Client, Heard};

/// Prints what comes of a command, or follows events.
///
/// # Errors
/// There is no device, or it did not do it.
pub fn ctl(arguments: &cli::Ctl) -> Result<(), Failure> {
    let mut client = Client::connect(&arguments.path)?;
    match &arguments.command {
        Some(command) => {
            let schema = client.execute("query-schema", &serde_json::json!({}))?;
            let words = arguments::typed(&schema, command, &arguments.arguments)?;
            let answer = client.execute(command, &words)?;
            print(&format!("{answer:#}"))
        }
        None => watch(&mut client),
    }
}

fn watch(client: &mut Client) -> Result<(), Failure> {
    while let Some(heard) = client.hear()? {
        if let Heard::Event(event) = heard {
            print(&Value::Object(event).to_string())?;
        }
    }
    Ok(())
}

fn print(text: &str) -> Result<(), Failure> {
    let printed = writeln!(io::stdout(), "{text}").and_then(|()| io::stdout().flush());
    Ok(printed.context("cannot print")?)
}
