//! The other end of the control socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use media::Nanoseconds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value, json};

use crate::clock::Clock;

/// A connection over which capabilities were negotiated.
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// What the device says.
pub enum Heard {
    /// An event, whole.
    Event(Map<String, Value>),
    /// An answer, whole.
    Answer(Map<String, Value>),
}

impl Client {
    /// Connects, and negotiates.
    ///
    /// # Errors
    /// Nobody listens there, or somebody else.
    pub fn connect(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("no device is controlled at {} (serve --control makes it)", path.display()))?;
        let mut client = Self { stream: BufReader::new(stream) };
        match client.line()? {
            Some(greeting) if greeting.contains_key("QMP") => {}
            Some(other) => bail!("{}", described(&other)),
            None => bail!("{} does not speak QMP", path.display()),
        }
        client.execute("qmp_capabilities", &json!({}))?;
        Ok(client)
    }

    /// Executes a command, and waits for what comes of it.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{request}").context("cannot reach the device")?;
        loop {
            match self.hear()? {
                None => bail!("the device ended before it answered"),
                Some(Heard::Event(_)) => {}
                Some(Heard::Answer(mut answer)) => {
                    return answer.remove("return").ok_or_else(|| anyhow!("{command}: {}", described(&answer)));
                }
            }
        }
    }

    /// Waits for what the device says next; nothing once it has ended.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn hear(&mut self) -> anyhow::Result<Option<Heard>> {
        let said = self.line()?;
        Ok(said.map(|said| if said.contains_key("event") { Heard::Event(said) } else { Heard::Answer(said) }))
    }

    /// Waits until an event of this name comes, and passes over everything else; nothing if it did not come in time.
    ///
    /// # Errors
    /// The device ended, or cannot be understood.
    pub fn event_within(&mut self, name: &str, time: Nanoseconds) -> anyhow::Result<Option<Map<String, Value>>> {
        let clock = Clock::new();
        loop {
            if self.stream.buffer().is_empty() {
                let left = Duration::from_nanos(time.0.saturating_sub(clock.now().0));
                let left = Timespec::try_from(left).context("a time to wait for")?;
                let mut watched = [PollFd::new(self.stream.get_ref(), PollFlags::IN)];
                if poll(&mut watched, Some(&left)).context("cannot wait for the device")? == 0 {
                    return Ok(None);
                }
            }
            match self.hear()? {
                Some(Heard::Event(event)) if event.get("event").is_some_and(|heard| heard == name) => {
                    return Ok(Some(event));
                }
                Some(_) => {}
                None => bail!("the device ended"),
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Option<Map<String, Value>>> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).context("cannot hear the device")?;
        if count == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).with_context(|| format!("the device does not speak QMP: {}", line.trim_end()))
    }
}

fn described(answer: &Map<String, Value>) -> String {
    let desc = answer.get("error").and_then(|error| error.get("desc")).and_then(Value::as_str);
    desc.map_or_else(|| format!("{}", Value::Object(answer.clone())), str::to_owned)
}
