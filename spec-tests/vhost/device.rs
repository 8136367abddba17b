//! A device that serves a socket in a thread of its own, as the daemon does, until the test is over.

use std::cell::RefCell;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use controller::dma::DmaFault;
use controller::{ControllerId, Nanoseconds, Subsystem};
use guest_memory::GuestFiles;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use spec_tests::rig::{Build, STEP};
use spec_tests::slow_media::Behaviour;
use vhost::Server;

/// What lives in the device's thread.
pub struct World {
    server: Option<Server>,
    subsystem: Rc<RefCell<Subsystem>>,
    /// How the media behaves.
    pub behaviour: Rc<RefCell<Behaviour>>,
    path: PathBuf,
    now: Nanoseconds,
    memory: NoMemory,
}

impl World {
    /// What a SIGKILL and a new start look like to the client: the connection is gone, nothing under way is ever answered, the media
    /// is as it was, and somebody listens again.
    pub fn die_and_start_again(&mut self) {
        self.server.take().expect("a server").close();
        let controller = (Rc::clone(&self.subsystem), ControllerId::FIRST);
        self.server = Some(Server::bind(&self.path, controller, 1, GuestFiles::Memory).expect("the socket"));
    }

    /// Does something to the drive.
    pub fn with_subsystem<T>(&mut self, act: impl FnOnce(&mut Subsystem) -> T) -> T {
        act(&mut self.subsystem.borrow_mut())
    }

    /// Whether no client has the controller.
    pub fn is_free(&self) -> bool {
        self.server.as_ref().is_some_and(|server| !server.has_client())
    }

    fn turn(&mut self) -> bool {
        let server = self.server.as_mut().expect("a server");
        let mut worked = server.service().expect("the server's own descriptors");
        self.now = self.now.plus(STEP);
        let step = server.step(self.now);
        let mut subsystem = self.subsystem.borrow_mut();
        if !server.has_client() {
            subsystem.step(ControllerId::FIRST, self.now, &self.memory, None);
        }
        subsystem.controller_mut(ControllerId::FIRST).take_effects().for_each(drop);
        drop(subsystem);
        worked |= step.worked;
        worked || !server.arm()
    }

    fn sleep(&mut self) {
        let server = self.server.as_ref().expect("a server");
        let descriptor = server.as_fd();
        let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
        // Media time goes on as well, and the test's wishes are looked for.
        let limit = Timespec { tv_sec: 0, tv_nsec: 200_000 };
        let _ = poll(&mut watched, Some(&limit));
        self.now = self.now.plus(Nanoseconds(200_000));
    }
}

/// A guest without memory, for a controller that nobody has.
struct NoMemory;

impl controller::dma::GuestMemory for NoMemory {
    fn read(&self, address: u64, _into: &mut [u8]) -> Result<(), DmaFault> {
        Err(DmaFault { address })
    }

    fn write(&self, address: u64, _from: &[u8]) -> Result<(), DmaFault> {
        Err(DmaFault { address })
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        Err(DmaFault { address })
    }

    fn store_u32(&self, address: u64, _value: u32) -> Result<(), DmaFault> {
        Err(DmaFault { address })
    }

    fn store_u64(&self, address: u64, _value: u64) -> Result<(), DmaFault> {
        Err(DmaFault { address })
    }

    fn is_mapped(&self, _address: u64, length: u64) -> bool {
        length == 0
    }

    fn generation(&self) -> u64 {
        0
    }
}

type Wish = Box<dyn FnOnce(&mut World) + Send>;

/// A device, its socket, and its thread.
pub struct Device {
    folder: tempfile::TempDir,
    wishes: Option<Sender<Wish>>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// Starts it. Returns when it listens.
    pub fn start(build: Build) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk.sock");
        let (wishes, wished) = channel();
        let (ready, listening) = channel();
        let body = move || {
            let rig = build.rig();
            let subsystem = Rc::new(RefCell::new(rig.machine.subsystem));
            let controller = (Rc::clone(&subsystem), ControllerId::FIRST);
            let server = Server::bind(&path, controller, 1, GuestFiles::Memory).expect("a socket");
            ready.send(()).expect("the test waits");
            attend(
                World {
                    server: Some(server),
                    subsystem,
                    behaviour: rig.behaviour,
                    path,
                    now: Nanoseconds(0),
                    memory: NoMemory,
                },
                &wished,
            );
        };
        let thread = std::thread::spawn(body);
        listening.recv().expect("the device starts");
        Self { folder, wishes: Some(wishes), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk.sock")
    }

    /// Does something in the device's thread, between two of its turns.
    pub fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut World) -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let wish: Wish = Box::new(move |world| tell.send(what(world)).expect("the test waits"));
        self.wishes.as_ref().expect("it runs").send(wish).expect("the device lives");
        told.recv().expect("the device answers")
    }
}

fn attend(mut world: World, wished: &Receiver<Wish>) {
    loop {
        match wished.try_recv() {
            Ok(wish) => wish(&mut world),
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
        }
        if !world.turn() {
            world.sleep();
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.wishes = None;
        let ended = self.thread.take().map(JoinHandle::join);
        // A panic in the device is the test's failure, unless the test has failed already.
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the device's thread panicked");
        }
    }
}
