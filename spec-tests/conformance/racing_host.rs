//! A host in a thread of its own that races the device: it looks at completions, data and interrupts while the device steps, as a
//! guest's processors do. Memory is shared as a guest's is: a memory file, mapped on either side.

use controller::ControllerId;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use controller::Effect;
use controller::dma::GuestMemory as _;
use guest_memory::{MapRequest, Memory, Permissions};
use nvme_host::io::block_command;
use nvme_host::{AdminDoorbells, Host, Port, Setup};
use nvme_spec::opcode::NvmOpcode;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use spec_tests::rig::{Build, MEMORY, STEP};
use spec_tests::variant::Variant;

use crate::verbs::with_prp;
use spec_tests::random::{Random, seed};

/// What the host does to the device's registers.
enum Access {
    Read(u64, usize, Sender<Vec<u8>>),
    Write(u64, Vec<u8>),
}

/// How many interrupts came, by vector.
type Interrupts = Arc<[AtomicU32; 2]>;

fn mapped(file: OwnedFd) -> Memory {
    let mut memory = Memory::default();
    let bytes = MEMORY.end - MEMORY.start;
    let request = MapRequest { address: MEMORY.start, length: bytes, access: Permissions::ReadWrite, offset: 0 };
    memory.map(&request, Some(file)).expect("mapped");
    memory
}

/// The device's thread: until the host is gone.
fn run(build: &Build, memory: &Memory, accesses: &Receiver<Access>, interrupts: &Interrupts) {
    let mut rig = build.rig();
    loop {
        let next = match accesses.try_recv() {
            Err(TryRecvError::Disconnected) => return,
            found => found.ok(),
        };
        if let Some(access) = next {
            carry_out(&mut rig, access);
        }
        rig.now = rig.now.plus(STEP);
        let progress = rig.machine.subsystem.step(ControllerId::FIRST, rig.machine.now, memory, None);
        for effect in rig.controller_mut().take_effects() {
            if let Effect::Message { vector } = effect {
                interrupts[usize::from(vector)].fetch_add(1, Ordering::Release);
            }
        }
        if progress.worked {
            continue;
        }
        // Nothing to do, nothing that time brings: it sleeps until somebody rings.
        if progress.next_event.is_none() && rig.subsystem.arm(ControllerId::FIRST, memory, None) {
            let Ok(access) = accesses.recv() else { return };
            carry_out(&mut rig, access);
        } else {
            thread::yield_now();
        }
    }
}

fn carry_out(rig: &mut spec_tests::rig::Rig, access: Access) {
    match access {
        Access::Write(offset, bytes) => rig.register_write(offset, &bytes),
        Access::Read(offset, length, answer) => {
            let mut bytes = vec![0; length];
            rig.register_read(offset, &mut bytes);
            answer.send(bytes).expect("the host waits");
        }
    }
}

/// The host's side.
struct Racer {
    memory: Memory,
    accesses: Sender<Access>,
}

impl Port for Racer {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        let (answer, answered) = channel();
        self.accesses.send(Access::Read(offset, into.len(), answer)).expect("the device runs");
        into.copy_from_slice(&answered.recv().expect("the device answers"));
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.accesses.send(Access::Write(offset, from.to_vec())).expect("the device runs");
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        // A phase or a shadow is one number, and what was written before it is there.
        match <&mut [u8; 4]>::try_from(&mut *into) {
            Ok(number) => *number = self.memory.load_u32(address).expect("mapped").to_le_bytes(),
            Err(_) => self.memory.read(address, into).expect("mapped"),
        }
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        match <[u8; 4]>::try_from(from) {
            Ok(number) => self.memory.store_u32(address, u32::from_le_bytes(number)).expect("mapped"),
            Err(_) => self.memory.write(address, from).expect("mapped"),
        }
    }

    fn relax(&mut self) -> bool {
        thread::yield_now();
        true
    }
}

const BYTES: usize = 4096;
const SLOTS: usize = 16;
/// How many times the host looks before it gives up.
const LOOKS: u32 = 20_000_000;

/// Blocks of their own for each slot, what they hold, and the command under way.
struct Slot {
    buffer: u64,
    lba: u64,
    version: u64,
    cid: Option<u16>,
    writes: bool,
}

impl Slot {
    fn contents(&self) -> Vec<u8> {
        (self.lba << 32 | self.version).to_le_bytes().repeat(BYTES / 8)
    }
}

struct Race {
    host: Host<Racer>,
    slots: Vec<Slot>,
    interrupts: Interrupts,
    random: Random,
}

impl Race {
    /// Gives every slot a command, in one batch or one by one.
    fn submit(&mut self, together: bool) {
        for slot in &mut self.slots {
            slot.writes = slot.version == 0 || self.random.below(2) == 0;
            let opcode = if slot.writes { NvmOpcode::WRITE } else { NvmOpcode::READ };
            slot.version += u64::from(slot.writes);
            let before = if slot.writes { slot.contents() } else { vec![0xee; BYTES] };
            self.host.port_mut().memory_write(slot.buffer, &before);
            let command = with_prp(block_command(opcode, 1, slot.lba, 8), slot.buffer, 0);
            slot.cid = Some(self.host.submit_quietly(1, command).expect("room"));
            if !together {
                self.host.ring(1).expect("rung");
            }
        }
        self.host.ring(1).expect("rung");
    }

    /// Takes what is there; the data of each must be there with it, and what was written must be the host's again.
    fn reap(&mut self) -> usize {
        let mut count = 0;
        while let Some(completion) = self.host.reap_quietly(1) {
            assert!(completion.status().is_success(), "{completion:?}");
            let cid = completion.cid.get();
            let slot = self.slots.iter_mut().find(|slot| slot.cid == Some(cid));
            let slot = slot.unwrap_or_else(|| panic!("command {cid} is none of those under way"));
            slot.cid = None;
            if slot.writes {
                self.host.port_mut().memory_write(slot.buffer, &[0xdd; BYTES]);
            } else {
                let mut read = vec![0; BYTES];
                self.host.port().memory_read(slot.buffer, &mut read);
                assert!(read == slot.contents(), "block {}: not the data of version {}", slot.lba, slot.version);
            }
            count += 1;
        }
        self.host.ring_completion(1).expect("there");
        count
    }

    /// Waits for all, by looking or by interrupts alone.
    fn finish(&mut self, by_interrupts: bool) {
        let (mut done, mut looks, mut told) = (0, 0, self.interrupts[1].load(Ordering::Acquire));
        done += self.reap();
        while done < SLOTS {
            let now = self.interrupts[1].load(Ordering::Acquire);
            if !by_interrupts || now != told {
                told = now;
                done += self.reap();
            }
            looks += 1;
            assert!(looks < LOOKS, "{} of {SLOTS} came, by interrupts: {by_interrupts}", done);
            thread::yield_now();
        }
    }
}

fn race(variant: Variant, rounds: u32) {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC).expect("memory");
    ftruncate(&file, MEMORY.end - MEMORY.start).expect("room");
    let ours = mapped(file.try_clone().expect("a descriptor"));
    let interrupts = Interrupts::default();
    let (accesses, received) = channel();
    let device = thread::spawn({
        let interrupts = Arc::clone(&interrupts);
        move || {
            let build = Build { variant, ..Build::default() };
            run(&build, &mapped(file), &received, &interrupts);
        }
    });
    let setup = variant.setup(Setup { relax_max: LOOKS, ..Setup::new(MEMORY) });
    let mut host = Host::enable(Racer { memory: ours, accesses }, setup).expect("comes up");
    host.create_queue_pair(1, 64, Some(1)).expect("room");
    let slot = |lba| Slot { buffer: host.allocate(BYTES).expect("room"), lba, version: 0, cid: None, writes: false };
    let slots = (0..).step_by(8).take(SLOTS).map(slot).collect();
    let mut race = Race { host, slots, interrupts, random: Random::new(seed(7)) };
    for round in 0..rounds {
        race.submit(round % 2 == 0);
        race.finish(round % 4 < 2);
    }
    assert!(race.host.surprises().is_empty());
    drop(race);
    device.join().expect("the device lives");
}

/// B32, B56: over the fast path and without it, with registers and with shadows, no completion is seen before its data, none has another
/// command's identifier, and no interrupt or doorbell is lost.
#[test]
fn a_host_that_races_the_device_sees_nothing_too_early_and_misses_nothing() {
    let fast = Variant { drive: true, fast: true, shadows: None };
    for variant in [
        Variant::PLAIN,
        fast,
        Variant { shadows: Some(AdminDoorbells::Registers), ..fast },
        Variant { shadows: Some(AdminDoorbells::Shadows), ..fast },
        Variant { shadows: Some(AdminDoorbells::Alternating), ..fast },
    ] {
        race(variant, 300);
    }
}
