//! The client's end of the control socket.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use media::Nanoseconds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use serde_json::{Map, Value, json};

use crate::clock::Clock;

/// How long a device may take to greet: it does so at once.
const PATIENCE: Duration = Duration::from_secs(2);
/// A longer greeting is none.
const GREETING_BYTES: usize = 64 << 10;

/// A connection over which capabilities were negotiated.
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// What a wait came to.
pub enum Waited {
    /// The device said that something happened.
    Event(Value),
    /// It has ended.
    Ended,
    /// The other descriptor is readable.
    Other,
    /// Time is up.
    Time,
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
        let stream = connect_in_time(path).with_context(|| {
            format!("no device has a control socket at {} (serve --control makes one)", path.display())
        })?;
        let mut client = Self { stream: BufReader::new(stream) };
        let foreign = || format!("{} is no control socket of ours (serve --control makes one)", path.display());
        let greeting = client.greeting().with_context(foreign)?;
        if let Some(Value::String(package)) = greeting["QMP"]["version"].get("package")
            && !package.starts_with("brownout ")
        {
            return Err(anyhow!("something else speaks QMP there: {greeting}").context(foreign()));
        }
        client.execute("qmp_capabilities", &json!({}))?;
        Ok(client)
    }

    /// Hears who is there. The device greets at once; what waits for us to speak first is a socket of another kind, and we leave it
    /// before whoever it is meant for misses it.
    fn greeting(&mut self) -> anyhow::Result<Value> {
        let clock = Clock::new();
        let mut said = Vec::new();
        while !said.ends_with(b"\n") {
            let left = PATIENCE.saturating_sub(Duration::from_nanos(clock.now().0));
            if left.is_zero() || said.len() > GREETING_BYTES {
                bail!("no QMP greeting came within two seconds");
            }
            self.stream.get_ref().set_read_timeout(Some(left)).context("cannot wait for the device")?;
            let heard = match self.stream.fill_buf() {
                Ok([]) => bail!("the peer closed the connection without a greeting"),
                Ok(heard) => heard.iter().position(|byte| *byte == b'\n').map_or(heard, |end| &heard[..=end]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
                Err(error) => return Err(error).context("cannot read from the device"),
            };
            said.extend_from_slice(heard);
            let heard = heard.len();
            self.stream.consume(heard);
        }
        self.stream.get_ref().set_read_timeout(None).context("cannot wait for the device")?;
        let said = String::from_utf8_lossy(&said);
        match serde_json::from_str::<Map<String, Value>>(&said) {
            Ok(greeting) if greeting.contains_key("QMP") => Ok(Value::Object(greeting)),
            Ok(other) if other.contains_key("error") => bail!("{}", described(&other)),
            _ => bail!("it does not speak QMP: {}", said.trim_end()),
        }
    }

    /// Executes a command, and waits for what comes of it.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{request}").context("cannot send to the device")?;
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

    /// Waits for an event, for another descriptor, or for so much time to pass; without `limit` for ever.
    ///
    /// # Errors
    /// The device cannot be understood.
    pub fn wait(&mut self, other: BorrowedFd<'_>, limit: Option<Duration>) -> anyhow::Result<Waited> {
        let limit = limit.map(Timespec::try_from).transpose().context("a time to wait for")?;
        if self.stream.buffer().is_empty() {
            let mut watched = [PollFd::new(&other, PollFlags::IN), PollFd::new(self.stream.get_ref(), PollFlags::IN)];
            match poll(&mut watched, limit.as_ref()) {
                Ok(0) => return Ok(Waited::Time),
                Ok(_) if !watched[0].revents().is_empty() => return Ok(Waited::Other),
                Ok(_) => {}
                // A signal: the other descriptor tells of it.
                Err(Errno::INTR) => return Ok(Waited::Event(Value::Null)),
                Err(error) => return Err(error).context("cannot wait for the device"),
            }
        }
        Ok(match self.hear()? {
            Some(Heard::Event(event)) => Waited::Event(Value::Object(event)),
            Some(Heard::Answer(_)) => Waited::Event(Value::Null),
            None => Waited::Ended,
        })
    }

    fn line(&mut self) -> anyhow::Result<Option<Map<String, Value>>> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).context("cannot read from the device")?;
        if count == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).with_context(|| format!("the device does not speak QMP: {}", line.trim_end()))
    }
}

/// Connects, and gives up where nobody takes connections.
fn connect_in_time(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // It bounds connecting too: a process that stands still may have as many connections waiting as it can.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    match rustix::net::connect(&socket, &address) {
        Err(Errno::AGAIN) => {
            return Err(io::Error::new(ErrorKind::TimedOut, "nobody took the connection within two seconds"));
        }
        connected => connected?,
    }
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, None)?;
    Ok(UnixStream::from(socket))
}

fn described(answer: &Map<String, Value>) -> String {
    let desc = answer.get("error").and_then(|error| error.get("desc")).and_then(Value::as_str);
    desc.map_or_else(|| format!("{}", Value::Object(answer.clone())), str::to_owned)
}
