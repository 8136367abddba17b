//! `brownout trace record`: has a running drive record its commands, until a signal comes or the time is up. The drive writes the file, in
//! the folder that it was given for that: it is confined, and this process may be somebody else's.

use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};

use super::Record;
use crate::clock::Clock;
use crate::ctl::client::{Client, Waited};
use crate::failure::Failure;
use crate::stop;

/// Records; returns the exit code.
pub fn record(arguments: &Record) -> Result<u8, Failure> {
    let signals = stop::on_signals().context("cannot listen for signals")?;
    let mut client = Client::connect(&arguments.control)?;
    let order = json!({ "format": "recording", "file": arguments.file, "data": arguments.data });
    let started = client.execute("trace-start", &order)?;
    let (id, path) = (&started["id"], started["path"].as_str().unwrap_or(&arguments.file).to_owned());
    let until = arguments.time.map_or("SIGINT or SIGTERM".to_owned(), |time| format!("{time:?} have passed"));
    eprintln!("recording into {path} until {until}");
    let clock = Clock::new();
    loop {
        let left = arguments.time.map(|time| time.saturating_sub(Duration::from_nanos(clock.now().0)));
        match client.wait(signals.as_fd(), left)? {
            Waited::Event(event) if is_end(&event, id) => {
                let reason = event["data"]["reason"].as_str().unwrap_or_default();
                return Err(anyhow!("{path} is not complete: {reason}").into());
            }
            Waited::Event(_) => {}
            Waited::Ended => return Err(anyhow!("the device ended; {path} has what it did until then").into()),
            Waited::Other | Waited::Time => break,
        }
    }
    client.execute("trace-stop", &json!({ "id": id }))?;
    println!("{path}");
    Ok(0)
}

fn is_end(event: &Value, id: &Value) -> bool {
    event["event"] == "TRACE_ENDED" && event["data"]["id"] == *id
}
