//! An SD card: a drive whose unit is an allocation unit of 4 MiB, of which it keeps one or two open. A write to an open unit goes where
//! its neighbours went; a write to any other closes the unit used last but one or two, and the rest of that is copied.
//!
//! So what a card makes of the same small writes depends on how often they change places, and a second open unit absorbs the
//! change between two places, but not among three.

use std::fmt;

use media::geometry::GeometryConfig;
use media::nand::timing::NandTimes;
use media::ssd::{CacheConfig, SsdConfig};
use media::unit::Nanoseconds;
use serde_json::{Value, json};

use super::drive::{Drive, volume};
use super::{Size, verdict};
use crate::plot::{AMPLIFICATION, Axis, BarChart, Group, Numbers, Scale};

const ALLOCATION_UNIT: u32 = 4 << 20;
const BLOCK: u32 = 4096;
/// Four planes of 16 KiB that program together count as one page.
const PAGE: u32 = 64 << 10;
/// A unit can stay open as long as its line is: a small line would close one of two every few units.
const UNITS_PER_LINE: u32 = 16;
const UNITS: u64 = 64;
/// Writes that fill a unit.
const PER_UNIT: u64 = (ALLOCATION_UNIT / BLOCK) as u64;
/// How far from the expected cost a measured one may be, in percent: the first units have nothing to copy, the last are not full.
const DEVIATION_MAX: f64 = 1.0;

/// How small writes move over a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Movement {
    name: &'static str,
    places: u64,
    /// Writes to a place before the next one has its turn.
    stay: u64,
    /// Open units at which the changes are absorbed.
    absorbed_by: u32,
}

const MOVEMENTS: [Movement; 4] = [
    Movement { name: "streaming", places: 1, stay: 1, absorbed_by: 1 },
    Movement { name: "2 places, every 5th", places: 2, stay: 5, absorbed_by: 2 },
    Movement { name: "2 places, every", places: 2, stay: 1, absorbed_by: 2 },
    Movement { name: "3 places, every", places: 3, stay: 1, absorbed_by: 3 },
];
const OPEN_UNITS: [u32; 2] = [1, 2];

/// A movement on a card: a measurement that stands by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    movement: Movement,
    open_units: u32,
    writes: u64,
}

/// What each write costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes programmed for each byte written.
    pub programmed: f64,
    /// Modelled time until everything was programmed, in nanoseconds for each write.
    pub time_ns: f64,
}

/// What is measured: for each movement, with each number of open units.
pub fn cases(size: Size) -> Vec<Case> {
    // Whole units for one and two places, in whole fives: nothing is left half full at the end.
    let writes = match size {
        Size::Full => 10 * PER_UNIT,
        Size::Coarse => 120,
    };
    let of = |movement: Movement| OPEN_UNITS.map(|open_units| Case { movement, open_units, writes });
    MOVEMENTS.into_iter().flat_map(of).collect()
}

fn config(open_units: u32) -> SsdConfig {
    let user_bytes = UNITS * u64::from(ALLOCATION_UNIT);
    SsdConfig {
        geometry: GeometryConfig {
            channels: 1,
            dies_per_channel: 2,
            planes_per_die: 1,
            pages_per_block: UNITS_PER_LINE * ALLOCATION_UNIT / PAGE / 2,
            page_bytes: PAGE,
            unit_bytes: ALLOCATION_UNIT,
            user_bytes,
            spare_per_million_of_user: 250_000,
            replacement_blocks_per_plane: 0,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![volume(BLOCK, user_bytes)],
        // No bytes beyond the open units, and none of these is closed for its age.
        cache: CacheConfig { bytes: 0, open_units, age_max: Nanoseconds(u64::MAX), ..CacheConfig::default() },
        power_atomic_bytes: BLOCK,
        times: Some(NandTimes::TLC),
        ..SsdConfig::default()
    }
}

impl Case {
    /// Writes, and counts what the card programmed and how long it took.
    pub fn run(&self) -> Cost {
        let mut drive = Drive::hollow(config(self.open_units));
        let Movement { places, stay, .. } = self.movement;
        let apart = drive.blocks / places / PER_UNIT * PER_UNIT;
        for count in 0..self.writes {
            let (turn, within) = (count / stay, count % stay);
            drive.write(turn % places * apart + turn / places * stay + within, 1, false);
        }
        drive.flush();
        let ledger = drive.ledger();
        let writes = self.writes as f64;
        let programmed = (ledger.programs - ledger.metadata) as f64 / (writes * f64::from(BLOCK));
        Cost { programmed, time_ns: drive.now.0 as f64 / writes }
    }

    /// Bytes programmed for each byte written, by counting closed units.
    fn expected(&self) -> f64 {
        let absorbed = self.open_units >= self.movement.absorbed_by;
        if absorbed { 1.0 } else { PER_UNIT as f64 / self.movement.stay as f64 }
    }

    fn keeps(&self, cost: Cost) -> bool {
        (cost.programmed / self.expected() - 1.0).abs() * 100.0 <= DEVIATION_MAX
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {} open", self.movement.name, self.open_units)
    }
}

/// What all movements cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    size: Size,
    costs: Vec<(Case, Cost)>,
}

impl Table {
    /// Puts the results of all [`cases`] of a size beside what was expected.
    ///
    /// # Panics
    /// If there is not one result for each case.
    pub fn new(size: Size, results: &[Cost]) -> Self {
        let cases = cases(size);
        assert_eq!(cases.len(), results.len(), "a result for each case");
        Self { size, costs: cases.into_iter().zip(results.iter().copied()).collect() }
    }

    /// Whether each movement costs what counting says. A coarse run is not judged.
    pub fn holds(&self) -> bool {
        self.size == Size::Coarse || self.costs.iter().all(|(case, cost)| case.keeps(*cost))
    }

    /// An entry for each movement on each card, for programs. Of a coarse run, `kept` is null.
    pub fn json(&self) -> Value {
        let movement = |(case, cost): &(Case, Cost)| {
            json!({
                "movement": case.movement.name, "open-units": case.open_units, "expected": case.expected(),
                "programmed-per-written": cost.programmed, "time-ns-per-write": cost.time_ns,
                "kept": (self.size == Size::Full).then(|| case.keeps(*cost)),
            })
        };
        self.costs.iter().map(movement).collect()
    }

    /// The cost of each movement as bars.
    pub fn figure(&self) -> BarChart {
        let group = |pair: &[(Case, Cost)]| Group {
            name: pair[0].0.movement.name.to_owned(),
            values: pair.iter().map(|(_, cost)| cost.programmed).collect(),
        };
        BarChart {
            title: "What small writes cost on an SD card: writes of 4KiB, allocation units of 4MiB".to_owned(),
            y: Axis { label: AMPLIFICATION.to_owned(), scale: Scale::Log10, numbers: Numbers::Plain },
            series: OPEN_UNITS.map(|open| format!("{open} open unit{}", if open == 1 { "" } else { "s" })).to_vec(),
            groups: self.costs.chunks(OPEN_UNITS.len()).map(group).collect(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "SD card: writes of 4 KiB, allocation units of 4 MiB, two dies of three-bit NAND")?;
        writeln!(formatter, "    changing places      open  programmed ÷ written  time per write  bar: as counted")?;
        for (case, cost) in &self.costs {
            let bar = if self.size == Size::Coarse { "not judged" } else { verdict(case.keeps(*cost)) };
            writeln!(
                formatter,
                "    {:20} {:4}  {:20.2}  {:14}  {bar} ({})",
                case.movement.name,
                case.open_units,
                cost.programmed,
                time_text(cost.time_ns),
                case.expected()
            )?;
        }
        Ok(())
    }
}

/// Nanoseconds in the unit that leaves the fewest digits.
fn time_text(time_ns: f64) -> String {
    let (value, unit) = if time_ns < 1e6 { (time_ns / 1e3, "µs") } else { (time_ns / 1e6, "ms") };
    format!("{value:.1} {unit}")
}
