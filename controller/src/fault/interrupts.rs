//! What faults do to messages: lost, late, of another vector.

use media::Nanoseconds;

use super::action::{Action, Place};
use super::matching::Facts;
use crate::{Controller, Effect};

impl Controller {
    /// The effects from `before` on are about to be delivered; those that are messages meet faults. The pin meets none.
    #[cold]
    pub(crate) fn meet_interrupt_faults(&mut self, before: usize) {
        let raised = self.effects.split_off(before);
        for effect in raised {
            let Effect::Message { vector } = effect else {
                self.effects.push(effect);
                continue;
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
}
