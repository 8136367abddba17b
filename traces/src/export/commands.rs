//! A trace for the views of [`crate::view`]: commands become entries of queues again, as far as the trace has kept what was in them, and
//! begin and end in the order of time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nvme_spec::command::{CopyRange, DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE};
use nvme_spec::{Command, Completion};
use zerocopy::IntoBytes;

use super::Converted;
use crate::ordered::Ordered;
use crate::record::{Entry, Flags, Kind, Record, Trace, TraceError};
use crate::watched::{Begun, Ended, Watcher};

const FORCE_UNIT_ACCESS: u32 = 1 << 30;
/// What stands for a queue 0, which in a trace is a processor and not the admin queue.
const NO_ADMIN_QUEUE: u16 = u16::MAX;

/// Controller, queue and identifier.
type Place = (u16, u16, u16);

/// The end of a command that is to come.
struct End {
    place: Place,
    completion: Completion,
    data: Option<Vec<u8>>,
}

/// Commands under way.
struct UnderWay<V> {
    view: V,
    in_use: BTreeSet<Place>,
    /// By time and number.
    ends: BTreeMap<(u64, u64), End>,
    number: u64,
}

/// Shows a whole trace.
pub(super) fn show(trace: impl Trace, view: impl Watcher) -> Result<Converted, TraceError> {
    let mut trace = Ordered::new(trace);
    let mut converted = Converted::default();
    let mut under_way = UnderWay { view, in_use: BTreeSet::new(), ends: BTreeMap::new(), number: 0 };
    while let Some(entry) = trace.next()? {
        let Entry::Command(record) = entry else { continue };
        if under_way.command(record)? {
            converted.commands += 1;
        } else {
            *converted.left_out.entry(Kind::Other).or_default() += 1;
        }
    }
    under_way.until(u64::MAX)?;
    Box::new(under_way.view).close()?;
    Ok(converted)
}

impl<V: Watcher> UnderWay<V> {
    /// Shows that a command begins, and what ended before it; false if no identifier of its queue is free.
    fn command(&mut self, mut record: Record) -> io::Result<bool> {
        self.until(record.begin_ns)?;
        let queue = if record.queue == 0 { NO_ADMIN_QUEUE } else { record.queue };
        // Most traces know no identifiers: those of commands that are under way at the same time must differ.
        let candidates = (0..=u16::MAX).map(|step| (record.controller, queue, record.cid.wrapping_add(step)));
        let Some(place) = candidates.into_iter().find(|place| !self.in_use.contains(place)) else { return Ok(false) };
        let (command, list) = entry_of(&record, place.2);
        let (out, back) =
            if record.kind() == Kind::Read { (None, record.data.take()) } else { (record.data.take(), None) };
        let data = if list.is_empty() { out.unwrap_or_default() } else { list };
        let bytes: &[u8; 64] = command.as_bytes().try_into().expect("an entry has 64 bytes");
        let (time_ns, controller) = (record.begin_ns, record.controller);
        let carried = (!data.is_empty()).then_some(&data[..]);
        self.view.begun(&Begun { time_ns, controller, queue, command: bytes, data: carried })?;
        if let Some(end_ns) = record.end_ns {
            let status_and_phase = record.status << 1 | 1;
            let completion = Completion {
                sqid: queue.into(),
                cid: place.2.into(),
                status_and_phase: status_and_phase.into(),
                ..Completion::default()
            };
            self.in_use.insert(place);
            self.number += 1;
            let end = End { place, completion, data: back };
            self.ends.insert((end_ns.max(record.begin_ns), self.number), end);
        }
        Ok(true)
    }

    /// Shows what ended until then.
    fn until(&mut self, time_ns: u64) -> io::Result<()> {
        while let Some(first) = self.ends.first_entry().filter(|first| first.key().0 <= time_ns) {
            let ((time_ns, _), End { place, completion, data }) = first.remove_entry();
            self.in_use.remove(&place);
            let bytes: &[u8; 16] = completion.as_bytes().try_into().expect("an entry has 16 bytes");
            self.view.ended(&Ended { time_ns, controller: place.0, completion: bytes, data: data.as_deref() })?;
        }
        Ok(())
    }
}

/// The submission queue entry of a command, and the list that it carries.
fn entry_of(record: &Record, cid: u16) -> (Command, Vec<u8>) {
    let [low, high] = [record.extent.first & 0xffff_ffff, record.extent.first >> 32];
    let narrow = |half: u64| u32::try_from(half).expect("half of 64 bits");
    let mut command = Command {
        opcode: record.opcode,
        cid: cid.into(),
        nsid: record.nsid.into(),
        cdw10: narrow(low).into(),
        cdw11: narrow(high).into(),
        cdw12: (record.extent.blocks.saturating_sub(1) & 0xffff).into(),
        ..Command::default()
    };
    let mut list = Vec::new();
    let count_z = |ranges: usize| u32::try_from(ranges.saturating_sub(1) & 0xff).expect("8 bits");
    match record.kind() {
        Kind::Deallocate => {
            let ranges = std::iter::once(&record.extent).chain(&record.ranges);
            for range in ranges {
                let range =
                    DatasetRange { slba: range.first.into(), blocks: range.blocks.into(), ..DatasetRange::default() };
                list.extend(range.as_bytes());
            }
            command.cdw10 = count_z(1 + record.ranges.len()).into();
            command.cdw11 = DATASET_DEALLOCATE.into();
            command.cdw12 = 0.into();
        }
        Kind::Copy => {
            for range in &record.ranges {
                let nlb_z = nvme_spec::command::low16(range.blocks.saturating_sub(1));
                list.extend(
                    CopyRange { slba: range.first.into(), nlb_z: nlb_z.into(), ..CopyRange::default() }.as_bytes(),
                );
            }
            command.cdw12 = count_z(record.ranges.len()).into();
        }
        Kind::WriteZeroes if record.flags.contains(Flags::DEALLOCATE) => command.cdw12 |= WRITE_ZEROES_DEALLOCATE,
        Kind::Flush | Kind::Other => {
            (command.cdw10, command.cdw11, command.cdw12) = (0.into(), 0.into(), 0.into());
        }
        _ => {}
    }
    if record.flags.contains(Flags::FUA) {
        command.cdw12 |= FORCE_UNIT_ACCESS;
    }
    (command, list)
}
