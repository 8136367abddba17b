//! Owns the account of everything programmed: `programs = host + fill + collected + wear + padding + metadata`, in bytes, exactly, at
//! all times. Knows nothing of why a program happened; the caller names the term.
//!
//! A byte of the host counts when it is programmed, not when it is accepted: what the volatile cache absorbs (an overwrite of a unit
//! that is still open) or loses in a cut was never programmed. Out-of-band records ride in the spare area and are not counted.

/// Bytes programmed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// All bytes programmed; the sum of the others.
    pub programs: u64,
    /// Bytes that the host wrote.
    pub host: u64,
    /// Bytes programmed again only because the host wrote a part of their unit (read-modify-write).
    pub fill: u64,
    /// Bytes moved by garbage collection, and out of blocks that failed.
    pub collected: u64,
    /// Bytes moved by static wear levelling.
    pub wear: u64,
    /// Bytes programmed with nothing in them, to end a page early, or whose write was abandoned.
    pub padding: u64,
    /// Bytes of journal, checkpoints, roots and line headers.
    pub metadata: u64,
}

impl Ledger {
    /// Whether the identity holds.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.programs == self.host + self.fill + self.collected + self.wear + self.padding + self.metadata
    }

    /// Write amplification: bytes programmed ÷ bytes the host wrote, with or without metadata.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub fn amplification(&self, with_metadata: bool) -> f64 {
        let programs = if with_metadata { self.programs } else { self.programs - self.metadata };
        if self.host == 0 { 1.0 } else { programs as f64 / self.host as f64 }
    }

    /// What was programmed since `earlier`.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            programs: self.programs - earlier.programs,
            host: self.host - earlier.host,
            fill: self.fill - earlier.fill,
            collected: self.collected - earlier.collected,
            wear: self.wear - earlier.wear,
            padding: self.padding - earlier.padding,
            metadata: self.metadata - earlier.metadata,
        }
    }

    /// Counts a host unit: `host` bytes of the host's and the rest of `unit` to fill it up.
    pub fn count_host(&mut self, host: u64, unit: u64) {
        assert!(host <= unit, "a unit holds at most its own bytes");
        self.programs += unit;
        self.host += host;
        self.fill += unit - host;
    }

    /// Counts a unit moved by garbage collection.
    pub fn count_collected(&mut self, bytes: u64) {
        self.programs += bytes;
        self.collected += bytes;
    }

    /// Counts a unit moved by wear levelling.
    pub fn count_wear(&mut self, bytes: u64) {
        self.programs += bytes;
        self.wear += bytes;
    }

    /// Counts an empty unit.
    pub fn count_padding(&mut self, bytes: u64) {
        self.programs += bytes;
        self.padding += bytes;
    }

    /// Counts a metadata page.
    pub fn count_metadata(&mut self, bytes: u64) {
        self.programs += bytes;
        self.metadata += bytes;
    }

    /// The seven numbers in the order in which they are stored.
    #[must_use]
    pub const fn to_words(self) -> [u64; 7] {
        [self.programs, self.host, self.fill, self.collected, self.wear, self.padding, self.metadata]
    }

    /// The ledger of seven stored numbers.
    #[must_use]
    pub const fn from_words(words: [u64; 7]) -> Self {
        let [programs, host, fill, collected, wear, padding, metadata] = words;
        Self { programs, host, fill, collected, wear, padding, metadata }
    }
}

/// Counters that live as long as the media does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times the media was opened.
    pub power_cycles: u64,
    /// Times it was opened without a clean shutdown before.
    pub unsafe_shutdowns: u64,
    /// Bytes read by the host.
    pub host_read_bytes: u64,
    /// Bytes accepted from the host.
    pub host_write_bytes: u64,
    /// Read requests.
    pub host_reads: u64,
    /// Write requests.
    pub host_writes: u64,
    /// Requests that failed for the media's sake.
    pub media_errors: u64,
    /// Reads corrected within the error-correction budget.
    pub corrected_reads: u64,
    /// Programs that failed.
    pub program_failures: u64,
    /// Erases that failed.
    pub erase_failures: u64,
    /// Lines erased.
    pub erases: u64,
    /// Times a line was chosen as a victim by garbage collection.
    pub victims: u64,
}

impl Counters {
    /// The counters in the order in which they are stored.
    #[must_use]
    pub const fn to_words(self) -> [u64; 12] {
        [
            self.power_cycles,
            self.unsafe_shutdowns,
            self.host_read_bytes,
            self.host_write_bytes,
            self.host_reads,
            self.host_writes,
            self.media_errors,
            self.corrected_reads,
            self.program_failures,
            self.erase_failures,
            self.erases,
            self.victims,
        ]
    }

    /// The counters of stored numbers.
    #[must_use]
    pub const fn from_words(words: [u64; 12]) -> Self {
        let [power_cycles, unsafe_shutdowns, host_read_bytes, host_write_bytes, host_reads, host_writes, ..] = words;
        let [.., media_errors, corrected_reads, program_failures, erase_failures, erases, victims] = words;
        Self {
            power_cycles,
            unsafe_shutdowns,
            host_read_bytes,
            host_write_bytes,
            host_reads,
            host_writes,
            media_errors,
            corrected_reads,
            program_failures,
            erase_failures,
            erases,
            victims,
        }
    }
}

/// How evenly lines are worn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EraseCounts {
    /// The fewest erases of any line in use.
    pub least: u32,
    /// The most.
    pub most: u32,
    /// All together.
    pub sum: u64,
    /// Lines in use.
    pub lines: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_keeps_the_identity_and_survives_storing() {
        let mut ledger = Ledger::default();
        ledger.count_host(4096, 16384);
        ledger.count_collected(16384);
        ledger.count_wear(16384);
        ledger.count_padding(4096);
        ledger.count_metadata(4096);
        assert!(ledger.balances());
        assert_eq!(Ledger::from_words(ledger.to_words()), ledger);
        assert_eq!(ledger.since(&ledger), Ledger::default());
        assert_eq!((ledger.host, ledger.fill), (4096, 12288));
    }

    #[test]
    fn a_broken_account_is_noticed() {
        assert!(!Ledger { programs: 1, ..Ledger::default() }.balances());
    }
}
