//! A subsystem with several controllers, the memory of the host of each, and their one time. A host reaches its controller by a [`Path`].

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use controller::config::Config;
use controller::dma::{FlatMemory, GuestMemory as _};
use controller::power::PowerReport;
use controller::{ControllerId, InterruptMode, Subsystem};
use machine::STEP;
use media::power::{Arming, Cut};
use media::{Media, Nanoseconds};
use nvme_host::Port;

/// What all hosts share.
pub struct World {
    /// The device.
    pub subsystem: Subsystem,
    memories: Vec<FlatMemory>,
    now: Nanoseconds,
}

impl World {
    /// A subsystem that has just been powered on; each host has so many bytes of memory.
    #[must_use]
    pub fn new(config: Config, media: Box<dyn Media>, controllers: u16, memory_bytes: usize) -> Self {
        let mut subsystem = Subsystem::with_controllers(config, media, controllers);
        for id in subsystem.ids() {
            let controller = subsystem.controller_mut(id);
            controller.set_bus_master(true);
            controller.set_interrupt_mode(InterruptMode::MsiX);
        }
        let memories = (0..controllers).map(|_| FlatMemory::new(vec![0; memory_bytes])).collect();
        Self { subsystem, memories, now: Nanoseconds(0) }
    }

    /// How many controllers there are.
    #[must_use]
    pub fn controllers(&self) -> u16 {
        u16::try_from(self.memories.len()).expect("few controllers")
    }

    /// One step of a controller; time goes on to what is due next if this one alone is there.
    fn step(&mut self, controller: u16) -> (bool, Option<Nanoseconds>) {
        self.now = self.now.plus(STEP);
        let id = ControllerId(controller);
        let progress = self.subsystem.step(id, self.now, &self.memories[usize::from(controller)], None);
        // Nobody asks for interrupts.
        self.subsystem.controller_mut(id).take_effects().for_each(drop);
        (progress.worked, progress.next_event)
    }

    /// One step of one controller, while the others stand still.
    pub fn step_one(&mut self, controller: u16) {
        self.step(controller);
    }

    /// One step of each controller. Time goes on to what is due next, unless there was something to do meanwhile.
    pub fn step_all(&mut self) {
        let (mut worked, mut due) = (false, None);
        for controller in 0..self.controllers() {
            let (did, next) = self.step(controller);
            worked |= did;
            due = due.into_iter().chain(next).min();
        }
        if let Some(due) = due.filter(|_| !worked || self.memories.len() == 1) {
            self.now = self.now.max(due);
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Nanoseconds) {
        self.now = self.now.plus(time);
    }

    /// Whether power is lost.
    #[must_use]
    pub fn power_lost(&self) -> bool {
        !self.subsystem.power_is_on()
    }

    /// Brings power back; memory of hosts keeps its contents.
    ///
    /// # Errors
    /// The report of a loss on the way.
    ///
    /// # Panics
    /// If the drive is lost for another reason; whoever made the media knows it.
    pub fn restore_power(&mut self, arming: Option<Arming>) -> Result<(), PowerReport> {
        let restored = self.subsystem.power_restore(arming);
        restored.map(drop).map_err(|why| self.subsystem.crash().cloned().expect(&why))
    }

    /// Cuts power, unless it was lost before.
    pub fn cut_power(&mut self, cut: &Cut) -> PowerReport {
        self.subsystem.power_cut(cut)
    }
}

/// A host's way to its controller.
#[derive(Clone)]
pub struct Path {
    world: Rc<RefCell<World>>,
    controller: u16,
}

impl Path {
    /// One for the host of each controller.
    #[must_use]
    pub fn all(world: World) -> Vec<Self> {
        let controllers = world.controllers();
        let world = Rc::new(RefCell::new(world));
        (0..controllers).map(|controller| Self { world: Rc::clone(&world), controller }).collect()
    }

    /// What all share.
    ///
    /// # Panics
    /// While somebody else has it.
    #[must_use]
    pub fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }
}

impl Port for Path {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.world().subsystem.bar_read(ControllerId(self.controller), offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.world().subsystem.bar_write(ControllerId(self.controller), offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        let read = self.world().memories[usize::from(self.controller)].read(address, into);
        read.expect("the host stays in the memory that it was given");
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        let written = self.world().memories[usize::from(self.controller)].write(address, from);
        written.expect("the host stays in the memory that it was given");
    }

    fn relax(&mut self) -> bool {
        let mut world = self.world();
        world.step_all();
        !world.power_lost()
    }
}
