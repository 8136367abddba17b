//! What `blkparse` prints: `8,0 3 1 0.000000000 697 D WS 223490 + 8 [name]`, which is device, processor, sequence, seconds, process,
//! action, kind, first sector and sectors. Of all actions D (issued to the driver) and C (completed) count. The summary behind the events
//! is skipped.
//!
//! The processor becomes the queue and the process the command's identifier, which is how [`crate::export`] writes them.

use super::fields::{Origin, billionths, number, quoted, sectors};
use super::lines::Parser;
use super::pairs::Pairs;
use super::volumes::{Access, Volumes};
use crate::record::Flags;

#[derive(Default)]
pub(super) struct Blkparse {
    origin: Origin,
    pairs: Pairs,
    summary: bool,
}

impl Blkparse {
    fn event(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        let mut words = line.split_whitespace();
        let mut word = |what: &str| words.next().ok_or_else(|| format!("no {what}: the line is too short"));
        let device = word("device")?;
        if device.split_once(',').is_none_or(|(major, minor)| !is_number(major) || !is_number(minor)) {
            return Err(format!("{} is not a device such as 8,0", quoted(device)));
        }
        let (processor, _sequence, time) = (word("processor")?, word("sequence")?, word("time")?);
        let (process, action, kind) = (word("process")?, word("action")?, word("kind of request")?);
        if !["D", "C"].contains(&action) {
            return Ok(());
        }
        let time_ns = self.origin.since(billionths(time, "time")?);
        let Some(access) = of_kind(kind)? else { return Ok(()) };
        let rest: Vec<&str> = words.collect();
        let (offset, length) = match rest.as_slice() {
            [sector, "+", count, ..] => (sectors(sector, "sector")?, sectors(count, "number of sectors")?),
            // A flush has no blocks, wherever it claims to be.
            _ => (0, 0),
        };
        // A write of no blocks is what a flush before it was made of.
        let (access, offset) = if length == 0 { (Access::flush(), 0) } else { (access, offset) };
        let processor: u64 = number(processor, "processor")?;
        let process: u64 = number(process, "process")?;
        let (queue, cid) = (low16(processor), low16(process));
        let access =
            Access { begin_ns: time_ns, end_ns: Some(time_ns), volume: device, offset, length, queue, cid, ..access };
        match action {
            "D" => self.pairs.issued(&Access { end_ns: None, ..access }, volumes),
            _ => self.pairs.completed(&access, volumes),
        }
    }
}

impl Parser for Blkparse {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        self.summary |= line.starts_with("CPU") || line.starts_with("Total (");
        if self.summary { Ok(()) } else { self.event(line, volumes) }
    }

    fn end(&mut self, volumes: &mut Volumes) -> Result<(), String> {
        self.pairs.end(volumes)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn low16(number: u64) -> u16 {
    nvme_spec::command::low16(u32::try_from(number & 0xffff).expect("16 bits"))
}

/// What the letters of a request say: F before the kind is a flush first, and behind it Force Unit Access. Nothing for what moves no
/// blocks.
fn of_kind(letters: &str) -> Result<Option<Access<'static>>, String> {
    let known = |letter: char| "FDEWRNASMBZVO".contains(letter);
    if letters.is_empty() || !letters.chars().all(known) {
        return Err(format!("{} is no kind of request", quoted(letters)));
    }
    let flush = letters.starts_with('F');
    let rest = letters.strip_prefix('F').unwrap_or(letters);
    let mut access = match rest.chars().next() {
        Some('D') => Access::deallocate(),
        Some('W') => Access::rw(true),
        Some('R') => Access::rw(false),
        _ if flush => Access::flush(),
        _ => return Ok(None),
    };
    if rest.chars().skip(1).any(|letter| letter == 'F') {
        access.flags |= Flags::FUA;
    }
    Ok(Some(access))
}
