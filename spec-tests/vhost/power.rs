//! Power goes at any step while a driver has requests under way, and comes back: what is there is judged by the same oracle as for a
//! PCI host. `SEED` and `CASES` choose the drives. Client and device are two threads, so that a seed does not repeat every moment.

use media::power::{Arming, Cut, CutPolicy};
use oracle::checker::{Image, judge};
use oracle::history::{CommandId, History, Namespace, Verb};
use oracle::parameters::{Blocks, Fields, Parameters};
use oracle::stamp::Found;
use rust_vmm_vhost::vhost_user::VhostUserFrontend;
use rust_vmm_vhost::vhost_user::message::VhostUserConfigFlags;
use spec_tests::random::{Random, cases, seed};
use spec_tests::rig::{Build, small_drive};

use crate::device::Device;
use crate::driver::{Driver, Wishes};

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;
const OK: u8 = 0;
/// All of the namespace, and what of it is read at a time.
const BYTES: u64 = 4 << 20;
const READ_BYTES: usize = 256 << 10;
const DEPTH: usize = 8;
const COMMANDS: usize = 40;
const PASSES: u32 = 6;
/// No request is longer; the drive keeps a quarter of that together.
const LONGEST_BYTES: u64 = 64 << 10;

/// A drive of 4 MiB that keeps 16 KiB together.
fn build(block: u32) -> Build {
    let drive = small_drive(BYTES, 4096);
    Build { namespaces: vec![(block, BYTES / u64::from(block))], drive: Some(drive), ..Build::default() }
}

/// What Identify says of its atomic sizes.
fn parameters(build: &Build) -> Parameters {
    let mut host = build.admin_host();
    let controller = host.identify_controller().expect("mandatory");
    Fields::of(&controller, &host.identify_namespace(1).expect("there is one")).into()
}

fn powered(device: &Device) -> bool {
    device.ask(|world| world.with_subsystem(|subsystem| subsystem.power_is_on()))
}

/// A client and its book.
struct Client<'a> {
    device: &'a Device,
    driver: Driver,
    history: History,
    under_way: Vec<(u16, CommandId)>,
    block: u64,
}

impl Client<'_> {
    /// Submits a random request, if power is on and there is a free place.
    fn submit(&mut self, random: &mut Random) {
        let Some(head) =
            (0..).step_by(3).take(DEPTH).find(|head| self.under_way.iter().all(|(taken, _)| taken != head))
        else {
            return;
        };
        let all = BYTES / self.block;
        let count = 1 + random.below(LONGEST_BYTES / self.block);
        // Most of them fall upon each other.
        let end = if random.one_in(4) { all } else { all / 16 };
        let first = random.below(end.saturating_sub(count).max(1));
        let blocks = Blocks::new(first, count);
        let unmap = random.one_in(2);
        let (verb, kind) = match random.below(10) {
            0 => (Verb::Flush, FLUSH),
            1 => (Verb::Zeroes { deallocate: unmap }, WRITE_ZEROES),
            2 => (Verb::Deallocate, DISCARD),
            _ => (Verb::Write, OUT),
        };
        let blocks = if verb == Verb::Flush { Blocks::new(0, 0) } else { blocks };
        let id = self.history.submit(verb, 1, blocks, false);
        let sectors = self.block / 512;
        let out = match verb {
            Verb::Write => self.stamped(id, blocks),
            Verb::Flush => Vec::new(),
            _ => {
                let mut segment = (blocks.start * sectors).to_le_bytes().to_vec();
                segment.extend(u32::try_from(blocks.count() * sectors).expect("short").to_le_bytes());
                segment.extend(u32::from(kind == WRITE_ZEROES && unmap).to_le_bytes());
                segment
            }
        };
        let sector = if kind == OUT { blocks.start * sectors } else { 0 };
        self.driver.begin(0, head, kind, sector, &out, 0);
        self.driver.guest.kick(0);
        self.under_way.push((head, id));
    }

    fn stamped(&self, id: CommandId, blocks: Blocks) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(blocks.count() * self.block).expect("short")];
        let block = usize::try_from(self.block).expect("short");
        for (lba, part) in blocks.each().zip(bytes.chunks_mut(block)) {
            self.history.stamp(id, 1, lba).fill(part);
        }
        bytes
    }

    /// Takes answers; true if there was one.
    fn reap(&mut self) -> bool {
        let Some((head, _)) = self.driver.guest.take_used(0) else { return false };
        let index = self.under_way.iter().position(|(taken, _)| *taken == head).expect("a head that is under way");
        let (_, id) = self.under_way.swap_remove(index);
        self.history.end(id, self.driver.outcome(head, 0).0 == OK);
        true
    }

    /// Switches the write cache. Without power the client is refused.
    fn switch_cache(&mut self, enabled: bool) {
        let id = self.history.submit(Verb::SetCache(enabled), 0, Blocks::new(0, 0), false);
        let switched = self.driver.frontend.set_config(32, VhostUserConfigFlags::WRITABLE, &[enabled.into()]);
        assert!(switched.is_ok() || !powered(self.device), "{switched:?}");
        self.history.end(id, switched.is_ok());
    }

    /// Requests until power goes, or until there have been enough.
    fn work(&mut self, random: &mut Random) {
        let mut left = COMMANDS;
        while powered(self.device) && (left > 0 || !self.under_way.is_empty()) {
            for _ in 0..random.below(4).min(left as u64) {
                self.submit(random);
                left -= 1;
            }
            if left > 0 && random.one_in(20) {
                self.switch_cache(random.one_in(2));
            }
            for _ in 0..random.below(DEPTH as u64) {
                self.reap();
            }
        }
    }

    /// What each block holds.
    fn look(&mut self) -> Image {
        let block = usize::try_from(self.block).expect("short");
        let mut found = Vec::new();
        for part in 0..BYTES / READ_BYTES as u64 {
            let (status, bytes, _) = self.driver.request(IN, part * (READ_BYTES as u64 / 512), &[], READ_BYTES);
            assert_eq!(status, OK);
            found.extend(bytes.chunks(block).map(|bytes| Found::look(bytes, &[])));
        }
        Image::from([(1, found)])
    }
}

fn arming(random: &mut Random) -> Option<Arming> {
    match random.below(5) {
        0 => None,
        1 => Some(Arming::Program(1 + random.below(60))),
        2 => Some(Arming::IoCommand(1 + random.below(COMMANDS as u64))),
        _ => Some(Arming::AnyStep(1 + random.below(600))),
    }
}

fn cut(random: &mut Random) -> Cut {
    let policy = match random.below(3) {
        0 => CutPolicy::NoneSurvive,
        1 => CutPolicy::AllSurvive,
        _ => CutPolicy::Random(random.draw()),
    };
    Cut { policy, tear: random.one_in(2), ..Cut::default() }
}

/// Runs a drive through its power losses; how many of them came by themselves, at the step that was armed.
fn life(seed: u64) -> u32 {
    let mut random = Random::new(seed);
    let block = if random.one_in(2) { 512 } else { 4096 };
    let build = build(block);
    let parameters = parameters(&build);
    let device = Device::start(build);
    let blocks = usize::try_from(BYTES / u64::from(block)).expect("few");
    let mut image = Image::from([(1, vec![Found::Zeroes; blocks])]);
    let mut tripped = 0;
    for pass in 1..=PASSES {
        let mut driver = Driver::connect(&device.path(), Wishes::default());
        let cache_enabled = driver.config()[32] == 1;
        let namespace = Namespace { parameters, cached: true, initial: image.remove(&1).expect("one") };
        let history = History::new(pass, vec![namespace], cache_enabled);
        let mut client = Client { device: &device, driver, history, under_way: Vec::new(), block: block.into() };
        let (arming, cut) = (arming(&mut random), cut(&mut random));
        if let Some(arming) = arming {
            let cut = cut.clone();
            device.ask(move |world| world.with_subsystem(|subsystem| subsystem.crash_arm(arming, cut)));
        }
        client.work(&mut random);
        let alone = device.ask(move |world| world.with_subsystem(|subsystem| subsystem.power_cut(&cut)).step.is_some());
        tripped += u32::from(alone);
        // What was told before the loss was told, even if it is read after it.
        while client.reap() {}
        let Client { history, driver, .. } = client;
        drop(driver);
        while !device.ask(|world| world.is_free()) {}
        device
            .ask(|world| world.with_subsystem(|subsystem| subsystem.power_restore(None).map(|_| ())))
            .expect("recovery");
        let driver = Driver::connect(&device.path(), Wishes::default());
        let mut client = Client { device: &device, driver, history, under_way: Vec::new(), block: block.into() };
        image = client.look();
        if let Err(violation) = judge(&client.history, &image) {
            panic!("SEED={seed} pass {pass}: {violation}");
        }
        drop(client);
        while !device.ask(|world| world.is_free()) {}
    }
    tripped
}

#[test]
fn an_honest_drive_shows_nothing_illegal_over_this_front_either() {
    let first = seed(1);
    let tripped: u32 = (first..first + cases(12)).map(life).sum();
    assert!(cases(12) < 12 || tripped > 0, "power never went at a step");
}
