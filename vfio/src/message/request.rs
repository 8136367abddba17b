//! Requests as types. Their lengths have been checked: a slice has as many bytes as its count says.

use super::flags::{DmaMapFlags, DmaUnmapFlags, InterruptSetFlags};
use super::{Command, Errno, Fields, Header};

/// VERSION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version<'a> {
    /// Only 0 exists.
    pub major: u16,
    /// QEMU says 0; SPDK and rust-vmm say 1.
    pub minor: u16,
    /// JSON without its terminating NUL; empty if there is none (SPDK sends none).
    pub capabilities: &'a [u8],
}

/// DMA_MAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaMap {
    /// What the device may do.
    pub flags: DmaMapFlags,
    /// Where the memory begins in the descriptor's file, in bytes.
    pub offset: u64,
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// DMA_UNMAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaUnmap {
    /// Echoed.
    pub argument_bytes: u32,
    /// How it is meant.
    pub flags: DmaUnmapFlags,
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// What REGION_READ and REGION_WRITE have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionAccess {
    /// In bytes from the region's beginning; not yet compared with its size.
    pub offset: u64,
    /// Region index.
    pub region: u32,
    /// Bytes; not yet compared with the region's size.
    pub count: u32,
}

/// What a DEVICE_SET_IRQS does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hold back.
    Mask,
    /// Let through.
    Unmask,
    /// Fire, or attach.
    Trigger,
}

/// To which interrupts of the range a DEVICE_SET_IRQS does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptData<'a> {
    /// All.
    None,
    /// Those whose byte is not zero; as many bytes as interrupts.
    Bool(&'a [u8]),
    /// The event descriptors that came along say.
    EventDescriptors,
}

/// DEVICE_SET_IRQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetInterrupts<'a> {
    /// Kind of interrupt: 0 pin, 1 MSI, 2 MSI-X, 3 error, 4 request.
    pub index: u32,
    /// The first of the range.
    pub start: u32,
    /// How many.
    pub count: u32,
    /// What to do.
    pub action: Action,
    /// To which.
    pub data: InterruptData<'a>,
}

/// A command with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Agree on a version.
    Version(Version<'a>),
    /// Guest memory appears.
    DmaMap(DmaMap),
    /// Guest memory disappears.
    DmaUnmap(DmaUnmap),
    /// What the device has.
    DeviceInfo,
    /// What a region is like.
    RegionInfo {
        /// How many bytes of reply payload the client has room for.
        argument_bytes: u32,
        /// Region index.
        index: u32,
    },
    /// What a kind of interrupt is like.
    InterruptInfo {
        /// Kind of interrupt.
        index: u32,
    },
    /// Attach, mask, unmask, fire.
    SetInterrupts(SetInterrupts<'a>),
    /// Read.
    RegionRead(RegionAccess),
    /// Write; as many bytes as the count says.
    RegionWrite(RegionAccess, &'a [u8]),
    /// Reset.
    Reset,
}

/// Bytes of payload that the info requests have, and the least that they must have room for.
const DEVICE_INFO_BYTES: u32 = 16;
const REGION_INFO_BYTES: u32 = 32;
const INTERRUPT_INFO_BYTES: u32 = 16;

impl<'a> Request<'a> {
    /// Gives the payload of the message that `header` heads a type. Bytes after the arguments are accepted: SPDK pads.
    ///
    /// # Errors
    /// The errno of the error reply: a payload that is too short, a field that cannot be, a command that is not offered.
    pub fn parse(header: &Header, payload: &'a [u8]) -> Result<Self, Errno> {
        let fields = Fields(payload);
        let parsed = match header.command {
            Command::VERSION => version(fields).map(Self::Version),
            Command::DMA_MAP => dma_map(fields).map(Self::DmaMap),
            Command::DMA_UNMAP => dma_unmap(fields).map(Self::DmaUnmap),
            Command::DEVICE_GET_INFO => info(fields, DEVICE_INFO_BYTES).map(|_| Self::DeviceInfo),
            Command::DEVICE_GET_REGION_INFO => info(fields, REGION_INFO_BYTES)
                .map(|(argument_bytes, index)| Self::RegionInfo { argument_bytes, index }),
            Command::DEVICE_GET_IRQ_INFO => {
                info(fields, INTERRUPT_INFO_BYTES).map(|(_, index)| Self::InterruptInfo { index })
            }
            Command::DEVICE_SET_IRQS => set_interrupts(fields).map(Self::SetInterrupts),
            Command::REGION_READ => region_access(fields).map(|(access, _)| Self::RegionRead(access)),
            Command::REGION_WRITE => region_access(fields).and_then(|(access, mut rest)| {
                let data = rest.bytes(access.count)?;
                Some(Self::RegionWrite(access, data))
            }),
            Command::DEVICE_RESET => Some(Self::Reset),
            _ => return Err(Errno::NOTSUP),
        };
        parsed.ok_or(Errno::INVAL)
    }
}

fn version(mut fields: Fields<'_>) -> Option<Version<'_>> {
    let (major, minor) = (fields.u16()?, fields.u16()?);
    let capabilities = fields.0.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Version { major, minor, capabilities })
}

fn dma_map(mut fields: Fields<'_>) -> Option<DmaMap> {
    let _argument_bytes = fields.u32()?;
    let flags = DmaMapFlags::from_bits_retain(fields.u32()?);
    Some(DmaMap { flags, offset: fields.u64()?, address: fields.u64()?, length: fields.u64()? })
}

fn dma_unmap(mut fields: Fields<'_>) -> Option<DmaUnmap> {
    Some(DmaUnmap {
        argument_bytes: fields.u32()?,
        flags: DmaUnmapFlags::from_bits_retain(fields.u32()?),
        address: fields.u64()?,
        length: fields.u64()?,
    })
}

/// The three info requests begin alike: room for the reply, flags, and (where it means something) an index. The payload has the
/// reply's shape and size, and room for at least that much is asked for.
fn info(mut fields: Fields<'_>, bytes: u32) -> Option<(u32, u32)> {
    Fields(fields.0).bytes(bytes)?;
    let argument_bytes = fields.u32()?;
    let _flags = fields.u32()?;
    let index = fields.u32()?;
    (argument_bytes >= bytes).then_some((argument_bytes, index))
}

fn region_access(mut fields: Fields<'_>) -> Option<(RegionAccess, Fields<'_>)> {
    let access = RegionAccess { offset: fields.u64()?, region: fields.u32()?, count: fields.u32()? };
    Some((access, fields))
}

fn set_interrupts(mut fields: Fields<'_>) -> Option<SetInterrupts<'_>> {
    use InterruptSetFlags as Flags;
    const DATA: Flags = Flags::DATA_NONE.union(Flags::DATA_BOOL).union(Flags::DATA_EVENTFD);
    let _argument_bytes = fields.u32()?;
    let flags = Flags::from_bits(fields.u32()?)?;
    let (index, start, count) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let action = match flags.difference(DATA) {
        Flags::ACTION_MASK => Action::Mask,
        Flags::ACTION_UNMASK => Action::Unmask,
        Flags::ACTION_TRIGGER => Action::Trigger,
        _ => return None,
    };
    let data = match flags.intersection(DATA) {
        Flags::DATA_NONE => InterruptData::None,
        Flags::DATA_BOOL => InterruptData::Bool(fields.bytes(count)?),
        Flags::DATA_EVENTFD => InterruptData::EventDescriptors,
        _ => return None,
    };
    Some(SetInterrupts { index, start, count, action, data })
}
