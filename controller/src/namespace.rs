//! Namespaces: identifier → identity, format, and the volume that it stands on. Which commands they take is not their business.

use media::{Media, VolumeId, VolumeShape};
use nvme_spec::Status;

use crate::config::{Atomics, Config, NamespaceConfig};

/// An active namespace.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    pub(crate) identity: NamespaceConfig,
    pub(crate) volume: VolumeId,
    pub(crate) shape: VolumeShape,
    pub(crate) atomics: Atomics,
}

impl Namespace {
    /// What the namespace holds, in bytes of data.
    pub(crate) fn capacity_bytes(&self) -> u128 {
        u128::from(self.shape.capacity_blocks) << self.block_shift()
    }

    /// log2 of the logical block size in bytes.
    pub(crate) fn block_shift(&self) -> u32 {
        self.shape.block_bytes.trailing_zeros()
    }
}

/// All namespaces of a controller.
#[derive(Clone, Debug)]
pub(crate) struct Namespaces {
    /// Ascending by identifier.
    active: Vec<Namespace>,
}

impl Namespaces {
    /// The n-th namespace stands on the media's volume n.
    ///
    /// # Panics
    /// If the media has fewer volumes, or commits fewer blocks as one than the configuration asks for: whoever wires them up checked
    /// too little.
    pub(crate) fn new(config: &Config, media: &dyn Media) -> Self {
        let active = config.namespaces.iter().enumerate().map(|(index, identity)| {
            let volume = VolumeId(u32::try_from(index).expect("at most 1024 namespaces"));
            let shape = media.shape(volume).expect("each namespace has its volume");
            assert!(shape.block_bytes.is_power_of_two() && shape.power_atomic_blocks >= 1);
            let atomics = config.atomics(index, shape.power_atomic_blocks).expect("checked against the media");
            Namespace { identity: identity.clone(), volume, shape, atomics }
        });
        Self { active: active.collect() }
    }

    /// What all namespaces hold together, in bytes.
    pub(crate) fn capacity_bytes(&self) -> u128 {
        self.active.iter().map(Namespace::capacity_bytes).sum()
    }

    /// NN: the largest identifier that is valid, at least 1.
    pub(crate) fn limit(&self) -> u32 {
        self.active.last().map_or(1, |namespace| namespace.identity.nsid)
    }

    /// The active namespaces, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.active.iter()
    }

    /// The identifier of the namespace that stands on a volume; 0 if none does.
    pub(crate) fn of_volume(&self, volume: VolumeId) -> u32 {
        let on_it = self.active.iter().find(|namespace| namespace.volume == volume);
        on_it.map_or(0, |namespace| namespace.identity.nsid)
    }

    /// The active namespace with this identifier.
    pub(crate) fn get(&self, nsid: u32) -> Option<&Namespace> {
        self.active.iter().find(|namespace| namespace.identity.nsid == nsid)
    }

    /// The namespace that a command means: one that cannot be is refused otherwise than one that only is not there (B106).
    pub(crate) fn resolve(&self, nsid: u32) -> Result<&Namespace, Status> {
        if let Some(namespace) = self.get(nsid) {
            return Ok(namespace);
        }
        Err(if self.is_valid(nsid) { Status::INVALID_FIELD } else { Status::INVALID_NAMESPACE })
    }

    /// Whether the identifier could name a namespace.
    pub(crate) fn is_valid(&self, nsid: u32) -> bool {
        (1..=self.limit()).contains(&nsid)
    }
}
