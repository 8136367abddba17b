//! A drive in this process for a replay. Its time is simulated: it stands still while commands are given, moves a little with each step,
//! and leaps to what is due where nothing else is to be done.

use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use machine::{Machine, SparseMemory};
use media::Nanoseconds;
use media::ledger::Ledger;
use nvme_host::{Host, Port, Setup};
use traces::replay::Drive;

use crate::open_media::open_media;
use crate::options::Settings;

/// Guest addresses: memory is there once it is used.
const MEMORY: std::ops::Range<u64> = 0x10_0000..0x1_0010_0000;
/// How long a drive is waited for whose disk has not answered yet.
const WAIT: Duration = Duration::from_millis(1);

/// See the file's text.
pub struct InProcess {
    machine: Machine,
}

impl InProcess {
    /// A host over a drive that was opened or made from settings, up and without I/O queues.
    ///
    /// # Errors
    /// The media cannot be opened, or the controller does not come up.
    pub fn host(settings: &Settings) -> anyhow::Result<Host<Self>> {
        let waiting = thread::current();
        let mut media = settings.media.clone();
        // What is due for its sake would make time leap while the host's disk is waited for.
        media.ssd.patrol = None;
        let media = open_media(&media, Box::new(move || waiting.unpark()))?;
        let machine = Machine::over(settings.controller.clone(), media, SparseMemory::new(MEMORY));
        Ok(Host::enable(Self { machine }, Setup::new(MEMORY))?)
    }

    /// Ends the drive in good order.
    ///
    /// # Errors
    /// The media could not write what it holds.
    pub fn end(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(ended) = self.machine.subsystem.quiesce(self.machine.now) {
                return ended.map_err(|error| anyhow!("the media did not quiesce: {error}"));
            }
            match self.machine.subsystem.media().next_event() {
                Some(due) => self.machine.wait_until(due),
                None => thread::park_timeout(WAIT),
            }
        }
    }
}

impl Port for InProcess {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.machine.register_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.machine.register_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.machine.memory_read(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.machine.memory_write(address, from);
    }

    fn relax(&mut self) -> bool {
        self.run(None);
        !self.machine.power_lost()
    }
}

impl Drive for InProcess {
    fn now_ns(&self) -> u64 {
        self.machine.now.0
    }

    fn run(&mut self, until_ns: Option<u64>) -> bool {
        let progress = self.machine.step();
        // Nobody looks at interrupts here.
        self.machine.effects.clear();
        if progress.worked {
            return true;
        }
        let Some(due) = Nanoseconds::earliest(progress.next_event, until_ns.map(Nanoseconds)) else {
            // The disk that the media lies on may have something to say.
            thread::park_timeout(WAIT);
            return false;
        };
        self.machine.wait_until(due);
        true
    }

    fn programmed(&mut self) -> Option<(Ledger, u32)> {
        let monitor = self.machine.subsystem.media().monitor()?;
        Some((monitor.status().ledger, monitor.config().geometry.unit_bytes))
    }
}

#[cfg(test)]
mod tests {
    use media::power::Random;
    use nvme_host::io::{block_command, nvm_command};
    use nvme_spec::Command;
    use nvme_spec::opcode::NvmOpcode;
    use traces::analysis::Analysis;
    use traces::record::{Entry, Extent, Flags, Kind, Namespace, Record, Sample};
    use traces::recording::{Reader, Recorder, Writer};
    use traces::replay::{Options, Outcome, Replay, Speed};
    use traces::watched::{Begun, Ended};
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::options::{Given, Settings};

    /// A drive that collects garbage: 64 MiB in units of 16 KiB.
    fn settings(media: &str) -> Settings {
        let given = Given {
            namespaces: vec!["size=64MiB,lba=4KiB".to_owned()],
            media: Some(media.to_owned()),
            ..Given::default()
        };
        Settings::read(&given).expect("possible")
    }

    /// A host that writes down what it does as somebody who watches the controller would.
    struct Watched {
        host: Host<Machine>,
        recorder: Recorder<Vec<u8>>,
    }

    impl Watched {
        fn new(settings: &Settings) -> Self {
            let media = open_media(&settings.media, Box::new(|| ())).expect("in memory");
            let machine = Machine::over(settings.controller.clone(), media, SparseMemory::new(machine::MEMORY));
            let host = machine.host().expect("it comes up");
            let mut recorder = Recorder::new(Writer::create(Vec::new(), false).expect("memory"));
            recorder.namespace(1, 4096).expect("memory");
            Self { host, recorder }
        }

        fn execute(&mut self, command: Command, data: &[u8]) {
            let bytes: &[u8; 64] = command.as_bytes().try_into().expect("64 bytes");
            let time_ns = self.host.port().now.0;
            let begun = Begun { time_ns, controller: 0, queue: 1, command: bytes, data: None };
            self.recorder.command_begun(&begun).expect("memory");
            let mut completion = match data {
                [] => self.host.execute(1, command),
                data => self.host.execute_out(1, command, data),
            }
            .expect("it is answered");
            assert!(completion.status().is_success(), "{completion:?}");
            // The host has given the command another identifier than what was written down.
            completion.cid = command.cid;
            let bytes: &[u8; 16] = completion.as_bytes().try_into().expect("16 bytes");
            let time_ns = self.host.port().now.0;
            self.recorder
                .command_ended(&Ended { time_ns, controller: 0, completion: bytes, data: None })
                .expect("memory");
        }

        fn ledger(&mut self) -> Ledger {
            self.host.port_mut().subsystem.media().monitor().expect("a drive").status().ledger
        }

        fn sample(&mut self) {
            let (time_ns, ledger) = (self.host.port().now.0, self.ledger());
            self.recorder.sample(Sample { time_ns, unit_bytes: 16384, ledger }).expect("memory");
        }
    }

    /// Fills the drive, then writes 4 to 20 KiB anywhere, flushes now and then, and waits now and then. What the drive programmed
    /// meanwhile, and the recording of it.
    fn run(settings: &Settings, seed: u64, writes: u32) -> (Ledger, Vec<u8>) {
        let mut random = Random::new(seed);
        let mut watched = Watched::new(settings);
        for first in (0..16384).step_by(32) {
            assert!(watched.host.write(1, first, &[7; 32 * 4096], false).expect("answered").is_success());
        }
        watched.host.flush(1).expect("answered");
        let before = watched.ledger();
        watched.sample();
        for _ in 0..writes {
            let blocks = 1 + u32::try_from(random.below(5)).expect("few");
            let first = random.below(16384 - u64::from(blocks));
            let data = vec![u8::try_from(random.below(256)).expect("a byte"); blocks as usize * 4096];
            watched.execute(block_command(NvmOpcode::WRITE, 1, first, blocks), &data);
            match random.below(50) {
                0 => watched.execute(nvm_command(NvmOpcode::FLUSH, 1), &[]),
                1 => watched.host.port_mut().wait(Nanoseconds(200_000_000)),
                _ => {}
            }
        }
        watched.execute(nvm_command(NvmOpcode::FLUSH, 1), &[]);
        watched.sample();
        (watched.ledger().since(&before), watched.recorder.finish().expect("memory"))
    }

    fn replayed(settings: &Settings, recording: &[u8], speed: Speed) -> (Outcome, Vec<u8>) {
        let mut host = InProcess::host(settings).expect("it comes up");
        let mut again = Vec::new();
        let recorder = Recorder::new(Writer::create(&mut again, false).expect("memory"));
        let options = Options { speed, depth: 64, wrap: false };
        let mut replay = Replay::new(&mut host, options, Some(recorder)).expect("it fits");
        replay.fill().expect("filled");
        let outcome = replay.run(Reader::open(recording).expect("sound")).expect("replayed");
        host.port_mut().end().expect("in good order");
        (outcome, again)
    }

    #[test]
    fn a_replay_amplifies_writes_as_the_run_did_that_it_was_recorded_from() {
        let settings = settings("iu=16KiB");
        for seed in [1, 2] {
            let (ledger, recording) = run(&settings, seed, 12_000);
            assert!(ledger.collected > ledger.host, "seed {seed}: garbage was collected, {ledger:?}");
            let (outcome, again) = replayed(&settings, &recording, Speed::Thousandths(1000));
            let measured = outcome.measured.expect("something was written").ledger;
            for with_metadata in [false, true] {
                let (was, is) = (ledger.amplification(with_metadata), measured.amplification(with_metadata));
                assert!((is / was - 1.0).abs() < 0.01, "seed {seed}: {was} recorded, {is} replayed");
            }
            assert_eq!((outcome.commands(Kind::Write), outcome.failures(), outcome.skipped()), (12_000, 0, 0));

            // Both recordings tell of the same writes and of what they cost.
            let analysed = |bytes: &[u8]| {
                let mut analysis =
                    Analysis::new(&[traces::waf::IndirectionUnit::new(16384).expect("a power of two")], 0.07);
                analysis.take(Reader::open(bytes).expect("sound")).expect("sound");
                analysis
            };
            let (first, second) = (analysed(&recording), analysed(&again));
            assert_eq!(first.bytes(Kind::Write), second.bytes(Kind::Write), "seed {seed}");
            assert_eq!(first.costs()[0].commands, second.costs()[0].commands, "seed {seed}");
            let told = first.measured().expect("two samples").ledger;
            assert_eq!(told, ledger, "seed {seed}");
            assert_eq!(second.measured().expect("two samples").ledger, measured, "seed {seed}");
        }
    }

    #[test]
    fn recorded_data_arrives_on_the_drive() {
        let mut recorder = Recorder::new(Writer::create(Vec::new(), true).expect("memory"));
        recorder.namespace(1, 4096).expect("memory");
        let data: Vec<u8> = (0..3 * 4096u32).map(|byte| u8::try_from(byte % 251).expect("small")).collect();
        let command = block_command(NvmOpcode::WRITE, 1, 40, 3);
        let bytes: &[u8; 64] = command.as_bytes().try_into().expect("64 bytes");
        let begun = Begun { time_ns: 5, controller: 0, queue: 1, command: bytes, data: Some(&data) };
        recorder.command_begun(&begun).expect("memory");
        let recording = recorder.finish().expect("memory");

        let mut host = InProcess::host(&settings("iu=16KiB")).expect("it comes up");
        let options = Options { speed: Speed::AsFastAsPossible, depth: 4, wrap: false };
        let replay = Replay::<_, Vec<u8>>::new(&mut host, options, None).expect("it fits");
        replay.run(Reader::open(&recording[..]).expect("sound")).expect("replayed");
        assert_eq!(host.read(1, 40, 3).expect("answered").1, data);
    }

    /// A trace of records, one after the other, with a namespace of blocks of 4 KiB before them.
    fn written(records: Vec<Record>) -> Vec<u8> {
        let mut writer = Writer::create(Vec::new(), true).expect("memory");
        let namespace = Namespace { nsid: 1, block_bytes: 4096, name: String::new() };
        writer.put(&Entry::Namespace(namespace)).expect("memory");
        for (record, begin_ns) in records.into_iter().zip((0..).step_by(1000)) {
            let record = Record { begin_ns, nsid: if record.nsid == 0 { 1 } else { record.nsid }, ..record };
            writer.put(&Entry::Command(record)).expect("memory");
        }
        writer.finish().expect("memory")
    }

    fn of(opcode: NvmOpcode, first: u64, blocks: u32) -> Record {
        Record { opcode: opcode.0, extent: Extent { first, blocks }, ..Record::default() }
    }

    #[test]
    fn every_kind_of_command_does_on_the_drive_what_it_says() {
        // 4 MiB, which is more than a drive takes at a time.
        let large: Vec<u8> =
            (0..1024u32).flat_map(|block| vec![u8::try_from(block % 251).expect("small") + 1; 4096]).collect();
        let extents =
            |list: &[(u64, u32)]| list.iter().map(|&(first, blocks)| Extent { first, blocks }).collect::<Vec<_>>();
        let deallocate = Record {
            flags: Flags::DEALLOCATE,
            ranges: extents(&[(20, 2), (30, 1)]),
            ..of(NvmOpcode::DATASET_MANAGEMENT, 10, 1)
        };
        let refused = Record { status: 0x4080, ..of(NvmOpcode::READ, 1 << 40, 8) };
        let elsewhere = Record { status: 0x400b, nsid: 9, ..of(NvmOpcode::READ, 0, 8) };
        let recording = written(vec![
            Record { data: Some(large.clone()), ..of(NvmOpcode::WRITE, 0, 1024) },
            deallocate,
            Record { flags: Flags::DEALLOCATE | Flags::FUA, ..of(NvmOpcode::WRITE_ZEROES, 40, 5) },
            Record { ranges: extents(&[(100, 2), (200, 1)]), ..of(NvmOpcode::COPY, 2000, 3) },
            of(NvmOpcode::COPY, 3000, 3),
            of(NvmOpcode::COMPARE, 100, 4),
            of(NvmOpcode::VERIFY, 100, 4),
            Record { nsid: u32::MAX, ..of(NvmOpcode::FLUSH, 0, 0) },
            of(NvmOpcode::WRITE_UNCORRECTABLE, 50, 1),
            of(NvmOpcode(0xc1), 0, 0),
            refused,
            elsewhere,
        ]);
        let mut host = InProcess::host(&settings("iu=16KiB")).expect("it comes up");
        let options = Options { speed: Speed::Thousandths(1000), depth: 8, wrap: false };
        let replay = Replay::<_, Vec<u8>>::new(&mut host, options, None).expect("it fits");
        let outcome = replay.run(Reader::open(&recording[..]).expect("sound")).expect("replayed");
        let kinds =
            [Kind::Write, Kind::Deallocate, Kind::WriteZeroes, Kind::Copy, Kind::Compare, Kind::Verify, Kind::Flush];
        assert_eq!(kinds.map(|kind| outcome.commands(kind)), [1; 7]);
        assert_eq!((outcome.all(), outcome.failures(), outcome.split), (7, 0, 1));
        // A Copy of unknown sources, what makes blocks unreadable, a vendor's command, and two that were refused.
        assert_eq!(outcome.skipped(), 5);

        let mut expected = large;
        for zeroed in [10..11, 20..22, 30..31, 40..45] {
            expected[zeroed.start * 4096..zeroed.end * 4096].fill(0);
        }
        let mut found = Vec::new();
        for first in (0..1024).step_by(64) {
            found.extend(host.read(1, first, 64).expect("answered").1);
        }
        assert!(found == expected, "the drive holds something else");
        let copied = host.read(1, 2000, 3).expect("answered").1;
        let sources = [100, 101, 200].map(|block: usize| &expected[block * 4096..(block + 1) * 4096]).concat();
        assert!(copied == sources, "something else was copied");
    }

    #[test]
    fn recorded_times_are_kept_or_shortened_and_modelled_latencies_come_out() {
        let settings = settings("iu=16KiB,timing=tlc,vwc=off");
        let (_, recording) = run(&self::settings("iu=16KiB"), 3, 300);
        let (slow, _) = replayed(&settings, &recording, Speed::Thousandths(1000));
        let (fast, _) = replayed(&settings, &recording, Speed::Thousandths(1_000_000));
        let (asap, _) = replayed(&settings, &recording, Speed::AsFastAsPossible);
        assert!(slow.duration_ns > 2 * fast.duration_ns, "{} and {}", slow.duration_ns, fast.duration_ns);
        assert_eq!(asap.late_ns_max, 0);
        for outcome in [&slow, &fast, &asap] {
            let mean = outcome.json()["latency-ns"]["write"]["mean"].as_f64().expect("a number");
            assert!(mean > 100_000.0, "a program of three-bit NAND takes longer than {mean} ns");
        }
    }
}
