//! What a history cost, in a line.

use media::monitor::SsdStatus;

use super::{Crash, Harness};

/// A sum over bytes, for comparison.
pub fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    words.fold(0, |sum: u64, word| (sum ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(7))
}

impl<S: Crash> Harness<S> {
    /// What it cost so far, for people and for comparison.
    pub fn figures(&mut self) -> String {
        let SsdStatus { ledger, counters, erase_counts, percentage_used, bad_blocks, lines, recovery, .. } =
            self.ssd().status();
        let status = self.ssd().status();
        let lines_now = self.ssd().ftl().describe_lines();
        let disk = self.ssd().store().sum();
        self.note(lines_now);
        format!(
            "{:?} counters {:?} erased {}..{} ({percentage_used} %) bad {bad_blocks} free {} mapped {} staged {} spare {} \
             replayed {} given up {} torn {} scanned {} | {:016x} {disk:016x}",
            ledger.to_words(),
            counters.to_words(),
            erase_counts.least,
            erase_counts.most,
            lines.1,
            status.mapped_units,
            status.staged_units,
            status.spare_per_million_of_user,
            recovery.replayed,
            recovery.given_up,
            recovery.torn,
            recovery.lines_scanned,
            self.sum,
        )
    }
}
