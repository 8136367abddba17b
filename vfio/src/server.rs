//! The listener, and the life of a client from its connection to its end.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use guest_memory::descriptor::{hang_up, is_choked};
use guest_memory::{Limit, Memory, Vetting};
use rustix::event::{Timespec, epoll};
use rustix::io::Errno as SystemErrno;
use rustix::net::SocketFlags;
use tracing::{info, warn};

use crate::config::ServerConfig;
use crate::connection::{Connection, Ending, Incoming};
use crate::interrupt::UNMASK_TOKEN;
use crate::pci::VECTORS_MAX;
use crate::session::Session;
use crate::socket::{SocketFile, listen_at};
use crate::watch::Watched;
use crate::{Device, Page};

const LISTENER_TOKEN: u64 = 0;
const CLIENT_TOKEN: u64 = 1;
/// How many waiting connections are looked at in one service.
const ACCEPTS_MAX: usize = 8;

/// What [`Server::service`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many messages were answered.
    pub messages: usize,
    /// The budget was used up and more messages are waiting: call again before sleeping.
    pub more: bool,
    /// A client came or went, or both.
    pub client_changed: bool,
}

/// A vfio-user server: one socket, one client at a time.
pub struct Server {
    socket_file: SocketFile,
    epoll: Arc<OwnedFd>,
    listener: Watched,
    connection: Option<Connection>,
    session: Session,
    vetting: Vetting,
    comings: Limit,
    goings: Limit,
    refusals: Limit,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("path", &self.socket_file.path()).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens at `path`. A socket file that a dead server has left there is replaced.
    ///
    /// # Errors
    /// The path is too long, or taken by a live server or by something that is not a socket; the configuration cannot be; or what
    /// the system says.
    pub fn bind(path: impl AsRef<Path>, config: &ServerConfig) -> io::Result<Self> {
        let path = path.as_ref();
        if config.vectors > VECTORS_MAX {
            let text = format!("{} MSI-X vectors: give at most {VECTORS_MAX}", config.vectors);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let session = Session::new(config, Arc::clone(&epoll))?;
        let vetting = Vetting::new(config.guest_files)?;
        let (listener, socket_file) = listen_at(path)?;
        let listener = Watched::new(&epoll, listener.into(), LISTENER_TOKEN)?;
        Ok(Self {
            socket_file,
            epoll,
            listener,
            connection: None,
            session,
            vetting,
            comings: Limit::default(),
            goings: Limit::default(),
            refusals: Limit::default(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.socket_file.path()
    }

    /// The memory that the client shares.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.session.memory
    }

    /// The doorbell page, if doorbells are mapped. A client gets a fresh one, so do not hold on to it.
    #[must_use]
    pub fn doorbells(&self) -> Option<&Page> {
        self.session.page.as_ref()
    }

    /// Whether there is a client.
    #[must_use]
    pub fn client_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Fires an MSI-X vector.
    pub fn signal_message(&mut self, vector: u16) {
        self.session.interrupts.signal_message(vector);
    }

    /// Sets the level of the interrupt pin. It reaches the client if MSI-X is off and the host has not turned the pin off.
    pub fn set_pin(&mut self, asserted: bool) {
        self.session.set_pin(asserted);
    }

    /// Answers up to `budget` messages, accepts and ends connections. Never waits.
    ///
    /// # Errors
    /// The server's own descriptors fail. What a client does is never an error.
    pub fn service(&mut self, device: &mut dyn Device, budget: usize) -> io::Result<Progress> {
        let ready = self.ready()?;
        let mut progress = Progress::default();
        if ready.unmask {
            self.session.interrupts.unmask_by_descriptor();
        }
        if let Some(connection) = &mut self.connection {
            if ready.client {
                connection.readable();
            }
            if let Err(ending) = converse(connection, &self.vetting, &mut self.session, device, budget, &mut progress) {
                self.end(device, &ending);
                progress.client_changed = true;
            }
        }
        if ready.listener {
            progress.client_changed |= self.accept(device)?;
        }
        Ok(progress)
    }

    fn refuse(&self, stream: OwnedFd, whom_and_why: fmt::Arguments<'_>) {
        if let Some(times) = self.refusals.admit() {
            let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
            let process = peer.map(|peer| peer.pid.as_raw_nonzero().get());
            warn!(process, times, "refused {whom_and_why}");
        }
        hang_up(stream);
    }

    fn ready(&self) -> io::Result<Ready> {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 4];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = match epoll::wait(&self.epoll, &mut events, Some(&now)) {
            Ok(count) => count,
            Err(SystemErrno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let has = |token| events.iter().take(count).any(|event| event.data.u64() == token);
        Ok(Ready { listener: has(LISTENER_TOKEN), client: has(CLIENT_TOKEN), unmask: has(UNMASK_TOKEN) })
    }

    /// Takes waiting connections: one becomes the client if there is none, the others are closed. Whether there is a new client.
    fn accept(&mut self, device: &mut dyn Device) -> io::Result<bool> {
        let mut changed = false;
        for _ in 0..ACCEPTS_MAX {
            let Some(stream) = self.take_connection() else { break };
            changed |= self.admit(stream, device)?;
        }
        Ok(changed)
    }

    fn take_connection(&self) -> Option<OwnedFd> {
        loop {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(stream) => return Some(stream),
                Err(SystemErrno::AGAIN) => return None,
                Err(SystemErrno::INTR | SystemErrno::CONNABORTED) => {}
                Err(error) => {
                    // Most likely no descriptors are left. The connection waits; so do we.
                    if let Some(times) = self.refusals.admit() {
                        warn!(%error, times, "cannot accept a connection");
                    }
                    return None;
                }
            }
        }
    }

    fn admit(&mut self, stream: OwnedFd, device: &mut dyn Device) -> io::Result<bool> {
        // Whoever comes right after another has left may be seen first.
        if self.connection.as_ref().is_some_and(Connection::is_over) {
            self.end(device, &Ending::Closed);
        }
        if self.connection.is_some() {
            self.refuse(stream, format_args!("a second client: a device has one at a time"));
            return Ok(false);
        }
        if is_choked() {
            self.refuse(stream, format_args!("a client: descriptors of others before it cannot be closed"));
            return Ok(false);
        }
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok();
        self.connection = Some(Connection::new(&self.epoll, stream, CLIENT_TOKEN)?);
        if let Some(times) = self.comings.admit() {
            let process = peer.map(|peer| peer.pid.as_raw_nonzero().get());
            info!(process, user = peer.map(|peer| peer.uid.as_raw()), times, "client connected");
        }
        Ok(true)
    }

    /// Ends the client, if there is one: its device is reset, as when it leaves.
    pub fn hang_up(&mut self, device: &mut dyn Device) {
        if self.connection.is_some() {
            self.end(device, &Ending::Closed);
        }
    }

    fn end(&mut self, device: &mut dyn Device, ending: &Ending) {
        if let Some(connection) = self.connection.take() {
            connection.hang_up();
        }
        self.session.forget_client(device);
        if let Some(times) = self.goings.admit() {
            info!(why = %ending, times, "client gone, listening again");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.connection.take().into_iter().for_each(Connection::hang_up);
    }
}

impl AsFd for Server {
    /// An epoll descriptor, readable when [`Server::service`] has something to do: watch it, level-triggered, in the loop's own.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

struct Ready {
    listener: bool,
    client: bool,
    unmask: bool,
}

/// Answers messages until there is none or the budget is used up.
fn converse(
    connection: &mut Connection,
    vetting: &Vetting,
    session: &mut Session,
    device: &mut dyn Device,
    budget: usize,
    progress: &mut Progress,
) -> Result<(), Ending> {
    connection.resume()?;
    while progress.messages < budget {
        let answer = match connection.next(vetting)? {
            None => return Ok(()),
            Some(Incoming::Oversize(header)) => session.refuse_oversize(&header),
            Some(Incoming::Message(frame, descriptors)) => {
                session.handle(device, &frame.header, connection.payload(&frame), descriptors)
            }
        };
        progress.messages += 1;
        if let Some(answer) = answer {
            connection.send(answer.bytes, answer.descriptor)?;
        }
    }
    progress.more = true;
    Ok(())
}
