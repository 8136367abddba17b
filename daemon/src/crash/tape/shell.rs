//! A command of this machine that judges images, each as a file.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tape::history::Block;
use tape::{Image, Volume};

use super::bench::Bench;
use super::judge::{Judge, LOG_BYTES, Verdict};

/// A command, with a folder for the images that it judges.
pub struct Shell {
    bench: Bench,
    volume: Volume,
    base: Option<PathBuf>,
    check: String,
}

impl Shell {
    /// For images of a volume that held `base` as the tape began.
    ///
    /// # Errors
    /// There is no room for its files, or the base cannot be read.
    pub fn new(check: &str, volume: &Volume, base: Option<PathBuf>) -> anyhow::Result<Self> {
        let bench = Bench::new(volume, base.as_deref())?;
        Ok(Self { bench, volume: *volume, base, check: check.to_owned() })
    }
}

impl Judge for Shell {
    fn begin(&mut self) -> anyhow::Result<()> {
        self.bench.begin(&self.volume, self.base.as_deref())
    }

    fn follow(&mut self, blocks: &[(u64, Block)]) -> anyhow::Result<()> {
        Ok(self.bench.follow(blocks)?)
    }

    fn judge(&mut self, image: &Image, acks: &str) -> anyhow::Result<Verdict> {
        self.bench.make(image, acks)?;
        let (path, acks_path) = (self.bench.path("image"), self.bench.path("acks"));
        let said = File::create(self.bench.path("log"))?;
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

    fn log(&self) -> String {
        let mut said = Vec::new();
        if let Ok(log) = File::open(self.bench.path("log")) {
            // What cannot be read is not said.
            let _ = log.take(LOG_BYTES).read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}
