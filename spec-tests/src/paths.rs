//! Several hosts, each with a controller of its own, on one drive: what the controllers share, and what each has for itself.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use controller::config::Doorbells;
use controller::dma::DoorbellPage;
use controller::{ControllerId, Effect, InterruptMode, Subsystem, bar};
use machine::memory::PlainPage;
use machine::{MEMORY, STEP, SparseMemory};
use media::Nanoseconds;
use nvme_host::{Host, Port};

use crate::rig::Build;
use crate::slow_media::Behaviour;

/// The drive, what its hosts have, and time.
pub struct World {
    /// The drive.
    pub subsystem: Subsystem,
    /// The memory of each host, in the order of their controllers.
    pub memories: Vec<SparseMemory>,
    pages: Vec<Option<PlainPage>>,
    /// The time of the last step.
    pub now: Nanoseconds,
    /// How the media behaves.
    pub behaviour: Rc<RefCell<Behaviour>>,
    /// Interrupts and events so far, with whose they are.
    pub effects: Vec<(ControllerId, Effect)>,
}

impl World {
    /// One step of each controller; whether anything moved.
    pub fn step(&mut self) -> bool {
        self.subsystem.ids().fold(false, |worked, id| self.step_one(id) | worked)
    }

    /// One step of a controller; whether anything moved.
    pub fn step_one(&mut self, id: ControllerId) -> bool {
        self.now = self.now.plus(STEP);
        let index = usize::from(id.0);
        let page = self.pages[index].as_ref().map(|page| page as &dyn DoorbellPage);
        let progress = self.subsystem.step(id, self.now, &self.memories[index], page);
        self.effects.extend(self.subsystem.controller_mut(id).take_effects().map(|effect| (id, effect)));
        progress.worked
    }

    /// Steps until nothing moves.
    ///
    /// # Panics
    /// If something always does.
    pub fn run_until_idle(&mut self) {
        assert!((0..10_000).any(|_| !self.step()), "the drive never becomes idle");
    }
}

/// A host's way to its controller.
#[derive(Clone)]
pub struct Path {
    world: Rc<RefCell<World>>,
    /// Its controller.
    pub id: ControllerId,
}

impl Path {
    /// The drive, and what belongs to it.
    pub fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }
}

impl Path {
    /// A host's way to one more controller of the same drive.
    ///
    /// # Panics
    /// If the drive has as many as it can have.
    #[must_use]
    pub fn one_more(&self) -> Self {
        let mut world = self.world();
        let id = world.subsystem.add_controller().expect("room");
        let controller = world.subsystem.controller_mut(id);
        controller.set_bus_master(true);
        controller.set_interrupt_mode(InterruptMode::MsiX);
        let (index, mapped) = (usize::from(id.0), world.subsystem.config().doorbells == Doorbells::Mapped);
        let count = world.memories.len().max(index + 1);
        world.memories.resize_with(count, || SparseMemory::new(MEMORY));
        world.pages.resize_with(count, || None);
        world.pages[index] = mapped.then(PlainPage::default);
        drop(world);
        Self { world: Rc::clone(&self.world), id }
    }
}

impl Port for Path {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.world().subsystem.bar_read(self.id, offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        let World { subsystem, pages, .. } = &mut *self.world();
        match (&pages[usize::from(self.id.0)], <[u8; 4]>::try_from(from)) {
            (Some(page), Ok(value)) if (bar::DOORBELLS_OFFSET..bar::MSIX_TABLE_OFFSET).contains(&offset) => {
                let index = usize::try_from((offset - bar::DOORBELLS_OFFSET) / 4).expect("a page has 1024 doorbells");
                page.store(index, u32::from_le_bytes(value));
            }
            _ => subsystem.bar_write(self.id, offset, from),
        }
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.world().memories[usize::from(self.id.0)].peek(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.world().memories[usize::from(self.id.0)].poke(address, from);
    }

    fn relax(&mut self) -> bool {
        self.world().step();
        true
    }
}

impl Build {
    /// A drive with so many controllers, as at power-on.
    ///
    /// # Panics
    /// As [`Build::rig`].
    #[must_use]
    pub fn world(&self, controllers: u16) -> Vec<Path> {
        let (config, media, behaviour) = self.parts();
        let mapped = config.doorbells == Doorbells::Mapped;
        let mut subsystem = Subsystem::with_controllers(config, media, controllers);
        for id in subsystem.ids() {
            let controller = subsystem.controller_mut(id);
            controller.set_bus_master(true);
            controller.set_interrupt_mode(InterruptMode::MsiX);
        }
        let world = World {
            memories: (0..controllers).map(|_| SparseMemory::new(MEMORY)).collect(),
            pages: (0..controllers).map(|_| mapped.then(PlainPage::default)).collect(),
            now: Nanoseconds(0),
            behaviour,
            effects: Vec::new(),
            subsystem,
        };
        let world = Rc::new(RefCell::new(world));
        (0..controllers).map(|id| Path { world: Rc::clone(&world), id: ControllerId(id) }).collect()
    }

    /// The same with a host on each controller, which has admin queues only.
    ///
    /// # Panics
    /// As [`Build::rig`].
    #[must_use]
    pub fn hosts(&self, controllers: u16) -> Vec<Host<Path>> {
        let enable =
            |path| Host::enable(path, self.variant.setup(self.setup.clone())).expect("the controller comes up");
        self.world(controllers).into_iter().map(enable).collect()
    }
}
