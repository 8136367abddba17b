//! A command of this machine that judges images, each as a file.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
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

impl Shell {
    /// Starts the command: without a shell where it needs none, which takes half the time of a short one.
    fn spawn(&self, line: &str, said: &File) -> io::Result<Child> {
        let start = |words: &[&str]| {
            // What a terminal sends to us is not for the command: an image whose check was interrupted is not bad.
            Command::new(words[0])
                .args(&words[1..])
                .process_group(0)
                .env("BROWNOUT_IMAGE", self.bench.path("image"))
                .env("BROWNOUT_ACKS", self.bench.path("acks"))
                .stdin(Stdio::null())
                .stdout(said.try_clone()?)
                .stderr(said.try_clone()?)
                .spawn()
        };
        if let Some(words) = plain_words(line)
            && let Ok(child) = start(&words)
        {
            return Ok(child);
        }
        // A builtin, or something that cannot be started, of which a shell says why.
        start(&["sh", "-c", line])
    }
}

/// The words of a command in which a shell would find nothing but words.
fn plain_words(line: &str) -> Option<Vec<&str>> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || " ./_-+:,@%=".contains(letter);
    let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
    let assigns = words.first()?.contains('=');
    (line.chars().all(is_plain) && !assigns).then_some(words)
}

/// Waits for a command, and ends what it has left running: the next image is the same file.
fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let process = Pid::from_child(&child);
    retry_on_intr(|| waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT))?;
    // The number is taken until the command was waited for, so nobody else is meant. It is the last one of its group, often.
    let _ = kill_process_group(process, Signal::KILL);
    child.wait()
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
        let status = wait(self.spawn(&line, &said)?)?;
        Ok(Verdict::from(status).and_found(|| self.log(), acks))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use media::VolumeId;

    use super::*;

    fn judged(check: &str) -> (Verdict, Shell) {
        let volume = Volume { volume: VolumeId(0), block_bytes: 512, blocks: 8, has_data: false };
        let mut shell = Shell::new(check, &volume, None).expect("a folder");
        let image = Image { survives: Vec::new(), blocks: BTreeMap::new(), fingerprint: 0 };
        (shell.judge(&image, "mounted\n").expect("tried"), shell)
    }

    #[test]
    fn a_command_is_judged_by_its_end_with_a_shell_or_without() {
        for (check, verdict, log) in [
            ("cat {acks}", Verdict::Good, "mounted\n"),
            ("cat {acks}; exit 3", Verdict::Code(3), "mounted\n"),
            ("exit 4", Verdict::Code(4), ""),
            ("cmp {image} {image}", Verdict::Good, ""),
            ("printenv BROWNOUT_ACKS | xargs cat", Verdict::Good, "mounted\n"),
            ("LINES=7 printenv LINES", Verdict::Good, "7\n"),
            ("echo found row 0", Verdict::Good, "found row 0\n"),
            (
                "echo found row 1",
                Verdict::Broken("row 1 was found, and 0 is the last that was tried".to_owned()),
                "found row 1\n",
            ),
            ("echo illegal order", Verdict::Broken("order".to_owned()), "illegal order\n"),
            ("echo found row 1; exit 3", Verdict::Code(3), "found row 1\n"),
            ("kill -9 $$", Verdict::Signal(9), ""),
        ] {
            let (found, shell) = judged(check);
            assert_eq!((found, shell.log()), (verdict, log.to_owned()), "{check}");
        }
        let (found, shell) = judged("no-such-program-anywhere {image}");
        assert_eq!(found, Verdict::Code(127));
        assert!(shell.log().contains("no-such-program-anywhere"), "{}", shell.log());
        assert_eq!(plain_words("e2fsck  -fy /tmp/a"), Some(vec!["e2fsck", "-fy", "/tmp/a"]));
        for line in ["a 'b'", "a $b", "a | b", "a > b", "a; b", "a *", "a=b c", "~/a", "", "a\nb"] {
            assert_eq!(plain_words(line), None, "{line}");
        }
    }

    #[test]
    fn what_a_command_leaves_running_is_ended_with_it() {
        let (found, shell) = judged("sleep 1000 & echo $!");
        assert_eq!(found, Verdict::Good);
        let number = shell.log().trim().to_owned();
        let is_running = || {
            let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            !state.is_empty() && !state.starts_with(['Z', 'X'])
        };
        // A signal takes its time.
        let gone = (0..1000).any(|_| {
            std::thread::yield_now();
            !is_running()
        });
        assert!(!number.is_empty() && gone, "{number} is there still");
    }
}
