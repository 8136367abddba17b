//! Faults of the device as data (`fault`): one test for each number of the catalogue, F1 to F49, over drives with and without the fast
//! path; and that faults are found by what they match, counted, independent of each other, and gone when they are removed.

mod commands;
mod events;
mod random;
mod registers;
mod rules;

use controller::fault::{Action, FaultSpec, FaultState, Matching};
use controller::watch::{Detail, TraceEvent};
use nvme_host::Host;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion, Status};
use spec_tests::rig::{Build, Rig};
use spec_tests::variant::Variant;

use crate::verbs::{TestHost, pattern};

/// Drives without and with the fast path.
fn builds() -> [Build; 2] {
    let fast = Variant { drive: true, fast: true, shadows: None };
    [Variant::PLAIN, fast].map(|variant| Build { variant, ..Build::default() })
}

/// A host of one of these, with known blocks 0 to 31 in namespace 1.
fn prepared(build: &Build) -> TestHost {
    let mut host = build.host();
    for lba in (0..32).step_by(8) {
        assert_eq!(host.write(1, lba, &blocks(lba, 8), false), Ok(Status::SUCCESS));
    }
    host
}

/// What a prepared host has in these blocks.
fn blocks(first: u64, count: u64) -> Vec<u8> {
    (first..first + count).flat_map(|lba| pattern(lba + 100, 512)).collect()
}

fn add(host: &mut Host<Rig>, spec: FaultSpec) -> u32 {
    host.port_mut().controller_mut().fault_add(spec).expect("a possible fault")
}

fn read_command(lba: u64, count: u32, address: u64) -> Command {
    Command { prp1: address.into(), ..block_command(NvmOpcode::READ, 1, lba, count) }
}

fn reads() -> Matching {
    Matching::io_opcode(NvmOpcode::READ.0)
}

fn writes() -> Matching {
    Matching::io_opcode(NvmOpcode::WRITE.0)
}

fn state(host: &Host<Rig>, id: u32) -> FaultState {
    let all = host.port().controller().faults();
    all.into_iter().find(|fault| fault.spec.id == Some(id)).expect("it is there")
}

fn hits(host: &Host<Rig>, id: u32) -> u64 {
    state(host, id).hits
}

/// Submits a Read of one block; the identifier, and where its data will be.
fn begin_read(host: &mut TestHost, lba: u64) -> (u16, u64) {
    let address = host.allocate(4096).expect("room");
    (host.submit(1, read_command(lba, 1, address)).expect("room"), address)
}

/// Every entry that the host finds in its I/O completion queue now.
fn entries(host: &mut TestHost) -> Vec<Completion> {
    host.port_mut().run_until_idle();
    crate::support::reap_all(host, 1)
}

/// The faults that were told to have hit since somebody listens.
fn told(host: &mut TestHost) -> Vec<u32> {
    let traced = host.port_mut().controller_mut().take_traced();
    let fault = |event| if let TraceEvent::FaultHit { fault, .. } = event { Some(fault) } else { None };
    traced.into_iter().filter_map(|traced| fault(traced.event)).collect()
}

fn listen(host: &mut TestHost) {
    host.port_mut().controller_mut().listen(Detail::Rare);
}

/// A fault of I/O Reads that happens once.
fn of_reads(action: Action) -> FaultSpec {
    FaultSpec::new(action).matching(reads())
}
