//! Configuration space: 4 KiB of bytes, of which some may be written and a few do something.
//!
//! Sources: PCI Local Bus 3.0 chapter 6 (header, MSI-X), PCI Express Base 4.0 chapter 7 (capability), PCI Power Management 1.2
//! chapter 3, NVMe over PCIe Transport 1.1 chapter 3 (what an NVMe function has). No extended capabilities are offered.

use crate::InterruptMode;
use crate::config::ServerConfig;

/// Bytes of the space.
pub const CONFIG_BYTES: usize = 4096;
/// Bytes of BAR0: registers, doorbells, MSI-X table, pending bits, each on a page of its own.
pub const BAR0_BYTES: u64 = 0x4000;
/// Where the MSI-X table lies in BAR0.
pub const MSIX_TABLE_OFFSET: u32 = 0x2000;
/// Where the MSI-X pending bits lie in BAR0.
pub const MSIX_PENDING_OFFSET: u32 = 0x3000;
/// How many vectors fit the page of the table, at 16 bytes each.
pub const VECTORS_MAX: u16 = 256;

const COMMAND: usize = 0x04;
const COMMAND_BUS_MASTER: u16 = 1 << 2;
const COMMAND_PIN_OFF: u16 = 1 << 10;
/// Memory space, bus master, parity response, SERR, pin off: what a function without I/O space lets be written.
const COMMAND_WRITABLE: u16 = 0x0546;
const STATUS: usize = 0x06;
const STATUS_PIN: u8 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const BAR0: usize = 0x10;
const BAR0_MEMORY_64: u32 = 0x4;
/// A BAR's address bits below its size cannot be written; that is how it is sized.
const BAR0_WRITABLE: u32 = 0xffff_c000;
const _: () = assert!(BAR0_WRITABLE as u64 + BAR0_BYTES == 1 << 32);
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

const POWER_POINTER: u8 = 0x40;
const POWER: usize = POWER_POINTER as usize;
const POWER_CONTROL: usize = POWER + 4;
const POWER_STATE: u8 = 0x3;
const POWER_D3_HOT: u8 = 0x3;
/// No_Soft_Reset: going from D3hot to D0 keeps all state, so nothing has to be done.
const POWER_KEEPS_STATE: u16 = 1 << 3;

const MSIX_POINTER: u8 = 0x50;
const MSIX: usize = MSIX_POINTER as usize;
const MSIX_CONTROL: usize = MSIX + 2;
const MSIX_ENABLE: u16 = 1 << 15;
const MSIX_FUNCTION_MASK: u16 = 1 << 14;

const EXPRESS_POINTER: u8 = 0x60;
const EXPRESS: usize = EXPRESS_POINTER as usize;
const EXPRESS_DEVICE_CONTROL: usize = EXPRESS + 8;
const EXPRESS_DEVICE_CONTROL_WRITABLE: u16 = 0x7fff;
/// Initiate Function Level Reset: bit 15 of device control, which reads as zero.
const EXPRESS_RESET_BYTE: usize = EXPRESS_DEVICE_CONTROL + 1;
const EXPRESS_RESET: u8 = 1 << 7;

const CAPABILITY_POWER: u8 = 0x01;
const CAPABILITY_EXPRESS: u8 = 0x10;
const CAPABILITY_MSIX: u8 = 0x11;

/// What a write to configuration space asks the device to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// DMA became allowed or forbidden.
    pub bus_master: Option<bool>,
    /// MSI-X was turned on or off.
    pub interrupt_mode: Option<InterruptMode>,
    /// Whether the pin may be used changed.
    pub pin_enabled: Option<bool>,
    /// The mask of all MSI-X vectors went: what was sent under it may be lost.
    pub messages_unmasked: bool,
    /// A Function Level Reset was asked for. The space is already back at its initial state; the device has to follow, and the
    /// other effects say what changed by that.
    pub function_reset: bool,
}

/// Configuration space as a value.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Box<[u8; CONFIG_BYTES]>,
    /// Bits that a write changes.
    writable: Box<[u8; CONFIG_BYTES]>,
    initial: Box<[u8; CONFIG_BYTES]>,
    vectors: u16,
}

impl ConfigSpace {
    /// The space of a function as described, as it is after power-on.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        let zero = || Box::new([0; CONFIG_BYTES]);
        let mut space = Self { bytes: zero(), writable: zero(), initial: zero(), vectors: config.vectors };
        space.put_header(config);
        space.put_power(if config.vectors == 0 { EXPRESS_POINTER } else { MSIX_POINTER });
        if config.vectors > 0 {
            space.put_msix(config.vectors);
        }
        space.put_express();
        space.initial = space.bytes.clone();
        space
    }

    fn put_header(&mut self, config: &ServerConfig) {
        self.put16(0x00, config.vendor_id, 0);
        self.put16(0x02, config.device_id, 0);
        self.put16(COMMAND, 0, COMMAND_WRITABLE);
        self.put16(STATUS, STATUS_CAPABILITIES, 0);
        let [interface, subclass, class, _] = config.class.to_le_bytes();
        for (offset, value) in [(0x08, config.revision), (0x09, interface), (0x0a, subclass), (0x0b, class)] {
            self.put8(offset, value, 0);
        }
        self.put8(0x0c, 0, 0xff); // Cache line size: no effect on PCI Express, but writable.
        self.put32(BAR0, BAR0_MEMORY_64, BAR0_WRITABLE);
        self.put32(BAR0 + 4, 0, u32::MAX);
        self.put16(0x2c, config.subsystem_vendor_id, 0);
        self.put16(0x2e, config.subsystem_id, 0);
        self.put8(CAPABILITIES, POWER_POINTER, 0);
        self.put8(INTERRUPT_LINE, 0, 0xff);
        self.put8(INTERRUPT_PIN, 1, 0);
    }

    /// Power management 1.2: version 3, D0 and D3hot only, no wake-up.
    fn put_power(&mut self, next: u8) {
        self.put_capability(POWER, CAPABILITY_POWER, next);
        self.put16(POWER + 2, 0x0003, 0);
        self.put16(POWER_CONTROL, POWER_KEEPS_STATE, u16::from(POWER_STATE));
    }

    fn put_msix(&mut self, vectors: u16) {
        self.put_capability(MSIX, CAPABILITY_MSIX, EXPRESS_POINTER);
        self.put16(MSIX_CONTROL, vectors - 1, MSIX_ENABLE | MSIX_FUNCTION_MASK);
        // Both lie in BAR0, whose index 0 is the low three bits.
        self.put32(MSIX + 4, MSIX_TABLE_OFFSET, 0);
        self.put32(MSIX + 8, MSIX_PENDING_OFFSET, 0);
    }

    /// An endpoint of version 2 on a link of four lanes at 16 GT/s, payloads of 128 bytes, with Function Level Reset.
    fn put_express(&mut self) {
        self.put_capability(EXPRESS, CAPABILITY_EXPRESS, 0);
        self.put16(EXPRESS + 2, 0x0002, 0);
        self.put32(EXPRESS + 4, 1 << 28 | 1 << 15, 0); // Function Level Reset; role-based error reporting.
        self.put16(EXPRESS_DEVICE_CONTROL, 0x2810, EXPRESS_DEVICE_CONTROL_WRITABLE);
        self.put32(EXPRESS + 0x0c, 1 << 22 | 4 << 4 | 4, 0); // Link: ASPM optionality, x4, 16 GT/s.
        self.put16(EXPRESS + 0x10, 0, 0x01cb); // Link control: what an endpoint lets be written.
        self.put16(EXPRESS + 0x12, 4 << 4 | 4, 0); // Link status: the same width and speed.
        self.put32(EXPRESS + 0x24, 1 << 4, 0); // Completion timeout may be disabled.
        self.put16(EXPRESS + 0x28, 0, 0x001f); // Device control 2: completion timeout.
        self.put32(EXPRESS + 0x2c, 0x1e, 0); // Speeds up to 16 GT/s.
        self.put16(EXPRESS + 0x30, 4, 0x000f); // Link control 2: target speed.
    }

    fn put_capability(&mut self, at: usize, identifier: u8, next: u8) {
        self.put8(at, identifier, 0);
        self.put8(at + 1, next, 0);
    }

    fn put8(&mut self, at: usize, value: u8, writable: u8) {
        self.bytes[at] = value;
        self.writable[at] = writable;
    }

    fn put16(&mut self, at: usize, value: u16, writable: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        self.writable[at..at + 2].copy_from_slice(&writable.to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u32, writable: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self.writable[at..at + 4].copy_from_slice(&writable.to_le_bytes());
    }

    fn get16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    /// Copies from `offset` on; what lies beyond the space reads as zero.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        into.fill(0);
        let from = self.bytes.get(offset..).unwrap_or_default();
        for (to, byte) in into.iter_mut().zip(from) {
            *to = *byte;
        }
    }

    /// Writes what may be written of `from`, at `offset` and on, and says what follows from it.
    pub fn write(&mut self, offset: usize, from: &[u8]) -> Effects {
        let before = self.switches();
        let power = self.bytes[POWER_CONTROL] & POWER_STATE;
        let cells = self.bytes.iter_mut().zip(self.writable.iter()).skip(offset);
        for ((cell, mask), value) in cells.zip(from) {
            *cell = *cell & !mask | value & mask;
        }
        let state = self.bytes[POWER_CONTROL] & POWER_STATE;
        if state != 0 && state != POWER_D3_HOT {
            // D1 and D2 are not offered: the write has no effect on the state.
            self.bytes[POWER_CONTROL] = self.bytes[POWER_CONTROL] & !POWER_STATE | power;
        }
        let reset_byte = EXPRESS_RESET_BYTE.checked_sub(offset).and_then(|index| from.get(index));
        let function_reset = reset_byte.is_some_and(|byte| byte & EXPRESS_RESET != 0);
        if function_reset {
            self.reset();
        }
        Effects { function_reset, ..before.changes_to(self.switches()) }
    }

    /// Back to the state of power-on.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&*self.initial);
    }

    /// Shows the state of the pin in the status register.
    pub fn show_pin(&mut self, asserted: bool) {
        self.bytes[STATUS] = self.bytes[STATUS] & !STATUS_PIN | if asserted { STATUS_PIN } else { 0 };
    }

    /// Whether the host lets the pin be used: it has not turned it off, nor MSI-X on.
    #[must_use]
    pub fn pin_enabled(&self) -> bool {
        self.switches().pin
    }

    fn switches(&self) -> Switches {
        let command = self.get16(COMMAND);
        let awake = self.bytes[POWER_CONTROL] & POWER_STATE == 0;
        let messages = self.vectors > 0 && self.get16(MSIX_CONTROL) & MSIX_ENABLE != 0;
        Switches {
            bus_master: awake && command & COMMAND_BUS_MASTER != 0,
            mode: if messages { InterruptMode::MsiX } else { InterruptMode::Pin },
            pin: !messages && command & COMMAND_PIN_OFF == 0,
            masked: self.vectors > 0 && self.get16(MSIX_CONTROL) & MSIX_FUNCTION_MASK != 0,
        }
    }
}

/// The state that others act on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Switches {
    bus_master: bool,
    mode: InterruptMode,
    pin: bool,
    masked: bool,
}

impl Switches {
    fn changes_to(self, after: Self) -> Effects {
        Effects {
            bus_master: (self.bus_master != after.bus_master).then_some(after.bus_master),
            interrupt_mode: (self.mode != after.mode).then_some(after.mode),
            pin_enabled: (self.pin != after.pin).then_some(after.pin),
            messages_unmasked: self.masked && !after.masked,
            function_reset: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(vectors: u16) -> ConfigSpace {
        ConfigSpace::new(&ServerConfig { vectors, ..ServerConfig::default() })
    }

    fn read32(space: &ConfigSpace, at: usize) -> u32 {
        let mut bytes = [0; 4];
        space.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn header_is_that_of_an_nvme_function() {
        let space = space(65);
        assert_eq!(read32(&space, 0x00), 0x10f0_1af4);
        assert_eq!(read32(&space, 0x08) >> 8, 0x01_0802, "mass storage, non-volatile memory, NVMe");
        assert_eq!(read32(&space, 0x0c), 0, "type 0, one function");
        assert_eq!(read32(&space, 0x3c) >> 8, 1, "pin A");
        assert_eq!(read32(&space, 0x100), 0, "no extended capabilities");
    }

    #[test]
    fn bar0_sizes_to_16_kib_of_64_bit_memory() {
        let mut space = space(65);
        space.write(0x10, &[0xff; 24]);
        assert_eq!(read32(&space, 0x10), 0xffff_c004);
        assert_eq!(read32(&space, 0x14), 0xffff_ffff);
        for bar in [0x18, 0x1c, 0x20, 0x24] {
            assert_eq!(read32(&space, bar), 0, "no BAR at {bar:#x}");
        }
        space.write(0x30, &[0xff; 4]);
        assert_eq!(read32(&space, 0x30), 0, "no expansion ROM");
    }

    #[test]
    fn capabilities_form_a_list_that_ends() {
        for (vectors, expected) in [(65, vec![0x01, 0x11, 0x10]), (0, vec![0x01, 0x10])] {
            let space = space(vectors);
            let mut at = usize::from(space.bytes[CAPABILITIES]);
            let mut seen = Vec::new();
            while at != 0 {
                let [identifier, next, ..] = read32(&space, at).to_le_bytes();
                seen.push(identifier);
                at = usize::from(next);
            }
            assert_eq!(seen, expected);
        }
        assert_eq!(read32(&space(256), MSIX) >> 16, 255);
        assert_eq!((read32(&space(1), MSIX + 4), read32(&space(1), MSIX + 8)), (0x2000, 0x3000));
    }

    #[test]
    fn switches_are_reported_when_they_change_and_only_then() {
        let mut space = space(4);
        let on = space.write(COMMAND, &0x0406_u16.to_le_bytes());
        assert_eq!(on, Effects { bus_master: Some(true), pin_enabled: Some(false), ..Effects::default() });
        assert_eq!(space.write(COMMAND, &0x0406_u16.to_le_bytes()), Effects::default());
        let messages = space.write(MSIX_CONTROL, &0x8000_u16.to_le_bytes());
        assert_eq!(messages.interrupt_mode, Some(InterruptMode::MsiX));
        assert_eq!(space.get16(MSIX_CONTROL), 0x8003, "the table size cannot be written");
        assert_eq!(space.write(MSIX_CONTROL + 1, &[0xc0]), Effects::default());
        let unmasked = space.write(MSIX_CONTROL + 1, &[0x80]);
        assert_eq!(unmasked, Effects { messages_unmasked: true, ..Effects::default() });
        assert_eq!(space.write(POWER_CONTROL, &[3]).bus_master, Some(false), "D3hot ends DMA");
        assert_eq!(space.write(POWER_CONTROL, &[1]), Effects::default(), "there is no D1");
        assert_eq!(space.bytes[POWER_CONTROL], 0x0b);
        assert_eq!(space.write(POWER_CONTROL, &[0]).bus_master, Some(true), "D0 keeps all state");
    }

    #[test]
    fn a_function_level_reset_undoes_everything_and_reads_as_zero() {
        let mut space = space(4);
        let fresh = space.bytes.clone();
        space.write(0, &[0x7c; 0x60]);
        let effects = space.write(EXPRESS_DEVICE_CONTROL, &0x8000_u16.to_le_bytes());
        assert!(effects.function_reset);
        assert_eq!(effects.bus_master, Some(false));
        assert_eq!(space.bytes, fresh);
    }

    #[test]
    fn the_pin_shows_in_the_status_register() {
        let mut space = space(0);
        space.show_pin(true);
        assert_eq!(space.get16(STATUS), 0x18);
        space.show_pin(false);
        assert_eq!(space.get16(STATUS), 0x10);
    }

    /// E34: every byte with every value, then every offset with every width, at the edges too.
    #[test]
    fn no_write_and_no_read_can_do_harm() {
        for vectors in [0, 1, 256] {
            let mut space = space(vectors);
            let identity = read32(&space, 0);
            for offset in 0..CONFIG_BYTES + 16 {
                for value in 0..=255 {
                    space.write(offset, &[value]);
                }
                for width in [2, 3, 4, 5, 8, 16] {
                    space.write(offset, &vec![0xff; width]);
                    space.read(offset, &mut vec![0; width]);
                }
            }
            space.write(usize::MAX, &[0xff; 8]);
            space.read(usize::MAX, &mut [0; 8]);
            assert_eq!(read32(&space, 0), identity);
        }
    }
}
