//! Microsoft Research Cambridge: `Timestamp,Hostname,Disk,Type,Offset,Size,ResponseTime`, times in 100 ns, bytes. Each disk of each host is
//! a volume.

use super::fields::{Origin, commas, is_write, number, units};
use super::lines::Parser;
use super::volumes::{Access, Volumes};

#[derive(Default)]
pub(super) struct Msr {
    origin: Origin,
}

impl Parser for Msr {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        let names = "timestamp, hostname, disk, Read or Write, offset, size, response time";
        let [time, host, disk, write, offset, size, response] = commas(line, names)?;
        // Filetimes count from 1601 and fit 64 bits as they are; in nanoseconds they would not.
        let begin_ns = self.origin.since(number(&time, "timestamp")?).saturating_mul(100);
        let access = Access {
            begin_ns,
            end_ns: Some(begin_ns.saturating_add(units(&response, 100, "response time")?)),
            volume: &format!("{host}.{disk}"),
            offset: number(&offset, "offset")?,
            length: number(&size, "size")?,
            ..Access::rw(is_write(&write)?)
        };
        volumes.push(&access)
    }
}
