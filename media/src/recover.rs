//! Owns the way back: from the root, the map pages, the lines' headers and records, and the journal, to a translation layer that
//! goes on where the log ended. Writes nothing but a root, at the very end, so that a power loss on the way costs nothing.

use crate::config::Tuning;
use crate::ftl::checkpoint::Checkpoint;
use crate::ftl::line::{Line, LineState};
use crate::ftl::map::LineCount;
use crate::ftl::{CacheLimits, Ftl, HOST, MOVED};
use crate::geometry::Geometry;
use crate::journal::{
    Deallocation, ENTRIES_PER_PAGE, HeaderState, Kind, LineHeader, RECORD_BYTES, Record, map_page_checksum,
};
use crate::large_memory::{OutOfMemory, filled, room};
use crate::ledger::Ledger;
use crate::nand::Nand;
use crate::nand::array::count;
use crate::nand::wear::Blocks;
use crate::ordering::Order;
use crate::plausible::{check_deallocation, check_header, check_lines_in_use, check_record, check_root};
use crate::power::mutation::{Mutation, mutated};
use crate::power::{Arming, RecoveryReport, Step};
use crate::root::{Basis, Root};
use crate::store::{Store, StoreError};
use crate::unit::{LogicalUnit, PhysicalUnit, index, narrow};

/// A line's header may be lost where records of that life of the line are not: the numbers that such headers could have had are
/// not used again.
const EVENTS_PASSED_OVER: u64 = 1 << 20;

/// Map pages read at a time.
const PAGES_PER_READ: usize = 64;

/// The last moment at which a header or a root was written: what came after it lies in the lines that are open now.
#[derive(Clone, Copy)]
struct Snapshot {
    ledger: Ledger,
    programmed: [u32; 2],
    event: u64,
}

fn snapshot(root: &Root, headers: &[LineHeader]) -> Snapshot {
    let start = Snapshot { ledger: root.ledger, programmed: root.programmed, event: root.ledger_event };
    headers.iter().fold(start, |last, header| {
        let later = Snapshot { ledger: header.ledger, programmed: header.programmed, event: header.event };
        if later.event > last.event { later } else { last }
    })
}

/// A version or a deallocation found in the log.
#[derive(Clone, Copy, Debug)]
struct Found {
    sequence: u64,
    order: u64,
    first: u32,
    /// The place of a unit, or the units of a deallocation.
    place: u32,
    position: u16,
    length: u16,
    what: What,
    uncorrectable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Unit,
    Copy,
    Deallocation,
    Abandoned,
}

/// Why a translation layer is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be used: this is a power-on, with the breaker armed for recovery's own steps where asked for. A misbehaving drive forgets the
    /// younger half of what it should repeat.
    Use(Option<Arming>, bool),
    /// To put down what survives a power loss: nobody's power-on, and nothing to be counted.
    Cut,
}

/// What could not be brought back.
#[derive(Debug)]
pub struct Unrecovered<S> {
    /// Why.
    pub error: StoreError,
    /// The store, to try again with; nothing where there was no memory for what goes around it.
    pub store: Option<S>,
}

impl<S> From<OutOfMemory> for Unrecovered<S> {
    fn from(lack: OutOfMemory) -> Self {
        Self { error: lack.into(), store: None }
    }
}

/// Brings a translation layer back from a store.
///
/// # Errors
/// [`StoreError::Damaged`] where the store holds no media of this geometry, and what the store itself reports; with the store as it was
/// found, since nothing is written before everything was read.
pub fn recover<S: Store>(
    geometry: Geometry,
    nand: Nand<S>,
    tuning: Tuning,
    limits: CacheLimits,
    purpose: Purpose,
) -> Result<(Ftl<S>, RecoveryReport), Unrecovered<S>> {
    let mut ftl = Ftl::new(geometry, nand, tuning, limits)?;
    match bring_back(&mut ftl, purpose) {
        Ok(report) => Ok((ftl, report)),
        Err(error) => Err(Unrecovered { error, store: Some(ftl.nand.store) }),
    }
}

fn bring_back<S: Store>(ftl: &mut Ftl<S>, purpose: Purpose) -> Result<RecoveryReport, StoreError> {
    let (room, needed) = (ftl.nand.store.metadata_room(), ftl.layout.bytes);
    if room < needed {
        return Err(StoreError::Damaged(format!(
            "{needed} bytes of metadata do not fit the {room} that were set aside"
        )));
    }
    if let Purpose::Use(Some(arming), _) = purpose {
        ftl.nand.power.arm(arming);
    }
    let root = read_root(ftl)?;
    apply_root(ftl, &root)?;
    let headers = read_headers(ftl)?;
    check_lines_in_use(&root, &headers)?;
    ftl.reached(Step::RecoveryBegun);
    read_map(ftl)?;
    let mut report = RecoveryReport { clean: root.clean, ..RecoveryReport::default() };
    let snapshot = snapshot(&root, &headers);
    let mut found = scan_lines(ftl, &headers, &snapshot, &mut report)?;
    let metadata = scan_journal(ftl, &mut found)?;
    ftl.reached(Step::RecoveryScanned);
    // The sort that makes use of runs.
    found.sort_by_key(|found| (found.sequence, found.order));
    let horizon = headers.iter().map(|header| header.horizon).fold(root.basis.horizon, u64::max);
    let accepted = accept(&found, horizon, &ftl.voids);
    replay(ftl, &found, accepted, &mut report);
    if let Purpose::Use(_, true) = purpose {
        forget(ftl, &found, accepted);
    }
    resume_sequence(ftl, &found, &root, accepted, &mut report);
    ftl.reached(Step::RecoveryReplayed);
    restore_lines(ftl, &headers)?;
    restore_ledger(ftl, &snapshot, metadata)?;
    if purpose != Purpose::Cut {
        ftl.counters.power_cycles += 1;
        ftl.counters.unsafe_shutdowns += u64::from(!root.clean && !mutated(Mutation::UnsafeShutdown));
    }
    ftl.reached(Step::RecoveryRoot);
    if report.torn > 0 && Order::RootAfterTorn.kept() {
        // A root alone would say that everything before it is on the disk, and a record whose data is not would be replayed the
        // next time: the map without it is made durable in the same step.
        ftl.checkpoint_now();
    } else {
        ftl.write_root(false);
    }
    // If the root is lost, the next recovery gives lines the same numbers again, and takes records of lines that were opened after
    // this one for its own.
    ftl.nand.hold_programs(Order::ProgramAfterRecovery);
    close_left_lines(ftl, &headers);
    // What a misbehaving drive forgot it may find again the next time.
    if !matches!(purpose, Purpose::Use(_, true)) {
        ftl.forget_unmapped();
    }
    ftl.reached(Step::RecoveryDone);
    Ok(report)
}

fn read_root<S: Store>(ftl: &mut Ftl<S>) -> Result<Root, StoreError> {
    let mut newest: Option<Root> = None;
    let mut bytes = filled(0, index(ftl.layout.root_bytes))?;
    for generation in 0..2 {
        ftl.nand.store.read_metadata(ftl.layout.root_at(generation), &mut bytes)?;
        if let Some(root) = Root::decode(&bytes)
            && newest.as_ref().is_none_or(|newest| root.generation > newest.generation)
        {
            newest = Some(root);
        }
    }
    newest.ok_or_else(|| StoreError::Damaged("neither root of the metadata is whole".into()))
}

fn apply_root<S: Store>(ftl: &mut Ftl<S>, root: &Root) -> Result<(), StoreError> {
    check_root(&ftl.geometry, root)?;
    let pages = ftl.map.pages().div_ceil(64);
    let blocks = Blocks::from_root(&ftl.geometry, &root.bad_blocks, &root.replaced);
    let fits = root.basis.homes.len() == pages && root.basis.sums.len() == ftl.map.pages();
    let (true, Some(blocks)) = (fits, blocks) else {
        return Err(StoreError::Damaged("the root does not fit the geometry".into()));
    };
    ftl.nand.blocks = blocks;
    ftl.checkpoint = Checkpoint::new(&ftl.layout)?;
    ftl.checkpoint.basis = root.basis.clone();
    ftl.checkpoint.generation = root.generation;
    ftl.schedule_checkpoint();
    ftl.voids.clone_from(&root.voids);
    ftl.counters = root.counters;
    ftl.volumes.clone_from(&root.volumes);
    ftl.note.clone_from(&root.note);
    ftl.nand.next_event = root.next_event;
    Ok(())
}

fn read_headers<S: Store>(ftl: &mut Ftl<S>) -> Result<Vec<LineHeader>, StoreError> {
    let mut headers = room(ftl.geometry.lines as usize)?;
    for line in 0..ftl.geometry.lines {
        headers.push(ftl.nand.store.header(line)?);
    }
    for (line, header) in (0..).zip(&headers) {
        check_header(&ftl.geometry, line, header)?;
    }
    let last = headers.iter().map(|header| header.event + 1).max().unwrap_or(1);
    let passed_over = if Order::LivesAfterRecovery.kept() { EVENTS_PASSED_OVER } else { 0 };
    ftl.nand.next_event = ftl.nand.next_event.max(last) + passed_over;
    Ok(headers)
}

/// Reads the map's pages to where they stay, and checks them while they are in the processor's cache. A page that is not what was
/// written is not made up from records: what was deallocated before the checkpoint is in no journal any more, and would come back.
fn read_map<S: Store>(ftl: &mut Ftl<S>) -> Result<(), StoreError> {
    let Basis { homes, sums, .. } = &ftl.checkpoint.basis;
    let second = |page: usize| homes[page / 64] >> (page % 64) & 1 == 1;
    let mut page = 0;
    while page < sums.len() {
        if sums[page] == 0 {
            page += 1;
            continue;
        }
        // Neighbours with the same home lie next to each other.
        let most = PAGES_PER_READ.min(sums.len() - page);
        let ends = |next: &usize| sums[page + next] == 0 || second(page + next) != second(page);
        let run = (1..most).find(ends).unwrap_or(most);
        let place = ftl.layout.map_at(page as u64, second(page));
        ftl.nand.store.read_metadata(place, ftl.map.pages_mut(page, run))?;
        for (read, &sum) in (page..).zip(&sums[page..page + run]) {
            if map_page_checksum(read as u64, ftl.map.page(read)) != sum {
                let first = read * ENTRIES_PER_PAGE;
                let last = first + ENTRIES_PER_PAGE - 1;
                return Err(StoreError::Damaged(format!("the map of units {first} to {last} is not what was written")));
            }
            ftl.map.count_page(read);
        }
        page += run;
    }
    Ok(())
}

/// Collects the records that were programmed since the checkpoint began.
fn scan_lines<S: Store>(
    ftl: &mut Ftl<S>,
    headers: &[LineHeader],
    snapshot: &Snapshot,
    report: &mut RecoveryReport,
) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    let mut records = Vec::new();
    // In the order in which they were opened, so that what is found comes nearly sorted.
    let mut lines: Vec<_> = (0..).zip(headers).collect();
    lines.sort_unstable_by_key(|(_, header)| header.opened);
    for (line, header) in lines {
        let stream = usize::from(header.stream);
        let basis = &ftl.checkpoint.basis;
        let programmed = matches!(header.state, HeaderState::Open | HeaderState::Closed);
        if !programmed || header.opened < basis.opened[stream] {
            continue;
        }
        let from = if header.opened == basis.opened[stream] { basis.slot[stream] } else { 0 };
        ftl.nand.store.records(line, &mut records)?;
        report.lines_scanned += 1;
        if header.state == HeaderState::Open && Order::RecordAfterData.kept() {
            let holes = |records: &[Record]| records.iter().filter(|record| record.kind == Kind::Hole).count() as u64;
            let before = holes(&records);
            ftl.nand.store.verify_data(line, snapshot.programmed[stream], &mut records)?;
            report.torn += holes(&records) - before;
        }
        for (slot, record) in (0..).zip(&records).skip(from as usize) {
            check_record(&ftl.geometry, record)?;
            found.extend(found_record(record, header.opened, ftl.geometry.physical(line, slot)));
        }
    }
    Ok(found)
}

fn found_record(record: &Record, opened: u64, place: PhysicalUnit) -> Option<Found> {
    let what = match record.kind {
        Kind::Hole | Kind::Padding => return None,
        Kind::Host => What::Unit,
        Kind::Collected | Kind::Wear => What::Copy,
        Kind::Abandoned => What::Abandoned,
    };
    Some(Found {
        sequence: record.sequence,
        order: opened,
        first: record.logical,
        place: place.0,
        position: record.position,
        length: record.length,
        what,
        uncorrectable: record.uncorrectable,
    })
}

/// Collects the journal's entries since the checkpoint began; returns the metadata bytes counted by the last one. An entry may be
/// missing where the host failed, and others behind it be there: the sequence numbers say what counts, and the journal goes on
/// behind all of them.
fn scan_journal<S: Store>(ftl: &mut Ftl<S>, found: &mut Vec<Found>) -> Result<u64, StoreError> {
    let begin = ftl.checkpoint.basis.journal_begin;
    let mut ring = vec![0; index(ftl.layout.journal_entries) * RECORD_BYTES];
    ftl.nand.store.read_metadata(ftl.layout.journal, &mut ring)?;
    let mut counted = 0;
    ftl.journal_end = begin;
    for position in begin..begin + ftl.layout.journal_entries {
        let at = index(ftl.layout.journal_at(position) - ftl.layout.journal);
        let Some((entry, metadata)) = Deallocation::decode(position, &ring[at..at + RECORD_BYTES]) else {
            continue;
        };
        check_deallocation(&entry, metadata)?;
        found.push(Found {
            sequence: entry.sequence,
            order: 0,
            first: entry.first,
            place: entry.units,
            position: 0,
            length: 1,
            what: What::Deallocation,
            uncorrectable: false,
        });
        counted = metadata;
        ftl.journal_end = position + 1;
    }
    Ok(counted)
}

/// Up to which sequence number the log is whole: everything up to the horizon, then group by group to the first gap.
fn accept(found: &[Found], horizon: u64, voids: &[(u64, u64)]) -> u64 {
    let mut accepted = horizon;
    let mut rest = &found[found.partition_point(|found| found.sequence <= horizon)..];
    loop {
        // Two power losses one after the other leave two voids next to each other.
        while let Some(void) = voids.iter().find(|void| (void.0..=void.1).contains(&(accepted + 1))) {
            accepted = void.1;
            if mutated(Mutation::TwoVoids) {
                break;
            }
        }
        rest = &rest[rest.partition_point(|found| found.sequence <= accepted)..];
        // Of a version and a copy of it that was moved, the version says how long its group is; the copy may come first.
        let same = &rest[..rest.partition_point(|found| found.sequence <= accepted + 1)];
        let Some(next) = same.iter().find(|found| found.what == What::Unit).or(same.first()) else {
            return accepted;
        };
        let length = if next.what == What::Unit { next.length } else { 1 };
        if !whole_group(rest, next, length) {
            return accepted;
        }
        accepted += if mutated(Mutation::GroupCommit) { 1 } else { u64::from(length) };
    }
}

/// Whether the entries begin with all of a group.
fn whole_group(found: &[Found], first: &Found, length: u16) -> bool {
    if first.what != What::Unit || mutated(Mutation::GroupCommit) {
        return true;
    }
    let mut units = found.iter().filter(|found| found.what == What::Unit);
    length > 0
        && (0..length).all(|position| {
            units.next().is_some_and(|unit| {
                unit.sequence == first.sequence + u64::from(position)
                    && (unit.position, unit.length) == (position, length)
            })
        })
}

/// Repeats, in order, what was accepted.
fn replay<S: Store>(ftl: &mut Ftl<S>, found: &[Found], accepted: u64, report: &mut RecoveryReport) {
    let voids = std::mem::take(&mut ftl.voids);
    for entry in found.iter().take_while(|found| found.sequence <= accepted) {
        let void = voids.iter().any(|void| (void.0..=void.1).contains(&entry.sequence));
        if void || entry.what == What::Abandoned || !ftl.geometry.holds(LogicalUnit(entry.first)) {
            continue;
        }
        report.replayed += 1;
        if entry.what == What::Deallocation {
            let end = entry.first.saturating_add(entry.place).min(ftl.geometry.logical_units);
            let mut unit = entry.first;
            while let Some(used) = ftl.map.next_used(unit, end) {
                ftl.map.clear(LogicalUnit(used));
                unit = used + 1;
            }
        } else {
            ftl.map.set(LogicalUnit(entry.first), PhysicalUnit(entry.place));
            if entry.uncorrectable {
                ftl.map.set_uncorrectable(LogicalUnit(entry.first));
            }
        }
    }
    ftl.voids = voids;
}

/// Forgets where the younger half of what was accepted lies.
fn forget<S: Store>(ftl: &mut Ftl<S>, found: &[Found], accepted: u64) {
    let accepted = &found[..found.partition_point(|found| found.sequence <= accepted)];
    for entry in accepted.iter().skip(accepted.len() / 2) {
        let unit = LogicalUnit(entry.first);
        if entry.what == What::Unit && ftl.geometry.holds(unit) {
            ftl.map.clear(unit);
        }
    }
}

/// Goes on behind everything that was ever numbered, and gives up what was not accepted.
fn resume_sequence<S: Store>(
    ftl: &mut Ftl<S>,
    found: &[Found],
    root: &Root,
    accepted: u64,
    report: &mut RecoveryReport,
) {
    let seen = found.last().map_or(0, |last| last.sequence).max(root.next_sequence - 1).max(accepted);
    if seen > accepted && !mutated(Mutation::GivenUp) {
        ftl.voids.push((accepted + 1, seen));
        report.given_up = seen - accepted;
    }
    ftl.sequence = seen + 1;
    ftl.committed = seen;
}

/// The line that a stream was writing: the one it opened last, if that is still open.
fn newest_open(headers: &[LineHeader], stream: usize) -> Option<u32> {
    let of_stream = (0..).zip(headers).filter(|(_, header)| {
        matches!(header.state, HeaderState::Open | HeaderState::Closed) && usize::from(header.stream) == stream
    });
    let newest = of_stream.max_by_key(|(_, header)| header.opened);
    newest.filter(|(_, header)| header.state == HeaderState::Open).map(|(line, _)| line)
}

/// Closes the lines that a stream had left, after a program failed in them, and power went before they were closed: the next
/// recovery must not take them for the line that the stream writes.
fn close_left_lines<S: Store>(ftl: &mut Ftl<S>, headers: &[LineHeader]) {
    for (line, header) in (0..).zip(headers) {
        if header.state == HeaderState::Open && ftl.lines.get(line).state == LineState::Closed {
            let used = ftl.geometry.units_per_line;
            ftl.write_closed(usize::from(header.stream), line, used, header.opened);
        }
    }
}

fn restore_lines<S: Store>(ftl: &mut Ftl<S>, headers: &[LineHeader]) -> Result<(), StoreError> {
    let frontiers = [newest_open(headers, HOST), newest_open(headers, MOVED)];
    for (line, header) in (0..).zip(headers) {
        let state = match header.state {
            HeaderState::Erased => LineState::Free,
            HeaderState::Retired => LineState::Retired,
            HeaderState::Open if frontiers.contains(&Some(line)) => LineState::Open,
            HeaderState::Open | HeaderState::Closed => LineState::Closed,
        };
        let (erase_count, opened, closed_at, used) = (header.erase_count, header.opened, header.horizon, header.used);
        ftl.lines.restore(line, Line { state, erase_count, opened, closed_at, used, ..Line::default() });
        if state == LineState::Closed {
            ftl.nand.seal(line);
        }
    }
    ftl.lines.index();
    for (stream, line) in frontiers.into_iter().enumerate() {
        if let Some(line) = line {
            restore_frontier(ftl, stream, line, headers[line as usize].opened)?;
        }
    }
    recount(ftl)
}

/// A stream goes on in its open line, behind the last page that was touched.
fn restore_frontier<S: Store>(ftl: &mut Ftl<S>, stream: usize, line: u32, opened: u64) -> Result<(), StoreError> {
    let mut records = Vec::new();
    ftl.nand.store.records(line, &mut records)?;
    let programmed = narrow(records.len()).next_multiple_of(ftl.geometry.units_per_program);
    if programmed > ftl.geometry.units_per_line {
        return Err(StoreError::Damaged(format!("line {line} has more records than slots")));
    }
    ftl.nand.found_programmed(line, programmed);
    let frontier = &mut ftl.streams[stream];
    (frontier.line, frontier.opened) = (line, opened);
    (frontier.next, frontier.programmed, frontier.resumed) = (programmed, programmed, programmed);
    frontier.records[..records.len()].copy_from_slice(&records);
    frontier.records[records.len()..programmed as usize].fill(Record::default());
    Ok(())
}

/// Counts each line's valid units.
fn recount<S: Store>(ftl: &mut Ftl<S>) -> Result<(), StoreError> {
    let full = LineCount { slots: ftl.geometry.units_per_line, valid: 0 };
    let mut lines = filled(full, ftl.geometry.lines as usize)?;
    // Nothing lies in a slot that is still to be programmed.
    for stream in &ftl.streams {
        if let Some(line) = lines.get_mut(stream.line as usize) {
            line.slots = stream.programmed;
        }
    }
    let counted = ftl.map.count_by_line(ftl.geometry.slot_bits, &mut lines);
    ftl.mapped = counted.map_err(|unit| StoreError::Damaged(format!("unit {} lies nowhere", unit.0)))?;
    for (line, LineCount { slots, valid }) in (0..).zip(lines) {
        let state = ftl.lines.get(line).state;
        if valid != 0 && matches!(state, LineState::Free | LineState::Retired) {
            return Err(StoreError::Damaged(format!("{valid} units lie in line {line}, which holds nothing")));
        }
        // Of an open line only what is programmed: what is staged from now on is counted on top.
        if valid > slots {
            return Err(StoreError::Damaged(format!(
                "{valid} units lie in the {slots} programmed slots of line {line}"
            )));
        }
        ftl.lines.get_mut(line).valid = valid;
    }
    Ok(())
}

/// Counts on from the last ledger that was written: what was programmed since lies in the lines that are open now.
fn restore_ledger<S: Store>(ftl: &mut Ftl<S>, snapshot: &Snapshot, metadata: u64) -> Result<(), StoreError> {
    let mut ledger = snapshot.ledger;
    let mut records = Vec::new();
    for stream in [HOST, MOVED] {
        let line = ftl.streams[stream].line;
        if line != crate::ftl::alloc::NO_LINE {
            ftl.nand.store.records(line, &mut records)?;
            for record in records.iter().skip(snapshot.programmed[stream] as usize) {
                check_record(&ftl.geometry, record)?;
                count(&mut ledger, record, ftl.geometry.unit_bytes() as u64);
            }
        }
    }
    if metadata > ledger.metadata {
        let missing = metadata - ledger.metadata;
        ledger.count_metadata(missing);
    }
    if !ledger.balances() {
        return Err(StoreError::Damaged("the ledger does not balance".into()));
    }
    ftl.nand.ledger = ledger;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(sequence: u64, position: u16, length: u16) -> Found {
        Found { sequence, order: 0, first: 0, place: 0, position, length, what: What::Unit, uncorrectable: false }
    }

    #[test]
    fn what_follows_two_neighbouring_voids_is_accepted() {
        // The first unit of a group that was given up, the first unit of another, and a write that was acknowledged.
        let found = [unit(5, 0, 2), unit(6, 0, 2), unit(7, 0, 1)];
        assert_eq!(accept(&found, 4, &[(5, 5), (6, 6)]), 7);
        assert_eq!(accept(&found, 4, &[(5, 5)]), 5);
        assert_eq!(accept(&found, 4, &[]), 4);
    }

    #[test]
    fn a_copy_that_comes_before_its_version_does_not_shorten_the_group() {
        let copy = |sequence| Found { what: What::Copy, ..unit(sequence, 0, 1) };
        let group = [copy(5), unit(5, 0, 3), copy(6), unit(6, 1, 3), unit(7, 2, 3)];
        assert_eq!(accept(&group, 4, &[]), 7, "the last unit lies elsewhere and was not moved");
        assert_eq!(accept(&group[..4], 4, &[]), 4, "and without it there is no group");
    }
}
