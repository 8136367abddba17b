//! A store as bytes on a disk: where headers, records, data and metadata lie, and what must be written before what. Owns the layout
//! and the memory of lines that are not wholly on the disk yet; does not know whether the disk is a file.
//!
//! The image is: a header page, the metadata region, then the lines. A line is its header page, its records, its data, its units'
//! metadata. Staging memory is cut into segments of one program; a programmed segment is handed to the disk as it is (shared, not
//! copied) and forgotten once the disk has written the line.

use std::sync::Arc;

use super::backing::{Store, StoreError};
use crate::codec::{Reader, Writer, checksum};
use crate::geometry::{Geometry, GeometryConfig};
use crate::journal::{HEADER_BYTES, HeaderState, Kind, LineHeader, METADATA_PAGE, RECORD_BYTES, Record, fold};
use crate::unit::narrow;

/// A disk that works behind the caller's back, in the order of the calls.
pub trait Disk {
    /// Writes `bytes` at `offset`, some time.
    fn write(&mut self, offset: u64, bytes: Arc<Vec<u8>>);

    /// Reads at `offset` what was written and reported by [`Disk::done`]; zeroes beyond the end.
    ///
    /// # Errors
    /// Where the disk fails.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError>;

    /// What was written before is durable before what is written afterwards is written.
    fn barrier(&mut self);

    /// As a barrier, with a ticket.
    fn sync(&mut self) -> u64;

    /// Whether more waits to be written than should.
    fn backlogged(&self) -> bool {
        false
    }

    /// How many writes, in order, are visible to [`Disk::read`], and the largest ticket that is durable.
    ///
    /// # Errors
    /// Where the disk is stuck; nothing is lost, and it tries again.
    fn done(&mut self) -> Result<Done, StoreError>;

    /// Takes everything out; leaves a disk that holds nothing.
    #[must_use]
    fn take(&mut self) -> Self
    where
        Self: Sized;
}

/// How far a disk has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Writes since the disk was opened.
    pub writes: u64,
    /// The largest durable ticket.
    pub ticket: u64,
}

const MAGIC: u64 = u64::from_le_bytes(*b"brownout");
/// The version of the image's format. A newer one is refused, not guessed at.
pub const VERSION: u32 = 1;
const PAGE: u64 = METADATA_PAGE as u64;

/// What the first page of an image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The geometry that the image was made with.
    pub geometry: GeometryConfig,
    /// Bytes of the metadata region.
    pub metadata_bytes: u64,
}

impl ImageHeader {
    /// The encoded page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let geometry = &self.geometry;
        let mut writer = Writer::default();
        writer.u64(MAGIC);
        writer.u32(VERSION);
        for number in [
            geometry.channels,
            geometry.dies_per_channel,
            geometry.planes_per_die,
            geometry.pages_per_block,
            geometry.page_bytes,
            geometry.unit_bytes,
            geometry.spare_per_million_of_user,
            geometry.replacement_blocks_per_plane,
            geometry.metadata_bytes_per_unit,
        ] {
            writer.u32(number);
        }
        writer.words(&[geometry.user_bytes, self.metadata_bytes]);
        let sum = checksum(MAGIC, &writer.0);
        writer.u64(sum);
        writer.0.resize(METADATA_PAGE, 0);
        writer.0
    }

    /// The header of a page.
    ///
    /// # Errors
    /// What is wrong with it, in words for the person who named the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(what.into());
        let mut reader = Reader(bytes);
        if reader.u64() != Some(MAGIC) {
            return Err(damaged("this is not a brownout media file"));
        }
        let version = reader.u32().ok_or_else(|| damaged("the header is cut off"))?;
        if version != VERSION {
            return Err(StoreError::Damaged(format!(
                "the file has format version {version}; this is version {VERSION}"
            )));
        }
        Self::decode_body(&mut reader, bytes).ok_or_else(|| damaged("the header's checksum is wrong"))
    }

    fn decode_body(reader: &mut Reader<'_>, bytes: &[u8]) -> Option<Self> {
        let mut number = || reader.u32();
        let mut geometry = GeometryConfig {
            channels: number()?,
            dies_per_channel: number()?,
            planes_per_die: number()?,
            pages_per_block: number()?,
            page_bytes: number()?,
            unit_bytes: number()?,
            spare_per_million_of_user: number()?,
            replacement_blocks_per_plane: number()?,
            metadata_bytes_per_unit: number()?,
            user_bytes: 0,
        };
        let [user_bytes, metadata_bytes] = reader.words()?;
        geometry.user_bytes = user_bytes;
        let body = bytes.len() - reader.0.len();
        (reader.u64()? == checksum(MAGIC, bytes.get(..body)?)).then_some(Self { geometry, metadata_bytes })
    }
}

struct StagedLine {
    /// Segments of data, then as many of metadata; dropped when the disk has them.
    segments: Vec<Option<Arc<Vec<u8>>>>,
    /// Records from this slot on are in `records`; those before it are from before the image was opened.
    first: u32,
    records: Vec<Record>,
    /// The write after which the disk has all of the line; set when the line is closed.
    written_at: Option<u64>,
}

/// A store on a disk.
pub struct ImageStore<D: Disk> {
    disk: D,
    lines: Vec<Option<Box<StagedLine>>>,
    opened: Vec<u64>,
    closing: Vec<u32>,
    writes: u64,
    header: ImageHeader,
    unit_shift: u32,
    segment_units: u32,
    units_per_line: u32,
    data_bytes: usize,
    metadata_per_unit: usize,
    line_stride: u64,
    records_bytes: u64,
}

impl<D: Disk> ImageStore<D> {
    /// Makes an image on an empty disk.
    #[must_use]
    pub fn create(geometry: &Geometry, metadata_bytes: u64, disk: D) -> Self {
        let header = ImageHeader { geometry: geometry.config.clone(), metadata_bytes };
        let bytes = header.encode();
        let mut store = Self::over(geometry, header, disk);
        store.put(0, bytes);
        store.disk.barrier();
        store
    }

    /// Opens the image on a disk.
    ///
    /// # Errors
    /// Where it is not one, is damaged, or has another geometry than `geometry` asks for.
    pub fn open(geometry: &Geometry, mut disk: D) -> Result<Self, StoreError> {
        let header = Self::read_header(&mut disk)?;
        if header.geometry != geometry.config {
            let what = format!("the file was made with another geometry: {:?}", header.geometry);
            return Err(StoreError::Damaged(what));
        }
        Ok(Self::over(geometry, header, disk))
    }

    /// The header of the image on a disk.
    ///
    /// # Errors
    /// Where it is not one, or is damaged.
    pub fn read_header(disk: &mut D) -> Result<ImageHeader, StoreError> {
        let mut bytes = [0; METADATA_PAGE];
        disk.read(0, &mut bytes)?;
        ImageHeader::decode(&bytes)
    }

    fn over(geometry: &Geometry, header: ImageHeader, disk: D) -> Self {
        let lines = geometry.lines as usize;
        let records_bytes = (u64::from(geometry.units_per_line) * RECORD_BYTES as u64).next_multiple_of(PAGE);
        let line_bytes = (geometry.line_bytes as u64).next_multiple_of(PAGE);
        Self {
            disk,
            lines: (0..lines).map(|_| None).collect(),
            opened: vec![0; lines],
            closing: Vec::new(),
            writes: 0,
            header,
            unit_shift: geometry.unit_shift,
            segment_units: geometry.units_per_program,
            units_per_line: geometry.units_per_line,
            data_bytes: geometry.line_data_bytes,
            metadata_per_unit: geometry.config.metadata_bytes_per_unit as usize,
            line_stride: PAGE + records_bytes + line_bytes,
            records_bytes,
        }
    }

    /// Bytes of the whole image; a file may be smaller as long as nothing was written behind its end.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.line_at(narrow(self.lines.len()))
    }

    /// Refuses a disk of `length` bytes that does not hold the whole image.
    ///
    /// # Errors
    /// Where it is too short.
    pub fn check_length(&self, length: u64) -> Result<(), StoreError> {
        let wanted = self.image_bytes();
        if length >= wanted {
            return Ok(());
        }
        Err(StoreError::Damaged(format!("the file is cut off: {length} bytes of {wanted}")))
    }

    /// The disk, to look at.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    fn line_at(&self, line: u32) -> u64 {
        PAGE + self.header.metadata_bytes.next_multiple_of(PAGE) + u64::from(line) * self.line_stride
    }

    fn byte_at(&self, line: u32, offset: usize) -> u64 {
        self.line_at(line) + PAGE + self.records_bytes + offset as u64
    }

    fn put(&mut self, offset: u64, bytes: Vec<u8>) {
        self.put_shared(offset, Arc::new(bytes));
    }

    fn put_shared(&mut self, offset: u64, bytes: Arc<Vec<u8>>) {
        self.writes += 1;
        self.disk.write(offset, bytes);
    }

    fn segment_data_bytes(&self) -> usize {
        (self.segment_units as usize) << self.unit_shift
    }

    fn segments_per_line(&self) -> usize {
        (self.units_per_line / self.segment_units) as usize
    }

    /// The segment of an offset, and the offset in it.
    fn segment_of(&self, offset: usize) -> (usize, usize) {
        if offset < self.data_bytes {
            return (offset / self.segment_data_bytes(), offset % self.segment_data_bytes());
        }
        let bytes = self.segment_units as usize * self.metadata_per_unit;
        if bytes == 0 {
            return (0, 0);
        }
        let offset = offset - self.data_bytes;
        (self.segments_per_line() + offset / bytes, offset % bytes)
    }

    fn staged_line(&mut self, line: u32) -> &mut StagedLine {
        let segments = self.segments_per_line() * 2;
        self.lines[line as usize].get_or_insert_with(|| {
            Box::new(StagedLine { segments: vec![None; segments], first: 0, records: Vec::new(), written_at: None })
        })
    }

    /// Forgets lines that the disk has.
    fn forget_written(&mut self, done: Done) {
        let lines = &mut self.lines;
        self.closing.retain(|&line| {
            let staged = &mut lines[line as usize];
            let written = staged.as_ref().and_then(|staged| staged.written_at).is_some_and(|at| at <= done.writes);
            if written {
                *staged = None;
            }
            !written && staged.is_some()
        });
    }

    fn read_records(&mut self, line: u32, into: &mut Vec<Record>) -> Result<(), StoreError> {
        let mut bytes = vec![0; self.units_per_line as usize * RECORD_BYTES];
        self.disk.read(self.line_at(line) + PAGE, &mut bytes)?;
        let opened = self.opened[line as usize];
        let units = bytes.chunks_exact(RECORD_BYTES).map(|bytes| Record::decode(opened, bytes));
        into.extend(units.map(|unit| unit.unwrap_or_default().0));
        while into.last().is_some_and(|record| record.kind == Kind::Hole) {
            into.pop();
        }
        Ok(())
    }

    /// Where data of a unit did not reach the disk although its record did, the unit was never there.
    fn drop_torn(&mut self, line: u32, from: usize, records: &mut [Record]) -> Result<(), StoreError> {
        let mut bytes = vec![0; 1 << self.unit_shift];
        let mut checks = [0; RECORD_BYTES];
        for (slot, record) in records.iter_mut().enumerate().skip(from) {
            if !record.kind.holds_unit() {
                continue;
            }
            self.disk.read(self.line_at(line) + PAGE + (slot * RECORD_BYTES) as u64, &mut checks)?;
            let stored = Record::decode(self.opened[line as usize], &checks);
            let metadata = self.data_bytes + slot * self.metadata_per_unit;
            let mut rest = vec![0; self.metadata_per_unit];
            self.disk.read(self.byte_at(line, slot << self.unit_shift), &mut bytes)?;
            self.disk.read(self.byte_at(line, metadata), &mut rest)?;
            if stored.is_none_or(|(_, check)| check != data_check(&bytes, &rest)) {
                *record = Record::default();
            }
        }
        Ok(())
    }
}

fn data_check(data: &[u8], metadata: &[u8]) -> u32 {
    let sum = checksum(1, data);
    fold(if metadata.is_empty() { sum } else { checksum(sum, metadata) })
}

impl<D: Disk> Store for ImageStore<D> {
    fn segment_bytes(&self) -> usize {
        self.segment_data_bytes()
    }

    fn stage(&mut self, line: u32, offset: usize, bytes: usize) -> &mut [u8] {
        if bytes == 0 {
            return &mut [];
        }
        let (segment, at) = self.segment_of(offset);
        let data = offset < self.data_bytes;
        let size = if data { self.segment_data_bytes() } else { self.segment_units as usize * self.metadata_per_unit };
        let memory = self.staged_line(line).segments[segment].get_or_insert_with(|| Arc::new(vec![0; size]));
        let memory = Arc::get_mut(memory).expect("nothing is staged in a programmed page");
        &mut memory[at..at + bytes]
    }

    fn view(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]> {
        let (segment, at) = self.segment_of(offset);
        self.lines[line as usize].as_ref()?.segments.get(segment)?.as_ref()?.get(at..at + bytes)
    }

    fn read(&mut self, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
        let mut at = 0;
        while at < into.len() {
            let (_, inside) = self.segment_of(offset + at);
            let data = offset + at < self.data_bytes;
            let size =
                if data { self.segment_data_bytes() } else { self.segment_units as usize * self.metadata_per_unit };
            let count = (size - inside).min(into.len() - at);
            if let Some(bytes) = self.view(line, offset + at, count) {
                into[at..at + count].copy_from_slice(bytes);
            } else {
                let place = self.byte_at(line, offset + at);
                self.disk.read(place, &mut into[at..at + count])?;
            }
            at += count;
        }
        Ok(())
    }

    fn copy(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        // By way of a buffer: source and target may lie in one segment, and the source may be on the disk alone.
        let mut buffer = vec![0; bytes];
        self.read(from.0, from.1, &mut buffer)?;
        self.stage(to.0, to.1, bytes).copy_from_slice(&buffer);
        Ok(())
    }

    fn program(&mut self, line: u32, first_slot: u32, records: &[Record]) {
        let segment = (first_slot / self.segment_units) as usize;
        let (unit_shift, per_unit, opened) = (self.unit_shift, self.metadata_per_unit, self.opened[line as usize]);
        let metadata_segment = self.segments_per_line() + segment;
        let staged = self.staged_line(line);
        if staged.records.is_empty() {
            staged.first = first_slot;
        }
        let place = (first_slot - staged.first) as usize;
        assert!(staged.records.len() <= place, "slots are programmed once, in order");
        staged.records.resize(place, Record::default());
        staged.records.extend_from_slice(records);
        let data = staged.segments[segment].clone();
        // Metadata that no volume staged is zeroes, and the disk may still have that of the line's earlier life.
        let blank = || (per_unit > 0).then(|| Arc::new(vec![0; records.len() * per_unit]));
        let metadata = staged.segments[metadata_segment].clone().or_else(blank);
        let mut encoded = Writer::default();
        for (n, record) in records.iter().enumerate() {
            let unit = data.as_ref().map_or(&[][..], |data| &data[n << unit_shift..(n + 1) << unit_shift]);
            let rest = metadata.as_ref().map_or(&[][..], |bytes| &bytes[n * per_unit..(n + 1) * per_unit]);
            let check = if record.kind.holds_unit() { data_check(unit, rest) } else { 0 };
            record.encode(opened, check, &mut encoded);
        }
        // Data first, so that a record that is there after the process was killed means that its data is.
        if let Some(data) = data {
            let place = self.byte_at(line, (first_slot as usize) << unit_shift);
            self.put_shared(place, data);
        }
        if let Some(metadata) = metadata {
            let place = self.byte_at(line, self.data_bytes + first_slot as usize * per_unit);
            self.put_shared(place, metadata);
        }
        let place = self.line_at(line) + PAGE + u64::from(first_slot) * RECORD_BYTES as u64;
        self.put(place, encoded.0);
    }

    fn write_header(&mut self, line: u32, header: &LineHeader) {
        if header.state == HeaderState::Open {
            self.opened[line as usize] = header.opened;
        }
        // The header says up to which number everything is programmed: that must be true of the disk as well.
        self.disk.barrier();
        let bytes = header.encode(line);
        self.put(self.line_at(line), bytes);
        let writes = self.writes;
        if header.state == HeaderState::Closed
            && let Some(staged) = &mut self.lines[line as usize]
        {
            staged.written_at = Some(writes);
            self.closing.push(line);
            if let Ok(done) = self.disk.done() {
                self.forget_written(done);
            }
        }
    }

    fn erase(&mut self, line: u32, header: &LineHeader) {
        // What was moved out of the line must be on the disk before the line is written again.
        self.disk.barrier();
        self.lines[line as usize] = None;
        self.opened[line as usize] = 0;
        let bytes = header.encode(line);
        self.put(self.line_at(line), bytes);
    }

    fn header(&mut self, line: u32) -> Result<LineHeader, StoreError> {
        let mut bytes = [0; HEADER_BYTES];
        self.disk.read(self.line_at(line), &mut bytes)?;
        let header = LineHeader::decode(line, &bytes)
            .ok_or_else(|| StoreError::Damaged(format!("the header of line {line} is damaged")))?;
        self.opened[line as usize] = header.opened;
        Ok(header)
    }

    fn records(&mut self, line: u32, into: &mut Vec<Record>) -> Result<(), StoreError> {
        into.clear();
        let staged = self.lines[line as usize].as_ref().map_or((0, 0), |staged| (staged.first, staged.records.len()));
        if staged.1 == 0 || staged.0 > 0 {
            self.read_records(line, into)?;
        }
        if let Some(line) = &self.lines[line as usize]
            && staged.1 > 0
        {
            into.resize(line.first as usize, Record::default());
            into.extend_from_slice(&line.records);
        }
        Ok(())
    }

    fn verify_data(&mut self, line: u32, from: u32, records: &mut [Record]) -> Result<(), StoreError> {
        self.drop_torn(line, from as usize, records)
    }

    fn write_metadata(&mut self, offset: u64, bytes: &[u8]) {
        self.put(PAGE + offset, bytes.to_vec());
    }

    fn read_metadata(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        self.disk.read(PAGE + offset, into)
    }

    fn take(&mut self) -> Self {
        Self {
            disk: self.disk.take(),
            lines: self.lines.iter().map(|_| None).collect(),
            opened: vec![0; self.opened.len()],
            closing: Vec::new(),
            writes: 0,
            header: self.header.clone(),
            ..*self
        }
    }

    fn backlogged(&self) -> bool {
        self.disk.backlogged()
    }

    fn barrier(&mut self) {
        self.disk.barrier();
    }

    fn sync(&mut self) -> u64 {
        self.disk.sync()
    }

    fn synced(&mut self) -> Result<u64, StoreError> {
        let done = self.disk.done()?;
        if !self.closing.is_empty() {
            self.forget_written(done);
        }
        Ok(done.ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ImageHeader {
        ImageHeader { geometry: GeometryConfig::default(), metadata_bytes: 12345 }
    }

    #[test]
    fn a_header_comes_back() {
        assert_eq!(ImageHeader::decode(&header().encode()), Ok(header()));
    }

    #[test]
    fn a_header_that_is_foreign_newer_damaged_or_cut_off_is_refused_in_words() {
        let refuse = |bytes: &[u8]| ImageHeader::decode(bytes).unwrap_err().to_string();
        assert!(refuse(&[0; 4096]).contains("not a brownout"));
        let mut newer = header().encode();
        newer[8] = 9;
        assert!(refuse(&newer).contains("format version 9"));
        let mut damaged = header().encode();
        damaged[20] ^= 1;
        assert!(refuse(&damaged).contains("checksum"));
        assert!(refuse(&header().encode()[..30]).contains("checksum"));
    }
}
