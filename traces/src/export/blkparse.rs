//! What `blkparse` prints: a line D where a command began, and a line C where it ended, in the order of time. The processor is the queue,
//! the process the command's identifier, and the device 259 with the namespace as its minor number.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{Lines, Place};
use crate::record::{Flags, Kind, Record};

const MAJOR: u32 = 259;
const SECTOR_BYTES: u64 = 512;

#[derive(Default)]
pub(super) struct Blkparse {
    /// Lines of commands that began and have not ended yet, by time and number.
    to_come: BTreeMap<(u64, u64), Line>,
    number: u64,
}

/// A line but for its action, time and sequence number.
#[derive(Clone, Debug)]
struct Line {
    nsid: u32,
    queue: u16,
    cid: u16,
    kind: &'static str,
    sector: u64,
    sectors: u64,
    status: u16,
}

impl Blkparse {
    fn print(&mut self, line: &Line, time_ns: u64, action: char, into: &mut impl Write) -> io::Result<()> {
        self.number += 1;
        let Line { nsid, queue, cid, kind, sector, sectors, status } = line;
        let (seconds, nanoseconds) = (time_ns / 1_000_000_000, time_ns % 1_000_000_000);
        let number = self.number;
        write!(
            into,
            "{MAJOR},{nsid:<3} {queue:3} {number:8} {seconds:5}.{nanoseconds:09} {cid:5}  {action} {kind:>3} "
        )?;
        if *sectors != 0 {
            write!(into, "{sector} + {sectors} ")?;
        }
        if action == 'C' { writeln!(into, "[{status}]") } else { writeln!(into, "[brownout]") }
    }

    /// Prints what ended until then.
    fn until(&mut self, time_ns: u64, into: &mut impl Write) -> io::Result<()> {
        while let Some(entry) = self.to_come.first_entry() {
            let (time, _) = *entry.key();
            if time > time_ns {
                break;
            }
            let line = entry.remove();
            self.print(&line, time, 'C', into)?;
        }
        Ok(())
    }
}

impl Lines for Blkparse {
    fn begin(&mut self, _into: &mut impl Write) -> io::Result<()> {
        Ok(())
    }

    fn command(&mut self, record: &Record, place: &Place<'_>, into: &mut impl Write) -> io::Result<bool> {
        let kind = match (record.kind(), record.flags.contains(Flags::FUA)) {
            (Kind::Read, false) => "R",
            (Kind::Read, true) => "RF",
            (Kind::Write, false) => "W",
            (Kind::Write, true) => "WF",
            (Kind::Deallocate, _) => "D",
            (Kind::Flush, _) => "FN",
            _ => return Ok(false),
        };
        self.until(record.begin_ns, into)?;
        let Record { nsid, queue, cid, status, .. } = *record;
        for (offset, length) in record.bytes(place.block_bytes) {
            let (sector, sectors) = (offset / SECTOR_BYTES, length / SECTOR_BYTES);
            let line = Line { nsid, queue, cid, kind, sector, sectors, status };
            self.print(&line, record.begin_ns, 'D', into)?;
            if let Some(end_ns) = record.end_ns {
                self.to_come.insert((end_ns.max(record.begin_ns), self.number), line);
            }
        }
        Ok(true)
    }

    fn end(&mut self, into: &mut impl Write) -> io::Result<()> {
        self.until(u64::MAX, into)
    }
}
