//! The web socket's thread: all clients, without waiting for any of them. What the device has to say it is asked for by a command between
//! two steps, as the control socket does; a snapshot serves everybody who asks at about the same time.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::sync::mpsc::TryRecvError;

use media::Nanoseconds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value, json};

use super::address::Listener;
use super::connection::Connection;
use super::request::Request;
use super::response::{self, Refusal};
use super::route::{Rights, Route};
use super::{metrics, snapshot};
use crate::clock::Clock;
use crate::control::commands::{self, Prepared, Refusal as Refused};
use crate::control::event::Event;
use crate::control::exchange::{PeerCommand, PeerId, ServerEnds, ToPeers};
use crate::control::message;

/// How many clients there may be. One more takes the place of the oldest for whom nothing is done at the moment; where the device works
/// for all of them, it waits in the listener's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// How many events are kept.
const EVENTS_MAX: usize = 100;
/// A snapshot that is no older serves whoever asks.
const FRESH: Nanoseconds = Nanoseconds(200_000_000);
/// How long to leave clients alone that cannot be accepted: most likely no descriptors are left.
const ACCEPT_PAUSE: Nanoseconds = Nanoseconds(100_000_000);
/// Whoever asks for a snapshot; no client has this number.
const OURSELVES: PeerId = PeerId(u64::MAX);

/// Everything about the web socket that the device's thread need not know.
pub struct Server {
    listener: Listener,
    rights: Rights,
    ends: ServerEnds,
    clock: Clock,
    connections: BTreeMap<PeerId, Connection>,
    next: u64,
    events: VecDeque<Value>,
    /// The last snapshot, and when it came.
    latest: Option<(Nanoseconds, Value)>,
    /// Who waits for the next one; the device was asked if somebody does.
    waiting: Vec<(PeerId, Route)>,
    /// Until then nobody is accepted.
    paused: Option<Nanoseconds>,
}

/// The device is gone, and with it the web socket.
struct Ended;

impl Server {
    /// A server without clients.
    pub fn new(listener: Listener, rights: Rights, ends: ServerEnds) -> Self {
        Self {
            listener,
            rights,
            ends,
            clock: Clock::new(),
            connections: BTreeMap::new(),
            next: 0,
            events: VecDeque::new(),
            latest: None,
            waiting: Vec::new(),
            paused: None,
        }
    }

    /// Serves until the device is gone.
    pub fn run(mut self) {
        loop {
            if let Err(error) = self.wait() {
                tracing::error!(%error, "the web socket is no longer served");
                return;
            }
            if self.ends.watch.heard()
                && let Err(Ended) = self.hear()
            {
                return;
            }
            let now = self.clock.now();
            self.connections.values_mut().for_each(|connection| connection.look(now));
            self.connections.retain(|_, connection| !connection.is_over());
            self.accept(now);
        }
    }

    /// Waits until there is something to do, and moves bytes.
    fn wait(&mut self) -> std::io::Result<()> {
        let now = self.clock.now();
        self.paused = self.paused.filter(|until| *until > now);
        let due = self.connections.values().map(Connection::until).chain(self.paused).min();
        let limit = due.map(|due| due.0.saturating_sub(now.0)).map(timespec);
        let ready: Vec<(PeerId, PollFlags)> = {
            let mut watched = vec![PollFd::new(&self.ends.watch, PollFlags::IN)];
            if self.takes_more() {
                watched.push(PollFd::new(&self.listener, PollFlags::IN));
            }
            let first = watched.len();
            // One that waits for the device is watched for nothing: should it hang up, the answer finds out.
            let wanted = || self.connections.iter().filter(|(_, connection)| !connection.interest().is_empty());
            watched.extend(wanted().map(|(_, connection)| PollFd::new(connection, connection.interest())));
            match poll(&mut watched, limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            wanted().map(|(id, _)| *id).zip(watched[first..].iter().map(PollFd::revents)).collect()
        };
        for (id, ready) in ready.into_iter().filter(|(_, ready)| !ready.is_empty()) {
            self.attend(id, ready);
        }
        Ok(())
    }

    fn attend(&mut self, id: PeerId, ready: PollFlags) {
        let now = self.clock.now();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if ready.contains(PollFlags::OUT) {
            connection.send(now);
        } else if let Some(request) = connection.receive(now) {
            self.carry_out(id, &request, now);
        }
    }

    fn carry_out(&mut self, id: PeerId, request: &Request, now: Nanoseconds) {
        let answer = match self.rights.route(request) {
            Err(refusal) => Some(refusal.bytes()),
            Ok(Route::Fixed(kind, text)) => Some(response::ok(kind, text.as_bytes())),
            Ok(Route::Order(command, words)) => self.order(id, command, words),
            Ok(route) => self.figures(id, route, now),
        };
        if let (Some(answer), Some(connection)) = (answer, self.connections.get_mut(&id)) {
            connection.answer(&answer, now);
        }
    }

    /// Has the device do something; the answer, if that is known already.
    fn order(&mut self, id: PeerId, command: &str, words: Map<String, Value>) -> Option<Vec<u8>> {
        tracing::info!(command, "ordered by the web socket");
        match commands::prepare(command, words) {
            Ok(Prepared::Job(job)) => {
                self.ask(PeerCommand { peer: id, id: None, job });
                None
            }
            Ok(Prepared::Answered(result)) => Some(of_order(result)),
            Err(error) => Some(response::conflict(failed(&error.desc).as_bytes())),
        }
    }

    /// Figures of the last snapshot, if it is fresh; otherwise they come with the next one.
    fn figures(&mut self, id: PeerId, route: Route, now: Nanoseconds) -> Option<Vec<u8>> {
        if let Some((_, snapshot)) = self.latest.as_ref().filter(|(came, _)| came.plus(FRESH) > now) {
            return Some(self.written(&route, snapshot));
        }
        if self.waiting.is_empty() {
            self.ask(PeerCommand { peer: OURSELVES, id: None, job: snapshot::job() });
        }
        self.waiting.push((id, route));
        None
    }

    fn ask(&self, command: PeerCommand) {
        // Without a device there is nobody to answer, and the end is near.
        let _ = self.ends.commands.send(command);
        (self.ends.wake_device)();
    }

    /// Hands on what the device's thread has said.
    fn hear(&mut self) -> Result<(), Ended> {
        loop {
            match self.ends.to_hear.try_recv() {
                Ok(ToPeers::Answer { peer: OURSELVES, result, .. }) => self.snapshot(result),
                Ok(ToPeers::Answer { peer, result, .. }) => {
                    let now = self.clock.now();
                    // What was ordered changes what is shown.
                    self.latest = None;
                    if let Some(connection) = self.connections.get_mut(&peer) {
                        connection.answer(&of_order(result), now);
                    }
                }
                Ok(ToPeers::Happened(event, when)) => self.keep(&event, when),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Ended),
            }
        }
    }

    fn keep(&mut self, event: &Event, when: std::time::Duration) {
        self.events.truncate(EVENTS_MAX - 1);
        self.events.push_front(message::event_value(event, when));
    }

    /// Everybody who waits gets what it asked for.
    fn snapshot(&mut self, result: Result<Value, Refused>) {
        let now = self.clock.now();
        self.latest = result.ok().map(|snapshot| (now, snapshot));
        for (id, route) in std::mem::take(&mut self.waiting) {
            let answer = self.latest.as_ref().map(|(_, snapshot)| self.written(&route, snapshot));
            let answer = answer.unwrap_or_else(|| Refusal::DEVICE_BUSY.bytes());
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.answer(&answer, now);
            }
        }
    }

    fn written(&self, route: &Route, snapshot: &Value) -> Vec<u8> {
        if *route == Route::Metrics {
            return response::ok(metrics::KIND, metrics::write(snapshot).as_bytes());
        }
        let mut state = snapshot.clone();
        state["events"] = json!(self.events);
        response::ok(response::JSON, state.to_string().as_bytes())
    }

    fn accept(&mut self, now: Nanoseconds) {
        while self.takes_more() {
            match self.listener.accept() {
                Ok(stream) => self.admit(Connection::new(stream, now)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client of the web socket");
                    self.paused = Some(now.plus(ACCEPT_PAUSE));
                }
            }
        }
    }

    /// Whether one more client may come now: there is a place, or somebody can go for it.
    fn takes_more(&self) -> bool {
        self.paused.is_none()
            && (self.connections.len() < CONNECTIONS_MAX || self.connections.values().any(Connection::may_go))
    }

    fn admit(&mut self, connection: Connection) {
        if self.connections.len() >= CONNECTIONS_MAX {
            let oldest = self.connections.iter().find(|(_, it)| it.may_go()).map(|(id, _)| *id);
            self.connections.remove(&oldest.expect("nobody is accepted where nobody can go"));
        }
        self.connections.insert(PeerId(self.next), connection);
        self.next += 1;
    }
}

/// How an order went.
fn of_order(result: Result<Value, Refused>) -> Vec<u8> {
    match result {
        Ok(value) => response::ok(response::JSON, value.to_string().as_bytes()),
        Err(refused) => response::conflict(failed(&refused.to_string()).as_bytes()),
    }
}

fn failed(why: &str) -> String {
    json!({ "error": why }).to_string()
}

fn timespec(nanoseconds: u64) -> Timespec {
    let seconds = i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds % 1_000_000_000).unwrap_or(0) }
}
