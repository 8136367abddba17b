//! When a campaign ends before it has made its cuts: on a signal, or because its time is over. In either case the report is written,
//! and the drive at hand is finished, unless it has a guest and a signal ends the campaign, since a guest takes its time.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use anyhow::Context as _;
use media::Nanoseconds;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::clock::Clock;
use crate::stop;

/// The exit code of a campaign that was told to end, as of a program that SIGINT ends.
pub const INTERRUPTED: u8 = 130;

/// What bounds a campaign beside its cuts.
pub struct Bounds {
    clock: Clock,
    /// Readable once the process was asked to end.
    stop: Option<UnixStream>,
    time: Option<Nanoseconds>,
    interrupted: bool,
}

impl Bounds {
    /// A campaign that begins now and may take so long.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn new(time: Option<Nanoseconds>) -> anyhow::Result<Self> {
        let stop = stop::on_signals().context("cannot listen for signals")?;
        Ok(Self { clock: Clock::new(), stop: Some(stop), time, interrupted: false })
    }

    /// Since the campaign began.
    pub fn elapsed(&self) -> Nanoseconds {
        self.clock.now()
    }

    /// Whether the campaign has to end.
    pub fn over(&mut self) -> bool {
        self.asked() || self.time.is_some_and(|time| self.elapsed() >= time)
    }

    /// Whether it was asked to end now.
    pub fn asked(&mut self) -> bool {
        let asked = self.stop.as_ref().is_some_and(|stop| {
            let stop = stop.as_fd();
            let mut watched = [PollFd::new(&stop, PollFlags::IN)];
            poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && !watched[0].revents().is_empty()
        });
        self.interrupted |= asked;
        self.interrupted
    }

    /// Whether it was told to end.
    pub const fn interrupted(&self) -> bool {
        self.interrupted
    }
}

/// Reads a length of time: `90s`, `10m`, `2h`.
pub fn duration(text: &str) -> Result<Nanoseconds, String> {
    let remedy = || "give a number with s, m or h, as in 90s, 10m or 2h".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        _ => return Err(remedy()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| remedy())?;
    let nanoseconds = number.checked_mul(unit * 1_000_000_000).filter(|time| *time > 0).ok_or_else(remedy)?;
    Ok(Nanoseconds(nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Nanoseconds(90_000_000_000)));
        assert_eq!(duration("10m"), Ok(Nanoseconds(600_000_000_000)));
        assert_eq!(duration("2h"), Ok(Nanoseconds(7_200_000_000_000)));
        for wrong in ["", "10", "m", "0s", "-1s", "1.5h", "10ms", "99999999999999999h", "é"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_campaign_ends_by_order_or_by_time() {
        let (stop, mut stopper) = UnixStream::pair().expect("a pair of sockets");
        let mut bounds = Bounds { clock: Clock::new(), stop: Some(stop), time: None, interrupted: false };
        assert!(!bounds.over() && !bounds.interrupted());
        stopper.write_all(b"x").expect("a byte");
        assert!(bounds.asked() && bounds.over() && bounds.interrupted());
        let mut bounds = Bounds { clock: Clock::new(), stop: None, time: Some(Nanoseconds(0)), interrupted: false };
        assert!(bounds.over() && !bounds.asked() && !bounds.interrupted(), "the drive at hand is finished");
    }
}
