//! The listener, and the life of a client from its connection to its end. rust-vmm's request handler decodes and answers messages; it
//! reads and writes as if it could block. It never has to: it gets a message only when all of it has arrived and there is room for the
//! answer.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use controller::{Clock, ControllerId, Nanoseconds, Subsystem};
use guest_memory::descriptor::{discard, hang_up, is_choked, is_unix_socket};
use guest_memory::{GuestFiles, Limit, Vetting};
use rust_vmm_vhost::vhost_user::{BackendReqHandler, Error};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, recv};
use tracing::{info, warn};
use vfio::Watched;
use vfio::socket::{SocketFile, listen_at};

use crate::disk::Disk;
use crate::session::Session;
use crate::wire::Features;
use crate::{channel, offer};

const LISTENER_TOKEN: u64 = 0;
const CLIENT_TOKEN: u64 = 1;
/// How many waiting connections are looked at in one service.
const ACCEPTS_MAX: usize = 8;
/// How many messages are answered in a step.
const MESSAGES_PER_STEP: usize = 64;
/// The most rings that are offered; fewer if the controller has fewer queue pairs.
const RINGS_MAX: u16 = 64;

/// The messages that are looked at before they are handled, by their numbers in the protocol.
mod code {
    pub(super) const SET_FEATURES: u32 = 2;
    pub(super) const GET_VRING_BASE: u32 = 11;
    pub(super) const SET_BACKEND_REQ_FD: u32 = 21;
    pub(super) const SET_CONFIG: u32 = 25;
}
/// A message begins with a code, flags, and how many bytes follow.
const HEADER_BYTES: usize = 12;
/// How much of what follows is looked at before a message is handled.
const BODY_BYTES: usize = 16;

/// What a step did.
#[derive(Default)]
pub struct Step {
    /// Something moved: another step may find more to do.
    pub worked: bool,
    /// When a step is due even if nobody kicks.
    pub next_event: Option<Nanoseconds>,
}

/// A vhost-user-blk server: one socket, one client at a time, and a controller of its own for them.
pub struct Server {
    socket_file: SocketFile,
    epoll: Arc<OwnedFd>,
    listener: Watched,
    subsystem: Rc<RefCell<Subsystem>>,
    id: ControllerId,
    nsid: u32,
    /// Accepted, and not yet given the device.
    waiting: Option<UnixStream>,
    client: Option<Client>,
    vetting: Vetting,
    comings: Limit,
    goings: Limit,
    refusals: Limit,
}

/// A client that has the device.
struct Client {
    stream: UnixStream,
    _watched: Watched,
    handler: BackendReqHandler<Mutex<Session>>,
    session: Arc<Mutex<Session>>,
    /// The message at the head of the stream has begun to take effect, and waits for that.
    begun: bool,
}

/// What lies at the head of a client's stream.
enum Head {
    /// Nothing, or a part of a message.
    Nothing,
    /// A message, all of it, with room for an answer.
    Message { code: u32, bytes: usize, body: [u8; BODY_BYTES] },
    /// The end.
    Closed,
}

/// How the other end of a client's stream is.
struct Peer {
    gone: bool,
    room: bool,
}

impl Server {
    /// Listens at `path`, for clients that get namespace `nsid` through the controller `id`, and whose guest's memory lies in `files`.
    ///
    /// # Errors
    /// As [`listen_at`] and [`Vetting::new`].
    pub fn bind(
        path: impl AsRef<Path>,
        (subsystem, id): (Rc<RefCell<Subsystem>>, ControllerId),
        nsid: u32,
        files: GuestFiles,
    ) -> io::Result<Self> {
        let vetting = Vetting::new(files)?;
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let (listener, socket_file) = listen_at(path.as_ref())?;
        let listener = Watched::new(&epoll, listener.into(), LISTENER_TOKEN)?;
        let (comings, goings, refusals) = Default::default();
        Ok(Self {
            socket_file,
            epoll,
            listener,
            subsystem,
            id,
            nsid,
            waiting: None,
            client: None,
            vetting,
            comings,
            goings,
            refusals,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.socket_file.path()
    }

    /// Whether a client has the device.
    #[must_use]
    pub const fn has_client(&self) -> bool {
        self.client.is_some()
    }

    /// Takes connections and notices what has arrived. Never waits. True if there was anything.
    ///
    /// # Errors
    /// The server's own descriptors fail. What a client does is never an error.
    pub fn service(&mut self) -> io::Result<bool> {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 16];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = match epoll::wait(&self.epoll, &mut events, Some(&now)) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        if events.iter().take(count).any(|event| event.data.u64() == LISTENER_TOKEN) {
            self.accept();
        }
        Ok(count > 0)
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            match rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(stream) => self.note(stream.into()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    if let Some(times) = self.refusals.admit() {
                        warn!(%error, times, "cannot accept a connection");
                    }
                    break;
                }
            }
        }
    }

    /// Keeps a connection until the device is free; a second one is closed.
    fn note(&mut self, stream: UnixStream) {
        // Whoever comes right after others have left may be seen first.
        let stays = |stream: &UnixStream| matches!(state_of_peer(stream), Ok(Peer { gone: false, .. }));
        let others = [self.waiting.as_ref(), self.client.as_ref().map(|client| &client.stream)];
        if others.into_iter().flatten().any(stays) {
            self.refuse(stream, "a device has one client at a time");
        } else if is_choked() {
            self.refuse(stream, "descriptors of others before it cannot be closed");
        } else {
            self.waiting.replace(stream).into_iter().for_each(hang_up);
        }
    }

    /// Closes a connection, and says why in the log: the protocol has no words for it.
    fn refuse(&self, stream: UnixStream, why: &str) {
        if let Some(times) = self.refusals.admit() {
            warn!(socket = %self.path().display(), process = process_of(&stream), times, "refused a client: {why}");
        }
        hang_up(stream);
    }

    /// Gives the device to the client that waits for it. If the controller cannot be a disk the client is refused, which is in the log.
    fn admit(&mut self, now: Nanoseconds) {
        let Some(stream) = self.waiting.take() else { return };
        let rings = self.subsystem.borrow().config().io_queue_pairs.min(RINGS_MAX);
        let disk = match Disk::start((Rc::clone(&self.subsystem), self.id), self.nsid, rings, now) {
            Ok(disk) => disk,
            Err(error) => return self.refuse(stream, &error.to_string()),
        };
        let process = process_of(&stream);
        match Client::new(&self.epoll, stream, Session::new(disk, rings, Arc::clone(&self.epoll))) {
            Ok(client) => self.client = Some(client),
            Err(failed) => {
                let (session, error) = *failed;
                warn!(%error, "cannot serve a client");
                return session.disk.stop();
            }
        }
        if let Some(times) = self.comings.admit() {
            info!(socket = %self.path().display(), process, times, "client connected");
        }
    }

    /// Answers messages and works on the rings, while time stands still.
    pub fn step(&mut self, now: Nanoseconds) -> Step {
        struct Still(Nanoseconds);
        impl Clock for Still {
            fn now(&self) -> Nanoseconds {
                self.0
            }
        }
        self.step_by(now, &Still(now))
    }

    /// Answers messages and works on the rings, from `now` on and for about as long as [`Subsystem::step_by`]. Without a client
    /// nothing is done.
    pub fn step_by(&mut self, now: Nanoseconds, clock: &dyn Clock) -> Step {
        self.admit(now);
        let Some(client) = &mut self.client else { return Step::default() };
        let (answered, ending) = client.converse(&self.vetting);
        if let Some(why) = ending {
            if let Some(times) = self.goings.admit() {
                info!(socket = %self.socket_file.path().display(), why, times, "client gone, listening again");
            }
            self.client.take().into_iter().for_each(Client::leave);
            return Step { worked: true, next_event: None };
        }
        let (worked, next_event) = client.session().run(now, clock);
        Step { worked: worked || answered, next_event }
    }

    /// Before the caller sleeps: asks for kicks. False if there is work already.
    pub fn arm(&mut self) -> bool {
        self.client.as_mut().is_none_or(|client| client.session().arm())
    }

    /// Whether a ring may move without anybody being told.
    #[must_use]
    pub fn must_be_polled(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.session().must_be_polled())
    }

    /// The end of the server, and of its client: the controller is reset.
    pub fn close(mut self) {
        self.client.take().into_iter().for_each(Client::leave);
    }

    /// The controller that its clients have.
    #[must_use]
    pub const fn id(&self) -> ControllerId {
        self.id
    }
}

impl AsFd for Server {
    /// An epoll descriptor, readable when [`Server::service`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn process_of(stream: &UnixStream) -> Option<i32> {
    rustix::net::sockopt::socket_peercred(stream).ok().map(|peer| peer.pid.as_raw_nonzero().get())
}

/// Whether the peer has closed its end, and whether an answer can be sent at once: the system says so while three quarters of the
/// socket's buffer are free, and when nobody will read it.
fn state_of_peer(stream: &UnixStream) -> io::Result<Peer> {
    let mut descriptors = [PollFd::new(stream, PollFlags::OUT | PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut descriptors, Some(&now)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Peer { gone: false, room: false }),
        Err(error) => return Err(error.into()),
    }
    let [found] = descriptors.map(|descriptor| descriptor.revents());
    let gone = found.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR);
    Ok(Peer { gone, room: gone || found.contains(PollFlags::OUT) })
}

impl Client {
    fn new(epoll: &Arc<OwnedFd>, stream: UnixStream, session: Session) -> Result<Self, Box<(Session, io::Error)>> {
        let watched = stream.try_clone().and_then(|copy| {
            let handler_copy = stream.try_clone()?;
            Ok((Watched::arrivals(epoll, copy.into(), CLIENT_TOKEN)?, handler_copy))
        });
        let (watched, copy) = match watched {
            Ok(both) => both,
            Err(error) => return Err(Box::new((session, error))),
        };
        #[expect(
            clippy::arc_with_non_send_sync,
            reason = "the request handler takes its device so; both stay in this thread"
        )]
        let session = Arc::new(Mutex::new(session));
        let handler = BackendReqHandler::from_stream(copy, Arc::clone(&session));
        Ok(Self { stream, _watched: watched, handler, session, begun: false })
    }

    /// The lock is the request handler's wish; nobody else is there to wait for.
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(self) {
        let Self { stream, handler, session, .. } = self;
        // The handler and what watches have copies of both sockets: ours are the last, and closed when that can be done.
        drop(handler);
        drop(self._watched);
        hang_up(stream);
        let session = Arc::into_inner(session).expect("the request handler held the only other one");
        let mut session = session.into_inner().unwrap_or_else(PoisonError::into_inner);
        session.channel.take().into_iter().for_each(discard);
        session.disk.stop();
    }

    /// Answers messages that are there: whether there were any, and why the client is gone, if it is.
    fn converse(&mut self, vetting: &Vetting) -> (bool, Option<String>) {
        for count in 0..MESSAGES_PER_STEP {
            let (code, bytes, body) = match self.head() {
                Ok(Head::Nothing) => return (count > 0, None),
                Ok(Head::Closed) => return (true, Some("it closed the connection".to_owned())),
                Ok(Head::Message { code, bytes, body }) => (code, bytes, body),
                Err(error) => return (true, Some(format!("its socket failed: {error}"))),
            };
            if !self.is_ready_for(code, &body) {
                return (count > 0, None);
            }
            let channel = match self.vet(vetting, code, bytes) {
                Ok(channel) => channel,
                Err(why) => return (true, Some(why)),
            };
            match self.handler.handle_request() {
                // The handler has found that it is a socket, and that there may be one.
                Ok(()) if channel.is_some() => {
                    let before = std::mem::replace(&mut self.session().channel, channel);
                    before.into_iter().for_each(discard);
                }
                Ok(()) => {}
                Err(Error::Disconnected) => return (true, Some("it closed the connection".to_owned())),
                Err(error) => return (true, Some(format!("its message {code} cannot be: {error}"))),
            }
        }
        (true, None)
    }

    /// Judges what comes with the message at the head of the stream before the handler takes it, which closes what it cannot use, and asks
    /// files what they are: either may last as long as whoever serves the file likes. A copy of the channel, if it brings that; or why the
    /// client cannot stay.
    fn vet(&self, vetting: &Vetting, code: u32, bytes: usize) -> Result<Option<UnixStream>, String> {
        let brought = channel::peek(&self.stream, bytes).map_err(|error| format!("its socket failed: {error}"))?;
        let mut channel = None;
        let mut harmless = !brought.more;
        for descriptor in brought.descriptors {
            if code == code::SET_BACKEND_REQ_FD && channel.is_none() && is_unix_socket(descriptor.as_fd()) {
                channel = Some(UnixStream::from(descriptor));
            } else {
                harmless &= vetting.admit(descriptor).is_some();
            }
        }
        if harmless {
            return Ok(channel);
        }
        channel.into_iter().for_each(discard);
        Err(format!("its message {code} brings a descriptor that the device could be held up by"))
    }

    /// Looks at the next message without taking it.
    fn head(&self) -> io::Result<Head> {
        let mut bytes = [0; HEADER_BYTES + BODY_BYTES];
        let seen = match recv(&self.stream, &mut bytes, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(Head::Closed),
            Ok((_, seen)) => seen,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Head::Nothing),
            Err(error) => return Err(error.into()),
        };
        let (header, body) = bytes.split_at(HEADER_BYTES);
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let arrived = rustix::io::ioctl_fionread(&self.stream)?;
        // What is longer than a message may be is refused by its header alone.
        let length = Some(number(8)).filter(|length| *length <= 4096).unwrap_or(0);
        let whole = seen >= HEADER_BYTES && arrived >= HEADER_BYTES as u64 + u64::from(length);
        match state_of_peer(&self.stream)? {
            // A part of a message that will never be whole, or an answer that nobody will read.
            Peer { gone: true, .. } if !whole => return Ok(Head::Closed),
            Peer { room: true, .. } if whole => {}
            _ => return Ok(Head::Nothing),
        }
        let body = body.try_into().expect("as many bytes as follow the header");
        Ok(Head::Message { code: number(0), bytes: HEADER_BYTES + length as usize, body })
    }

    /// Whether a message can be handled now. One that stops a ring waits for the requests of that ring; one that says how writes are
    /// cached waits for what that takes.
    fn is_ready_for(&mut self, code: u32, body: &[u8; BODY_BYTES]) -> bool {
        let mut begun = self.begun;
        let mut session = self.session();
        let number = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        let ready = match code {
            code::GET_VRING_BASE => session.is_stopped(number(0)),
            code::SET_FEATURES => {
                let features = u64::from(number(0)) | u64::from(number(4)) << 32;
                let wanted = session.wanted_cache(Features::from_bits_retain(features));
                session.is_cached(wanted, &mut begun)
            }
            // A configuration's offset, size, flags, and then its bytes.
            code::SET_CONFIG => match offer::written_cache(number(0), &body[12..13]).filter(|_| number(4) == 1) {
                Some(writeback) => session.is_written_back(writeback, &mut begun),
                None => true,
            },
            _ => true,
        };
        drop(session);
        self.begun = begun && !ready;
        ready
    }
}
