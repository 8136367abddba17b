//! What has to be known of a controller before its events are understood: what the host did before anybody listened.

use std::collections::BTreeMap;

use controller::{ControllerId, InterruptMode, Subsystem};
use nvme_spec::register::{self, Configuration};

/// A namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Bytes of a logical block.
    pub block_bytes: u32,
    /// Bytes that are transferred for each block: with its metadata, where that lies behind it.
    pub transfer_bytes: u32,
    /// Logical blocks.
    pub blocks: u64,
}

/// A controller.
#[derive(Clone, Debug)]
pub struct Facts {
    /// MSI-X is on.
    pub messages: bool,
    /// INTMS.
    pub mask: u32,
    /// CC.
    pub configuration: Configuration,
    /// ASQ.
    pub admin_submission: u64,
    /// ACQ.
    pub admin_completion: u64,
    /// Active namespaces.
    pub namespaces: BTreeMap<u32, NamespaceFacts>,
    /// The completion queue of each submission queue.
    pub completion_queues: BTreeMap<u16, u16>,
}

impl Facts {
    /// What is known of a controller now.
    #[must_use]
    pub fn of(subsystem: &Subsystem, id: ControllerId) -> Self {
        let controller = subsystem.controller(id);
        let wide =
            |low, high| u64::from(controller.peek_register(low)) | u64::from(controller.peek_register(high)) << 32;
        let namespaces = subsystem.namespaces().map(|namespace| namespace.nsid);
        Self {
            messages: controller.interrupt_mode() == InterruptMode::MsiX,
            mask: controller.peek_register(register::INTMS),
            configuration: Configuration(controller.peek_register(register::CC)),
            admin_submission: wide(register::ASQ, register::ASQ + 4),
            admin_completion: wide(register::ACQ, register::ACQ + 4),
            namespaces: namespaces.filter_map(|nsid| Some((nsid, namespace(subsystem, nsid)?))).collect(),
            completion_queues: controller.submission_queues().map(|queue| (queue.id, queue.completion_queue)).collect(),
        }
    }
}

fn namespace(subsystem: &Subsystem, nsid: u32) -> Option<NamespaceFacts> {
    let data = subsystem.identify_namespace(nsid)?;
    let format = data.format();
    let block_bytes = 1_u32.checked_shl(format.lbads.into())?;
    let behind = if data.flbas & 1 << 4 != 0 { u32::from(format.ms.get()) } else { 0 };
    Some(NamespaceFacts { block_bytes, transfer_bytes: block_bytes + behind, blocks: data.nsze.get() })
}
