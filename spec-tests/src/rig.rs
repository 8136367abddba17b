//! A machine as tests want it, with a [`Host`] on it: over plain memory or over a drive, slow and failing where asked for.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use controller::config::{Config, DeviceOptions, NamespaceOptions};
use controller::record::first_note;
pub use machine::{MEMORY, STEP};
use machine::{Machine, SparseMemory};
use media::ssd::{Ssd, SsdConfig, VolumeConfig};
use media::store::{MemoryStore, RamMedia};
use media::{Lba, Media, VolumeId};
use nvme_host::{Host, Port, Setup};

use crate::slow_media::{Behaviour, SlowMedia};
use crate::variant::Variant;
pub use crate::variant::small_drive;

/// What a rig is made of. Change a field and call [`Build::rig`] or [`Build::host`].
#[derive(Clone, Debug)]
pub struct Build {
    /// The device's options.
    pub device: DeviceOptions,
    /// Block size in bytes and capacity in blocks of each namespace.
    pub namespaces: Vec<(u32, u64)>,
    /// What the parts are that are not named here.
    pub variant: Variant,
    /// A drive with a flash translation layer behind the namespaces, instead of plain memory; its volumes are then the namespaces.
    pub drive: Option<SsdConfig>,
    /// As many blocks as each namespace may have on that drive; its capacity where the list is shorter.
    pub room: Vec<u64>,
    /// What that drive suffers from.
    pub faults: DriveFaults,
    /// What the namespaces are told of themselves; defaults where the list is shorter.
    pub identities: Vec<NamespaceOptions>,
    /// How the host sets the controller up.
    pub setup: Setup,
}

/// Faults that a drive has from the start.
#[derive(Clone, Debug, Default)]
pub struct DriveFaults {
    /// Namespace (from 1), block, flipped bits.
    pub flipped: Vec<(u32, u64, u32)>,
    /// Page programs that fail, by ordinal from 1.
    pub programs: Vec<u64>,
    /// Line erases that fail, by ordinal from 1, and in which plane.
    pub erases: Vec<(u64, u32)>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            device: DeviceOptions::default(),
            namespaces: vec![(512, 16 << 11)],
            variant: Variant::chosen(),
            drive: None,
            room: Vec::new(),
            faults: DriveFaults::default(),
            identities: Vec::new(),
            setup: Setup::new(MEMORY),
        }
    }
}

impl Build {
    /// The same over plain memory in every variant: for what a drive does otherwise.
    #[must_use]
    pub fn over_memory(self) -> Self {
        Self { variant: self.variant.without_drive(), ..self }
    }

    /// The same with a host that keeps to registers in every variant: for what a register does.
    #[must_use]
    pub fn with_registers(self) -> Self {
        Self { variant: self.variant.without_shadows(), ..self }
    }

    /// The rig alone, as at power-on.
    ///
    /// # Panics
    /// If the options cannot be: a test gave wrong ones.
    #[must_use]
    pub fn rig(&self) -> Rig {
        let (config, media, behaviour) = self.parts();
        Rig { machine: Machine::over(config, media, SparseMemory::new(MEMORY)), behaviour }
    }

    /// What a device is made of.
    pub(crate) fn parts(&self) -> (Config, Box<dyn Media>, Rc<RefCell<Behaviour>>) {
        let mut identities = self.identities.clone();
        identities.resize(self.namespaces.len(), NamespaceOptions::default());
        let config = Config::check(&self.device, &identities).expect("the test's options are possible");
        let (media, behaviour) = SlowMedia::new(self.media(&config), self.variant.fast);
        (config, Box::new(media), behaviour)
    }

    fn media(&self, config: &Config) -> Box<dyn Media> {
        let drive = self.drive.clone().or_else(|| self.variant.drive(&self.namespaces));
        let Some(drive) = drive else { return Box::new(RamMedia::new(&self.namespaces)) };
        let volume = |(index, &(block_bytes, capacity_blocks)): (usize, &(u32, u64))| {
            let metadata_bytes = self.identities.get(index).map_or(0, |options| u32::from(options.ms));
            let room = self.room.get(index).copied().unwrap_or(capacity_blocks);
            VolumeConfig::new(block_bytes, metadata_bytes, capacity_blocks).with_room(room)
        };
        let mut drive = SsdConfig { volumes: self.namespaces.iter().enumerate().map(volume).collect(), ..drive };
        if drive.geometry.volumes_max != 0 {
            drive.note = first_note(&config.namespaces);
        }
        let geometry = drive.checked().expect("the test's drive is possible");
        let mut ssd = Ssd::create(drive, MemoryStore::new(&geometry).expect("memory")).expect("a new drive");
        for &(nsid, lba, bits) in &self.faults.flipped {
            ssd.read_faults().set(VolumeId(nsid - 1), Lba(lba), bits);
        }
        for &ordinal in &self.faults.programs {
            ssd.fail_program(ordinal);
        }
        for &(ordinal, plane) in &self.faults.erases {
            ssd.fail_erase(ordinal, plane);
        }
        Box::new(ssd)
    }

    /// A host that has enabled the rig's controller and has only admin queues.
    #[must_use]
    pub fn admin_host(&self) -> Host<Rig> {
        Host::enable(self.rig(), self.variant.setup(self.setup.clone())).expect("the controller comes up")
    }

    /// A host with one I/O queue pair besides, of 64 entries, on vector 1.
    #[must_use]
    pub fn host(&self) -> Host<Rig> {
        let mut host = self.admin_host();
        host.create_queue_pair(1, 64, Some(1)).expect("the first queue pair");
        host
    }
}

/// A machine whose media a test may slow down and look at.
pub struct Rig {
    /// The controller, its memory and its time.
    pub machine: Machine,
    /// How the media behaves.
    pub behaviour: Rc<RefCell<Behaviour>>,
}

impl Rig {
    /// One step of the device; whether anything moved.
    pub fn step(&mut self) -> bool {
        self.machine.step().worked
    }
}

impl Deref for Rig {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

/// As the machine's own, but for time: a test moves it itself, and memory need not be mapped for the test to look at it.
impl Port for Rig {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.machine.register_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.machine.register_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.memory.peek(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.memory.poke(address, from);
    }

    fn relax(&mut self) -> bool {
        self.step();
        true
    }
}
