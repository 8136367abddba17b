//! The admin queue's doorbells while they have shadows. Linux continues to write their registers and never touches the shadows; libvfn
//! writes the shadows, and the register when the event index asks for it; a host may mix both (NVMe Base 2.1 section 5.2.5; B56). So
//! each source is followed where it is ahead. A new register write must be distinguished from a late one that repeats what the shadow
//! has already said.

use nvme_spec::command::low16;

/// Where a doorbell stands, in its ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) position: u16,
    pub(super) entries: u32,
}

impl Place {
    /// Whether somebody who moves the doorbell from `last` to `value` is behind: it came by there already, by another way.
    fn has_passed(self, last: u16, value: u16) -> bool {
        comes_by(last, value, self.position) && u32::from(value) < self.entries
    }
}

/// Whether a doorbell that moves from `from` forward to `to` comes by `value`, or gets there.
fn comes_by(from: u16, value: u16, to: u16) -> bool {
    if from <= to { from < value && value <= to } else { from < value || value <= to }
}

/// The two ways by which one doorbell of the admin queue comes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ways {
    /// Up to here nothing is on its way by register.
    register: u16,
    /// What the shadow buffer held last.
    entry: u32,
    /// The event index that the host was given last.
    pub(super) event: u16,
    /// How many register writes may be on their way because the shadow passed the event index.
    owed: u32,
    /// And what the last of them says at most.
    owed_to: u16,
}

/// What a shadow buffer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing new.
    Nothing,
    /// The doorbell moved to this value.
    Moved(u32),
    /// The buffer is to be given the doorbell's position, if it still holds what it held.
    Behind,
}

impl Ways {
    /// Both ways begin at the same place.
    pub(super) fn at(position: u16) -> Self {
        Self { register: position, entry: position.into(), event: position, owed: 0, owed_to: position }
    }

    /// The register was written: whether the doorbell is to move there.
    pub(super) fn register_is_new(&mut self, place: Place, value: u16) -> bool {
        if self.owed == 0 || !comes_by(self.register, value, self.owed_to) || u32::from(value) >= place.entries {
            // Register writes come in order: none of the late ones can follow.
            self.owed = 0;
            return true;
        }
        self.owed = if value == self.owed_to { 0 } else { self.owed - 1 };
        self.register = if self.owed == 0 { place.position } else { value };
        false
    }

    /// The doorbell has moved as the register said.
    pub(super) fn moved_by_register(&mut self, value: u16) {
        self.register = value;
    }

    /// The shadow buffer holds `value`.
    pub(super) fn look(&mut self, place: Place, value: u32) -> Seen {
        if value == self.entry {
            return if low16(value) == place.position { Seen::Nothing } else { Seen::Behind };
        }
        let before = low16(std::mem::replace(&mut self.entry, value));
        let new = low16(value);
        if place.has_passed(before, new) {
            return Seen::Behind;
        }
        // The host's own question, whether it must ring. What it rang before we looked has come.
        let from = if comes_by(before, self.register, new) { self.register } else { before };
        if new.wrapping_sub(self.event).wrapping_sub(1) < new.wrapping_sub(from) {
            self.owed += 1;
            self.owed_to = new;
        } else if self.owed == 0 {
            self.register = new;
        }
        Seen::Moved(value)
    }

    /// The shadow buffer was given the doorbell's position.
    pub(super) fn carried(&mut self, place: Place) {
        self.entry = place.position.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u16) -> Place {
        Place { position, entries: 32 }
    }

    #[test]
    fn a_register_that_comes_after_its_shadow_moves_nothing() {
        let mut ways = Ways::at(4);
        assert_eq!(ways.look(place(4), 5), Seen::Moved(5), "the event index is passed: the register will be written");
        assert_eq!(ways.look(place(5), 7), Seen::Moved(7), "and now it will not");
        assert!(!ways.register_is_new(place(7), 5), "5 is older than 7");
        assert!(ways.register_is_new(place(7), 8), "nothing else is on its way");
    }

    #[test]
    fn two_that_come_late_move_nothing() {
        let mut ways = Ways::at(30);
        assert_eq!(ways.look(place(30), 31), Seen::Moved(31));
        ways.event = 31;
        assert_eq!(ways.look(place(31), 1), Seen::Moved(1));
        assert_eq!(ways.look(place(1), 3), Seen::Moved(3));
        assert!(!ways.register_is_new(place(3), 31));
        assert!(!ways.register_is_new(place(3), 1));
        assert!(ways.register_is_new(place(3), 1), "a whole round, less two");
    }

    #[test]
    fn a_register_that_came_before_its_shadow_counts_once() {
        let mut ways = Ways::at(4);
        assert!(ways.register_is_new(place(4), 5));
        ways.moved_by_register(5);
        assert_eq!(ways.look(place(5), 5), Seen::Behind, "or rather, the same");
        assert_eq!(ways.look(place(5), 5), Seen::Nothing);
        assert!(ways.register_is_new(place(5), 4), "a whole round, less one");
    }

    #[test]
    fn what_registers_moved_is_carried_into_the_buffer() {
        let mut ways = Ways::at(4);
        assert!(ways.register_is_new(place(4), 9));
        ways.moved_by_register(9);
        assert_eq!(ways.look(place(9), 4), Seen::Behind);
        ways.carried(place(9));
        assert_eq!(ways.look(place(9), 9), Seen::Nothing);
        assert_eq!(ways.look(place(9), 4), Seen::Moved(4), "a host that goes over to the buffer, and comes round");
    }
}
