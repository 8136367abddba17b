//! The agent in a guest, from outside: it gets orders and answers them, on a port of its own. The machine is one that this program starts, or
//! one of the user's. Knows how a machine comes and goes; not what an order means.

mod answer;
mod port;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use guest_harness::{ASKED_EVERY, Guest, Machine};

pub use answer::Answer;
use answer::{Heard, escaped};
use port::Port;

use super::drive::{Drive, PATIENCE};

/// Bytes of a script in one order: a line of a terminal has 4096 at most, and a byte may take five.
const DATA_BYTES: usize = 512;
/// All that is said in answer to one order: more is nothing that an agent says.
const ANSWER_BYTES: usize = 16 << 20;
/// A machine of the user's that takes longer to come back is stuck.
const RESTART_PATIENCE: Duration = Duration::from_secs(900);

/// Whose machine it is.
enum Host {
    /// Started by us.
    Ours(Box<Machine>, Option<Guest>),
    /// Started by the user, who may have a command that starts it again.
    Users(Option<String>),
}

/// An agent, and what it gets whenever it begins.
pub struct Agent {
    port: Port,
    host: Host,
    files: Vec<(&'static str, Vec<u8>)>,
    variables: Vec<(String, String)>,
}

impl Agent {
    /// In a machine of ours, which is not booted yet, with its port at this place.
    ///
    /// # Errors
    /// There is no room for the port.
    pub fn ours(machine: Machine, path: &Path) -> anyhow::Result<Self> {
        let port = Port::listen(path)?;
        let path = path.to_str().context("the temporary folder is not UTF-8")?.replace(',', ",,");
        // The console is the first serial port. This one needs no other driver.
        let machine = machine.qemu_argument("-chardev").qemu_argument(&format!("socket,id=agent,path={path}"));
        let machine = machine.qemu_argument("-serial").qemu_argument("chardev:agent").environment("PORT", "/dev/ttyS1");
        Ok(Self::new(port, Host::Ours(Box::new(machine), None)))
    }

    /// In a machine of the user's, which connects to this place.
    ///
    /// # Errors
    /// Somebody else listens there.
    pub fn users(path: &Path, restart: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self::new(Port::listen(path).context("--attach")?, Host::Users(restart.map(str::to_owned))))
    }

    fn new(port: Port, host: Host) -> Self {
        Self { port, host, files: Vec::new(), variables: Vec::new() }
    }

    /// A file for the agent, whenever it begins.
    pub fn file(&mut self, name: &'static str, content: Vec<u8>) {
        self.files.push((name, content));
    }

    /// A variable for the scripts.
    pub fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Whether the machine is the user's.
    pub const fn is_users(&self) -> bool {
        matches!(self.host, Host::Users(_))
    }

    /// The machine is there for the first time: ours is booted, and the user's waited for.
    ///
    /// # Errors
    /// It does not come, or its agent does not.
    pub fn begin(&mut self, drive: &mut Drive) -> anyhow::Result<()> {
        let limit = (!self.is_users()).then_some(PATIENCE);
        self.boot(drive)?;
        self.welcome(drive, limit, None)
    }

    /// Another machine, or this one once more, after it was ended. It gets what was acknowledged until then.
    ///
    /// # Errors
    /// It does not come, or nobody can start it.
    pub fn begin_again(&mut self, drive: &mut Drive, acks: &str) -> anyhow::Result<()> {
        self.end_machine()?;
        self.boot(drive)?;
        if let Host::Users(restart) = &self.host {
            let command = restart.as_deref().context("your machine has to be started again: give --restart COMMAND")?;
            let mut shell = Command::new("sh");
            let started = shell.args(["-c", command]).stdin(Stdio::null()).stdout(std::io::stderr()).status();
            let status = started.context("cannot run sh")?;
            ensure!(status.success(), "{command:?} ended with {status}: --restart");
        }
        let limit = if self.is_users() { RESTART_PATIENCE } else { PATIENCE };
        self.welcome(drive, Some(limit), Some(acks))
    }

    /// Ends a machine of ours, as if its power had gone too. A machine of the user's is ended as it is started again.
    ///
    /// # Errors
    /// The system refuses.
    pub fn end_machine(&mut self) -> anyhow::Result<()> {
        self.port.hang_up();
        match &mut self.host {
            Host::Ours(_, guest) => guest.take().map_or(Ok(()), Guest::kill),
            Host::Users(_) => Ok(()),
        }
    }

    fn boot(&mut self, drive: &Drive) -> anyhow::Result<()> {
        if let Host::Ours(machine, guest) = &mut self.host {
            *guest = Some(drive.plugged_into(machine.as_ref().clone()).timeout(PATIENCE).spawn()?);
        }
        Ok(())
    }

    /// Waits for the agent, and gives it what it needs.
    fn welcome(&mut self, drive: &mut Drive, limit: Option<Duration>, acks: Option<&str>) -> anyhow::Result<()> {
        let Self { port, host, .. } = self;
        port.accept(limit, || go_on(host, drive))?;
        self.hear(drive, limit, &Heard::Ready).context("no agent has begun")?;
        for (name, value) in self.variables.clone() {
            self.tell(drive, &format!("set {name} {}", escaped(value.as_bytes())), PATIENCE)?;
        }
        let acks = acks.map(|acks| ("acks", acks.as_bytes().to_vec()));
        for (name, content) in self.files.clone().into_iter().chain(acks) {
            self.tell(drive, &format!("file {name}"), PATIENCE)?;
            for data in content.chunks(DATA_BYTES) {
                self.tell(drive, &format!("data {}", escaped(data)), PATIENCE)?;
            }
        }
        Ok(())
    }

    /// Gives an order, and waits until it is done.
    ///
    /// # Errors
    /// It is not, in this time; the machine has ended; the campaign is told to end.
    pub fn tell(&mut self, drive: &mut Drive, order: &str, limit: Duration) -> anyhow::Result<Answer> {
        let word = || order.split(' ').next().unwrap_or_default().to_owned();
        self.port.send(order)?;
        self.hear(drive, Some(limit), &Heard::Done).with_context(|| format!("the guest was told to {}", word()))
    }

    fn hear(&mut self, drive: &mut Drive, limit: Option<Duration>, end: &Heard) -> anyhow::Result<Answer> {
        let Self { port, host, .. } = self;
        let (clock, mut answer, mut bytes) = (crate::clock::Clock::new(), Answer::default(), 0);
        loop {
            let left = limit.map(|limit| limit.saturating_sub(Duration::from_nanos(clock.now().0)));
            let line = port.line(left, || go_on(host, drive));
            let line = line.map_err(|error| match limit.filter(|_| left.is_some_and(|left| left.is_zero())) {
                Some(limit) => error.context(format!("the agent did not answer within {} s", limit.as_secs())),
                None => error,
            })?;
            bytes += line.len();
            ensure!(bytes <= ANSWER_BYTES, "what speaks on the agent's port is no agent: it does not come to an end");
            match answer.take(&line) {
                Heard::Failed(why) => bail!("the agent failed: {why}\n{}", answer.said),
                heard if heard == *end => return Ok(answer),
                Heard::Ready => bail!("the agent began anew"),
                Heard::More | Heard::Done => {}
            }
        }
    }

    /// The agent ends, and with it a machine of ours.
    ///
    /// # Errors
    /// They do not end as they should.
    pub fn end(mut self, drive: &mut Drive) -> anyhow::Result<()> {
        self.tell(drive, "stop", PATIENCE)?;
        let Host::Ours(_, Some(mut guest)) = self.host else { return Ok(()) };
        while !guest.is_off_within(ASKED_EVERY)? {
            drive.go_on()?;
        }
        guest.wait_within(PATIENCE)?.require_success().map(drop)
    }
}

/// Whether there is a reason to wait for a machine.
fn go_on(host: &mut Host, drive: &mut Drive) -> anyhow::Result<()> {
    drive.go_on()?;
    if let Host::Ours(_, Some(guest)) = host {
        let ended = guest.is_off_within(Duration::ZERO)?;
        ensure!(!ended, "the machine has ended; its last words:\n{}", last_words(&guest.console()));
    }
    Ok(())
}

fn last_words(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
