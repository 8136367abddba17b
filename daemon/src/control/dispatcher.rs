//! The dispatcher between two threads: the control socket's thread passes commands on; the device's thread executes them between two
//! steps, and returns answers and events. Neither waits for the other.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use vfio::socket::listen_at;

use super::commands::Device;
use super::event::Event;
use super::exchange::{PeerCommand, ServerEnds, ToPeers};
use super::server::Server;
use crate::clock::since_1970;
use crate::watch::Watch;

/// The device's side, and with it the control socket: it is gone when this is dropped.
pub struct Dispatcher {
    commands: Receiver<PeerCommand>,
    /// Those that were begun and have not ended.
    begun: Vec<PeerCommand>,
    /// Taken away at the end, by which the other side knows that it is the end.
    to_peers: Option<Sender<ToPeers>>,
    wake: Box<dyn Fn() + Send>,
    thread: Option<JoinHandle<()>>,
}

impl Dispatcher {
    /// Listens at `path`, for this user only. `wake` rings for the device's thread.
    ///
    /// # Errors
    /// The path cannot be a socket of ours, or the system has no more descriptors.
    pub fn open(path: &Path, wake: Box<dyn Fn() + Send>) -> io::Result<Self> {
        let (listener, file) = listen_at(path)?;
        Self::start("control", wake, |ends| {
            let server = Server::new(listener, ends);
            move || {
                let _file = file;
                server.run();
            }
        })
    }

    /// A dispatcher to a server that `serve` makes, in a thread of this name. The server ends when there is nothing more to hear.
    ///
    /// # Errors
    /// The system has no more descriptors, or no more threads.
    pub fn start<B: FnOnce() + Send + 'static>(
        name: &str,
        wake_device: Box<dyn Fn() + Send>,
        serve: impl FnOnce(ServerEnds) -> B,
    ) -> io::Result<Self> {
        let watch = Watch::new()?;
        let wake_server = watch.waker();
        let (command, commands) = channel();
        let (to_peers, to_hear) = channel();
        let body = serve(ServerEnds { watch, commands: command, wake_device, to_hear });
        let thread = Builder::new().name(name.to_owned()).spawn(body)?;
        Ok(Self { commands, begun: Vec::new(), to_peers: Some(to_peers), wake: wake_server, thread: Some(thread) })
    }

    /// Carries out what was ordered next, if anything was. Each peer has at most one command here.
    pub fn attend(&mut self, device: &mut Device<'_>) -> bool {
        // What was begun hears of the device before the next command changes it.
        let answered = self.go_on(device);
        let Ok(command) = self.commands.try_recv() else { return answered };
        self.carry_out(command, device);
        true
    }

    /// Whether something was begun that has to be looked after when the device has stepped.
    pub const fn waits(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Answers what was begun and has ended. True if anything has.
    fn go_on(&mut self, device: &mut Device<'_>) -> bool {
        let begun = std::mem::take(&mut self.begun);
        let count = begun.len();
        begun.into_iter().for_each(|command| self.carry_out(command, device));
        self.begun.len() < count
    }

    fn carry_out(&mut self, mut command: PeerCommand, device: &mut Device<'_>) {
        match (command.job)(device) {
            Some(result) => self.tell(ToPeers::Answer { peer: command.peer, id: command.id, result }),
            None => self.begun.push(command),
        }
    }

    /// Something happened.
    pub fn happened(&self, event: Event) {
        tracing::debug!(?event);
        self.tell(ToPeers::Happened(event, since_1970()));
    }

    fn tell(&self, to_peers: ToPeers) {
        if let Some(sender) = &self.to_peers {
            // A server that ended has said why; the device goes on without it.
            let _ = sender.send(to_peers);
        }
        (self.wake)();
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.to_peers = None;
        (self.wake)();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a server's thread panicked; see its message above");
        }
    }
}
