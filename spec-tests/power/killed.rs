//! The daemon killed at random moments under load: every acknowledged FUA or flushed write is there, nothing else is damaged, and the
//! ledger balances. `SEED` chooses the moments, `CASES` how many there are.

use std::path::Path;

use guest_harness::Brownout;
use nvme_host::io::{block_command, nvm_command};
use nvme_host::{Host, Mapping};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::random::{Random, cases, seed};
use spec_tests::socket_host::SocketPort;

use crate::promises::{BLOCK, Begun, Promises, shown, stamp};

const BLOCKS: u64 = 6144;
const DEPTH: usize = 16;
/// No write is longer than a power loss leaves whole: 64 KiB.
const LONGEST: u64 = 16;
const FORCE: u32 = 1 << 30;
const WRITER: u64 = 0x6272_6f77_6e6f_7574;

/// What is under way.
enum Job {
    Write { write: Begun, force: bool, buffer: u64, mapping: Mapping },
    Flush { covered: Vec<u64> },
}

/// A host with commands under way, and the book of promises.
struct Load<'a> {
    host: Host<SocketPort>,
    jobs: Vec<(u16, Job)>,
    book: &'a mut Promises,
}

impl Load<'_> {
    /// Submits one more command that overlaps with none under way.
    fn submit(&mut self, random: &mut Random) {
        if random.one_in(24) {
            let covered = self.book.flush_begins();
            let cid = self.host.submit(1, nvm_command(NvmOpcode::FLUSH, 1)).expect("room in the queue");
            self.jobs.push((cid, Job::Flush { covered }));
            return;
        }
        let blocks = 1 + random.below(LONGEST);
        // Half of the writes go to a tenth of the drive, so that collection has something to do.
        let end = if random.one_in(2) { BLOCKS } else { BLOCKS / 10 };
        let lba = random.below(end - blocks);
        let overlaps = |job: &(u16, Job)| match &job.1 {
            Job::Write { write, .. } => lba < write.lba + write.blocks && write.lba < lba + blocks,
            Job::Flush { .. } => false,
        };
        if !self.jobs.iter().any(overlaps) {
            let force = random.one_in(4);
            self.submit_write(lba, blocks, force);
        }
    }

    fn submit_write(&mut self, lba: u64, blocks: u64, force: bool) {
        let order = self.book.begin(lba, blocks);
        let bytes: Vec<u8> = (lba..lba + blocks).flat_map(|lba| stamp(WRITER, order, lba)).collect();
        let buffer = self.host.allocate(bytes.len()).expect("guest memory");
        self.host.write_memory(buffer, &bytes);
        let mapping = self.host.map(buffer, bytes.len()).expect("guest memory");
        let count = u32::try_from(blocks).expect("few blocks");
        let mut command: Command = mapping.on(block_command(NvmOpcode::WRITE, 1, lba, count));
        if force {
            command.cdw12 |= FORCE;
        }
        let cid = self.host.submit(1, command).expect("room in the queue");
        let write = Begun { order, lba, blocks };
        self.jobs.push((cid, Job::Write { write, force, buffer, mapping }));
    }

    /// Takes what was answered; how much that was.
    fn reap(&mut self) -> u64 {
        let mut answered = 0;
        for (cid, job) in std::mem::take(&mut self.jobs) {
            let Some(completion) = self.host.poll(1, cid) else {
                self.jobs.push((cid, job));
                continue;
            };
            assert_eq!(completion.status(), Status::SUCCESS);
            answered += 1;
            match job {
                Job::Flush { covered } => self.book.flushed(&covered),
                Job::Write { write, force, buffer, mapping } => {
                    self.book.acknowledge(write, force);
                    self.host.unmap(mapping);
                    self.host.release(buffer);
                }
            }
        }
        answered
    }

    /// Keeps the drive busy until this many commands were answered.
    fn run(&mut self, random: &mut Random, answers: u64) {
        let mut answered = 0;
        while answered < answers {
            if self.jobs.len() < DEPTH {
                self.submit(random);
            }
            answered += self.reap();
            assert!(nvme_host::Port::relax(self.host.port_mut()), "the daemon ended by itself");
        }
    }
}

/// How the drive is made; at this size 12.5 % of spare are the fewest lines that a media may have, so that it is always short of room.
fn made_with() -> String {
    std::env::var("MADE_WITH").unwrap_or_else(|_| "iu=16KiB,op=12.5%".to_owned())
}

fn start(file: &Path, round: u64) -> Brownout {
    // A killed process is a power loss whether the host's disk is asked to sync or not.
    let cache = if round.is_multiple_of(2) { "writeback" } else { "unsafe" };
    let file_exists = file.exists();
    let mut media = format!("store=file:{},cache={cache}", file.display());
    if !file_exists {
        media = format!("{media},{}", made_with());
    }
    let mut builder = Brownout::builder().name("killed").argument("--media").argument(&media);
    if !file_exists {
        builder = builder.namespace(&format!("size={},lba=4KiB", BLOCKS * BLOCK as u64));
    }
    builder.start().expect("the daemon starts")
}

/// What every block shows.
fn read_all(host: &mut Host<SocketPort>) -> Vec<u64> {
    let mut all = Vec::new();
    for lba in (0..BLOCKS).step_by(64) {
        let (status, bytes) = host.read(1, lba, 64).expect("an answer");
        assert_eq!(status, Status::SUCCESS);
        for (lba, block) in (lba..).zip(bytes.chunks_exact(BLOCK)) {
            all.push(shown(WRITER, lba, block).unwrap_or_else(|error| panic!("{error}")));
        }
    }
    all
}

/// What `brownout media check` says of a file that nobody uses.
fn check_file(file: &Path) -> String {
    let output = Brownout::run(&["media", "check", &file.display().to_string()]).expect("the verb runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(": balances\n") && text.ends_with("\nsound\n"), "{text}");
    text
}

/// The milliseconds that the last recovery took, by the daemon's log.
fn recovery_milliseconds(drive: &Brownout) -> u64 {
    let log = drive.errors();
    let number = log.rsplit_once("milliseconds=").map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no recovery in the log: {log}"))
}

fn kill_daemon(times: u64) {
    let mut random = Random::new(seed(1));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("disk");
    let mut book = Promises::new(usize::try_from(BLOCKS).expect("a small drive"));
    let mut slowest = 0;
    for round in 0..times {
        let drive = start(&file, round);
        let host = SocketPort::host(drive.socket(), 64).expect("the controller comes up");
        let mut load = Load { host, jobs: Vec::new(), book: &mut book };
        // From the first answers to a few drive writes.
        let answers = 1 + random.below(2000);
        load.run(&mut random, answers);
        drive.kill().expect("killed");
        // What it still said before it died counts.
        load.reap();
        check_file(&file);
        let drive = start(&file, round);
        slowest = slowest.max(recovery_milliseconds(&drive));
        let mut host = SocketPort::host(drive.socket(), 64).expect("the controller comes up again");
        book.check(read_all(&mut host)).unwrap_or_else(|error| panic!("round {round}: {error}"));
        drop(host);
        assert!(drive.stop().expect("an end").success(), "round {round}: the end was not orderly");
        assert!(check_file(&file).contains("last end: clean"), "round {round}");
    }
    println!("{times} kills; the slowest recovery took {slowest} ms");
}

#[test]
fn a_killed_daemon_keeps_what_it_promised_and_damages_nothing() {
    kill_daemon(cases(20));
}

/// The long version.
#[test]
#[ignore = "make soak: a thousand kills"]
fn a_daemon_killed_a_thousand_times_keeps_what_it_promised() {
    kill_daemon(cases(1000));
}
