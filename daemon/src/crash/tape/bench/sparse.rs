//! Files with holes: one becomes equal to another, and blocks are put into one. Where both agree nothing is written, and zeroes are holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, ioctl_ficlone, seek};
use rustix::io::Errno;
use tape::history::Block;

/// So much is compared at a time.
const CHUNK: u64 = 256 << 10;
/// And written, where it differs.
const PAGE: usize = 4096;

/// Makes a file equal to another: shared where the file system can do that, otherwise what differs is written.
///
/// # Errors
/// One cannot be read, or the other not written.
pub fn make_equal(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    if to.metadata()?.len() != length {
        to.set_len(length)?;
    }
    if ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut buffers = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < length {
        let data = next_data(from, at, length)?;
        // What the other has where this one has nothing.
        let mut hole = at;
        while hole < data.start {
            let stray = next_data(to, hole, data.start)?;
            clear(to, stray.clone(), length)?;
            hole = stray.end;
        }
        let mut start = data.start;
        while start < data.end {
            let end = data.end.min(start + CHUNK);
            write_differences(from, to, start..end, &mut buffers)?;
            start = end;
        }
        at = data.end;
    }
    Ok(())
}

/// Puts blocks into a file; those of zeroes become holes.
///
/// # Errors
/// It cannot be written.
pub fn put<'a>(file: &File, block_bytes: u64, blocks: impl Iterator<Item = (u64, &'a Block)>) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut zeroes: Range<u64> = 0..0;
    for (lba, block) in blocks {
        let at = lba * block_bytes;
        match block {
            Some(bytes) => file.write_all_at(bytes, at)?,
            None if zeroes.end == at => zeroes.end += block_bytes,
            None => {
                clear(file, zeroes, length)?;
                zeroes = at..at + block_bytes;
            }
        }
    }
    clear(file, zeroes, length)
}

/// The first data from this place on, before that one; nothing, at the end, where there is none.
fn next_data(file: &File, at: u64, before: u64) -> io::Result<Range<u64>> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start.min(before),
        Err(Errno::NXIO) => before,
        Err(error) => return Err(error.into()),
    };
    let end = if start < before { seek(file, SeekFrom::Hole(start))?.min(before) } else { before };
    Ok(start..end)
}

/// Writes what differs in a range.
fn write_differences(
    from: &File,
    to: &File,
    range: Range<u64>,
    (wanted, there): &mut (Vec<u8>, Vec<u8>),
) -> io::Result<()> {
    let bytes = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    wanted.resize(bytes, 0);
    there.resize(bytes, 0);
    from.read_exact_at(wanted, range.start)?;
    to.read_exact_at(there, range.start)?;
    if wanted == there {
        return Ok(());
    }
    for (index, (wanted, there)) in wanted.chunks(PAGE).zip(there.chunks(PAGE)).enumerate() {
        if wanted != there {
            to.write_all_at(wanted, range.start + (index * PAGE) as u64)?;
        }
    }
    Ok(())
}

/// Makes a range zeroes, without room where that is possible.
fn clear(file: &File, range: Range<u64>, length: u64) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, range.start, range.end - range.start) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeroes = vec![0; usize::try_from(CHUNK).unwrap_or(PAGE)];
            let end = range.end.min(length);
            let mut at = range.start;
            while at < end {
                let bytes = usize::try_from(end - at).unwrap_or(usize::MAX).min(zeroes.len());
                file.write_all_at(&zeroes[..bytes], at)?;
                at += bytes as u64;
            }
            Ok(())
        }
        outcome => Ok(outcome?),
    }
}
