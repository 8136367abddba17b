//! Makes a recording of commands that begin and end: what somebody who watches a controller hands over becomes one entry for each command,
//! in the order in which they end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nvme_spec::command::{CopyRange, DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE, fuse};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion};
use zerocopy::FromBytes;

use super::Writer;
use crate::record::{DATA_BYTES_MAX, Entry, Extent, Flags, Namespace, RANGES_MAX, Record, Sample};
use crate::watched::{Begun, Ended, Watcher};

/// Commands that began and did not end; beyond it the oldest is taken for one that never will. More than queues of a sane host hold.
const UNDER_WAY_MAX: usize = 1 << 17;

/// Records commands.
#[derive(Debug)]
pub struct Recorder<W: Write> {
    writer: Writer<W>,
    /// By controller, queue and identifier.
    under_way: BTreeMap<(u16, u16, u16), Record>,
    commands: u64,
}

impl<W: Write> Recorder<W> {
    /// Records into a writer.
    pub const fn new(writer: Writer<W>) -> Self {
        Self { writer, under_way: BTreeMap::new(), commands: 0 }
    }

    /// Whether data is kept. If not, only Dataset Management and Copy need any.
    pub const fn with_data(&self) -> bool {
        self.writer.with_data()
    }

    /// Commands that are recorded, those under way not among them.
    pub const fn commands(&self) -> u64 {
        self.commands
    }

    /// Tells of a namespace: before its first command.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn namespace(&mut self, nsid: u32, block_bytes: u32) -> io::Result<()> {
        self.writer.put(&Entry::Namespace(Namespace { nsid, block_bytes, name: String::new() }))
    }

    /// Tells what the drive has programmed: at the beginning, at the end, and in between as often as wanted.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn sample(&mut self, sample: Sample) -> io::Result<()> {
        self.writer.put(&Entry::Sample(sample))
    }

    /// A command began; what the admin queue says is not recorded.
    ///
    /// # Errors
    /// Those of what is written to.
    ///
    /// # Panics
    /// Never: 64 bytes are a command.
    pub fn command_begun(&mut self, begun: &Begun<'_>) -> io::Result<()> {
        if begun.queue == 0 {
            return Ok(());
        }
        let command = Command::read_from_bytes(begun.command).expect("an entry has 64 bytes");
        let mut record = describe(&command, begun.data);
        record.begin_ns = begun.time_ns;
        record.controller = begun.controller;
        record.queue = begun.queue;
        record.data = begun.data.filter(|_| self.with_data()).map(kept);
        let key = (begun.controller, begun.queue, record.cid);
        // An identifier that is used again: whoever had it before did not end.
        if let Some(before) = self.under_way.insert(key, record) {
            self.write(before)?;
        }
        if self.under_way.len() > UNDER_WAY_MAX {
            let oldest = self.under_way.iter().min_by_key(|(_, record)| record.begin_ns);
            let oldest = oldest.map(|(key, _)| *key).expect("there are many");
            self.give_up(|key| *key == oldest)?;
        }
        Ok(())
    }

    /// A command ended. One whose beginning was not seen is left out.
    ///
    /// # Errors
    /// Those of what is written to.
    ///
    /// # Panics
    /// Never: 16 bytes are a completion.
    pub fn command_ended(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        let completion = Completion::read_from_bytes(ended.completion).expect("an entry has 16 bytes");
        let key = (ended.controller, completion.sqid.get(), completion.cid.get());
        let Some(mut record) = self.under_way.remove(&key) else { return Ok(()) };
        record.end_ns = Some(ended.time_ns);
        record.status = completion.status().0;
        if let Some(data) = ended.data.filter(|_| self.with_data()) {
            record.data = Some(kept(data));
        }
        self.write(record)
    }

    /// A controller forgot its commands, by a reset or a power loss: none that is under way will end.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn forgotten(&mut self, controller: u16) -> io::Result<()> {
        self.give_up(|(of, ..)| *of == controller)
    }

    /// Writes what waits in memory.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Ends the recording; what is under way is recorded as never completed.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.give_up(|_| true)?;
        self.writer.finish()
    }

    fn give_up(&mut self, which: impl Fn(&(u16, u16, u16)) -> bool) -> io::Result<()> {
        let mut given_up: Vec<Record> =
            self.under_way.extract_if(.., |key, _| which(key)).map(|(_, record)| record).collect();
        given_up.sort_by_key(|record| record.begin_ns);
        given_up.into_iter().try_for_each(|record| self.write(record))
    }

    fn write(&mut self, record: Record) -> io::Result<()> {
        self.commands += 1;
        self.writer.put(&Entry::Command(record))
    }
}

impl<W: Write> Watcher for Recorder<W> {
    fn begun(&mut self, begun: &Begun<'_>) -> io::Result<()> {
        self.command_begun(begun)
    }

    fn ended(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        self.command_ended(ended)
    }

    fn forgotten(&mut self, time_ns: u64, controller: u16) -> io::Result<()> {
        let _ = time_ns;
        Self::forgotten(self, controller)
    }

    fn sample(&mut self, sample: Sample) -> io::Result<()> {
        Self::sample(self, sample)
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self)
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.finish().map(drop)
    }
}

/// As much of the data as a recording holds: more than a drive takes with one command.
fn kept(data: &[u8]) -> Vec<u8> {
    data[..data.len().min(DATA_BYTES_MAX)].to_vec()
}

/// What a submission queue entry says of blocks.
fn describe(command: &Command, data: Option<&[u8]>) -> Record {
    let mut flags = Flags::empty();
    let mut ranges = Vec::new();
    let mut extent = Extent { first: command.slba(), blocks: u32::from(command.nlb_z()) + 1 };
    let data = data.unwrap_or_default();
    match NvmOpcode(command.opcode) {
        NvmOpcode::READ | NvmOpcode::WRITE | NvmOpcode::COMPARE | NvmOpcode::VERIFY => {
            flags.set(Flags::FUA, command.force_unit_access());
        }
        NvmOpcode::WRITE_ZEROES => {
            flags.set(Flags::FUA, command.force_unit_access());
            flags.set(Flags::DEALLOCATE, command.cdw12.get() & WRITE_ZEROES_DEALLOCATE != 0);
        }
        NvmOpcode::WRITE_UNCORRECTABLE => {}
        NvmOpcode::DATASET_MANAGEMENT => {
            flags.set(Flags::DEALLOCATE, command.cdw11.get() & DATASET_DEALLOCATE != 0);
            let count = (command.cdw10.get() & 0xff) as usize + 1;
            ranges = listed(data, count, |range: DatasetRange| (range.slba.get(), range.blocks.get()));
            extent = if ranges.is_empty() { Extent::default() } else { ranges.remove(0) };
        }
        NvmOpcode::COPY => {
            flags.set(Flags::FUA, command.force_unit_access());
            let count = (command.cdw12.get() & 0xff) as usize + 1;
            ranges = listed(data, count, |range: CopyRange| (range.slba.get(), u32::from(range.nlb_z.get()) + 1));
            extent.blocks = ranges.iter().map(|range| range.blocks).sum();
        }
        _ => extent = Extent::default(),
    }
    flags.set(Flags::FUSED_FIRST, command.fuse() == fuse::FIRST);
    flags.set(Flags::FUSED_SECOND, command.fuse() == fuse::SECOND);
    let (opcode, cid, nsid) = (command.opcode, command.cid.get(), command.nsid.get());
    Record { opcode, cid, nsid, extent, ranges, flags, ..Record::default() }
}

/// The first `count` ranges of a list.
fn listed<T: FromBytes>(data: &[u8], count: usize, read: impl Fn(T) -> (u64, u32)) -> Vec<Extent> {
    let entries = data.chunks_exact(size_of::<T>()).take(count.min(RANGES_MAX));
    let parsed = entries.map(|bytes| read(T::read_from_bytes(bytes).expect("a chunk has the size of an entry")));
    parsed.map(|(first, blocks)| Extent { first, blocks }).collect()
}
