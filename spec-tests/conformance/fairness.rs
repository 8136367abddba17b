//! Fairness: whatever a guest has in one queue, a Read in another one is answered soon, and a step ends. Time here is what the work would
//! take in a model: it passes as memory is read and requests are carried out, so that nothing depends on the machine.

use std::cell::Cell;
use std::rc::Rc;

use controller::config::{Config, DeviceOptions, NamespaceOptions};
use controller::dma::{DmaFault, GuestMemory};
use controller::{Clock, ControllerId, InterruptMode, Subsystem};
use machine::SparseMemory;
use media::{Health, Media, Nanoseconds, Outcome, Request, Submitted, Token, VolumeId, VolumeShape};
use nvme_host::io::{block_command, nvm_command};
use nvme_host::{Host, Port, Setup};
use nvme_spec::Command;
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::sgl::{SglDescriptor, SglType};
use spec_tests::rig::MEMORY;
use zerocopy::IntoBytes as _;

use crate::verbs::with_prp;

/// A Read of 4 KiB is answered within so much time, whatever other queues have.
const READ_WITHIN: u64 = 10_000_000;
/// A step ends within so much time, so that orders and signals are seen.
const STEP_WITHIN: u64 = 5_000_000;
/// Blocks of the namespaces, of 4 KiB: a tebibyte.
const BLOCKS: u64 = 1 << 28;
/// Commands of the queue that is full.
const FLOOD: u16 = 255;

/// The time of the model.
#[derive(Clone, Default)]
struct Time(Rc<Cell<u64>>);

impl Time {
    fn pass(&self, nanoseconds: u64) {
        self.0.set(self.0.get() + nanoseconds);
    }
}

impl Clock for Time {
    fn now(&self) -> Nanoseconds {
        Nanoseconds(self.0.get())
    }
}

/// Guest memory, each access to which takes 50 ns and a nanosecond for each four bytes.
struct Slow {
    memory: SparseMemory,
    time: Time,
}

impl GuestMemory for Slow {
    fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        self.time.pass(50 + into.len() as u64 / 4);
        self.memory.read(address, into)
    }

    fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        self.time.pass(50 + from.len() as u64 / 4);
        self.memory.write(address, from)
    }

    fn load_u32(&self, address: u64) -> Result<u32, DmaFault> {
        self.memory.load_u32(address)
    }

    fn store_u32(&self, address: u64, value: u32) -> Result<(), DmaFault> {
        self.memory.store_u32(address, value)
    }

    fn store_u64(&self, address: u64, value: u64) -> Result<(), DmaFault> {
        self.memory.store_u64(address, value)
    }

    fn is_mapped(&self, address: u64, length: u64) -> bool {
        self.memory.is_mapped(address, length)
    }

    fn generation(&self) -> u64 {
        self.memory.generation()
    }
}

/// A media without contents whose requests take as long as those of a full drive: 20 ns for each block that is forgotten, 2 µs for each
/// that is written.
struct Priced {
    time: Time,
}

impl Media for Priced {
    fn shape(&self, _volume: VolumeId) -> Option<VolumeShape> {
        Some(VolumeShape {
            block_bytes: 4096,
            capacity_blocks: BLOCKS,
            capacity_blocks_max: BLOCKS,
            power_atomic_blocks: 4,
            preferred_blocks: 1,
            metadata_bytes: 0,
            optimal_blocks: 16,
        })
    }

    fn allocated_blocks(&self, _volume: VolumeId) -> u64 {
        0
    }

    fn health(&self) -> Health {
        Health::default()
    }

    fn write_cache(&self) -> Option<bool> {
        Some(true)
    }

    fn set_write_cache(&mut self, _now: Nanoseconds, _token: Token, _enabled: bool) -> Submitted {
        Submitted::Done(Ok(()))
    }

    fn submit(&mut self, _now: Nanoseconds, _token: Token, _volume: VolumeId, request: Request<'_>) -> Submitted {
        let forgotten = |blocks: u64| blocks * 20;
        self.time.pass(1000);
        self.time.pass(match request {
            Request::Read { range, .. } => range.blocks * 1000,
            Request::Write { range, .. } | Request::WriteUncorrectable { range } => range.blocks * 2000,
            Request::WriteZeroes { range, .. } => forgotten(range.blocks),
            Request::Deallocate { ranges } => ranges.iter().map(|range| 1000 + forgotten(range.blocks)).sum(),
            Request::Copy { sources, .. } => sources.iter().map(|range| range.blocks * 3000).sum(),
            Request::Resize { .. }
            | Request::Manage { .. }
            | Request::Purge
            | Request::Flush
            | Request::FlushAll
            | Request::Quiesce => 100_000,
        });
        Submitted::Done(Ok(()))
    }

    fn poll(&mut self, _now: Nanoseconds, _outcome: &mut dyn FnMut(Token, Outcome)) {}

    fn cancel(&mut self, _token: Token) -> bool {
        false
    }

    fn next_event(&self) -> Option<Nanoseconds> {
        None
    }
}

/// A controller over that media, in that time.
struct Device {
    subsystem: Subsystem,
    memory: Slow,
    time: Time,
    /// What the longest step took.
    longest: u64,
}

impl Device {
    fn new() -> Self {
        let namespaces = [NamespaceOptions::default(), NamespaceOptions::default()];
        let config = Config::check(&DeviceOptions::default(), &namespaces).expect("possible");
        let time = Time::default();
        let mut subsystem = Subsystem::new(config, Box::new(Priced { time: time.clone() }));
        let controller = subsystem.controller_mut(ControllerId::FIRST);
        controller.set_bus_master(true);
        controller.set_interrupt_mode(InterruptMode::MsiX);
        let memory = Slow { memory: SparseMemory::new(MEMORY), time: time.clone() };
        Self { subsystem, memory, time, longest: 0 }
    }

    fn step(&mut self) {
        let now = self.time.now();
        self.subsystem.step_by(ControllerId::FIRST, now, &self.time, &self.memory, None);
        self.subsystem.controller_mut(ControllerId::FIRST).take_effects().for_each(drop);
        self.time.pass(100);
        self.longest = self.longest.max(self.time.now().0 - now.0);
    }
}

impl Port for Device {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.subsystem.bar_read(ControllerId::FIRST, offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.subsystem.bar_write(ControllerId::FIRST, offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.memory.memory.peek(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.memory.memory.poke(address, from);
    }

    fn relax(&mut self) -> bool {
        self.step();
        true
    }
}

/// Fills queue 1 with what `attack` makes of a command's number, and reads block after block of the other namespace by queue 2. What the
/// longest Read took, and the longest step, in microseconds.
fn flooded(mut attack: impl FnMut(&mut Host<Device>, u64) -> Command) -> (u64, u64) {
    let mut host = Host::enable(Device::new(), Setup::new(MEMORY)).expect("it comes up");
    host.create_queue_pair(1, 256, Some(1)).expect("the first pair");
    host.create_queue_pair(2, 16, Some(1)).expect("the second pair");
    let buffer = host.allocate(4096).expect("room");
    host.port_mut().longest = 0;
    for number in 0..FLOOD {
        let command = attack(&mut host, number.into());
        host.submit_quietly(1, command).expect("room");
    }
    host.ring(1).expect("rung");
    let mut worst = 0;
    for lba in 0..50 {
        let begun = host.port().time.now().0;
        host.submit(2, with_prp(block_command(NvmOpcode::READ, 2, lba, 1), buffer, 0)).expect("room");
        while host.reap(2).is_none() {
            host.port_mut().step();
            assert!(host.port().time.now().0 - begun < 60_000_000_000, "a Read starves");
        }
        worst = worst.max(host.port().time.now().0 - begun);
    }
    (worst / 1000, host.port().longest / 1000)
}

fn assert_fair(what: &str, attack: impl FnMut(&mut Host<Device>, u64) -> Command) {
    let (read, step) = flooded(attack);
    assert!(read * 1000 <= READ_WITHIN, "{what}: a Read took {read} us");
    assert!(step * 1000 <= STEP_WITHIN, "{what}: a step took {step} us");
}

/// Dataset Management of 256 ranges.
fn dataset(host: &mut Host<Device>, range: impl Fn(u64) -> (u64, u64)) -> Command {
    let ranges: Vec<DatasetRange> = (0..256)
        .map(|number| {
            let (start, blocks) = range(number);
            let blocks = u32::try_from(blocks).expect("32 bits");
            DatasetRange { slba: start.into(), blocks: blocks.into(), ..DatasetRange::default() }
        })
        .collect();
    let list = host.allocate(4096).expect("room");
    host.write_memory(list, ranges.as_bytes());
    let command = Command {
        cdw10: 255.into(),
        cdw11: DATASET_DEALLOCATE.into(),
        ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1)
    };
    with_prp(command, list, 0)
}

#[test]
fn deallocations_of_everything_again_and_again_hold_up_nobody() {
    assert_fair("the same range", |host, _| dataset(host, |_| (0, BLOCKS)));
    assert_fair("other ranges", |host, _| dataset(host, |number| (number, BLOCKS / 2)));
    assert_fair("small ranges", |host, _| dataset(host, |number| (number * 4096 + 1, 4000)));
}

#[test]
fn large_commands_without_data_hold_up_nobody() {
    for opcode in [NvmOpcode::WRITE_UNCORRECTABLE, NvmOpcode::WRITE_ZEROES] {
        assert_fair("apart", |_, number| with_prp(block_command(opcode, 1, number << 16, 65_536), 0, 0));
        assert_fair("on top of each other", |_, _| with_prp(block_command(opcode, 1, 0, 65_536), 0, 0));
    }
}

#[test]
fn large_transfers_hold_up_nobody() {
    for opcode in [NvmOpcode::READ, NvmOpcode::WRITE, NvmOpcode::COMPARE] {
        assert_fair("512 KiB", |host, number| {
            let list = host.allocate(4096).expect("room");
            let pages: Vec<u8> = (0..128_u64).flat_map(|_| MEMORY.start.to_le_bytes()).collect();
            host.write_memory(list, &pages);
            with_prp(block_command(opcode, 1, number * 128, 128), MEMORY.start, list)
        });
    }
}

#[test]
fn lists_that_describe_nothing_hold_up_nobody() {
    let descriptor = |address: u64, length: u32, kind: SglType| SglDescriptor::new(kind, address, length);
    let mut list = None;
    assert_fair("empty descriptors", |host, _| {
        // Zeroes are data blocks of no bytes.
        let list = *list.get_or_insert_with(|| host.allocate(1 << 21).expect("room"));
        block_command(NvmOpcode::READ, 1, 0, 1).with_sgl1(descriptor(list, 1 << 21, SglType::LAST_SEGMENT))
    });
    let mut chain = None;
    assert_fair("a chain of single descriptors", |host, _| {
        let chain = *chain.get_or_insert_with(|| host.allocate(4096).expect("room"));
        let itself = descriptor(chain, 16, SglType::SEGMENT);
        host.write_memory(chain, itself.as_bytes());
        block_command(NvmOpcode::READ, 1, 0, 1).with_sgl1(itself)
    });
}
