//! The control socket's thread: all connections, without waiting for any of them. It negotiates, finds commands and checks their
//! arguments; commands are executed on the device's thread.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixListener;
use std::sync::mpsc::TryRecvError;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value};

use super::commands::{self, Job, Prepared, Refusal};
use super::exchange::{PeerCommand, PeerId, ServerEnds, ToPeers};
use super::message::{self, ProtocolError, Request};
use super::peer::Peer;

/// How many peers there may be. One more takes the place of the oldest that has hung up or not negotiated, or is refused.
pub const PEERS_MAX: usize = 32;
/// How long to leave connections alone that cannot be accepted: most likely no descriptors are left.
const ACCEPT_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Everything about the control socket that the device's thread need not know.
pub struct Server {
    listener: UnixListener,
    ends: ServerEnds,
    peers: BTreeMap<PeerId, Peer>,
    next: u64,
    /// The last connection could not be accepted.
    exhausted: bool,
}

/// The device is gone, and with it the control socket.
struct Ended;

impl Server {
    /// A server without peers. The listener must not wait.
    pub const fn new(listener: UnixListener, ends: ServerEnds) -> Self {
        Self { listener, ends, peers: BTreeMap::new(), next: 0, exhausted: false }
    }

    /// Serves until the device is gone.
    pub fn run(mut self) {
        loop {
            if let Err(error) = self.wait() {
                tracing::error!(%error, "the control socket is no longer served");
                return;
            }
            if self.ends.watch.heard()
                && let Err(Ended) = self.hear()
            {
                return;
            }
            let ids: Vec<PeerId> = self.peers.keys().copied().collect();
            ids.into_iter().for_each(|id| self.attend(id));
            // Before newcomers, who may have waited for the place of one who left.
            self.peers.retain(|_, peer| !peer.is_over());
            self.accept();
        }
    }

    /// Waits until there is something to do, and moves bytes.
    fn wait(&mut self) -> io::Result<()> {
        let mut waiting: Vec<(&mut Peer, PollFlags)> = Vec::new();
        let ready: Vec<PollFlags> = {
            let interests: Vec<PollFlags> = self.peers.values().map(Peer::interest).collect();
            let mut watched = vec![PollFd::new(&self.ends.watch, PollFlags::IN)];
            if !self.exhausted {
                watched.push(PollFd::new(&self.listener, PollFlags::IN));
            }
            let first_peer = watched.len();
            let wanted = self.peers.values().zip(&interests).filter(|(_, interest)| !interest.is_empty());
            watched.extend(wanted.map(|(peer, interest)| PollFd::new(peer, *interest)));
            match poll(&mut watched, self.exhausted.then_some(&ACCEPT_PAUSE)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            watched[first_peer..].iter().map(PollFd::revents).collect()
        };
        self.exhausted = false;
        waiting.extend(self.peers.values_mut().filter(|peer| !peer.interest().is_empty()).zip(ready));
        for (peer, ready) in waiting {
            if ready.contains(PollFlags::OUT) {
                peer.flush();
            }
            if !ready.difference(PollFlags::OUT).is_empty() {
                peer.receive();
            }
        }
        Ok(())
    }

    /// Hands on what the device's thread has said.
    fn hear(&mut self) -> Result<(), Ended> {
        loop {
            match self.ends.to_hear.try_recv() {
                Ok(ToPeers::Answer { peer, id, result }) => {
                    if let Some(peer) = self.peers.get_mut(&peer) {
                        peer.waits = false;
                        peer.send(&message::answer(id, result.map_err(|refusal| generic(&refusal))));
                    }
                }
                Ok(ToPeers::Happened(event, when)) => {
                    let text = message::event(&event, when);
                    self.peers.values_mut().filter(|peer| peer.negotiated).for_each(|peer| peer.send(&text));
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Ended),
            }
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if stream.set_nonblocking(true).is_ok() {
                        self.admit(Peer::new(stream));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the control socket");
                    self.exhausted = true;
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut peer: Peer) {
        if self.peers.len() >= PEERS_MAX {
            let mut peers = self.peers.iter();
            let Some(oldest) = peers.find(|(_, peer)| !peer.negotiated || peer.hung_up()).map(|(id, _)| *id) else {
                // What it does not take at once it does not get.
                peer.dismiss(&format!("there are {PEERS_MAX} peers already"));
                return;
            };
            self.peers.remove(&oldest);
        }
        self.peers.insert(PeerId(self.next), peer);
        self.next += 1;
    }

    /// Answers what a peer asks for, up to the first command that the device must carry out.
    fn attend(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        while let Some(bytes) = peer.take() {
            let (name, found) = match message::parse(&bytes) {
                Ok(Request { execute, arguments, id }) => (id, find(&mut peer.negotiated, &execute, arguments)),
                Err((id, error)) => (id, Err(error)),
            };
            match found {
                Ok(Found::Answer(result)) => {
                    peer.send(&message::answer(name, result.map_err(|refusal| generic(&refusal))));
                }
                Ok(Found::Command(command)) => {
                    peer.waits = true;
                    // Without a device there is nobody to answer, and the end is near.
                    let _ = self.ends.commands.send(PeerCommand { peer: id, id: name, job: command });
                    (self.ends.wake_device)();
                }
                Err(error) => peer.send(&message::answer(name, Err(error))),
            }
        }
    }
}

/// What a request comes to.
enum Found {
    /// It is answered: it was about the connection, or about this program.
    Answer(Result<Value, Refusal>),
    /// The device is to do it.
    Command(Job),
}

fn generic(refusal: &Refusal) -> ProtocolError {
    ProtocolError::generic(refusal.to_string())
}

/// The order of things that the protocol wants: capabilities first and once, then commands.
fn find(negotiated: &mut bool, name: &str, arguments: Map<String, Value>) -> Result<Found, ProtocolError> {
    match (name, *negotiated) {
        ("qmp_capabilities", false) => {
            commands::read::<commands::QmpCapabilities>(arguments)?;
            *negotiated = true;
            Ok(Found::Answer(Ok(Value::Object(Map::new()))))
        }
        ("qmp_capabilities", true) => Err(ProtocolError::not_found("capabilities were negotiated already")),
        (_, false) => Err(ProtocolError::not_found(format!(
            "`{name}` comes after the negotiation of capabilities: execute `qmp_capabilities` first"
        ))),
        (_, true) => commands::prepare(name, arguments).map(|prepared| match prepared {
            Prepared::Job(job) => Found::Command(job),
            Prepared::Answered(answer) => Found::Answer(answer),
        }),
    }
}
