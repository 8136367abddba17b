//! The rows of `bench socket --flat`: drives, and what is asked of each. First what needs neighbours on the drive to lie together, which is
//! how benches of drives have it; then what scatters them, each write at a steady state.

use std::fmt;

use crate::polling_host::{Description, Load, Order, Spread};

const KIB: u32 = 1 << 10;
const PAIRS: [u16; 3] = [1, 4, 16];

/// A drive and its rows.
pub struct Drive {
    /// What each `--namespace` takes.
    pub namespaces: Vec<String>,
    /// In this order.
    pub rows: Vec<Row>,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// How people call it.
    pub name: &'static str,
    /// Bytes of a command.
    pub bytes: u32,
    /// The same for the host; its `blocks` are of 512 bytes until [`Row::load`] says otherwise.
    load: Load,
}

impl Row {
    const fn new(name: &'static str, read_percent: u32, bytes: u32, order: Order, depth: u16) -> Self {
        let (description, spread) = (Description::Prp, Spread::ONE);
        Self { name, bytes, load: Load { read_percent, order, blocks: 0, description, depth, spread } }
    }

    const fn sgl(self) -> Self {
        Self { load: Load { description: Description::Sgl, ..self.load }, ..self }
    }

    const fn spread(self, spread: Spread) -> Self {
        Self { load: Load { spread, ..self.load }, ..self }
    }

    /// For a host with such blocks; none, where they are longer than its commands.
    pub fn load(&self, block_bytes: u32) -> Option<Load> {
        (self.bytes >= block_bytes).then_some(Load { blocks: self.bytes / block_bytes, ..self.load })
    }

    /// Whether the drive is to be scattered before it.
    pub fn scatters(&self) -> bool {
        self.load.order == Order::Random
    }

    /// Whether it writes at random places, so that it takes a while until it costs what it costs.
    pub fn ages(&self) -> bool {
        self.scatters() && self.load.read_percent < 100
    }

    /// Commands under way.
    pub fn depth(&self) -> u16 {
        self.load.depth
    }

    /// Among what they are spread.
    pub fn spread_of(&self) -> Spread {
        self.load.spread
    }

    /// How data is described.
    pub fn description(&self) -> &'static str {
        match self.load.description {
            Description::Prp => "PRP",
            Description::Sgl => "SGL",
        }
    }

    /// Whether rates are shown in GiB a second.
    pub fn is_large(&self) -> bool {
        self.bytes > 4 * KIB
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = if self.bytes < KIB { (self.bytes, "B") } else { (self.bytes / KIB, "KiB") };
        write!(formatter, "{number} {unit} {}, {}", self.name, self.description())
    }
}

/// The drives of the table. Where a namespace is given, one drive of it with the rows of the first.
pub fn drives(namespace: Option<&str>) -> Vec<Drive> {
    if let Some(namespace) = namespace {
        return vec![Drive { namespaces: vec![namespace.to_owned()], rows: small_drive() }];
    }
    let large = [("random read", 100, [1, 32, 128].as_slice()), ("random write", 0, &[32])];
    let large = large.iter().flat_map(|(name, reads, depths)| at_depths(name, *reads, 4 * KIB, depths)).collect();
    let all = Spread { namespaces: 4, ..Spread::ONE };
    let four = [("random read", 100), ("random write", 0)];
    let four = four.map(|(name, reads)| Row::new(name, reads, 4 * KIB, Order::Random, 32).spread(all));
    vec![
        Drive { namespaces: vec!["size=256MiB".to_owned()], rows: small_drive() },
        Drive { namespaces: vec!["size=1GiB".to_owned()], rows: large },
        Drive { namespaces: vec!["size=64MiB".to_owned(); 4], rows: four.into() },
    ]
}

fn at_depths(name: &'static str, reads: u32, bytes: u32, depths: &[u16]) -> Vec<Row> {
    depths.iter().map(|depth| Row::new(name, reads, bytes, Order::Random, *depth)).collect()
}

fn small_drive() -> Vec<Row> {
    let mut rows = in_order();
    rows.extend(at_depths("random write", 0, 4 * KIB, &[1, 4, 32, 128, 256]));
    rows.push(Row::new("random write", 0, 4 * KIB, Order::Random, 32).sgl());
    rows.extend(at_depths("random 70/30", 70, 4 * KIB, &[1, 32, 128]));
    rows.extend(at_depths("random read", 100, 4 * KIB, &[1, 4, 32, 128, 256]));
    rows.push(Row::new("random read", 100, 4 * KIB, Order::Random, 32).sgl());
    for (name, reads) in [("random read", 100), ("random write", 0)] {
        let row = Row::new(name, reads, 4 * KIB, Order::Random, 128);
        // One pair is among the rows before.
        rows.extend(PAIRS[1..].iter().map(|&pairs| row.spread(Spread { pairs, ..Spread::ONE })));
    }
    let scattered = Row::new("scattered read", 100, 128 * KIB, Order::Random, 32);
    rows.extend([scattered, scattered.sgl()]);
    rows.extend(at_depths("scattered read", 100, 16 * KIB, &[32]));
    let sectors = Row::new("random read", 100, 512, Order::Random, 32);
    rows.extend([sectors, sectors.sgl()]);
    rows.extend(at_depths("random write", 0, 512, &[1, 32, 128]));
    // They leave other neighbours than the rest does.
    rows.extend(at_depths("random write", 0, 16 * KIB, &[32]));
    rows.extend(at_depths("random write", 0, 128 * KIB, &[32]));
    rows
}

/// Rows that leave the drive as it was filled.
fn in_order() -> Vec<Row> {
    let row = |name, reads, bytes, depth| Row::new(name, reads, bytes, Order::Sequential, depth);
    let (read, write) = (row("sequential read", 100, 128 * KIB, 32), row("sequential write", 0, 128 * KIB, 32));
    vec![
        row("sequential read", 100, 128 * KIB, 1),
        read,
        read.sgl(),
        row("sequential read", 100, 16 * KIB, 32),
        row("sequential read", 100, 4 * KIB, 32),
        write,
        write.sgl(),
        row("sequential write", 0, 16 * KIB, 32),
        row("sequential write", 0, 4 * KIB, 32),
        row("sequential write", 0, 512, 32),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_can_be_asked_and_none_twice_of_a_drive() {
        for drive in drives(None) {
            let mut seen = Vec::new();
            for row in &drive.rows {
                let load = row.load(512).expect("a command of whole blocks");
                assert_eq!(load.blocks * 512, row.bytes);
                assert!(load.depth.is_multiple_of(load.spread.pairs), "{row:?}");
                assert_eq!(load.spread.namespaces as usize, drive.namespaces.len());
                let same = (row.name, row.bytes, row.depth(), row.description(), row.spread_of().pairs);
                assert!(!seen.contains(&same), "{row:?}");
                seen.push(same);
            }
        }
    }

    #[test]
    fn the_table_reaches_from_depth_1_to_256_and_from_a_sector_to_128_kib() {
        let rows = small_drive();
        let depths = || rows.iter().map(Row::depth);
        let bytes = || rows.iter().map(|row| row.bytes);
        assert_eq!((depths().min(), depths().max()), (Some(1), Some(256)));
        assert_eq!((bytes().min(), bytes().max()), (Some(512), Some(128 * KIB)));
        assert!(PAIRS.iter().all(|&pairs| rows.iter().any(|row| row.spread_of().pairs == pairs)));
    }

    #[test]
    fn what_needs_neighbours_comes_before_what_scatters_them() {
        let rows = small_drive();
        let first = rows.iter().position(Row::scatters).expect("there are random ones");
        assert!(rows[first..].iter().all(Row::scatters));
    }

    #[test]
    fn commands_shorter_than_a_block_are_left_out() {
        assert!(Row::new("", 100, 512, Order::Random, 1).load(4096).is_none());
    }
}
