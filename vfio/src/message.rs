//! The wire: headers, requests, replies, and the splitting of a byte stream into messages.
//!
//! Pure functions over bytes. Every bit pattern has a meaning here, be it "refuse with this errno"; the wire holds numbers, not
//! enums. The layouts are those of the vfio-user specification (`docs/interop/vfio-user.rst` in QEMU), all little-endian.
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(not(test), deny(clippy::expect_used, clippy::panic))]

mod decoder;
mod fields;
pub mod flags;
mod reply;
mod request;

pub use decoder::{Decoder, Frame, Step};
pub use reply::{Reply, VERSION_REPLY_JSON};
pub use request::{Action, DmaMap, DmaUnmap, InterruptData, RegionAccess, Request, SetInterrupts, Version};

use fields::Fields;

/// Bytes of the header that every message begins with.
pub const HEADER_BYTES: usize = 16;
/// Bytes of the longest message that is looked at. The longest that a client has reason to send is SPDK's padded region query, of
/// 4096 bytes, and a write of the whole of BAR0, of 16 KiB.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the longest message that is skipped and refused; a longer one means that the stream has lost its framing. It is the
/// largest transfer that the VERSION reply allows, with room for what stands before it.
pub const SKIPPED_BYTES_MAX: usize = 1024 * 1024 + 4096;
/// How many descriptors may come with one message, as the VERSION reply says.
pub const DESCRIPTORS_MAX: usize = 16;

/// Command numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Command(pub u16);

impl Command {
    /// Agree on a version and on limits; the first message.
    pub const VERSION: Self = Self(1);
    /// A range of guest memory appears.
    pub const DMA_MAP: Self = Self(2);
    /// Guest memory disappears.
    pub const DMA_UNMAP: Self = Self(3);
    /// How many regions and interrupts there are.
    pub const DEVICE_GET_INFO: Self = Self(4);
    /// Size, permissions and mappable areas of a region.
    pub const DEVICE_GET_REGION_INFO: Self = Self(5);
    /// Descriptors that stand for accesses to a region; not offered.
    pub const DEVICE_GET_REGION_IO_FDS: Self = Self(6);
    /// Number and properties of a kind of interrupt.
    pub const DEVICE_GET_IRQ_INFO: Self = Self(7);
    /// Attach, mask, unmask or fire interrupts.
    pub const DEVICE_SET_IRQS: Self = Self(8);
    /// Read from a region.
    pub const REGION_READ: Self = Self(9);
    /// Write to a region.
    pub const REGION_WRITE: Self = Self(10);
    /// Reset the device.
    pub const DEVICE_RESET: Self = Self(13);
}

/// An errno, as error replies carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub u32);

impl Errno {
    /// Not enough memory.
    pub const NOMEM: Self = Self(12);
    /// The range is taken.
    pub const EXIST: Self = Self(17);
    /// The request makes no sense.
    pub const INVAL: Self = Self(22);
    /// Too many of something.
    pub const NOSPC: Self = Self(28);
    /// The command, or this form of it, is not offered.
    pub const NOTSUP: Self = Self(95);
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the sender, echoed in the reply. SPDK uses 0 for all.
    pub id: u16,
    /// What to do.
    pub command: Command,
    /// Bytes of the whole message, header included.
    pub size: u32,
    /// Bits 3:0 are the type, bit 4 asks for no reply, bit 5 says that the reply is an error.
    pub flags: u32,
    /// The errno of an error reply.
    pub error: u32,
}

/// Type field of the header's flags: a command.
pub const TYPE_COMMAND: u32 = 0;
/// Type field of the header's flags: a reply.
pub const TYPE_REPLY: u32 = 1;
/// Flag of the header: whoever sent this does not read a reply (a posted write).
pub const FLAG_NO_REPLY: u32 = 1 << 4;
/// Flag of the header: the reply is an error, and `error` says which.
pub const FLAG_ERROR: u32 = 1 << 5;

impl Header {
    /// The header at the beginning of `bytes`; `None` if there are fewer than [`HEADER_BYTES`].
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        Some(Self {
            id: fields.u16()?,
            command: Command(fields.u16()?),
            size: fields.u32()?,
            flags: fields.u32()?,
            error: fields.u32()?,
        })
    }

    /// The bytes on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut wire = [0; HEADER_BYTES];
        let fields = self
            .id
            .to_le_bytes()
            .into_iter()
            .chain(self.command.0.to_le_bytes())
            .chain(self.size.to_le_bytes())
            .chain(self.flags.to_le_bytes())
            .chain(self.error.to_le_bytes());
        for (to, from) in wire.iter_mut().zip(fields) {
            *to = from;
        }
        wire
    }

    /// Command, reply, or one of the numbers that mean nothing.
    #[must_use]
    pub const fn kind(&self) -> u32 {
        self.flags & 0xf
    }

    /// Whether the sender waits for a reply.
    #[must_use]
    pub const fn wants_reply(&self) -> bool {
        self.flags & FLAG_NO_REPLY == 0
    }
}

#[cfg(test)]
mod tests;
