//! The control socket of a whole device, in this process: what peers send and get, over the real socket.

mod commands;
mod hostile;
mod protocol;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::testing;
use crate::wiring::Places;
use serde_json::{Value, json};

/// A device of one namespace in memory, with both of its sockets.
struct Running(testing::Running);

impl Running {
    fn start() -> Self {
        Self::with_controllers(1)
    }

    /// The same with so many NVMe sockets.
    fn with_controllers(count: usize) -> Self {
        Self(testing::Running::start("size=16MiB,lba=512", |folder| Places {
            sockets: (0..count).map(|number| folder.join(format!("nvme{number}.sock"))).collect(),
            control: Some(folder.join("control.sock")),
            ..Places::default()
        }))
    }

    fn path(&self) -> PathBuf {
        self.0.path("control.sock")
    }

    /// A connection that was greeted.
    fn connect(&self) -> Peer {
        let mut peer = Peer::new(self.0.connect("control.sock"));
        assert!(peer.hear().expect("a greeting")["QMP"]["version"]["qemu"]["major"].is_u64());
        peer
    }

    /// A connection on which commands are taken.
    fn peer(&self) -> Peer {
        let mut peer = self.connect();
        assert_eq!(peer.ask("qmp_capabilities", json!({})), Ok(json!({})));
        peer
    }

    /// Ends the device, and says whether that was orderly.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.0.stop()
    }
}

/// The other end of a connection.
struct Peer {
    stream: BufReader<UnixStream>,
}

impl Peer {
    fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).expect("the socket takes it");
    }

    /// The next message; nothing when the connection was ended.
    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(1..) => Some(serde_json::from_str(&line).expect("JSON in a line")),
            // A peer that is dropped with something unread hears of a reset.
            Ok(0) | Err(_) => None,
        }
    }

    /// The next answer, whatever events come before it.
    fn answer(&mut self) -> Value {
        loop {
            let message = self.hear().expect("an answer");
            if message.get("event").is_none() {
                return message;
            }
        }
    }

    /// What a command gives, or why not.
    fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let mut order = json!({ "execute": command });
        order["arguments"] = arguments;
        self.send(&order.to_string());
        let mut answer = self.answer();
        match answer.get("error") {
            Some(error) => Err(error["desc"].as_str().expect("a description").to_owned()),
            None => Ok(answer["return"].take()),
        }
    }

    /// The name and the data of the next event.
    fn event(&mut self) -> (String, Value) {
        let mut event = self.hear().expect("an event");
        assert!(event["timestamp"]["seconds"].is_u64() && event["timestamp"]["microseconds"].is_u64(), "{event}");
        (event["event"].as_str().expect("an event").to_owned(), event["data"].take())
    }
}
