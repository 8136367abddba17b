//! What copying alone costs on this machine at this moment: a drive whose data lies in memory can be little faster, by what it
//! fetches early, and on a machine that is shared with others it changes within a minute.

use std::fmt;
use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;
use guest_memory::copy_past_caches;
use media::power::Random;
use memmap2::MmapMut;
use serde::Serialize;

use crate::clock;
use crate::cores::{SLICE, Watched, is_clean};
use crate::flat_memory::huge;
use crate::polling_host::{Load, Order};

/// As much as the drive of `bench socket` holds.
const FROM_BYTES: usize = 256 << 20;
const PAGE: usize = 4 << 10;
const LARGE: usize = 128 << 10;
/// Buffers that are copied into, in turn.
const BUFFERS: usize = 32;
const COPIES: usize = 4096;

/// Memory to copy from and into.
pub struct Copier {
    from: Vec<u8>,
    into: Vec<u8>,
}

/// What it costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CopyCost {
    /// Nanoseconds for 4 KiB from anywhere in 256 MiB.
    pub page_ns: f64,
    /// GiB a second in pieces of 128 KiB, one behind the other.
    pub large_gib: f64,
}

impl Copier {
    /// Memory that has been written once.
    pub fn new() -> Self {
        Self { from: vec![1; FROM_BYTES], into: vec![1; BUFFERS * LARGE] }
    }

    /// The best of three goes, on the calling thread's processor.
    pub fn measure(&mut self) -> CopyCost {
        let best = |go: &mut dyn FnMut() -> f64| (0..3).map(|_| go()).fold(f64::INFINITY, f64::min);
        let page = best(&mut || self.time(PAGE, 0x9e37_79b9));
        let large = best(&mut || self.time(LARGE, 1));
        CopyCost { page_ns: page * 1e9, large_gib: LARGE as f64 / large / f64::from(1 << 30) }
    }

    /// Seconds for one of many copies of this many bytes, whose places are `stride` pieces apart.
    fn time(&mut self, bytes: usize, stride: usize) -> f64 {
        let places = FROM_BYTES / bytes;
        let copies = COPIES.min(places);
        let begun = clock::now();
        for copy in 0..copies {
            let from = copy.wrapping_mul(stride) % places * bytes;
            let into = copy % BUFFERS * bytes;
            self.into[into..into + bytes].copy_from_slice(&self.from[from..from + bytes]);
        }
        black_box(&self.into);
        begun.elapsed().as_secs_f64() / copies as f64
    }
}

impl fmt::Display for CopyCost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page_ns, large_gib } = self;
        write!(
            formatter,
            "copying alone: {page_ns:.0} ns for 4 KiB from anywhere in 256 MiB, {large_gib:.1} GiB/s of 128 KiB"
        )
    }
}

/// A loop that does nothing but copy what a load would: no queues, no controller, no other process. Reads go from the media's memory into
/// the guest's, as memory gives them; writes from there past the caches, as the drive does it.
pub struct BareLoop {
    media: MmapMut,
    guest: MmapMut,
    random: Random,
}

/// A number below that of some places.
fn below(random: &mut Random, places: usize) -> usize {
    usize::try_from(random.below(places as u64)).expect("below one that fits")
}

/// Copies between two looks at the clock.
const COPIES_PER_LOOK: usize = 64;
/// What lies together on a scattered drive.
const UNIT: usize = 4 << 10;

impl BareLoop {
    /// Over a media of so many bytes.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn new(media_bytes: usize) -> Result<Self> {
        let (mut media, mut guest) = (huge(media_bytes)?, huge(256 * LARGE)?);
        media.fill(1);
        guest.fill(1);
        Ok(Self { media, guest, random: Random::new(1) })
    }

    /// Commands of the load in a second, on the calling thread's processor, in the slices in which it had that; none, if there were none.
    /// Random reads that are longer than a unit are gathered.
    ///
    /// # Errors
    /// The system keeps no statistics.
    pub fn rate(&mut self, load: &Load, bytes: usize, time: Duration) -> Result<Option<f64>> {
        let watched = Watched::this_thread();
        let (mut copies, mut took, begun) = (0, Duration::ZERO, clock::now());
        while begun.elapsed() < time {
            let before = watched.waited()?;
            let (copied, elapsed) = self.slice(load, bytes);
            if is_clean(watched.waited()?.saturating_sub(before), elapsed) {
                copies += copied;
                took += elapsed;
            }
        }
        Ok((copies > 0).then(|| copies as f64 / took.as_secs_f64()))
    }

    fn slice(&mut self, load: &Load, bytes: usize) -> (u64, Duration) {
        let Self { media, guest, random } = self;
        let gathered = load.order == Order::Random && bytes > UNIT;
        let places = media.len() / bytes;
        let (mut next, mut buffer, mut copies) = (0, 0, 0_u64);
        let begun = clock::now();
        loop {
            for _ in 0..COPIES_PER_LOOK {
                let place = match load.order {
                    Order::Random => below(random, places),
                    Order::Sequential => next,
                };
                next = if place + 1 == places { 0 } else { place + 1 };
                buffer = if buffer + 1 == usize::from(load.depth) { 0 } else { buffer + 1 };
                let guest = &mut guest[buffer * bytes..][..bytes];
                if random.below(100) >= load.read_percent.into() {
                    copy_past_caches(guest, &mut media[place * bytes..][..bytes]);
                } else if gathered {
                    let units = media.len() / UNIT;
                    for part in guest.chunks_mut(UNIT) {
                        part.copy_from_slice(&media[below(random, units) * UNIT..][..part.len()]);
                    }
                } else {
                    guest.copy_from_slice(&media[place * bytes..][..bytes]);
                }
            }
            copies += COPIES_PER_LOOK as u64;
            let elapsed = begun.elapsed();
            if elapsed >= SLICE {
                black_box((&media, &guest));
                return (copies, elapsed);
            }
        }
    }
}
