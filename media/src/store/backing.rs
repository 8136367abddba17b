//! The seam below the NAND: what every store does. It owns no state.
//!
//! A line's bytes are staged first and programmed later: [`Store::stage`] hands out the memory in which a unit is put together, and
//! [`Store::program`] makes a page of it part of the log. What was staged and not programmed is gone after a power loss; what
//! was programmed is there after the process is killed; what was programmed before a [`Store::sync`] that finished is there after
//! the host itself fails.

use std::fmt;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

use crate::geometry::Geometry;
use crate::journal::{LineHeader, Record};
use crate::large_memory::OutOfMemory;
use crate::ordering::Order;
use crate::power::mutation::{Mutation, mutated};
use crate::unit::{LogicalUnit, PhysicalUnit};
use crate::warning::WarningKind;

/// Why a store could not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The host's disk takes no more, in words; the store goes on once it does.
    NoSpace(String),
    /// The host's disk failed to read, write or sync.
    Failed(String),
    /// The host does not let us, in words: nothing is wrong with the disk, or with what it holds.
    Refused(String),
    /// What is stored is not what was written.
    Damaged(String),
}

impl StoreError {
    /// What an error of the system means for a store. `doing` begins the message: "cannot write the media file".
    #[must_use]
    pub fn of_system(doing: &str, error: &io::Error) -> Self {
        let what = format!("{doing}: {error}");
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Self::NoSpace(format!("the host's disk is full: {what}"))
            }
            ErrorKind::FileTooLarge => Self::NoSpace(format!("the media file may not grow (ulimit -f?): {what}")),
            _ if error.raw_os_error().is_some_and(|code| OF_THE_DISK.contains(&Errno::from_raw_os_error(code))) => {
                Self::Failed(what)
            }
            _ => Self::Refused(what),
        }
    }

    /// What it is a warning of, where a store meets it while it is in use.
    #[must_use]
    pub const fn warning(&self) -> WarningKind {
        match self {
            Self::NoSpace(_) => WarningKind::HostDiskFull,
            Self::Failed(_) | Self::Refused(_) => WarningKind::HostDiskFailed,
            Self::Damaged(_) => WarningKind::MediaDamaged,
        }
    }
}

/// What Linux says where a disk, or the way to it, is broken (Documentation/block and the remote file systems).
const OF_THE_DISK: [Errno; 8] = [
    Errno::IO,
    Errno::NXIO,
    Errno::NODEV,
    Errno::REMOTEIO,
    Errno::TIMEDOUT,
    Errno::NOLINK,
    Errno::NODATA,
    Errno::ILSEQ,
];

/// What keeps a store from going on: while it stands, everything waits, is tried again, and nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What was met last.
    pub error: StoreError,
    /// How often something was met since it began.
    pub times: u64,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace(what) | Self::Refused(what) => f.write_str(what),
            Self::Failed(what) => write!(f, "the host's disk failed: {what}"),
            Self::Damaged(what) => write!(f, "the media is damaged: {what}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<OutOfMemory> for StoreError {
    fn from(lack: OutOfMemory) -> Self {
        Self::Refused(lack.to_string())
    }
}

/// What the map says of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The unit that lies there.
    pub unit: LogicalUnit,
    /// It holds uncorrectable blocks.
    pub uncorrectable: bool,
}

/// A unit that is wanted whole: its data, then its metadata.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Line and slot.
    pub at: (u32, u32),
    /// What lies there.
    pub expected: Expected,
    /// Where in a line that is.
    pub geometry: &'a Geometry,
    /// Its neighbours follow.
    pub neighbours: bool,
}

/// Where NAND bytes lie. Offsets are bytes in a line: data first, then the units' metadata.
pub trait Store {
    /// Units lie where they are staged, and nobody looks at them soon: they are not written to a disk. Each takes memory until it is
    /// forgotten.
    const STAYS: bool = false;

    /// What is read may not be what was written, because others reach it: whole units are read, and checked.
    const CHECKS: bool = false;

    /// The memory in which bytes of an open line are put together, which are not programmed yet: as many of `bytes` as lie in one
    /// piece. Bytes of one unit, and of one unit's metadata, always do.
    fn stage(&mut self, line: u32, offset: usize, bytes: usize) -> &mut [u8];

    /// Bytes of a line (staged or programmed) where they lie in memory, if they do: as many of `bytes` as lie in one piece. Bytes of one
    /// unit, and of one unit's metadata, always do.
    fn view(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]>;

    /// The memory in which a unit of an open line is put together.
    #[inline]
    fn stage_unit(&mut self, place: PhysicalUnit, geometry: &Geometry) -> &mut [u8] {
        let offset = geometry.data_offset(geometry.slot_of(place));
        self.stage(geometry.line_of(place), offset, geometry.unit_bytes())
    }

    /// The same, holding what another unit (staged or programmed) holds, or zeroes, and no metadata; `None` where that cannot be had.
    #[inline]
    fn stage_over(&mut self, old: Option<PhysicalUnit>, place: PhysicalUnit, geometry: &Geometry) -> Option<&mut [u8]> {
        let at = |place| (geometry.line_of(place), geometry.data_offset(geometry.slot_of(place)));
        match old {
            Some(old) => self.copy(at(old), at(place), geometry.unit_bytes()).ok()?,
            None => self.stage_unit(place, geometry).fill(0),
        }
        Some(self.stage_unit(place, geometry))
    }

    /// A unit (staged or programmed) where it lies in memory, if it does.
    #[inline]
    fn unit(&self, place: PhysicalUnit, geometry: &Geometry) -> Option<&[u8]> {
        let offset = geometry.data_offset(geometry.slot_of(place));
        self.view(geometry.line_of(place), offset, geometry.unit_bytes())
    }

    /// Copies bytes of a line (staged or programmed) out.
    ///
    /// # Errors
    /// Where the disk fails.
    fn read(&mut self, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError>;

    /// Puts bytes into the staging memory of a line.
    fn stage_bytes(&mut self, line: u32, offset: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = self.stage(line, offset + bytes.len() - rest.len(), rest.len());
            let (now, later) = rest.split_at(piece.len());
            piece.copy_from_slice(now);
            rest = later;
        }
    }

    /// Copies bytes of a line into the staging memory of another one.
    ///
    /// # Errors
    /// Where the disk fails.
    fn copy(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError>;

    /// Copies the data of whole units that are programmed, and which nobody will write to: a store may let both lines have the same
    /// memory until one of them is erased.
    ///
    /// # Errors
    /// Where the disk fails.
    fn relocate(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        self.copy(from, to, bytes)
    }

    /// Lets neighbouring slots of another line, of which the first is `to`, have the memory of units in these slots, with their metadata:
    /// the units are programmed, nobody will write to them, and one of the lines is erased first. Returns how many have it, from the first
    /// one on; the others must be copied. A store that keeps its slots apart shares nothing.
    #[inline]
    fn share(&mut self, _line: u32, _slots: &[u32], _to: (u32, u32)) -> usize {
        0
    }

    /// Copies a unit (staged or programmed) out. Where it does not lie in memory it is checked.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it is not what was written, or not the unit that is expected; and where the disk fails.
    fn read_unit(&mut self, unit: &Wanted<'_>, into: &mut [u8]) -> Result<(), StoreError> {
        let Wanted { at, geometry, .. } = *unit;
        let (data, metadata) = into.split_at_mut(geometry.unit_bytes());
        self.read(at.0, geometry.data_offset(at.1), data)?;
        if metadata.is_empty() { Ok(()) } else { self.read(at.0, geometry.metadata_offset(at.1), metadata) }
    }

    /// Copies a unit that [`Store::read_unit`] would read into the staging memory of another line, by line and slot.
    ///
    /// # Errors
    /// As [`Store::read_unit`]; what is staged is then anything.
    fn copy_unit(&mut self, unit: &Wanted<'_>, to: (u32, u32)) -> Result<(), StoreError> {
        let Wanted { at: from, geometry, .. } = *unit;
        let places = (geometry.data_offset(from.1), geometry.data_offset(to.1));
        self.copy((from.0, places.0), (to.0, places.1), geometry.unit_bytes())?;
        let metadata = geometry.config.metadata_bytes_per_unit as usize;
        if metadata == 0 || mutated(Mutation::MovedMetadata) {
            return Ok(());
        }
        let places = (geometry.metadata_offset(from.1), geometry.metadata_offset(to.1));
        self.copy((from.0, places.0), (to.0, places.1), metadata)
    }

    /// Makes a staged page part of the log: slots from `first_slot` on, one record each.
    fn program(&mut self, line: u32, first_slot: u32, records: &[Record]);

    /// Writes a line's header.
    fn write_header(&mut self, line: u32, header: &LineHeader);

    /// Forgets everything in a line and writes its header. Everything done before is durable before anything of the erase is, and the
    /// erase before anything that the line is written with next.
    fn erase(&mut self, line: u32, header: &LineHeader);

    /// Nobody will read these units any more, whatever becomes of power: a store may give their room away. Some may not be there. Returns
    /// how many that were.
    fn forget(&mut self, places: impl Iterator<Item = PhysicalUnit>) -> usize
    where
        Self: Sized,
    {
        places.count()
    }

    /// The same of all units of a line but those to keep.
    fn forget_line(&mut self, line: u32, keep: &dyn Fn(PhysicalUnit) -> bool) {
        let _ = (line, keep);
    }

    /// Whether a unit was staged and not forgotten.
    fn holds(&self, place: PhysicalUnit) -> bool {
        let _ = place;
        true
    }

    /// How many more units can be staged.
    fn room(&self) -> usize {
        usize::MAX
    }

    /// How many units it holds at most, if it may run out of room before their lines are full.
    fn limit(&self) -> Option<usize> {
        None
    }

    /// Gives away whatever lines that are out of use still hold on a disk, those that were erased last as soon as that is durable. Whether
    /// nothing is left; otherwise it is to be asked again after a sync.
    fn discard_all(&mut self, unused: &mut dyn Iterator<Item = u32>) -> bool {
        let _ = unused;
        true
    }

    /// Whether there is memory to give back to the system.
    fn excessive(&self) -> bool {
        false
    }

    /// Gives some of it back.
    fn give_back(&mut self) {}

    /// A line's header.
    ///
    /// # Errors
    /// Where the disk fails or the header is damaged.
    fn header(&mut self, line: u32) -> Result<LineHeader, StoreError>;

    /// Puts the records of all programmed slots of a line into `into`, from slot 0 to the last programmed one.
    ///
    /// # Errors
    /// Where the disk fails.
    fn records(&mut self, line: u32, into: &mut Vec<Record>) -> Result<(), StoreError>;

    /// Turns the records, from slot `from` on, whose data did not reach the disk before the host failed into holes. A store whose
    /// records cannot outlive their data has nothing to do.
    ///
    /// # Errors
    /// Where the disk fails.
    fn verify_data(&mut self, line: u32, from: u32, records: &mut [Record]) -> Result<(), StoreError> {
        let _ = (line, from, records);
        Ok(())
    }

    /// Whether so much waits to be written that callers should wait for it before they bring more.
    fn backlogged(&self) -> bool {
        false
    }

    /// How many bytes the metadata region has.
    fn metadata_room(&self) -> u64 {
        u64::MAX
    }

    /// Writes bytes of the metadata region.
    fn write_metadata(&mut self, offset: u64, bytes: &[u8]);

    /// Reads bytes of the metadata region; zeroes where nothing was written.
    ///
    /// # Errors
    /// Where the disk fails.
    fn read_metadata(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError>;

    /// Takes everything out of this store, and leaves one that holds nothing: how a media goes through a power loss.
    #[must_use]
    fn take(&mut self) -> Self
    where
        Self: Sized;

    /// What follows reaches the disk after everything before it.
    fn barrier(&mut self, order: Order);

    /// What is programmed from now on reaches the disk once everything before it is durable. Until it is told so, a store lets programs
    /// pass everything else.
    fn hold_programs(&mut self, order: Order) {
        let _ = order;
    }

    /// Asks that everything done so far reach the disk, and returns the ticket of that request; tickets grow.
    fn sync(&mut self) -> u64;

    /// Asks that everything done so far be written, whether or not it is durable: a ticket like that of [`Store::sync`], without its
    /// cost.
    fn notice(&mut self) -> u64 {
        self.sync()
    }

    /// The largest ticket that is done.
    ///
    /// # Errors
    /// Where the store is stuck: nothing is lost, and later calls tell whether it goes on.
    fn synced(&mut self) -> Result<u64, StoreError>;

    /// What keeps it from going on, if anything does. Often asked: costs nothing while nothing does.
    fn trouble(&mut self) -> Option<Trouble> {
        None
    }
}
