//! Sets of flags in requests and replies. Those of a client may contain unknown bits.

use bitflags::bitflags;

bitflags! {
    /// DMA_MAP: what the device may do with the memory.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DmaMapFlags: u32 {
        /// Read it.
        const READ = 1 << 0;
        /// Write it.
        const WRITE = 1 << 1;
    }

    /// DMA_UNMAP.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DmaUnmapFlags: u32 {
        /// Report dirty pages, which are not tracked.
        const DIRTY_BITMAP = 1 << 0;
        /// All that is mapped.
        const ALL = 1 << 1;
    }

    /// DEVICE_GET_INFO: what the device is like.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceFlags: u32 {
        /// It can be reset.
        const RESET = 1 << 0;
        /// It is a PCI function.
        const PCI = 1 << 1;
    }

    /// DEVICE_GET_REGION_INFO: what a region is like.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RegionFlags: u32 {
        /// It can be read.
        const READABLE = 1 << 0;
        /// It can be written.
        const WRITABLE = 1 << 1;
        /// Parts of it can be mapped.
        const MAPPABLE = 1 << 2;
        /// Capabilities follow.
        const CAPABILITIES = 1 << 3;
    }

    /// DEVICE_GET_IRQ_INFO: what a kind of interrupt is like.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InterruptFlags: u32 {
        /// It is told by event descriptors.
        const EVENTFD = 1 << 0;
        /// It can be masked.
        const MASKABLE = 1 << 1;
        /// It masks itself when it is told.
        const AUTOMASKED = 1 << 2;
    }

    /// DEVICE_SET_IRQS: what the payload holds (exactly one) and what to do (exactly one).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InterruptSetFlags: u32 {
        /// No payload: all of the range.
        const DATA_NONE = 1 << 0;
        /// One byte for each interrupt; those not zero are meant.
        const DATA_BOOL = 1 << 1;
        /// One event descriptor for each interrupt, beside the message.
        const DATA_EVENTFD = 1 << 2;
        /// Hold back.
        const ACTION_MASK = 1 << 3;
        /// Let through.
        const ACTION_UNMASK = 1 << 4;
        /// Fire, or attach what is to be signalled.
        const ACTION_TRIGGER = 1 << 5;
    }
}
