//! MQSim and SSDsim: arrival in nanoseconds, device, first sector, sectors, and 0 for a write or 1 for a read, between blanks. Their order
//! of the two is the other way round than Tencent's.

use super::fields::{Origin, blanks, quoted, sectors, units};
use super::lines::Parser;
use super::volumes::{Access, Volumes};

#[derive(Default)]
pub(super) struct Mqsim {
    origin: Origin,
}

impl Parser for Mqsim {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        let [time, device, sector, count, kind] = blanks(line, "arrival, device, sector, sectors, 0 or 1")?;
        let write = match kind.as_str() {
            "0" => true,
            "1" => false,
            _ => return Err(format!("{} is neither 0 for a write nor 1 for a read", quoted(&kind))),
        };
        let access = Access {
            begin_ns: self.origin.since(units(&time, 1, "arrival")?),
            volume: &device,
            offset: sectors(&sector, "sector")?,
            length: sectors(&count, "number of sectors")?,
            ..Access::rw(write)
        };
        volumes.push(&access)
    }
}
