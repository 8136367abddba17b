//! Doorbells: by register, in a shared page, in shadow buffers (rules B47–B50, B56; NVMe Base 2.1 section 5.2.5, PCIe Transport 1.1
//! section 3.1).

use controller::config::{DeviceOptions, Doorbells};
use media::Nanoseconds;
use nvme_host::admin::{LogArguments, admin_command};
use nvme_host::doorbell::Doorbell;
use nvme_host::{AdminDoorbells, Host, Port, Setup};
use nvme_spec::log::LogId;
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Command, Status};
use spec_tests::rig::{Build, Rig};

use crate::support::{
    Access, INVALID_FIELD, LAST_PAGE, NOWHERE, SUCCESS, admin_kind, arm, flush, reap_all, recorded_step, slow_down,
};

/// Type 0, information 00h or 01h, log page 01h.
const INVALID_REGISTER: u32 = 0x0001_0000;
const INVALID_VALUE: u32 = 0x0001_0100;

fn mapped() -> Build {
    let device = DeviceOptions { doorbells: Doorbells::Mapped, ..DeviceOptions::default() };
    Build { device, ..Build::default() }
}

/// What an Asynchronous Event Request reports after `ring`; reading the log makes the next event heard.
fn event_of(host: &mut Host<Rig>, ring: impl FnOnce(&mut Host<Rig>)) -> Option<u32> {
    let aer = host.async_event_request().expect("submitted");
    host.port_mut().run_until_idle();
    ring(host);
    host.port_mut().run_until_idle();
    let Some(event) = host.poll(0, aer) else {
        assert!(host.abort(0, aer).expect("answered"));
        return None;
    };
    host.get_log(LogId::ERROR, 64, LogArguments::default()).expect("read");
    Some(event.dw0.get())
}

/// B47: a doorbell of a queue that does not exist is reported as Write to Invalid Doorbell Register, and does nothing else.
#[test]
fn doorbells_of_queues_that_do_not_exist_are_reported() {
    let mut host = Build::default().with_registers().host();
    for qid in [2, 64, 65, 100, 511] {
        for doorbell in [Doorbell::SubmissionTail(qid), Doorbell::CompletionHead(qid)] {
            for value in [0, 1, 0xffff] {
                let event = event_of(&mut host, |host| host.write_doorbell(doorbell, value));
                assert_eq!(event, Some(INVALID_REGISTER), "{doorbell:?} = {value}");
            }
        }
    }
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
}

/// B47, B74: without a request outstanding nothing is reported at once; the event waits for one.
#[test]
fn a_bad_doorbell_waits_for_a_request() {
    let mut host = Build::default().with_registers().host();
    host.write_doorbell(Doorbell::SubmissionTail(9), 1);
    host.port_mut().run_until_idle();
    assert!(host.reap(0).is_none());
    let aer = host.async_event_request().expect("submitted");
    assert_eq!(host.wait(0, aer).expect("reported").dw0.get(), INVALID_REGISTER);
}

/// B48, B49, E12: a value beyond the queue, or a head beyond what was completed, is reported as Invalid Doorbell Write Value; the
/// queue stays as it is.
#[test]
fn values_that_cannot_be_are_reported_and_change_nothing() {
    let mut host = Build::default().with_registers().host();
    host.create_queue_pair(2, 5, None).expect("a queue pair");
    for _ in 0..3 {
        let cid = host.submit(2, flush()).expect("submitted");
        host.wait(2, cid).expect("answered");
    }
    for value in [5, 6, 64, 0x7fff, 0xffff] {
        for doorbell in [Doorbell::SubmissionTail(2), Doorbell::CompletionHead(2)] {
            let event = event_of(&mut host, |host| host.write_doorbell(doorbell, value));
            assert_eq!(event, Some(INVALID_VALUE), "{doorbell:?} = {value}");
        }
    }
    for head in [4, 0, 1, 2] {
        let event = event_of(&mut host, |host| host.write_doorbell(Doorbell::CompletionHead(2), head));
        assert_eq!(event, Some(INVALID_VALUE), "nothing was completed up to {head}");
    }
    let unchanged = [Doorbell::CompletionHead(2), Doorbell::SubmissionTail(2)];
    for doorbell in unchanged {
        assert_eq!(event_of(&mut host, |host| host.write_doorbell(doorbell, 3)), None);
    }
    // Four completions wait from 3 on: 5 and 6 are as far away as positions in the queue would be.
    for _ in 0..4 {
        host.submit(2, flush()).expect("submitted");
    }
    for head in [5, 6] {
        let event = event_of(&mut host, |host| host.write_doorbell(Doorbell::CompletionHead(2), head));
        assert_eq!(event, Some(INVALID_VALUE));
    }
    assert_eq!(reap_all(&mut host, 2).len(), 4);
    for _ in 0..12 {
        let cid = host.submit(2, flush()).expect("submitted");
        assert_eq!(host.wait(2, cid).expect("answered").status(), Status::SUCCESS);
    }
    assert!(host.reap(2).is_none() && host.surprises().is_empty());
}

/// B49, E12, E43: any tail within the queue means at most a round of entries, whatever is in them; then the device rests.
#[test]
fn every_tail_comes_to_an_end() {
    let mut host = Build::default().admin_host();
    for tail in 0..8 {
        host.create_queue_pair(1, 8, None).expect("a queue pair");
        for next in [tail, 7 - tail, 0, tail] {
            host.write_doorbell(Doorbell::SubmissionTail(1), next);
            host.port_mut().run_until_idle();
            assert!(reap_all(&mut host, 1).len() < 8);
        }
        host.delete_queue_pair(1).expect("deleted");
    }
}

/// B50: bits 31:16 of a doorbell are ignored.
#[test]
fn the_upper_half_of_a_doorbell_is_ignored() {
    let mut host = Build::default().with_registers().host();
    for round in 1..=40_u32 {
        let cid = host.submit_quietly(1, flush()).expect("submitted");
        host.write_doorbell(Doorbell::SubmissionTail(1), 0xabcd_0000 | round);
        host.port_mut().run_until_idle();
        assert_eq!(host.reap_quietly(1).expect("answered").cid.get(), cid);
        host.write_doorbell(Doorbell::CompletionHead(1), 0xffff_0000 | round);
    }
    assert_eq!(event_of(&mut host, |_| ()), None);
}

/// B56 and E28 in our mapped mode: nobody is told of a store to the page, and the device finds it; a queue that is made again under its
/// identifier does not take the old positions from the page.
#[test]
fn a_shared_page_serves_queues_that_come_and_go() {
    let mut host = mapped().admin_host();
    for entries in [64, 5, 17, 64] {
        for qid in [1, 2, 64] {
            host.create_queue_pair(qid, entries, None).expect("a queue pair");
        }
        for round in 0..entries + 3 {
            for qid in [64, 1, 2] {
                let cid = host.submit(qid, flush()).expect("submitted");
                assert_eq!(host.wait(qid, cid).expect("answered").status(), Status::SUCCESS, "{round}");
            }
        }
        for qid in [1, 2, 64] {
            host.delete_queue_pair(qid).expect("deleted");
        }
    }
    assert_eq!(event_of(&mut host, |_| ()), None, "no stale value was taken for a doorbell");
    assert!(host.surprises().is_empty());
}

/// The same over a reset.
#[test]
fn a_shared_page_begins_anew_after_reset() {
    let mut host = mapped().host();
    for _ in 0..5 {
        (0..7).for_each(|_| assert_eq!(host.flush(1), Ok(Status::SUCCESS)));
        host.submit(1, flush()).expect("submitted");
        host.start().expect("reset and enabled");
        host.create_queue_pair(1, 64, Some(1)).expect("a queue pair");
    }
    assert!(host.surprises().is_empty());
}

/// B48 in the page: a value that cannot be is reported once, not at every look.
#[test]
fn a_bad_value_in_the_page_is_reported_once() {
    let mut host = mapped().host();
    let event = event_of(&mut host, |host| host.write_doorbell(Doorbell::SubmissionTail(1), 64));
    assert_eq!(event, Some(INVALID_VALUE));
    assert_eq!(event_of(&mut host, |_| ()), None);
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
}

const FIRST_DOORBELL: u64 = 0x1000;
const FIRST_IO_DOORBELL: u64 = 0x1008;

/// A rig that counts register writes to doorbells, from one on.
struct Counting {
    rig: Rig,
    counted_from: u64,
    rung: usize,
}

impl Port for Counting {
    fn register_read(&mut self, offset: u64, into: &mut [u8]) {
        self.rig.register_read(offset, into);
    }

    fn register_write(&mut self, offset: u64, from: &[u8]) {
        self.rung += usize::from(from.len() == 4 && offset >= self.counted_from);
        self.rig.register_write(offset, from);
    }

    fn memory_read(&self, address: u64, into: &mut [u8]) {
        self.rig.memory_read(address, into);
    }

    fn memory_write(&mut self, address: u64, from: &[u8]) {
        self.rig.memory_write(address, from);
    }

    fn relax(&mut self) -> bool {
        self.rig.relax()
    }
}

impl Shadowed {
    fn settle_and_arm(&mut self) -> bool {
        self.port_mut().rig.run_until_idle();
        arm(&mut self.port_mut().rig)
    }

    fn rung(&mut self) -> usize {
        std::mem::take(&mut self.port_mut().rung)
    }
}

/// A host with one queue pair whose doorbells have shadows.
struct Shadowed(Host<Counting>);

impl std::ops::Deref for Shadowed {
    type Target = Host<Counting>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Shadowed {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

fn shadowed(slots: u32) -> Shadowed {
    let build = Build::default().with_registers();
    let mut host = Host::enable(Counting { rig: build.rig(), counted_from: FIRST_IO_DOORBELL, rung: 0 }, build.setup)
        .expect("enabled");
    host.create_completion_queue(1, slots, Some(1)).expect("made");
    host.create_submission_queue(1, 64, 1, 0).expect("made");
    host.use_shadow_doorbells().expect("offered");
    host.port_mut().rung = 0;
    Shadowed(host)
}

/// B56: after `arm` said that the device may sleep, the host's next submission rings a register, and its next head does not, because
/// nothing waits for it; while the device is awake the host stays silent. Where a ring begins anew, the host's arithmetic may ring once.
#[test]
fn a_sleeping_device_is_rung_and_one_that_is_awake_is_not() {
    let mut host = shadowed(64);
    let mut heads_rung = 0;
    for round in 0..200 {
        assert!(host.settle_and_arm(), "nothing to do");
        assert_eq!(host.rung(), 0);
        host.submit(1, flush()).expect("submitted");
        assert_eq!(host.rung(), 1, "the tail, in round {round}");
        host.port_mut().rig.run_until_idle();
        assert!(host.reap(1).is_some());
        heads_rung += host.rung();
        let awake: usize = (0..5).map(|_| host.0.flush(1).map(|_| host.rung()).expect("answered")).sum();
        assert!(awake <= 2, "{awake} rings in round {round}");
    }
    // 1200 commands are 19 rounds of the ring.
    assert!(heads_rung <= 20, "{heads_rung} heads were rung");
    assert!(host.surprises().is_empty());
}

/// B56: `arm` looks once more: what the host did before it could know that it must ring is found.
#[test]
fn arming_finds_what_came_just_before() {
    let mut host = shadowed(64);
    assert!(host.settle_and_arm());
    host.submit(1, flush()).expect("rung");
    host.port_mut().rig.run_until_idle();
    host.rung();
    let cid = host.submit(1, flush()).expect("silent");
    assert_eq!(host.rung(), 0, "the event index is behind");
    assert!(!arm(&mut host.port_mut().rig), "there is work");
    assert_eq!(host.wait(1, cid).expect("answered").status(), Status::SUCCESS);
}

/// B56, B45: a device that sleeps on a full completion queue is rung when the head moves.
#[test]
fn a_full_completion_queue_with_shadows_gets_its_doorbell() {
    let mut host = shadowed(4);
    for _ in 0..60 {
        host.submit_quietly(1, flush()).expect("submitted");
    }
    host.ring(1).expect("rung");
    let mut answers = 0;
    while answers < 60 {
        assert!(host.settle_and_arm(), "nothing can be done");
        host.rung();
        assert!(host.reap(1).is_some(), "after {answers}");
        // The last three have their slots.
        assert!(host.rung() == 1 || answers >= 57, "after {answers}");
        answers += 1;
    }
    assert!(host.surprises().is_empty());
}

/// B56: a device that sleeps with a message that waits for the host to take what the last one told of is rung when the head moves.
#[test]
fn a_message_that_waits_gets_its_doorbell() {
    let mut host = shadowed(64);
    host.port_mut().rig.run_until_idle();
    host.port_mut().rig.take_vectors();
    for _ in 0..2 {
        host.submit(1, flush()).expect("submitted");
        host.port_mut().rig.run_until_idle();
    }
    assert_eq!(host.port_mut().rig.take_vectors(), [1]);
    assert!(host.settle_and_arm());
    host.rung();
    assert!(host.reap(1).is_some());
    assert_eq!(host.rung(), 1);
    host.port_mut().rig.run_until_idle();
    assert_eq!(host.port_mut().rig.take_vectors(), [1]);
}

/// B56, E46: with shadows a register write of an I/O doorbell is only a nudge: a value in it that is older or cannot be counts for
/// nothing. The shadow's own values are checked as a register's are.
#[test]
fn with_shadows_the_register_only_nudges() {
    let mut host = Build::default().host();
    host.use_shadow_doorbells().expect("offered");
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    for value in [0, 3, 63, 64, 0xffff] {
        let event = event_of(&mut host, |host| host.write_doorbell(Doorbell::SubmissionTail(1), value));
        assert_eq!(event, None);
        assert!(host.reap(1).is_none());
    }
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    assert!(host.surprises().is_empty());
}

/// B56: buffers that are not page aligned, one and the same, or not there.
#[test]
fn shadow_buffers_are_two_pages_of_memory() {
    let mut host = Build::default().host();
    let page = host.allocate(8192).expect("memory");
    let configure = |prp1: u64, prp2: u64| Command {
        prp1: prp1.into(),
        prp2: prp2.into(),
        ..admin_command(AdminOpcode::DOORBELL_BUFFER_CONFIG)
    };
    for offset in [1, 4, 8, 2048, 4092] {
        for command in [configure(page + offset, page + 4096), configure(page, page + 4096 + offset)] {
            let kind = admin_kind(&mut host, command);
            assert!(matches!(kind, (0, 0x13) | INVALID_FIELD), "{offset}: {kind:?}");
        }
    }
    assert_eq!(admin_kind(&mut host, configure(page, page)), INVALID_FIELD);
    for command in [configure(NOWHERE, page), configure(page, NOWHERE), configure(LAST_PAGE, page)] {
        assert_ne!(admin_kind(&mut host, command), SUCCESS);
    }
    assert_eq!(host.flush(1), Ok(Status::SUCCESS), "registers still count");
}

/// B56, E46: shadows can be switched on under full load, and nothing is lost.
#[test]
fn shadows_can_be_switched_on_under_load() {
    let mut host = Build::default().host();
    slow_down(&host, Nanoseconds(10_000));
    let mut cids: Vec<u16> = (0..20).map(|_| host.submit(1, flush()).expect("submitted")).collect();
    host.port_mut().step();
    cids.extend((0..20).map(|_| host.submit(1, flush()).expect("submitted")));
    host.use_shadow_doorbells().expect("offered");
    cids.extend((0..20).map(|_| host.submit(1, flush()).expect("submitted")));
    for cid in cids {
        assert_eq!(host.wait(1, cid).expect("answered").status(), Status::SUCCESS);
    }
    assert!(host.surprises().is_empty());
}

/// B56, E45: a reset ends the shadows: the buffers are not looked at any more, and registers count.
#[test]
fn shadows_do_not_survive_a_reset() {
    let mut host = Build::default().with_registers().host();
    host.use_shadow_doorbells().expect("offered");
    (0..9).for_each(|_| assert_eq!(host.flush(1), Ok(Status::SUCCESS)));
    host.start().expect("reset and enabled");
    host.create_queue_pair(1, 64, Some(1)).expect("a queue pair");
    host.port_mut().run_until_idle();
    assert!(arm(host.port_mut()));
    let slot = host.submission_queue(1).expect("made").base;
    host.submit(1, flush()).expect("submitted");
    let accesses = recorded_step(host.port_mut());
    assert_eq!(accesses.iter().find(|access| matches!(access, Access::Read(..))), Some(&Access::Read(slot, 64)));
    assert!(!accesses.iter().any(|access| matches!(access, Access::Read(_, 4) | Access::Write(_, 4))), "{accesses:?}");
    assert!(host.reap(1).is_some());
}

/// B56, B44: a queue that is made again while shadows are on begins at 0.
#[test]
fn queues_come_and_go_under_shadows() {
    let mut host = Build::default().host();
    host.use_shadow_doorbells().expect("offered");
    for entries in [64, 5, 17, 64] {
        (0..entries + 3).for_each(|_| assert_eq!(host.flush(1), Ok(Status::SUCCESS)));
        host.delete_queue_pair(1).expect("deleted");
        host.create_queue_pair(1, entries, None).expect("made again");
    }
    assert!(host.surprises().is_empty());
}

/// A host whose admin queue has shadows too, and how it moves them.
fn admin_shadowed(admin_doorbells: AdminDoorbells, admin_entries: u16) -> Shadowed {
    let build = Build::default().with_registers();
    let setup = Setup { shadow_doorbells: true, admin_doorbells, admin_entries, ..build.setup.clone() };
    let counting = Counting { rig: build.rig(), counted_from: FIRST_DOORBELL, rung: 0 };
    Shadowed(Host::enable(counting, setup).expect("enabled"))
}

fn keep_alive(host: &mut Shadowed) -> u16 {
    host.submit(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted")
}

/// B56: a host that moves the doorbells of the admin queue in the shadow buffer is served: a device that sleeps is rung, and one that is
/// awake sees what nobody rings for, over many rounds of the queue.
#[test]
fn the_admin_queue_is_served_by_its_shadows() {
    for entries in [2, 3, 32] {
        let mut host = admin_shadowed(AdminDoorbells::Shadows, entries);
        host.rung();
        for round in 0..100 {
            assert!(host.settle_and_arm(), "nothing to do");
            let cid = keep_alive(&mut host);
            assert_eq!(host.rung(), 1, "the tail, in round {round}");
            host.wait(0, cid).expect("answered");
            host.rung();
            let cid = keep_alive(&mut host);
            assert!(host.rung() == 0 || entries == 2, "it is awake, in round {round}");
            host.wait(0, cid).expect("answered");
            host.rung();
        }
        assert!(host.surprises().is_empty());
    }
}

/// B56: a host that keeps to the registers of the admin queue finds what it wrote in the buffer, and may go over to that at any position
/// and come back.
#[test]
fn the_admin_queue_may_change_its_way_at_every_position() {
    for entries in [2, 3, 8] {
        for habit in [AdminDoorbells::Registers, AdminDoorbells::Shadows, AdminDoorbells::Alternating] {
            let mut host = admin_shadowed(habit, entries);
            for round in 0..200 {
                let batch = 1 + round % (usize::from(entries) - 1);
                let cids: Vec<u16> = (0..batch).map(|_| keep_alive(&mut host)).collect();
                if round % 3 == 0 {
                    host.settle_and_arm();
                }
                for cid in cids {
                    let answer =
                        host.wait(0, cid).unwrap_or_else(|error| panic!("{habit:?}, {entries}, {round}: {error}"));
                    assert_eq!(answer.status(), Status::SUCCESS);
                }
            }
            assert!(host.surprises().is_empty());
        }
    }
}

/// B56: a register of the admin queue that is written late says what the shadow has said before, and brings nothing back.
#[test]
fn a_late_register_of_the_admin_queue_brings_nothing_back() {
    let mut host = admin_shadowed(AdminDoorbells::Shadows, 32);
    for _ in 0..100 {
        assert!(host.settle_and_arm(), "nothing to do");
        let told = host.submission_queue(0).expect("there").tail_told;
        // The shadow is seen before the register arrives.
        let shadow = host.shadow_doorbell(Doorbell::SubmissionTail(0)).expect("it has one");
        let first = host.submit_quietly(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
        let late = host.submission_queue(0).expect("there").tail;
        let second = host.submit_quietly(0, admin_command(AdminOpcode::KEEP_ALIVE)).expect("submitted");
        host.port_mut().memory_write(shadow, &u32::from(late).to_le_bytes());
        host.port_mut().rig.run_until_idle();
        host.ring(0).expect("rung");
        host.port_mut().rig.run_until_idle();
        assert_ne!(told, late);
        host.write_doorbell(Doorbell::SubmissionTail(0), late.into());
        for cid in [first, second] {
            assert_eq!(host.wait(0, cid).expect("answered").status(), Status::SUCCESS);
        }
        host.port_mut().rig.run_until_idle();
        assert!(host.reap(0).is_none(), "no entry was taken twice");
    }
    assert!(host.surprises().is_empty());
}

/// B56: shadows begin where the doorbells are, be it the last position of a queue, so that every move from there on is seen.
#[test]
fn shadows_begin_at_every_position() {
    for habit in [AdminDoorbells::Registers, AdminDoorbells::Shadows] {
        for before in 0..9 {
            let build = Build::default().with_registers();
            let setup = Setup { admin_entries: 4, admin_doorbells: habit, ..build.setup.clone() };
            let mut host = Host::enable(build.rig(), setup).expect("enabled");
            host.create_queue_pair(1, 4, None).expect("a queue pair");
            (0..before).for_each(|_| assert_eq!(host.flush(1), Ok(Status::SUCCESS)));
            (0..before).for_each(|_| assert!(host.admin(admin_command(AdminOpcode::KEEP_ALIVE)).is_ok()));
            host.use_shadow_doorbells().expect("offered");
            (0..9).for_each(|_| assert_eq!(host.flush(1), Ok(Status::SUCCESS), "after {before}"));
            (0..9).for_each(|_| assert!(host.admin(admin_command(AdminOpcode::KEEP_ALIVE)).is_ok(), "after {before}"));
            assert!(host.surprises().is_empty());
        }
    }
}
