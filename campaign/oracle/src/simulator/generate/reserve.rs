//! Hosts that register with namespaces and reserve them, by chance.

use super::{Choices, Shape};
use crate::reservations::Kind;
use crate::simulator::{Operation, Queue, Reservation};

/// Names of hosts.
const NAMES: u64 = 4;

impl Choices {
    /// What the host of each controller calls itself, where hosts register with namespaces: most have names of their own.
    pub(super) fn names(&mut self, controllers: u16) -> Vec<u8> {
        if !self.one_in(if controllers > 1 { 2 } else { 4 }) {
            return Vec::new();
        }
        let first = self.below(NAMES);
        let mut names: Vec<u8> = (0..u64::from(controllers)).map(|nth| name(first + nth)).collect();
        if self.one_in(6) {
            let unnamed = self.index(names.len());
            names[unnamed] = 0;
        }
        if self.one_in(6) {
            // Two controllers of one host.
            let same = self.index(names.len());
            names[same] = names[0];
        }
        names
    }

    /// The host of a controller is another one, or another controller's, after its next reset.
    pub(super) fn rename(&mut self, shape: &Shape) -> Operation {
        let name = if self.one_in(8) { 0 } else { name(self.below(NAMES)) };
        Operation::Rename { controller: self.controller(shape), name }
    }

    /// A few commands about registrations, most of them of one namespace; doorbells come with those of other commands.
    pub(super) fn reserve(&mut self, shape: &Shape, near: u32, operations: &mut Vec<Operation>) {
        if shape.controllers > 1 && self.one_in(8) {
            self.preempt_and_abort(shape, near, operations);
            return;
        }
        if self.one_in(2) {
            self.register_all(shape, near, operations);
        }
        for _ in 0..1 + self.below(4) {
            let all = u32::try_from(shape.namespaces.len()).expect("few");
            let nsid = if self.one_in(6) { 1 + u32::try_from(self.below(all.into())).expect("few") } else { near };
            let what = self.reservation(shape);
            operations.push(Operation::Reserve { queue: self.queue(shape), nsid, what, wrong: self.one_in(16) });
            if self.one_in(4) {
                self.ring_all(shape, operations);
                operations.push(if self.one_in(2) { Operation::Finish } else { Operation::Run { steps: 1 } });
            }
        }
    }

    /// Some hosts register, and are waited for.
    fn register_all(&mut self, shape: &Shape, nsid: u32, operations: &mut Vec<Operation>) {
        let but = self.below(2 * u64::from(shape.controllers));
        for controller in (0..shape.controllers).filter(|controller| u64::from(*controller) != but) {
            let (key, persistence) = (1 + self.below(3), self.persistence(shape));
            let what = Reservation::Register { key, persistence };
            let queue = Queue { controller, number: 1 };
            operations.push(Operation::Reserve { queue, nsid, what, wrong: false });
        }
        self.ring_all(shape, operations);
        operations.push(Operation::Finish);
    }

    /// One host is preempted while it has commands under way.
    fn preempt_and_abort(&mut self, shape: &Shape, nsid: u32, operations: &mut Vec<Operation>) {
        let controller = self.controller(shape);
        let queue = Queue { controller, number: 1 };
        self.register_all(shape, nsid, operations);
        let kind = self.kind();
        if self.one_in(2) {
            operations.push(Operation::Reserve { queue, nsid, what: Reservation::Acquire { kind }, wrong: false });
            operations.extend([Operation::Ring { queue }, Operation::Finish]);
        }
        for _ in 0..2 + self.below(4) {
            let other = self.queue(shape);
            let command = self.command(shape, (nsid, 0));
            operations.push(match command {
                Operation::Queue { verb, nsid, blocks, force, .. } => {
                    Operation::Queue { queue: other, verb, nsid, blocks, force }
                }
                command => command,
            });
        }
        self.ring_all(shape, operations);
        let other = (controller + 1) % shape.controllers;
        operations.push(Operation::RunOne { controller: other, steps: 1 + u32::from(self.one_in(2)) });
        let [other, ..] = self.below(4).to_le_bytes();
        let what = Reservation::Preempt { other, kind, abort: true };
        operations.extend([Operation::Reserve { queue, nsid, what, wrong: false }, Operation::Ring { queue }]);
        operations.push(if self.one_in(2) { Operation::Finish } else { Operation::RunOne { controller, steps: 1 } });
    }

    fn ring_all(&self, shape: &Shape, operations: &mut Vec<Operation>) {
        operations.extend(shape.all_queues().map(|queue| Operation::Ring { queue }));
    }

    fn kind(&mut self) -> Kind {
        Kind(1 + u8::try_from(self.below(6)).expect("few"))
    }

    /// Most registrations shall persist, where they can.
    fn persistence(&mut self, shape: &Shape) -> Option<bool> {
        match self.below(if shape.managed { 8 } else { 16 }) {
            0..=3 if shape.managed => Some(true),
            0 | 4 => Some(self.one_in(2)),
            _ => None,
        }
    }

    fn reservation(&mut self, shape: &Shape) -> Reservation {
        let key = 1 + self.below(3);
        let (persistence, kind) = (self.persistence(shape), self.kind());
        match self.below(24) {
            0..=3 => Reservation::Register { key, persistence },
            4 | 5 => Reservation::Replace { key, ignores_key: self.one_in(2), persistence },
            6 | 7 => Reservation::Unregister { ignores_key: self.one_in(2), persistence },
            8..=13 => Reservation::Acquire { kind },
            14..=17 => {
                let [other, ..] = self.below(4).to_le_bytes();
                Reservation::Preempt { other, kind, abort: self.one_in(2) }
            }
            18 | 19 => Reservation::Release,
            20 => Reservation::Clear,
            _ => Reservation::Report,
        }
    }
}

fn name(number: u64) -> u8 {
    u8::try_from(number % NAMES).expect("few") + 1
}
