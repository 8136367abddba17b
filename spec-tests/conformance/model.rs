//! Random sequences of commands, several at a time on several queues, against a plain array (rules B132, B136, B139, B142, B144).

use media::Nanoseconds;
use nvme_host::Mapping;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use proptest::prelude::*;
use spec_tests::random::cases;
use spec_tests::rig::{Build, STEP};
use zerocopy::IntoBytes;

use crate::verbs::{TestHost, bare, pattern};

const BLOCK: usize = 512;
const BLOCKS: usize = 256;
const QUEUES: u16 = 3;
/// Commands that wait at the same time, at most.
const DEPTH: usize = 12;

#[derive(Clone, Copy, Debug)]
enum Verb {
    Read,
    Write,
    WriteZeroes { deallocate: bool },
    Deallocate,
    Compare { equal: bool },
    Flush,
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    verb: Verb,
    queue: u16,
    lba: usize,
    blocks: usize,
    seed: u64,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let verb = prop_oneof![
        4 => Just(Verb::Read),
        4 => Just(Verb::Write),
        2 => any::<bool>().prop_map(|deallocate| Verb::WriteZeroes { deallocate }),
        2 => Just(Verb::Deallocate),
        2 => any::<bool>().prop_map(|equal| Verb::Compare { equal }),
        1 => Just(Verb::Flush),
    ];
    let operation = (verb, 1..=QUEUES, 0..BLOCKS + 4, 1_usize..40, any::<u64>())
        .prop_map(|(verb, queue, lba, blocks, seed)| Operation { verb, queue, lba, blocks, seed });
    proptest::collection::vec(operation, 1..80)
}

/// A command on its way, and what it must come to.
struct Waiting {
    operation: Operation,
    cid: u16,
    buffer: u64,
    mapping: Mapping,
    status: Status,
    /// What a Read must bring.
    data: Option<Vec<u8>>,
}

struct Model {
    host: TestHost,
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
}

impl Model {
    fn new(latency: u64) -> Self {
        let mut host = Build { namespaces: vec![(512, BLOCKS as u64)], ..Build::default() }.host();
        (2..=QUEUES).for_each(|qid| host.create_queue_pair(qid, 16, Some(qid)).expect("room"));
        host.port_mut().behaviour.borrow_mut().latency = (latency > 0).then_some(Nanoseconds(STEP.0 * latency));
        Self { host, bytes: vec![0; BLOCKS * BLOCK], waiting: Vec::new() }
    }

    /// Submits an operation, after those before it that it must not meet on the way.
    fn run(&mut self, operation: Operation) {
        if self.waiting.len() >= DEPTH || self.waiting.iter().any(|waiting| meets(&waiting.operation, &operation)) {
            self.finish();
        }
        let (lba, blocks) = (operation.lba, operation.blocks);
        let inside = lba + blocks <= BLOCKS;
        let range = if inside { lba * BLOCK..(lba + blocks) * BLOCK } else { 0..0 };
        let mut status = if inside { Status::SUCCESS } else { Status::LBA_OUT_OF_RANGE };
        let mut sent = vec![0; blocks * BLOCK];
        match operation.verb {
            Verb::Write => {
                sent = pattern(operation.seed, blocks * BLOCK);
                self.bytes[range.clone()].copy_from_slice(&sent[..range.len()]);
            }
            Verb::WriteZeroes { .. } | Verb::Deallocate => self.bytes[range.clone()].fill(0),
            Verb::Compare { equal } => {
                sent[..range.len()].copy_from_slice(&self.bytes[range.clone()]);
                if !equal {
                    let at = usize::try_from(operation.seed % sent.len() as u64).expect("an index");
                    sent[at] ^= 1;
                    status = if inside { Status::COMPARE_FAILURE } else { status };
                }
            }
            Verb::Flush => status = Status::SUCCESS,
            Verb::Read => {}
        }
        if matches!(operation.verb, Verb::Deallocate) {
            sent = ranges(&operation);
        }
        let data = (inside && matches!(operation.verb, Verb::Read)).then(|| self.bytes[range].to_vec());
        self.submit(operation, &sent, status, data);
    }

    fn submit(&mut self, operation: Operation, sent: &[u8], status: Status, data: Option<Vec<u8>>) {
        // Somewhere in its page, so that data begins and ends anywhere.
        let offset = operation.seed % 1024 * 4;
        let buffer = self.host.allocate(sent.len() + 4096).expect("room");
        let start = buffer + offset;
        self.host.write_memory(start, sent);
        let mapping = self.host.map(start, sent.len()).expect("room");
        let cid =
            self.host.submit(operation.queue, mapping.on(command(&operation))).expect("fewer than the queue holds");
        self.waiting.push(Waiting { operation, cid, buffer, mapping, status, data });
    }

    /// Takes all answers and looks at them.
    fn finish(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            let answer = self.host.wait(waiting.operation.queue, waiting.cid).expect("answered");
            assert_eq!(bare(answer.status()), waiting.status, "{:?}", waiting.operation);
            if let Some(data) = &waiting.data {
                let read = self.host.read_memory(waiting.mapping.pointer.prp1, data.len());
                assert!(read == *data, "{:?}", waiting.operation);
            }
            self.host.unmap(waiting.mapping);
            self.host.release(waiting.buffer);
        }
        assert!(self.host.surprises().is_empty());
    }
}

/// Commands on their way have no order among themselves: two that touch the same block, one of which changes it, must not be there at
/// once.
fn meets(one: &Operation, other: &Operation) -> bool {
    let changes =
        |operation: &Operation| matches!(operation.verb, Verb::Write | Verb::WriteZeroes { .. } | Verb::Deallocate);
    let apart = one.lba + one.blocks <= other.lba || other.lba + other.blocks <= one.lba;
    !apart && (changes(one) || changes(other))
}

/// The blocks of the operation as two ranges.
fn ranges(operation: &Operation) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).expect("small");
    let first = number(operation.blocks / 2);
    let range = |slba: u32, blocks: u32| DatasetRange {
        slba: u64::from(slba).into(),
        blocks: blocks.into(),
        ..Default::default()
    };
    let lba = number(operation.lba);
    [range(lba, first), range(lba + first, number(operation.blocks) - first)].as_bytes().to_vec()
}

fn command(operation: &Operation) -> Command {
    let of = |opcode| block_command(opcode, 1, operation.lba as u64, u32::try_from(operation.blocks).expect("small"));
    match operation.verb {
        Verb::Read => of(NvmOpcode::READ),
        Verb::Write => of(NvmOpcode::WRITE),
        Verb::Compare { .. } => of(NvmOpcode::COMPARE),
        Verb::Flush => nvm_command(NvmOpcode::FLUSH, 1),
        Verb::Deallocate => Command {
            cdw10: 1.into(),
            cdw11: DATASET_DEALLOCATE.into(),
            ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, 1)
        },
        Verb::WriteZeroes { deallocate } => {
            let mut command = of(NvmOpcode::WRITE_ZEROES);
            command.cdw12 |= if deallocate { WRITE_ZEROES_DEALLOCATE } else { 0 };
            command
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: u32::try_from(cases(64)).unwrap_or(u32::MAX),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    /// B132 and the rules of the other commands: whatever the order and the depth, the namespace is a plain array.
    #[test]
    fn the_namespace_behaves_as_a_plain_array(operations in operations(), latency in 0_u64..6) {
        let mut model = Model::new(latency);
        operations.into_iter().for_each(|operation| model.run(operation));
        model.finish();
        let (status, bytes) = model.host.read(1, 0, u32::try_from(BLOCKS).expect("small")).expect("answered");
        prop_assert!(status.is_success() && bytes == model.bytes);
    }
}
