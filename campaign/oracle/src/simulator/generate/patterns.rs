//! Sequences that chance would seldom find.

use media::power::{Arming, Step};

use super::{Choices, NamespaceShape, Shape, Wishes};
use crate::history::Verb;
use crate::parameters::Blocks;
use crate::simulator::{Operation, Pass, Queue};

impl Choices {
    /// Power goes twice in the middle of a write, and then after one.
    pub(super) fn interrupted_again_and_again(&mut self, shape: &Shape, wishes: &Wishes) -> Vec<Pass> {
        let step = self.pick(&[Step::PageProgrammed, Step::PageHalfProgrammed, Step::PageProgram]);
        let nth = 1 + self.below(2);
        let pass = |choices: &mut Self, last: bool| {
            let (nsid, near) = choices.place(shape);
            let blocks = choices.blocks(shape.namespaces[nsid as usize - 1], near);
            let write = Operation::Queue { queue: Queue::FIRST, verb: Verb::Write, nsid, blocks, force: true };
            Pass {
                arming: (!last).then_some(Arming::Hit(step, nth)),
                armed_only: false,
                operations: vec![write, Operation::Ring { queue: Queue::FIRST }, Operation::Finish],
                cut: choices.cut(wishes),
                disk_seed: choices.draw(),
                recoveries: Vec::new(),
                look_again: false,
            }
        };
        (0..3).map(|number| pass(self, number == 2)).collect()
    }

    /// A write that leaves the cache because it grows old, and a forced read of it.
    pub(super) fn read_what_grew_old(
        &mut self,
        shape: &Shape,
        (nsid, near): (u32, u64),
        operations: &mut Vec<Operation>,
    ) {
        let queue = self.queue(shape);
        let blocks = self.blocks(shape.namespaces[nsid as usize - 1], near);
        let command = |verb, force| Operation::Queue { queue, verb, nsid, blocks, force };
        let nanoseconds = self.pick(&[20_000, 200_000, 200_000_000]);
        operations.extend([command(Verb::Write, false), Operation::Ring { queue }, Operation::Finish]);
        operations.extend([Operation::Wait { nanoseconds }, Operation::Run { steps: 1 }]);
        operations.extend([command(Verb::Read, true), Operation::Ring { queue }, Operation::Finish]);
    }

    /// Writes of the unit of normal operation, which is not kept under Disable Normal, and reads of their blocks beside them.
    pub(super) fn read_beside_a_write(
        &mut self,
        shape: &Shape,
        (nsid, near): (u32, u64),
        operations: &mut Vec<Operation>,
    ) {
        let NamespaceShape { blocks: capacity, normal, most, .. } = shape.namespaces[nsid as usize - 1];
        let blocks = Blocks::new(near, normal.clamp(1, most).min(capacity - near));
        let controller = self.controller(shape);
        operations.push(Operation::DisableNormal { controller, disabled: true });
        for verb in [Verb::Write, Verb::Read, Verb::Write, Verb::Read, Verb::Read] {
            operations.push(Operation::Queue { queue: self.queue(shape), verb, nsid, blocks, force: false });
        }
        operations.extend(shape.all_queues().map(|queue| Operation::Ring { queue }));
        operations.push(Operation::Finish);
    }
}
