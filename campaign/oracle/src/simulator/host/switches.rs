//! Switches of a controller that hosts set and read, and its shutdown.

use nvme_host::{Port as _, Shutdown};
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::identify;
use nvme_spec::register::{CC, Configuration};

use super::{Session, Stop};
use crate::history::{History, Verb};
use crate::parameters::Blocks;

impl Session {
    /// Switches the volatile write cache, which is one for all, and waits for the answer.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn set_cache(&mut self, history: &mut History, controller: u16, enabled: bool) -> Result<(), Stop> {
        self.set(history, controller, Verb::SetCache(enabled), (FeatureId::VOLATILE_WRITE_CACHE, enabled))
    }

    /// Sets Disable Normal of a controller or takes it back, and waits for the answer.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn disable_normal(&mut self, history: &mut History, controller: u16, disabled: bool) -> Result<(), Stop> {
        self.set(history, controller, Verb::DisableNormal(disabled), (FeatureId::WRITE_ATOMICITY, disabled))
    }

    fn set(
        &mut self,
        history: &mut History,
        controller: u16,
        verb: Verb,
        (feature, on): (FeatureId, bool),
    ) -> Result<(), Stop> {
        let id = history.queue_at(controller, verb, 0, Blocks::new(0, 0), false);
        history.ring(id);
        let ended = self.hosts[usize::from(controller)].set_feature(feature, on.into());
        self.admin(ended)?;
        history.end(id, true);
        Ok(())
    }

    /// Whether the volatile write cache is enabled, if there is one.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn cache_enabled(&mut self) -> Result<bool, Stop> {
        if !self.controller.write_cache().contains(identify::WriteCache::PRESENT) {
            return Ok(false);
        }
        let value = self.hosts[0].get_feature(FeatureId::VOLATILE_WRITE_CACHE, select::CURRENT);
        self.admin(value).map(|value| value & 1 == 1)
    }

    /// Shuts a controller down and waits for the end of it.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn shutdown(&mut self, history: &mut History, controller: u16, abrupt: bool) -> Result<(), Stop> {
        let id = history.submit(Verb::Shutdown, 0, Blocks::new(0, 0), false);
        let kind = if abrupt { Shutdown::Abrupt } else { Shutdown::Normal };
        let ended = self.hosts[usize::from(controller)].shutdown(kind);
        self.admin(ended)?;
        history.end(id, true);
        Ok(())
    }

    /// Asks a controller for a shutdown and does not wait.
    pub fn ask_shutdown(&mut self, history: &mut History, controller: u16) {
        history.submit(Verb::Shutdown, 0, Blocks::new(0, 0), false);
        let port = self.hosts[usize::from(controller)].port_mut();
        let configuration = Configuration(port.register_read_32(CC));
        port.register_write_32(CC, configuration.with_shutdown(1).0);
    }
}
