//! The disk's properties, queried from the controller as any host would.

use nvme_host::admin::{IdentifyArguments, LogArguments};
use nvme_host::{Host, Port};
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::identify::{Cns, Namespace, NamespaceFeatures, NvmNamespace, WriteCache};
use nvme_spec::log::{LogId, Smart, WARNING_READ_ONLY};
use zerocopy::FromBytes;

use crate::error::DiskError;
use crate::request::Limits;
use crate::wire::ID_BYTES;

/// The most pieces that a request's data should have: what fits a queue of 128 beside header and status.
pub const SEGMENTS_MAX: u32 = 126;

/// What a namespace is like, seen as a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Which namespace.
    pub nsid: u32,
    /// What requests are checked against.
    pub limits: Limits,
    /// MDTS in bytes: the largest transfer of a command.
    pub transfer_bytes_max: u64,
    /// Serial number, padded with zeroes.
    pub serial: [u8; ID_BYTES],
    /// Whether the volatile write cache is on; `None` if there is none.
    pub write_cache: Option<bool>,
    /// Nothing can be written any more.
    pub read_only: bool,
    /// What is written without reading first and kept whole over a power loss, in blocks; a power of two.
    pub physical_blocks: u64,
    /// The smallest preferred write (NPWG), in blocks.
    pub minimum_blocks: u64,
    /// The best write (NOWS), in blocks; 0 if not told.
    pub optimal_blocks: u64,
    /// What is deallocated as a whole (NPDG), in blocks.
    pub discard_blocks: u64,
}

impl Geometry {
    /// Asks the controller.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn ask<P: Port>(host: &mut Host<P>, nsid: u32) -> Result<Self, DiskError> {
        let controller = host.identify_controller()?;
        let namespace = host.identify_namespace(nsid)?;
        let arguments = IdentifyArguments { nsid, ..Default::default() };
        let more = host.identify(Cns::COMMAND_SET_NAMESPACE, arguments)?;
        let more = NvmNamespace::read_from_prefix(&more).map_or_else(|_| NvmNamespace::zeroed(), |(found, _)| found);
        let health = host.get_log(LogId::SMART, size_of::<Smart>(), LogArguments::default())?;
        let health = Smart::read_from_prefix(&health).map_or_else(|_| Smart::zeroed(), |(found, _)| found);
        let write_cache = match controller.write_cache().contains(WriteCache::PRESENT) {
            false => None,
            true => Some(host.get_feature(FeatureId::VOLATILE_WRITE_CACHE, select::CURRENT)? & 1 != 0),
        };
        let block_shift = block_shift(nsid, &namespace)?;
        let transfer_bytes_max = if controller.mdts == 0 { 1 << 20 } else { 4096 << controller.mdts };
        if transfer_bytes_max >> block_shift == 0 {
            return Err(DiskError::Namespace { nsid, why: "no command carries one of its blocks: give a larger mdts" });
        }
        let mut serial = controller.sn;
        for byte in serial.iter_mut().rev().take_while(|byte| **byte == b' ') {
            *byte = 0;
        }
        let read_only = health.critical_warning & WARNING_READ_ONLY != 0;
        let bytes_max = transfer_bytes_max * u64::from(SEGMENTS_MAX);
        let limits = Limits { block_shift, blocks: namespace.nsze.get(), bytes_max };
        let sizes = Sizes::of(&namespace, &more, controller.awupf_z.get());
        Ok(Self {
            nsid,
            limits,
            transfer_bytes_max,
            serial,
            write_cache,
            read_only,
            physical_blocks: sizes.physical,
            minimum_blocks: sizes.minimum,
            optimal_blocks: sizes.optimal,
            discard_blocks: sizes.discard,
        })
    }
}

/// log2 of the block size, of a namespace that has blocks and nothing else.
pub(crate) fn block_shift(nsid: u32, namespace: &Namespace) -> Result<u32, DiskError> {
    let refuse = |why| Err(DiskError::Namespace { nsid, why });
    if namespace.nsze.get() == 0 {
        return refuse("there is none");
    }
    // NVM Command Set 1.1 figure 97: FLBAS bits 3:0 and 6:5.
    let format = namespace.format();
    if format.ms.get() != 0 {
        return refuse("its blocks have metadata, which virtio-blk does not carry: give ms=0");
    }
    if !(9..=16).contains(&format.lbads) {
        return refuse("its blocks are smaller than a sector or larger than 64 KiB");
    }
    Ok(format.lbads.into())
}

/// Preferred sizes in blocks.
struct Sizes {
    physical: u64,
    minimum: u64,
    optimal: u64,
    discard: u64,
}

impl Sizes {
    /// As Linux's NVMe driver combines them: what may be called physical is preferred and kept whole.
    fn of(namespace: &Namespace, more: &NvmNamespace, awupf_z: u16) -> Self {
        let told = namespace.features().contains(NamespaceFeatures::PREFERRED_SIZES);
        let blocks = |zero_based: u16| if told { u64::from(zero_based) + 1 } else { 1 };
        let own = namespace.features().contains(NamespaceFeatures::OWN_ATOMICS);
        let atomic_z = if own { namespace.nawupf_z.get() } else { awupf_z };
        let minimum = blocks(namespace.npwg_z.get());
        let discard = if more.npdgl.get() > 0 { more.npdgl.get().into() } else { blocks(namespace.npdg_z.get()) };
        let smaller = minimum.min(u64::from(atomic_z) + 1);
        Self {
            physical: 1 << smaller.ilog2(),
            minimum,
            optimal: if told { blocks(namespace.nows_z.get()) } else { 0 },
            discard,
        }
    }
}
