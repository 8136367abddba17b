//! Firmware on trial: what its disk has to hold, and how it is told what to do.

mod fat;
mod seabios;
mod u_boot;
mod uefi;

use std::path::PathBuf;

use guest_harness::{Firmware as Image, Machine};

use super::console::Console;
use super::place::Place;
use super::scenario::Timeouts;

/// Whose driver it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own BIOS, and a boot sector of ours.
    SeaBios,
    /// UEFI, and its shell.
    Ovmf,
    /// At its prompt.
    UBoot,
}

/// What a disk holds before anybody boots from it: the place of each piece, in bytes.
pub type Disk = Vec<(u64, Vec<u8>)>;

impl Firmware {
    /// All.
    pub const ALL: [Self; 3] = [Self::SeaBios, Self::Ovmf, Self::UBoot];

    /// Its name in reports and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SeaBios => "seabios",
            Self::Ovmf => "ovmf",
            Self::UBoot => "u-boot",
        }
    }

    /// The longest blocks of a disk that it boots from. SeaBIOS takes no longer ones than a page; the FAT file system has none.
    pub const fn block_bytes_max(self) -> u64 {
        match self {
            Self::SeaBios | Self::Ovmf => 4096,
            Self::UBoot => 64 << 10,
        }
    }

    /// After how long it gives up a command, by its source.
    pub const fn timeouts(self, given: Timeouts) -> Timeouts {
        match self {
            Self::SeaBios | Self::Ovmf => Timeouts { io: 5, admin: 5, ..given },
            Self::UBoot => Timeouts { io: 3, admin: 6, ..given },
        }
    }

    /// A machine that starts it, or the image of somebody's own.
    pub fn machine(self, rom: Option<PathBuf>) -> Machine {
        let image = match (rom, self) {
            (Some(rom), _) => Image::Rom(rom),
            (None, Self::SeaBios) => Image::SeaBios,
            (None, Self::Ovmf) => Image::Ovmf,
            (None, Self::UBoot) => Image::UBoot,
        };
        // These use one processor.
        let machine = Machine::with_firmware(image).processors(1);
        // U-Boot's build for QEMU finds nothing on the board with PCI Express.
        if self == Self::UBoot { machine.without_pci_express() } else { machine }
    }

    /// Where on a disk is copied, given where it would be at the beginning.
    pub const fn place(self, beginning: Place) -> Place {
        match self {
            Self::SeaBios => seabios::place(beginning),
            Self::Ovmf => fat::place(beginning),
            Self::UBoot => beginning,
        }
    }

    /// What its disk has to hold besides.
    ///
    /// # Errors
    /// The shell cannot be had.
    pub fn disk(self, place: &Place) -> anyhow::Result<Disk> {
        match self {
            Self::SeaBios => Ok(vec![(0, seabios::boot_sector(place))]),
            Self::Ovmf => uefi::disk(place),
            Self::UBoot => Ok(Vec::new()),
        }
    }

    /// Waits until it can be told something.
    ///
    /// # Errors
    /// It does not come up, or the machine broke.
    pub fn come_up(self, console: &mut Console<'_>) -> anyhow::Result<()> {
        match self {
            Self::SeaBios => console.says(seabios::PROMPT).map(drop),
            Self::Ovmf => uefi::come_up(console),
            Self::UBoot => u_boot::come_up(console),
        }
    }

    /// Gives an order; whether it was carried out.
    ///
    /// # Errors
    /// It does not answer, or the machine broke.
    pub fn order(self, console: &mut Console<'_>, place: &Place, order: &str) -> anyhow::Result<bool> {
        let words: Vec<&str> = order.split(' ').collect();
        match self {
            Self::SeaBios => seabios::order(console, place, &words),
            Self::Ovmf => uefi::order(console, &words),
            Self::UBoot => u_boot::order(console, place, &words),
        }
    }
}
