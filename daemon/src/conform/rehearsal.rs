//! Every scenario, with a drive and a driver in this process: a good driver passes, and one with a fault of its own is found out by the kind
//! of judgement that the fault calls for.

mod world;

use std::collections::BTreeSet;

use machine::MEMORY;
use nvme_host::admin::{IdentifyArguments, LogArguments};
use nvme_host::io::{block_command, nvm_command};
use nvme_host::{Host, HostError, Port, Setup, Shutdown};
use nvme_spec::feature::FeatureId;
use nvme_spec::identify::Cns;
use nvme_spec::log::LogId;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::register::ControllerStatus;
use nvme_spec::{Command, Completion, Status};
use regex_lite::Regex;
use serde_json::json;

use super::bench::{Bench, Plan};
use super::console::Silence;
use super::place::Place;
use super::scenario::{self, Act, Case, Timeouts};
use super::subject::Subject;
use super::told::{Guest, Orders};
use super::verdict::{Evidence, Verdict, judge};
use world::Shared;

const TIMEOUTS: Timeouts = Timeouts { io: 10, admin: 10, boot: 60, slowness: 1 };
const SECOND: u64 = 1_000_000_000;
/// A wait for an admin command: a few steps, and then ticks.
const PATIENCE: u32 = 4000;
const TRIES: u32 = 5;

/// What is wrong with a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Good,
    /// It writes one piece a block too far.
    Misplaces,
    /// It says that it wrote a piece, and did not.
    Loses,
    /// It neither aborts, nor resets, nor tries again.
    GivesUp,
    /// It reads from a namespace that does not exist.
    Trespasses,
    /// It says that it flushed, and did not.
    NeverFlushes,
    /// It writes in halves what it was given as one.
    Splits,
    /// It hears of one event, and never asks again.
    Deaf,
    /// Its system complains.
    Complains,
    /// It never answers.
    Sleeps,
}

/// A driver, and the system around it.
struct Driver {
    world: Shared,
    host: Host<Shared>,
    place: Place,
    way: Way,
    vector: Option<u16>,
    /// Bytes that a command may move.
    most: u64,
    /// Bytes of metadata beside each block.
    metadata_bytes: usize,
    /// What identifies the namespace.
    descriptors: Option<Vec<u8>>,
    /// The namespace can be used.
    usable: bool,
    /// The Asynchronous Event Request that waits.
    event: Option<u16>,
    /// The events that it was told.
    heard: Vec<u32>,
    /// Registers read as all ones.
    gone: bool,
    /// Pieces that were copied.
    pieces: u64,
    console: String,
}

impl Driver {
    fn new(world: &Shared, place: Place, case: &Case, way: Way) -> Self {
        let vector = if case.device.contains("msix_qsize=0") || case.device.contains("msix_qsize=1") { 0 } else { 1 };
        Self {
            host: host(world),
            world: world.clone(),
            place,
            way,
            vector: Some(vector),
            most: 0,
            metadata_bytes: 0,
            descriptors: None,
            usable: false,
            event: None,
            heard: Vec::new(),
            gone: false,
            pieces: 0,
            console: String::new(),
        }
    }

    fn nsid(&self) -> u32 {
        u32::try_from(self.place.nsid).expect("an identifier")
    }

    /// Brings the controller up, if it is there.
    fn up(&mut self) -> bool {
        for _ in 0..TRIES {
            self.event = None;
            self.gone = self.is_gone();
            if self.gone {
                return false;
            }
            if self.brought_up().is_ok() {
                return true;
            }
        }
        false
    }

    fn is_gone(&mut self) -> bool {
        self.host.port_mut().register_read_32(nvme_spec::register::CSTS) == u32::MAX
    }

    fn brought_up(&mut self) -> Result<(), HostError> {
        self.host.start()?;
        let mdts = self.host.identify_controller()?.mdts;
        self.most = 4096_u64 << if mdts == 0 { 5 } else { mdts.min(9) };
        let namespace = self.host.identify_namespace(self.nsid())?;
        let format = namespace.format();
        self.metadata_bytes = usize::from(format.ms.get());
        let can_be = namespace.nsze.get() > 0 && (9..=16).contains(&format.lbads);
        let descriptors = IdentifyArguments { nsid: self.nsid(), ..IdentifyArguments::default() };
        let descriptors = self.host.identify(Cns::NAMESPACE_DESCRIPTORS, descriptors)?;
        // A namespace that is suddenly another one is left alone until somebody looks for it.
        self.usable = can_be && self.descriptors.as_ref().is_none_or(|known| *known == descriptors);
        self.descriptors = Some(descriptors);
        self.host.set_feature(FeatureId::NUMBER_OF_QUEUES, 0)?;
        self.event = Some(self.host.async_event_request()?);
        let entries = (u32::from(self.host.capabilities().mqes_z()) + 1).min(64);
        self.host.create_queue_pair(1, entries, self.vector)
    }

    /// What the controller has to tell.
    fn hear(&mut self) -> Result<(), HostError> {
        let Some(told) = self.event.and_then(|cid| self.host.poll(0, cid)) else { return Ok(()) };
        self.event = None;
        if self.way == Way::Deaf {
            return Ok(());
        }
        if told.status().is_success() {
            self.heard.push(told.dw0.get());
            let log = LogId(u8::try_from(told.dw0.get() >> 16 & 0xff).expect("a byte"));
            self.host.get_log(log, 512, LogArguments::default())?;
            self.host.active_namespaces(0)?;
        }
        self.event = Some(self.host.async_event_request()?);
        Ok(())
    }

    /// A command, as often as it takes; whether it was carried out.
    fn io(&mut self, command: Command, data: &mut [u8]) -> bool {
        for _ in 0..if self.way == Way::GivesUp { 1 } else { TRIES } {
            if self.gone || !self.usable {
                return false;
            }
            match self.once(command, data) {
                Ok(Some(status)) if status.is_success() => return true,
                Ok(Some(status)) if status.do_not_retry() => return false,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => {
                    if self.way == Way::GivesUp || !self.up() {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// A command, once. Nothing where only a reset helps.
    fn once(&mut self, command: Command, data: &mut [u8]) -> Result<Option<Status>, HostError> {
        let buffer = self.host.allocate(data.len().max(1))?;
        self.host.write_memory(buffer, data);
        let mapping = self.host.map(buffer, data.len().max(1))?;
        let mut command = if data.is_empty() { command } else { mapping.on(command) };
        let beside = data.len() / usize::try_from(self.place.block_bytes).expect("small") * self.metadata_bytes;
        let metadata = self.host.allocate(beside.max(1))?;
        command.mptr = metadata.into();
        let cid = self.host.submit(1, command)?;
        let mut ended = self.ended(cid)?;
        if ended.is_none() && self.way != Way::GivesUp {
            let status = self.host.status();
            if status.contains(ControllerStatus::FATAL) || !status.contains(ControllerStatus::READY) {
                return Ok(None);
            }
            self.host.abort(1, cid)?;
            ended = self.ended(cid)?;
        }
        let Some(ended) = ended else { return Ok(None) };
        data.copy_from_slice(&self.host.read_memory(buffer, data.len()));
        self.host.unmap(mapping);
        self.host.release(buffer);
        self.host.release(metadata);
        Ok(Some(ended.status()))
    }

    fn ended(&mut self, cid: u16) -> Result<Option<Completion>, HostError> {
        let end = self.world.now() + TIMEOUTS.io * SECOND;
        loop {
            if let Some(completion) = self.host.poll(1, cid) {
                return Ok(Some(completion));
            }
            self.hear()?;
            if self.world.now() > end {
                return Ok(None);
            }
            self.world.relax();
        }
    }

    fn flush(&mut self) -> bool {
        self.way == Way::NeverFlushes || self.io(nvm_command(NvmOpcode::FLUSH, self.nsid()), &mut [])
    }

    fn blocks(&mut self, opcode: NvmOpcode, lba: u64, data: &mut [u8]) -> bool {
        let blocks = u32::try_from(data.len() as u64 / self.place.block_bytes).expect("few");
        self.io(block_command(opcode, self.nsid(), lba, blocks), data)
    }

    fn copy(&mut self, bytes: u64, block: u64) -> bool {
        let step = block.min(self.most).max(self.place.block_bytes);
        let mut data = vec![0; usize::try_from(step).expect("small")];
        for offset in (0..bytes).step_by(data.len()) {
            let [from, mut to] = [self.place.from, self.place.to].map(|lba| lba + offset / self.place.block_bytes);
            if !self.blocks(NvmOpcode::READ, from, &mut data) {
                return false;
            }
            self.pieces += 1;
            let third = self.pieces % 4 == 3;
            match self.way {
                Way::Misplaces if third => to += 1,
                Way::Loses if third => continue,
                _ => {}
            }
            let halves = if self.way == Way::Splits && step > self.place.block_bytes { 2 } else { 1 };
            let piece = data.len() / halves;
            let blocks = piece as u64 / self.place.block_bytes;
            for (lba, piece) in (to..).step_by(usize::try_from(blocks).expect("few")).zip(data.chunks_mut(piece)) {
                if !self.blocks(NvmOpcode::WRITE, lba, piece) {
                    return false;
                }
            }
        }
        self.flush()
    }

    fn load(&mut self, count: u64) -> bool {
        let from = self.place.to + self.place.blocks();
        (0..count).all(|number| {
            let mut data = vec![u8::try_from(number % 251).expect("a byte"); 4096];
            let lba = from + number * 7 % 64 * 8;
            let written = data.clone();
            self.blocks(NvmOpcode::WRITE, lba, &mut data) && {
                data.fill(0);
                self.blocks(NvmOpcode::READ, lba, &mut data) && data == written
            }
        })
    }

    /// Another kernel has the controller, which knows nothing of this one.
    fn succeeded(&mut self) -> bool {
        self.host = host(&self.world);
        (self.event, self.descriptors) = (None, None);
        self.up()
    }

    fn attach(&mut self) -> bool {
        if self.way == Way::Trespasses {
            let mut data = vec![0; usize::try_from(self.place.block_bytes).expect("small")];
            self.io(block_command(NvmOpcode::READ, 0x7fff, 0, 1), &mut data);
        }
        let mut data = vec![0; usize::try_from(self.place.block_bytes).expect("small")];
        self.blocks(NvmOpcode::READ, self.place.from, &mut data)
    }
}

impl Guest for Driver {
    fn console(&self) -> String {
        self.console.clone()
    }

    fn come_up(&mut self, _: &mut dyn FnMut() -> bool) -> anyhow::Result<()> {
        assert!(self.up(), "every driver here comes up");
        Ok(())
    }

    fn order(&mut self, order: &str, _: &mut dyn FnMut() -> bool) -> anyhow::Result<bool> {
        match self.way {
            Way::Sleeps => return Err(Silence::of("guest: done").into()),
            Way::Complains => self.console.push_str("Oops: 0002 [#1]\n"),
            _ => {}
        }
        let number = |text: &str| text.parse::<u64>().expect("a number");
        Ok(match order.split(' ').collect::<Vec<_>>()[..] {
            ["attach"] => self.attach(),
            ["copy", bytes, block] => self.copy(number(bytes), number(block)),
            ["write", count] => (0..number(count)).all(|_| self.load(1) && self.flush()),
            ["load", _] => self.load(500) && self.flush(),
            ["trim"] => {
                let lba = self.place.to + self.place.blocks();
                self.host.deallocate(self.nsid(), &[(lba, 64)]).is_ok_and(Status::is_success)
            }
            ["resets", count] => (0..number(count)).all(|_| self.load(3) && self.up()),
            ["rescan"] => {
                (self.gone, self.descriptors) = (false, None);
                self.up() && self.attach()
            }
            ["heard", event, times] => {
                let event = u32::from_str_radix(event.trim_start_matches("0x"), 16).expect("a number");
                self.until(1, &mut |_| false, &mut || true);
                self.heard.iter().filter(|told| **told == event).count() as u64 == number(times)
            }
            ["logs"] => [LogId::ERROR, LogId::SMART, LogId::CHANGED_NAMESPACES]
                .into_iter()
                .all(|log| self.host.get_log(log, 512, LogArguments::default()).is_ok()),
            ["kexec"] => self.load(3) && self.host.shutdown(Shutdown::Normal).is_ok() && self.succeeded(),
            ["crash"] => {
                let buffer = self.host.allocate(4096).expect("memory");
                let mapping = self.host.map(buffer, 4096).expect("memory");
                let read = block_command(NvmOpcode::READ, self.nsid(), 0, 1);
                let sent = (0..8).all(|_| self.host.submit(1, mapping.on(read)).is_ok());
                sent && self.succeeded()
            }
            ["off"] => {
                // Whether they can be deleted any more does not matter.
                let _ = self.host.delete_submission_queue(1);
                self.host.shutdown(Shutdown::Normal).is_ok() || self.is_gone()
            }
            _ => panic!("nobody taught this driver to {order}"),
        })
    }

    fn until(&mut self, seconds: u64, _: &mut dyn FnMut(&str) -> bool, _: &mut dyn FnMut() -> bool) {
        let end = self.world.now() + seconds * SECOND;
        while self.world.now() < end {
            if !self.gone {
                self.hear().expect("an event can be asked for");
            }
            self.world.relax();
        }
    }
}

fn host(world: &Shared) -> Host<Shared> {
    Host::attach(world.clone(), Setup { relax_max: PATIENCE, ..Setup::new(MEMORY) })
}

fn plan() -> Plan {
    Plan {
        subject: Subject::Linux(guest_harness::Kernel::Newest),
        timeouts: TIMEOUTS,
        allowed: BTreeSet::new(),
        expect: Vec::new(),
        forbid: vec![Regex::new("segfault").expect("an expression")],
        profile: None,
    }
}

/// A case with such a driver.
fn verdict(case: &Case, way: Way) -> Verdict {
    let plan = plan();
    let mut world = Shared::new(case);
    let namespaces = world.execute("query-namespaces", &json!({})).expect("namespaces");
    let mut bench = Bench::new(&namespaces, Place::new).expect("a place");
    bench.fill(&[], &mut world).expect("filled");
    bench.bear(case, &mut world).expect("possible faults");
    let mut driver = Driver::new(&world, bench.place, case, way);
    let mut evidence = Evidence::default();
    let ended = plan.live(case, true, (&mut driver, &mut world), &mut bench, &mut evidence, &mut || true);
    ended.unwrap_or_else(|error| panic!("{} {}: {error:#}", case.number(), case.name));
    judge(&evidence, &plan.allowed)
}

fn each(judge: impl FnMut(&Case) -> Option<String>) {
    let wrong: Vec<String> = scenario::all(TIMEOUTS, 1).iter().filter_map(judge).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is said of a case whose verdict is not what it should be.
fn complaint(case: &Case, way: Way, verdict: &Verdict) -> String {
    format!("{} ({}), {way:?}: {} {:?}", case.number(), case.name, verdict.word(), verdict.reason())
}

/// Each case in which this can be seen ends with a failure of this kind.
fn is_found_out(way: Way, kinds: &[&str], seen: impl Fn(&Case) -> bool) {
    let mut tried = 0;
    each(|case| {
        if !seen(case) {
            return None;
        }
        tried += 1;
        let verdict = verdict(case, way);
        match &verdict {
            Verdict::Fail(_, all) if all.iter().any(|why| kinds.iter().any(|kind| why.starts_with(kind))) => None,
            _ => Some(complaint(case, way, &verdict)),
        }
    });
    assert!(tried > 0, "no case could show it");
}

fn compares(case: &Case) -> bool {
    case.acts.contains(&Act::Compare)
}

#[test]
fn a_profile_that_contradicts_a_scenario_is_told_before_anything_is_started() {
    let plan = Plan { profile: Some("serial=X,mqes=15".to_owned()), ..plan() };
    let cases = scenario::all(TIMEOUTS, 1);
    let case = cases.iter().find(|case| case.device == "mqes=1").expect("a small queue");
    let ended = plan.run(case, &mut || true);
    assert_eq!(ended.verdict, Verdict::Skipped("it is about mqes=1, and the profile says mqes=15".to_owned()));
}

#[test]
fn a_good_driver_passes_every_scenario() {
    each(|case| {
        let verdict = verdict(case, Way::Good);
        match verdict {
            Verdict::Pass | Verdict::Warn(_) => None,
            _ => Some(complaint(case, Way::Good, &verdict)),
        }
    });
}

#[test]
fn data_in_the_wrong_place_are_found_in_every_scenario_that_copies() {
    is_found_out(Way::Misplaces, &["data: "], compares);
}

#[test]
fn data_that_were_never_written_are_found_in_every_scenario_that_copies() {
    is_found_out(Way::Loses, &["data: "], compares);
}

#[test]
fn a_broken_rule_a_line_of_the_console_and_silence_fail_every_scenario() {
    is_found_out(Way::Trespasses, &["H39 "], |_| true);
    is_found_out(Way::Complains, &["console: "], |_| true);
    is_found_out(Way::Sleeps, &["time: "], |_| true);
}

/// Whoever does nothing about a command that is lost makes no progress.
#[test]
fn a_driver_that_gives_up_is_found_where_commands_get_lost() {
    let lost = |case: &Case| matches!(case.id, "C10" | "C11" | "C16" | "C17") || case.name.contains("old phase");
    is_found_out(Way::GivesUp, &["progress: "], lost);
}

/// What was acknowledged and synced is lost with power, if nobody told the drive to keep it.
#[test]
fn a_driver_that_never_flushes_is_found_where_power_goes() {
    is_found_out(Way::NeverFlushes, &["data: "], |case| case.id == "C29");
}

#[test]
fn a_driver_that_splits_records_is_found_where_power_goes_between_the_halves() {
    is_found_out(Way::Splits, &["data: "], |case| case.id == "C30");
}

#[test]
fn a_driver_that_asks_once_is_found_by_the_second_event() {
    is_found_out(Way::Deaf, &["progress: "], |case| {
        case.acts.iter().any(|act| matches!(act, Act::Order(order) if order.starts_with("heard")))
    });
}
