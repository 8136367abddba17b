//! A store as bytes on a disk: where headers, records, data and metadata lie, and what must be durable before what. Owns the layout
//! and the memory of lines that are not wholly on the disk yet, or were not long ago; does not know whether the disk is a file.
//!
//! The image is: a header page, the metadata region, then the lines. A line is its header page, its records, its data, its units'
//! metadata. Staging memory is cut into segments of one program; a programmed segment is handed to the disk as it is (shared, not
//! copied) and forgotten once the disk has let go of all of the line.
//!
//! What a failure of the host may leave must be as if power had gone at some moment, or at several in different lines. Data and
//! records of a line are free: a record says by itself whether it and its data are whole. A line's header claims something of all
//! that was programmed before it (that it is there, up to a number), so that is durable first. An erased line takes new data only
//! once its erase is durable: until then its old records may be all that closes a gap in the sequence.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;

use super::backing::{Store, StoreError, Trouble, Wanted};
use super::disk::Disk;
use super::header::ImageHeader;
use super::places::{PAGE, Places};
use super::record_pages::RecordPages;
use super::schedule::{Bytes, Operation};
use super::staging::{StagedLine, Window, blank_empty, data_check, encode_records};
use crate::geometry::Geometry;
use crate::journal::{HEADER_BYTES, HeaderState, Kind, LineHeader, METADATA_PAGE, RECORD_BYTES, Record};
use crate::large_memory::{OutOfMemory, filled, room};
use crate::ordering::Order;
use crate::unit::narrow;

/// No metadata region is larger: the map of the largest media takes two times 16 GiB.
const MOST_METADATA: u64 = 1 << 40;
/// How much of a line is read at a time while its units are moved elsewhere.
pub(super) const WINDOW_BYTES: usize = 256 << 10;

/// What a store may keep for the sake of speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Bytes of closed lines that stay in memory, newest first.
    pub cache_bytes: usize,
    /// Erased lines whose room is not given back: those that will be written next need it again.
    pub kept_lines: usize,
}

impl Default for Caching {
    /// Nothing but the one line that was erased last.
    fn default() -> Self {
        Self { cache_bytes: 0, kept_lines: 1 }
    }
}

/// A store on a disk.
pub struct ImageStore<D: Disk> {
    pub(super) disk: D,
    pub(super) caching: Caching,
    pub(super) lines: Vec<Option<Box<StagedLine>>>,
    pub(super) opened: Vec<u64>,
    /// By line: new data waits until this many turns are durable.
    settled_at: Vec<u64>,
    /// Closed lines in memory, oldest first.
    closed: VecDeque<u32>,
    /// Erased lines whose room was not given back, oldest first.
    erased: VecDeque<u32>,
    /// None of them keeps anything.
    discards_all: bool,
    durable_turns: u64,
    pub(super) window: Window,
    pub(super) record_pages: RecordPages,
    pub(super) scratch: Vec<u8>,
    /// Segments of data to stage in again: taking and clearing memory costs as much as filling it.
    pool: Vec<Bytes>,
    header: ImageHeader,
    pub(super) places: Places,
}

impl<D: Disk> ImageStore<D> {
    /// Makes an image on an empty disk.
    ///
    /// # Errors
    /// Where the system has no memory for what is kept of each line.
    pub fn create(geometry: &Geometry, metadata_bytes: u64, disk: D) -> Result<Self, OutOfMemory> {
        Self::create_named(geometry, metadata_bytes, [0; 16], disk)
    }

    /// The same, with what tells the image from others.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_named(
        geometry: &Geometry,
        metadata_bytes: u64,
        identity: [u8; 16],
        disk: D,
    ) -> Result<Self, OutOfMemory> {
        let header = ImageHeader { geometry: geometry.config.clone(), metadata_bytes, identity };
        let bytes = header.encode();
        let mut store = Self::over(geometry, header, disk)?;
        store.disk.write(0, bytes);
        Ok(store)
    }

    /// Opens the image on a disk that has no end.
    ///
    /// # Errors
    /// Where it is not one, is damaged, or has another geometry than `geometry` asks for.
    pub fn open(geometry: &Geometry, disk: D) -> Result<Self, StoreError> {
        Self::open_whole(geometry, disk, u64::MAX)
    }

    /// Opens the image on a disk of `length` bytes. No memory is taken for what the image claims to be before it is known to fit.
    ///
    /// # Errors
    /// Where it is not one, is damaged or cut off, or has another geometry than `geometry` asks for.
    pub fn open_whole(geometry: &Geometry, mut disk: D, length: u64) -> Result<Self, StoreError> {
        let header = Self::read_header(&mut disk)?;
        if header.geometry != geometry.config {
            let what = format!("the file was made with another geometry: {:?}", header.geometry);
            return Err(StoreError::Refused(what));
        }
        if header.metadata_bytes > MOST_METADATA {
            return Err(StoreError::Damaged(format!("{} bytes of metadata are beyond reason", header.metadata_bytes)));
        }
        let wanted = Places::new(geometry, header.metadata_bytes).line_at(geometry.lines);
        if length < wanted {
            return Err(StoreError::Damaged(format!("the file is cut off: {length} bytes of {wanted}")));
        }
        Ok(Self::over(geometry, header, disk)?)
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

    fn over(geometry: &Geometry, header: ImageHeader, disk: D) -> Result<Self, OutOfMemory> {
        let count = geometry.lines as usize;
        let places = Places::new(geometry, header.metadata_bytes);
        let mut lines = room(count)?;
        lines.resize_with(count, || None);
        Ok(Self {
            disk,
            caching: Caching::default(),
            lines,
            opened: filled(0, count)?,
            settled_at: filled(0, count)?,
            closed: VecDeque::new(),
            erased: VecDeque::new(),
            discards_all: false,
            durable_turns: 0,
            window: Window::default(),
            record_pages: RecordPages::default(),
            scratch: Vec::new(),
            pool: Vec::new(),
            header,
            places,
        })
    }

    /// Bytes of memory that are kept for the lines of a geometry, of whatever is in them.
    #[must_use]
    pub(crate) const fn bytes_of_lines(geometry: &Geometry) -> usize {
        geometry.lines as usize * (size_of::<Option<Box<StagedLine>>>() + 2 * size_of::<u64>())
    }

    /// What are kept.
    #[cfg(test)]
    pub(crate) fn memory_bytes_of_lines(&self) -> usize {
        let Self { lines, opened, settled_at, .. } = self;
        lines.capacity() * size_of_val(&lines[0]) + (opened.capacity() + settled_at.capacity()) * size_of::<u64>()
    }

    /// Changes what is kept for the sake of speed.
    pub fn set_caching(&mut self, caching: Caching) {
        self.caching = caching;
    }

    /// Bytes of the whole image; a file may be smaller as long as nothing was written behind its end.
    #[must_use]
    pub fn image_bytes(&self) -> u64 {
        self.places.line_at(narrow(self.lines.len()))
    }

    /// Makes the disk as long as the image is, so that one that was cut off is seen.
    ///
    /// # Errors
    /// Where it cannot be that long.
    pub fn extend(&mut self) -> Result<(), StoreError> {
        let bytes = self.image_bytes();
        self.disk.set_length(bytes)
    }

    /// Bytes of the metadata region.
    #[must_use]
    pub const fn metadata_bytes(&self) -> u64 {
        self.header.metadata_bytes
    }

    /// The disk, to look at.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    fn staged_line(&mut self, line: u32) -> &mut StagedLine {
        let segments = self.places.segments_per_line() * 2;
        self.lines[line as usize].get_or_insert_with(|| {
            Box::new(StagedLine { segments: vec![None; segments], first: 0, records: Vec::new(), handed: Vec::new() })
        })
    }

    /// Looks how far the disk has come, forgets lines that it has, and gives room back.
    fn look(&mut self) -> Result<u64, StoreError> {
        let done = self.disk.done()?;
        assert!(done.durable_turns >= self.durable_turns, "what is durable stays durable");
        self.durable_turns = done.durable_turns;
        self.forget_closed();
        self.discard_erased();
        Ok(done.ticket)
    }

    fn forget_closed(&mut self) {
        let most = self.caching.cache_bytes / self.places.data_bytes;
        while self.closed.len() > most {
            let line = self.closed[0];
            let staged = &mut self.lines[line as usize];
            if staged.as_mut().is_some_and(|staged| !staged.written()) {
                return;
            }
            let staged = staged.take();
            self.recycle(staged);
            self.forget_read(line);
            self.closed.pop_front();
        }
    }

    /// Forgets what was read of a line's bytes on the disk, which are others now.
    fn forget_read(&mut self, line: u32) {
        self.window.forget(line);
        self.record_pages.forget(line);
    }

    /// Keeps the memory of a line's data, as much as a line in each stream needs.
    fn recycle(&mut self, line: Option<Box<StagedLine>>) {
        let segments = self.places.segments_per_line();
        for mut segment in line.into_iter().flat_map(|line| line.segments.into_iter().take(segments)).flatten() {
            if self.pool.len() < 2 * segments && Arc::get_mut(&mut segment).is_some() {
                self.pool.push(segment);
            }
        }
    }

    fn discard_erased(&mut self) {
        let kept = if self.discards_all { 0 } else { self.caching.kept_lines };
        while self.erased.len() > kept {
            let line = self.erased[0];
            if !self.settled(line) && Order::DiscardAfterErase.kept() {
                return;
            }
            self.erased.pop_front();
            self.discard(line);
        }
    }

    /// Everything of a line but the header, which says that it is erased.
    fn discard(&mut self, line: u32) {
        let (from, bytes) = (self.places.line_at(line) + PAGE, self.places.line_stride - PAGE);
        let turns = self.disk.call(Operation::Discard(from, bytes));
        if Order::ProgramAfterDiscard.kept() {
            self.settled_at[line as usize] = turns;
        }
    }

    /// Whether a line may take data that passes everything else on its way to the disk.
    fn settled(&self, line: u32) -> bool {
        self.settled_at[line as usize] <= self.durable_turns
    }

    /// Hands bytes of a line's open life to the disk.
    fn put(&mut self, line: u32, offset: u64, bytes: Bytes) {
        let waits = !self.settled(line) && Order::ProgramAfterErase.kept();
        self.disk.call(if waits { Operation::Turn(offset, bytes) } else { Operation::Free(offset, bytes) });
    }

    fn read_records(&mut self, line: u32, into: &mut Vec<Record>) -> Result<(), StoreError> {
        let mut bytes = filled(0, self.places.units_per_line as usize * RECORD_BYTES)?;
        self.disk.read(self.places.record_at(line, 0), &mut bytes)?;
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
        let mut bytes = filled(0, 1 << self.places.unit_shift)?;
        let mut checks = [0; RECORD_BYTES];
        for (slot, record) in records.iter_mut().enumerate().skip(from) {
            if !record.kind.holds_unit() {
                continue;
            }
            self.disk.read(self.places.record_at(line, narrow(slot)), &mut checks)?;
            let stored = Record::decode(self.opened[line as usize], &checks);
            let metadata = self.places.data_bytes + slot * self.places.metadata_per_unit;
            let mut rest = vec![0; self.places.metadata_per_unit];
            self.disk.read(self.places.byte_at(line, slot << self.places.unit_shift), &mut bytes)?;
            self.disk.read(self.places.byte_at(line, metadata), &mut rest)?;
            if stored.is_none_or(|(_, check)| check != data_check(&bytes, &rest)) {
                *record = Record::default();
            }
        }
        Ok(())
    }

    /// Reads data of a line that lies on the disk alone, and what follows it: what is collected is read in order.
    pub(super) fn fill_window(&mut self, from: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        if self.window.get(from, bytes).is_some() {
            return Ok(());
        }
        // Nothing may be taken from a window that was not filled: it is put back only when it is.
        let mut window = take(&mut self.window);
        window.bytes.resize(WINDOW_BYTES.max(bytes).min(self.places.data_bytes - from.1), 0);
        (window.line, window.offset) = from;
        self.disk.read(self.places.byte_at(from.0, from.1), &mut window.bytes)?;
        self.window = window;
        Ok(())
    }
}

impl<D: Disk> Store for ImageStore<D> {
    const CHECKS: bool = true;

    fn read_unit(&mut self, unit: &Wanted<'_>, into: &mut [u8]) -> Result<(), StoreError> {
        self.read_checked(unit, into)
    }

    fn copy_unit(&mut self, unit: &Wanted<'_>, to: (u32, u32)) -> Result<(), StoreError> {
        self.copy_checked(unit, to)
    }

    fn stage(&mut self, line: u32, offset: usize, bytes: usize) -> &mut [u8] {
        if bytes == 0 {
            return &mut [];
        }
        let (segment, at) = self.places.segment_of(offset);
        let size = self.places.segment_size(offset);
        let data = offset < self.places.data_bytes;
        if self.staged_line(line).segments[segment].is_none() {
            // Units that are staged are filled wholly, so what is left of another life in recycled memory is not seen.
            let recycled = if data { self.pool.pop() } else { None };
            self.staged_line(line).segments[segment] = Some(recycled.unwrap_or_else(|| Arc::new(vec![0; size])));
        }
        let memory = self.staged_line(line).segments[segment].as_mut().expect("it was just put there");
        let memory = Arc::get_mut(memory).expect("nothing is staged in a programmed page");
        &mut memory[at..size.min(at + bytes)]
    }

    fn view(&self, line: u32, offset: usize, bytes: usize) -> Option<&[u8]> {
        let (segment, at) = self.places.segment_of(offset);
        let memory = self.lines[line as usize].as_ref()?.segments.get(segment)?.as_ref()?;
        memory.get(at..memory.len().min(at + bytes))
    }

    fn read(&mut self, line: u32, offset: usize, into: &mut [u8]) -> Result<(), StoreError> {
        if self.lines[line as usize].is_none() {
            return self.disk.read(self.places.byte_at(line, offset), into);
        }
        let mut at = 0;
        while at < into.len() {
            let (_, inside) = self.places.segment_of(offset + at);
            let count = (self.places.segment_size(offset + at) - inside).min(into.len() - at);
            if let Some(bytes) = self.view(line, offset + at, count) {
                into[at..at + count].copy_from_slice(bytes);
            } else {
                let place = self.places.byte_at(line, offset + at);
                self.disk.read(place, &mut into[at..at + count])?;
            }
            at += count;
        }
        Ok(())
    }

    fn copy(&mut self, from: (u32, usize), to: (u32, usize), bytes: usize) -> Result<(), StoreError> {
        // By way of a buffer: source and target may lie in one segment.
        let mut buffer = take(&mut self.scratch);
        buffer.resize(buffer.len().max(bytes), 0);
        let read = self.read(from.0, from.1, &mut buffer[..bytes]);
        if read.is_ok() {
            self.stage_bytes(to.0, to.1, &buffer[..bytes]);
        }
        self.scratch = buffer;
        read
    }

    fn program(&mut self, line: u32, first_slot: u32, records: &[Record]) {
        let segment = (first_slot / self.places.segment_units) as usize;
        let (per_unit, unit_shift) = (self.places.metadata_per_unit, self.places.unit_shift);
        assert!(first_slot.is_multiple_of(self.places.segment_units), "a program begins with its page");
        assert_ne!(self.opened[line as usize], 0, "only an open line is programmed");
        let metadata_segment = self.places.segments_per_line() + segment;
        let staged = self.staged_line(line);
        if staged.records.is_empty() {
            staged.first = first_slot;
        }
        let place = (first_slot - staged.first) as usize;
        assert!(staged.records.len() <= place, "slots are programmed once, in order");
        staged.records.resize(place, Record::default());
        staged.records.extend_from_slice(records);
        blank_empty(staged.segments[segment].as_mut(), records, unit_shift);
        let data = staged.segments[segment].clone();
        // Metadata that no volume staged is zeroes, and the disk may still have that of the line's earlier life.
        let blank = || (per_unit > 0).then(|| Arc::new(vec![0; records.len() * per_unit]));
        let metadata = staged.segments[metadata_segment].clone().or_else(blank);
        let encoded = Arc::new(encode_records(
            &self.places,
            self.opened[line as usize],
            records,
            data.as_ref(),
            metadata.as_ref(),
        ));
        if let Some(data) = data {
            self.put(line, self.places.byte_at(line, (first_slot as usize) << self.places.unit_shift), data);
        }
        if let Some(metadata) = metadata {
            let place = self.places.byte_at(line, self.places.data_bytes + first_slot as usize * per_unit);
            self.put(line, place, metadata);
        }
        self.staged_line(line).handed.push(Arc::clone(&encoded));
        self.put(line, self.places.record_at(line, first_slot), encoded);
    }

    fn write_header(&mut self, line: u32, header: &LineHeader) {
        let opens = header.state == HeaderState::Open;
        if opens {
            self.opened[line as usize] = header.opened;
            self.erased.retain(|&erased| erased != line);
            if !self.settled(line) {
                self.disk.call(Operation::Barrier(Order::OpenAfterErase));
            }
        }
        let (offset, bytes) = (self.places.line_at(line), Arc::new(header.encode(line)));
        let opens = opens && Order::ClaimAfterOpen.kept();
        self.disk.call(Operation::Claim { order: Order::HeaderAfterPrograms, offset, bytes, opens });
        if header.state == HeaderState::Closed && self.lines[line as usize].is_some() {
            self.closed.push_back(line);
        }
        // Where the disk is stuck, whoever waits for it is told.
        let _ = self.look();
    }

    fn erase(&mut self, line: u32, header: &LineHeader) {
        let staged = self.lines[line as usize].take();
        self.recycle(staged);
        self.opened[line as usize] = 0;
        self.closed.retain(|&closed| closed != line);
        self.forget_read(line);
        // What was moved out of the line must be durable before that is said and the line is written again.
        let bytes = Arc::new(header.encode(line));
        let offset = self.places.line_at(line);
        let claim = Operation::Claim { order: Order::EraseAfterMoves, offset, bytes, opens: false };
        self.settled_at[line as usize] = self.disk.call(claim);
        assert!(!self.erased.contains(&line), "an erased line is opened before it is erased again");
        self.erased.push_back(line);
        let _ = self.look();
    }

    fn discard_all(&mut self, unused: &mut dyn Iterator<Item = u32>) -> bool {
        if !std::mem::replace(&mut self.discards_all, true) {
            // What an earlier process erased and did not come to discard, too.
            unused
                .filter(|line| !self.erased.contains(line))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|line| self.discard(line));
        }
        self.discard_erased();
        self.discards_all = !self.erased.is_empty();
        !self.discards_all
    }

    fn header(&mut self, line: u32) -> Result<LineHeader, StoreError> {
        let mut bytes = [0; HEADER_BYTES];
        self.disk.read(self.places.line_at(line), &mut bytes)?;
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
        assert!(into.len() <= self.places.units_per_line as usize, "a line has no more records than slots");
        Ok(())
    }

    fn verify_data(&mut self, line: u32, from: u32, records: &mut [Record]) -> Result<(), StoreError> {
        self.drop_torn(line, from as usize, records)
    }

    fn metadata_room(&self) -> u64 {
        self.header.metadata_bytes
    }

    fn write_metadata(&mut self, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.header.metadata_bytes, "metadata stays in its region");
        let (at, bytes) = (PAGE + offset, Bytes::new(bytes.to_vec()));
        let waits = Order::MetadataInTurn.kept();
        self.disk.call(if waits { Operation::Turn(at, bytes) } else { Operation::Free(at, bytes) });
    }

    fn read_metadata(&mut self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        self.disk.read(PAGE + offset, into)
    }

    fn take(&mut self) -> Self {
        // Lists as long as the drive are emptied, not made anew: there may be no memory for others.
        let (mut lines, mut opened, mut settled_at) =
            (take(&mut self.lines), take(&mut self.opened), take(&mut self.settled_at));
        lines.fill_with(|| None);
        opened.fill(0);
        settled_at.fill(0);
        Self {
            disk: self.disk.take(),
            lines,
            opened,
            settled_at,
            closed: VecDeque::new(),
            erased: VecDeque::new(),
            discards_all: false,
            durable_turns: 0,
            window: Window::default(),
            record_pages: RecordPages::default(),
            scratch: Vec::new(),
            pool: Vec::new(),
            header: self.header.clone(),
            ..*self
        }
    }

    fn backlogged(&self) -> bool {
        self.disk.backlogged()
    }

    fn barrier(&mut self, order: Order) {
        self.disk.call(Operation::Barrier(order));
    }

    fn hold_programs(&mut self, order: Order) {
        let turns = self.disk.call(Operation::Barrier(order));
        if order.kept() {
            self.settled_at.fill(turns);
        }
    }

    fn sync(&mut self) -> u64 {
        self.disk.ticket(true)
    }

    fn notice(&mut self) -> u64 {
        self.disk.ticket(false)
    }

    fn synced(&mut self) -> Result<u64, StoreError> {
        self.look()
    }

    fn trouble(&mut self) -> Option<Trouble> {
        self.disk.trouble()
    }
}
