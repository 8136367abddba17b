//! Atomicity under fire (rules B163 to B165, B162): eight queues write stamped blocks over each other on a media that takes its time and
//! shows writes by half, and every read is held against what writes promised (the checker of the contract, section C4, for reads that are
//! concurrent with writes). The queues are those of one controller, and of two that share the namespace, four each (B168, MC4).

use std::collections::BTreeMap;

use controller::config::{DeviceOptions, Interleave, NamespaceOptions};
use media::Nanoseconds;
use nvme_host::Host;
use nvme_host::io::block_command;
use nvme_spec::Command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::sgl::{SglDescriptor, SglType};
use spec_tests::paths::Path;
use spec_tests::random::{Random, cases, seed};
use spec_tests::rig::{Build, STEP};

use crate::verbs::bare;

const BLOCK: usize = 512;
const QUEUES: u16 = 8;
const DEPTH: usize = 4;
/// The blocks that everybody fights over.
const BLOCKS: u64 = 48;
/// The longest command.
const LONGEST: u64 = 24;

/// First block and first block behind.
type Range = (u64, u64);

/// What a write of the test is atomic in, by its range: the promise in the test's own words.
type Promise = fn(Range) -> Vec<Range>;

fn whole(range: Range) -> Vec<Range> {
    vec![range]
}

fn blocks((start, end): Range) -> Vec<Range> {
    (start..end).map(|lba| (lba, lba + 1)).collect()
}

/// Up to four blocks, or each by itself.
fn up_to_four(range: Range) -> Vec<Range> {
    if range.1 - range.0 <= 4 { whole(range) } else { blocks(range) }
}

/// Edges at 1, 7, 13, and so on.
fn windows((mut start, end): Range) -> Vec<Range> {
    let mut pieces = Vec::new();
    while start < end {
        let edge = if start < 1 { 1 } else { 1 + ((start - 1) / 6 + 1) * 6 };
        pieces.push((start, edge.min(end)));
        start = edge;
    }
    pieces
}

/// Up to six blocks between two edges, or each by itself.
fn inside_windows(range: Range) -> Vec<Range> {
    if windows(range).len() == 1 { whole(range) } else { blocks(range) }
}

struct Write {
    range: Range,
    begun: u64,
    ended: u64,
}

/// The history of a run: every write by its stamp; 0 stamps what was there before.
struct History {
    writes: Vec<Write>,
    /// The time: the number of the step.
    now: u64,
}

/// A part of a write that a read saw: its stamp, and which of its pieces.
type Seen = (u64, usize);

impl History {
    /// The piece of a write that a block belongs to, with its range.
    fn piece(&self, stamp: u64, lba: u64, promise: Promise) -> (Seen, Range) {
        let index = usize::try_from(stamp).expect("an index");
        let pieces = promise(self.writes[index].range);
        let found = pieces.into_iter().enumerate().find(|(_, range)| (range.0..range.1).contains(&lba));
        let (number, range) = found.expect("a block is stamped by a write that covers it");
        ((stamp, number), range)
    }

    /// Whether there is an order of whole pieces, agreeing with real time, after which a reader sees these stamps from block `start` on.
    fn is_explained(&self, start: u64, stamps: &[u64], promise: Promise) -> bool {
        let seen: Vec<_> = (start..).zip(stamps).map(|(lba, stamp)| self.piece(*stamp, lba, promise)).collect();
        // An arrow from a piece to one that came after it: that one has a block of its.
        let mut after: BTreeMap<Seen, Vec<Seen>> = BTreeMap::new();
        for (piece, range) in &seen {
            for lba in range.0.max(start)..range.1.min(start + stamps.len() as u64) {
                let (other, _) = seen[usize::try_from(lba - start).expect("an index")];
                if other != *piece {
                    after.entry(*piece).or_default().push(other);
                }
            }
            for (other, _) in &seen {
                let (one, two) = (&self.writes[index(*piece)], &self.writes[index(*other)]);
                if one.ended < two.begun {
                    after.entry(*piece).or_default().push(*other);
                }
            }
        }
        // Without a circle there is always one that nothing comes before; it is taken away with its arrows.
        let mut left: Vec<Seen> = seen.iter().map(|(piece, _)| *piece).collect();
        left.sort_unstable();
        left.dedup();
        loop {
            let before = left.len();
            let all = left.clone();
            left.retain(|piece| all.iter().any(|other| after.get(other).is_some_and(|list| list.contains(piece))));
            if left.is_empty() || left.len() == before {
                return left.is_empty();
            }
        }
    }
}

fn index((stamp, _): Seen) -> usize {
    usize::try_from(stamp).expect("an index")
}

/// What a run saw.
#[derive(Debug, Default)]
struct Counts {
    reads: u64,
    /// Reads that no order of what was promised explains.
    broken: u64,
    /// Reads that no order of whole commands explains.
    mixed: u64,
}

struct UnderWay {
    write: Option<u64>,
    range: Range,
    begun: u64,
    slot: usize,
}

/// Eight queues write and read up to `longest` blocks for this many steps: of one controller, then of two.
fn run(build: &Build, longest: u64, promise: Promise, random: &mut Random, steps: u64) -> Counts {
    let [one, two] = [1, 2].map(|controllers| run_over(build, controllers, (longest, promise), random, steps / 2));
    println!("one controller: {one:?}; two: {two:?}");
    assert!(one.reads > steps / 16 && two.reads > steps / 16, "both are busy: {one:?}, {two:?}");
    Counts { reads: one.reads + two.reads, broken: one.broken + two.broken, mixed: one.mixed + two.mixed }
}

fn run_over(
    build: &Build,
    controllers: u16,
    (longest, promise): (u64, Promise),
    random: &mut Random,
    steps: u64,
) -> Counts {
    let mut hosts = build.hosts(controllers);
    let of = |qid: u16| usize::from(qid % controllers);
    (1..=QUEUES).for_each(|qid| hosts[of(qid)].create_queue_pair(qid, 16, Some(qid)).expect("room"));
    let world = hosts[0].port().clone();
    world.world().behaviour.borrow_mut().halves = true;
    let bytes = usize::try_from(LONGEST).expect("small") * BLOCK;
    let slots = usize::from(QUEUES) * DEPTH;
    let allocate = |host: &mut Host<Path>| (0..slots).map(|_| host.allocate(bytes).expect("room")).collect::<Vec<_>>();
    let buffers: Vec<Vec<u64>> = hosts.iter_mut().map(allocate).collect();
    let mut free: Vec<usize> = (0..slots).collect();
    let mut history = History { writes: vec![Write { range: (0, BLOCKS), begun: 0, ended: 0 }], now: 1 };
    let mut under_way: BTreeMap<(u16, u16), UnderWay> = BTreeMap::new();
    let mut counts = Counts::default();
    for step in 0..steps + 10_000 {
        if step % 64 == 0 {
            world.world().behaviour.borrow_mut().latency =
                Some(Nanoseconds(STEP.0 * random.below(12))).filter(|latency| latency.0 > 0);
        }
        history.now += 1;
        if step < steps
            && let Some(slot) = free.pop()
        {
            let sqid = u16::try_from(random.below(QUEUES.into())).expect("small") + 1;
            let buffer = buffers[of(sqid)][slot];
            submit(&mut hosts[of(sqid)], &mut history, &mut under_way, (sqid, slot, buffer), longest, random);
        }
        world.world().step();
        for cqid in 1..=QUEUES {
            let host = &mut hosts[of(cqid)];
            while let Some(answer) = host.reap(cqid) {
                assert!(bare(answer.status()).is_success(), "{:?}", answer.status());
                let command = under_way.remove(&(cqid, answer.cid.get())).expect("under way");
                free.push(command.slot);
                match command.write {
                    Some(stamp) => history.writes[usize::try_from(stamp).expect("an index")].ended = history.now,
                    None => judge(host, &history, &command, buffers[of(cqid)][command.slot], promise, &mut counts),
                }
            }
        }
        if step > steps && under_way.is_empty() {
            break;
        }
    }
    assert!(under_way.is_empty(), "everything is answered");
    counts
}

fn submit(
    host: &mut Host<Path>,
    history: &mut History,
    under_way: &mut BTreeMap<(u16, u16), UnderWay>,
    (sqid, slot, buffer): (u16, usize, u64),
    longest: u64,
    random: &mut Random,
) {
    let count = 1 + random.below(longest);
    let start = random.below(BLOCKS - count + 1);
    let blocks = u32::try_from(count).expect("small");
    let range = (start, start + count);
    let length = usize::try_from(count).expect("small") * BLOCK;
    let writes = random.one_in(2);
    let opcode = if writes { NvmOpcode::WRITE } else { NvmOpcode::READ };
    let stamp = history.writes.len() as u64;
    if writes {
        host.write_memory(buffer, &stamp.to_le_bytes().repeat(length / 8));
        history.writes.push(Write { range, begun: history.now, ended: u64::MAX });
    }
    let data = SglDescriptor::new(SglType::DATA_BLOCK, buffer, u32::try_from(length).expect("small"));
    let command: Command = block_command(opcode, 1, start, blocks).with_sgl1(data);
    let cid = host.submit(sqid, command).expect("fewer than the queue holds");
    let command = UnderWay { write: writes.then_some(stamp), range, begun: history.now, slot };
    assert!(under_way.insert((sqid, cid), command).is_none());
}

/// Holds what a read brought against the history.
fn judge(host: &Host<Path>, history: &History, command: &UnderWay, buffer: u64, promise: Promise, counts: &mut Counts) {
    let length = usize::try_from(command.range.1 - command.range.0).expect("small") * BLOCK;
    let data = host.read_memory(buffer, length);
    let stamps: Vec<u64> = data
        .chunks(BLOCK)
        .map(|block| {
            let words = block.as_chunks::<8>().0;
            assert!(words.iter().all(|word| *word == words[0]), "a block is never torn");
            u64::from_le_bytes(words[0])
        })
        .collect();
    counts.reads += 1;
    counts.mixed += u64::from(!history.is_explained(command.range.0, &stamps, whole));
    let explained = history.is_explained(command.range.0, &stamps, promise);
    counts.broken += u64::from(!explained);
    // What was overwritten before the read began is not seen by it.
    for (lba, stamp) in (command.range.0..).zip(&stamps) {
        let write = &history.writes[usize::try_from(*stamp).expect("an index")];
        let later = |other: &Write| {
            (other.range.0..other.range.1).contains(&lba) && other.ended < command.begun && write.ended < other.begun
        };
        assert!(!history.writes.iter().any(later), "block {lba} is older than the read");
    }
}

fn build(device: DeviceOptions, namespace: NamespaceOptions) -> Build {
    Build { device, namespaces: vec![(512, BLOCKS)], identities: vec![namespace], ..Build::default() }.over_memory()
}

fn seeded(number: u64) -> DeviceOptions {
    let interleave_seed = u32::try_from(number & 0xffff_ffff).expect("32 bits");
    DeviceOptions { interleave: Interleave::Seeded, interleave_seed, ..DeviceOptions::default() }
}

fn steps() -> u64 {
    cases(1) * 6_000
}

/// B163: without `interleave` every command is atomic, of whatever size.
#[test]
fn no_read_is_mixed_unless_it_is_asked_for() {
    let mut random = Random::new(seed(163));
    let counts =
        run(&build(DeviceOptions::default(), NamespaceOptions::default()), LONGEST, whole, &mut random, steps());
    assert!(counts.reads > 1_000, "{counts:?}");
    assert_eq!((counts.broken, counts.mixed), (0, 0), "{counts:?}");
}

/// B163, B164: writes up to AWUN, or NAWUN, are never seen in part; larger ones are, with `interleave=seeded`, and never a part of a
/// block.
#[test]
fn writes_above_the_unit_are_seen_in_part_and_others_never() {
    let mut random = Random::new(seed(164));
    let own = NamespaceOptions { atomic_nawun: Some(3), ..NamespaceOptions::default() };
    let controller = DeviceOptions { atomic_awun: 3, ..seeded(random.draw()) };
    for build in [build(seeded(random.draw()), own), build(controller, NamespaceOptions::default())] {
        let fitting = run(&build, 4, whole, &mut random, steps());
        assert!(fitting.reads > 1_000 && fitting.mixed == 0, "{fitting:?}");
        let larger = run(&build, LONGEST, up_to_four, &mut random, steps());
        println!("above the unit: {larger:?}");
        assert!(larger.broken == 0 && larger.mixed > 20, "{larger:?}");
    }
}

/// B160, B164: a write that crosses a boundary is not atomic, one that does not is; the boundaries need not be powers of two.
#[test]
fn writes_across_a_boundary_are_seen_in_part_and_others_never() {
    let mut random = Random::new(seed(160));
    let namespace = NamespaceOptions {
        atomic_nawun: Some(5),
        atomic_nawupf: Some(0),
        atomic_nabsn: Some(5),
        atomic_nabspf: Some(5),
        atomic_nabo: 1,
        ..NamespaceOptions::default()
    };
    let counts = run(&build(seeded(random.draw()), namespace), 6, inside_windows, &mut random, steps());
    println!("across boundaries: {counts:?}");
    assert!(counts.broken == 0 && counts.mixed > 20, "{counts:?}");
}

/// B162: in Multiple Atomicity Mode each part between two boundaries is atomic.
#[test]
fn parts_between_boundaries_are_never_seen_in_part() {
    let mut random = Random::new(seed(162));
    let device = DeviceOptions { atomic_dn: false, ..seeded(random.draw()) };
    let namespace =
        NamespaceOptions { atomic_mam: true, atomic_nabsn: Some(5), atomic_nabo: 1, ..NamespaceOptions::default() };
    let build = Build {
        // Multiple Atomicity Mode has one size for both kinds of promise, so the media must keep it.
        drive: Some(media::ssd::SsdConfig {
            geometry: media::geometry::GeometryConfig {
                user_bytes: 4 << 20,
                pages_per_block: 16,
                ..media::geometry::GeometryConfig::default()
            },
            ..media::ssd::SsdConfig::default()
        }),
        ..build(device, namespace)
    };
    let counts = run(&build, LONGEST, windows, &mut random, steps());
    println!("multiple atomicity: {counts:?}");
    assert!(counts.broken == 0 && counts.mixed > 20, "{counts:?}");
}

/// B165: with Disable Normal only AWUPF and NAWUPF are kept.
#[test]
fn disable_normal_leaves_the_power_fail_unit() {
    let mut random = Random::new(seed(165));
    let device = DeviceOptions { atomic_dn: true, ..seeded(random.draw()) };
    let namespace = NamespaceOptions { atomic_nawun: Some(15), atomic_nawupf: Some(0), ..NamespaceOptions::default() };
    let disabled = run(&build(device, namespace.clone()), 16, blocks, &mut random, steps());
    println!("Disable Normal: {disabled:?}");
    assert!(disabled.broken == 0 && disabled.mixed > 20, "{disabled:?}");
    let enabled = run(&build(seeded(random.draw()), namespace), 16, whole, &mut random, steps());
    assert_eq!(enabled.mixed, 0, "{enabled:?}");
}
