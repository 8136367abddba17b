//! The host over a controller that believes everything: what it writes, what it waits for, and what it notices.

#![expect(clippy::cast_possible_truncation, reason = "the fake and the patterns take numbers apart by truncation")]

mod fake;

use fake::{Fake, MEMORY_BYTES};
use nvme_host::doorbell::Doorbell;
use nvme_host::host::Awaited;
use nvme_host::{Host, HostError, Port, Setup, Shutdown};
use nvme_spec::feature::FeatureId;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::register::{self, ControllerStatus};
use nvme_spec::{Command, Status};

fn setup() -> Setup {
    Setup { relax_max: 10, ..Setup::new(0x1000..MEMORY_BYTES as u64) }
}

fn with_queue(fake: &mut Fake, entries: u32) -> Host<&mut Fake> {
    let mut host = Host::enable(fake, setup()).unwrap();
    host.create_queue_pair(1, entries, Some(1)).unwrap();
    host
}

fn flush() -> Command {
    nvme_host::io::nvm_command(NvmOpcode::FLUSH, 1)
}

#[test]
fn bring_up_writes_the_admin_queues_before_it_enables() {
    let mut fake = Fake::new();
    let mut host = Host::enable(&mut fake, setup()).unwrap();
    let port = host.port_mut();
    assert_eq!(port.register_read_32(register::AQA), 0x001f_001f);
    assert_eq!(port.register_read_64(register::ASQ), 0x1000);
    assert_eq!(port.register_read_64(register::ACQ), 0x2000);
    assert_eq!(port.register_read_32(register::CC), 0x0046_0001);
}

#[test]
fn what_cap_does_not_offer_is_not_tried() {
    let refused = |setup| Host::enable(Fake::new(), setup).err();
    assert_eq!(refused(Setup { command_set: 6, ..setup() }), Some(HostError::Unsupported("the command set")));
    assert_eq!(refused(Setup { page_shift: 13, ..setup() }), Some(HostError::Unsupported("the page size")));
}

#[test]
fn a_fatal_controller_is_told_apart_from_a_slow_one() {
    let mut fake = Fake::new();
    fake.fatal = true;
    assert_eq!(Host::enable(&mut fake, setup()).err(), Some(HostError::Fatal));
}

#[test]
fn what_was_written_is_read_after_a_round_through_guest_memory() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 4);
    let data: Vec<u8> = (0..512u32).map(|byte| byte as u8).collect();
    let free = host.memory().free_bytes();
    assert_eq!(host.write(1, 0, &data, true), Ok(Status::SUCCESS));
    assert_eq!(host.read(1, 0, 1), Ok((Status::SUCCESS, data)));
    assert_eq!(host.memory().free_bytes(), free, "buffers are given back");
    assert!(host.surprises().is_empty());
}

#[test]
fn queues_wrap_many_times() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 3);
    for _ in 0..100 {
        assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    }
    assert!(host.surprises().is_empty());
}

#[test]
fn a_batch_is_rung_once_and_fits_one_less_than_the_queue() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 4);
    for _ in 0..3 {
        host.submit_quietly(1, flush()).unwrap();
    }
    assert_eq!(host.submit_quietly(1, flush()), Err(HostError::QueueFull(1)));
    assert_eq!(host.port().rung, []);
    host.ring(1).unwrap();
    host.ring(1).unwrap();
    assert_eq!(host.port().rung, [(Doorbell::SubmissionTail(1), 3)]);
}

#[test]
fn waiting_for_one_command_keeps_the_completions_of_others() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    host.port_mut().backwards = true;
    let cids: Vec<u16> = (0..3).map(|_| host.submit_quietly(1, flush()).unwrap()).collect();
    host.ring(1).unwrap();
    assert_eq!(host.wait(1, cids[1]).unwrap().cid.get(), cids[1]);
    assert_eq!(host.reap(1).unwrap().cid.get(), cids[2]);
    assert_eq!(host.poll(1, cids[0]).unwrap().cid.get(), cids[0]);
    assert_eq!(host.reap(1), None);
}

#[test]
fn a_head_is_told_when_asked() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    host.submit(1, flush()).unwrap();
    host.port_mut().relax();
    assert!(host.reap_quietly(1).is_some());
    assert_eq!(host.port().rung, [(Doorbell::SubmissionTail(1), 1)]);
    host.ring_completion(1).unwrap();
    assert_eq!(host.port().rung.last(), Some(&(Doorbell::CompletionHead(1), 1)));
}

#[test]
fn a_wait_ends_at_its_bound_or_when_the_port_gives_up() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    let cid = host.async_event_request().unwrap();
    let timed_out = HostError::TimedOut { what: Awaited::Completion { sqid: 0, cid }, status: ControllerStatus::READY };
    assert_eq!(host.wait(0, cid), Err(timed_out));
    host.port_mut().patience = 0;
    assert_eq!(host.wait(0, cid), Err(timed_out));
    host.port_mut().complete(0, cid, Status::SUCCESS);
    assert!(host.poll(0, cid).is_some());
}

#[test]
fn a_completion_of_nothing_is_a_surprise() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    host.port_mut().complete(1, 77, Status::SUCCESS);
    assert_eq!(host.reap(1).unwrap().cid.get(), 77);
    assert_eq!(host.surprises().len(), 1);
}

#[test]
fn a_refused_admin_command_is_an_error_and_takes_no_memory() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    let free = host.memory().free_bytes();
    assert_eq!(host.set_feature(FeatureId::ARBITRATION, 0), Err(HostError::Refused(Status::INVALID_OPCODE)));
    assert_eq!(host.memory().free_bytes(), free);
}

#[test]
fn several_submission_queues_share_a_completion_queue() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    host.create_submission_queue(2, 8, 1, 2).unwrap();
    let (first, second) = (host.submit(1, flush()).unwrap(), host.submit(2, flush()).unwrap());
    assert_eq!(host.wait(2, second).unwrap().sqid.get(), 2);
    assert_eq!(host.wait(1, first).unwrap().sqid.get(), 1);
    host.delete_submission_queue(2).unwrap();
    host.delete_queue_pair(1).unwrap();
    assert_eq!(host.submit(1, flush()), Err(HostError::NoSuchQueue(1)));
    assert!(host.surprises().is_empty());
}

#[test]
fn a_shadow_doorbell_rings_only_past_the_event_index() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    host.flush(1).unwrap();
    host.use_shadow_doorbells().unwrap();
    let (doorbells, events) = host.port().shadow.unwrap();
    // Doorbells lie 16 bytes apart here: submission queue 1 at 32, completion queue 1 at 48.
    assert_eq!(host.read_memory(doorbells + 32, 1), [1], "positions from before are kept");
    assert_eq!(host.read_memory(doorbells + 48, 1), [1]);
    host.port_mut().rung.clear();
    host.flush(1).unwrap();
    assert_eq!(host.port().rung, [], "the event index 0 was passed long ago");
    host.write_memory(events + 32, &2u32.to_le_bytes());
    host.flush(1).unwrap();
    assert_eq!(host.port().rung, [(Doorbell::SubmissionTail(1), 3)]);
    assert_eq!(host.read_memory(doorbells + 48, 4), [3, 0, 0, 0]);
}

#[test]
fn a_reset_forgets_queues_and_memory() {
    let mut fake = Fake::new();
    let mut host = Host::enable(&mut fake, setup()).unwrap();
    let free = host.memory().free_bytes();
    host.create_queue_pair(1, 8, None).unwrap();
    host.allocate(100_000).unwrap();
    host.start().unwrap();
    assert_eq!(host.memory().free_bytes(), free);
    assert!(host.submission_queue(1).is_none());
    host.create_queue_pair(1, 8, None).unwrap();
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
}

#[test]
fn shutdown_waits_for_its_end_and_start_comes_back() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    assert_eq!(host.shutdown(Shutdown::Normal), Ok(()));
    assert!(host.status().contains(ControllerStatus::SHUTDOWN_COMPLETE));
    assert_eq!(host.start(), Ok(()));
    assert_eq!(host.status(), ControllerStatus::READY);
}

#[test]
fn a_mapping_of_many_pages_lies_in_guest_memory_as_the_command_says() {
    let mut fake = Fake::new();
    let mut host = with_queue(&mut fake, 8);
    let buffer = host.allocate(5 * 4096).unwrap();
    let mapping = host.map_with_list_at(buffer + 4, 4 * 4096, 4080).unwrap();
    let command = mapping.on(flush());
    assert_eq!(command.prp1.get(), buffer + 4);
    let first = host.read_memory(command.prp2.get(), 16);
    assert_eq!(command.prp2.get() % 4096, 4080);
    assert_eq!(first[..8], (buffer + 4096).to_le_bytes());
    let second = host.read_memory(u64::from_le_bytes(first[8..].try_into().unwrap()), 24);
    let expected: Vec<u8> = [2, 3, 4].iter().flat_map(|page| (buffer + page * 4096).to_le_bytes()).collect();
    assert_eq!(second, expected);
    host.unmap(mapping);
    host.release(buffer);
}
