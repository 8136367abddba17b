//! A server in a thread with a toy device, and a client that sends bytes.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use tempfile::TempDir;
use vfio::message::{Command, Errno, FLAG_ERROR, HEADER_BYTES, Header};
use vfio::testing::ToyDevice;
use vfio::{Doorbells, Server, ServerConfig};

pub const PATIENCE: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut Server, &mut ToyDevice) + Send>;

/// The server, served by a thread of its own as the daemon's loop would.
pub struct Rig {
    pub path: PathBuf,
    jobs: Option<Sender<Job>>,
    kick: OwnedFd,
    thread: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Rig {
    pub fn new(doorbells: Doorbells) -> Self {
        Self::with_config(&ServerConfig { doorbells, ..ServerConfig::default() })
    }

    pub fn with_config(config: &ServerConfig) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cntrl");
        let server = Server::bind(&path, config).expect("a server");
        let kick = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
        let (jobs, orders) = channel();
        let waker = kick.try_clone().expect("a descriptor");
        let thread = std::thread::spawn(move || serve(server, &orders, &waker));
        Self { path, jobs: Some(jobs), kick, thread: Some(thread), _directory: directory }
    }

    /// Runs `job` in the server's thread, between two services.
    pub fn with<T: Send + 'static>(&self, job: impl FnOnce(&mut Server, &mut ToyDevice) -> T + Send + 'static) -> T {
        let (sender, receiver) = channel();
        let job: Job = Box::new(move |server, device| {
            let _ = sender.send(job(server, device));
        });
        self.jobs.as_ref().expect("running").send(job).expect("the server's thread lives");
        rustix::io::write(&self.kick, &1_u64.to_ne_bytes()).expect("kick");
        receiver.recv_timeout(PATIENCE).expect("the server's thread answers")
    }

    /// Waits until the server has seen the client go.
    pub fn wait_until_free(&self) {
        self.wait("no client", |server, _| !server.client_connected());
    }

    pub fn wait(&self, what: &str, condition: impl Fn(&mut Server, &mut ToyDevice) -> bool + Send + Copy + 'static) {
        for _ in 0..5000 {
            if self.with(condition) {
                return;
            }
            pause();
        }
        panic!("waited in vain for {what}");
    }

    pub fn client(&self) -> RawClient {
        RawClient::connect(&self.path)
    }

    /// A client that has agreed on a version.
    pub fn ready_client(&self) -> RawClient {
        let mut client = self.client();
        client.call(Command::VERSION, &[0; 4]).expect("version");
        client
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = rustix::io::write(&self.kick, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(std::thread::panicking() || outcome.is_ok(), "the server's thread panicked");
        }
    }
}

fn serve(mut server: Server, orders: &Receiver<Job>, kick: &OwnedFd) {
    let mut device = ToyDevice::default();
    loop {
        while server.service(&mut device, 16).expect("the server's own descriptors work").more {}
        loop {
            match orders.try_recv() {
                Ok(job) => job(&mut server, &mut device),
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
        let mut descriptors = [PollFd::new(&server, PollFlags::IN), PollFd::new(kick, PollFlags::IN)];
        let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut descriptors, Some(&limit));
        let _ = rustix::io::read(kick, &mut [0; 8]);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test waits for another thread of its own")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

/// A reply as it came.
#[derive(Debug)]
pub struct Received {
    pub header: Header,
    pub payload: Vec<u8>,
    pub descriptors: Vec<OwnedFd>,
}

/// A client that sends bytes.
pub struct RawClient {
    pub stream: UnixStream,
    next_id: u16,
}

impl RawClient {
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
        Self { stream, next_id: 1 }
    }

    /// A message with the next id.
    pub fn message(&mut self, command: Command, flags: u32, payload: &[u8]) -> Vec<u8> {
        self.next_id = self.next_id.wrapping_add(1);
        let size = u32::try_from(HEADER_BYTES + payload.len()).expect("short");
        let mut bytes = Header { id: self.next_id, command, size, flags, error: 0 }.encode().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    pub fn send_with(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        }
        let count = sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).expect("send");
        assert_eq!(count, bytes.len());
    }

    pub fn receive(&mut self) -> Received {
        let mut head = [0; HEADER_BYTES];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let received = recvmsg(
            &self.stream,
            &mut [IoSliceMut::new(&mut head)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
        )
        .expect("a reply");
        assert_eq!(received.bytes, HEADER_BYTES, "a whole header");
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        let header = Header::parse(&head).expect("16 bytes");
        let mut payload = vec![0; header.size as usize - HEADER_BYTES];
        self.stream.read_exact(&mut payload).expect("a payload");
        Received { header, payload, descriptors }
    }

    pub fn call(&mut self, command: Command, payload: &[u8]) -> Result<Vec<u8>, Errno> {
        self.call_with(command, payload, &[]).map(|received| received.payload)
    }

    pub fn call_with(
        &mut self,
        command: Command,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Received, Errno> {
        let message = self.message(command, 0, payload);
        self.send_with(&message, descriptors);
        let received = self.receive();
        assert_eq!((received.header.id, received.header.command), (self.next_id, command), "the reply to this");
        assert_eq!(received.header.kind(), 1);
        if received.header.flags & FLAG_ERROR == 0 { Ok(received) } else { Err(Errno(received.header.error)) }
    }

    pub fn read(&mut self, region: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let reply = self.call(Command::REGION_READ, &access(region, offset, count))?;
        assert_eq!(&reply[..16], access(region, offset, count));
        assert_eq!(reply.len(), 16 + count as usize);
        Ok(reply[16..].to_vec())
    }

    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let mut payload = access(region, offset, u32::try_from(data.len()).expect("short"));
        payload.extend_from_slice(data);
        let reply = self.call(Command::REGION_WRITE, &payload)?;
        assert_eq!(reply, payload[..16], "the reply echoes the arguments without the data");
        Ok(())
    }

    pub fn map(
        &mut self,
        flags: u32,
        offset: u64,
        address: u64,
        length: u64,
        file: Option<&OwnedFd>,
    ) -> Result<(), Errno> {
        let descriptors: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
        let payload = numbers(&[32, flags], &[offset, address, length]);
        self.call_with(Command::DMA_MAP, &payload, &descriptors).map(|received| assert!(received.payload.is_empty()))
    }

    pub fn unmap(&mut self, flags: u32, address: u64, length: u64) -> Result<(), Errno> {
        let payload = numbers(&[24, flags], &[address, length]);
        self.call(Command::DMA_UNMAP, &payload).map(|reply| assert_eq!(reply, payload, "echoed"))
    }

    pub fn set_irqs(&mut self, numbers: [u32; 4], data: &[u8], descriptors: &[&OwnedFd]) -> Result<(), Errno> {
        let [flags, index, start, count] = numbers;
        let mut payload = self::numbers(&[20, flags, index, start, count], &[]);
        payload.extend_from_slice(data);
        let descriptors: Vec<_> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        self.call_with(Command::DEVICE_SET_IRQS, &payload, &descriptors)
            .map(|received| assert!(received.payload.is_empty(), "the reply is a header"))
    }
}

/// Arguments of REGION_READ and REGION_WRITE.
pub fn access(region: u32, offset: u64, count: u32) -> Vec<u8> {
    [&offset.to_le_bytes()[..], &region.to_le_bytes(), &count.to_le_bytes()].concat()
}

/// 32-bit numbers, then 64-bit ones.
pub fn numbers(short: &[u32], long: &[u64]) -> Vec<u8> {
    let mut bytes: Vec<u8> = short.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend(long.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

pub fn memory_file(length: u64) -> OwnedFd {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("memfd");
    ftruncate(&file, length).expect("length");
    file
}

pub fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd")
}

/// How often an event was signalled since the last look.
pub fn signals(event: &OwnedFd) -> u64 {
    let mut counter = [0; 8];
    match rustix::io::read(event, &mut counter) {
        Ok(_) => u64::from_ne_bytes(counter),
        Err(rustix::io::Errno::AGAIN) => 0,
        Err(error) => panic!("{error}"),
    }
}
