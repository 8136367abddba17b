//! SYSTOR 2017: `Timestamp,Response,IOType,LUN,Offset,Size`, times in seconds, bytes. The response time may be missing, and the first line
//! may name the columns.

use super::fields::{Origin, billionths, commas, is_write, number};
use super::lines::Parser;
use super::volumes::{Access, Volumes};

#[derive(Default)]
pub(super) struct Systor {
    origin: Origin,
    begun: bool,
}

impl Parser for Systor {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        if !std::mem::replace(&mut self.begun, true) && line.starts_with("Timestamp,") {
            return Ok(());
        }
        let [time, response, write, unit, offset, size] =
            commas(line, "timestamp, response time, R or W, logical unit, offset, size")?;
        let begin_ns = self.origin.since(billionths(&time, "timestamp")?);
        let took = (!response.is_empty()).then(|| billionths(&response, "response time")).transpose()?;
        let access = Access {
            begin_ns,
            end_ns: took.map(|took| begin_ns.saturating_add(took)),
            volume: &unit,
            offset: number(&offset, "offset")?,
            length: number(&size, "size")?,
            ..Access::rw(is_write(&write)?)
        };
        volumes.push(&access)
    }
}
