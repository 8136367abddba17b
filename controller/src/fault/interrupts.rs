//! What faults do to interrupts: lost, late, of another vector, for nothing.

use media::Nanoseconds;

use super::action::{Action, Place};
use super::matching::Facts;
use crate::{Controller, Effect};

impl Controller {
    /// The effects from `before` on are about to be delivered; those that interrupt meet faults.
    #[cold]
    pub(crate) fn meet_interrupt_faults(&mut self, before: usize) {
        let raised = self.effects.split_off(before);
        for effect in raised {
            let vector = match effect {
                Effect::Message { vector } => vector,
                Effect::Pin { asserted } if !self.moves_pin(asserted) => continue,
                other => {
                    self.effects.push(other);
                    continue;
                }
            };
            let facts = Facts { vector: Some(vector), ..self.facts() };
            let mut delivered = Some(vector);
            for (_, action) in self.fault_hits(Place::Interrupt, &facts, None) {
                match action {
                    Action::LoseInterrupt {} => delivered = None,
                    Action::WrongVector { vector: other } => {
                        let there = self.interrupts.check_vector(other).is_ok();
                        delivered = delivered.map(|vector| if there { other } else { vector });
                    }
                    Action::LateInterrupt { delay_ns } => {
                        if let Some(vector) = delivered.take() {
                            let at = self.health.now.plus(Nanoseconds(delay_ns));
                            self.faults.late.push((at, Effect::Message { vector }));
                        }
                    }
                    _ => {}
                }
            }
            self.effects.extend(delivered.map(|vector| Effect::Message { vector }));
        }
        self.faults.refresh();
    }

    /// Whether the host sees that the pin goes to this level.
    fn moves_pin(&mut self, asserted: bool) -> bool {
        let facts = self.facts();
        let was_lost = std::mem::take(&mut self.faults.pin_lost);
        if asserted {
            let hits = self.fault_hits(Place::Interrupt, &facts, None);
            self.faults.pin_lost = hits.iter().any(|(_, action)| *action == Action::LoseInterrupt {});
        }
        !was_lost && !self.faults.pin_lost && self.faults.pin_stuck.is_none()
    }

    /// The level of the pin under faults.
    pub(crate) fn pin_under_faults(&self, asserted: bool) -> bool {
        asserted && !self.faults.pin_lost || self.faults.pin_stuck.is_some()
    }

    /// The pin is asserted by a fault, or is no longer.
    pub(super) fn hold_pin(&mut self, stuck: Option<(u32, Nanoseconds)>) {
        let before = self.pin_asserted();
        self.faults.pin_stuck = stuck;
        let asserted = self.pin_asserted();
        if asserted != before {
            self.effects.push(Effect::Pin { asserted });
        }
    }
}
