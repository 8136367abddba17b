//! Namespaces: identifier → identity, format, and the volume behind it. Knows nothing of the commands they accept.

use media::power::{Boundary, PowerAtomicity};
use media::{LbaRange, Media, VolumeId, VolumeShape};

use super::record::Record;
use crate::atomic::{Pieces, Units};
use crate::config::{Atomics, Config, ControllerAtomics, NamespaceConfig};
use crate::controllers::{ControllerId, ControllerSet};
use crate::reason::Reason;

/// MSRC, one-based: as many descriptors as fit the smallest page.
pub(crate) const COPY_RANGES_MAX: u16 = 128;

/// How much a Copy may do (B147).
pub(crate) struct CopyLimits {
    /// MSRC, zero-based.
    pub(crate) ranges_z: u8,
    /// MSSRL: blocks of one range.
    pub(crate) range_blocks: u16,
    /// MCL: blocks of all ranges.
    pub(crate) blocks: u32,
}

/// A namespace.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) identity: NamespaceConfig,
    pub(crate) volume: VolumeId,
    pub(crate) shape: VolumeShape,
    /// Bytes of a block in the host's buffer: of its data, and of its metadata where that follows it.
    pub(crate) buffer_block_bytes: u32,
    pub(crate) atomics: Atomics,
    /// Which controllers have it.
    pub(crate) attached: ControllerSet,
    /// A reservation is held.
    pub(crate) reserved: bool,
    /// The controllers that cannot reach it now, by asymmetric namespace access.
    pub(crate) barred: ControllerSet,
}

impl Namespace {
    /// What the namespace holds, in bytes of data.
    pub(crate) fn capacity_bytes(&self) -> u128 {
        u128::from(self.shape.capacity_blocks) << self.block_shift()
    }

    /// What is atomic in normal operation: with `disables_normal` no more than after a power loss (B165).
    pub(crate) fn units(&self, controller: ControllerAtomics, disables_normal: bool) -> Units {
        let own = &self.atomics;
        let (across_z, own_z, blocks, boundary_z) = if disables_normal {
            (controller.awupf_z, own.nawupf_z, own.power_fail_blocks(controller), own.nabspf_z)
        } else {
            (controller.awun_z, own.nawun_z, own.normal_blocks(controller), own.nabsn_z)
        };
        // The controller's unit holds across boundaries, unless in Multiple Atomicity Mode it is the size between them (B162).
        let across_z = if own.multiple && own_z == 0 { 0 } else { across_z };
        Units {
            across_blocks: u32::from(across_z) + 1,
            blocks,
            boundary_blocks: if boundary_z == 0 { 0 } else { u32::from(boundary_z) + 1 },
            offset: own.nabo.into(),
            multiple: own.multiple,
        }
    }

    /// What a read falls apart into, if no write that is atomic shall be seen in part: neither one by itself nor that of a fused pair,
    /// whose unit is its own, has the boundaries of normal operation, and knows neither Disable Normal nor Multiple Atomicity Mode.
    pub(crate) fn pieces_of_read(
        &self,
        controller: ControllerAtomics,
        disables_normal: bool,
        range: LbaRange,
    ) -> Pieces {
        let normal = self.units(controller, false);
        let units = if disables_normal { self.units(controller, true) } else { normal };
        let of_pairs = Units {
            across_blocks: u32::from(controller.acwu_z) + 1,
            blocks: self.atomics.compare_blocks(controller),
            multiple: false,
            ..normal
        };
        match (units.of_read(range), of_pairs.of_read(range)) {
            (Pieces::Blocks, pieces) if pieces != Pieces::Windows => pieces,
            (pieces, Pieces::Blocks) => pieces,
            // Edges are those of `units` in either case: they must be those of both.
            (Pieces::Windows | Pieces::Blocks, Pieces::Windows) if units.has_edges_of(&normal) => Pieces::Windows,
            _ => Pieces::Whole,
        }
    }

    /// What the namespace promises across a power loss.
    fn power_atomicity(&self, controller: ControllerAtomics) -> PowerAtomicity {
        let Units { across_blocks, blocks, boundary_blocks, offset, multiple } = self.units(controller, true);
        let boundary = (boundary_blocks != 0).then_some(Boundary { blocks: boundary_blocks.into(), offset });
        PowerAtomicity { anywhere_blocks: across_blocks.into(), inside_blocks: blocks.into(), boundary, multiple }
    }

    /// Whether a fused Compare and Write of this range is atomic.
    pub(crate) fn compares_atomically(&self, controller: ControllerAtomics, range: LbaRange) -> bool {
        let units = self.units(controller, false);
        range.blocks <= u64::from(controller.acwu_z) + 1
            || (range.blocks <= u64::from(self.atomics.compare_blocks(controller)) && !units.crosses(range))
    }

    /// A Copy is not done in parts, so it may do no more than a Read and a Write may, where MDTS is this many bytes.
    pub(crate) fn copy_limits(&self, transfer_bytes_max: usize) -> CopyLimits {
        let blocks = u32::try_from(transfer_bytes_max >> self.block_shift()).unwrap_or(u32::MAX).max(1);
        CopyLimits {
            ranges_z: u8::try_from(COPY_RANGES_MAX - 1).expect("eight bits"),
            range_blocks: u16::try_from(blocks).unwrap_or(u16::MAX),
            blocks,
        }
    }

    /// log2 of the logical block size in bytes.
    pub(crate) fn block_shift(&self) -> u32 {
        self.shape.block_bytes.trailing_zeros()
    }
}

/// What a plain Read or Write needs of a namespace.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(crate) struct Brief {
    nsid: u32,
    pub(crate) volume: VolumeId,
    /// Bytes of data of a block.
    pub(crate) block_bytes: u32,
}

/// Namespaces by their identifiers: all that are allocated in a subsystem, or those among them that a controller has attached.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    /// Ascending by identifier.
    list: Vec<Namespace>,
    /// Those of them that are free to all, in the same order, as far as plain Reads and Writes need it: who finds none here takes the path
    /// on which reservations and the state of access are asked.
    brief: Vec<Brief>,
    /// NN: the largest identifier that is valid, the same for all controllers.
    limit: u32,
    /// Another one than last time means that something changed.
    generation: u64,
    /// How many were ever made while the drive ran.
    born: u64,
    /// The media keeps who they are.
    kept: bool,
}

impl Namespaces {
    /// All of them. Where the media keeps who they are, as it says; otherwise the n-th namespace of the configuration stands on the media's
    /// volume n.
    ///
    /// # Panics
    /// If the media has fewer volumes, or commits fewer blocks as one than the configuration asks for: whoever wires them up checked
    /// too little.
    pub(crate) fn new(config: &Config, media: &mut dyn Media) -> Self {
        let space = media.space().filter(|space| space.volumes_max != 0);
        let kept = space.and_then(|_| Record::decode(&media.note()));
        let record = kept.unwrap_or_else(|| {
            let numbered = config.namespaces.iter().cloned().zip(0..);
            Record { namespaces: numbered.collect(), ..Record::default() }
        });
        // A subsystem may have no namespace at all; no host asks for the identifiers of none.
        let last = record.namespaces.last().map_or(1, |(identity, _)| identity.nsid);
        let limit = space.map_or(last, |space| space.volumes_max.max(last));
        let mut all =
            Self { list: Vec::new(), brief: Vec::new(), limit, generation: 0, born: 0, kept: space.is_some() };
        all.renew(config, media, record);
        all
    }

    /// They are these from now on.
    pub(crate) fn renew(&mut self, config: &Config, media: &mut dyn Media, record: Record) {
        let reserved = self.list.iter().filter(|namespace| namespace.reserved);
        let reserved: Vec<_> = reserved.map(|namespace| namespace.identity.nsid).collect();
        let of = |(identity, volume): (NamespaceConfig, u32)| {
            let shape = media.shape(VolumeId(volume)).expect("each namespace has its volume");
            assert!(shape.block_bytes.is_power_of_two() && shape.power_atomic_blocks >= 1);
            let atomics = identity.atomics.resolve(config.atomics, shape.power_atomic_blocks);
            let atomics = atomics.expect("checked against the media");
            let among = if identity.extended_metadata { shape.metadata_bytes } else { 0 };
            let attached = identity.attached;
            let buffer_block_bytes = shape.block_bytes + among;
            let reserved = reserved.contains(&identity.nsid);
            let (volume, barred) = (VolumeId(volume), ControllerSet::NONE);
            Namespace { identity, volume, shape, buffer_block_bytes, atomics, attached, reserved, barred }
        };
        self.born = record.born;
        self.list = record.namespaces.into_iter().map(of).collect();
        if let Some(power) = media.power() {
            // It may keep more together than is promised, and then need not.
            for namespace in &self.list {
                power.promise(namespace.volume, namespace.power_atomicity(config.atomics));
            }
        }
        self.generation += 1;
        self.renew_brief(None);
    }

    /// What the media keeps of them, where it does.
    pub(crate) fn record(&self) -> Record {
        let of = |namespace: &Namespace| {
            let attached = namespace.attached;
            (NamespaceConfig { attached, ..namespace.identity.clone() }, namespace.volume.0)
        };
        Record { born: self.born, namespaces: self.list.iter().map(of).collect(), ..Record::default() }
    }

    /// Whether the media keeps who they are, and they come and go.
    pub(crate) const fn is_kept(&self) -> bool {
        self.kept
    }

    /// Those that are free to all, or to the one controller that they are of.
    fn renew_brief(&mut self, of: Option<ControllerId>) {
        let free = |namespace: &&Namespace| {
            !namespace.reserved && of.is_none_or(|controller| !namespace.barred.has(controller))
        };
        self.brief.clear();
        self.brief.extend(self.list.iter().filter(free).map(|namespace| Brief {
            nsid: namespace.identity.nsid,
            volume: namespace.volume,
            block_bytes: namespace.shape.block_bytes,
        }));
    }

    /// Those of them that a controller has attached.
    pub(crate) fn of(&self, id: ControllerId) -> Self {
        let mut own = Self { list: Vec::new(), brief: Vec::new(), limit: 1, generation: 0, born: 0, kept: false };
        own.follow(self, id);
        own
    }

    /// Makes these the ones that a controller has attached, if anything changed.
    #[inline]
    pub(crate) fn follow(&mut self, all: &Self, id: ControllerId) {
        if self.generation != all.generation {
            self.list = all.list.iter().filter(|namespace| namespace.attached.has(id)).cloned().collect();
            (self.limit, self.generation) = (all.limit, all.generation);
            self.renew_brief(Some(id));
        }
    }

    /// Each is attached where its predecessor was.
    pub(crate) fn attach_as(&mut self, before: &Self) {
        for (own, before) in self.list.iter_mut().zip(&before.list) {
            own.attached = before.attached;
        }
    }

    /// What all namespaces hold together, in bytes.
    pub(crate) fn capacity_bytes(&self) -> u128 {
        self.list.iter().map(Namespace::capacity_bytes).sum()
    }

    /// What all namespaces would hold if each had the size that it may have at most, in bytes.
    pub(crate) fn capacity_bytes_max(&self) -> u128 {
        let most = |namespace: &Namespace| u128::from(namespace.shape.capacity_blocks_max) << namespace.block_shift();
        self.list.iter().map(most).sum()
    }

    /// A reservation of a namespace is held, or is not.
    pub(crate) fn set_reserved(&mut self, nsid: u32, reserved: bool) {
        let own = self.list.iter_mut().find(|namespace| namespace.identity.nsid == nsid);
        let changed = own.is_some_and(|own| std::mem::replace(&mut own.reserved, reserved) != reserved);
        self.generation += u64::from(changed);
    }

    /// These controllers cannot reach the namespaces of a group from now on, and others can.
    pub(crate) fn set_barred(&mut self, group: u32, barred: ControllerSet) {
        for own in self.list.iter_mut().filter(|own| own.identity.anagrpid == group) {
            own.barred = barred;
        }
        self.generation += 1;
    }

    /// Whether one of those of a controller is reserved, or cannot be reached.
    #[inline]
    pub(crate) const fn any_restricted(&self) -> bool {
        self.brief.len() != self.list.len()
    }

    /// NN: the largest identifier that is valid, at least 1.
    pub(crate) const fn limit(&self) -> u32 {
        self.limit
    }

    /// Each, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.list.iter()
    }

    /// The identifier of the namespace that stands on a volume; 0 if none does.
    pub(crate) fn of_volume(&self, volume: VolumeId) -> u32 {
        let on_it = self.list.iter().find(|namespace| namespace.volume == volume);
        on_it.map_or(0, |namespace| namespace.identity.nsid)
    }

    /// The one with this identifier, in brief.
    #[inline]
    pub(crate) fn brief(&self, nsid: u32) -> Option<&Brief> {
        // Identifiers are mostly given out from 1 on without a gap.
        let guess = self.brief.get((nsid as usize).wrapping_sub(1));
        guess.filter(|brief| brief.nsid == nsid).or_else(|| self.search_brief(nsid))
    }

    #[inline(never)]
    fn search_brief(&self, nsid: u32) -> Option<&Brief> {
        let place = self.brief.binary_search_by_key(&nsid, |brief| brief.nsid).ok()?;
        self.brief.get(place)
    }

    /// The one with this identifier.
    pub(crate) fn get(&self, nsid: u32) -> Option<&Namespace> {
        // Identifiers are mostly given out from 1 on without a gap.
        let guess = self.list.get((nsid as usize).wrapping_sub(1));
        guess.filter(|namespace| namespace.identity.nsid == nsid).or_else(|| {
            let place = self.list.binary_search_by_key(&nsid, |namespace| namespace.identity.nsid).ok()?;
            self.list.get(place)
        })
    }

    /// The namespace that a command means: one that cannot be is refused otherwise than one that only is not there (B106).
    pub(crate) fn resolve(&self, nsid: u32) -> Result<&Namespace, Reason> {
        let refusal = || if self.is_valid(nsid) { Reason::NamespaceInactive } else { Reason::NamespaceInvalid };
        self.get(nsid).ok_or_else(refusal)
    }

    /// The namespace that a command about the inventory means, whoever has it attached (NSM11).
    pub(crate) fn allocated(&self, nsid: u32) -> Result<&Namespace, Reason> {
        self.resolve(nsid).map_err(|reason| match reason {
            Reason::NamespaceInactive => Reason::NamespaceUnallocated,
            other => other,
        })
    }

    /// Whether the identifier could name a namespace.
    pub(crate) fn is_valid(&self, nsid: u32) -> bool {
        (1..=self.limit()).contains(&nsid)
    }
}
