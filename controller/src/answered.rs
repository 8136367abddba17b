//! What was answered, and how long it took, for observers. Nothing here makes decisions, and no host sees it.

use std::collections::BTreeMap;

use media::Nanoseconds;
use nvme_spec::Status;
use nvme_spec::opcode::NvmOpcode;

/// How many buckets a histogram has.
const BUCKETS: usize = 32;
/// The first one has what took at most 2 to this power nanoseconds; each of the others twice as much as the one before, the last one
/// the rest.
const FIRST_SHIFT: u32 = 8;

/// Commands of a kind that were answered alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnsweredState {
    /// They came by the admin queue.
    pub admin: bool,
    /// Their opcode.
    pub opcode: u8,
    /// What they were answered, without the bits that say what to do about it.
    pub status: Status,
    /// How many.
    pub count: u64,
}

/// How long commands of I/O queues took: those that the step answered which took them, as long as it; others from the step that took them
/// to the one that answered them. The time that they waited in their queue before is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTimes {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
}

impl ServiceTimes {
    #[inline]
    fn note(&mut self, time: Nanoseconds, commands: u64) {
        // Of 2^n exactly the bucket is still that of 2^n.
        let bits = u64::BITS - time.0.saturating_sub(1).leading_zeros();
        let bucket = (bits.saturating_sub(FIRST_SHIFT) as usize).min(BUCKETS - 1);
        self.buckets[bucket] += commands;
        self.sum_ns = self.sum_ns.wrapping_add(time.0.wrapping_mul(commands));
    }

    /// How many commands took at most so many nanoseconds and more than those of the bucket before, by that number; of the last bucket
    /// there is none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let bound = |bucket: usize| (bucket + 1 < BUCKETS).then(|| 1 << (bucket as u64 + u64::from(FIRST_SHIFT)));
        self.buckets.iter().enumerate().map(move |(bucket, count)| (bound(bucket), *count))
    }

    /// All times together.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

/// All answers since the controller was made.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// Reads and Writes that went the fast path with success.
    fast: u64,
    /// The Writes among them.
    pub(crate) fast_writes: u64,
    others: BTreeMap<(bool, u8, u16), u64>,
    times: ServiceTimes,
    /// Of I/O queues in this step: those that it took, too.
    in_step: u64,
}

impl Answered {
    /// So many commands went the fast path.
    #[inline]
    pub(crate) fn fast(&mut self, commands: usize) {
        self.fast += commands as u64;
        self.in_step += commands as u64;
    }

    /// A command was answered that a step had taken at `taken`.
    pub(crate) fn note(&mut self, admin: bool, opcode: u8, status: Status, [taken, now]: [Nanoseconds; 2]) {
        // The type and the code.
        *self.others.entry((admin, opcode, status.0 & 0x7ff)).or_default() += 1;
        match now.0.saturating_sub(taken.0) {
            _ if admin => {}
            0 => self.in_step += 1,
            time => self.times.note(Nanoseconds(time), 1),
        }
    }

    /// The end of a step that began at `begun`.
    #[inline]
    pub(crate) fn step_ended(&mut self, begun: Nanoseconds, now: Nanoseconds) {
        let commands = std::mem::take(&mut self.in_step);
        if commands > 0 {
            self.times.note(Nanoseconds(now.0.saturating_sub(begun.0)), commands);
        }
    }

    /// By queue, opcode and status.
    pub(crate) fn states(&self) -> Vec<AnsweredState> {
        let mut all = self.others.clone();
        let success = Status::SUCCESS.0 & 0x7ff;
        for (opcode, count) in [(NvmOpcode::WRITE, self.fast_writes), (NvmOpcode::READ, self.fast - self.fast_writes)] {
            *all.entry((false, opcode.0, success)).or_default() += count;
        }
        let counted = all.into_iter().filter(|(_, count)| *count > 0);
        counted
            .map(|((admin, opcode, status), count)| AnsweredState { admin, opcode, status: Status(status), count })
            .collect()
    }

    /// How long commands took.
    pub(crate) const fn times(&self) -> &ServiceTimes {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(times: &ServiceTimes) -> Vec<(Option<u64>, u64)> {
        times.buckets().filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn a_time_is_in_the_bucket_that_ends_at_it_or_behind_it() {
        let mut times = ServiceTimes::default();
        for time in [0, 256, 257, 512, 513, u64::MAX] {
            times.note(Nanoseconds(time), 1);
        }
        assert_eq!(counted(&times), [(Some(256), 2), (Some(512), 2), (Some(1024), 1), (None, 1)]);
        assert_eq!(times.buckets().count(), BUCKETS);
    }

    #[test]
    fn commands_of_the_same_step_take_as_long_as_it_and_others_until_it_began() {
        let mut answered = Answered::default();
        let at = Nanoseconds;
        answered.fast(3);
        answered.fast_writes += 1;
        answered.note(false, 0, Status::SUCCESS, [at(100), at(100)]);
        answered.note(true, 6, Status::SUCCESS, [at(100), at(100)]);
        answered.note(false, 0, Status::SUCCESS, [at(100), at(1100)]);
        answered.step_ended(at(1100), at(1400));
        answered.step_ended(at(1400), at(9999));
        assert_eq!(counted(answered.times()), [(Some(512), 4), (Some(1024), 1)]);
        assert_eq!(answered.times().sum_ns(), 4 * 300 + 1000);
        let counts: Vec<_> = answered.states().iter().map(|it| (it.admin, it.opcode, it.count)).collect();
        assert_eq!(counts, [(false, 0, 2), (false, 1, 1), (false, 2, 2), (true, 6, 1)]);
    }

    #[test]
    fn answers_are_told_apart_by_their_type_and_code() {
        let mut answered = Answered::default();
        for status in [Status::SUCCESS, Status(0x2 | Status::DNR), Status(0x2 | Status::MORE), Status(0x102)] {
            answered.note(false, 1, status, [Nanoseconds(0); 2]);
        }
        let counts: Vec<_> = answered.states().iter().map(|it| (it.status.0, it.count)).collect();
        assert_eq!(counts, [(0, 1), (2, 2), (0x102, 1)]);
    }
}
