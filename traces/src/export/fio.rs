//! fio's I/O log, version 3. A namespace is a file, named as the trace names it, or `ns1`; Force Unit Access has no word there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, Write};

use super::{Lines, Place};
use crate::record::{Kind, Record};

#[derive(Default)]
pub(super) struct Fio {
    /// Files that are open, by namespace.
    files: BTreeMap<u32, String>,
    /// Of the last line, in microseconds.
    time: u64,
}

impl Lines for Fio {
    fn begin(&mut self, into: &mut impl Write) -> io::Result<()> {
        writeln!(into, "fio version 3 iolog")
    }

    fn command(&mut self, record: &Record, place: &Place<'_>, into: &mut impl Write) -> io::Result<bool> {
        let action = match record.kind() {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Deallocate => "trim",
            Kind::Flush => "sync",
            _ => return Ok(false),
        };
        let time = record.begin_ns / 1000;
        self.time = time;
        let file = match self.files.entry(record.nsid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let plain = !place.name.is_empty() && !place.name.contains(char::is_whitespace);
                let file = if plain { place.name.to_owned() } else { format!("ns{}", record.nsid) };
                writeln!(into, "{time} {file} add\n{time} {file} open")?;
                new.insert(file)
            }
        };
        if record.kind() == Kind::Flush {
            writeln!(into, "{time} {file} {action} 0 0")?;
            return Ok(true);
        }
        for (offset, length) in record.bytes(place.block_bytes) {
            writeln!(into, "{time} {file} {action} {offset} {length}")?;
        }
        Ok(true)
    }

    fn end(&mut self, into: &mut impl Write) -> io::Result<()> {
        let time = self.time;
        self.files.values().try_for_each(|file| writeln!(into, "{time} {file} close"))
    }
}
