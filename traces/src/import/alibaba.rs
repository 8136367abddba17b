//! Alibaba's block traces: `device_id,opcode,offset,length,timestamp`, R or W, bytes, microseconds.

use super::fields::{Origin, commas, is_write, number, units};
use super::lines::Parser;
use super::volumes::{Access, Volumes};

#[derive(Default)]
pub(super) struct Alibaba {
    origin: Origin,
}

impl Parser for Alibaba {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        let [device, write, offset, length, time] = commas(line, "device, R or W, offset, length, timestamp")?;
        let access = Access {
            begin_ns: self.origin.since(units(&time, 1000, "timestamp")?),
            volume: &device,
            offset: number(&offset, "offset")?,
            length: number(&length, "length")?,
            ..Access::rw(is_write(&write)?)
        };
        volumes.push(&access)
    }
}
