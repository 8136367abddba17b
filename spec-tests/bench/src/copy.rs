//! What copying alone costs on this machine at this moment: no drive whose data lies in memory can be faster, and on a machine that is
//! shared with others it changes within a minute.

use std::fmt;
use std::hint::black_box;

use crate::clock;

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
#[derive(Clone, Copy, Debug)]
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
