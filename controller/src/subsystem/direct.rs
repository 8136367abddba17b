//! Blocks read and written past the host: what an operator does to a namespace to prepare it, and to judge what a host made of it. The host
//! is told nothing, as of a disk that was filled elsewhere.

use media::{Fault, Lba, LbaRange, Nanoseconds, Outcome, Request, Sink, Source, Submitted, Token};
use thiserror::Error;

use super::Subsystem;

/// No command has this token.
const DIRECT_TOKEN: Token = Token(u64::MAX - 2);
/// A media that takes longer is not asked further.
const POLLS_MAX: u32 = 1_000_000;

/// Why blocks cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DirectError {
    /// No active namespace has this identifier.
    #[error("there is no namespace {0}")]
    NoSuchNamespace(u32),
    /// They are not whole blocks of the namespace.
    #[error("the bytes are no whole number of blocks, or lie beyond the end of the namespace")]
    Range,
    /// Power is off.
    #[error("power is off")]
    NoPower,
    /// The media could not.
    #[error("the media failed: {0}")]
    Media(#[from] media::MediaError),
    /// The media has not answered.
    #[error("the media does not answer")]
    Silent,
}

struct Bytes<'a>(&'a [u8]);

impl Source for Bytes<'_> {
    fn fill(&mut self, offset: usize, into: &mut [u8]) -> Result<(), Fault> {
        into.copy_from_slice(&self.0[offset..offset + into.len()]);
        Ok(())
    }
}

struct Place<'a>(&'a mut [u8]);

impl Sink for Place<'_> {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        self.0[offset..offset + from.len()].copy_from_slice(from);
        Ok(())
    }
}

impl Subsystem {
    /// Fills `into` with blocks from `lba` on. A command that is under way may come before or after.
    ///
    /// # Errors
    /// [`DirectError`]; `into` holds anything then.
    pub fn read_blocks(&mut self, nsid: u32, lba: u64, into: &mut [u8]) -> Result<(), DirectError> {
        let (volume, range) = self.direct_range(nsid, lba, into.len())?;
        let request = Request::Read { range, into: &mut Place(into), force: false };
        let submitted = self.shared.media.submit(self.now(), DIRECT_TOKEN, volume, request);
        self.directly(submitted)
    }

    /// Writes blocks from `lba` on. They are as durable as any write that nobody flushed.
    ///
    /// # Errors
    /// [`DirectError`]; the blocks hold what they held or what they were given.
    pub fn write_blocks(&mut self, nsid: u32, lba: u64, from: &[u8]) -> Result<(), DirectError> {
        let (volume, range) = self.direct_range(nsid, lba, from.len())?;
        let request = Request::Write { range, from: &mut Bytes(from), force: false };
        let submitted = self.shared.media.submit(self.now(), DIRECT_TOKEN, volume, request);
        self.directly(submitted)
    }

    /// The latest time that a controller was told.
    fn now(&self) -> Nanoseconds {
        self.controllers.iter().map(|controller| controller.health.now).max().unwrap_or_default()
    }

    fn direct_range(&self, nsid: u32, lba: u64, bytes: usize) -> Result<(media::VolumeId, LbaRange), DirectError> {
        if !self.power_is_on() {
            return Err(DirectError::NoPower);
        }
        let namespace = self.shared.namespaces.get(nsid).ok_or(DirectError::NoSuchNamespace(nsid))?;
        let block = namespace.shape.block_bytes as usize;
        let range = LbaRange::new(Lba(lba), (bytes / block) as u64);
        let whole = bytes > 0 && bytes.is_multiple_of(block) && range.fits(namespace.shape.capacity_blocks);
        if whole { Ok((namespace.volume, range)) } else { Err(DirectError::Range) }
    }

    fn directly(&mut self, submitted: Submitted) -> Result<(), DirectError> {
        let outcome = match submitted {
            Submitted::Done(outcome) => outcome,
            Submitted::Pending => self.await_direct().ok_or(DirectError::Silent)?,
        };
        Ok(outcome?)
    }

    /// A media that models time is asked at the times that it names itself: time does not pass for the host meanwhile.
    fn await_direct(&mut self) -> Option<Outcome> {
        let mut now = self.now();
        for _ in 0..POLLS_MAX {
            self.shared.mail.collect(self.shared.media.as_mut(), now);
            if let Some(outcome) = self.shared.mail.take_own(DIRECT_TOKEN) {
                return Some(outcome);
            }
            now = now.max(self.shared.media.next_event()?);
        }
        self.shared.media.cancel(DIRECT_TOKEN);
        None
    }
}
