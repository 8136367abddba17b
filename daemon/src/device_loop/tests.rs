//! The loop on a clock that only it moves: what it costs when idle, and that it misses nothing.

use std::cell::Cell;
use std::rc::Rc;

use controller::Clock as _;

use super::*;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// What the device and the host of a test share.
#[derive(Default)]
struct World {
    now: Cell<u64>,
    /// When messages arrive, in ascending order; taken away by `service`.
    messages: Cell<Vec<u64>>,
    waits: Cell<u32>,
    sleeps: Cell<u32>,
    first_sleep: Cell<Option<u64>>,
    steps: Cell<u32>,
    steps_since_look: Cell<u32>,
    steps_since_look_max: Cell<u32>,
    gave_way: Cell<u32>,
}

impl World {
    fn first_message(&self) -> Option<u64> {
        let messages = self.messages.take();
        let first = messages.first().copied();
        self.messages.set(messages);
        first
    }
}

fn increment(counter: &Cell<u32>) -> u32 {
    counter.set(counter.get() + 1);
    counter.get()
}

struct FakeHost {
    world: Rc<World>,
    end: u64,
}

impl controller::Clock for FakeHost {
    fn now(&self) -> Nanoseconds {
        Nanoseconds(self.world.now.get())
    }
}

impl Host for FakeHost {
    fn wait(&mut self, _device: BorrowedFd<'_>, limit: Option<Nanoseconds>) -> io::Result<Woken> {
        let world = &self.world;
        increment(&world.waits);
        world.steps_since_look.set(0);
        let now = world.now.get();
        let wake = world.first_message().unwrap_or(u64::MAX).min(self.end).max(now);
        let until = limit.map_or(wake, |limit| wake.min(now + limit.0));
        if until > now {
            increment(&world.sleeps);
            world.first_sleep.set(world.first_sleep.get().or(Some(now)));
        }
        // The system call itself takes its time.
        world.now.set(until + 300);
        Ok(Woken { stop: until >= self.end, ready: world.first_message().is_some_and(|time| time <= until) })
    }

    fn give_way(&mut self) {
        increment(&self.world.gave_way);
    }

    fn pause(&mut self, time: Nanoseconds) {
        self.world.now.set(self.world.now.get() + time.0);
    }
}

/// A device that works at the times it was given, and in each turn until `busy_until`.
struct FakeDrive {
    world: Rc<World>,
    descriptor: UnixStream,
    polled: bool,
    busy_until: u64,
    /// How long a step with work takes, and a call of `arm`.
    step_takes: u64,
    arm_takes: u64,
    events: Vec<u64>,
    worked_at: Vec<u64>,
    /// Work that the guest leaves behind without ringing, just before the loop sleeps: this many times.
    unrung: u32,
    /// When the media quiesces, and how.
    quiesces: (u64, Result<(), String>),
}

impl Drive for FakeDrive {
    fn service(&mut self, _now: Nanoseconds) -> io::Result<bool> {
        let now = self.world.now.get();
        let mut messages = self.world.messages.take();
        let due = messages.iter().position(|time| *time <= now);
        if let Some(index) = due {
            messages.remove(index);
        }
        self.world.messages.set(messages);
        Ok(due.is_some())
    }

    fn step(&mut self, now: Nanoseconds, _clock: &dyn controller::Clock) -> StepResult {
        let world = &self.world;
        increment(&world.steps);
        let since = increment(&world.steps_since_look);
        world.steps_since_look_max.set(world.steps_since_look_max.get().max(since));
        let due = self.events.iter().filter(|event| **event <= now.0).count();
        self.events.drain(..due);
        if due > 0 {
            self.worked_at.push(now.0);
        }
        let worked = due > 0 || now.0 < self.busy_until;
        world.now.set(world.now.get() + if worked { self.step_takes } else { 100 });
        StepResult { worked, next_event: self.events.first().copied().map(Nanoseconds) }
    }

    fn arm(&mut self) -> bool {
        self.world.now.set(self.world.now.get() + self.arm_takes);
        let nothing = self.unrung == 0;
        self.unrung = self.unrung.saturating_sub(1);
        nothing
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn quiesce(&mut self, now: Nanoseconds) -> Option<Result<(), String>> {
        (now.0 >= self.quiesces.0).then(|| self.quiesces.1.clone())
    }

    fn must_be_polled(&self) -> bool {
        self.polled
    }
}

impl FakeDrive {
    /// When the loop first slept.
    fn first_sleep(&self) -> u64 {
        self.world.first_sleep.get().unwrap_or(u64::MAX)
    }
}

/// Runs a loop to `end`; `change` sets the scene.
fn play(processors: usize, end: u64, change: impl FnOnce(&mut FakeDrive)) -> FakeDrive {
    let world = Rc::new(World::default());
    let descriptor = UnixStream::pair().expect("a pair of sockets").0;
    let mut drive = FakeDrive {
        world: Rc::clone(&world),
        descriptor,
        polled: false,
        busy_until: 0,
        step_takes: 100,
        arm_takes: 0,
        events: Vec::new(),
        worked_at: Vec::new(),
        unrung: 0,
        quiesces: (0, Ok(())),
    };
    change(&mut drive);
    run(&mut drive, &mut FakeHost { world, end }, Policy::for_processors(processors)).expect("nothing fails here");
    drive
}

#[test]
fn an_idle_guest_with_trapped_doorbells_costs_nothing() {
    let drive = play(8, SECOND, |_| {});
    assert_eq!(drive.world.sleeps.get(), 1, "one sleep from the end of the first spin to the end");
}

#[test]
fn an_idle_guest_with_mapped_doorbells_costs_less_than_a_fiftieth() {
    let drive = play(8, SECOND, |drive| drive.polled = true);
    // At 25 microseconds for each, 800 pauses are 20 ms of processor time, a fiftieth of this second.
    assert!((250..400).contains(&drive.world.sleeps.get()), "{} pauses", drive.world.sleeps.get());
}

#[test]
fn after_work_the_loop_spins_for_a_moment_and_then_sleeps() {
    let drive = play(8, SECOND, |drive| drive.world.messages.set(vec![MILLISECOND]));
    assert_eq!(drive.world.sleeps.get(), 2, "to the message, and behind it");
    let steps = drive.world.steps.get();
    // Twice 200 microseconds of steps that take 100 ns, with a look after each sixteenth.
    assert!((2800..4400).contains(&steps), "{steps} steps");
}

#[test]
fn what_is_due_is_done_on_time_though_no_message_comes() {
    for polled in [false, true] {
        let due = [3 * MILLISECOND, 3 * MILLISECOND + 2 * MICROSECOND, 90 * MILLISECOND];
        let drive = play(8, SECOND, |drive| {
            drive.polled = polled;
            drive.events = due.to_vec();
        });
        assert_eq!(drive.worked_at.len(), 3);
        for (due, done) in due.iter().zip(&drive.worked_at) {
            assert!((*due..*due + MICROSECOND).contains(done), "due at {due}, done at {done}");
        }
    }
}

#[test]
fn endless_work_does_not_shut_out_the_transport_or_the_order_to_stop() {
    let drive = play(8, 10 * MILLISECOND, |drive| {
        drive.busy_until = u64::MAX;
        drive.world.messages.set(vec![MILLISECOND; 4]);
    });
    assert_eq!(drive.world.first_message(), None, "all messages were handled");
    assert_eq!(drive.world.steps_since_look_max.get(), 16);
    assert_eq!(drive.world.sleeps.get(), 0);
    assert_eq!(drive.world.gave_way.get(), 0, "a loop with work gives nothing away");
}

#[test]
fn however_long_steps_are_the_transport_is_looked_at_within_two_milliseconds() {
    let drive = play(8, 100 * MILLISECOND, |drive| {
        drive.busy_until = u64::MAX;
        drive.step_takes = 700 * MICROSECOND;
    });
    assert_eq!(drive.world.steps_since_look_max.get(), 2);
    let (waits, steps) = (drive.world.waits.get(), drive.world.steps.get());
    assert!(waits * 2 >= steps, "{waits} looks in {steps} steps");
}

#[test]
fn work_that_came_without_a_ring_just_before_the_sleep_is_not_slept_over() {
    let drive = play(8, SECOND, |drive| drive.unrung = 3);
    assert_eq!(drive.unrung, 0);
    assert_eq!(drive.world.sleeps.get(), 1, "the sleep came after the last of it");
}

#[test]
fn with_few_processors_the_loop_gives_way_while_it_spins() {
    let drive = play(2, SECOND, |drive| drive.world.messages.set(vec![MILLISECOND]));
    // Twice 200 microseconds of steps that take 100 ns, with a look after each sixteenth.
    assert!((150..300).contains(&drive.world.gave_way.get()), "gave way {} times", drive.world.gave_way.get());
    assert_eq!(drive.world.steps_since_look_max.get(), 16);
}

#[test]
fn pauses_grow_with_the_time_without_work_and_work_makes_them_short_again() {
    let mut pace = Pace::new(Policy::for_processors(8), Nanoseconds(0));
    let idle = [200, 400, 8_000, 32_000, 1_000_000];
    let pause_after = |pace: &mut Pace, time: u64| {
        let Next::Sleep(Some(pause)) = pace.next(Nanoseconds(time), false, None, true) else {
            panic!("a pause is due")
        };
        pause.0 / MICROSECOND
    };
    let pauses: Vec<u64> = idle.iter().map(|time| pause_after(&mut pace, time * MICROSECOND)).collect();
    assert_eq!(pauses, [25, 50, 1_000, 4_000, 4_000]);
    assert_eq!(pace.next(Nanoseconds(2 * SECOND), true, None, true), Next::Step);
    assert_eq!(pause_after(&mut pace, 2 * SECOND + 200 * MICROSECOND), 25);
}

#[test]
fn after_a_step_that_took_longer_than_the_loop_spins_it_spins_all_the_same() {
    for polled in [false, true] {
        let drive = play(8, 10 * MILLISECOND, |drive| {
            drive.polled = polled;
            // Work comes 50 microseconds after each step that worked, as from a host that keeps its queue full.
            drive.events = (0..10).map(|n| n * 350 * MICROSECOND).collect();
            drive.step_takes = 300 * MICROSECOND;
        });
        assert_eq!(drive.worked_at.len(), 10);
        let late = drive.worked_at.iter().zip(0..).any(|(at, n)| *at > n * 350 * MICROSECOND + MICROSECOND);
        assert!(!late, "work was found late: {:?}", drive.worked_at);
        let until_last = drive.worked_at.last().expect("ten") + drive.step_takes;
        assert!(drive.first_sleep() > until_last, "the loop slept between two steps with work");
    }
}

#[test]
fn what_a_step_or_arming_took_is_not_slept_once_more() {
    let due = 3 * MILLISECOND;
    let drive = play(8, SECOND, |drive| {
        drive.events = vec![0, due];
        drive.step_takes = 400 * MICROSECOND;
        drive.arm_takes = 700 * MICROSECOND;
    });
    assert_eq!(drive.worked_at.len(), 2);
    assert!((due..due + 2 * MICROSECOND).contains(&drive.worked_at[1]), "done at {}", drive.worked_at[1]);
}

#[test]
fn the_real_host_hears_its_device_and_the_order_to_stop() {
    let (stop, stopper) = UnixStream::pair().expect("a pair of sockets");
    let (device, peer) = UnixStream::pair().expect("a pair of sockets");
    let mut host = System::new(Clock::new(), stop);
    let before = host.now();
    assert_eq!(host.wait(device.as_fd(), Some(Nanoseconds(MILLISECOND))).expect("a wait"), Woken::default());
    assert!(host.now() >= before.plus(Nanoseconds(MILLISECOND)));
    io::Write::write_all(&mut &peer, b"x").expect("a byte");
    assert_eq!(host.wait(device.as_fd(), None).expect("a wait"), Woken { stop: false, ready: true });
    drop(stopper);
    assert_eq!(host.wait(device.as_fd(), None).expect("a wait"), Woken { stop: true, ready: true });
}

#[test]
fn an_end_waits_for_the_media_to_rest_and_not_for_ever() {
    let end = |quiesces: (u64, Result<(), String>)| {
        let mut drive = play(8, MILLISECOND, |drive| drive.quiesces = quiesces);
        let world = Rc::clone(&drive.world);
        let ended = quiesce(&mut drive, &mut FakeHost { world: Rc::clone(&world), end: MILLISECOND });
        (ended.map_err(|error| error.to_string()), world.now.get())
    };
    let (ended, now) = end((5 * SECOND, Ok(())));
    assert_eq!(ended, Ok(()));
    assert!((5 * SECOND..5 * SECOND + 2 * MILLISECOND).contains(&now));
    assert_eq!(end((0, Err("full".to_owned()))).0, Err("full".to_owned()));
    assert_eq!(end((u64::MAX, Ok(()))).0, Err("the media did not quiesce in time".to_owned()));
}
