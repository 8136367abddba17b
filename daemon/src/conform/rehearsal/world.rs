//! A drive, the guest's memory and the judge, in one value.

use std::cell::RefCell;
use std::rc::Rc;

use controller::{ControllerId, ControllerSet, InterruptMode};
use machine::{MEMORY, Machine, SparseMemory};
use media::Nanoseconds;
use nvme_host::Port;
use serde_json::Value;

use crate::audience::Audience;
use crate::conform::scenario::Case;
use crate::conform::told::Orders;
use crate::control::commands::{Device, Prepared, prepare};
use crate::open_media::open_media;
use crate::options::{Given, Settings};
use crate::ports::Ports;
use crate::tracer::Tracers;

/// How far time goes while nothing happens.
const TICK: u64 = 5_000_000;

/// A drive, the guest's memory, and the judge.
struct World {
    machine: Machine,
    audience: Audience,
    settings: Settings,
}

/// One world, for the driver and for whoever makes faults.
#[derive(Clone)]
pub(super) struct Shared(Rc<RefCell<World>>);

impl Shared {
    pub(super) fn new(case: &Case) -> Self {
        let device = ["checks=on", &case.device].into_iter().filter(|words| !words.is_empty()).collect::<Vec<_>>();
        let given = Given {
            device: Some(device.join(",")),
            media: Some(case.media.clone()),
            namespaces: case.namespaces.clone(),
            ..Given::default()
        };
        let settings = Settings::read(&given).expect("a scenario's device can be");
        let media = open_media(&settings.media, Box::new(|| ())).expect("memory");
        let mut machine = Machine::over(settings.controller.clone(), media, SparseMemory::new(MEMORY));
        if case.device.contains("msix_qsize=0") {
            machine.controller_mut().set_interrupt_mode(InterruptMode::Pin);
        }
        let audience = Audience::new(Tracers::default(), &mut machine.subsystem);
        Self(Rc::new(RefCell::new(World { machine, audience, settings })))
    }

    pub(super) fn now(&self) -> u64 {
        self.0.borrow().machine.now.0
    }
}

impl Port for Shared {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.0.borrow_mut().machine.register_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.0.borrow_mut().machine.register_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.0.borrow().machine.memory_read(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.0.borrow_mut().machine.memory_write(address, from);
    }

    fn relax(&mut self) -> bool {
        let World { machine, audience, .. } = &mut *self.0.borrow_mut();
        let progress = machine.step();
        audience.look(machine.now, &mut machine.subsystem, |_| true, |_| ());
        if !progress.worked {
            let tick = machine.now.plus(Nanoseconds(TICK));
            machine.wait_until(progress.next_event.map_or(tick, |due| due.min(tick)));
        }
        true
    }
}

impl Orders for Shared {
    fn execute(&mut self, command: &str, arguments: &Value) -> anyhow::Result<Value> {
        let arguments = arguments.as_object().expect("arguments are named").clone();
        let prepared = prepare(command, arguments).map_err(|error| anyhow::anyhow!("{command}: {error:?}"))?;
        let mut job = match prepared {
            Prepared::Answered(answer) => return Ok(answer?),
            Prepared::Job(job) => job,
        };
        loop {
            {
                let World { machine, audience, settings } = &mut *self.0.borrow_mut();
                let (subsystem, now) = (&mut machine.subsystem, machine.now);
                let mut device = Device {
                    subsystem,
                    id: ControllerId::FIRST,
                    settings,
                    audience,
                    tape: None,
                    tape_file: &mut None,
                    now,
                    clients: ControllerSet::one(ControllerId::FIRST),
                    ports: &mut Ports::default(),
                };
                if let Some(answer) = job(&mut device) {
                    return Ok(answer?);
                }
            }
            self.relax();
        }
    }
}
