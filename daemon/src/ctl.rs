//! `brownout ctl`: sends one command to a running device, or prints its events. Knows the protocol; what it knows of the commands comes
//! from the device, or for `ctl help`, which needs none, from this program.

pub mod arguments;
pub mod client;
mod table;

use std::io::{self, Write};

use anyhow::Context;
use serde_json::Value;

use crate::cli;
use crate::control::commands;
use crate::failure::Failure;
use crate::options::OptionError;
use client::{Client, Heard};

/// Prints what comes of a command, or follows events.
///
/// # Errors
/// There is no device, or it did not do it.
pub fn ctl(arguments: &cli::Ctl) -> Result<(), Failure> {
    if arguments.path.as_os_str() == "help" && !arguments.path.exists() {
        let words: Vec<String> = arguments.command.iter().chain(&arguments.arguments).cloned().collect();
        return help(&commands::description(), &words);
    }
    if arguments.command.is_none() && !arguments.watch {
        let place = format!("ctl {}", arguments.path.display());
        return Err(
            OptionError::new(place, "", "give a command, or --watch; `brownout ctl help` lists commands").into()
        );
    }
    let mut client = Client::connect(&arguments.path)?;
    match &arguments.command {
        Some(command) => {
            let schema = client.execute("query-schema", &serde_json::json!({}))?;
            if command == "help" && !described(&schema, command) {
                return help(&schema, &arguments.arguments);
            }
            let words = arguments::typed(&schema, command, &arguments.arguments)?;
            let answer = client.execute(command, &words)?;
            if arguments.table { print(table::table(&answer).trim_end()) } else { print(&format!("{answer:#}")) }
        }
        None => watch(&mut client),
    }
}

fn described(schema: &Value, command: &str) -> bool {
    schema["commands"].as_array().is_some_and(|commands| commands.iter().any(|entry| entry["name"] == command))
}

fn help(schema: &Value, words: &[String]) -> Result<(), Failure> {
    if let [_, more, ..] = words {
        return Err(anyhow::anyhow!("{more}: help is about one command at a time").into());
    }
    let text = arguments::help(schema, words.first().map(String::as_str))?;
    print(text.trim_end())
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
