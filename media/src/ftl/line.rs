//! Owns the lines' states: free, open, closed, drained, retired; how many valid units each holds; how worn it is. Chooses which free
//! line to open and which closed line to collect. Knows neither the map nor what is stored.

use crate::config::VictimPolicy;
use crate::geometry::Geometry;
use crate::large_memory::{OutOfMemory, filled};
use crate::ledger::EraseCounts;

/// What a line is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineState {
    /// Erased.
    #[default]
    Free,
    /// A stream writes it.
    Open,
    /// Full, or given up.
    Closed,
    /// Being collected.
    Victim,
    /// Holds nothing the map needs, but a power loss might still need it.
    Drained,
    /// Out of use.
    Retired,
}

/// One line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What it is doing.
    pub state: LineState,
    /// A block of it failed: it is collected first, and the block replaced.
    pub failed_plane: Option<u32>,
    /// Units the map points at.
    pub valid: u32,
    /// Slots programmed or passed over, once closed.
    pub used: u32,
    /// Erases so far.
    pub erase_count: u32,
    /// The event at which it was opened.
    pub opened: u64,
    /// The host's sequence number when it was closed: its age starts there.
    pub closed_at: u64,
    /// The largest sequence number in it.
    pub last_sequence: u64,
    /// The sequence number of the last change that made one of its units invalid: the line must stay until that is committed.
    pub invalidated: u64,
    /// The number of moved units staged when it was drained: it must stay until they are programmed.
    pub moved: u64,
}

/// How much the choice of a victim cares for wear: a line that lags behind the most worn one counts for more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evenness {
    /// The most erases of any line.
    pub most: u32,
    /// The lag that is allowed, in erases; 0 for not caring.
    pub allowed: u32,
    /// How many times as much a line counts that lags by just that.
    pub strength: u32,
}

impl Evenness {
    #[inline]
    fn weight(self, erase_count: u32) -> f64 {
        let lag = f64::from(self.most.saturating_sub(erase_count));
        let allowed = f64::from(self.allowed);
        if self.allowed == 0 { 1.0 } else { allowed * allowed + f64::from(self.strength) * lag * lag }
    }
}

/// All lines.
pub struct Lines {
    lines: Vec<Line>,
    units_per_line: u32,
    free: u32,
    drained: u32,
}

impl Lines {
    /// All lines free.
    ///
    /// # Errors
    /// Where the system has no memory for them.
    pub fn new(geometry: &Geometry) -> Result<Self, OutOfMemory> {
        let lines = filled(Line::default(), geometry.lines as usize)?;
        Ok(Self { lines, units_per_line: geometry.units_per_line, free: geometry.lines, drained: 0 })
    }

    /// A line.
    #[must_use]
    #[inline]
    pub fn get(&self, line: u32) -> &Line {
        &self.lines[line as usize]
    }

    /// A line, to change what is not its state.
    #[inline]
    pub fn get_mut(&mut self, line: u32) -> &mut Line {
        &mut self.lines[line as usize]
    }

    /// Changes a line's state.
    pub fn set_state(&mut self, line: u32, state: LineState) {
        let old = std::mem::replace(&mut self.lines[line as usize].state, state);
        for (count, counted) in [(&mut self.free, LineState::Free), (&mut self.drained, LineState::Drained)] {
            *count = *count + u32::from(state == counted) - u32::from(old == counted);
        }
    }

    /// How many lines are free.
    #[must_use]
    #[inline]
    pub const fn free(&self) -> u32 {
        self.free
    }

    /// How many lines are drained.
    #[must_use]
    #[inline]
    pub const fn drained(&self) -> u32 {
        self.drained
    }

    /// One more unit of a line is valid.
    #[inline]
    pub fn validate(&mut self, line: u32) {
        let line = &mut self.lines[line as usize];
        line.valid += 1;
        assert!(line.valid <= self.units_per_line, "a line holds no more than its units");
    }

    /// One unit of a line became invalid by the change with this sequence number; returns how many are valid.
    #[inline]
    pub fn invalidate(&mut self, line: u32, sequence: u64) -> u32 {
        let line = &mut self.lines[line as usize];
        assert!(line.valid > 0, "only a valid unit becomes invalid");
        line.valid -= 1;
        line.invalidated = line.invalidated.max(sequence);
        line.valid
    }

    /// All lines with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Line)> + '_ {
        (0..).zip(&self.lines)
    }

    /// The free line that was erased least (or most) often; the lowest number among equals.
    #[must_use]
    pub fn choose_free(&self, most_worn: bool) -> Option<u32> {
        let free = self.iter().filter(|(_, line)| line.state == LineState::Free);
        let worn = |line: &Line| if most_worn { u32::MAX - line.erase_count } else { line.erase_count };
        free.min_by_key(|&(number, line)| (worn(line), number)).map(|(number, _)| number)
    }

    /// The next line to collect: one with a failed block or nothing valid, or else the policy's choice among lines that have
    /// something to gain and hold nothing uncommitted.
    #[must_use]
    pub fn choose_victim(&self, policy: VictimPolicy, now: u64, committed: u64, evenness: Evenness) -> Option<u32> {
        let mut best: Option<(u32, f64)> = None;
        for (number, line) in self.iter() {
            let collectable = line.state == LineState::Closed && line.last_sequence <= committed;
            if !collectable || (line.valid == self.units_per_line && line.failed_plane.is_none()) {
                continue;
            }
            if line.valid == 0 || line.failed_plane.is_some() {
                return Some(number);
            }
            let merit = self.merit(policy, now, line, evenness);
            if best.is_none_or(|(_, best)| merit > best) {
                best = Some((number, merit));
            }
        }
        best.map(|(number, _)| number)
    }

    /// How good a victim a line is.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "where two lines differ by a rounding, either will do")]
    fn merit(&self, policy: VictimPolicy, now: u64, line: &Line, evenness: Evenness) -> f64 {
        match policy {
            VictimPolicy::Greedy => -f64::from(line.valid),
            VictimPolicy::Fifo => -(line.opened as f64),
            VictimPolicy::CostBenefit => {
                // a·(n − v) ÷ 2v
                let age = (now.saturating_sub(line.closed_at) + 1) as f64;
                let gain = age * f64::from(self.units_per_line - line.valid) / f64::from(line.valid);
                gain * evenness.weight(line.erase_count)
            }
        }
    }

    /// The closed line that was erased least often: where data lies that nobody changes.
    #[must_use]
    pub fn choose_coldest(&self, committed: u64) -> Option<u32> {
        let closed = self.iter().filter(|(_, line)| line.state == LineState::Closed && line.last_sequence <= committed);
        closed.min_by_key(|&(number, line)| (line.erase_count, line.closed_at, number)).map(|(number, _)| number)
    }

    /// The smallest, largest and summed erase counts of lines in use.
    #[must_use]
    pub fn erase_counts(&self) -> EraseCounts {
        let in_use = self.lines.iter().filter(|line| line.state != LineState::Retired).map(|line| line.erase_count);
        let mut counts = EraseCounts { least: u32::MAX, most: 0, sum: 0, lines: 0 };
        for count in in_use {
            counts.least = counts.least.min(count);
            counts.most = counts.most.max(count);
            counts.sum += u64::from(count);
            counts.lines += 1;
        }
        counts.least = counts.least.min(counts.most);
        counts
    }

    /// Bytes of memory that the table takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::GeometryConfig;

    fn lines() -> Lines {
        let mut lines = Lines::new(&Geometry::new(GeometryConfig::default()).unwrap()).expect("memory");
        for (number, valid, opened, closed_at) in [(3, 4000, 1, 10), (4, 100, 3, 990), (5, 2000, 2, 900)] {
            lines.set_state(number, LineState::Closed);
            let line = lines.get_mut(number);
            (line.valid, line.opened, line.closed_at) = (valid, opened, closed_at);
        }
        lines
    }

    #[test]
    fn each_policy_has_its_victim() {
        let mut lines = lines();
        assert_eq!(lines.choose_victim(VictimPolicy::Greedy, 1000, 0, Evenness::default()), Some(4));
        assert_eq!(lines.choose_victim(VictimPolicy::Fifo, 1000, 0, Evenness::default()), Some(3));
        assert_eq!(lines.choose_victim(VictimPolicy::CostBenefit, 1000, 0, Evenness::default()), Some(4));
        assert_eq!(
            lines.choose_victim(VictimPolicy::CostBenefit, 991, 0, Evenness::default()),
            Some(5),
            "a hot line gets time"
        );
        lines.get_mut(4).last_sequence = 7;
        assert_eq!(
            lines.choose_victim(VictimPolicy::Greedy, 1000, 6, Evenness::default()),
            Some(5),
            "nothing uncommitted is collected"
        );
        lines.get_mut(3).failed_plane = Some(0);
        assert_eq!(
            lines.choose_victim(VictimPolicy::Greedy, 1000, 9, Evenness::default()),
            Some(3),
            "a failed block comes first"
        );
    }

    #[test]
    fn full_lines_are_no_victims() {
        let mut lines = Lines::new(&Geometry::new(GeometryConfig::default()).unwrap()).expect("memory");
        lines.set_state(0, LineState::Closed);
        lines.get_mut(0).valid = 4096;
        assert_eq!(lines.choose_victim(VictimPolicy::Greedy, 1, 0, Evenness::default()), None);
        assert_eq!(lines.choose_coldest(0), Some(0));
    }

    #[test]
    fn free_lines_are_chosen_by_wear_and_counted() {
        let mut lines = lines();
        assert_eq!((lines.free(), lines.drained()), (69, 0));
        lines.get_mut(9).erase_count = 2;
        for number in 0..9 {
            lines.get_mut(number).erase_count = 1;
        }
        assert_eq!(lines.choose_free(false), Some(10));
        assert_eq!(lines.choose_free(true), Some(9));
        lines.set_state(3, LineState::Drained);
        assert_eq!(lines.drained(), 1);
        lines.set_state(3, LineState::Free);
        assert_eq!((lines.free(), lines.drained()), (70, 0));
        assert_eq!(lines.erase_counts().most, 2);
    }
}
