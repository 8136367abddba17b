//! A scenario in words: a line for each thing that happens, for whoever reads a failure.

use std::fmt::{Display, Formatter, Result};

use controller::config::{DeviceOptions, NamespaceOptions};

use super::{Operation, Pass, Queue, Scenario};
use crate::history::Verb;

impl Display for Scenario {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        let Self { drive, ground, controllers, device, namespaces, names, passes } = self;
        let geometry = &drive.geometry;
        writeln!(
            formatter,
            "drive: {} bytes in units of {}, pages of {} ({} in each of {} planes' blocks), atomic {} bytes, {} per million spare",
            geometry.user_bytes,
            geometry.unit_bytes,
            geometry.page_bytes,
            geometry.pages_per_block,
            geometry.planes_per_die,
            drive.power_atomic_bytes,
            geometry.spare_per_million_of_user,
        )?;
        writeln!(formatter, "on {ground:?}, {:?}, {:?}, times {}", drive.cache, drive.tuning, drive.times.is_some())?;
        for (volume, namespace) in drive.volumes.iter().zip(namespaces) {
            let placed = if namespace.mset == 1 { "behind" } else { "beside" };
            let metadata = volume.metadata_bytes;
            let (blocks, bytes) = (volume.capacity_blocks, volume.block_bytes);
            write!(formatter, "namespace: {blocks} blocks of {bytes}, {metadata} bytes of metadata {placed} them")?;
            describe_promises(formatter, device, namespace)?;
            let of = namespace.controllers.as_deref().unwrap_or("all");
            if *controllers > 1 {
                writeln!(formatter, "  of controllers {of}, shared {}", namespace.shared)?;
            }
        }
        if geometry.volumes_max != 0 {
            let (most, metadata) = (geometry.volumes_max, geometry.metadata_bytes_per_unit);
            writeln!(formatter, "namespaces come and go, {most} at most, with {metadata} bytes of metadata in a unit")?;
        }
        if *controllers > 1 {
            write!(formatter, "{controllers} controllers, each with ")?;
        }
        if !names.is_empty() {
            write!(formatter, "hosts {names:?}, ")?;
        }
        let queues = device.max_ioqpairs;
        let (interleave, seed) = (device.interleave, device.interleave_seed);
        writeln!(formatter, "{queues} queues, interleave {interleave:?} {seed}, dn {}", device.atomic_dn)?;
        passes.iter().enumerate().try_for_each(|(number, pass)| writeln!(formatter, "pass {number}: {pass}"))
    }
}

/// What was asked for, in the options' own words.
fn describe_promises(formatter: &mut Formatter<'_>, device: &DeviceOptions, namespace: &NamespaceOptions) -> Result {
    let given = [
        ("awun", Some(device.atomic_awun).filter(|raw| *raw != 0)),
        ("awupf", Some(device.atomic_awupf).filter(|raw| *raw != 0)),
        ("acwu", Some(device.atomic_acwu).filter(|raw| *raw != 0)),
        ("nawun", namespace.atomic_nawun),
        ("nawupf", namespace.atomic_nawupf),
        ("nacwu", namespace.atomic_nacwu),
        ("nabsn", namespace.atomic_nabsn),
        ("nabspf", namespace.atomic_nabspf),
        ("nabo", Some(namespace.atomic_nabo).filter(|raw| *raw != 0)),
        ("mam", namespace.atomic_mam.then_some(1)),
    ];
    for (name, raw) in given {
        raw.map_or(Ok(()), |raw| write!(formatter, ", {name} {raw}"))?;
    }
    writeln!(formatter)
}

impl Display for Pass {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        match &self.arming {
            Some(arming) => write!(formatter, "armed {arming:?}")?,
            None => write!(formatter, "not armed")?,
        }
        if self.armed_only {
            write!(formatter, ", and shut down if power has not gone then")?;
        }
        let mut name = 0;
        for operation in &self.operations {
            let commands = operation.commands();
            if commands > 0 {
                write!(formatter, "\n  {:3} {operation}", name + 1)?;
                name += commands;
            } else {
                write!(formatter, "\n      {operation}")?;
            }
        }
        write!(formatter, "\n      power goes: {:?}, disk {}", self.cut, self.disk_seed)?;
        self.recoveries.iter().try_for_each(|arming| write!(formatter, ", again {arming:?}"))?;
        if self.look_again { write!(formatter, ", and everything is looked at again") } else { Ok(()) }
    }
}

impl Display for Queue {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        write!(formatter, "controller {}, queue {}", self.controller, self.number)
    }
}

impl Operation {
    /// How many names of commands it takes.
    const fn commands(&self) -> u32 {
        match self {
            Self::Compare { write: true, .. } | Self::Reset { .. } => 2,
            Self::Queue { .. } | Self::Compare { .. } | Self::SetCache { .. } | Self::DisableNormal { .. } => 1,
            Self::Reserve { .. } => 1,
            Self::Damage { .. } | Self::Shutdown { .. } | Self::AskShutdown { .. } | Self::Administer { .. } => 1,
            _ => 0,
        }
    }
}

impl Display for Operation {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        match self {
            Self::Queue { queue, verb: verb @ (Verb::Flush | Verb::FlushAll), nsid, .. } => {
                write!(formatter, "{queue}: {verb:?} of namespace {nsid}")
            }
            Self::Queue { queue, verb, nsid, blocks, force } => {
                let force = if *force { ", forced" } else { "" };
                let (start, end) = (blocks.start, blocks.end);
                write!(formatter, "{queue}: {verb:?} of blocks {start}..{end} of namespace {nsid}{force}")
            }
            Self::Compare { queue, nsid, blocks, force, guess, write: pair } => {
                let force = if *force { ", forced" } else { "" };
                let pair = if *pair { " and Write, fused," } else { "" };
                let (start, end) = (blocks.start, blocks.end);
                write!(formatter, "{queue}: Compare{pair} of blocks {start}..{end} of namespace {nsid}{force}")?;
                write!(formatter, ", expecting {guess:?}")
            }
            Self::Ring { queue } => write!(formatter, "ring {queue}"),
            Self::RunOne { controller, steps } => write!(formatter, "controller {controller} runs {steps} steps"),
            Self::Administer { controller, what } => write!(formatter, "controller {controller}, admin: {what:?}"),
            Self::Reserve { queue, nsid, what, wrong } => {
                let wrong = if *wrong { ", not right" } else { "" };
                write!(formatter, "{queue}: {what:?} of namespace {nsid}{wrong}")
            }
            Self::Rename { controller, name } => {
                write!(formatter, "the host of controller {controller} is {name} after its next reset")
            }
            Self::AskProgress { controller } => write!(formatter, "controller {controller}: how far Formats are"),
            Self::Reset { controller } => write!(formatter, "controller {controller} is reset"),
            other => write!(formatter, "{other:?}"),
        }
    }
}
