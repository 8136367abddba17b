//! What `blktrace` writes, in either order of bytes: events of 48 bytes, each followed by as much as it says. As with `blkparse`'s text,
//! what was issued to the driver and what completed counts, the processor becomes the queue and the process the command's identifier.
//! Files of several processors must have been merged (`blkparse -d`).

use std::io::Read;

use super::fields::Origin;
use super::pairs::Pairs;
use super::volumes::{Access, Volumes};
use crate::record::{Entry, Flags, Trace, TraceError};

/// The upper three bytes of the magic number; the lowest is the version.
const MAGIC: u32 = 0x6561_7400;
const VERSION: u32 = 7;
const EVENT_BYTES: usize = 48;

/// Actions: the lower half of the field.
mod action {
    pub const ISSUE: u32 = 7;
    pub const COMPLETE: u32 = 8;
    /// The event names a control group besides.
    pub const CGROUP: u32 = 1 << 8;
}

/// Categories: the upper half of the field.
mod category {
    pub const WRITE: u32 = 1 << 17;
    pub const FLUSH: u32 = 1 << 18;
    pub const NOTIFY: u32 = 1 << 26;
    pub const DISCARD: u32 = 1 << 29;
    pub const FUA: u32 = 1 << 31;
    /// Of a packet command or of a driver's own: not blocks.
    pub const NOT_BLOCKS: u32 = 1 << 25 | 1 << 30;
}

/// Whether a file begins with an event, and in which order of bytes.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|magic| order(*magic).is_some())
}

/// Whether numbers are little-endian.
fn order(magic: [u8; 4]) -> Option<bool> {
    let is_magic = |number: u32| number & !0xff == MAGIC;
    if is_magic(u32::from_le_bytes(magic)) { Some(true) } else { is_magic(u32::from_be_bytes(magic)).then_some(false) }
}

/// An event.
#[derive(Clone, Copy, Debug)]
struct Event {
    time_ns: u64,
    sector: u64,
    bytes: u32,
    action: u32,
    process: u32,
    device: u32,
    processor: u32,
    more_bytes: u16,
}

/// A file of events.
pub(super) struct Blktrace<R> {
    input: R,
    byte: u64,
    origin: Origin,
    pairs: Pairs,
    volumes: Volumes,
    ended: bool,
}

impl<R: Read> Blktrace<R> {
    pub fn new(input: R) -> Self {
        let (pairs, volumes) = (Pairs::default(), Volumes::default());
        Self { input, byte: 0, origin: Origin::default(), pairs, volumes, ended: false }
    }

    /// Reads an event; false at the end.
    fn advance(&mut self) -> Result<bool, TraceError> {
        let at = self.byte;
        let wrong = |why: String| TraceError::Byte { byte: at, why };
        let bytes = self.take(EVENT_BYTES)?;
        if bytes.is_empty() {
            self.pairs.end(&mut self.volumes).map_err(wrong)?;
            return Ok(false);
        }
        let Ok(bytes) = <[u8; EVENT_BYTES]>::try_from(bytes) else {
            return Err(wrong("an event that is cut short".to_owned()));
        };
        let event = parse(&bytes).map_err(wrong)?;
        if self.take(event.more_bytes.into())?.len() < event.more_bytes.into() {
            return Err(wrong("an event whose data is cut short".to_owned()));
        }
        self.event(event).map_err(wrong)?;
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, TraceError> {
        let mut bytes = Vec::with_capacity(count);
        self.input.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        self.byte += bytes.len() as u64;
        Ok(bytes)
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        let kind = event.action & 0xffff & !action::CGROUP;
        let is = |category: u32| event.action & category != 0;
        if is(category::NOTIFY | category::NOT_BLOCKS) || ![action::ISSUE, action::COMPLETE].contains(&kind) {
            return Ok(());
        }
        let mut access = if is(category::DISCARD) {
            Access::deallocate()
        } else if event.bytes == 0 {
            if !is(category::FLUSH) {
                return Ok(());
            }
            Access::flush()
        } else {
            Access::rw(is(category::WRITE))
        };
        if is(category::FUA) {
            access.flags |= Flags::FUA;
        }
        let offset =
            event.sector.checked_mul(512).ok_or_else(|| format!("sector {} that no disk has", event.sector))?;
        // Linux's own numbers: twelve bits of major number above twenty of minor.
        let volume = format!("{},{}", event.device >> 20, event.device & 0xf_ffff);
        let time_ns = self.origin.since(event.time_ns);
        access = Access {
            begin_ns: time_ns,
            end_ns: Some(time_ns),
            volume: &volume,
            offset: if event.bytes == 0 { 0 } else { offset },
            length: event.bytes.into(),
            queue: nvme_spec::command::low16(event.processor),
            cid: nvme_spec::command::low16(event.process),
            ..access
        };
        match kind {
            action::ISSUE => self.pairs.issued(&access, &mut self.volumes),
            _ => self.pairs.completed(&access, &mut self.volumes),
        }
    }
}

fn parse(bytes: &[u8; EVENT_BYTES]) -> Result<Event, String> {
    let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let little = order(four(0)).ok_or("no event of blktrace")?;
    let u32_at = |at: usize| if little { u32::from_le_bytes(four(at)) } else { u32::from_be_bytes(four(at)) };
    let u64_at = |at: usize| {
        let (one, other) = (u64::from(u32_at(at)), u64::from(u32_at(at + 4)));
        if little { other << 32 | one } else { one << 32 | other }
    };
    let version = u32_at(0) & 0xff;
    if version != VERSION {
        return Err(format!("an event of version {version}, and only version {VERSION} is known here"));
    }
    let more = [bytes[46], bytes[47]];
    Ok(Event {
        time_ns: u64_at(8),
        sector: u64_at(16),
        bytes: u32_at(24),
        action: u32_at(28),
        process: u32_at(32),
        device: u32_at(36),
        processor: u32_at(40),
        more_bytes: if little { u16::from_le_bytes(more) } else { u16::from_be_bytes(more) },
    })
}

impl<R: Read> Trace for Blktrace<R> {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        loop {
            if let Some(entry) = self.volumes.take() {
                return Ok(Some(entry));
            }
            if self.ended {
                return Ok(None);
            }
            let advanced = self.advance();
            self.ended = !matches!(advanced, Ok(true));
            advanced?;
        }
    }
}
