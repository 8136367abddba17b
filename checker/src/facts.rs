//! What a judge has to know of the device: limits and offers that the host was told.

use controller::{ControllerId, Subsystem};
use nvme_spec::register::Capabilities;

/// A namespace, as the host may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Identifier.
    pub nsid: u32,
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes of a logical block.
    pub block_bytes: u32,
    /// Blocks of the preferred write granularity, NPWG + 1.
    pub preferred_blocks: u32,
}

/// What the device offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// CAP.
    pub capabilities: Capabilities,
    /// VS.
    pub version: u32,
    /// MDTS in bytes.
    pub transfer_bytes_max: u64,
    /// AERL + 1.
    pub event_requests_max: usize,
    /// ACL + 1.
    pub aborts_max: usize,
    /// There is a volatile write cache.
    pub write_cache: bool,
    /// OAES names notices.
    pub notices: bool,
    /// Active namespaces, ascending.
    pub namespaces: Vec<NamespaceFacts>,
    /// NN.
    pub namespaces_max: u32,
}

impl Facts {
    /// Those of a controller as it is now.
    #[must_use]
    pub fn of(subsystem: &Subsystem, id: ControllerId) -> Self {
        let identify = subsystem.identify_controller(id);
        let namespace = |nsid| {
            let data = subsystem.identify_namespace(nsid)?;
            let format = data.format();
            Some(NamespaceFacts {
                nsid,
                blocks: data.nsze.get(),
                block_bytes: 1 << format.lbads,
                preferred_blocks: u32::from(data.npwg_z.get()) + 1,
            })
        };
        Self {
            capabilities: subsystem.controller(id).capabilities(),
            version: nvme_spec::register::VERSION_2_1,
            transfer_bytes_max: subsystem.config().transfer_bytes_max() as u64,
            event_requests_max: usize::from(identify.aerl_z) + 1,
            aborts_max: usize::from(identify.acl_z) + 1,
            write_cache: identify.vwc & 1 != 0,
            notices: identify.oaes.get() != 0,
            namespaces: (1..=identify.nn.get()).filter_map(namespace).collect(),
            namespaces_max: identify.nn.get(),
        }
    }

    /// A namespace is like this now; without blocks it is gone.
    pub(crate) fn change_namespace(&mut self, nsid: u32, blocks: u64, block_bytes: u32) {
        let before = self.namespace(nsid).copied();
        self.namespaces.retain(|namespace| namespace.nsid != nsid);
        if blocks != 0 {
            // What is preferred stays the same number of bytes; of a new one it is not known.
            let preferred =
                before.map_or(1, |before| before.preferred_blocks * before.block_bytes / block_bytes).max(1);
            self.namespaces.push(NamespaceFacts { nsid, blocks, block_bytes, preferred_blocks: preferred });
            self.namespaces.sort_by_key(|namespace| namespace.nsid);
        }
    }

    /// A namespace by its identifier.
    #[must_use]
    pub fn namespace(&self, nsid: u32) -> Option<&NamespaceFacts> {
        self.namespaces.iter().find(|namespace| namespace.nsid == nsid)
    }
}
