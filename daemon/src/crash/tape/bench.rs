//! Images as files, in a folder of their own: a file with what is durable, which follows the tape, and the image at hand, a copy of it that
//! leaves holes.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tape::history::Block;
use tape::{Image, Volume};
use tempfile::TempDir;

/// A folder with what is durable, the image at hand and what was acknowledged.
pub struct Bench {
    folder: TempDir,
    durable: File,
    block_bytes: u64,
}

impl Bench {
    /// The beginning of a tape.
    ///
    /// # Errors
    /// There is no room for its files, or the base cannot be read.
    pub fn new(volume: &Volume, base: Option<&Path>) -> anyhow::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("brownout-tape-").tempdir().context("cannot make a folder for images")?;
        let path = folder.path().join("durable");
        let durable =
            File::options().read(true).write(true).create_new(true).open(&path).context("cannot make an image")?;
        let mut bench = Self { folder, durable, block_bytes: u64::from(volume.block_bytes) };
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
            copy_with_holes(&base_file, &self.durable).with_context(|| format!("cannot copy {}", base.display()))?;
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
        blocks.iter().try_for_each(|(lba, block)| put(&self.durable, self.block_bytes, *lba, block))
    }

    /// Makes the image, and the file of what was acknowledged.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn make(&mut self, image: &Image, acks: &str) -> io::Result<()> {
        let path = self.path("image");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        copy_with_holes(&self.durable, &file)?;
        for (lba, block) in &image.blocks {
            put(&file, self.block_bytes, *lba, block)?;
        }
        fs::write(self.path("acks"), acks)
    }

    /// Copies one of the files.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn copy(&self, name: &str, to: &Path) -> io::Result<()> {
        let to = File::options().read(true).write(true).create(true).truncate(true).open(to)?;
        copy_with_holes(&File::open(self.path(name))?, &to)
    }
}

fn put(file: &File, block_bytes: u64, lba: u64, block: &Block) -> io::Result<()> {
    match block {
        Some(bytes) => file.write_all_at(bytes, lba * block_bytes),
        None => {
            let zeroes = vec![0; usize::try_from(block_bytes).unwrap_or(0)];
            file.write_all_at(&zeroes, lba * block_bytes)
        }
    }
}

/// Copies a file to an empty one: shared where the file system can do that, otherwise without its holes.
fn copy_with_holes(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(length)?;
    let (mut from, mut to) = (from, to);
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(data))?;
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        io::copy(&mut io::Read::take(&mut from, end - data), &mut to)?;
        at = end;
    }
    to.flush()
}
