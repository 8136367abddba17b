//! Where the parts meet: media, controller and transport become one [`Drive`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::Context;
use controller::config::{Config, Doorbells};
use controller::dma::DoorbellPage;
use controller::{Controller, Effect};
use media::Nanoseconds;
use vfio::{Server, ServerConfig};

use crate::device_loop::{Drive, Turn};
use crate::open_media::open_media;
use crate::options::Settings;
use crate::watch::Watch;

/// How many messages are handled before the controller has its turn.
const MESSAGES_PER_TURN: usize = 64;

/// Makes the device and listens at `socket`. Runs in the thread that will attend to it. Nobody is listened to before the media has
/// recovered.
///
/// # Errors
/// The media cannot be used, or the socket cannot be made.
pub fn open(settings: &Settings, socket: &Path) -> anyhow::Result<Wired> {
    let watch = Watch::new().context("cannot make what the device waits for")?;
    let media = open_media(&settings.media, watch.waker())?;
    let server = Server::bind(socket, &function(&settings.controller))
        .with_context(|| format!("cannot listen at {}", socket.display()))?;
    watch.add(server.as_fd()).context("cannot wait for the socket")?;
    let controller = Controller::new(settings.controller.clone(), media);
    Ok(Wired { server, controller, watch })
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

/// A controller and the server through which a guest reaches it.
pub struct Wired {
    server: Server,
    controller: Controller,
    watch: Watch,
}

impl Drive for Wired {
    fn service(&mut self) -> io::Result<bool> {
        // What the media has to say is said in the step that follows.
        let heard = self.watch.heard();
        let progress = self.server.service(&mut self.controller, MESSAGES_PER_TURN)?;
        Ok(heard || progress.messages > 0)
    }

    fn step(&mut self, now: Nanoseconds) -> Turn {
        let page = self.server.doorbells().map(|page| page as &dyn DoorbellPage);
        let progress = self.controller.step(now, self.server.memory(), page);
        for effect in self.controller.take_effects() {
            if let Effect::Message { vector } = effect {
                self.server.signal_message(vector);
            }
        }
        // The level, not its changes: the client may have unmasked the pin since the last step.
        self.server.set_pin(self.controller.pin_asserted());
        Turn { worked: progress.worked, next_event: progress.next_event }
    }

    fn arm(&mut self) -> bool {
        let page = self.server.doorbells().map(|page| page as &dyn DoorbellPage);
        self.controller.arm(self.server.memory(), page)
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    fn rest(&mut self, now: Nanoseconds) -> Option<Result<(), String>> {
        let outcome = self.controller.quiesce(now)?;
        Some(outcome.map_err(|error| format!("the media did not come to rest: {error:?}")))
    }

    fn must_be_polled(&self) -> bool {
        self.server.doorbells().is_some() && self.server.client_connected()
    }
}
