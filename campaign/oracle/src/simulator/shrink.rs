//! Makes a failing scenario small: drops passes, then operations, then what else is not needed, as long as it still breaks the same
//! rule. Knows nothing of what an operation means.

use super::{Failure, Operation, Pass, Queue, Scenario, attempt};
use crate::parameters::Blocks;
use crate::verdict::Rule;

/// How often a scenario is run again at most.
const RUNS_MAX: u32 = 2_000;

/// A small scenario that breaks the same rule, and how it does.
#[must_use]
pub fn shrink(scenario: &Scenario, failure: &Failure) -> (Scenario, Failure) {
    let mut smaller =
        Smaller { best: scenario.clone(), failure: failure.clone(), rule: failure.violation.rule, runs: 0 };
    smaller.best.passes.truncate(failure.pass + 1);
    loop {
        let before = smaller.best.clone();
        smaller.drop_passes();
        smaller.drop_operations();
        smaller.simplify();
        if smaller.best == before || smaller.runs >= RUNS_MAX {
            return (smaller.best, smaller.failure);
        }
    }
}

struct Smaller {
    best: Scenario,
    failure: Failure,
    rule: Rule,
    runs: u32,
}

impl Smaller {
    /// Takes a changed scenario if it still breaks the rule.
    fn offer(&mut self, change: impl FnOnce(&mut Scenario)) -> bool {
        let mut changed = self.best.clone();
        change(&mut changed);
        if changed == self.best || self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        match attempt(&changed) {
            Err(failure) if failure.violation.rule == self.rule => {
                changed.passes.truncate(failure.pass + 1);
                (self.best, self.failure) = (changed, *failure);
                true
            }
            _ => false,
        }
    }

    fn drop_passes(&mut self) {
        let mut size = self.best.passes.len() / 2;
        while size > 0 {
            let mut start = 0;
            while start + size < self.best.passes.len() {
                if !self.offer(|scenario| drop(scenario.passes.drain(start..start + size))) {
                    start += size;
                }
            }
            size /= 2;
        }
    }

    fn drop_operations(&mut self) {
        for pass in (0..self.best.passes.len()).rev() {
            let mut size = self.operations(pass).max(1);
            while size > 0 {
                let mut start = 0;
                while start + size <= self.operations(pass) {
                    if !self.offer(|scenario| drop(scenario.passes[pass].operations.drain(start..start + size))) {
                        start += size;
                    }
                }
                size /= 2;
            }
        }
    }

    fn operations(&self, pass: usize) -> usize {
        self.best.passes.get(pass).map_or(0, |pass| pass.operations.len())
    }

    fn simplify(&mut self) {
        for pass in 0..self.best.passes.len() {
            self.offer_pass(pass, |pass| pass.look_again = false);
            self.offer_pass(pass, |pass| pass.recoveries.clear());
            self.offer_pass(pass, |pass| pass.arming = None);
            for operation in 0..self.operations(pass) {
                self.offer_pass(pass, |pass| shorten(pass, operation));
                self.offer_pass(pass, |pass| first_queue(pass, operation));
            }
        }
    }

    fn offer_pass(&mut self, pass: usize, change: impl FnOnce(&mut Pass)) {
        self.offer(|scenario| {
            if let Some(pass) = scenario.passes.get_mut(pass) {
                change(pass);
            }
        });
    }
}

/// Halves the blocks of a command.
fn shorten(pass: &mut Pass, operation: usize) {
    if let Some(Operation::Queue { blocks, .. } | Operation::Compare { blocks, .. }) =
        pass.operations.get_mut(operation)
        && blocks.count() > 1
    {
        *blocks = Blocks::new(blocks.start, blocks.count() / 2);
    }
}

/// Puts a command into the first queue, with a doorbell of its own.
fn first_queue(pass: &mut Pass, operation: usize) {
    if let Some(Operation::Queue { queue, .. } | Operation::Reserve { queue, .. } | Operation::Ring { queue }) =
        pass.operations.get_mut(operation)
    {
        *queue = Queue::FIRST;
    }
}
