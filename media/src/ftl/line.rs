//! Owns the lines' states: free, open, closed, drained, retired; how many valid units each holds; how worn it is. Chooses which free
//! line to open and which closed line to collect. Knows neither the map nor what is stored.

use std::collections::VecDeque;

use crate::config::VictimPolicy;
use crate::geometry::Geometry;
use crate::large_memory::{OutOfMemory, filled, room};
use crate::ledger::EraseCounts;
pub use crate::monitor::LineState;
use crate::unit::narrow;

/// A look at all lines finds this part of them as the next victims: what changes until the last of them has its turn is little.
const LINES_PER_CANDIDATE: usize = 64;
/// Candidates at most: each choice looks at all of them.
const CANDIDATES_MAX: usize = 64;

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

/// All lines. What is asked of them for each line that is opened or collected costs no look at every one.
pub struct Lines {
    lines: Vec<Line>,
    units_per_line: u32,
    /// Those that are free: erases and number, the least worn first.
    free: VecDeque<(u32, u32)>,
    /// Those that are drained, by number.
    drained: Vec<u32>,
    wear: EraseCounts,
    /// How many of those in use were erased as often as the least worn.
    least_worn: u32,
    /// The best victims when all lines were looked at last.
    candidates: Vec<u32>,
    candidates_max: usize,
    /// A line that is no candidate, maybe, is a better victim than any: nothing valid is in it, or it has a failed block.
    emptied: bool,
}

impl Lines {
    /// All lines free.
    ///
    /// # Errors
    /// Where the system has no memory for them.
    pub fn new(geometry: &Geometry) -> Result<Self, OutOfMemory> {
        let count = geometry.lines as usize;
        let candidates_max = (count / LINES_PER_CANDIDATE).clamp(1, CANDIDATES_MAX);
        let mut lines = Self {
            lines: filled(Line::default(), count)?,
            units_per_line: geometry.units_per_line,
            free: room(count)?.into(),
            drained: room(count)?,
            wear: EraseCounts::default(),
            least_worn: 0,
            candidates: room(candidates_max)?,
            candidates_max,
            emptied: false,
        };
        lines.index();
        Ok(lines)
    }

    /// Puts lines in order whose states were set by [`Lines::restore`].
    pub fn index(&mut self) {
        let of = |state| (0..).zip(&self.lines).filter(move |(_, line): &(u32, &Line)| line.state == state);
        self.free.clear();
        self.free.extend(of(LineState::Free).map(|(number, line)| (line.erase_count, number)));
        self.free.make_contiguous().sort_unstable();
        self.drained.clear();
        self.drained.extend(of(LineState::Drained).map(|(number, _)| number));
        self.candidates.clear();
        self.count_wear();
    }

    /// A line as recovery found it; [`Lines::index`] is to follow.
    pub fn restore(&mut self, number: u32, line: Line) {
        self.lines[number as usize] = line;
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
    pub fn set_state(&mut self, number: u32, state: LineState) {
        let line = &mut self.lines[number as usize];
        let erased = (line.erase_count, number);
        match std::mem::replace(&mut line.state, state) {
            LineState::Free => _ = self.free.binary_search(&erased).map(|at| self.free.remove(at)),
            LineState::Drained => _ = self.drained.binary_search(&number).map(|at| self.drained.remove(at)),
            _ => {}
        }
        match state {
            LineState::Free => self.free.insert(self.free.partition_point(|free| *free < erased), erased),
            LineState::Drained => self.drained.insert(self.drained.partition_point(|&other| other < number), number),
            LineState::Closed => self.emptied |= line.valid == 0,
            LineState::Retired => self.count_wear(),
            LineState::Open | LineState::Victim => {}
        }
    }

    /// A block of a closed line failed.
    pub fn fail(&mut self, number: u32, plane: u32) {
        self.lines[number as usize].failed_plane = Some(plane);
        self.emptied = true;
    }

    /// One more erase of a line that is not free.
    pub fn wear(&mut self, number: u32) {
        let line = &mut self.lines[number as usize];
        line.erase_count += 1;
        self.wear.sum += 1;
        self.wear.most = self.wear.most.max(line.erase_count);
        if line.erase_count - 1 == self.wear.least {
            self.least_worn -= 1;
        }
        if self.least_worn == 0 {
            self.count_wear();
        }
    }

    /// How many lines are free.
    #[must_use]
    #[inline]
    pub fn free(&self) -> u32 {
        narrow(self.free.len())
    }

    /// How many lines are drained.
    #[must_use]
    #[inline]
    pub fn drained(&self) -> u32 {
        narrow(self.drained.len())
    }

    /// Their numbers, in order.
    #[must_use]
    pub fn drained_lines(&self) -> &[u32] {
        &self.drained
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
        if line.valid == 0 {
            self.emptied |= line.state == LineState::Closed;
        }
        line.valid
    }

    /// Units of a line that is collected lie in another one now.
    #[inline]
    pub fn move_valid(&mut self, from: u32, to: u32, units: u32) {
        let line = &mut self.lines[from as usize];
        line.valid = line.valid.checked_sub(units).expect("only what is valid is moved");
        let line = &mut self.lines[to as usize];
        line.valid += units;
        assert!(line.valid <= self.units_per_line, "a line holds no more than its units");
    }

    /// All lines with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Line)> + '_ {
        (0..).zip(&self.lines)
    }

    /// The free line that was erased least (or most) often; the lowest number among equals.
    #[must_use]
    pub fn choose_free(&self, most_worn: bool) -> Option<u32> {
        let &(most, _) = self.free.back()?;
        let at = if most_worn { self.free.partition_point(|&(erases, _)| erases < most) } else { 0 };
        self.free.get(at).map(|&(_, number)| number)
    }

    /// The next line to collect: one with a failed block or nothing valid, or else the policy's choice among lines that have
    /// something to gain and hold nothing uncommitted.
    #[must_use]
    pub fn choose_victim(&mut self, policy: VictimPolicy, now: u64, committed: u64, evenness: Evenness) -> Option<u32> {
        let merit = |lines: &Self, number: u32| lines.merit_of(number, policy, now, committed, evenness);
        let mut candidates = std::mem::take(&mut self.candidates);
        if std::mem::take(&mut self.emptied) {
            candidates.clear();
        }
        candidates.retain(|&number| self.get(number).state == LineState::Closed);
        let best = |candidates: &[u32]| {
            let merits = candidates.iter().filter_map(|&number| Some((number, merit(self, number)?)));
            merits.reduce(|best, next| if next.1 > best.1 { next } else { best })
        };
        let mut found = best(&candidates);
        if found.is_none() {
            self.look_for_candidates(&mut candidates, |number| merit(self, number));
            found = best(&candidates);
        }
        let found = found.map(|(number, _)| number);
        // Its turn is now, whether it is taken or not.
        candidates.retain(|&number| Some(number) != found);
        self.candidates = candidates;
        found
    }

    /// Looks at all lines, and keeps the best.
    fn look_for_candidates(&self, candidates: &mut Vec<u32>, merit: impl Fn(u32) -> Option<f64>) {
        candidates.clear();
        let mut merits = [0.0; CANDIDATES_MAX];
        for number in 0..narrow(self.lines.len()) {
            let Some(merit) = merit(number) else { continue };
            let kept = candidates.len();
            if kept == self.candidates_max && merit <= merits[kept - 1] {
                continue;
            }
            let at = merits[..kept].partition_point(|&other| other >= merit);
            let end = kept.min(self.candidates_max - 1);
            candidates.truncate(end);
            candidates.insert(at, number);
            merits.copy_within(at..end, at + 1);
            merits[at] = merit;
        }
    }

    /// How good a victim a line is, if it can be one.
    #[inline]
    fn merit_of(&self, number: u32, policy: VictimPolicy, now: u64, committed: u64, evenness: Evenness) -> Option<f64> {
        let line = self.get(number);
        let collectable = line.state == LineState::Closed && line.last_sequence <= committed;
        if !collectable || (line.valid == self.units_per_line && line.failed_plane.is_none()) {
            return None;
        }
        let first = line.valid == 0 || line.failed_plane.is_some();
        Some(if first { f64::INFINITY } else { self.merit(policy, now, line, evenness) })
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
    #[inline]
    pub const fn erase_counts(&self) -> EraseCounts {
        self.wear
    }

    fn count_wear(&mut self) {
        let in_use = self.lines.iter().filter(|line| line.state != LineState::Retired).map(|line| line.erase_count);
        let mut counts = EraseCounts { least: u32::MAX, most: 0, sum: 0, lines: 0 };
        self.least_worn = 0;
        for count in in_use {
            if count < counts.least {
                (counts.least, self.least_worn) = (count, 0);
            }
            self.least_worn += u32::from(count == counts.least);
            counts.most = counts.most.max(count);
            counts.sum += u64::from(count);
            counts.lines += 1;
        }
        counts.least = counts.least.min(counts.most);
        self.wear = counts;
    }

    /// Bytes of memory that a line takes in the tables.
    #[must_use]
    pub const fn bytes_each() -> usize {
        size_of::<Line>() + size_of::<(u32, u32)>() + size_of::<u32>()
    }

    /// Bytes of memory that the table takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.lines.len() * Self::bytes_each()
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
        lines.fail(3, 0);
        assert_eq!(
            lines.choose_victim(VictimPolicy::Greedy, 1000, 9, Evenness::default()),
            Some(3),
            "a failed block comes first"
        );
    }

    /// A free line is written and erased so often.
    fn erased(lines: &mut Lines, number: u32, times: u32) {
        lines.set_state(number, LineState::Drained);
        (0..times).for_each(|_| lines.wear(number));
        lines.set_state(number, LineState::Free);
    }

    #[test]
    fn a_look_at_all_lines_finds_the_next_victims_and_one_that_becomes_empty_comes_first() {
        let config = GeometryConfig { pages_per_block: 4, ..GeometryConfig::default() };
        let mut lines = Lines::new(&Geometry::new(config).unwrap()).expect("memory");
        let count = narrow(lines.lines.len());
        assert!(lines.candidates_max >= 4, "{count} lines");
        for number in 0..count {
            // The later, the better: an old line is full, and a young one is nearly empty.
            lines.get_mut(number).valid = count - number;
            lines.set_state(number, LineState::Closed);
        }
        let choose = |lines: &mut Lines| {
            let victim = lines.choose_victim(VictimPolicy::Greedy, 1, 0, Evenness::default()).expect("a victim");
            lines.set_state(victim, LineState::Victim);
            count - victim
        };
        assert_eq!([choose(&mut lines), choose(&mut lines)], [1, 2]);
        // Behind the others' backs: only the next look at all finds it.
        lines.get_mut(0).valid = 1;
        assert_eq!(choose(&mut lines), 3);
        lines.get_mut(1).valid = 1;
        lines.invalidate(1, 0);
        assert_eq!([choose(&mut lines), choose(&mut lines)], [count - 1, count]);
        lines.get_mut(count - 4).last_sequence = 7;
        assert_eq!(choose(&mut lines), 5, "nothing uncommitted is collected");
    }

    #[test]
    fn the_wear_of_lines_is_what_counting_it_says() {
        let mut lines = lines();
        let mut random = crate::power::Random::new(1);
        for _ in 0..2000 {
            let number = random.draw() % 60;
            let number = 10 + u32::try_from(number).expect("below 60");
            if lines.get(number).state == LineState::Free {
                erased(&mut lines, number, 1);
            }
            if random.below(200) == 0 {
                lines.set_state(number, LineState::Retired);
            }
            let (kept, least) = (lines.wear, lines.least_worn);
            lines.count_wear();
            assert_eq!((lines.wear, lines.least_worn), (kept, least));
        }
        let free: Vec<_> = lines.free.iter().copied().collect();
        lines.index();
        assert_eq!(free, Vec::from(lines.free));
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
        erased(&mut lines, 9, 2);
        for number in (0..9).filter(|number| !(3..6).contains(number)) {
            erased(&mut lines, number, 1);
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
