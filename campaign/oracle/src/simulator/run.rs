//! Runs a scenario: pass by pass, and after each power loss the verdict.

use std::any::Any;
use std::fmt::Write as _;
use std::hash::Hash as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use controller::config::Config;
use controller::power::PowerReport;
use controller::record::first_note;
use media::Nanoseconds;
use media::power::{Arming, Step};
use media::unit::index;

use super::drive::SharedDrive;
use super::host::{MEMORY, Remembered, Session, Stop};
use super::world::{Path, World};
use super::{Counts, Failure, Ground, Operation, Pass, Scenario};
use crate::checker::{Image, judge, judge_damage, unchanged, unsafe_shutdowns};
use crate::history::{History, Namespace, Verb};
use crate::parameters::Blocks;
use crate::stamp::Found;
use crate::verdict::{Rule, Violation};

/// A drive between two passes: it has power, controllers and their hosts.
struct Bench<'a> {
    scenario: &'a Scenario,
    drive: SharedDrive,
    image: Image,
    unsafe_shutdowns: u64,
    counts: Counts,
}

/// Runs a scenario to its end or to the first rule that is broken. The same scenario does the same.
///
/// # Errors
/// The rule, and the pass in which it was broken.
///
/// # Panics
/// If the scenario's drive cannot be.
pub fn run(scenario: &Scenario) -> Result<Counts, Box<Failure>> {
    let at = |pass: usize| move |violation: Violation| Box::new(Failure { pass, violation });
    let config = Config::check(&scenario.device, &scenario.namespaces).expect("a scenario has possible namespaces");
    let mut made = scenario.drive.clone();
    if made.geometry.volumes_max != 0 {
        made.note = first_note(&config.namespaces);
    }
    let drive = SharedDrive::create(&made, scenario.ground).expect("a scenario has a possible drive");
    let world = World::new(config, Box::new(drive.clone()), scenario.controllers, index(MEMORY.end));
    let (mut bench, mut session) = Bench::new(scenario, drive, Path::all(world)).map_err(at(0))?;
    for (number, pass) in scenario.passes.iter().enumerate() {
        session = bench.pass(session, number, pass).map_err(at(number))?;
    }
    Ok(bench.counts)
}

/// Runs a scenario as [`run`] does; an assertion of the drive that fails is a rule that is broken too.
///
/// # Errors
/// The rule, and the pass in which it was broken; an assertion counts for the last pass.
pub fn attempt(scenario: &Scenario) -> Result<Counts, Box<Failure>> {
    // Nothing of what a drive leaves half done is looked at again.
    catch_unwind(AssertUnwindSafe(|| run(scenario))).unwrap_or_else(|panic| {
        let violation = Violation { rule: Rule::Stopped, ..recovery(message(&*panic)) };
        Err(Box::new(Failure { pass: scenario.passes.len() - 1, violation }))
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "no message".to_owned())
}

fn failed(stop: Stop, doing: &str) -> Violation {
    match stop {
        Stop::Broken(violation) => violation,
        Stop::PowerLost => recovery(format!("power went where nothing cut it, {doing}")),
    }
}

fn recovery(found: String) -> Violation {
    Violation { rule: Rule::Recovery, commands: Vec::new(), nsid: 0, blocks: Vec::new(), found }
}

impl<'a> Bench<'a> {
    fn new(scenario: &'a Scenario, drive: SharedDrive, paths: Vec<Path>) -> Result<(Self, Session), Violation> {
        let geometry = &scenario.drive.geometry;
        let unit_bytes = u64::from(geometry.unit_bytes);
        let units = if geometry.volumes_max == 0 { 0 } else { geometry.user_bytes / unit_bytes };
        let session = Session::first(paths, scenario.device.max_ioqpairs, (units, unit_bytes), &scenario.names);
        let session = session.map_err(|stop| failed(stop, "as a new drive was brought up"))?;
        let empty = |(name, (_, _, blocks))| (name, vec![Found::Zeroes; index(blocks)]);
        let image = session.namespaces().into_iter().map(empty).collect();
        let bench = Self { scenario, drive, image, unsafe_shutdowns: 0, counts: Counts::default() };
        Ok((bench, session))
    }

    /// From power to its loss, back, and to the verdict.
    fn pass(&mut self, mut session: Session, number: usize, pass: &Pass) -> Result<Session, Violation> {
        let cache_enabled = session.cache_enabled().map_err(|stop| failed(stop, "as the pass began"))?;
        let mut history = self.begin(&session, number, cache_enabled);
        if let Some(arming) = pass.arming {
            session.world(|world| world.subsystem.crash_arm(arming, pass.cut.clone()));
        }
        let ended = operate(&mut session, &mut history, &self.drive, &pass.operations);
        let ended = ended.and_then(|()| self.end_in_order(&mut session, &mut history, pass));
        if let Err(Stop::Broken(violation)) = ended {
            return Err(violation);
        }
        // While the host waited for something else, answers may have come.
        if let Err(Stop::Broken(violation)) = session.reap(&mut history) {
            return Err(violation);
        }
        self.counts.commands += history.commands.len() as u64;
        self.counts.outcomes.add(&session.outcomes);
        session.seen.0.hash(&mut self.counts.fingerprint);
        let report = session.world(|world| world.cut_power(&pass.cut));
        self.note(pass, &report);
        let mut session = self.restore(session.into_parts(), pass, &pass.recoveries)?;
        session.settle(&mut history).map_err(|stop| failed(stop, "as the namespaces were looked at"))?;
        self.image = self.look_through_damage(&mut session, &history)?;
        self.image.hash(&mut self.counts.fingerprint);
        judge(&history, &self.image)?;
        self.counts.images += 1;
        self.count(&mut session, End::of(&history), pass.recoveries.len() as u64)?;
        if pass.look_again { self.look_again(session, pass) } else { Ok(session) }
    }

    fn begin(&self, session: &Session, number: usize, cache_enabled: bool) -> History {
        let mut history = History::new(u32::try_from(number).expect("few passes") + 1, Vec::new(), cache_enabled);
        for (name, (parameters, cached, _)) in session.namespaces() {
            history.add(name, Namespace { parameters, cached, initial: self.image[&name].clone() });
        }
        // Power came, or has just come back.
        history.normal_disabled = self.scenario.device.atomic_dn;
        history
    }

    /// Power comes back, and goes again at each arming that is reached.
    fn restore(
        &mut self,
        (paths, remembered): (Vec<Path>, Remembered),
        pass: &Pass,
        armings: &[Arming],
    ) -> Result<Session, Violation> {
        let mut armings = armings.iter().copied().map(Some).chain([None]);
        let mut disk_seed = pass.disk_seed;
        loop {
            self.drive.set_disk_seed(disk_seed);
            let arming = armings.next().flatten();
            let restored = paths[0].world().restore_power(arming);
            if let Some(error) = self.drive.unrecoverable() {
                return Err(recovery(error));
            }
            match restored {
                Ok(()) => {
                    self.counts.unmet += u64::from(pass.armed_only && arming.is_some());
                    break;
                }
                Err(report) => self.note(pass, &report),
            }
            disk_seed = disk_seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        }
        let session = Session::start(paths, self.scenario.device.max_ioqpairs, remembered);
        session.map_err(|stop| failed(stop, "as the controller came back"))
    }

    /// Shuts down where power was to go at a step and has not gone, unless it goes on the way.
    fn end_in_order(&mut self, session: &mut Session, history: &mut History, pass: &Pass) -> Result<(), Stop> {
        if !pass.armed_only || pass.arming.is_none() || session.world(|world| world.power_lost()) {
            return Ok(());
        }
        if End::of(history) == End::Unsafe {
            for queue in session.all_queues() {
                session.ring(history, queue)?;
            }
            session.finish(history)?;
            for controller in 0..session.controllers() {
                session.shutdown(history, controller, false)?;
            }
        }
        self.counts.unmet += u64::from(!session.world(|world| world.power_lost()));
        Ok(())
    }

    /// Counts a power loss.
    fn note(&mut self, pass: &Pass, report: &PowerReport) {
        if report.step.is_some() || !pass.armed_only {
            self.counts.cuts += 1;
        }
        if let Some(step) = report.step.and_then(Step::named) {
            self.counts.at.count(step);
        }
        write!(self.counts.fingerprint, "{report:?}").expect("a number takes everything");
    }

    fn look(&self, session: &mut Session) -> Result<Image, Violation> {
        session.read_everything().map_err(|stop| failed(stop, "as everything was read"))
    }

    /// What is there after a loss, once it is known which blocks cannot be read: those are repaired, so that what they hold is seen.
    fn look_through_damage(&self, session: &mut Session, history: &History) -> Result<Image, Violation> {
        let image = self.look(session)?;
        let volumes = session.volumes();
        let damaged = || history.commands.iter().filter(|command| command.verb == Verb::Damage);
        if damaged().next().is_none() {
            return Ok(image);
        }
        judge_damage(history, &image)?;
        for damage in damaged() {
            if let Some(volume) = volumes.get(&damage.nsid) {
                self.drive.repair(*volume, damage.blocks);
            }
        }
        self.look(session)
    }

    /// A loss during recovery may have been counted, or have come before anything could be. A disk that forgets may have forgotten the
    /// count, which nobody asked it to sync.
    fn count(&mut self, session: &mut Session, end: End, more: u64) -> Result<(), Violation> {
        let now = session.unsafe_shutdowns().map_err(|stop| failed(stop, "as the SMART log was read"))?;
        let before = self.unsafe_shutdowns;
        let least = before + u64::from(end == End::Unsafe);
        let most = before + u64::from(end != End::Orderly) + more;
        let forgotten = self.scenario.ground != Ground::Memory && now <= most;
        if !forgotten && !(least..=most).contains(&now) {
            unsafe_shutdowns(before, now, end == End::Orderly)?;
        }
        self.unsafe_shutdowns = now;
        Ok(())
    }

    /// Step 5: the same is read again, and again after an orderly end.
    fn look_again(&mut self, mut session: Session, pass: &Pass) -> Result<Session, Violation> {
        unchanged(&self.image, &self.look(&mut session)?, "read again")?;
        // Nothing of it is judged.
        let mut history = History::default();
        session.shutdown(&mut history, 0, false).map_err(|stop| failed(stop, "as the drive was shut down"))?;
        session.world(|world| world.cut_power(&pass.cut));
        let mut session = self.restore(session.into_parts(), pass, &[])?;
        session.settle(&mut history).map_err(|stop| failed(stop, "as the namespaces were looked at again"))?;
        unchanged(&self.image, &self.look(&mut session)?, "read after an orderly end")?;
        self.count(&mut session, End::Orderly, 0)?;
        Ok(session)
    }
}

/// How a pass ended, as the host knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a complete shutdown.
    Orderly,
    /// While one was going on.
    Between,
    /// Without one.
    Unsafe,
}

impl End {
    fn of(history: &History) -> Self {
        match history.commands.last() {
            Some(last) if last.verb == Verb::Shutdown && last.ended.is_some() => Self::Orderly,
            Some(last) if last.verb == Verb::Shutdown => Self::Between,
            _ => Self::Unsafe,
        }
    }
}

/// Does what a pass says.
fn operate(
    session: &mut Session,
    history: &mut History,
    drive: &SharedDrive,
    operations: &[Operation],
) -> Result<(), Stop> {
    for operation in operations {
        match *operation {
            Operation::Queue { queue, verb, nsid, blocks, force } => {
                session.queue(history, queue, (verb, nsid, blocks, force))?;
            }
            Operation::Compare { queue, nsid, blocks, force, guess, write } => {
                session.queue_compare(history, queue, (nsid, blocks, force), (guess, write))?;
            }
            Operation::Ring { queue } => session.ring(history, queue)?,
            Operation::Run { steps } => (0..steps).try_for_each(|_| session.step(history))?,
            Operation::RunOne { controller, steps } => {
                (0..steps).try_for_each(|_| session.step_one(history, controller))?;
            }
            Operation::Finish => session.finish(history)?,
            Operation::Wait { nanoseconds } => session.world(|world| world.wait(Nanoseconds(nanoseconds))),
            Operation::SetCache { controller, enabled } => session.set_cache(history, controller, enabled)?,
            Operation::DisableNormal { controller, disabled } => {
                session.disable_normal(history, controller, disabled)?;
            }
            Operation::Administer { controller, what } => session.manage(history, controller, what)?,
            Operation::Reserve { queue, nsid, what, wrong } => session.reserve(history, queue, (nsid, what, wrong))?,
            Operation::Rename { controller, name } => session.rename(controller, name),
            Operation::AskProgress { controller } => session.ask_progress(history, controller)?,
            Operation::Damage { nsid, blocks } => damage(session, history, drive, nsid, blocks)?,
            Operation::Reset { controller } => reset(session, history, controller)?,
            Operation::Shutdown { controller, abrupt } => session.shutdown(history, controller, abrupt)?,
            Operation::AskShutdown { controller } => session.ask_shutdown(history, controller),
            Operation::FailProgram { nth } => drive.fail_program(nth),
            Operation::FailErase { nth } => drive.fail_erase(nth),
        }
    }
    Ok(())
}

/// Blocks of a namespace that is certainly there go bad.
fn damage(
    session: &mut Session,
    history: &mut History,
    drive: &SharedDrive,
    nsid: u32,
    blocks: Blocks,
) -> Result<(), Stop> {
    let Some((name, blocks, volume)) = session.damageable(history, nsid, blocks)? else {
        history.skip();
        return Ok(());
    };
    drive.damage(volume, blocks);
    let damage = history.submit(Verb::Damage, name, blocks, false);
    history.end(damage, true);
    Ok(())
}

/// A reset brings the switches back, at some moment.
fn reset(session: &mut Session, history: &mut History, controller: u16) -> Result<(), Stop> {
    session.finish_managing(history, Some(controller))?;
    let default = Verb::DisableNormal(history.normal_disabled);
    let [cache, normal] = [Verb::SetCache(true), default].map(|verb| {
        let id = history.queue_at(controller, verb, 0, Blocks::new(0, 0), false);
        history.ring(id);
        id
    });
    session.bring_up(controller)?;
    let enabled = session.cache_enabled()?;
    history.end(cache, enabled);
    history.end(normal, true);
    Ok(())
}
