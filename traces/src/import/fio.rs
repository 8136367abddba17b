//! fio's I/O logs. Version 2: `FILE ACTION [OFFSET LENGTH]`, in bytes; only `wait` tells of time, in microseconds since the wait before,
//! and stands where other actions have their offset: so says fio's manual (its own reader takes it for milliseconds since it was started).
//! Version 3: the same behind a time in microseconds since the beginning, without `wait`.

use super::fields::{number, quoted, units};
use super::lines::Parser;
use super::volumes::{Access, Volumes};

#[derive(Default)]
pub(super) struct Fio {
    version: Option<u8>,
    /// The time that waits have come to.
    now_ns: u64,
}

impl Fio {
    fn head(&mut self, line: &str) -> Result<(), String> {
        self.version = match line {
            "fio version 2 iolog" => Some(2),
            "fio version 3 iolog" => Some(3),
            _ => return Err(format!("{} is not the head of an iolog of version 2 or 3", quoted(line))),
        };
        Ok(())
    }

    fn action(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        // From the right, because the name of a file may have blanks.
        let mut words = line.rsplitn(4, ' ');
        let (last, before) = (words.next().unwrap_or_default(), words.next());
        if before.is_some() && ["add", "open", "close"].contains(&last) {
            return Ok(());
        }
        let (Some(offset), Some(action), Some(file)) = (before, words.next(), words.next()) else {
            return Err(format!("{} is not a file, an action, an offset and a length", quoted(line)));
        };
        let access = match action {
            "read" => Access::rw(false),
            "write" => Access::rw(true),
            "trim" => Access::deallocate(),
            "sync" | "datasync" | "sync_file_range" | "syncfs" => {
                return volumes.push(&Access { begin_ns: self.now_ns, volume: file, ..Access::flush() });
            }
            "wait" if self.version == Some(2) => {
                self.now_ns = self.now_ns.saturating_add(units(offset, 1000, "wait")?);
                return Ok(());
            }
            _ => return Err(format!("{} is no action of an iolog", quoted(action))),
        };
        volumes.push(&Access {
            begin_ns: self.now_ns,
            volume: file,
            offset: number(offset, "offset")?,
            length: number(last, "length")?,
            ..access
        })
    }
}

impl Parser for Fio {
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String> {
        match self.version {
            None => self.head(line),
            Some(3) => {
                let (time, rest) = line.split_once(' ').ok_or_else(|| format!("{} has no action", quoted(line)))?;
                self.now_ns = units(time, 1000, "time")?;
                self.action(rest, volumes)
            }
            Some(_) => self.action(line, volumes),
        }
    }

    fn end(&mut self, _volumes: &mut Volumes) -> Result<(), String> {
        if self.version.is_none() { Err("it is empty".to_owned()) } else { Ok(()) }
    }
}
