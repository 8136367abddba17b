//! What lies on a tape, and how it is written as bytes: a kind, then fixed numbers, little-endian, then what is left. Knows no file.

use media::power::{Boundary, PowerAtomicity};
use media::{Lba, LbaRange, VolumeId};

/// A volume of the drive, as it was when the tape began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Which.
    pub volume: VolumeId,
    /// Bytes of a logical block.
    pub block_bytes: u32,
    /// Logical blocks.
    pub blocks: u64,
    /// Blocks of it hold data already: whoever uses the tape must have them from elsewhere.
    pub has_data: bool,
}

/// What a request changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New data for a range.
    Write {
        /// The blocks.
        range: LbaRange,
        /// Their contents.
        data: Vec<u8>,
    },
    /// Zeroes, written as data is.
    Zeroes {
        /// The blocks.
        range: LbaRange,
    },
    /// Zeroes, because the host does not need the blocks any more. Of a power loss nothing is promised but that each block is old or zero.
    Deallocate {
        /// The blocks.
        ranges: Vec<LbaRange>,
    },
    /// The blocks cannot be read any more.
    Uncorrectable {
        /// The blocks.
        range: LbaRange,
    },
    /// Blocks of the volume, one range behind the other, to other blocks of it.
    Copy {
        /// Where they are.
        sources: Vec<LbaRange>,
        /// Where they go.
        to: Lba,
    },
    /// The volume has so many blocks.
    Resize {
        /// How many.
        blocks: u64,
    },
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A volume, at the beginning of a tape.
    Volume(Volume),
    /// What is promised of a volume's writes across a power loss.
    Promise(VolumeId, PowerAtomicity),
    /// Blocks that are durable when the tape begins, with what they hold; the others hold zeroes.
    Holds {
        /// The volume.
        volume: VolumeId,
        /// The blocks.
        range: LbaRange,
        /// Their contents.
        data: Vec<u8>,
    },
    /// A request that changes something was carried out, as far as reads see: from here on they find it.
    Changed {
        /// Numbers requests, from 1.
        request: u64,
        /// The command: queue, identifier and ordinal, as a mark has them; 0 for none.
        command: u64,
        /// The volume.
        volume: VolumeId,
        /// It is durable when it has ended.
        force: bool,
        /// What it changes.
        change: Change,
    },
    /// A flush began: of a volume, or of all.
    Flush {
        /// Its number.
        request: u64,
        /// The command.
        command: u64,
        /// Which volume, if not all.
        volume: Option<VolumeId>,
    },
    /// The outcome of a request was handed over.
    Ended {
        /// Its number.
        request: u64,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// Somebody wants this place to be known.
    Mark(String),
    /// Power was lost. What survived is not on the tape: nothing behind this can be followed.
    PowerLost,
    /// The writer could not keep up with the drive, or its disk failed: nothing behind this can be followed.
    Broken,
}

const VOLUME: u8 = 1;
const PROMISE: u8 = 2;
const WRITE: u8 = 3;
const ZEROES: u8 = 4;
const UNCORRECTABLE: u8 = 5;
const COPY: u8 = 6;
const RESIZE: u8 = 7;
const FLUSH: u8 = 8;
const ENDED: u8 = 9;
const MARK: u8 = 10;
const POWER_LOST: u8 = 11;
const BROKEN: u8 = 12;
const DEALLOCATE: u8 = 13;
const HOLDS: u8 = 14;
/// A write whose data is one word again and again.
const FILL: u8 = 15;

/// Bytes that say which word, and of how many bytes it is the data.
pub(crate) const FILL_BYTES: usize = 8 + 8;
/// No write is longer.
const FILL_MAX: u64 = 1 << 28;

/// No volume.
const ALL: u32 = u32::MAX;

/// Of what a change says of itself: it is durable when it has ended.
const FORCE: u8 = 1;
/// And: it has ended at once, and succeeded.
const ENDED_WELL: u8 = 2;

/// A write without its data, which comes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteHead {
    /// As in [`Entry::Changed`].
    pub request: u64,
    /// As there.
    pub command: u64,
    /// As there.
    pub volume: VolumeId,
    /// As there.
    pub force: bool,
    /// The blocks.
    pub range: LbaRange,
}

impl WriteHead {
    const BYTES: usize = 1 + 2 * 4 + 4 * 8;
    /// Where the flags are.
    const FLAGS: usize = 1 + 4;

    /// What comes before the data.
    #[inline]
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = WRITE;
        bytes[1..5].copy_from_slice(&self.volume.0.to_le_bytes());
        bytes[Self::FLAGS] = u8::from(self.force);
        let numbers = [self.request, self.command, self.range.start.0, self.range.blocks];
        for (place, number) in bytes[9..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// In place of data that is this word again and again, and so long.
    #[inline]
    #[must_use]
    pub(crate) fn fill(word: [u8; 8], bytes: usize) -> [u8; FILL_BYTES] {
        let mut fill = [0; FILL_BYTES];
        fill[..8].copy_from_slice(&(bytes as u64).to_le_bytes());
        fill[8..].copy_from_slice(&word);
        fill
    }

    /// Such a write has [`Self::fill`] behind it.
    #[inline]
    pub(crate) fn note_fill(encoded: &mut [u8]) {
        encoded[0] = FILL;
    }

    /// Such a write has ended, and succeeded.
    #[inline]
    pub fn note_end(encoded: &mut [u8]) {
        encoded[Self::FLAGS] |= ENDED_WELL;
    }
}

impl Entry {
    /// Appends its bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Volume(Volume { volume, block_bytes, blocks, has_data }) => {
                into.push(VOLUME);
                put32(into, [volume.0, *block_bytes, u32::from(*has_data)]);
                put64(into, [*blocks]);
            }
            Self::Promise(volume, promise) => {
                into.push(PROMISE);
                let (edges, offset) = promise.boundary.map_or((0, 0), |edges| (edges.blocks, edges.offset));
                put32(into, [volume.0, u32::from(promise.multiple)]);
                put64(into, [promise.anywhere_blocks, promise.inside_blocks, edges, offset]);
            }
            Self::Holds { volume, range, data } => {
                into.push(HOLDS);
                put32(into, [volume.0]);
                put64(into, [range.start.0, range.blocks]);
                into.extend_from_slice(data);
            }
            Self::Changed { request, command, volume, force, change } => {
                into.push(change.kind());
                put32(into, [volume.0, u32::from(*force)]);
                put64(into, [*request, *command]);
                change.encode(into);
            }
            Self::Flush { request, command, volume } => {
                into.push(FLUSH);
                put32(into, [volume.map_or(ALL, |volume| volume.0)]);
                put64(into, [*request, *command]);
            }
            Self::Ended { request, succeeded } => {
                into.push(ENDED);
                put32(into, [u32::from(*succeeded)]);
                put64(into, [*request]);
            }
            Self::Mark(text) => {
                into.push(MARK);
                into.extend_from_slice(text.as_bytes());
            }
            Self::PowerLost => into.push(POWER_LOST),
            Self::Broken => into.push(BROKEN),
        }
    }

    /// Reads it back, and behind it the end of what it began, if it says that too. `None` where the bytes are no entry.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, Option<Self>)> {
        let (&kind, mut rest) = bytes.split_first()?;
        let rest = &mut rest;
        let mut end = None;
        let entry = match kind {
            VOLUME => {
                let [volume, block_bytes, has_data] = take32(rest)?;
                let [blocks] = take64(rest)?;
                Self::Volume(Volume { volume: VolumeId(volume), block_bytes, blocks, has_data: has_data != 0 })
            }
            PROMISE => {
                let [volume, multiple] = take32(rest)?;
                let [anywhere_blocks, inside_blocks, blocks, offset] = take64(rest)?;
                let boundary = (blocks != 0).then_some(Boundary { blocks, offset });
                let multiple = multiple != 0;
                Self::Promise(VolumeId(volume), PowerAtomicity { anywhere_blocks, inside_blocks, boundary, multiple })
            }
            HOLDS => {
                let [volume] = take32(rest)?;
                let [start, blocks] = take64(rest)?;
                let (volume, range) = (VolumeId(volume), LbaRange::new(Lba(start), blocks));
                Self::Holds { volume, range, data: std::mem::take(rest).to_vec() }
            }
            WRITE..=RESIZE | DEALLOCATE | FILL => {
                let [volume, flags] = take32(rest)?;
                let [request, command] = take64(rest)?;
                let change = Change::decode(kind, rest)?;
                end = (flags & u32::from(ENDED_WELL) != 0).then_some(Self::Ended { request, succeeded: true });
                Self::Changed {
                    request,
                    command,
                    volume: VolumeId(volume),
                    force: flags & u32::from(FORCE) != 0,
                    change,
                }
            }
            FLUSH => {
                let [volume] = take32(rest)?;
                let [request, command] = take64(rest)?;
                Self::Flush { request, command, volume: (volume != ALL).then_some(VolumeId(volume)) }
            }
            ENDED => {
                let [succeeded] = take32(rest)?;
                let [request] = take64(rest)?;
                Self::Ended { request, succeeded: succeeded != 0 }
            }
            MARK => Self::Mark(String::from_utf8(std::mem::take(rest).to_vec()).ok()?),
            POWER_LOST => Self::PowerLost,
            BROKEN => Self::Broken,
            _ => return None,
        };
        rest.is_empty().then_some((entry, end))
    }
}

impl Change {
    const fn kind(&self) -> u8 {
        match self {
            Self::Write { .. } => WRITE,
            Self::Zeroes { .. } => ZEROES,
            Self::Deallocate { .. } => DEALLOCATE,
            Self::Uncorrectable { .. } => UNCORRECTABLE,
            Self::Copy { .. } => COPY,
            Self::Resize { .. } => RESIZE,
        }
    }

    fn encode(&self, into: &mut Vec<u8>) {
        let put_range = |into: &mut Vec<u8>, range: &LbaRange| put64(into, [range.start.0, range.blocks]);
        match self {
            Self::Write { range, data } => {
                put_range(into, range);
                into.extend_from_slice(data);
            }
            Self::Deallocate { ranges } => ranges.iter().for_each(|range| put_range(into, range)),
            Self::Zeroes { range } | Self::Uncorrectable { range } => put_range(into, range),
            Self::Copy { sources, to } => {
                put64(into, [to.0]);
                sources.iter().for_each(|range| put_range(into, range));
            }
            Self::Resize { blocks } => put64(into, [*blocks]),
        }
    }

    fn decode(kind: u8, rest: &mut &[u8]) -> Option<Self> {
        let range = |rest: &mut &[u8]| take64(rest).map(|[start, blocks]| LbaRange::new(Lba(start), blocks));
        let ranges = |rest: &mut &[u8]| {
            let mut all = Vec::new();
            while !rest.is_empty() {
                all.push(range(rest)?);
            }
            Some(all)
        };
        Some(match kind {
            WRITE => Self::Write { range: range(rest)?, data: std::mem::take(rest).to_vec() },
            FILL => {
                let range = range(rest)?;
                let [bytes] = take64(rest)?;
                let (word, left) = rest.split_first_chunk::<8>()?;
                *rest = left;
                let bytes = usize::try_from(bytes).ok().filter(|_| bytes <= FILL_MAX)?;
                let mut data = word.repeat(bytes.div_ceil(word.len()));
                data.truncate(bytes);
                Self::Write { range, data }
            }
            ZEROES => Self::Zeroes { range: range(rest)? },
            DEALLOCATE => Self::Deallocate { ranges: ranges(rest)? },
            UNCORRECTABLE => Self::Uncorrectable { range: range(rest)? },
            COPY => {
                let [to] = take64(rest)?;
                Self::Copy { sources: ranges(rest)?, to: Lba(to) }
            }
            RESIZE => {
                let [blocks] = take64(rest)?;
                Self::Resize { blocks }
            }
            _ => return None,
        })
    }
}

fn put32<const N: usize>(into: &mut Vec<u8>, numbers: [u32; N]) {
    numbers.iter().for_each(|number| into.extend_from_slice(&number.to_le_bytes()));
}

fn put64<const N: usize>(into: &mut Vec<u8>, numbers: [u64; N]) {
    numbers.iter().for_each(|number| into.extend_from_slice(&number.to_le_bytes()));
}

fn take32<const N: usize>(rest: &mut &[u8]) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (bytes, left) = rest.split_first_chunk()?;
        (*number, *rest) = (u32::from_le_bytes(*bytes), left);
    }
    Some(numbers)
}

fn take64<const N: usize>(rest: &mut &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (bytes, left) = rest.split_first_chunk()?;
        (*number, *rest) = (u64::from_le_bytes(*bytes), left);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_comes_back_and_half_of_one_does_not() {
        let (volume, range) = (VolumeId(3), LbaRange::new(Lba(7), 2));
        let changed = |change| Entry::Changed { request: 9, command: 1 << 40, volume, force: true, change };
        let boundary = Some(Boundary { blocks: 8, offset: 1 });
        for entry in [
            Entry::Volume(Volume { volume, block_bytes: 4096, blocks: 1 << 40, has_data: true }),
            Entry::Promise(volume, PowerAtomicity { anywhere_blocks: 1, inside_blocks: 4, boundary, multiple: true }),
            Entry::Promise(volume, PowerAtomicity::anywhere(4)),
            Entry::Holds { volume, range, data: vec![6; 1024] },
            changed(Change::Write { range, data: vec![5; 1024] }),
            changed(Change::Zeroes { range }),
            changed(Change::Deallocate { ranges: vec![range, LbaRange::new(Lba(100), 1)] }),
            changed(Change::Uncorrectable { range }),
            changed(Change::Copy { sources: vec![range], to: Lba(50) }),
            changed(Change::Resize { blocks: 77 }),
            Entry::Flush { request: 1, command: 2, volume: None },
            Entry::Flush { request: 1, command: 2, volume: Some(volume) },
            Entry::Ended { request: 1, succeeded: false },
            Entry::Mark("commit 7".to_owned()),
            Entry::PowerLost,
            Entry::Broken,
        ] {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(Entry::decode(&bytes), Some((entry.clone(), None)));
            let short = Entry::decode(&bytes[..bytes.len() - 1]);
            assert_ne!(short, Some((entry, None)));
        }
        let data = vec![5; 1024];
        let head = WriteHead { request: 9, command: 1 << 40, volume, force: true, range };
        let mut bytes = Vec::new();
        changed(Change::Write { range, data: data.clone() }).encode(&mut bytes);
        assert!(bytes == [&head.encode()[..], &data].concat());
        assert_eq!(Entry::decode(&[]), None);
        assert_eq!(Entry::decode(&[99]), None);
        assert_eq!(Entry::decode(&[POWER_LOST, 0]), None, "something is left over");
    }
}
