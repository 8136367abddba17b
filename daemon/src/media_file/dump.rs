//! `brownout media dump`: lines, map and journal of a media file, an entry in each line, for people or as JSON.

use std::io::{self, Write as _};

use anyhow::Context as _;
use media::ssd::Ssd;
use media::store::Store;
use media::unit::PhysicalUnit;
use serde_json::json;

use super::recover;
use crate::cli::MediaDump;
use crate::failure::Failure;

/// Lists what was asked for; lines, if nothing was.
pub fn dump(arguments: &MediaDump) -> Result<(), Failure> {
    let MediaDump { file, lines, map, journal, json } = arguments;
    let mut drive = recover(file)?;
    let mut out = Out { to: io::BufWriter::new(io::stdout().lock()), json: *json };
    let listed = (|| {
        if *lines || !(*map || *journal) {
            list_lines(&drive, &mut out)?;
        }
        if *map {
            list_map(&drive, &mut out)?;
        }
        if *journal {
            list_journal(&mut drive, &mut out)?;
        }
        out.to.flush()
    })();
    match listed {
        // Whoever reads the first lines only has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        listed => Ok(listed.context("cannot list")?),
    }
}

struct Out<W: io::Write> {
    to: W,
    json: bool,
}

impl<W: io::Write> Out<W> {
    /// One entry.
    fn entry(&mut self, text: impl FnOnce() -> String, json: impl FnOnce() -> serde_json::Value) -> io::Result<()> {
        if self.json { writeln!(self.to, "{}", json()) } else { writeln!(self.to, "{}", text()) }
    }
}

fn list_lines<S: Store>(drive: &Ssd<S>, out: &mut Out<impl io::Write>) -> io::Result<()> {
    for (number, line) in drive.lines() {
        let state = format!("{:?}", line.state).to_lowercase();
        let (valid, used, erases, opened) = (line.valid, line.used, line.erase_count, line.opened);
        out.entry(
            || format!("line {number}: {state}, {valid} valid of {used} used, {erases} erases, opened at {opened}"),
            || json!({ "line": number, "state": state, "valid": valid, "used": used, "erases": erases, "opened": opened }),
        )?;
    }
    Ok(())
}

/// Units that lie one behind the other in one line are one entry.
fn list_map<S: Store>(drive: &Ssd<S>, out: &mut Out<impl io::Write>) -> io::Result<()> {
    let mut run: Option<(u32, u32, u32)> = None;
    let geometry = &drive.ftl().geometry;
    let mut show = |(unit, place, length): (u32, u32, u32)| {
        let (line, slot) = (geometry.line_of(PhysicalUnit(place)), geometry.slot_of(PhysicalUnit(place)));
        let last = unit + (length - 1);
        out.entry(
            || format!("units {unit} to {last}: line {line} from slot {slot}"),
            || json!({ "units": [unit, last], "line": line, "slot": slot }),
        )
    };
    for (unit, place) in drive.mapping() {
        run = match run {
            Some((first, start, length)) if unit.0 == first + length && place.0 == start + length => {
                Some((first, start, length + 1))
            }
            earlier => {
                earlier.map_or(Ok(()), &mut show)?;
                Some((unit.0, place.0, 1))
            }
        };
    }
    run.map_or(Ok(()), &mut show)
}

fn list_journal<S: Store>(drive: &mut Ssd<S>, out: &mut Out<impl io::Write>) -> io::Result<()> {
    for (position, entry) in drive.journal().map_err(io::Error::other)? {
        let (first, last, sequence) = (entry.first, entry.first + (entry.units - 1), entry.sequence);
        out.entry(
            || format!("journal {position}: units {first} to {last} at {sequence}"),
            || json!({ "journal": position, "units": [first, last], "sequence": sequence }),
        )?;
    }
    Ok(())
}
