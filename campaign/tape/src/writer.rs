//! Brings entries to a file, in a thread of its own: compressed, each with its checksum, so that a tape whose writer was killed can be read
//! up to there. What waits is bounded: a drive that is faster than the disk waits for it a while, and then goes on without the tape.

mod piece;

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use lz4_flex::block::{compress_into, get_maximum_output_size};
use twox_hash::XxHash3_64;

use crate::entry::{Entry, WriteHead};
use piece::Piece;
pub use piece::Record;

/// What a tape begins with.
pub const MAGIC: &[u8; 8] = b"BROTAPE2";
/// What one began with before a write could say of itself that it has ended. Such a tape is read as any other.
pub const MAGIC_BEFORE: &[u8; 8] = b"BROTAPE1";
/// Entries are put together to pieces of at least so many bytes before they are compressed.
const PIECE_BYTES: usize = 128 << 10;
/// So many pieces wait at most.
const PIECES_WAITING: usize = 64;
/// How often and how long a piece waits for room.
const PATIENCE: (u32, Duration) = (10_000, Duration::from_micros(100));
/// Before the compressed bytes of a piece: their length, their checksum, and, covered by both, the length of what was compressed.
const HEAD: usize = 4 + 8 + 4;

/// Writes a tape. Its end, by [`Writer::end`] or by dropping it, waits until the file has everything.
pub struct Writer {
    /// Entries that are not passed on; of a broken tape, the one that says so.
    piece: Piece,
    pieces: Option<SyncSender<Piece>>,
    /// Pieces that were written come back: their memory is used again.
    written: Receiver<Piece>,
    /// Those that have come, the latest last: it is most likely in the processor's caches.
    spare: Vec<Piece>,
    thread: Option<JoinHandle<io::Result<()>>>,
    broken: bool,
}

impl Writer {
    /// Begins a tape in a file that is empty.
    ///
    /// # Errors
    /// The file cannot be written, or there is no thread.
    pub fn new(mut file: File) -> io::Result<Self> {
        file.write_all(MAGIC)?;
        let (pieces, waiting) = sync_channel(PIECES_WAITING);
        let (give_back, written) = channel();
        let thread = Builder::new().name("tape".to_owned()).spawn(move || write_pieces(file, &waiting, &give_back))?;
        let (piece, spare, pieces, thread) = (Piece::default(), Vec::new(), Some(pieces), Some(thread));
        Ok(Self { piece, pieces, written, spare, thread, broken: false })
    }

    /// Appends an entry.
    pub fn put(&mut self, entry: &Entry) {
        if self.broken {
            return self.say_broken();
        }
        self.piece.append(entry);
        self.pass_on_if_full();
    }

    /// Begins the entry of a write, whose data is put where it stays. `None` where the tape takes nothing any more. Until
    /// [`Self::end_write`] or [`Self::drop_write`] nothing else may come on the tape.
    pub fn begin_write(&mut self, head: &WriteHead, bytes: usize) -> Option<Record> {
        if self.broken {
            self.say_broken();
            return None;
        }
        Some(Record::new(std::mem::take(&mut self.piece), head, bytes))
    }

    /// The data is there. Whether the write has ended already, and succeeded.
    pub fn end_write(&mut self, record: Record, ended: bool) {
        self.piece = record.keep(ended);
        self.pass_on_if_full();
    }

    /// There was no such write.
    pub fn drop_write(&mut self, record: Record) {
        self.piece = record.forget();
    }

    /// Whether entries were lost: the tape ends before them.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    #[inline]
    fn pass_on_if_full(&mut self) {
        if self.piece.bytes().len() >= PIECE_BYTES {
            self.pass_on();
        }
    }

    /// What is together so far goes to the file soon, and not only when there is more. Waits where too much waits already, for a second at
    /// most.
    #[expect(
        clippy::disallowed_methods,
        reason = "a drive that is faster than the disk of its tape waits, within bounds"
    )]
    pub fn pass_on(&mut self) {
        if self.piece.is_empty() || self.broken {
            return;
        }
        self.spare.extend(self.written.try_iter());
        let mut piece = std::mem::replace(&mut self.piece, self.spare.pop().unwrap_or_default());
        let Some(pieces) = &self.pieces else { return };
        for _ in 0..PATIENCE.0 {
            match pieces.try_send(piece) {
                Ok(()) => return,
                Err(TrySendError::Full(again)) => piece = again,
                Err(TrySendError::Disconnected(_)) => break,
            }
            std::thread::sleep(PATIENCE.1);
        }
        self.broken = true;
        self.piece = Piece::default();
        self.piece.append(&Entry::Broken);
        self.say_broken();
    }

    /// The tape says that it is not complete, once there is room for that.
    #[cold]
    fn say_broken(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if let Some(pieces) = self.pieces.as_ref().filter(|_| !piece.is_empty())
            && let Err(TrySendError::Full(again)) = pieces.try_send(piece)
        {
            self.piece = again;
        }
    }

    /// Begins to end the tape: nothing can be put on it any more. [`Self::is_over`] says when its file is complete.
    pub fn close(&mut self) {
        self.pass_on();
        self.close_when_told();
    }

    /// Whether a tape that was closed is as complete as it gets.
    pub fn is_over(&mut self) -> bool {
        self.close_when_told();
        self.pieces.is_none() && self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// A tape that is not complete says so before it ends, if anybody takes that still.
    fn close_when_told(&mut self) {
        self.say_broken();
        if self.piece.is_empty() {
            self.pieces = None;
        }
    }

    /// Ends the tape. Nothing can be put on it any more.
    ///
    /// # Errors
    /// Not all of it is in the file: why.
    pub fn end(&mut self) -> io::Result<()> {
        self.pass_on();
        if let Some(pieces) = self.pieces.take()
            && !self.piece.is_empty()
        {
            // Where nobody takes it, the thread has said why.
            let _ = pieces.send(std::mem::take(&mut self.piece));
        }
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let written = thread.join().unwrap_or_else(|_| Err(io::Error::other("the tape's thread panicked")));
        written.and_then(|()| if self.broken { Err(io::Error::other("the disk did not keep up")) } else { Ok(()) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever wants to know why ends it before.
        let _ = self.end();
    }
}

fn write_pieces(mut file: File, pieces: &Receiver<Piece>, written: &Sender<Piece>) -> io::Result<()> {
    let mut packed = Vec::new();
    while let Ok(mut piece) = pieces.recv() {
        let bytes = pack(piece.bytes(), &mut packed)?;
        file.write_all(&packed[..bytes])?;
        if piece.clear() {
            // Who has ended the tape needs no memory for it.
            let _ = written.send(piece);
        }
    }
    Ok(())
}

/// Compresses a piece to the beginning of a buffer, with what comes before it: how many bytes that are.
fn pack(piece: &[u8], packed: &mut Vec<u8>) -> io::Result<usize> {
    let most = HEAD + get_maximum_output_size(piece.len());
    if packed.len() < most {
        packed.resize(most, 0);
    }
    let bytes = HEAD + compress_into(piece, &mut packed[HEAD..]).map_err(io::Error::other)?;
    let whole = u32::try_from(piece.len()).map_err(io::Error::other)?;
    let length = u32::try_from(bytes - 12).map_err(io::Error::other)?;
    packed[12..HEAD].copy_from_slice(&whole.to_le_bytes());
    let checksum = XxHash3_64::oneshot(&packed[12..bytes]);
    packed[..4].copy_from_slice(&length.to_le_bytes());
    packed[4..12].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use media::power::Random;
    use media::{Lba, LbaRange, VolumeId};

    use super::*;
    use crate::entry::Change;
    use crate::reader::Reader;

    /// A megabyte that cannot be compressed.
    fn entry(request: u64) -> Entry {
        let mut random = Random::new(request);
        let data = (0..1 << 17).flat_map(|_| random.draw().to_le_bytes()).collect();
        let change = Change::Write { range: LbaRange::new(Lba(0), 256), data };
        Entry::Changed { request, command: 0, volume: VolumeId(0), force: false, change }
    }

    #[test]
    fn a_tape_that_nobody_takes_ends_and_says_so() {
        let (read, write) = io::pipe().expect("a pipe");
        let mut writer = Writer::new(File::from(OwnedFd::from(write))).expect("a writer");
        let mut request = 0;
        while !writer.is_broken() {
            request += 1;
            writer.put(&entry(request));
        }
        assert!(request > PIECES_WAITING as u64, "{request} pieces found room");
        let reading = std::thread::spawn(move || {
            let mut reader = Reader::new(read).expect("a tape");
            let entries: Vec<Entry> = reader.by_ref().collect();
            (entries, reader.cut_off())
        });
        writer.put(&Entry::Mark("too late".to_owned()));
        assert_eq!(writer.end().map_err(|error| error.to_string()), Err("the disk did not keep up".to_owned()));
        drop(writer);
        let (entries, cut_off) = reading.join().expect("no panic");
        assert_eq!(cut_off, None);
        let (last, before) = entries.split_last().expect("entries");
        assert!(*last == Entry::Broken && before.len() < 100);
        assert!(before.iter().zip(1..).all(|(read, request)| *read == entry(request)), "nothing is missing in between");
    }
}
