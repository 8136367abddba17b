//! The drive that a trace is given to: which namespaces it has, what it takes with one command, and what of a record becomes which
//! commands.

use std::collections::BTreeMap;

use nvme_host::io::{block_command, copy_command, nvm_command};
use nvme_host::{Host, Port};
use nvme_spec::Command;
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange, WRITE_ZEROES_DEALLOCATE};
use nvme_spec::opcode::NvmOpcode;
use zerocopy::IntoBytes;

use super::ReplayError;
use crate::record::{Flags, Kind, RANGES_MAX, Record};

const FORCE_UNIT_ACCESS: u32 = 1 << 30;
/// As many blocks as one command names.
const BLOCKS_MAX: u64 = 1 << 16;
/// What is moved with one command by a drive that takes any length.
const TRANSFER_BYTES_MAX: u64 = 1 << 20;
/// Made-up data repeats after so many bytes, but for what stamps it.
const PATTERN_BYTES: usize = 4096;

/// What the drive is asked.
#[derive(Debug)]
pub(super) struct Ask {
    pub command: Command,
    /// Bytes of its buffer.
    pub bytes: usize,
    /// What goes into the buffer before.
    pub data: Option<Vec<u8>>,
    /// The drive puts data into the buffer.
    pub reads: bool,
}

impl Ask {
    fn bare(command: Command) -> Self {
        Self { command, bytes: 0, data: None, reads: false }
    }

    fn out(command: Command, data: Vec<u8>) -> Self {
        Self { command, bytes: data.len(), data: Some(data), reads: false }
    }
}

/// A namespace of the drive.
#[derive(Clone, Copy, Debug)]
struct Space {
    nsid: u32,
    block_bytes: u64,
    blocks: u64,
}

/// Blocks of a namespace.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    first: u64,
    count: u64,
}

/// See the file's text.
#[derive(Debug)]
pub(super) struct Target {
    spaces: BTreeMap<u32, Space>,
    transfer_bytes: u64,
    wrap: bool,
    /// Of made-up data, so that no two writes are the same.
    writes: u64,
}

impl Target {
    /// Asks the controller.
    pub fn of<P: Port>(host: &mut Host<P>, wrap: bool) -> Result<Self, ReplayError> {
        let mdts = u32::from(host.identify_controller()?.mdts);
        let page_shift = 12 + u32::from(host.capabilities().mps_min());
        let transfer = 1u64.checked_shl(page_shift + mdts).unwrap_or(TRANSFER_BYTES_MAX);
        let transfer_bytes = if mdts == 0 { TRANSFER_BYTES_MAX } else { transfer.min(TRANSFER_BYTES_MAX) };
        let mut spaces = BTreeMap::new();
        for nsid in host.active_namespaces(0)? {
            let namespace = host.identify_namespace(nsid)?;
            if namespace.format().ms.get() != 0 {
                let why = format!("namespace {nsid} has metadata, which no trace has: give one without");
                return Err(ReplayError::Unfit(why));
            }
            let blocks = namespace.nsze.get();
            let block_bytes = host.block_bytes(nsid)? as u64;
            spaces.insert(nsid, Space { nsid, block_bytes, blocks });
        }
        Ok(Self { spaces, transfer_bytes, wrap, writes: 0 })
    }

    /// The namespaces with the bytes of their blocks.
    pub fn namespaces(&self) -> Vec<(u32, u32)> {
        let narrow = |bytes: u64| u32::try_from(bytes).expect("a block is small");
        self.spaces.values().map(|space| (space.nsid, narrow(space.block_bytes))).collect()
    }

    /// Writes of every block, in order.
    pub fn fill(&self) -> impl Iterator<Item = Ask> + use<> {
        let transfer = self.transfer_bytes;
        self.spaces.clone().into_values().flat_map(move |space| {
            let whole = Blocks { first: 0, count: space.blocks };
            pieces(whole, transfer / space.block_bytes).map(move |piece| {
                let command = ranged(NvmOpcode::WRITE, space.nsid, piece);
                Ask::out(command, made_up(piece.count * space.block_bytes, piece.first))
            })
        })
    }

    /// A Flush of every namespace.
    pub fn flush(&self) -> Vec<Ask> {
        self.spaces.keys().map(|nsid| Ask::bare(nvm_command(NvmOpcode::FLUSH, *nsid))).collect()
    }

    /// What a record of a namespace with blocks of so many bytes asks of the drive; nothing for what is left out.
    ///
    /// # Errors
    /// The drive has no such namespace, or not these blocks.
    pub fn asks(&mut self, record: &Record, block_bytes: Option<u32>) -> Result<Option<Vec<Ask>>, ReplayError> {
        let kind = record.kind();
        if matches!(kind, Kind::Other | Kind::WriteUncorrectable) {
            return Ok(None);
        }
        let Some(&space) = self.spaces.get(&record.nsid) else {
            // A Flush may be for all of them, and others failed for their namespace before.
            let all = kind == Kind::Flush && record.nsid == u32::MAX;
            if all {
                return Ok(Some(self.flush()));
            }
            return if record.status == 0 { Err(ReplayError::NoNamespace(record.nsid)) } else { Ok(None) };
        };
        if kind == Kind::Flush {
            return Ok(Some(vec![Ask::bare(nvm_command(NvmOpcode::FLUSH, space.nsid))]));
        }
        let Some(block_bytes) = block_bytes.map(u64::from) else { return Ok(None) };
        let Some(places) = self.places(record, block_bytes, space)? else { return Ok(None) };
        Ok(match kind {
            Kind::Deallocate => Some(vec![deallocation(space.nsid, &places)]),
            Kind::Copy => self.copy(record, block_bytes, space, places[0])?,
            _ => Some(self.blocks(record, kind, space, places[0])),
        })
    }

    /// The ranges of a record on the drive.
    fn places(&self, record: &Record, block_bytes: u64, space: Space) -> Result<Option<Vec<Blocks>>, ReplayError> {
        let ranges =
            record.bytes(u32::try_from(block_bytes).expect("a block is small")).filter(|(_, length)| *length != 0);
        let mut places = Vec::new();
        for (offset, length) in ranges {
            match self.place(offset, length, space) {
                Some(place) => places.push(place),
                None if record.status != 0 => return Ok(None),
                None => {
                    let Space { nsid, block_bytes, blocks } = space;
                    let bytes = u128::from(block_bytes) * u128::from(blocks);
                    return Err(ReplayError::Outside { nsid, offset, length, bytes });
                }
            }
        }
        Ok((!places.is_empty()).then_some(places))
    }

    /// Bytes as blocks of the drive: those that they touch. Nothing if it does not have them.
    fn place(&self, offset: u64, length: u64, space: Space) -> Option<Blocks> {
        let first = offset / space.block_bytes;
        let count = (offset.checked_add(length)?.div_ceil(space.block_bytes)) - first;
        if first.checked_add(count)? <= space.blocks {
            return Some(Blocks { first, count });
        }
        // What goes round begins where it fits as a whole.
        (self.wrap && count <= space.blocks).then(|| Blocks { first: first % (space.blocks - count + 1), count })
    }

    /// A command over blocks, as often as it takes.
    fn blocks(&mut self, record: &Record, kind: Kind, space: Space, place: Blocks) -> Vec<Ask> {
        let moves = matches!(kind, Kind::Read | Kind::Write | Kind::Compare);
        let most = if moves { self.transfer_bytes / space.block_bytes } else { BLOCKS_MAX };
        let fits = |data: &&Vec<u8>| data.len() as u64 == place.count * space.block_bytes;
        let recorded = record.data.as_ref().filter(fits);
        let mut asks = Vec::new();
        for piece in pieces(place, most) {
            let opcode = if kind == Kind::Compare { NvmOpcode::READ } else { NvmOpcode(record.opcode) };
            let mut command = ranged(opcode, space.nsid, piece);
            if record.flags.contains(Flags::FUA) {
                command.cdw12 |= FORCE_UNIT_ACCESS;
            }
            if kind == Kind::WriteZeroes && record.flags.contains(Flags::DEALLOCATE) {
                command.cdw12 |= WRITE_ZEROES_DEALLOCATE;
            }
            let bytes = piece.count * space.block_bytes;
            asks.push(match kind {
                Kind::Write => {
                    self.writes += 1;
                    let from = (piece.first - place.first) * space.block_bytes;
                    let part = |data: &Vec<u8>| data[index(from)..index(from + bytes)].to_vec();
                    let data = recorded.map_or_else(|| made_up(bytes, self.writes), part);
                    Ask::out(command, data)
                }
                Kind::Read | Kind::Compare => Ask { command, bytes: index(bytes), data: None, reads: true },
                _ => Ask::bare(command),
            });
        }
        asks
    }

    /// A Copy, if its sources are known and are not more than a command takes.
    fn copy(
        &self,
        record: &Record,
        block_bytes: u64,
        space: Space,
        to: Blocks,
    ) -> Result<Option<Vec<Ask>>, ReplayError> {
        let block = u32::try_from(block_bytes).expect("a block is small");
        let plain = |extent| Record { extent, opcode: NvmOpcode::READ.0, ..record.clone() };
        let mut sources = Vec::new();
        for extent in &record.ranges {
            let source = Record { ranges: Vec::new(), ..plain(*extent) };
            let places = self.places(&source, u64::from(block), space)?.unwrap_or_default();
            sources.extend(places.iter().map(|place| (place.first, u32::try_from(place.count).unwrap_or(u32::MAX))));
        }
        sources.truncate(RANGES_MAX);
        let known = !sources.is_empty() && sources.iter().all(|(_, blocks)| u64::from(*blocks) <= BLOCKS_MAX);
        if !known {
            return Ok(None);
        }
        let force = record.flags.contains(Flags::FUA);
        let (command, list) = copy_command(space.nsid, &sources, to.first, force);
        Ok(Some(vec![Ask::out(command, list.as_bytes().to_vec())]))
    }
}

fn deallocation(nsid: u32, places: &[Blocks]) -> Ask {
    let places = &places[..places.len().min(RANGES_MAX)];
    let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let list: Vec<DatasetRange> = places
        .iter()
        .map(|place| DatasetRange {
            slba: place.first.into(),
            blocks: narrow(place.count).into(),
            ..Default::default()
        })
        .collect();
    let count_z = u32::try_from(list.len() - 1).expect("at most 256 ranges");
    let command = Command {
        cdw10: count_z.into(),
        cdw11: DATASET_DEALLOCATE.into(),
        ..nvm_command(NvmOpcode::DATASET_MANAGEMENT, nsid)
    };
    Ask::out(command, list.as_bytes().to_vec())
}

fn ranged(opcode: NvmOpcode, nsid: u32, piece: Blocks) -> Command {
    block_command(opcode, nsid, piece.first, u32::try_from(piece.count).expect("a piece has at most 65536 blocks"))
}

/// Blocks in pieces of at most `most`, or of what a command names.
fn pieces(whole: Blocks, most: u64) -> impl Iterator<Item = Blocks> {
    let most = most.clamp(1, BLOCKS_MAX);
    let firsts = (0..whole.count.div_ceil(most)).map(move |piece| piece * most);
    firsts.map(move |done| Blocks { first: whole.first + done, count: most.min(whole.count - done) })
}

/// Data that is neither zeroes nor the same twice.
fn made_up(bytes: u64, stamp: u64) -> Vec<u8> {
    let mut data = vec![0x5a; index(bytes)];
    let stamps = data.chunks_mut(PATTERN_BYTES);
    for (page, number) in stamps.zip(0u64..) {
        let word = stamp.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
        page[..8].copy_from_slice(&word.to_le_bytes());
    }
    data
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a transfer is at most a megabyte")
}
