//! Where the parts meet: media, controller, transport and control socket become one [`Drive`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::Context;
use controller::config::{Config, Doorbells};
use controller::dma::DoorbellPage;
use controller::{Controller, Effect};
use media::Nanoseconds;
use vfio::{Server, ServerConfig};

use crate::control::{Desk, Device, Watcher};
use crate::device_loop::{Drive, Turn};
use crate::open_media::open_media;
use crate::options::Settings;
use crate::watch::Watch;

/// How many messages are handled before the controller has its turn.
const MESSAGES_PER_TURN: usize = 64;

/// Makes the device and listens at `socket`, and at `control` for orders. Runs in the thread that will attend to it. Nobody is listened to before the media has
/// recovered.
///
/// # Errors
/// The media cannot be used, or the socket cannot be made.
pub fn open(settings: Settings, socket: &Path, control: Option<&Path>) -> anyhow::Result<Wired> {
    let watch = Watch::new().context("cannot make what the device waits for")?;
    let media = open_media(&settings.media, watch.waker())?;
    let server = Server::bind(socket, &function(&settings.controller))
        .with_context(|| format!("cannot listen at {}", socket.display()))?;
    watch.add(server.as_fd()).context("cannot wait for the socket")?;
    let controller = Controller::new(settings.controller.clone(), media);
    let control = control.map(|path| Control::open(path, &watch, &controller)).transpose()?;
    Ok(Wired { server, controller, watch, settings, control })
}

/// The control socket, and what its peers were told last.
struct Control {
    desk: Desk,
    watcher: Watcher,
    /// The bell rang: there may be orders.
    rung: bool,
}

impl Control {
    fn open(path: &Path, watch: &Watch, controller: &Controller) -> anyhow::Result<Self> {
        let desk = Desk::open(path, watch.waker())
            .with_context(|| format!("cannot listen at {} for control", path.display()))?;
        Ok(Self { desk, watcher: Watcher::new(controller), rung: false })
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

/// A controller and the server through which a guest reaches it.
pub struct Wired {
    server: Server,
    controller: Controller,
    watch: Watch,
    settings: Settings,
    control: Option<Control>,
}

impl Wired {
    /// Carries out what the control socket's peers ordered.
    fn obey(&mut self, now: Nanoseconds) -> bool {
        let Some(control) = self.control.as_mut().filter(|control| control.rung) else { return false };
        control.rung = false;
        let mut device = Device {
            controller: &mut self.controller,
            settings: &self.settings,
            now,
            client_connected: self.server.client_connected(),
        };
        control.desk.attend(&mut device)
    }
}

impl Drive for Wired {
    fn service(&mut self) -> io::Result<bool> {
        // What the media has to say is said in the step that follows.
        let heard = self.watch.heard();
        if let Some(control) = &mut self.control {
            control.rung |= heard;
        }
        let progress = self.server.service(&mut self.controller, MESSAGES_PER_TURN)?;
        Ok(heard || progress.messages > 0)
    }

    fn step(&mut self, now: Nanoseconds) -> Turn {
        let obeyed = self.obey(now);
        let page = self.server.doorbells().map(|page| page as &dyn DoorbellPage);
        let progress = self.controller.step(now, self.server.memory(), page);
        for effect in self.controller.take_effects() {
            match (effect, &self.control) {
                (Effect::Message { vector }, _) => self.server.signal_message(vector),
                (Effect::EventReported(event), Some(control)) => control.desk.happened(event.into()),
                (Effect::EventReported(_), None) | (Effect::Pin { .. }, _) => {}
            }
        }
        // The level, not its changes: the client may have unmasked the pin since the last step.
        self.server.set_pin(self.controller.pin_asserted());
        if let Some(Control { desk, watcher, .. }) = &mut self.control {
            watcher.look(now, &self.controller, self.server.client_connected(), |event| desk.happened(event));
        }
        Turn { worked: obeyed || progress.worked, next_event: progress.next_event }
    }

    fn arm(&mut self) -> bool {
        if let Some(Control { desk, watcher, .. }) = &mut self.control {
            watcher.look_at_media(&self.controller, |event| desk.happened(event));
        }
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
