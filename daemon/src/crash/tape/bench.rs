//! Images as files, in a folder of their own, in memory where there is room: a file with what is durable, which follows the tape, and the
//! image at hand. That is the same file each time: before each image, what differs is put back, so that an image costs no copy.

mod sparse;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::Context as _;
use tape::history::Block;
use tape::{Image, Volume};
use tempfile::TempDir;

/// Where files are memory.
const MEMORY: &str = "/dev/shm";
/// A folder in memory must have room for so many files as large as the volume, and for four for each processor: each job has two.
const FILES_IN_MEMORY: usize = 16;

/// A folder with what is durable, the image at hand and what was acknowledged.
pub struct Bench {
    folder: TempDir,
    durable: File,
    /// The image at hand.
    image: Option<File>,
    block_bytes: u64,
}

impl Bench {
    /// The beginning of a tape.
    ///
    /// # Errors
    /// There is no room for its files, or the base cannot be read.
    pub fn new(volume: &Volume, base: Option<&Path>) -> anyhow::Result<Self> {
        let block_bytes = u64::from(volume.block_bytes);
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("brownout-tape-");
        let in_memory = room_in_memory(volume.blocks * block_bytes).then(|| builder.tempdir_in(MEMORY).ok()).flatten();
        let folder = in_memory.map_or_else(|| builder.tempdir(), Ok).context("cannot make a folder for images")?;
        let durable = create(&folder.path().join("durable")).context("cannot make an image")?;
        let mut bench = Self { folder, durable, image: None, block_bytes };
        bench.begin(volume, base)?;
        Ok(bench)
    }

    /// Back to the beginning of the tape.
    ///
    /// # Errors
    /// As [`Bench::new`].
    pub fn begin(&mut self, volume: &Volume, base: Option<&Path>) -> anyhow::Result<()> {
        self.durable.set_len(0).context("cannot make an image")?;
        if let Some(base) = base {
            let base_file = File::open(base).with_context(|| format!("cannot read {}", base.display()))?;
            sparse::make_equal(&base_file, &self.durable).with_context(|| format!("cannot copy {}", base.display()))?;
        }
        self.durable.set_len(volume.blocks * self.block_bytes).context("cannot make an image")
    }

    /// The file of what is durable, the image that was made last, or its acknowledgements.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// These blocks are durable from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn follow(&mut self, blocks: &[(u64, Block)]) -> io::Result<()> {
        sparse::put(&self.durable, self.block_bytes, blocks.iter().map(|(lba, block)| (*lba, block)))
    }

    /// Makes the image, and the file of what was acknowledged.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn make(&mut self, image: &Image, acks: &str) -> io::Result<()> {
        let file = self.take_image()?;
        sparse::make_equal(&self.durable, &file)?;
        sparse::put(&file, self.block_bytes, image.blocks.iter().map(|(lba, block)| (*lba, block)))?;
        self.image = Some(file);
        fs::write(self.path("acks"), acks)
    }

    /// The file of the image, which is a new one where somebody has removed or replaced the last.
    fn take_image(&mut self) -> io::Result<File> {
        let path = self.path("image");
        let is_there = |file: &File| {
            let (here, there) = (file.metadata()?, fs::symlink_metadata(&path)?);
            io::Result::Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
        };
        if let Some(file) = self.image.take().filter(|file| is_there(file).unwrap_or(false)) {
            return Ok(file);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => create(&path),
        }
    }

    /// Copies one of the files.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn copy(&self, name: &str, to: &Path) -> io::Result<()> {
        let to = File::options().read(true).write(true).create(true).truncate(true).open(to)?;
        sparse::make_equal(&File::open(self.path(name))?, &to)
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).open(path)
}

/// Whether files of a volume of so many bytes may be in memory: unless somebody has said where temporary files go.
fn room_in_memory(bytes: u64) -> bool {
    let room = || {
        let files = FILES_IN_MEMORY.max(4 * thread::available_parallelism().map_or(1, usize::from));
        let room = rustix::fs::statvfs(MEMORY).ok()?;
        Some(room.f_bavail.checked_mul(room.f_frsize)? >= bytes.checked_mul(files as u64)?)
    };
    std::env::var_os("TMPDIR").is_none() && room().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;

    use media::VolumeId;

    use super::*;

    const BLOCKS: u64 = 4096;

    fn block(number: u8) -> Block {
        (number > 0).then(|| Arc::from([number; 512]))
    }

    fn image(blocks: &[(u64, u8)]) -> Image {
        let blocks = blocks.iter().map(|(lba, number)| (*lba, block(*number))).collect::<BTreeMap<_, _>>();
        Image { survives: Vec::new(), blocks, fingerprint: 0 }
    }

    fn is(bench: &Bench, expected: &[(u64, u8)]) {
        let mut bytes = vec![0; 512 * usize::try_from(BLOCKS).expect("a size")];
        for (lba, number) in expected {
            let at = usize::try_from(lba * 512).expect("a place");
            bytes[at..at + 512].fill(*number);
        }
        assert!(fs::read(bench.path("image")).expect("an image") == bytes);
    }

    #[test]
    fn whatever_a_check_did_to_an_image_the_next_one_is_as_it_should_be() {
        let volume = Volume { volume: VolumeId(0), block_bytes: 512, blocks: BLOCKS, has_data: false };
        let mut bench = Bench::new(&volume, None).expect("a folder");
        bench.follow(&[(0, block(1)), (9, block(2)), (100, block(3)), (4095, block(4))]).expect("written");
        bench.make(&image(&[(9, 0), (50, 5)]), "mounted\n").expect("made");
        is(&bench, &[(0, 1), (50, 5), (100, 3), (4095, 4)]);
        assert_eq!(fs::read_to_string(bench.path("acks")).expect("acks"), "mounted\n");
        let path = bench.path("image");
        let own = || File::options().write(true).open(&path).expect("an image");
        // What a check may do: write where something is and where nothing is, cut, lengthen, remove, replace.
        let write = || own().write_all_at(&[7; 700], 90).and_then(|()| own().write_all_at(&[8; 9000], 1_000_000));
        let checks: [&dyn Fn() -> io::Result<()>; 6] = [
            &write,
            &|| own().set_len(1000),
            &|| own().set_len(10_000_000).and_then(|()| own().write_all_at(b"more", 9_000_000)),
            &|| fs::remove_file(&path),
            &|| fs::remove_file(&path).and_then(|()| fs::write(&path, "another")),
            &|| Ok(()),
        ];
        for (number, check) in (1..).zip(checks) {
            check().expect("done");
            bench.follow(&[(200, block(number))]).expect("written");
            bench.make(&image(&[(0, 9)]), "").expect("made");
            is(&bench, &[(0, 9), (9, 2), (100, 3), (200, number), (4095, 4)]);
        }
        bench.begin(&volume, None).expect("begun");
        bench.make(&image(&[]), "").expect("made");
        is(&bench, &[]);
    }

    #[test]
    fn zeroes_take_no_room() {
        let volume = Volume { volume: VolumeId(0), block_bytes: 512, blocks: BLOCKS, has_data: false };
        let mut bench = Bench::new(&volume, None).expect("a folder");
        let all: Vec<_> = (0..BLOCKS).map(|lba| (lba, block(1))).collect();
        bench.follow(&all).expect("written");
        bench.make(&image(&[]), "").expect("made");
        bench.follow(&all.iter().map(|(lba, _)| (*lba, None)).collect::<Vec<_>>()).expect("written");
        bench.make(&image(&[(8, 1)]), "").expect("made");
        is(&bench, &[(8, 1)]);
        for (name, bytes) in [("durable", 0), ("image", 64 << 10)] {
            let used = fs::metadata(bench.path(name)).expect("a file").blocks() * 512;
            assert!(used <= bytes, "{name} takes {used} bytes");
        }
    }
}
