//! Event descriptors, masks and the pin's level semantics.
//!
//! A client attaches event descriptors with DEVICE_SET_IRQS and may swap them at any time: QEMU does at each mask and unmask under
//! KVM. Interrupts that cannot be delivered now are kept as pending, as the MSI-X pending bits of hardware would.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use guest_memory::{Limit, Signal, event};
use tracing::debug;

use crate::message::{Action, Errno, InterruptData, SetInterrupts};
use crate::watch::Watched;

/// Interrupt index of the pin.
pub const INDEX_PIN: u32 = 0;
/// Interrupt index of MSI, of which there is none.
pub const INDEX_MSI: u32 = 1;
/// Interrupt index of MSI-X.
pub const INDEX_MSIX: u32 = 2;

/// The epoll token of the pin's unmask descriptor.
pub(crate) const UNMASK_TOKEN: u64 = 2;

/// Where one interrupt goes.
fn signal(descriptor: OwnedFd) -> Result<Signal, Errno> {
    Signal::new(descriptor).ok_or(Errno::INVAL)
}

/// One MSI-X vector.
#[derive(Debug, Default)]
struct Vector {
    signal: Option<Signal>,
    masked: bool,
    pending: bool,
}

impl Vector {
    fn fire(&mut self) {
        match &self.signal {
            Some(signal) if !self.masked => signal.raise(),
            _ => self.pending = true,
        }
    }

    fn settle(&mut self) {
        if self.pending && !self.masked && self.signal.is_some() {
            self.pending = false;
            self.fire();
        }
    }
}

/// The pin: a level, signalled by an event, and silent after that until the client unmasks it.
#[derive(Debug, Default)]
struct Pin {
    signal: Option<Signal>,
    unmask: Option<Watched>,
    asserted: bool,
    masked: bool,
}

impl Pin {
    fn settle(&mut self) {
        if self.asserted
            && !self.masked
            && let Some(signal) = &self.signal
        {
            self.masked = true;
            signal.raise();
        }
    }
}

/// All interrupts of the device.
#[derive(Debug)]
pub struct Interrupts {
    epoll: Arc<OwnedFd>,
    pin: Pin,
    vectors: Vec<Vector>,
    undelivered: Limit,
}

impl Interrupts {
    /// `epoll` will watch the pin's unmask descriptor, with token 2.
    pub(crate) fn new(epoll: Arc<OwnedFd>, vectors: u16) -> Self {
        let vectors = (0..vectors).map(|_| Vector::default()).collect();
        Self { epoll, pin: Pin::default(), vectors, undelivered: Limit::default() }
    }

    /// How many interrupts an index has; `None` if there is no such index. Error and request interrupts are not offered: QEMU stops
    /// the machine when the former fires.
    #[must_use]
    pub fn count(&self, index: u32) -> Option<u32> {
        match index {
            INDEX_PIN => Some(1),
            INDEX_MSI => Some(0),
            INDEX_MSIX => u32::try_from(self.vectors.len()).ok(),
            _ => None,
        }
    }

    /// Closes all descriptors and forgets all masks.
    pub fn clear(&mut self) {
        self.pin = Pin::default();
        self.vectors.fill_with(Vector::default);
    }

    /// Fires a vector. One that is masked or has no descriptor stays pending.
    pub fn signal_message(&mut self, vector: u16) {
        match self.vectors.get_mut(usize::from(vector)) {
            Some(vector) => vector.fire(),
            None => {
                if let Some(times) = self.undelivered.admit() {
                    debug!(vector, times, "interrupt for a vector that does not exist");
                }
            }
        }
    }

    /// Sets the level of the pin, and signals if it is asserted and the client has unmasked it since the last signal.
    ///
    /// Only this signals. When the client unmasks, the device may not have seen yet what the client did before (moved a queue's
    /// head, say): to signal then would be to interrupt for nothing, and under emulation a guest that finds nothing to do does not touch
    /// the device, so that the pin would never fall. The caller tells the level after each step of the device.
    pub fn set_pin(&mut self, asserted: bool) {
        self.pin.asserted = asserted;
        self.pin.settle();
    }

    /// The pin's unmask descriptor is readable.
    pub(crate) fn unmask_by_descriptor(&mut self) {
        match self.pin.unmask.as_ref().map(|unmask| event::take(unmask.as_fd())) {
            Some(Ok(Some(_))) => self.pin.masked = false,
            Some(Ok(None)) | None => {}
            // A kernel that cannot read it without waiting (before 5.10): without this it would stay readable for ever.
            Some(Err(_)) => self.pin.unmask = None,
        }
    }

    /// DEVICE_SET_IRQS. `descriptors` are those that came with it; what is not attached is closed.
    ///
    /// # Errors
    /// The errno of the error reply. Nothing has changed then.
    pub fn set(&mut self, request: &SetInterrupts<'_>, descriptors: Vec<OwnedFd>) -> Result<(), Errno> {
        let available = self.count(request.index).ok_or(Errno::INVAL)?;
        let end = request.start.checked_add(request.count).filter(|end| *end <= available).ok_or(Errno::INVAL)?;
        let expected = if request.data == InterruptData::EventDescriptors { request.count as usize } else { 0 };
        if descriptors.len() != expected && !descriptors.is_empty() {
            return Err(Errno::INVAL);
        }
        if request.count == 0 {
            return self.disable(request);
        }
        match request.index {
            INDEX_PIN => self.set_pin_state(request, descriptors),
            _ => self.set_vectors(request, request.start as usize..end as usize, descriptors),
        }
    }

    /// An empty range means something in one form only: no data, trigger, from the first. It turns the index off.
    fn disable(&mut self, request: &SetInterrupts<'_>) -> Result<(), Errno> {
        if request.action != Action::Trigger || request.data != InterruptData::None || request.start != 0 {
            return Err(Errno::INVAL);
        }
        match request.index {
            INDEX_PIN => self.pin = Pin { asserted: self.pin.asserted, ..Pin::default() },
            _ => self.vectors.fill_with(Vector::default),
        }
        Ok(())
    }

    fn set_pin_state(&mut self, request: &SetInterrupts<'_>, mut descriptors: Vec<OwnedFd>) -> Result<(), Errno> {
        let descriptor = descriptors.pop();
        match (request.action, request.data) {
            (Action::Trigger, InterruptData::EventDescriptors) => {
                self.pin.signal = descriptor.map(signal).transpose()?;
                self.pin.masked = false;
            }
            (Action::Unmask, InterruptData::EventDescriptors) => {
                let signal = descriptor.map(signal).transpose()?;
                self.pin.unmask = None;
                if let Some(signal) = signal {
                    let watched = Watched::new(&self.epoll, signal.into(), UNMASK_TOKEN);
                    self.pin.unmask = Some(watched.map_err(|_| Errno::INVAL)?);
                }
            }
            (Action::Mask, InterruptData::EventDescriptors) => return Err(Errno::NOTSUP),
            (_, InterruptData::Bool([0, ..])) => {}
            (Action::Mask, _) => self.pin.masked = true,
            (Action::Unmask, _) => self.pin.masked = false,
            (Action::Trigger, _) => {
                if let Some(signal) = &self.pin.signal {
                    signal.raise();
                }
            }
        }
        Ok(())
    }

    fn set_vectors(
        &mut self,
        request: &SetInterrupts<'_>,
        range: std::ops::Range<usize>,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Errno> {
        let vectors = self.vectors.get_mut(range).ok_or(Errno::INVAL)?;
        if request.data == InterruptData::EventDescriptors {
            if request.action != Action::Trigger {
                return Err(Errno::NOTSUP);
            }
            let signals: Vec<Signal> = descriptors.into_iter().map(signal).collect::<Result<_, _>>()?;
            let mut signals = signals.into_iter();
            for vector in vectors {
                vector.signal = signals.next();
                vector.settle();
            }
            return Ok(());
        }
        for (index, vector) in vectors.iter_mut().enumerate() {
            if let InterruptData::Bool(chosen) = request.data
                && chosen.get(index).is_none_or(|byte| *byte == 0)
            {
                continue;
            }
            match request.action {
                Action::Mask => vector.masked = true,
                Action::Unmask => vector.masked = false,
                Action::Trigger => vector.fire(),
            }
            vector.settle();
        }
        Ok(())
    }
}
