//! A scenario in words: a line for each thing that happens, for whoever reads a failure.

use std::fmt::{Display, Formatter, Result};

use super::{Operation, Pass, Scenario};
use crate::history::Verb;

impl Display for Scenario {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        let Self { drive, ground, namespaces, queues, passes } = self;
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
            writeln!(formatter, "namespace: {blocks} blocks of {bytes}, {metadata} bytes of metadata {placed} them")?;
        }
        writeln!(formatter, "{queues} queues")?;
        passes.iter().enumerate().try_for_each(|(number, pass)| writeln!(formatter, "pass {number}: {pass}"))
    }
}

impl Display for Pass {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        match &self.arming {
            Some(arming) => write!(formatter, "armed {arming:?}")?,
            None => write!(formatter, "not armed")?,
        }
        let mut name = 0;
        for operation in &self.operations {
            if matches!(operation, Operation::Queue { .. } | Operation::SetCache(_) | Operation::Shutdown { .. }) {
                name += 1;
                write!(formatter, "\n  {name:3} {operation}")?;
            } else {
                write!(formatter, "\n      {operation}")?;
            }
        }
        write!(formatter, "\n      power goes: {:?}, disk {}", self.cut, self.disk_seed)?;
        self.recoveries.iter().try_for_each(|arming| write!(formatter, ", again {arming:?}"))?;
        if self.look_again { write!(formatter, ", and everything is looked at again") } else { Ok(()) }
    }
}

impl Display for Operation {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        match self {
            Self::Queue { queue, verb: verb @ (Verb::Flush | Verb::FlushAll), nsid, .. } => {
                write!(formatter, "queue {queue}: {verb:?} of namespace {nsid}")
            }
            Self::Queue { queue, verb, nsid, blocks, force } => {
                let force = if *force { ", forced" } else { "" };
                let (start, end) = (blocks.start, blocks.end);
                write!(formatter, "queue {queue}: {verb:?} of blocks {start}..{end} of namespace {nsid}{force}")
            }
            Self::Ring { queue } => write!(formatter, "ring {queue}"),
            other => write!(formatter, "{other:?}"),
        }
    }
}
