//! The decision whether to spin or to sleep, as a value: times are arguments, what to do next is the result.

use media::Nanoseconds;

/// The numbers of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For how long after the last work to spin: as long as a host that is an emulator takes for its next command, and some
    /// wake-ups that are saved.
    pub spin: Nanoseconds,
    /// Whether to give the processor away before each look at the transport that follows a step without work: spinning must not starve
    /// the guest.
    pub give_way: bool,
    /// How many steps may pass, while spinning, without a look at the transport. At least 1. (A look is a system call, which takes as long
    /// as a command at queue depth 1 does.)
    pub steps_per_look: u32,
    /// How long may pass without one: steps may be long, and whoever gives orders, or tells the loop to end, waits for the look.
    pub look_within: Nanoseconds,
    /// The longest pause: it bounds what an idle guest costs. (A wake-up may cost 25 microseconds of a processor where the host is itself a
    /// virtual machine: at a pause of 1 ms that was 2.4 % of it.)
    pub pause_longest: Nanoseconds,
    /// Sleeping for less than this is not worth the system call.
    pub worth_sleeping: Nanoseconds,
}

impl Policy {
    /// The numbers for a machine with this many processors. A guest needs one, QEMU's main loop half of one.
    pub const fn for_processors(count: usize) -> Self {
        Self {
            spin: Nanoseconds(200_000),
            give_way: count < 4,
            steps_per_look: 16,
            look_within: Nanoseconds(1_000_000),
            pause_longest: Nanoseconds(4_000_000),
            worth_sleeping: Nanoseconds(5_000),
        }
    }

    /// The numbers for this machine.
    pub fn for_this_machine() -> Self {
        Self::for_processors(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

/// What the loop does before its next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Step,
    /// Looks at the transport without waiting.
    Look,
    /// Waits for the transport, at most so long; without a number for ever.
    Sleep(Option<Nanoseconds>),
}

/// What the decision remembers.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    policy: Policy,
    last_work: Nanoseconds,
    steps: u32,
    /// When the transport was looked at last; nothing before the first step after a sleep, which ends with a look.
    last_look: Option<Nanoseconds>,
}

impl Pace {
    /// A loop that begins at `now`.
    pub const fn new(policy: Policy, now: Nanoseconds) -> Self {
        assert!(policy.steps_per_look > 0, "a loop that never looks at its transport hears nothing");
        Self { policy, last_work: now, steps: 0, last_look: Some(now) }
    }

    /// Decides, after a turn at `now` that worked or did not.
    pub fn next(&mut self, now: Nanoseconds, worked: bool, next_event: Option<Nanoseconds>, polled: bool) -> Next {
        if worked {
            self.last_work = now;
        }
        let due_in = next_event.map(|event| Nanoseconds(event.0.saturating_sub(now.0)));
        let spinning = now < self.last_work.plus(self.policy.spin);
        if worked || spinning || due_in.is_some_and(|time| time < self.policy.worth_sleeping) {
            self.steps += 1;
            let last_look = *self.last_look.get_or_insert(now);
            if self.steps < self.policy.steps_per_look && now < last_look.plus(self.policy.look_within) {
                return Next::Step;
            }
            (self.steps, self.last_look) = (0, Some(now));
            return Next::Look;
        }
        (self.steps, self.last_look) = (0, None);
        if !polled {
            return Next::Sleep(due_in);
        }
        let pause = self.pause(now);
        Next::Sleep(Some(due_in.map_or(pause, |time| time.min(pause))))
    }

    /// An eighth of the time without work so far: the delay it adds is then small beside the guest's own pause.
    fn pause(&self, now: Nanoseconds) -> Nanoseconds {
        let idle = now.0.saturating_sub(self.last_work.0);
        Nanoseconds(idle / 8).min(self.policy.pause_longest)
    }
}
