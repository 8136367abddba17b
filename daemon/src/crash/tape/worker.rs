//! Makes images as files and has a command judge them, several at a time. Each worker has a file with what is durable, which follows the
//! tape, and makes every image as a copy of it that leaves holes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow};
use tape::history::Block;
use tape::{Image, Volume};
use tempfile::TempDir;

use super::place::Places;

/// As much of what a command says is kept.
const LOG_BYTES: u64 = 64 << 10;

/// An image to judge.
pub struct Job {
    /// Where power goes.
    pub place: u64,
    /// What is left.
    pub image: Image,
    /// What was acknowledged before, a line each.
    pub acks: Arc<String>,
}

/// What the command says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ended with 0.
    Good,
    /// It ended with another code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It could not be tried.
    Error(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => formatter.write_str("good"),
            Self::Code(code) => write!(formatter, "the check ended with code {code}"),
            Self::Signal(signal) => write!(formatter, "signal {signal} ended the check"),
            Self::Error(error) => write!(formatter, "the image could not be judged: {error}"),
        }
    }
}

impl From<ExitStatus> for Verdict {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Good,
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }
}

/// Blocks that became durable, in order, and who has followed how far.
type News = Mutex<Vec<Arc<Vec<(u64, Block)>>>>;

/// The workers.
pub struct Workers {
    jobs: Option<SyncSender<(usize, Job)>>,
    verdicts: Receiver<(Job, Verdict)>,
    news: Arc<News>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts so many.
    ///
    /// # Errors
    /// There is no room for their files.
    pub fn start(count: usize, check: &str, volume: &Volume, base: Option<&Path>) -> anyhow::Result<Self> {
        let (jobs, waiting) = sync_channel(2 * count);
        let (told, verdicts) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let news = Arc::new(News::default());
        let mut threads = Vec::new();
        for _ in 0..count {
            let bench = Bench::new(check, volume, base)?;
            let (waiting, told, news) = (Arc::clone(&waiting), told.clone(), Arc::clone(&news));
            threads.push(thread::spawn(move || work(bench, &waiting, &told, &news)));
        }
        Ok(Self { jobs: Some(jobs), verdicts, news, threads })
    }

    /// These blocks are durable before the next image.
    pub fn know(&self, news: Vec<(u64, Block)>) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(news));
    }

    /// Has an image judged, when somebody has time.
    pub fn judge(&self, job: Job) {
        let known = self.news.lock().unwrap_or_else(PoisonError::into_inner).len();
        if let Some(jobs) = &self.jobs {
            // Workers end when there is nobody to work for, and not before.
            let _ = jobs.send((known, job));
        }
    }

    /// What was judged since the last call.
    pub fn judged(&self) -> Vec<(Job, Verdict)> {
        self.verdicts.try_iter().collect()
    }

    /// Waits for what was begun.
    ///
    /// # Errors
    /// A worker did not finish: images were not judged.
    pub fn finish(mut self) -> anyhow::Result<Vec<(Job, Verdict)>> {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a thread that judges images panicked; see its message above"))?;
        }
        Ok(self.verdicts.try_iter().collect())
    }
}

fn work(mut bench: Bench, waiting: &Mutex<Receiver<(usize, Job)>>, told: &Sender<(Job, Verdict)>, news: &News) {
    let mut followed = 0;
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((known, job)) = next else { return };
        let behind: Vec<_> = {
            let news = news.lock().unwrap_or_else(PoisonError::into_inner);
            news[followed..known].to_vec()
        };
        followed = known;
        let followed_all = behind.iter().try_for_each(|blocks| bench.follow(blocks));
        let verdict = followed_all.and_then(|()| bench.judge(&job.image, &job.acks));
        let verdict = verdict.unwrap_or_else(|error| Verdict::Error(error.to_string()));
        if told.send((job, verdict)).is_err() {
            return;
        }
    }
}

/// A folder with what is durable and the image at hand.
struct Bench {
    folder: TempDir,
    durable: File,
    block_bytes: u64,
    check: String,
}

impl Bench {
    fn new(check: &str, volume: &Volume, base: Option<&Path>) -> anyhow::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("brownout-tape-").tempdir().context("cannot make a folder for images")?;
        let path = folder.path().join("durable");
        let durable =
            File::options().read(true).write(true).create_new(true).open(&path).context("cannot make an image")?;
        if let Some(base) = base {
            let base_file = File::open(base).with_context(|| format!("cannot read {}", base.display()))?;
            copy_with_holes(&base_file, &durable).with_context(|| format!("cannot copy {}", base.display()))?;
        }
        let block_bytes = u64::from(volume.block_bytes);
        durable.set_len(volume.blocks * block_bytes).context("cannot make an image")?;
        Ok(Self { folder, durable, block_bytes, check: check.to_owned() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn follow(&mut self, blocks: &[(u64, Block)]) -> io::Result<()> {
        blocks.iter().try_for_each(|(lba, block)| put(&self.durable, self.block_bytes, *lba, block))
    }

    /// Makes the image, and the file of what was acknowledged.
    fn make(&mut self, image: &Image, acks: &str) -> io::Result<()> {
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
        fs::write(self.path("acks"), if acks.is_empty() { String::new() } else { format!("{acks}\n") })
    }

    /// Makes the image and runs the command.
    fn judge(&mut self, image: &Image, acks: &str) -> io::Result<Verdict> {
        self.make(image, acks)?;
        let (path, acks_path) = (self.path("image"), self.path("acks"));
        let said = File::create(self.path("log"))?;
        let line = self.check.replace("{image}", &path.display().to_string());
        let line = line.replace("{acks}", &acks_path.display().to_string());
        // What a terminal sends to us is not for the command: an image whose check was interrupted is not bad.
        let status = Command::new("sh")
            .args(["-c", &line])
            .process_group(0)
            .env("BROWNOUT_IMAGE", &path)
            .env("BROWNOUT_ACKS", &acks_path)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .status()?;
        Ok(status.into())
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

/// One place, image by image.
pub struct One {
    bench: Bench,
}

impl One {
    /// At the place where the tape is.
    ///
    /// # Errors
    /// There is no room for the files.
    pub fn new(check: &str, places: &mut Places, base: Option<&Path>) -> anyhow::Result<Self> {
        let mut bench = Bench::new(check, places.history().volume(), base)?;
        bench.follow(&places.news()).context("cannot write an image")?;
        Ok(Self { bench })
    }

    /// Judges the image in which just these pieces survive.
    ///
    /// # Errors
    /// It could not be made, or the command not be started.
    pub fn judge(&mut self, places: &Places, survives: &[bool]) -> anyhow::Result<Verdict> {
        let image = Image::new(places.history(), survives.to_vec());
        Ok(self.bench.judge(&image, &places.history().marks().join("\n"))?)
    }

    /// Makes an image without judging it: as the drive may have left it.
    ///
    /// # Errors
    /// It could not be made.
    pub fn make(&mut self, places: &Places, survives: &[bool]) -> anyhow::Result<()> {
        let image = Image::new(places.history(), survives.to_vec());
        Ok(self.bench.make(&image, &places.history().marks().join("\n"))?)
    }

    /// What the command said last.
    pub fn log(&self) -> String {
        let mut said = Vec::new();
        if let Ok(log) = File::open(self.bench.path("log")) {
            // What cannot be read is not said.
            let _ = io::Read::read_to_end(&mut io::Read::take(log, LOG_BYTES), &mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    /// The file of what is durable, the image that was judged last, or its acknowledgements.
    pub fn path(&self, name: &str) -> PathBuf {
        self.bench.path(name)
    }

    /// Copies one of them.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn copy(&self, name: &str, to: &Path) -> io::Result<()> {
        let to = File::options().read(true).write(true).create(true).truncate(true).open(to)?;
        copy_with_holes(&File::open(self.path(name))?, &to)
    }

    /// Removes its files.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn close(self) -> io::Result<()> {
        self.bench.folder.close()
    }
}
