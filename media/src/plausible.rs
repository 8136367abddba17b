//! Owns what numbers read from a store may be. A checksum finds damage; it does not find what somebody wrote on purpose, nor a defect
//! of an older version. What passes here can be counted with, indexed by and added up without a further check.

use crate::geometry::Geometry;
use crate::journal::{Deallocation, HeaderState, LineHeader, Record};
use crate::ledger::Ledger;
use crate::root::{Root, VolumeEntry, note_bytes_max};
use crate::store::StoreError;

/// No counter of a media comes near it, and a few of them can be added up.
const MOST: u64 = 1 << 56;
/// As [`MOST`], for counters of 32 bits.
const MOST_ERASES: u32 = 1 << 31;

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), StoreError> {
    if holds { Ok(()) } else { Err(StoreError::Damaged(what())) }
}

fn check_ledger(ledger: &Ledger) -> Result<(), StoreError> {
    let small = ledger.to_words().iter().all(|&word| word < MOST);
    require(small && ledger.balances(), || format!("the ledger does not balance: {ledger:?}"))
}

/// Checks a root against the geometry.
///
/// # Errors
/// The first thing in it that cannot be.
pub fn check_root(geometry: &Geometry, root: &Root) -> Result<(), StoreError> {
    let basis = &root.basis;
    let numbers = [root.generation, root.next_event, root.ledger_event, basis.journal_begin, basis.horizon];
    let counters = root.counters.to_words();
    let voids = root.voids.iter().flat_map(|&(from, to)| [from, to]);
    let mut all = numbers.into_iter().chain(counters).chain(basis.opened).chain(voids).chain([root.next_sequence]);
    require(all.all(|number| number < MOST) && root.next_sequence > 0, || "the root counts beyond reason".into())?;
    require(root.voids.iter().all(|void| void.0 <= void.1), || "the root gives up numbers backwards".into())?;
    let slots = geometry.units_per_line;
    require(
        root.programmed.iter().all(|&slot| slot <= slots)
            && basis.slot.iter().all(|&slot| slot <= slots || slot == u32::MAX),
        || "the root names slots that no line has".into(),
    )?;
    check_ledger(&root.ledger)?;
    check_blocks(geometry, root)?;
    root.volumes.iter().try_for_each(|volume| check_volume(geometry, volume))?;
    let apart = |pair: &[VolumeEntry]| pair[0].first_unit + pair[0].units <= pair[1].first_unit;
    require(root.volumes.windows(2).all(apart), || "the root's volumes lie in each other".into())?;
    let units = root.volumes.iter().map(|volume| u64::from(volume.units)).sum::<u64>();
    require(units <= u64::from(geometry.user_units), || "the root's volumes have more units than there are".into())?;
    let places = geometry.window_units == 0 || root.volumes.len() <= geometry.config.volumes_max as usize;
    require(places, || "the root has more volumes than there may be".into())?;
    let own = |(number, volume): (u32, &VolumeEntry)| volume.first_unit == geometry.window(number).0;
    let placed = geometry.window_units == 0 || (0..).zip(&root.volumes).all(own);
    require(placed, || "a volume of the root is not where it belongs".into())?;
    require(root.note.len() <= note_bytes_max(geometry), || "the root's note is too long".into())
}

fn check_volume(geometry: &Geometry, volume: &VolumeEntry) -> Result<(), StoreError> {
    if geometry.window_units != 0 && !volume.exists() {
        let nothing = *volume == VolumeEntry::absent(volume.first_unit);
        return require(nothing, || format!("a volume that is not there has something: {volume:?}"));
    }
    let unit = geometry.config.unit_bytes;
    let block = volume.block_bytes;
    let format =
        block.is_power_of_two() && (512..=unit).contains(&block) && [0, 8, 16, 64].contains(&volume.metadata_bytes);
    require(format, || format!("a volume has an impossible format: {volume:?}"))?;
    let per_unit = unit / block;
    let end = u64::from(volume.first_unit) + u64::from(volume.units);
    let fits = end <= u64::from(geometry.logical_units)
        && (1..=u64::from(volume.units) * u64::from(per_unit)).contains(&volume.capacity_blocks)
        && u64::from(per_unit) * u64::from(volume.metadata_bytes) <= u64::from(geometry.config.metadata_bytes_per_unit);
    require(fits, || format!("a volume does not fit the media: {volume:?}"))
}

/// Each block is bad once, and each replacement stands in for one block.
fn check_blocks(geometry: &Geometry, root: &Root) -> Result<(), StoreError> {
    let blocks = geometry.lines..geometry.lines + geometry.config.replacement_blocks_per_plane;
    let mut bad = root.bad_blocks.clone();
    bad.sort_unstable();
    let distinct = bad.windows(2).all(|pair| pair[0] != pair[1]);
    let known = bad.iter().all(|&(plane, block)| plane < geometry.planes && block < blocks.end);
    require(distinct && known, || "the root's bad blocks cannot be".into())?;
    let mut used: Vec<_> = root.replaced.iter().map(|&(_, plane, block)| (plane, block)).collect();
    used.sort_unstable();
    let mut of: Vec<_> = root.replaced.iter().map(|&(line, plane, _)| (line, plane)).collect();
    of.sort_unstable();
    let distinct = [used, of].iter().all(|list| list.windows(2).all(|pair| pair[0] != pair[1]));
    let known = root
        .replaced
        .iter()
        .all(|&(line, plane, block)| line < geometry.lines && plane < geometry.planes && blocks.contains(&block));
    require(distinct && known, || "the root's replaced blocks cannot be".into())
}

/// Checks that no line in use stands on a bad block.
///
/// # Errors
/// The line that does.
pub fn check_lines_in_use(root: &Root, headers: &[LineHeader]) -> Result<(), StoreError> {
    let replaced: std::collections::BTreeMap<_, _> =
        root.replaced.iter().map(|&(line, plane, block)| ((plane, block), line)).collect();
    for &(plane, block) in &root.bad_blocks {
        let own = root.replaced.iter().any(|&(line, of, _)| (line, of) == (block, plane));
        // A line's own block counts only while nothing replaces it.
        let line = replaced.get(&(plane, block)).copied().unwrap_or(block);
        let header = headers.get(line as usize).filter(|_| !own);
        let in_use = header.is_some_and(|header| header.state != HeaderState::Retired);
        require(!in_use, || format!("line {line} stands on a bad block"))?;
    }
    Ok(())
}

/// Checks a line's header.
///
/// # Errors
/// What cannot be.
pub fn check_header(geometry: &Geometry, line: u32, header: &LineHeader) -> Result<(), StoreError> {
    let small = [header.opened, header.event, header.horizon].iter().all(|&number| number < MOST);
    let slots = geometry.units_per_line;
    let within = header.used <= slots && header.programmed.iter().all(|&slot| slot <= slots);
    let programmed = matches!(header.state, HeaderState::Open | HeaderState::Closed);
    let opened = !programmed || (1..=header.event).contains(&header.opened);
    require(small && within && opened && header.erase_count < MOST_ERASES, || {
        format!("the header of line {line} says what cannot be: {header:?}")
    })?;
    check_ledger(&header.ledger)
}

/// Checks a record that is counted or replayed.
///
/// # Errors
/// What cannot be.
pub fn check_record(geometry: &Geometry, record: &Record) -> Result<(), StoreError> {
    let host = u64::from(record.host_sectors) * 512 <= u64::from(geometry.config.unit_bytes);
    require(host && record.sequence < MOST, || format!("a record says what cannot be: {record:?}"))
}

/// Checks an entry of the journal.
///
/// # Errors
/// What cannot be.
pub fn check_deallocation(entry: &Deallocation, metadata: u64) -> Result<(), StoreError> {
    require(entry.sequence < MOST && metadata < MOST, || format!("the journal says what cannot be: {entry:?}"))
}
