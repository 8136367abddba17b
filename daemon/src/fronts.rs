//! The sockets of a device: an NVMe device by vfio-user, a virtio disk by vhost-user. One client at a time has the device, on either
//! socket; a client of the other socket is refused meanwhile.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::Context;
use controller::config::{Config, Doorbells};
use controller::dma::DoorbellPage;
use controller::{Clock, Controller, Effect};
use media::Nanoseconds;
use vfio::ServerConfig;

use crate::device_loop::StepResult;
use crate::watch::Watch;

/// How many messages are handled before the controller has its turn.
const MESSAGES_PER_TURN: usize = 64;

/// Where a device can be reached.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// By vfio-user.
    pub socket: Option<PathBuf>,
    /// By vhost-user.
    pub vhost_user: Option<PathBuf>,
    /// For orders.
    pub control: Option<PathBuf>,
    /// For figures and a page.
    pub http: Option<PathBuf>,
    /// A folder, for traces that are started by orders.
    pub traces: Option<PathBuf>,
    /// What a guest's memory may lie in.
    pub guest_files: guest_memory::GuestFiles,
}

impl Places {
    /// The sockets that there are, by the options that name them.
    pub fn by_option(&self) -> Vec<(&'static str, PathBuf)> {
        let all = [
            ("--socket", &self.socket),
            ("--vhost-user", &self.vhost_user),
            ("--control", &self.control),
            ("--http", &self.http),
        ];
        all.into_iter().filter_map(|(option, place)| Some((option, place.clone()?))).collect()
    }
}

/// The servers, and the controller for as long as no vhost-user client has it.
pub struct Fronts {
    vfio: Option<vfio::Server>,
    vhost: Option<vhost::Server>,
    controller: Option<Box<Controller>>,
    /// What a controller reaches that nobody has: nothing.
    no_memory: guest_memory::Memory,
}

/// The controller, wherever it is.
pub enum Held<'a> {
    /// Here.
    Here(&'a mut Controller),
    /// With a vhost-user client.
    Lent(vhost::Held<'a>),
}

impl Deref for Held<'_> {
    type Target = Controller;

    fn deref(&self) -> &Controller {
        match self {
            Self::Here(controller) => controller,
            Self::Lent(held) => held,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Controller {
        match self {
            Self::Here(controller) => controller,
            Self::Lent(held) => held,
        }
    }
}

impl Fronts {
    /// Listens at all of the places.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn open(controller: Controller, places: &Places, watch: &Watch) -> anyhow::Result<Self> {
        let config = controller.config();
        // The virtio disk is the first namespace.
        let nsid = config.namespaces.first().map_or(1, |namespace| namespace.nsid);
        let function = ServerConfig { guest_files: places.guest_files, ..function(config) };
        let vfio = places.socket.as_ref().map(|path| vfio::Server::bind(path, &function).context("--socket"));
        let vhost = places
            .vhost_user
            .as_ref()
            .map(|path| vhost::Server::bind(path, nsid, places.guest_files).context("--vhost-user"));
        let (vfio, vhost) = (vfio.transpose()?, vhost.transpose()?);
        let descriptors = [vfio.as_ref().map(|server| server.as_fd()), vhost.as_ref().map(|server| server.as_fd())];
        for descriptor in descriptors.into_iter().flatten() {
            watch.add(descriptor).context("cannot wait for the socket")?;
        }
        let no_memory = guest_memory::Memory::default();
        Ok(Self { vfio, vhost, controller: Some(Box::new(controller)), no_memory })
    }

    /// The controller.
    pub fn controller(&mut self) -> Held<'_> {
        match &mut self.controller {
            Some(controller) => Held::Here(controller),
            None => Held::Lent(self.vhost.as_mut().and_then(vhost::Server::controller).expect("it is here or lent")),
        }
    }

    /// Whether a guest's own driver has the controller, and not the one in this process that serves a virtio disk.
    pub fn is_nvme(&self) -> bool {
        self.controller.is_some()
    }

    /// Whether a client has the device.
    pub fn client_connected(&self) -> bool {
        self.vfio.as_ref().is_some_and(vfio::Server::client_connected)
            || self.vhost.as_ref().is_some_and(vhost::Server::has_client)
    }

    /// Handles messages and connections. True if there were any.
    ///
    /// # Errors
    /// A server's own descriptors fail.
    pub fn service(&mut self) -> io::Result<bool> {
        let mut worked = false;
        if let Some(server) = &mut self.vfio {
            worked |= match &mut self.controller {
                Some(controller) => server.service(&mut **controller, MESSAGES_PER_TURN)?.messages > 0,
                None => server.turn_away("a virtual machine has the device as a virtio disk")?,
            };
        }
        if let Some(server) = &mut self.vhost {
            worked |= server.service()?;
        }
        Ok(worked)
    }

    /// Gives the device to a vhost-user client that waits for it, or turns it away.
    fn lend(&mut self, now: Nanoseconds) {
        let Some(server) = self.vhost.as_mut().filter(|server| server.wants_device()) else { return };
        if self.vfio.as_ref().is_some_and(vfio::Server::client_connected) {
            server.refuse("a virtual machine has the device as an NVMe device");
        } else if let Some(controller) = self.controller.take()
            && let Err(controller) = server.admit(*controller, now)
        {
            self.controller = Some(controller);
        }
    }

    /// One step of the controller, and the delivery of its effects; `reported` hears of events that the host was told of.
    pub fn step(
        &mut self,
        now: Nanoseconds,
        clock: &dyn Clock,
        mut reported: impl FnMut(nvme_spec::log::Event),
    ) -> StepResult {
        self.lend(now);
        let result = self.step_controller(now, clock);
        let Self { vfio, vhost, controller, .. } = self;
        let mut lent = vhost.as_mut().and_then(vhost::Server::controller);
        let Some(controller) = controller.as_deref_mut().or(lent.as_deref_mut()) else { return result };
        for effect in controller.take_effects() {
            match (effect, &mut *vfio) {
                (Effect::EventReported(event), _) => reported(event),
                (Effect::Message { vector }, Some(server)) => server.signal_message(vector),
                (Effect::Message { .. }, None) | (Effect::Pin { .. }, _) => {}
            }
        }
        if let Some(server) = vfio {
            // The level, not its changes: the client may have unmasked the pin since the last step.
            server.set_pin(controller.pin_asserted());
        }
        result
    }

    fn step_controller(&mut self, now: Nanoseconds, clock: &dyn Clock) -> StepResult {
        let Some(controller) = &mut self.controller else {
            let step = self.vhost.as_mut().map(|server| server.step_by(now, clock)).unwrap_or_default();
            self.controller = step.released;
            return StepResult { worked: step.worked, next_event: step.next_event };
        };
        let page = self.vfio.as_ref().and_then(vfio::Server::doorbells).map(|page| page as &dyn DoorbellPage);
        let memory = self.vfio.as_ref().map_or(&self.no_memory, vfio::Server::memory);
        let progress = controller.step_by(now, clock, memory, page);
        StepResult { worked: progress.worked, next_event: progress.next_event }
    }

    /// Before the loop sleeps: asks the guest to ring. False if there is work already.
    pub fn arm(&mut self) -> bool {
        let Some(controller) = &mut self.controller else {
            return self.vhost.as_mut().is_none_or(vhost::Server::arm);
        };
        let page = self.vfio.as_ref().and_then(vfio::Server::doorbells).map(|page| page as &dyn DoorbellPage);
        let memory = self.vfio.as_ref().map_or(&self.no_memory, vfio::Server::memory);
        controller.arm(memory, page)
    }

    /// Whether work may appear without any message.
    pub fn must_be_polled(&self) -> bool {
        let page = |server: &vfio::Server| server.doorbells().is_some() && server.client_connected();
        self.vfio.as_ref().is_some_and(page) || self.vhost.as_ref().is_some_and(vhost::Server::must_be_polled)
    }
}

/// The PCI function that carries the controller.
fn function(config: &Config) -> ServerConfig {
    ServerConfig {
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
                socket: Some(folder.join("nvme.sock")),
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
    fn one_front_at_a_time_has_the_device_and_the_other_one_is_turned_away() {
        let device = Running::start();
        for _ in 0..3 {
            let disk = device.disk();
            device.turns_away("nvme.sock");
            device.turns_away("disk.sock");
            drop(disk);
            let nvme = device.nvme();
            device.turns_away("disk.sock");
            device.turns_away("nvme.sock");
            drop(nvme);
        }
    }
}
