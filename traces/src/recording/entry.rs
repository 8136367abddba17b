//! How an entry becomes bytes and back. Numbers are of variable length: seven bits to a byte, the lowest first.

use media::ledger::Ledger;

use crate::record::{DATA_BYTES_MAX, Entry, Extent, Flags, Namespace, RANGES_MAX, Record, Sample};

/// The longest name of a namespace, in bytes.
const NAME_BYTES_MAX: usize = 256;

const NAMESPACE: u8 = 0;
const SAMPLE: u8 = 1;
const COMMAND: u8 = 2;

/// What of a command is there; the rest is as in the command before, or nothing.
mod has {
    pub const PLACE: u8 = 1;
    pub const END: u8 = 1 << 1;
    pub const STATUS: u8 = 1 << 2;
    pub const FLAGS: u8 = 1 << 3;
    pub const RANGES: u8 = 1 << 4;
    pub const DATA: u8 = 1 << 5;
    pub const ALL: u8 = PLACE | END | STATUS | FLAGS | RANGES | DATA;
}

/// What differences are taken to: the command before, in the same chunk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    begin_ns: u64,
    controller: u16,
    queue: u16,
    nsid: u32,
    next_block: u64,
}

impl Before {
    fn note(&mut self, record: &Record) {
        *self = Self {
            begin_ns: record.begin_ns,
            controller: record.controller,
            queue: record.queue,
            nsid: record.nsid,
            next_block: record.extent.first.wrapping_add(u64::from(record.extent.blocks)),
        };
    }

    fn same_place(&self, record: &Record) -> bool {
        (self.controller, self.queue, self.nsid) == (record.controller, record.queue, record.nsid)
    }
}

/// Appends an entry.
pub(super) fn put(entry: &Entry, before: &mut Before, into: &mut Vec<u8>) {
    match entry {
        Entry::Namespace(namespace) => {
            into.push(NAMESPACE);
            number(namespace.nsid.into(), into);
            number(namespace.block_bytes.into(), into);
            let name = shortened(&namespace.name);
            number(name.len() as u64, into);
            into.extend_from_slice(name.as_bytes());
        }
        Entry::Sample(sample) => {
            into.push(SAMPLE);
            number(sample.time_ns, into);
            number(sample.unit_bytes.into(), into);
            sample.ledger.to_words().into_iter().for_each(|word| number(word, into));
        }
        Entry::Command(record) => put_command(record, before, into),
    }
}

fn put_command(record: &Record, before: &mut Before, into: &mut Vec<u8>) {
    let mut present = 0;
    let mut note = |there: bool, bit: u8| present |= if there { bit } else { 0 };
    note(!before.same_place(record), has::PLACE);
    note(record.end_ns.is_some(), has::END);
    note(record.status != 0, has::STATUS);
    note(!record.flags.is_empty(), has::FLAGS);
    note(!record.ranges.is_empty(), has::RANGES);
    note(record.data.is_some(), has::DATA);
    into.extend([COMMAND, present, record.opcode]);
    difference(before.begin_ns, record.begin_ns, into);
    if let Some(end) = record.end_ns {
        difference(record.begin_ns, end, into);
    }
    if !before.same_place(record) {
        number(record.controller.into(), into);
        number(record.queue.into(), into);
        number(record.nsid.into(), into);
    }
    number(record.cid.into(), into);
    difference(before.next_block, record.extent.first, into);
    number(record.extent.blocks.into(), into);
    if record.status != 0 {
        number(record.status.into(), into);
    }
    if !record.flags.is_empty() {
        number(record.flags.bits().into(), into);
    }
    if !record.ranges.is_empty() {
        assert!(record.ranges.len() <= RANGES_MAX, "a command names at most {RANGES_MAX} ranges");
        number(record.ranges.len() as u64, into);
        for extent in &record.ranges {
            number(extent.first, into);
            number(extent.blocks.into(), into);
        }
    }
    if let Some(data) = &record.data {
        assert!(data.len() <= DATA_BYTES_MAX, "a command carries at most {DATA_BYTES_MAX} bytes");
        number(data.len() as u64, into);
        into.extend_from_slice(data);
    }
    before.note(record);
}

/// As much of a name as is kept, in whole characters.
fn shortened(name: &str) -> &str {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|&end| name.is_char_boundary(end));
    &name[..end.unwrap_or(0)]
}

fn number(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(low7(value) | 0x80);
        value >>= 7;
    }
    into.push(low7(value));
}

const fn low7(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// The way from one number to another, small where they are near each other on either side.
fn difference(from: u64, to: u64, into: &mut Vec<u8>) {
    let way = to.wrapping_sub(from).cast_signed();
    number((way << 1 ^ way >> 63).cast_unsigned(), into);
}

/// Takes entries from the bytes of a chunk.
pub(super) struct Entries<'a> {
    rest: &'a [u8],
    before: Before,
}

impl<'a> Entries<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, before: Before::default() }
    }

    /// Goes on where others left off.
    pub fn resume(bytes: &'a [u8], before: Before) -> Self {
        Self { rest: bytes, before }
    }

    /// What is left, and what differences are taken to.
    pub fn state(&self) -> (usize, Before) {
        (self.rest.len(), self.before)
    }

    /// The next entry.
    ///
    /// # Errors
    /// In words, what no writer would have written.
    pub fn next(&mut self) -> Result<Entry, String> {
        match self.byte()? {
            NAMESPACE => Ok(Entry::Namespace(self.namespace()?)),
            SAMPLE => Ok(Entry::Sample(self.sample()?)),
            COMMAND => Ok(Entry::Command(self.command()?)),
            other => Err(format!("an entry of unknown kind {other}")),
        }
    }

    fn namespace(&mut self) -> Result<Namespace, String> {
        let (nsid, block_bytes) = (self.narrow("a namespace")?, self.narrow("a block size")?);
        let length = self.length(NAME_BYTES_MAX, "a name")?;
        let name = std::str::from_utf8(self.bytes(length)?).map_err(|_| "a name that is no text".to_owned())?;
        Ok(Namespace { nsid, block_bytes, name: name.to_owned() })
    }

    fn sample(&mut self) -> Result<Sample, String> {
        let (time_ns, unit_bytes) = (self.number()?, self.narrow("a unit")?);
        let mut words = [0; 7];
        for word in &mut words {
            *word = self.number()?;
        }
        Ok(Sample { time_ns, unit_bytes, ledger: Ledger::from_words(words) })
    }

    fn command(&mut self) -> Result<Record, String> {
        let present = self.byte()?;
        if present & !has::ALL != 0 {
            return Err("a command with parts that nobody knows".to_owned());
        }
        let there = |bit: u8| present & bit != 0;
        let opcode = self.byte()?;
        let begin_ns = self.difference(self.before.begin_ns)?;
        let end_ns = there(has::END).then(|| self.difference(begin_ns)).transpose()?;
        let Before { mut controller, mut queue, mut nsid, next_block, .. } = self.before;
        if there(has::PLACE) {
            controller = self.narrow("a controller")?;
            queue = self.narrow("a queue")?;
            nsid = self.narrow("a namespace")?;
        }
        let cid = self.narrow("a command identifier")?;
        let first = self.difference(next_block)?;
        let extent = Extent { first, blocks: self.narrow("a number of blocks")? };
        let status = if there(has::STATUS) { self.narrow("a status")? } else { 0 };
        let flags = if there(has::FLAGS) { self.narrow("flags")? } else { 0 };
        let ranges = if there(has::RANGES) { self.ranges()? } else { Vec::new() };
        let data = there(has::DATA).then(|| self.data()).transpose()?;
        let flags = Flags::from_bits_retain(flags);
        let record =
            Record { begin_ns, end_ns, controller, queue, cid, opcode, nsid, extent, ranges, flags, status, data };
        self.before.note(&record);
        Ok(record)
    }

    fn ranges(&mut self) -> Result<Vec<Extent>, String> {
        let count = self.length(RANGES_MAX, "ranges")?;
        (0..count).map(|_| Ok(Extent { first: self.number()?, blocks: self.narrow("a number of blocks")? })).collect()
    }

    fn data(&mut self) -> Result<Vec<u8>, String> {
        let length = self.length(DATA_BYTES_MAX, "data")?;
        Ok(self.bytes(length)?.to_vec())
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], String> {
        let split = self.rest.split_at_checked(count);
        let (taken, rest) = split.ok_or_else(|| "an entry that its chunk is too short for".to_owned())?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift > 63 || part << shift >> shift != part {
                return Err("a number of more than 64 bits".to_owned());
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok(value)
    }

    fn narrow<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T, String> {
        let value = self.number()?;
        T::try_from(value).map_err(|_| format!("{what} of {value}, which is more than there can be"))
    }

    fn length(&mut self, most: usize, what: &str) -> Result<usize, String> {
        let length = self.narrow::<usize>(what)?;
        if length > most { Err(format!("{what}: {length}, of at most {most}")) } else { Ok(length) }
    }

    fn difference(&mut self, from: u64) -> Result<u64, String> {
        let folded = self.number()?;
        let way = (folded >> 1) ^ (folded & 1).wrapping_neg();
        Ok(from.wrapping_add(way))
    }
}
