//! The Storage Performance Council's format, in which the UMass repository keeps its traces: `ASU,LBA,Size,Opcode,Timestamp`, then whatever
//! else somebody noted. Sectors of 512 bytes, a size in bytes, R or W, seconds.

use super::fields::{Origin, billionths, commas, is_write, number, sectors};
use super::lines::Parser;
use super::volumes::{Access, Volumes};

const FIELDS: usize = 5;

#[derive(Default)]
pub(super) struct Spc {
    origin: Origin,
}

impl Parser for Spc {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        let end = line.match_indices(',').nth(FIELDS - 1).map_or(line.len(), |(at, _)| at);
        let names = "application storage unit, block, size, R or W, timestamp";
        let [unit, block, size, write, time] = commas(&line[..end], names)?;
        let access = Access {
            begin_ns: self.origin.since(billionths(&time, "timestamp")?),
            volume: &unit,
            offset: sectors(&block, "block")?,
            length: number(&size, "size")?,
            ..Access::rw(is_write(&write)?)
        };
        volumes.push(&access)
    }
}
