//! What is done to a file so that its bytes are on the disk, and what after the system failed to bring them there. Owns the file's
//! descriptor; does not know in which order it is asked, or what the bytes mean.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

use rustix::fs::{Advice, FallocateFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, fadvise, fallocate, futimens};
use rustix::io::{Errno, pwritev};

use super::backing::StoreError;
use super::schedule::{Bytes, Platter, Since};
use crate::journal::METADATA_PAGE;

/// Pieces that the system takes in one write.
const PIECES: usize = 1024;
/// So much room is taken and given back at a time where a hole is made again.
const HOLE_BYTES: usize = 1 << 20;
/// No file system's blocks are taken to be larger.
const MOST_BLOCK_BYTES: u64 = 1 << 20;

/// A file that is written, and synced unless nobody wants it.
pub(super) struct FilePlatter {
    pub(super) file: Arc<File>,
    pub(super) cache_unsafe: bool,
}

fn of_system(doing: &str, error: Errno) -> StoreError {
    StoreError::of_system(doing, &error.into())
}

/// How many of the first writes lie one behind the other, as many as the system takes at once.
fn run_length(writes: &[(u64, Bytes)]) -> usize {
    let adjoin = |pair: &[(u64, Bytes)]| pair[0].0 + pair[0].1.len() as u64 == pair[1].0;
    1 + writes.windows(2).take(PIECES - 1).take_while(|pair| adjoin(pair)).count()
}

/// Writes neighbours in as few calls as the system needs.
fn write_run(file: &File, run: &[(u64, Bytes)]) -> Result<(), Errno> {
    let pieces = run.iter().filter(|(_, bytes)| !bytes.is_empty());
    let mut slices: Vec<IoSlice<'_>> = pieces.map(|(_, bytes)| IoSlice::new(bytes)).collect();
    let mut slices = &mut slices[..];
    let mut offset = run[0].0;
    while !slices.is_empty() {
        match pwritev(file, slices, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                offset += count as u64;
                IoSlice::advance_slices(&mut slices, count);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl FilePlatter {
    /// Lets go of what the system holds for clean: what is read from now on is what the disk has.
    fn drop_cache(&self) -> Result<(), StoreError> {
        fadvise(&*self.file, 0, None, Advice::DontNeed)
            .map_err(|error| of_system("cannot drop what is cached of the media file", error))
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), StoreError> {
        read_at(&self.file, offset, into).map_err(|error| StoreError::of_system("cannot read the media file", &error))
    }

    /// The file system's block, within which it cannot make a hole, or ours if that is larger.
    fn block_bytes(&self) -> Result<u64, StoreError> {
        let known =
            self.file.metadata().map_err(|error| StoreError::of_system("cannot examine the media file", &error))?;
        let block = known.blksize().min(MOST_BLOCK_BYTES);
        Ok(block.max(METADATA_PAGE as u64).next_power_of_two())
    }

    /// Makes a hole where one may be already, and has the file system write down that it is one.
    fn discard_again(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
        for at in (offset..offset + bytes).step_by(HOLE_BYTES) {
            let count = (HOLE_BYTES as u64).min(offset + bytes - at);
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, at, count) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.discard(at, count)?,
                Err(error) => return Err(of_system("cannot make a hole in the media file again", error)),
            }
        }
        Ok(())
    }

    /// Syncs with everything that the file system knows of the file, which is changed so that it is written.
    fn sync_all(&self) -> Result<(), StoreError> {
        let (keep, now) = (Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, Timespec { tv_sec: 0, tv_nsec: UTIME_NOW });
        futimens(&self.file, &Timestamps { last_access: keep, last_modification: now })
            .map_err(|error| of_system("cannot touch the media file", error))?;
        self.file.sync_all().map_err(|error| StoreError::of_system("cannot sync the media file", &error))
    }
}

impl Platter for FilePlatter {
    /// All of them, in the order of their places: neighbours become one write.
    fn choose(&mut self, free: &mut Vec<(u64, Bytes)>) -> Vec<(u64, Bytes)> {
        let mut all = std::mem::take(free);
        all.sort_by_key(|&(offset, _)| offset);
        all
    }

    fn write(&mut self, mut writes: &[(u64, Bytes)]) -> Result<(), StoreError> {
        while !writes.is_empty() {
            let (run, rest) = writes.split_at(run_length(writes));
            write_run(&self.file, run).map_err(|error| of_system("cannot write the media file", error))?;
            writes = rest;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.cache_unsafe {
            return Ok(());
        }
        self.file.sync_data().map_err(|error| StoreError::of_system("cannot sync the media file", &error))
    }

    fn discard(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, offset, bytes) {
            // A file system without holes keeps the room.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(of_system("cannot give room of the media file back", error)),
        }
    }

    /// ext4 without a journal, whose device failed, has lost which blocks are the file's as well as their bytes, holds both for clean, and
    /// does not write the former again because the latter are. So what is fresh becomes a hole first, and is allocated anew. A loop
    /// device, of a write for which there was room in part, says that it was done: so what was synced shortly before is written again too.
    fn renew(&mut self, since: &Since) -> Result<(), StoreError> {
        let writes = since.kept.writes();
        if self.cache_unsafe {
            return self.write(&writes);
        }
        self.drop_cache()?;
        let block = self.block_bytes()?;
        for (offset, bytes) in since.kept.renewable(block, |offset, into| self.read(offset, into))? {
            self.discard(offset, bytes)?;
        }
        for (offset, bytes) in &since.discarded {
            self.discard_again(*offset, *bytes)?;
        }
        self.write(&since.past.writes())?;
        self.write(&writes)?;
        self.sync_all()?;
        self.drop_cache()?;
        since.past.compare(|offset, into| self.read(offset, into))?;
        since.kept.compare(|offset, into| self.read(offset, into))
    }
}

/// Reads what is there, and zeroes behind the end.
pub(super) fn read_at(file: &File, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut at = 0;
    while at < into.len() {
        match file.read_at(&mut into[at..], offset + at as u64) {
            Ok(0) => {
                into[at..].fill(0);
                return Ok(());
            }
            Ok(count) => at += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::kept::Kept;
    use super::*;

    fn platter() -> (FilePlatter, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let options = File::options().read(true).write(true).create(true).truncate(true).clone();
        let file = options.open(folder.path().join("file")).expect("a file");
        (FilePlatter { file: Arc::new(file), cache_unsafe: false }, folder)
    }

    fn piece(offset: u64, byte: u8, bytes: usize) -> (u64, Bytes) {
        (offset, Bytes::new(vec![byte; bytes]))
    }

    fn read(platter: &FilePlatter, offset: u64, bytes: usize) -> Vec<u8> {
        let mut read = vec![0xaa; bytes];
        platter.read(offset, &mut read).expect("it can be read");
        read
    }

    #[test]
    fn neighbours_are_written_together_as_many_as_the_system_takes() {
        assert_eq!(run_length(&[piece(0, 1, 5)]), 1);
        assert_eq!(run_length(&[piece(0, 1, 5), piece(5, 1, 2), piece(7, 1, 1), piece(9, 1, 1)]), 3);
        assert_eq!(run_length(&[piece(0, 1, 5), piece(4, 1, 2)]), 1);
        let many: Vec<_> = (0..3000).map(|at| piece(at, 1, 1)).collect();
        assert_eq!(run_length(&many), PIECES);
        let (mut platter, _folder) = platter();
        platter.write(&many).expect("room");
        platter.write(&[piece(10, 7, 3), piece(13, 0, 0), piece(13, 8, 2), piece(5000, 9, 1)]).expect("room");
        platter.write(&[piece(1, 0, 0)]).expect("nothing to do");
        assert_eq!(read(&platter, 9, 8), [1, 7, 7, 7, 8, 8, 1, 1]);
        assert_eq!(read(&platter, 2999, 3), [1, 0, 0]);
        assert_eq!(read(&platter, 4999, 4), [0, 9, 0, 0], "and zeroes behind the end");
        let mut free = vec![piece(9, 1, 1), piece(3, 1, 1), piece(7, 1, 1)];
        let chosen: Vec<u64> = platter.choose(&mut free).iter().map(|(at, _)| *at).collect();
        assert_eq!((chosen, free.len()), (vec![3, 7, 9], 0));
    }

    #[test]
    fn a_hole_is_made_where_it_was_asked_for_and_may_be_made_again() {
        let (mut platter, _folder) = platter();
        let (whole, at, bytes) = (4 << 20, 4096, (2 << 20) + 8192);
        for again in [false, true] {
            platter.write(&[piece(0, 1, whole)]).expect("room");
            if again { platter.discard_again(at, bytes) } else { platter.discard(at, bytes) }.expect("it can");
            let content = read(&platter, 0, whole + 1);
            let end = usize::try_from(at + bytes).expect("small");
            let byte = |at: usize| u8::from(!(4096..end).contains(&at) && at < whole);
            assert!(content.iter().enumerate().all(|(at, value)| *value == byte(at)), "again: {again}");
            assert_eq!(platter.file.metadata().expect("known").len(), whole as u64);
        }
        assert!(platter.block_bytes().expect("known").is_power_of_two());
        assert_eq!(
            platter.block_bytes().expect("known"),
            platter.file.metadata().expect("known").blksize().clamp(4096, 1 << 20)
        );
    }

    /// Everything that is not believed is there afterwards, whatever lay in the file.
    #[test]
    fn a_renewal_writes_what_was_written_before_and_makes_the_holes_again() {
        for cache_unsafe in [false, true] {
            let (mut platter, _folder) = platter();
            platter.cache_unsafe = cache_unsafe;
            platter.write(&[piece(0, 9, 64 << 10)]).expect("room");
            let mut since = Since::default();
            let writes = |pieces: &[(u64, Bytes)]| {
                let mut kept = Kept::default();
                pieces.iter().for_each(|(at, bytes)| kept.write(*at, bytes, *at == 20_480));
                kept
            };
            since.kept = writes(&[piece(4096, 1, 4096), piece(12_300, 2, 10), piece(20_480, 3, 4096)]);
            since.past = writes(&[piece(30_000, 4, 10)]);
            since.discarded.push((40_960, 4096));
            assert_eq!(platter.renew(&since), Ok(()));
            let content = read(&platter, 0, 64 << 10);
            let expected = |at: usize| match at {
                4096..8192 => 1,
                12_300..12_310 => 2,
                20_480..24_576 => 3,
                30_000..30_010 if !cache_unsafe => 4,
                40_960..45_056 if !cache_unsafe => 0,
                _ => 9,
            };
            let wrong = content.iter().enumerate().find(|(at, byte)| **byte != expected(*at));
            assert_eq!(wrong, None, "unsafe: {cache_unsafe}");
        }
    }

    #[test]
    fn an_unsafe_file_is_never_synced_and_a_closed_one_says_what_fails() {
        let (mut platter, folder) = platter();
        platter.write(&[piece(0, 1, 1)]).expect("room");
        let read_only = File::open(folder.path().join("file")).expect("it is there");
        let mut platter = FilePlatter { file: Arc::new(read_only), cache_unsafe: true };
        let said = |error: Result<(), StoreError>| error.expect_err("it may not be written").to_string();
        assert!(said(platter.write(&[piece(0, 1, 1)])).contains("cannot write the media file"));
        assert!(said(platter.discard(0, 4096)).contains("cannot give room of the media file back"));
        assert_eq!(platter.sync(), Ok(()));
    }
}
