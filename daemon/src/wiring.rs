//! Where the parts meet: media, controller and transport become one [`Drive`].

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use controller::config::Doorbells;
use controller::dma::DoorbellPage;
use controller::{Controller, Effect};
use media::Nanoseconds;
use media::store::RamMedia;
use vfio::{Server, ServerConfig};

use crate::device_loop::{Drive, Turn};
use crate::options::Settings;

/// How many messages are answered before the controller has its turn.
const MESSAGES_PER_SERVICE: usize = 64;

/// Makes the device and listens at `socket`. Runs in the thread that will attend to it.
///
/// # Errors
/// The socket cannot be made.
pub fn open(settings: &Settings, socket: &Path) -> anyhow::Result<Wired> {
    let config = &settings.controller;
    let doorbells = match config.doorbells {
        Doorbells::Trapped => vfio::Doorbells::Trapped,
        Doorbells::Mapped => vfio::Doorbells::Mapped,
    };
    let function = ServerConfig {
        vendor_id: config.vendor_id,
        device_id: config.device_id,
        vectors: config.vectors,
        doorbells,
        ..ServerConfig::default()
    };
    let server = Server::bind(socket, &function)?;
    let volumes: Vec<_> = settings.volumes.iter().map(|volume| (volume.block_bytes, volume.capacity_blocks)).collect();
    let controller = Controller::new(config.clone(), Box::new(RamMedia::new(&volumes)));
    Ok(Wired { server, front: Front { controller, pin: false } })
}

/// A controller behind a vfio-user server.
pub struct Wired {
    server: Server,
    front: Front,
}

/// The controller as the server sees it.
struct Front {
    controller: Controller,
    /// The level that the controller last gave the pin.
    pin: bool,
}

impl Wired {
    /// Hands the interrupts of a step to the server.
    fn deliver(&mut self) {
        for effect in self.front.controller.take_effects() {
            match effect {
                Effect::Message { vector } => self.server.signal_message(vector),
                Effect::Pin { asserted } => {
                    self.front.pin = asserted;
                    self.server.set_pin(asserted);
                }
            }
        }
    }
}

impl Drive for Wired {
    fn service(&mut self) -> io::Result<bool> {
        let progress = self.server.service(&mut self.front, MESSAGES_PER_SERVICE)?;
        Ok(progress.messages > 0 || progress.more || progress.client_changed)
    }

    fn step(&mut self, now: Nanoseconds) -> Turn {
        let page = self.server.doorbells().map(|page| -> &dyn DoorbellPage { page });
        let progress = self.front.controller.step(now, self.server.memory(), page);
        self.deliver();
        Turn { worked: progress.worked, next_event: progress.next_event }
    }

    fn arm(&mut self) -> bool {
        let page = self.server.doorbells().map(|page| -> &dyn DoorbellPage { page });
        self.front.controller.arm(self.server.memory(), page)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.server.as_fd()
    }

    fn must_be_polled(&self) -> bool {
        self.server.doorbells().is_some() && self.server.client_connected()
    }
}

impl vfio::Device for Front {
    fn bar_read(&mut self, offset: u64, into: &mut [u8]) {
        self.controller.bar_read(offset, into);
    }

    fn bar_write(&mut self, offset: u64, from: &[u8]) {
        self.controller.bar_write(offset, from);
    }

    fn reset(&mut self) {
        self.controller.reset_function();
    }

    fn set_bus_master(&mut self, enabled: bool) {
        self.controller.set_bus_master(enabled);
    }

    fn set_interrupt_mode(&mut self, mode: vfio::InterruptMode) {
        self.controller.set_interrupt_mode(match mode {
            vfio::InterruptMode::Pin => controller::InterruptMode::Pin,
            vfio::InterruptMode::MsiX => controller::InterruptMode::MsiX,
        });
    }

    fn pin_asserted(&self) -> bool {
        self.pin
    }
}
