//! Owns when the NAND is busy: a finish time for each operation, computed at its submission from the busy times of the die and of
//! the channel. Knows no wall clock.
//!
//! The model, exactly:
//! * a die does one thing at a time, a channel transfers one page (or part of one) at a time, in the order of submission;
//! * a read occupies its die from `max(now, die free)` for the array time, then die and channel together, from when both are
//!   free, for the transfer; its finish is the end of the transfer;
//! * a program occupies die and channel together, from `max(now, die free, channel free)`, for the transfer, then the die alone
//!   for the array time; its finish is the end of the array time;
//! * an erase occupies each die of the line from `max(now, die free)` for the erase time; its finish is the last end.
//!
//! Pages of different planes of a die take turns; a profile that means multi-plane operation has larger pages.

use crate::geometry::Geometry;
use crate::unit::Nanoseconds;

/// Times of a NAND part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NandTimes {
    /// Array time of a page read, in nanoseconds.
    pub read_ns: u64,
    /// Array time of a page program, in nanoseconds.
    pub program_ns: u64,
    /// Array time of a block erase, in nanoseconds.
    pub erase_ns: u64,
    /// What a channel transfers, in bytes per microsecond (which is MB/s).
    pub channel_bytes_per_us: u64,
}

impl NandTimes {
    /// Figures of the order of a three-bit part: 60 µs read, 700 µs program, 3.5 ms erase, 800 MB/s channels.
    pub const TLC: Self = Self { read_ns: 60_000, program_ns: 700_000, erase_ns: 3_500_000, channel_bytes_per_us: 800 };
    /// Figures of the order of a one-bit part: 25 µs read, 200 µs program, 1.5 ms erase, 800 MB/s channels.
    pub const SLC: Self = Self { read_ns: 25_000, program_ns: 200_000, erase_ns: 1_500_000, channel_bytes_per_us: 800 };
    /// Figures of the order of a four-bit part: 110 µs read, 2.2 ms program, 5 ms erase, 800 MB/s channels.
    pub const QLC: Self =
        Self { read_ns: 110_000, program_ns: 2_200_000, erase_ns: 5_000_000, channel_bytes_per_us: 800 };

    /// How long a transfer of `bytes` takes, rounded up.
    #[must_use]
    pub const fn transfer_ns(&self, bytes: u64) -> u64 {
        (bytes * 1000).div_ceil(self.channel_bytes_per_us)
    }
}

/// The busy times of all dies and channels.
#[derive(Clone, Debug)]
pub struct Timing {
    times: NandTimes,
    page_bytes: u64,
    planes: u64,
    planes_per_die: u64,
    die_free: Vec<u64>,
    channel_free: Vec<u64>,
}

impl Timing {
    /// An idle array.
    #[must_use]
    pub fn new(geometry: &Geometry, times: NandTimes) -> Self {
        assert!(times.channel_bytes_per_us > 0, "a channel must transfer something");
        let config = &geometry.config;
        Self {
            times,
            page_bytes: u64::from(config.page_bytes),
            planes: u64::from(geometry.planes),
            planes_per_die: u64::from(config.planes_per_die),
            die_free: vec![0; (config.channels * config.dies_per_channel) as usize],
            channel_free: vec![0; config.channels as usize],
        }
    }

    /// The die and the channel of a byte of a line: planes of a die are neighbours, dies take turns over the channels.
    #[must_use]
    pub fn place(&self, offset: u64) -> (usize, usize) {
        let plane = (offset / self.page_bytes) % self.planes;
        let die = crate::unit::index(plane / self.planes_per_die);
        (die, die % self.channel_free.len())
    }

    /// Reads `bytes` from `offset` of a line on; returns the finish.
    pub fn read(&mut self, now: Nanoseconds, offset: u64, bytes: u64) -> Nanoseconds {
        self.each_page(offset, bytes, |timing, die, channel, bytes| {
            let sensed = now.0.max(timing.die_free[die]) + timing.times.read_ns;
            let end = sensed.max(timing.channel_free[channel]) + timing.times.transfer_ns(bytes);
            timing.die_free[die] = end;
            timing.channel_free[channel] = end;
            end
        })
    }

    /// Programs `bytes` from `offset` of a line on; returns the finish.
    pub fn program(&mut self, now: Nanoseconds, offset: u64, bytes: u64) -> Nanoseconds {
        self.each_page(offset, bytes, |timing, die, channel, bytes| {
            let start = now.0.max(timing.die_free[die]).max(timing.channel_free[channel]);
            let moved = start + timing.times.transfer_ns(bytes);
            timing.channel_free[channel] = moved;
            timing.die_free[die] = moved + timing.times.program_ns;
            timing.die_free[die]
        })
    }

    /// Erases a line; returns the finish.
    pub fn erase(&mut self, now: Nanoseconds) -> Nanoseconds {
        let erase_ns = self.times.erase_ns;
        let ends = self.die_free.iter_mut().map(|free| {
            *free = now.0.max(*free) + erase_ns;
            *free
        });
        Nanoseconds(ends.max().unwrap_or(now.0))
    }

    fn each_page(
        &mut self,
        offset: u64,
        bytes: u64,
        mut operate: impl FnMut(&mut Self, usize, usize, u64) -> u64,
    ) -> Nanoseconds {
        let (mut at, end, mut finish) = (offset, offset + bytes, 0);
        while at < end {
            let part = (self.page_bytes - at % self.page_bytes).min(end - at);
            let (die, channel) = self.place(at);
            finish = finish.max(operate(self, die, channel, part));
            at += part;
        }
        Nanoseconds(finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::GeometryConfig;
    use crate::power::Random;

    const TIMES: NandTimes = NandTimes { read_ns: 100, program_ns: 1000, erase_ns: 5000, channel_bytes_per_us: 4096 };

    fn timing() -> Timing {
        let config = GeometryConfig { channels: 2, planes_per_die: 1, page_bytes: 4096, ..GeometryConfig::default() };
        Timing::new(&Geometry::new(config).unwrap(), TIMES)
    }

    #[test]
    fn reads_of_two_dies_on_one_channel_overlap_in_the_array_and_queue_for_the_transfer() {
        let mut timing = timing();
        // Four dies: 0 and 2 share channel 0, 1 and 3 share channel 1; a page takes 1000 ns to transfer.
        assert_eq!(timing.read(Nanoseconds(0), 0, 4096), Nanoseconds(1100));
        assert_eq!(timing.read(Nanoseconds(0), 2 * 4096, 4096), Nanoseconds(2100));
        assert_eq!(timing.read(Nanoseconds(0), 4096, 4096), Nanoseconds(1100));
        assert_eq!(timing.read(Nanoseconds(5000), 0, 512), Nanoseconds(5225));
    }

    #[test]
    fn a_program_holds_the_channel_for_its_transfer_and_the_die_to_its_end() {
        let mut timing = timing();
        assert_eq!(timing.program(Nanoseconds(0), 0, 4096), Nanoseconds(2000));
        assert_eq!(timing.program(Nanoseconds(0), 2 * 4096, 4096), Nanoseconds(3000));
        assert_eq!(timing.read(Nanoseconds(0), 0, 4096), Nanoseconds(3100));
        assert_eq!(timing.erase(Nanoseconds(0)), Nanoseconds(8100));
        assert_eq!(timing.program(Nanoseconds(8100), 0, 8192), Nanoseconds(10_100), "two dies, two channels");
    }

    /// The same model, told once more as a list of past operations (slow): no busy times are kept, each is found by looking back.
    #[test]
    fn random_operations_finish_exactly_when_the_stated_model_says() {
        let seed = std::env::var("MEDIA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(8);
        println!("MEDIA_SEED={seed}");
        let mut random = Random::new(seed);
        let mut timing = timing();
        let mut die_ends: Vec<(usize, u64)> = Vec::new();
        let mut channel_ends: Vec<(usize, u64)> = Vec::new();
        let last = |ends: &[(usize, u64)], which| ends.iter().filter(|end| end.0 == which).map(|end| end.1).max();
        let mut now = 0;
        for _ in 0..2000 {
            now += random.below(600);
            let page = random.below(16);
            let (die, channel) = (usize::try_from(page % 4).unwrap(), usize::try_from(page % 2).unwrap());
            let bytes = 512 * (1 + random.below(8));
            let transfer = (bytes * 1000).div_ceil(4096);
            let die_free = now.max(last(&die_ends, die).unwrap_or(0));
            let channel_free = last(&channel_ends, channel).unwrap_or(0);
            let finish = if random.below(2) == 0 {
                let end = (die_free + 100).max(channel_free) + transfer;
                channel_ends.push((channel, end));
                assert_eq!(timing.read(Nanoseconds(now), page * 4096, bytes), Nanoseconds(end));
                end
            } else {
                let moved = die_free.max(channel_free) + transfer;
                channel_ends.push((channel, moved));
                assert_eq!(timing.program(Nanoseconds(now), page * 4096, bytes), Nanoseconds(moved + 1000));
                moved + 1000
            };
            die_ends.push((die, finish));
        }
    }
}
