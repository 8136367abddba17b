//! What somebody who watches a controller hands over: commands as they begin and as they end, as bytes of the wire. Recordings and views
//! are made of it; neither knows where it comes from.

use std::io;

use media::ledger::Ledger;

use serde_json::Value;

use crate::record::Sample;

/// A command was taken from its submission queue.
#[derive(Clone, Copy, Debug)]
pub struct Begun<'a> {
    /// When, in nanoseconds; the origin is the caller's.
    pub time_ns: u64,
    /// Which controller.
    pub controller: u16,
    /// Its submission queue; 0 is the admin queue.
    pub queue: u16,
    /// The submission queue entry.
    pub command: &'a [u8; 64],
    /// What the command carries to the drive, where the caller has it. The ranges of a Dataset Management and the sources of a Copy are
    /// among it: without them it is not known which blocks these commands are about.
    pub data: Option<&'a [u8]>,
}

/// A command was completed.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// When.
    pub time_ns: u64,
    /// Which controller.
    pub controller: u16,
    /// The completion queue entry, which names queue and command.
    pub completion: &'a [u8; 16],
    /// What the command brought from the drive, where the caller has it.
    pub data: Option<&'a [u8]>,
}

/// What a drive did in one step, and what there is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drive {
    /// When the step began, in nanoseconds.
    pub time_ns: u64,
    /// How long it was until the next one began, in nanoseconds.
    pub duration_ns: u64,
    /// Bytes that were programmed in it, by reason.
    pub programmed: Ledger,
    /// Lines that were chosen to be collected in it.
    pub victims: u64,
    /// Lines that were erased in it.
    pub erased: u64,
    /// Bytes that were in the volatile write cache behind it.
    pub volatile_bytes: u64,
    /// Lines that were free behind it.
    pub free_lines: u32,
}

/// Who makes a file of what is watched, as it comes.
pub trait Watcher {
    /// A command began.
    ///
    /// # Errors
    /// Those of what is written to.
    fn begun(&mut self, begun: &Begun<'_>) -> io::Result<()>;

    /// A command ended. One whose beginning was not seen is left out.
    ///
    /// # Errors
    /// Those of what is written to.
    fn ended(&mut self, ended: &Ended<'_>) -> io::Result<()>;

    /// A controller forgot its commands, by a reset or a power loss: none that is under way will end.
    ///
    /// # Errors
    /// Those of what is written to.
    fn forgotten(&mut self, time_ns: u64, controller: u16) -> io::Result<()>;

    /// Something happened at a moment that is no command: a reset, a power loss, a violation. Who has no word for it leaves it out.
    ///
    /// # Errors
    /// Those of what is written to.
    fn mark(&mut self, time_ns: u64, controller: u16, name: &str, details: &Value) -> io::Result<()> {
        let _ = (time_ns, controller, name, details);
        Ok(())
    }

    /// What the drive had programmed at a moment. Who has no word for it leaves it out.
    ///
    /// # Errors
    /// Those of what is written to.
    fn sample(&mut self, sample: Sample) -> io::Result<()> {
        let _ = sample;
        Ok(())
    }

    /// What the drive did by itself. Who has no word for it leaves it out.
    ///
    /// # Errors
    /// Those of what is written to.
    fn drive(&mut self, controller: u16, drive: &Drive) -> io::Result<()> {
        let _ = (controller, drive);
        Ok(())
    }

    /// Writes what waits in memory.
    ///
    /// # Errors
    /// Those of what is written to.
    fn flush(&mut self) -> io::Result<()>;

    /// Nothing comes any more.
    ///
    /// # Errors
    /// Those of what is written to.
    fn close(self: Box<Self>) -> io::Result<()>;
}
