//! A peer of a daemon's control socket, for tests: commands and events as they are on the wire.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

/// A connection over which capabilities were negotiated.
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// Events that came before somebody asked for them.
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects and negotiates.
    ///
    /// # Panics
    /// Nobody speaks QMP there.
    #[must_use]
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("a control socket");
        let mut peer = Self { stream: BufReader::new(stream), events: VecDeque::new() };
        assert!(peer.hear()["QMP"].is_object(), "a greeting comes first");
        peer.execute("qmp_capabilities", &json!({})).expect("negotiated");
        peer
    }

    /// What a command gives.
    ///
    /// # Errors
    /// Why it was not done.
    ///
    /// # Panics
    /// The daemon ended.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, String> {
        let request = json!({ "execute": command, "arguments": arguments });
        write!(self.stream.get_mut(), "{request}").expect("the daemon lives");
        loop {
            let mut heard = self.hear();
            if heard.get("event").is_some() {
                self.events.push_back(heard);
            } else if let Some(error) = heard.get("error") {
                return Err(error["desc"].as_str().unwrap_or_default().to_owned());
            } else {
                return Ok(heard["return"].take());
            }
        }
    }

    /// The data of the next event of this name; others before it are passed over.
    ///
    /// # Panics
    /// The daemon ended.
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            let mut event = self.events.pop_front().unwrap_or_else(|| self.hear());
            if event["event"] == name {
                return event["data"].take();
            }
        }
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the daemon lives");
        serde_json::from_str(&line).expect("a line of JSON")
    }
}
