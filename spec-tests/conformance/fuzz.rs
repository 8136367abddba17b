//! Random commands on the admin queue and an I/O queue, with random PRPs and SGLs (rules B181, B182; section E). `SEED` replays a run,
//! `CASES` lengthens it: a case is a life of a controller with a few hundred commands.
//!
//! The oracle: exactly one answer for each command (an Asynchronous Event Request may wait), no panic, guest memory outside of what
//! pointers can reach and blocks outside of what commands name are as they were, and Identify answers at the end.

use media::{Lba, MediaError, Nanoseconds};
use nvme_host::io::block_command;
use nvme_spec::command::{DATASET_DEALLOCATE, DatasetRange, psdt};
use nvme_spec::opcode::{AdminOpcode, NvmOpcode};
use nvme_spec::sgl::{SglDescriptor, SglType};
use nvme_spec::{Command, NSID_ALL};
use spec_tests::random::{Random, cases, seed};
use spec_tests::rig::{Build, MEMORY, STEP};
use zerocopy::IntoBytes;

use crate::verbs::{TestHost, Verbs};

/// Block size and number of blocks of the two namespaces.
const SHAPES: [(u32, u64); 2] = [(512, 2048), (4096, 256)];
const PAGE: u64 = 4096;
/// Pages that random pointers reach.
const ARENA_PAGES: u64 = 192;
/// Descriptors in the pages that segments of SGLs lie in, and in the longest segment.
const DESCRIPTORS: u64 = 1024;
const SEGMENT_MAX: u64 = 80;
const COMMANDS: usize = 300;

/// A small number as an index.
fn index(number: u64) -> usize {
    usize::try_from(number).expect("small")
}

struct Fuzz {
    random: Random,
    host: TestHost,
    /// The first page of the arena; a page before it and one behind it must not change.
    arena: u64,
    /// Holds ranges of Dataset Management; no pointer of another command reaches it.
    ranges: u64,
    /// Holds descriptors of SGLs; no other pointer reaches it, since what is a PRP entry or data could describe anything.
    descriptors: u64,
    /// What each namespace held at first.
    canary: [Vec<u8>; 2],
    /// Blocks that a command named.
    touched: [Vec<bool>; 2],
}

impl Fuzz {
    fn new(random: Random) -> Self {
        let mut build = Build { namespaces: SHAPES.into(), ..Build::default() };
        build.device.mdts = 5;
        let mut host = build.host();
        host.port_mut().behaviour.borrow_mut().cache = Some(true);
        let area = host.allocate(index((ARENA_PAGES + 2) * PAGE)).expect("room");
        let ranges = host.allocate(4096).expect("room");
        let descriptors = host.allocate(index(DESCRIPTORS * 16)).expect("room");
        let mut fuzz = Self {
            random,
            host,
            arena: area + PAGE,
            ranges,
            descriptors,
            canary: SHAPES.map(|(bytes, blocks)| vec![0; bytes as usize * index(blocks)]),
            touched: SHAPES.map(|(_, blocks)| vec![false; index(blocks)]),
        };
        fuzz.plant();
        fuzz
    }

    /// Fills namespaces and guards. Bytes of the namespaces have their top bit set, so that no eight of them are an address of memory
    /// or a range of blocks when a Read brings them where a list is looked for.
    fn plant(&mut self) {
        for (nsid, canary) in (1..).zip(&mut self.canary) {
            *canary = self.random.bytes(canary.len()).into_iter().map(|byte| byte | 0x80).collect();
            for (index, part) in canary.chunks(65536).enumerate() {
                let lba = index * 65536 / SHAPES[nsid as usize - 1].0 as usize;
                assert!(self.host.write(nsid, lba as u64, part, false).expect("answered").is_success());
            }
        }
        for guard in self.guards() {
            self.host.write_memory(guard, &[0x5a; 4096]);
        }
    }

    fn guards(&self) -> [u64; 2] {
        [self.arena - PAGE, self.arena + ARENA_PAGES * PAGE]
    }

    /// An address of the arena, or one where there is no memory.
    fn address(&mut self) -> u64 {
        let page = self.arena + self.random.below(ARENA_PAGES) * PAGE;
        match self.random.below(12) {
            0..6 => page,
            6..9 => page + self.random.below(1024) * 4,
            9 => page + self.random.below(PAGE),
            10 => self.random.pick(&[
                0,
                4,
                MEMORY.end,
                MEMORY.start - 4096,
                u64::MAX,
                u64::MAX - 4095,
                1 << 63,
                0xfebf_0000,
            ]),
            _ => 1 << 47 | self.random.draw() & 0xffff_ffff_f000,
        }
    }

    /// Entries of lists all over the arena, most of them good.
    fn scatter_lists(&mut self) {
        for page in 0..ARENA_PAGES / 4 {
            let entries: Vec<u8> = (0..512).flat_map(|_| self.address().to_le_bytes()).collect();
            self.host.write_memory(self.arena + page * 4 * PAGE, &entries);
        }
        let descriptors: Vec<SglDescriptor> = (0..DESCRIPTORS).map(|_| self.descriptor()).collect();
        self.host.write_memory(self.descriptors, descriptors.as_bytes());
    }

    /// A descriptor of an SGL: data of the arena or of nowhere, or a segment among those of [`Self::scatter_lists`].
    fn descriptor(&mut self) -> SglDescriptor {
        let random = &mut self.random;
        let mut descriptor = if random.one_in(12) {
            let place = self.descriptors + random.below(DESCRIPTORS - SEGMENT_MAX) * 16;
            let length = u32::try_from(random.below(SEGMENT_MAX) * 16).expect("small");
            SglDescriptor::new(random.pick(&[SglType::SEGMENT, SglType::LAST_SEGMENT]), place, length)
        } else {
            self.data_block()
        };
        if self.random.one_in(64) {
            descriptor.identifier ^= 1 << self.random.below(8);
            // What was data must not become descriptors: they could describe anything.
            descriptor.address = self.address().into();
            descriptor.length = 15.into();
        }
        descriptor
    }

    /// A data block that ends in the arena if it begins there.
    fn data_block(&mut self) -> SglDescriptor {
        let address = self.address();
        let end = self.arena + ARENA_PAGES * PAGE;
        let room = if (self.arena..end).contains(&address) { end - address } else { PAGE };
        let most = self.random.pick(&[1, 16, 512, 512, PAGE, 1 << 17]).min(room);
        let length = u32::try_from(self.random.below(most + 1)).expect("small");
        SglDescriptor::new(SglType::DATA_BLOCK, address, length)
    }

    fn nsid(&mut self) -> u32 {
        let odd = self.random.draw_u32() | 1 << 31;
        self.random.pick(&[1, 1, 1, 2, 2, 2, 0, 3, NSID_ALL, odd])
    }

    /// Any command, with pointers that stay in the arena or lead nowhere.
    fn any_command(&mut self) -> Command {
        let random = &mut self.random;
        let flags = if random.one_in(16) { random.draw_u8() } else { 0 };
        let dwords = [0; 8].map(|_| if random.one_in(3) { random.draw_u32() } else { random.draw_u32() & 0xff });
        let [cdw2, cdw3, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15] = dwords.map(Into::into);
        Command {
            opcode: random.draw_u8(),
            flags,
            nsid: self.nsid().into(),
            cdw2,
            cdw3,
            prp1: self.address().into(),
            prp2: self.address().into(),
            cdw10,
            cdw11,
            cdw12,
            cdw13,
            cdw14,
            cdw15,
            ..Command::default()
        }
    }

    /// What would end this life, or make the host's own queues vanish, is left out: those have tests of their own.
    fn admin_command(&mut self) -> Command {
        let known = [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x18];
        let mut command = self.any_command();
        if !self.random.one_in(6) {
            command.opcode = self.random.pick(&known);
        }
        let identifier = command.cdw10.get() & 0xffff;
        match AdminOpcode(command.opcode) {
            AdminOpcode::DELETE_SUBMISSION_QUEUE | AdminOpcode::DELETE_COMPLETION_QUEUE if identifier == 1 => {
                command.cdw10 = 0x21.into();
            }
            // A timer that nobody serves ends in a fatal status.
            AdminOpcode::SET_FEATURES if identifier & 0xff == 0x0f => command.cdw11 = 0.into(),
            AdminOpcode::DOORBELL_BUFFER_CONFIG => command.opcode = 0xff,
            _ => {}
        }
        command
    }

    fn io_command(&mut self) -> Command {
        let mut command = self.any_command();
        // Whatever says that it has an SGL gets one that stays where it may.
        if self.random.one_in(3) || command.psdt() == psdt::SGL {
            command = command.with_sgl1(self.first_descriptor());
        }
        self.name_blocks(&mut command);
        if command.opcode == NvmOpcode::DATASET_MANAGEMENT.0 && command.cdw11.get() & DATASET_DEALLOCATE != 0 {
            self.place_ranges(&mut command);
        }
        if [NvmOpcode::WRITE.0, NvmOpcode::WRITE_ZEROES.0].contains(&command.opcode) {
            self.touch(command.nsid.get(), command.slba(), u64::from(command.nlb_z()) + 1);
        }
        command
    }

    /// Half of the time a segment, since most data is longer than one piece of it.
    fn first_descriptor(&mut self) -> SglDescriptor {
        loop {
            let descriptor = self.descriptor();
            if descriptor.kind() != SglType::DATA_BLOCK || self.random.one_in(12) {
                return descriptor;
            }
        }
    }

    /// Gives a command one of the known opcodes and blocks that can be, mostly.
    fn name_blocks(&mut self, command: &mut Command) {
        let known = [0x00, 0x01, 0x02, 0x05, 0x08, 0x09];
        if !self.random.one_in(8) {
            command.opcode = self.random.pick(&known);
            let lba = match self.random.below(8) {
                0 => self.random.draw(),
                1 => u64::MAX - self.random.below(300),
                _ => self.random.below(2100),
            };
            let most = if self.random.one_in(8) { 65536 } else { 200 };
            let blocks = u32::try_from(self.random.below(most) + 1).expect("at most 65536");
            let named = block_command(NvmOpcode(command.opcode), 1, lba, blocks);
            let high = command.cdw12.get() & 0xffff_0000;
            let cdw12 = (high | (blocks - 1)).into();
            *command = Command { cdw10: named.cdw10, cdw11: named.cdw11, cdw12, ..*command };
        }
    }

    /// Gives a deallocation ranges that the test knows.
    fn place_ranges(&mut self, command: &mut Command) {
        let count = self.random.below(4) + 1;
        command.prp1 = self.ranges.into();
        if command.psdt() == psdt::SGL {
            *command = command.with_sgl1(SglDescriptor::new(SglType::DATA_BLOCK, self.ranges, 4096));
        }
        command.cdw10 = u32::try_from(count - 1).expect("few").into();
        let all: Vec<(u64, u32)> = (0..count)
            .map(|_| {
                let far = self.random.one_in(20);
                (self.random.below(if far { u64::MAX } else { 260 }), self.random.draw_u32() % 16)
            })
            .collect();
        let list: Vec<DatasetRange> = (all.iter())
            .map(|(slba, blocks)| DatasetRange { slba: (*slba).into(), blocks: (*blocks).into(), ..Default::default() })
            .collect();
        self.host.write_memory(self.ranges, list.as_bytes());
        for (slba, blocks) in all {
            self.touch(command.nsid.get(), slba, blocks.into());
        }
    }

    /// Notes that a command names these blocks. One that goes beyond the namespace must change nothing (B131).
    fn touch(&mut self, nsid: u32, slba: u64, blocks: u64) {
        let Some(touched) = nsid.checked_sub(1).and_then(|index| self.touched.get_mut(index as usize)) else { return };
        let end = slba.saturating_add(blocks);
        if end <= touched.len() as u64 {
            touched[index(slba)..index(end)].fill(true);
        }
    }

    /// A few commands at once, then their answers. A deallocation is alone, since it uses the one page of ranges.
    fn batch(&mut self) -> usize {
        let latency = self.random.below(4);
        let failure = self.random.one_in(10).then_some(MediaError::UnrecoveredRead { first: Lba(1) });
        {
            let mut behaviour = self.host.port_mut().behaviour.borrow_mut();
            behaviour.latency = (latency > 0).then_some(Nanoseconds(STEP.0 * latency));
            behaviour.failure = failure;
            behaviour.asked.clear();
        }
        let mut sent = Vec::new();
        for _ in 0..=self.random.below(10) {
            let sqid = u16::from(!self.random.one_in(3));
            let command = if sqid == 0 { self.admin_command() } else { self.io_command() };
            sent.push((sqid, self.host.submit(sqid, command).expect("room"), command));
            if command.prp1.get() == self.ranges {
                break;
            }
        }
        for (sqid, cid, command) in &sent {
            if (*sqid, command.opcode) == (0, AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST.0) {
                continue;
            }
            let answer = self.host.wait(*sqid, *cid);
            assert!(answer.is_ok(), "{answer:?} for {command:x?} on queue {sqid}");
        }
        self.host.port_mut().take_vectors();
        assert!(self.host.surprises().is_empty(), "{:?} after {sent:x?}", self.host.surprises());
        sent.len()
    }

    /// Only requests for events still wait, and no more of them than may.
    fn assert_all_answered(&mut self) {
        self.host.port_mut().run_until_idle();
        while self.host.reap(0).is_some() {}
        let waiting = |host: &TestHost, sqid| host.submission_queue(sqid).expect("the queue is there").outstanding();
        let limit = usize::from(self.host.identify_controller().expect("mandatory").aerl_z) + 1;
        assert!(waiting(&self.host, 0) <= limit && waiting(&self.host, 1) == 0);
    }

    fn assert_nothing_else_changed(&mut self) {
        for guard in self.guards() {
            assert!(self.host.read_memory(guard, 4096) == [0x5a; 4096], "the guard at {guard:#x}");
        }
        {
            let mut behaviour = self.host.port_mut().behaviour.borrow_mut();
            (behaviour.latency, behaviour.failure) = (None, None);
        }
        for (which, (bytes, blocks)) in SHAPES.into_iter().enumerate() {
            let nsid = u32::try_from(which + 1).expect("two");
            for lba in (0..blocks).step_by(16) {
                let (status, data) = self.host.read(nsid, lba, 16).expect("answered");
                assert!(status.is_success());
                for (offset, block) in data.chunks(bytes as usize).enumerate() {
                    let at = index(lba) + offset;
                    let same = block == &self.canary[which][at * bytes as usize..][..bytes as usize];
                    assert!(same || self.touched[which][at], "block {at} of namespace {nsid}, which no command named");
                }
            }
        }
    }
}

/// B181, B182: see the file's text.
#[test]
fn random_commands_are_each_answered_once_and_change_only_what_they_name() {
    let mut random = Random::new(seed(181));
    for case in 0..cases(24) {
        println!("case {case}");
        let mut fuzz = Fuzz::new(Random::new(random.draw()));
        let mut commands = 0;
        while commands < COMMANDS {
            if fuzz.random.one_in(4) {
                fuzz.scatter_lists();
            }
            commands += fuzz.batch();
        }
        fuzz.assert_all_answered();
        fuzz.assert_nothing_else_changed();
        fuzz.host.assert_alive();
    }
}
