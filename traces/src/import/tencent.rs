//! Tencent's cloud block storage: `Timestamp,Offset,Size,IOType,VolumeID`, seconds, sectors of 512 bytes, 0 for reads and 1 for writes.

use super::fields::{Origin, commas, quoted, sectors, units};
use super::lines::Parser;
use super::volumes::{Access, Volumes};

#[derive(Default)]
pub(super) struct Tencent {
    origin: Origin,
}

impl Parser for Tencent {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        let [time, offset, size, kind, volume] = commas(line, "timestamp, offset, size, 0 or 1, volume")?;
        let write = match kind.as_str() {
            "0" => false,
            "1" => true,
            _ => return Err(format!("{} is neither 0 for a read nor 1 for a write", quoted(&kind))),
        };
        let access = Access {
            begin_ns: self.origin.since(units(&time, 1_000_000_000, "timestamp")?),
            volume: &volume,
            offset: sectors(&offset, "offset")?,
            length: sectors(&size, "size")?,
            ..Access::rw(write)
        };
        volumes.push(&access)
    }
}
