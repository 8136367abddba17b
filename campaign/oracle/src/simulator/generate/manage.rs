//! Drives with several controllers, drives whose namespaces come and go, and what hosts do to namespaces, by chance.

use controller::config::{DeviceOptions, NamespaceOptions};
use media::ssd::SsdConfig;

use super::device::possible;
use super::{Choices, Shape};
use crate::simulator::{Administration, Operation};

/// Controllers of a subsystem that has several, or whose namespaces come and go.
const CONTROLLERS_MAX: u64 = 3;

impl Choices {
    /// Makes of a drive one with several controllers, or one whose namespaces come and go; how many controllers it has.
    pub(super) fn subsystem(
        &mut self,
        drive: &mut SsdConfig,
        device: &mut DeviceOptions,
        namespaces: &mut Vec<NamespaceOptions>,
    ) -> u16 {
        if self.one_in(3) {
            let controllers = self.below(CONTROLLERS_MAX - 1) + 2;
            let controllers = u16::try_from(controllers).expect("few");
            self.share(controllers, namespaces);
            if self.one_in(2) {
                namespaces.iter_mut().for_each(|options| *options = plain(options));
            }
            return controllers;
        }
        let controllers = u16::try_from(self.below(CONTROLLERS_MAX) + 1).expect("few");
        let geometry = &mut drive.geometry;
        geometry.volumes_max = self.pick(&[2, 3, 4]);
        let unit = geometry.unit_bytes;
        let metadata = [0, 8, 16, 64].map(|bytes| unit / 512 * bytes);
        let largest = drive.volumes.iter().map(|volume| unit / volume.block_bytes * volume.metadata_bytes).max();
        geometry.metadata_bytes_per_unit = self.pick(&metadata).max(largest.unwrap_or(0));
        namespaces.iter_mut().for_each(|options| *options = plain(options));
        if !possible(drive, device, namespaces) {
            (device.atomic_awun, device.atomic_awupf, device.atomic_acwu) = (0, 0, 0);
        }
        match self.below(4) {
            0 => {
                drive.volumes.clear();
                namespaces.clear();
            }
            1 => {
                drive.volumes.truncate(1);
                namespaces.truncate(1);
            }
            _ => {}
        }
        if controllers > 1 {
            self.share(controllers, namespaces);
        }
        controllers
    }

    /// Which controllers have which namespaces at first.
    fn share(&mut self, controllers: u16, namespaces: &mut [NamespaceOptions]) {
        for options in namespaces {
            match self.below(4) {
                0 => options.shared = false,
                1 => {
                    let only = self.below(controllers.into());
                    options.controllers = Some(only.to_string());
                }
                _ => {}
            }
        }
    }

    /// Something about namespaces, on whatever is under way, and time for a part of it.
    pub(super) fn administer(&mut self, shape: &Shape, near: u32, operations: &mut Vec<Operation>) {
        for _ in 0..1 + self.below(2) {
            let what = self.administration(shape, near);
            let controller = self.controller(shape);
            operations.push(Operation::Administer { controller, what });
            if let Administration::Format { erase: true, .. } = what {
                for _ in 0..self.below(4) {
                    operations.push(Operation::RunOne { controller, steps: 1 });
                    operations.push(Operation::AskProgress { controller: self.controller(shape) });
                }
            }
            // What was made is of use to those who have it.
            if let Administration::Create { .. } = what
                && self.one_in(2)
            {
                operations.push(Operation::Finish);
                for nsid in 1..=u32::try_from(shape.namespaces.len()).expect("few") {
                    let what = Administration::Attach { nsid, controller: self.controller(shape), attach: true };
                    operations.push(Operation::Administer { controller, what });
                    operations.push(Operation::Finish);
                }
            }
        }
    }

    fn administration(&mut self, shape: &Shape, near: u32) -> Administration {
        let all = u32::try_from(shape.namespaces.len()).expect("few");
        let nsid = if self.one_in(3) { near } else { 1 + u32::try_from(self.below(all.into())).expect("few") };
        let [format, ..] = self.draw().to_le_bytes();
        let extended = self.one_in(2);
        match self.below(if shape.managed { 12 } else { 3 }) {
            0..=2 => Administration::Format { nsid, format, extended, erase: self.one_in(3) },
            3..=5 => {
                let units = 1 + self.below(shape.units / 2);
                Administration::Create { format, extended, units, shared: self.one_in(2) }
            }
            6 | 7 => Administration::Delete { nsid },
            8 => Administration::Attach { nsid, controller: self.controller(shape), attach: false },
            _ => Administration::Attach { nsid, controller: self.controller(shape), attach: true },
        }
    }
}

/// The same namespace with the atomic sizes that the drive gives it.
pub(super) fn plain(options: &NamespaceOptions) -> NamespaceOptions {
    let NamespaceOptions { ms, mset, shared, controllers, .. } = options.clone();
    NamespaceOptions { ms, mset, shared, controllers, ..NamespaceOptions::default() }
}
