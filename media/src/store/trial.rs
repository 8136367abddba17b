//! Every kind of store against arrays of bytes: lines that are opened, programmed, copied from, closed and erased, and a store that is
//! taken apart in between; and which operations an image asks of its disk, one by one.

#![cfg(test)]

use std::cell::RefCell;
use std::rc::Rc;

use super::disk::Disk;
use super::schedule::{Done, Operation};
use super::*;
use crate::geometry::{Geometry, GeometryConfig};
use crate::journal::{HeaderState, Kind, LineHeader, Record};
use crate::ordering::Order;
use crate::power::Random;
use crate::testing::OpenDisk;
use crate::unit::{LogicalUnit, narrow};

const METADATA: u64 = 64 << 10;

fn geometry(unit_bytes: u32, metadata: u32) -> Geometry {
    Geometry::new(GeometryConfig {
        channels: 1,
        dies_per_channel: 1,
        planes_per_die: 2,
        // Lines are no whole number of the pieces in which a fork copies, or a window is read.
        pages_per_block: 66 * unit_bytes.max(1024) / 1024,
        page_bytes: 2048,
        unit_bytes,
        user_bytes: 1 << 20,
        metadata_bytes_per_unit: metadata,
        ..GeometryConfig::default()
    })
    .expect("a geometry")
}

/// What a line holds.
#[derive(Clone, Default)]
struct Line {
    header: LineHeader,
    records: Vec<Record>,
    units: Vec<(Vec<u8>, Vec<u8>)>,
}

struct Trial<S> {
    store: S,
    geometry: Geometry,
    lines: Vec<Line>,
    metadata: Vec<u8>,
    random: Random,
    event: u64,
    seed: u64,
}

/// Puts a store together again as a process would that finds it.
type Again<S> = fn(S, &Geometry) -> S;

impl<S: Store> Trial<S> {
    fn new(mut store: S, geometry: Geometry, seed: u64) -> Self {
        let header = LineHeader { state: HeaderState::Erased, ..LineHeader::default() };
        (0..geometry.lines).for_each(|line| store.write_header(line, &header));
        let lines = vec![Line { header, ..Line::default() }; geometry.lines as usize];
        let metadata = vec![0; crate::unit::index(METADATA)];
        Self { store, geometry, lines, metadata, random: Random::new(seed), event: 0, seed }
    }

    fn pick(&mut self, state: HeaderState) -> Option<u32> {
        let all: Vec<usize> = (0..self.lines.len()).filter(|line| self.lines[*line].header.state == state).collect();
        (!all.is_empty()).then(|| narrow(self.random.pick(&all)))
    }

    fn set_header(&mut self, line: u32, state: HeaderState) {
        self.event += 1;
        let before = self.lines[line as usize].header;
        let opened = match state {
            HeaderState::Open => self.event,
            HeaderState::Erased | HeaderState::Retired => 0,
            HeaderState::Closed => before.opened,
        };
        let header = LineHeader { state, opened, event: self.event, ..before };
        if state == HeaderState::Erased {
            self.store.erase(line, &header);
            (self.lines[line as usize].records, self.lines[line as usize].units) = Default::default();
        } else {
            self.store.write_header(line, &header);
        }
        self.lines[line as usize].header = header;
    }

    /// A unit that is programmed.
    fn unit(&mut self) -> Option<(u32, u32)> {
        let holds = |line: &Line, slot: usize| line.records[slot].kind.holds_unit();
        let all = self.lines.iter().enumerate().flat_map(|(number, line)| {
            let slots = (0..line.records.len()).filter(move |slot| holds(line, *slot));
            slots.map(move |slot| (narrow(number), narrow(slot)))
        });
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then(|| self.random.pick(&all))
    }

    fn expected(&self, at: (u32, u32)) -> Expected {
        let record = self.lines[at.0 as usize].records[at.1 as usize];
        Expected { unit: LogicalUnit(record.logical), uncorrectable: record.uncorrectable }
    }

    fn program(&mut self, line: u32) {
        let first = narrow(self.lines[line as usize].records.len());
        if first == self.geometry.units_per_line {
            return self.set_header(line, HeaderState::Closed);
        }
        let mut records = Vec::new();
        for slot in first..first + self.geometry.units_per_program {
            let copied = if self.random.below(3) == 0 { self.unit() } else { None };
            let mut record = Record {
                sequence: self.random.draw(),
                logical: self.random.draw_u32() >> 1,
                kind: Kind::Host,
                length: 1,
                uncorrectable: self.random.below(8) == 0,
                ..Record::default()
            };
            let unit = if let Some(from) = copied {
                let expected = self.expected(from);
                (record.logical, record.uncorrectable) = (expected.unit.0, expected.uncorrectable);
                let neighbours = self.random.coin();
                self.store
                    .copy_unit(&Wanted { at: from, expected, geometry: &self.geometry, neighbours }, (line, slot))
                    .expect("it is there");
                self.lines[from.0 as usize].units[from.1 as usize].clone()
            } else if self.random.below(10) == 0 {
                record = Record::PADDING;
                Default::default()
            } else {
                let bytes = self.random.bytes(self.geometry.unit_bytes());
                let metadata = match self.random.below(4) {
                    // No volume staged any: on a disk it is zeroes.
                    0 if S::CHECKS => vec![0; self.geometry.config.metadata_bytes_per_unit as usize],
                    _ => self.random.bytes(self.geometry.config.metadata_bytes_per_unit as usize),
                };
                self.store.stage_bytes(line, self.geometry.data_offset(slot), &bytes);
                if !S::CHECKS || metadata.iter().any(|byte| *byte != 0) {
                    self.store.stage_bytes(line, self.geometry.metadata_offset(slot), &metadata);
                }
                (bytes, metadata)
            };
            records.push(record);
            self.lines[line as usize].units.push(unit);
        }
        self.store.program(line, first, &records);
        self.lines[line as usize].records.extend(records);
    }

    fn check_unit(&mut self) {
        let Some(at) = self.unit() else { return };
        let (data, metadata) = self.lines[at.0 as usize].units[at.1 as usize].clone();
        let expected = self.expected(at);
        let mut read = vec![0xaa; data.len() + metadata.len()];
        let wanted = Wanted { at, expected, geometry: &self.geometry, neighbours: self.random.coin() };
        self.store.read_unit(&wanted, &mut read).expect("it is there");
        assert!(read == [&data[..], &metadata[..]].concat(), "seed {}: the unit at {at:?}", self.seed);
        let from = self.random.index(data.len());
        let mut part = vec![0xaa; 1 + self.random.index(data.len() - from)];
        self.store.read(at.0, self.geometry.data_offset(at.1) + from, &mut part).expect("it is there");
        assert!(part == data[from..from + part.len()], "seed {}: part of {at:?}", self.seed);
        if !metadata.is_empty() {
            let mut part = vec![0xaa; metadata.len()];
            self.store.read(at.0, self.geometry.metadata_offset(at.1), &mut part).expect("it is there");
            assert!(part == metadata, "seed {}: metadata of {at:?}", self.seed);
        }
    }

    /// Units of several pages at once, of which one may lie in memory and the next may not.
    fn check_run(&mut self) {
        let Some((line, slot)) = self.unit() else { return };
        let units = &self.lines[line as usize].units;
        let run: Vec<&Vec<u8>> =
            units[slot as usize..].iter().map(|unit| &unit.0).take_while(|data| !data.is_empty()).collect();
        let bytes = run.into_iter().take(9).flatten().copied().collect::<Vec<u8>>();
        let mut read = vec![0xaa; bytes.len()];
        self.store.read(line, self.geometry.data_offset(slot), &mut read).expect("they are there");
        assert!(read == bytes, "seed {}: units from {slot} of line {line} on", self.seed);
    }

    fn sync(&mut self) {
        assert!(!self.store.backlogged(), "nothing waits that long here");
        let ticket = self.store.sync();
        while self.store.synced().expect("nothing fails") < ticket {
            std::thread::yield_now();
        }
    }

    fn check_lines(&mut self, again: bool) {
        self.sync();
        let mut records = vec![Record::PADDING];
        for line in 0..self.geometry.lines {
            let expected = &self.lines[line as usize];
            assert_eq!(self.store.header(line), Ok(expected.header), "seed {}", self.seed);
            self.store.records(line, &mut records).expect("they are there");
            assert_eq!(records, expected.records, "seed {}: line {line}", self.seed);
            if again && expected.header.state == HeaderState::Open {
                self.store.verify_data(line, 0, &mut records).expect("it is there");
                assert_eq!(records, expected.records, "seed {}: nothing is torn in line {line}", self.seed);
            }
        }
    }

    fn metadata(&mut self) {
        let from = self.random.index(self.metadata.len());
        let bytes = (1 + self.random.index(9000)).min(self.metadata.len() - from);
        let new = self.random.bytes(bytes);
        self.metadata[from..from + bytes].copy_from_slice(&new);
        self.store.write_metadata(from as u64, &new);
    }

    /// What is written of it is read back once it is on the disk.
    fn check_metadata(&mut self) {
        let from = self.random.index(self.metadata.len());
        let bytes = (1 + self.random.index(9000)).min(self.metadata.len() - from);
        let mut read = vec![0xaa; bytes];
        self.store.read_metadata(from as u64, &mut read).expect("it is there");
        assert!(read == self.metadata[from..from + bytes], "seed {}: metadata from {from} on", self.seed);
    }

    fn step(&mut self, again: Again<S>) {
        match self.random.below(40) {
            0..=4 => {
                // Two are open at a time, as a drive has them.
                let open = self.lines.iter().filter(|line| line.header.state == HeaderState::Open).count();
                if open < 2
                    && let Some(line) = self.pick(HeaderState::Erased)
                {
                    self.set_header(line, HeaderState::Open);
                }
            }
            5..=22 => {
                if let Some(line) = self.pick(HeaderState::Open) {
                    self.program(line);
                }
            }
            23..=24 => {
                if let Some(line) = self.pick(HeaderState::Closed) {
                    self.set_header(line, HeaderState::Erased);
                }
            }
            25..=32 => self.check_unit(),
            33..=35 => self.check_run(),
            36..=37 => self.metadata(),
            38 => self.check_lines(false),
            _ => {
                self.sync();
                self.check_metadata();
                if self.random.below(4) == 0 {
                    let store = self.store.take();
                    self.store = again(store, &self.geometry);
                    self.check_lines(true);
                }
            }
        }
    }
}

fn run<S: Store>(make: impl Fn(&Geometry, u64) -> S, again: Again<S>, seeds: u64) {
    for seed in 0..seeds {
        let (unit_bytes, metadata) =
            [(512, 0), (1024, 24), (2048, 0), (4096, 24), (1024, 0), (512, 8)][(seed % 6) as usize];
        let geometry = geometry(unit_bytes, metadata);
        let mut trial = Trial::new(make(&geometry, seed), geometry, seed);
        for _ in 0..900 {
            trial.step(again);
        }
        trial.check_lines(false);
    }
}

fn caching(seed: u64) -> Caching {
    Caching { cache_bytes: [0, 300 << 10, 1 << 30][(seed % 3) as usize], kept_lines: (seed % 4) as usize }
}

fn image<D: Disk>(geometry: &Geometry, seed: u64, disk: D) -> ImageStore<D> {
    let mut store = ImageStore::create(geometry, METADATA, disk).expect("memory");
    store.set_caching(caching(seed));
    store
}

fn opened<D: Disk>(mut store: ImageStore<D>, geometry: &Geometry) -> ImageStore<D> {
    ImageStore::open(geometry, store.disk().take()).expect("an image")
}

#[test]
fn a_store_in_memory_keeps_what_was_put_into_it() {
    run(|geometry, _| MemoryStore::new(geometry).expect("memory"), |store, _| store, 12);
}

#[test]
fn a_fork_keeps_what_was_put_into_it_and_shows_the_rest_of_what_is_below() {
    run(
        |geometry, _| ForkStore::new(Rc::new(MemoryStore::new(geometry).expect("memory")), geometry),
        |store, _| store,
        12,
    );
    // Over a store in which something is.
    for seed in 0..6 {
        let (unit, metadata) = [(512, 0), (1024, 24), (4096, 24)][(seed % 3) as usize];
        let geometry = geometry(unit, metadata);
        let mut below = Trial::new(MemoryStore::new(&geometry).expect("memory"), geometry.clone(), seed);
        (0..400).for_each(|_| below.step(|store, _| store));
        let Trial { store, lines, metadata, event, .. } = below;
        let store = ForkStore::new(Rc::new(store), &geometry);
        let random = Random::new(seed + 100);
        let mut fork = Trial { store, geometry, lines, metadata, random, event, seed };
        fork.check_lines(false);
        (0..600).for_each(|_| fork.step(|store, _| store));
        fork.check_lines(false);
    }
}

#[test]
fn an_image_keeps_what_was_put_into_it() {
    run(|geometry, seed| image(geometry, seed, OpenDisk::default()), opened, 18);
}

#[test]
fn an_image_on_a_slow_disk_keeps_what_was_put_into_it() {
    run(|geometry, seed| image(geometry, seed, TwinDisk::new(seed)), opened, 12);
}

#[test]
fn an_image_in_a_file_keeps_what_was_put_into_it_and_who_looks_at_the_file_changes_nothing() {
    for seed in 0..6 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("image");
        let (unit, metadata) = [(512, 0), (1024, 24), (4096, 24)][(seed % 3) as usize];
        let geometry = geometry(unit, metadata);
        let options = || FileOptions { cache_unsafe: true, caching: caching(seed), ..FileOptions::default() };
        let store = FileStore::create_file(&path, &geometry, 128, options()).expect("a file");
        assert_eq!(store.caching, caching(seed));
        let room = crate::unit::index(store.metadata_bytes());
        let mut trial = Trial::new(store, geometry.clone(), seed);
        trial.metadata.resize(room, 0);
        (0..500).for_each(|_| trial.step(|store, _| store));
        let Trial { mut store, lines, event, metadata, .. } = trial;
        store.disk().settle().expect("nothing fails");
        drop(store);
        let before = std::fs::read(&path).expect("the file");
        let store = FileStore::open_file(&path, &geometry, options()).expect("an image");
        assert_eq!(store.caching, caching(seed));
        drop(store);
        let store = OverlayStore::open_overlay(&path, &geometry).expect("an image");
        let mut over = Trial { store, geometry, lines, metadata, random: Random::new(seed), event, seed };
        over.check_lines(true);
        over.check_metadata();
        (0..500).for_each(|_| over.step(|store, _| store));
        assert!(std::fs::read(&path).expect("the file") == before, "the file is what it was");
    }
}

/// Notes what it is called to do, and says that it is durable when it is told to.
#[derive(Clone, Default)]
struct Notes {
    disk: OpenDisk,
    called: Rc<RefCell<Vec<String>>>,
    turns: u64,
    durable: Rc<RefCell<u64>>,
    /// What is not let go of.
    held: Rc<RefCell<Vec<Operation>>>,
}

impl Disk for Notes {
    fn call(&mut self, operation: Operation) -> u64 {
        self.turns += u64::from(!matches!(operation, Operation::Free(..)));
        let note = match &operation {
            Operation::Free(at, bytes) => format!("free {at}+{}", bytes.len()),
            Operation::Turn(at, bytes) => format!("turn {at}+{}", bytes.len()),
            Operation::Claim { order, offset, bytes, opens } => format!("{order:?} {offset}+{} {opens}", bytes.len()),
            Operation::Discard(at, bytes) => format!("discard {at}+{bytes}"),
            Operation::Barrier(order) => format!("barrier {order:?}"),
            Operation::Sync(_) | Operation::Notice(_) => "ticket".into(),
        };
        self.called.borrow_mut().push(note);
        self.held.borrow_mut().push(operation.clone());
        self.disk.call(operation);
        self.turns
    }

    fn ticket(&mut self, durable: bool) -> u64 {
        self.called.borrow_mut().push(format!("ticket {durable}"));
        self.turns += 1;
        self.disk.ticket(durable)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        self.called.borrow_mut().push(format!("read {offset}+{}", into.len()));
        self.disk.read(offset, into)
    }

    fn backlogged(&self) -> bool {
        self.turns == 7
    }

    fn done(&mut self) -> Result<Done, StoreError> {
        Ok(Done { durable_turns: *self.durable.borrow(), ticket: 5 })
    }

    fn take(&mut self) -> Self {
        self.clone()
    }
}

/// An image with units of 1,024 bytes, and what its disk is asked.
fn noted(metadata: u32) -> (ImageStore<Notes>, Geometry, Notes) {
    let geometry = geometry(1024, metadata);
    let notes = Notes::default();
    let store = ImageStore::create(&geometry, METADATA, notes.clone()).expect("memory");
    (store, geometry, notes)
}

impl Notes {
    /// What was called since the last time.
    fn since(&self) -> Vec<String> {
        std::mem::take(&mut *self.called.borrow_mut())
    }

    /// Everything that was called is durable, and let go of.
    fn catch_up(&self, turns: u64) {
        self.held.borrow_mut().clear();
        *self.durable.borrow_mut() = turns;
    }
}

fn header(state: HeaderState, opened: u64) -> LineHeader {
    LineHeader { state, opened, event: opened, ..LineHeader::default() }
}

fn host_record(logical: u32) -> Record {
    Record { sequence: 9, logical, kind: Kind::Host, length: 1, ..Record::default() }
}

/// A page of two units.
fn put(store: &mut ImageStore<Notes>, geometry: &Geometry, line: u32, slot: u32, byte: u8) {
    store.stage_bytes(line, geometry.data_offset(slot), &[byte; 2048]);
    store.program(line, slot, &[host_record(slot), host_record(slot + 1)]);
}

/// Line 0 lies behind the header and the metadata region: a page for its header, three for the records of 264 units, then its data.
const LINE: u64 = 4096 + METADATA;
const RECORDS: u64 = LINE + 4096;
const RECORDS_BYTES: u64 = 12_288;
const DATA: u64 = RECORDS + RECORDS_BYTES;
const STRIDE: u64 = 4096 + RECORDS_BYTES + LINE_BYTES;
/// Data of a line.
const LINE_BYTES: u64 = 264 << 10;

#[test]
fn an_image_asks_its_disk_for_what_it_must_and_in_that_order() {
    let (mut store, geometry, notes) = noted(0);
    assert_eq!(geometry.units_per_line, 264);
    assert_eq!(store.image_bytes(), LINE + u64::from(geometry.lines) * STRIDE);
    assert_eq!(notes.since(), ["turn 0+4096"]);
    store.write_header(0, &header(HeaderState::Open, 3));
    put(&mut store, &geometry, 0, 0, 1);
    put(&mut store, &geometry, 0, 2, 2);
    let expected = [
        format!("HeaderAfterPrograms {LINE}+256 true"),
        format!("free {DATA}+2048"),
        format!("free {RECORDS}+64"),
        format!("free {}+2048", DATA + 2048),
        format!("free {}+64", RECORDS + 64),
    ];
    assert_eq!(notes.since(), expected);
    store.write_header(0, &header(HeaderState::Closed, 3));
    assert_eq!(notes.since(), [format!("HeaderAfterPrograms {LINE}+256 false")]);
    // The disk has not let go of it, so it lies in memory still.
    let mut byte = [0];
    store.read(0, 2048, &mut byte).expect("there");
    assert_eq!((byte, notes.since().len()), ([2], 0));
    notes.catch_up(store.disk().turns);
    assert_eq!(store.synced(), Ok(5));
    store.read(0, 2048, &mut byte).expect("there");
    assert_eq!((byte, notes.since()), ([2], vec![format!("read {}+1", DATA + 2048)]));
    store.erase(0, &header(HeaderState::Erased, 0));
    assert_eq!(notes.since(), [format!("EraseAfterMoves {LINE}+256 false")], "one erased line keeps its room");
    store.write_header(1, &header(HeaderState::Open, 4));
    store.erase(1, &header(HeaderState::Erased, 0));
    notes.since();
    notes.catch_up(store.disk().turns);
    assert_eq!(store.synced(), Ok(5));
    assert_eq!(
        notes.since(),
        [format!("discard {}+{}", LINE + 4096, STRIDE - 4096)],
        "all but the header of the oldest"
    );
    // What is written over a hole waits for it, and so does what is written into a line whose erase is not durable.
    store.write_header(0, &header(HeaderState::Open, 5));
    put(&mut store, &geometry, 0, 0, 3);
    let expected = [
        "barrier OpenAfterErase".to_owned(),
        format!("HeaderAfterPrograms {LINE}+256 true"),
        format!("turn {DATA}+2048"),
        format!("turn {RECORDS}+64"),
    ];
    assert_eq!(notes.since(), expected);
    notes.catch_up(store.disk().turns);
    assert_eq!(store.synced(), Ok(5));
    put(&mut store, &geometry, 0, 2, 4);
    assert_eq!(notes.since()[0], format!("free {}+2048", DATA + 2048));
    store.hold_programs(Order::ProgramAfterRecovery);
    put(&mut store, &geometry, 0, 4, 4);
    assert_eq!(notes.since()[..2], ["barrier ProgramAfterRecovery".to_owned(), format!("turn {}+2048", DATA + 4096)]);
    store.barrier(Order::RootAfterAll);
    store.write_metadata(77, &[1; 5]);
    store.read_metadata(60, &mut [0; 30]).expect("there");
    assert_eq!(notes.since(), ["barrier RootAfterAll", "turn 4173+5", "read 4156+30"]);
    store.sync();
    store.notice();
    assert_eq!(notes.since(), ["ticket true", "ticket false"]);
    store.disk().turns = 7;
    assert!(store.backlogged());
    store.disk().turns = 8;
    assert!(!store.backlogged());
}

#[test]
fn as_many_closed_lines_stay_in_memory_as_were_asked_for() {
    let (mut store, geometry, notes) = noted(0);
    store.set_caching(Caching { cache_bytes: 2 * geometry.line_data_bytes + 1, kept_lines: 9 });
    let in_memory =
        |store: &ImageStore<Notes>| (0..6).filter(|line| store.view(*line, 0, 1).is_some()).collect::<Vec<_>>();
    for line in 0..4 {
        store.write_header(line, &header(HeaderState::Open, u64::from(line) + 1));
        put(&mut store, &geometry, line, 0, 1);
        store.write_header(line, &header(HeaderState::Closed, u64::from(line) + 1));
    }
    assert_eq!(in_memory(&store), [0, 1, 2, 3], "the disk has let go of nothing");
    notes.catch_up(store.disk().turns);
    store.synced().expect("nothing fails");
    assert_eq!(in_memory(&store), [2, 3]);
    store.erase(2, &header(HeaderState::Erased, 0));
    assert_eq!(in_memory(&store), [3]);
    // One that nothing was programmed in since the image was opened is not in memory, and is not counted.
    store.write_header(4, &header(HeaderState::Closed, 9));
    store.write_header(5, &header(HeaderState::Open, 10));
    put(&mut store, &geometry, 5, 0, 1);
    store.write_header(5, &header(HeaderState::Closed, 10));
    notes.catch_up(store.disk().turns);
    store.synced().expect("nothing fails");
    assert_eq!(in_memory(&store), [3, 5]);
    assert!(!notes.since().iter().any(|note| note.starts_with("discard")), "nine erased lines may keep their room");
}

#[test]
fn units_that_are_collected_are_read_with_their_neighbours_and_others_by_themselves() {
    let (mut store, geometry, notes) = noted(8);
    store.write_header(0, &header(HeaderState::Open, 1));
    for slot in (0..geometry.units_per_line).step_by(2) {
        put(&mut store, &geometry, 0, slot, slot.to_le_bytes()[0]);
    }
    store.write_header(0, &header(HeaderState::Closed, 1));
    store.write_header(1, &header(HeaderState::Open, 2));
    notes.catch_up(store.disk().turns);
    store.synced().expect("nothing fails");
    notes.since();
    let expected = |slot| Expected { unit: LogicalUnit(slot), uncorrectable: false };
    let wanted = |slot, expected, neighbours| Wanted { at: (0, slot), expected, geometry: &geometry, neighbours };
    for slot in 0..3 {
        store.copy_unit(&wanted(slot, expected(slot), true), (1, slot)).expect("it is there");
    }
    let (metadata, page) = (DATA + LINE_BYTES, 4096);
    let window = [
        format!("read {DATA}+{}", 256 << 10),
        format!("read {metadata}+8"),
        format!("read {RECORDS}+{page}"),
        format!("read {}+8", metadata + 8),
        format!("read {}+8", metadata + 16),
    ];
    assert_eq!(notes.since(), window);
    assert_eq!(store.view(1, 1024, 1), Some(&[0][..]));
    assert_eq!(store.view(1, 2048, 1), Some(&[2][..]));
    // At the end of the data a window is as long as what is left.
    store.copy_unit(&wanted(260, expected(260), true), (1, 4)).expect("it is there");
    assert_eq!(notes.since()[0], format!("read {}+4096", DATA + (260 << 10)));
    store.copy_unit(&wanted(200, expected(200), false), (1, 3)).expect("it is there");
    let single = [
        format!("read {}+1024", DATA + (200 << 10)),
        format!("read {}+8", metadata + 1600),
        format!("read {}+{page}", RECORDS + 4096),
    ];
    assert_eq!(notes.since(), single);
    // What is erased and written again is not taken from what was read of its earlier life.
    store.erase(0, &header(HeaderState::Erased, 0));
    store.write_header(0, &header(HeaderState::Open, 3));
    put(&mut store, &geometry, 0, 0, 77);
    store.write_header(0, &header(HeaderState::Closed, 3));
    notes.catch_up(store.disk().turns);
    store.synced().expect("nothing fails");
    let mut read = [0; 1032];
    store.read_unit(&wanted(0, expected(0), false), &mut read).expect("it is there");
    assert_eq!(read[..], [&[77; 1024][..], &[0; 8]].concat());
    for (slot, wrong) in [
        (0, Expected { unit: LogicalUnit(1), uncorrectable: false }),
        (0, Expected { uncorrectable: true, ..expected(0) }),
        (5, expected(5)),
    ] {
        assert!(
            matches!(store.read_unit(&wanted(slot, wrong, false), &mut read), Err(StoreError::Damaged(_))),
            "{slot}"
        );
    }
}

/// What follows the last page of a line that is still written is not there yet: it is not read ahead.
#[test]
fn nothing_is_read_ahead_of_a_line_that_is_still_written() {
    let (mut store, geometry, notes) = noted(0);
    store.write_header(0, &header(HeaderState::Open, 1));
    put(&mut store, &geometry, 0, 0, 1);
    let mut store = ImageStore::open(&geometry, store.disk().take()).expect("an image");
    assert_eq!(store.header(0).map(|header| header.opened), Ok(1));
    put(&mut store, &geometry, 0, 2, 2);
    store.write_header(1, &header(HeaderState::Open, 2));
    notes.since();
    let wanted = |slot| Wanted {
        at: (0, slot),
        expected: Expected { unit: LogicalUnit(slot), uncorrectable: false },
        geometry: &geometry,
        neighbours: true,
    };
    store.copy_unit(&wanted(0), (1, 0)).expect("it is on the disk");
    assert_eq!(notes.since(), [format!("read {DATA}+1024"), format!("read {RECORDS}+4096")]);
    store.copy_unit(&wanted(3), (1, 1)).expect("it is in memory");
    assert_eq!((notes.since().len(), store.view(1, 1024, 1)), (0, Some(&[2][..])));
}

#[test]
#[should_panic(expected = "only an open line is programmed")]
fn a_line_that_was_never_opened_is_not_programmed() {
    let (mut store, geometry, _) = noted(0);
    put(&mut store, &geometry, 0, 0, 1);
}
