//! Where the doorbells are, and when one that has a shadow must still be rung (Base 2.1 section 5.2.5 for the shadows, the PCIe
//! transport for the places).

use nvme_spec::register;

/// Which of the two doorbells of a queue identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doorbell {
    /// Tail of a submission queue.
    SubmissionTail(u16),
    /// Head of a completion queue.
    CompletionHead(u16),
}

impl Doorbell {
    /// The queue identifier.
    #[must_use]
    pub const fn queue(self) -> u16 {
        match self {
            Self::SubmissionTail(qid) | Self::CompletionHead(qid) => qid,
        }
    }

    /// Byte offset from the first doorbell, in BAR0 as in a shadow buffer; `stride` is CAP.DSTRD.
    #[must_use]
    pub const fn offset(self, stride: u8) -> u64 {
        let index = match self {
            Self::SubmissionTail(qid) => 2 * qid as u64,
            Self::CompletionHead(qid) => 2 * qid as u64 + 1,
        };
        index * (4 << stride)
    }

    /// Byte offset in BAR0; `stride` is CAP.DSTRD.
    #[must_use]
    pub const fn register(self, stride: u8) -> u64 {
        register::DOORBELLS + self.offset(stride)
    }
}

/// The two buffers of Doorbell Buffer Config, each laid out as the doorbells are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow {
    /// Guest address of the shadow doorbells: the host writes, the controller reads.
    pub doorbells: u64,
    /// Guest address of the event indices: the controller writes, the host reads.
    pub event_indices: u64,
}

/// Whether a move of a shadow doorbell from `old` to `new` passes `event`, so that the register must be written too. The numbers
/// are positions in a ring, and the subtraction wraps as Linux's does (`nvme_dbbuf_need_event`).
#[must_use]
pub const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::{Doorbell, need_event};

    #[test]
    fn doorbells_alternate_and_follow_the_stride() {
        assert_eq!(Doorbell::SubmissionTail(0).register(0), 0x1000);
        assert_eq!(Doorbell::CompletionHead(0).register(0), 0x1004);
        assert_eq!(Doorbell::SubmissionTail(3).register(0), 0x1018);
        assert_eq!(Doorbell::CompletionHead(1).register(2), 0x1030);
        assert_eq!(Doorbell::CompletionHead(65535).register(15), 0x1000 + 131_071 * 0x2_0000);
    }

    #[test]
    fn an_event_is_needed_exactly_when_the_index_is_passed() {
        assert!(need_event(4, 5, 4));
        assert!(!need_event(5, 5, 4));
        assert!(!need_event(3, 5, 4));
        assert!(need_event(6, 10, 5));
        assert!(need_event(0xffff, 1, 0xfffe));
        assert!(!need_event(7, 5, 5));
    }
}
