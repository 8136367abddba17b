//! BAR0: offset → register or doorbell (NVMe over PCIe Transport 1.1 section 3.1). Widths and alignment are checked here and nowhere
//! else: an invalid access has no effect and reads as zeroes (B16).

use nvme_spec::register;

/// BAR0 in bytes: registers, doorbells, MSI-X table and pending bits, a page each.
pub const BAR_BYTES: u64 = 0x4000;
/// Doorbells begin here; the page ends at [`MSIX_TABLE_OFFSET`].
pub const DOORBELLS_OFFSET: u64 = register::DOORBELLS;
/// The MSI-X table. The transport answers for it.
pub const MSIX_TABLE_OFFSET: u64 = 0x2000;
/// The MSI-X pending bits. The transport answers for them.
pub const MSIX_PENDING_OFFSET: u64 = 0x3000;

/// What an access of 4 or 8 aligned bytes meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A register; the offset of its first dword.
    Register(u64),
    /// A doorbell, by index.
    Doorbell(u16),
}

/// Where an access goes, if it is one that has an effect.
pub(crate) fn target(offset: u64, length: usize) -> Option<Target> {
    let aligned = matches!(length, 4 | 8) && offset.is_multiple_of(length as u64);
    match offset {
        _ if !aligned => None,
        0..DOORBELLS_OFFSET => Some(Target::Register(offset)),
        // A doorbell is one dword (B28 of the transport: there is no wider access to two of them).
        DOORBELLS_OFFSET..MSIX_TABLE_OFFSET if length == 4 => {
            u16::try_from((offset - DOORBELLS_OFFSET) / 4).ok().map(Target::Doorbell)
        }
        _ => None,
    }
}
