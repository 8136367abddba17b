//! The sockets of a device: NVMe devices by vfio-user, a virtio disk by vhost-user. Each has a controller of its own, and all controllers
//! the same namespaces. One client at a time has a socket.

use std::cell::{RefCell, RefMut};
use std::io;
use std::os::fd::AsFd as _;
use std::rc::Rc;

use anyhow::Context;
use controller::config::{Config, Doorbells};
use controller::dma::DoorbellPage;
use controller::{Clock, ControllerId, ControllerSet, Effect, Subsystem};
use media::Nanoseconds;
use vfio::{Function, ServerConfig};

use crate::device_loop::StepResult;
use crate::ports::{Places, Ports};
use crate::watch::Watch;

/// How many messages are handled before the controller has its turn.
const MESSAGES_PER_TURN: usize = 64;

/// The servers, each with a controller of its own, and the subsystem that these belong to.
pub struct Fronts {
    subsystem: Rc<RefCell<Subsystem>>,
    functions: Vec<(ControllerId, vfio::Server)>,
    /// Controllers whose sockets are closed, and who are not gone yet.
    leaving: Vec<ControllerId>,
    disk: Option<vhost::Server>,
    /// What a controller reaches that nobody has: nothing.
    no_memory: guest_memory::Memory,
}

impl Fronts {
    /// Listens at all of the places. The controllers of NVMe devices come first.
    ///
    /// # Errors
    /// A socket cannot be made.
    ///
    /// # Panics
    /// If the subsystem has fewer controllers than [`Places::controllers`].
    pub fn open(subsystem: Subsystem, places: &Places, watch: &Watch) -> anyhow::Result<Self> {
        let config = subsystem.config();
        // The virtio disk is the first namespace.
        let nsid = subsystem.namespaces().next().map_or(1, |namespace| namespace.nsid);
        let function = function(config, places);
        let mut ids = subsystem.ids();
        let subsystem = Rc::new(RefCell::new(subsystem));
        let mut next = || ids.next().expect("as many controllers as fronts");
        let bind = |path| vfio::Server::bind(path, &function).context("--socket");
        let functions = places.sockets.iter().map(|path| Ok((next(), bind(path)?)));
        let functions: Vec<_> = functions.collect::<anyhow::Result<_>>()?;
        let bind = |path| {
            let controller = (Rc::clone(&subsystem), next());
            vhost::Server::bind(path, controller, nsid, places.guest_files).context("--vhost-user")
        };
        let disk = places.vhost_user.as_ref().map(bind).transpose()?;
        if disk.is_some() {
            subsystem.borrow_mut().keep_blocks(nsid);
        }
        let descriptors =
            functions.iter().map(|(_, server)| server.as_fd()).chain(disk.as_ref().map(|disk| disk.as_fd()));
        for descriptor in descriptors {
            watch.add(descriptor).context("cannot wait for the socket")?;
        }
        Ok(Self { subsystem, functions, leaving: Vec::new(), disk, no_memory: guest_memory::Memory::default() })
    }

    /// Serves the sockets that were made, and closes those that are to be closed.
    ///
    /// # Errors
    /// The system has no more room for what to wait for.
    pub fn replug(&mut self, ports: &mut Ports, watch: &Watch) -> io::Result<()> {
        let (made, closing) = ports.take();
        for (id, server) in made {
            self.leaving.retain(|other| *other != id);
            watch.add(server.as_fd())?;
            self.functions.push((id, server));
        }
        let subsystem = &mut *self.subsystem.borrow_mut();
        for (id, mut server) in self.functions.extract_if(.., |(id, _)| closing.has(*id)) {
            server.hang_up(&mut Function { subsystem: &mut *subsystem, id });
            self.leaving.push(id);
        }
        Ok(())
    }

    /// The subsystem.
    pub fn subsystem(&self) -> RefMut<'_, Subsystem> {
        self.subsystem.borrow_mut()
    }

    /// Whether a guest's own driver has a controller, and not the one in this process that serves a virtio disk.
    pub fn is_nvme(&self, id: ControllerId) -> bool {
        self.functions.iter().any(|(other, _)| *other == id)
    }

    /// The controllers that a client has.
    pub fn clients(&self) -> ControllerSet {
        let mut clients = ControllerSet::NONE;
        for (id, server) in &self.functions {
            clients.set(*id, server.client_connected());
        }
        if let Some(disk) = &self.disk {
            clients.set(disk.id(), disk.has_client());
        }
        clients
    }

    /// Handles messages and connections. True if there were any.
    ///
    /// # Errors
    /// A server's own descriptors fail.
    pub fn service(&mut self) -> io::Result<bool> {
        let mut worked = false;
        let subsystem = &mut *self.subsystem.borrow_mut();
        for (id, server) in &mut self.functions {
            let function = &mut Function { subsystem: &mut *subsystem, id: *id };
            worked |= server.service(function, MESSAGES_PER_TURN)?.messages > 0;
        }
        if let Some(disk) = &mut self.disk {
            worked |= disk.service()?;
        }
        Ok(worked)
    }

    /// One step of each controller, and the delivery of its effects; `reported` hears of events that a host was told of.
    pub fn step(
        &mut self,
        now: Nanoseconds,
        clock: &dyn Clock,
        mut reported: impl FnMut(ControllerId, nvme_spec::log::Event),
    ) -> StepResult {
        let mut result = StepResult::default();
        for (id, server) in &mut self.functions {
            let subsystem = &mut *self.subsystem.borrow_mut();
            let page = server.doorbells().map(|page| page as &dyn DoorbellPage);
            let progress = subsystem.step_by(*id, now, clock, server.memory(), page);
            result.add(progress.worked, progress.next_event);
            let controller = subsystem.controller_mut(*id);
            for effect in controller.take_effects() {
                match effect {
                    Effect::EventReported(event) => reported(*id, event),
                    Effect::Message { vector } => server.signal_message(vector),
                    Effect::Pin { .. } => {}
                }
            }
            // The level, not its changes: the client may have unmasked the pin since the last step.
            server.set_pin(controller.pin_asserted());
        }
        for id in &self.leaving {
            let subsystem = &mut *self.subsystem.borrow_mut();
            if subsystem.ids().any(|there| there == *id) {
                let progress = subsystem.step_by(*id, now, clock, &self.no_memory, None);
                result.add(progress.worked, progress.next_event);
                subsystem.controller_mut(*id).take_effects().for_each(drop);
            }
        }
        if let Some(disk) = &mut self.disk {
            let step = disk.step_by(now, clock);
            result.add(step.worked, step.next_event);
            let subsystem = &mut *self.subsystem.borrow_mut();
            if !disk.has_client() {
                let progress = subsystem.step_by(disk.id(), now, clock, &self.no_memory, None);
                result.add(progress.worked, progress.next_event);
            }
            for effect in subsystem.controller_mut(disk.id()).take_effects() {
                if let Effect::EventReported(event) = effect {
                    reported(disk.id(), event);
                }
            }
        }
        result
    }

    /// Before the loop sleeps: asks the guests to ring. False if there is work already.
    pub fn arm(&mut self) -> bool {
        let mut idle = true;
        for (id, server) in &self.functions {
            let page = server.doorbells().map(|page| page as &dyn DoorbellPage);
            idle &= self.subsystem.borrow_mut().arm(*id, server.memory(), page);
        }
        if let Some(disk) = &mut self.disk {
            idle &= if disk.has_client() {
                disk.arm()
            } else {
                self.subsystem.borrow_mut().arm(disk.id(), &self.no_memory, None)
            };
        }
        idle
    }

    /// Whether work may appear without any message.
    pub fn must_be_polled(&self) -> bool {
        let page =
            |(_, server): &(ControllerId, vfio::Server)| server.doorbells().is_some() && server.client_connected();
        self.functions.iter().any(page) || self.disk.as_ref().is_some_and(vhost::Server::must_be_polled)
    }
}

/// The PCI function that carries the controller.
pub fn function(config: &Config, places: &Places) -> ServerConfig {
    ServerConfig {
        guest_files: places.guest_files,
        vendor_id: config.vendor_id,
        device_id: config.device_id,
        subsystem_vendor_id: config.vendor_id,
        vectors: config.vectors,
        doorbells: match config.doorbells {
            Doorbells::Trapped => vfio::Doorbells::Trapped,
            Doorbells::Mapped => vfio::Doorbells::Mapped,
        },
        ..ServerConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::Places;
    use crate::testing;

    /// A device with both fronts.
    struct Running(testing::Running);

    impl Running {
        fn start() -> Self {
            Self(testing::Running::start("size=16MiB", |folder| Places {
                sockets: vec![folder.join("nvme.sock")],
                vhost_user: Some(folder.join("disk.sock")),
                ..Places::default()
            }))
        }

        /// A client that sent a message and got a reply that begins so. The device may not have heard yet that another one left.
        fn client(&self, name: &str, message: &[u8], reply: &[u8]) -> UnixStream {
            for _ in 0..10_000 {
                let mut stream = self.0.connect(name);
                let mut told = vec![0; reply.len()];
                if stream.write_all(message).is_ok() && stream.read_exact(&mut told).is_ok() {
                    assert_eq!(told, reply, "{name}");
                    return stream;
                }
                std::thread::yield_now();
            }
            panic!("{name} is turned away for ever");
        }

        /// By vhost-user: GET_FEATURES is message 1 of version 1.
        fn disk(&self) -> UnixStream {
            let message = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
            self.client("disk.sock", &message, &[1, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0, 0])
        }

        /// By vfio-user: VERSION is command 1, here of version 0.0.
        fn nvme(&self) -> UnixStream {
            let message = [0, 0, 1, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            self.client("nvme.sock", &message, &[0, 0, 1, 0])
        }

        fn turns_away(&self, name: &str) {
            let mut byte = [0];
            assert_eq!(self.0.connect(name).read(&mut byte).expect("the end"), 0, "{name}");
        }
    }

    #[test]
    fn both_fronts_are_served_at_the_same_time_each_for_one_client() {
        let device = Running::start();
        for _ in 0..3 {
            let disk = device.disk();
            device.turns_away("disk.sock");
            let nvme = device.nvme();
            device.turns_away("disk.sock");
            device.turns_away("nvme.sock");
            drop(disk);
            let disk = device.disk();
            device.turns_away("nvme.sock");
            drop((disk, nvme));
        }
    }
}
