//! Brings entries to a file, in a thread of its own: compressed, each with its checksum, so that a tape whose writer was killed can be read
//! up to there. What waits is bounded: a drive that is faster than the disk waits for it a while, and then goes on without the tape.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use twox_hash::XxHash3_64;

use crate::entry::Entry;

/// What a tape begins with.
pub const MAGIC: &[u8; 8] = b"BROTAPE1";
/// Entries are put together to pieces of at least so many bytes before they are compressed.
const PIECE_BYTES: usize = 256 << 10;
/// So many pieces wait at most.
const PIECES_WAITING: usize = 64;
/// How often and how long a piece waits for room.
const PATIENCE: (u32, Duration) = (1000, Duration::from_millis(1));

/// Writes a tape. Its end, by [`Writer::close`] or by dropping it, waits until the file has everything.
pub struct Writer {
    piece: Vec<u8>,
    pieces: Option<SyncSender<Vec<u8>>>,
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
        let thread = Builder::new().name("tape".to_owned()).spawn(move || write_pieces(file, &waiting))?;
        let piece = Vec::with_capacity(2 * PIECE_BYTES);
        Ok(Self { piece, pieces: Some(pieces), thread: Some(thread), broken: false })
    }

    /// Appends an entry.
    pub fn put(&mut self, entry: &Entry) {
        if self.broken {
            return;
        }
        let start = self.piece.len();
        self.piece.extend_from_slice(&[0; 4]);
        entry.encode(&mut self.piece);
        let length = u32::try_from(self.piece.len() - start - 4).expect("an entry is as long as a command at most");
        self.piece[start..start + 4].copy_from_slice(&length.to_le_bytes());
        if self.piece.len() >= PIECE_BYTES {
            self.pass_on();
        }
    }

    /// Whether entries were lost: the tape ends before them.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// What is together so far goes to the file soon, and not only when there is more. Waits where too much waits already, for a second at
    /// most.
    #[expect(
        clippy::disallowed_methods,
        reason = "a drive that is faster than the disk of its tape waits, within bounds"
    )]
    pub fn pass_on(&mut self) {
        if self.piece.is_empty() {
            return;
        }
        let mut piece = std::mem::replace(&mut self.piece, Vec::with_capacity(2 * PIECE_BYTES));
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
    }

    /// Ends the tape.
    ///
    /// # Errors
    /// Not all of it is in the file: why.
    pub fn close(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.pass_on();
        self.pieces = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let written = thread.join().unwrap_or_else(|_| Err(io::Error::other("the tape's thread panicked")));
        written.and_then(|()| if self.broken { Err(io::Error::other("the disk did not keep up")) } else { Ok(()) })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Whoever wants to know why closes it.
        let _ = self.end();
    }
}

fn write_pieces(file: File, pieces: &Receiver<Vec<u8>>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    while let Ok(piece) = pieces.recv() {
        let packed = lz4_flex::compress_prepend_size(&piece);
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&XxHash3_64::oneshot(&packed).to_le_bytes())?;
        file.write_all(&packed)?;
        file.flush()?;
    }
    file.flush()
}
