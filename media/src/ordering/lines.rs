//! A store alone, over a disk that forgets: a few lines are opened, programmed, closed and erased, and the host fails. What the header
//! that was written last claims is there, and as long as an erase is not there, everything that lay in the line is.

use crate::geometry::{Geometry, GeometryConfig};
use crate::journal::{HeaderState, Kind, LineHeader, Record};
use crate::power::Random;
use crate::store::{Caching, ImageStore, Store, TwinDisk};
use crate::unit::index;

const LINES: u32 = 3;
const SLOTS: u32 = 4;
const UNIT: u32 = 1024;

/// From one opening of a line to its erase.
#[derive(Clone, Default)]
struct Life {
    /// The event that began it; 0: there was none.
    opened: u64,
    /// By slot: how many events there had been when it was programmed.
    programmed: Vec<u64>,
}

#[derive(Clone, Default)]
struct Line {
    state: HeaderState,
    life: Life,
    /// The one before.
    before: Life,
}

/// The lines, as they were called to be.
pub(super) struct Lines {
    random: Random,
    geometry: Geometry,
    store: ImageStore<TwinDisk>,
    lines: Vec<Line>,
    events: u64,
    /// The last sync, which counts as one.
    durable: u64,
}

impl Lines {
    /// A history from a seed, to the end of the host.
    pub(super) fn live(seed: u64) {
        let mut random = Random::new(seed);
        let geometry = Geometry::new(GeometryConfig {
            channels: 1,
            dies_per_channel: 1,
            planes_per_die: 1,
            pages_per_block: SLOTS,
            page_bytes: UNIT,
            unit_bytes: UNIT,
            user_bytes: u64::from(LINES * SLOTS * UNIT),
            ..GeometryConfig::default()
        })
        .expect("a legal geometry");
        let mut store = ImageStore::create(&geometry, 4096, TwinDisk::new(seed)).expect("there is memory");
        store.set_caching(Caching { cache_bytes: 0, kept_lines: index(random.below(3)) });
        let lines = vec![Line::default(); LINES as usize];
        let mut all = Self { random, geometry, store, lines, events: 0, durable: 0 };
        for _ in 0..1 + all.random.below(40) {
            all.go_on();
        }
        all.fail();
    }

    /// Something that a line may see next.
    fn go_on(&mut self) {
        let line = u32::try_from(self.random.below(LINES.into())).expect("few");
        match self.lines[line as usize].state {
            _ if self.random.below(16) == 0 => self.sync(),
            HeaderState::Open if self.lines[line as usize].life.programmed.len() < index(SLOTS.into()) => {
                self.program(line);
            }
            HeaderState::Open => self.write_header(line, HeaderState::Closed),
            HeaderState::Closed | HeaderState::Retired => self.erase(line),
            HeaderState::Erased => self.write_header(line, HeaderState::Open),
        }
    }

    fn header(&mut self, line: u32, state: HeaderState) -> LineHeader {
        self.events += 1;
        let of = &mut self.lines[line as usize];
        of.state = state;
        if state == HeaderState::Open {
            of.before = std::mem::take(&mut of.life);
            of.life.opened = self.events;
        }
        let opened = if state == HeaderState::Erased { 0 } else { of.life.opened };
        LineHeader { state, opened, event: self.events, ..LineHeader::default() }
    }

    fn write_header(&mut self, line: u32, state: HeaderState) {
        let header = self.header(line, state);
        self.store.write_header(line, &header);
    }

    fn erase(&mut self, line: u32) {
        let header = self.header(line, HeaderState::Erased);
        self.store.erase(line, &header);
    }

    fn program(&mut self, line: u32) {
        let life = &mut self.lines[line as usize].life;
        let slot = u32::try_from(life.programmed.len()).expect("few");
        life.programmed.push(self.events);
        let (sequence, data) = (life.opened, [u8::try_from(life.opened).expect("few"); UNIT as usize]);
        self.store.stage_bytes(line, self.geometry.data_offset(slot), &data);
        let record = Record { kind: Kind::Host, sequence, length: 1, ..Record::default() };
        self.store.program(line, slot, &[record]);
    }

    fn sync(&mut self) {
        let ticket = self.store.sync();
        while self.store.synced().expect("a sound disk") < ticket {}
        self.events += 1;
        self.durable = self.events;
    }

    fn fail(mut self) {
        self.store.disk().fail(self.random.draw());
        self.store = self.store.take();
        let headers: Vec<_> = (0..LINES).map(|line| self.store.header(line).expect("it is whole")).collect();
        let newest = headers.iter().map(|header| header.event).max().unwrap_or(0).max(self.durable);
        for (line, header) in (0..).zip(headers) {
            let Line { state, life, before } = self.lines[line as usize].clone();
            let erased = header.opened == 0;
            let loss = self.store.disk().loss();
            let opened = header.opened == life.opened || (erased && state == HeaderState::Erased);
            assert!(
                opened || life.opened >= newest,
                "line {line} was not opened, and more was claimed; the host left\n{loss}"
            );
            if !erased {
                let there = if header.opened == life.opened { life } else { before };
                self.look(line, &there, newest);
            }
        }
    }

    /// What was programmed before an event is there.
    fn look(&mut self, line: u32, life: &Life, newest: u64) {
        let mut records = Vec::new();
        self.store.records(line, &mut records).expect("a sound disk");
        self.store.verify_data(line, 0, &mut records).expect("a sound disk");
        for (slot, &event) in life.programmed.iter().enumerate() {
            let there = records.get(slot).is_some_and(|record| record.sequence == life.opened);
            let loss = self.store.disk().loss();
            assert!(there || event >= newest, "slot {slot} of line {line} is not there; the host left\n{loss}");
        }
    }
}
