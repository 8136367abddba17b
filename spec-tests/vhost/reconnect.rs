//! The device dies and comes back: what the driver still waits for is done, once more where nobody can know better, and nothing that
//! the driver was told of is.

use controller::Nanoseconds;
use spec_tests::random::{Random, cases, seed};
use spec_tests::rig::Build;
use spec_tests::slow_media::Asked;

use crate::device::{Device, World};
use crate::driver::{Driver, Wishes};

const IN: u32 = 0;
const OUT: u32 = 1;
const OK: u8 = 0;

#[test]
fn what_was_in_flight_is_repeated_and_what_was_answered_is_not() {
    let device = Device::start(Build::default());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    // Two requests that end at once, then three that do not.
    for head in [0, 3] {
        driver.begin(0, head, OUT, u64::from(head), &[1; 512], 0);
    }
    driver.guest.kick(0);
    for _ in 0..2 {
        driver.guest.wait_used(0).expect("an answer");
    }
    device.ask(|world| world.behaviour.borrow_mut().latency = Some(Nanoseconds(u64::MAX / 4)));
    for head in [6, 9, 12] {
        driver.begin(0, head, OUT, u64::from(head), &[2; 512], 0);
    }
    driver.guest.kick(0);
    while device.ask(|world| world.behaviour.borrow().asked.len()) < 5 {}
    let guest = driver.hang_up();
    device.ask(|world| {
        world.die_and_start_again();
        let mut behaviour = world.behaviour.borrow_mut();
        behaviour.asked.clear();
        behaviour.latency = None;
    });
    let mut driver = Driver::resume(&device.path(), guest);
    let mut heads: Vec<u16> = (0..3).map(|_| driver.guest.wait_used(0).expect("an answer").0).collect();
    heads.sort_unstable();
    assert_eq!(heads, [6, 9, 12]);
    assert_eq!(driver.guest.take_used(0), None);
    let asked = device.ask(|world| world.behaviour.borrow().asked.clone());
    assert_eq!(asked, [Asked::Write(false); 3], "three and no more");
    for head in [6, 9, 12] {
        assert_eq!(driver.outcome(head, 0).0, OK);
    }
    // And the ring goes on.
    assert_eq!(driver.request(IN, 12, &[], 512), (OK, vec![2; 512], 513));
}

#[test]
fn a_ring_that_is_stopped_is_empty_and_tells_where_it_stands() {
    let device = Device::start(Build::default());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    device.ask(|world| world.behaviour.borrow_mut().latency = Some(Nanoseconds(3_000_000)));
    for head in [0, 3, 6] {
        driver.begin(0, head, OUT, 0, &[1; 512], 0);
    }
    driver.guest.kick(0);
    while device.ask(|world| world.behaviour.borrow().asked.len()) < 3 {}
    // The answer waits for the requests.
    let base = rust_vmm_vhost::VhostBackend::get_vring_base(&driver.frontend, 0).expect("a base");
    assert_eq!(base, 3);
    let answered = std::iter::from_fn(|| driver.guest.take_used(0)).count();
    assert_eq!(answered, 3);
    driver.start_ring(0);
    assert_eq!(driver.request(IN, 0, &[], 512).0, OK);
}

/// One life of a driver with random requests, during which the device dies again and again.
fn life(device: &Device, random: &mut Random) {
    const SECTORS: u64 = 64;
    let mut content = vec![0_u8; usize::try_from(SECTORS).expect("small")];
    let mut driver = Driver::connect(&device.path(), Wishes { size: 32, ..Wishes::default() });
    for sector in 0..SECTORS {
        assert_eq!(driver.request(OUT, sector, &[0; 512], 0).0, OK);
    }
    let heads: Vec<u16> = (0..10).map(|index| index * 3).collect();
    let mut under_way: Vec<(u16, u64, u8)> = Vec::new();
    for round in 0..60_u8 {
        let free: Vec<u16> =
            heads.iter().copied().filter(|head| under_way.iter().all(|(taken, ..)| taken != head)).collect();
        for head in free {
            // Each sector is written by one request at a time, so that there is one right content.
            let sector = random.below(SECTORS);
            if under_way.iter().any(|(_, taken, _)| *taken == sector) || random.below(3) == 0 {
                continue;
            }
            driver.begin(0, head, OUT, sector, &[round; 512], 0);
            under_way.push((head, sector, round));
        }
        driver.guest.kick(0);
        let slow = (random.below(2) == 0).then(|| Nanoseconds(1 + random.below(400_000)));
        device.ask(move |world| world.behaviour.borrow_mut().latency = slow);
        if random.below(2) == 0 {
            let guest = driver.hang_up();
            device.ask(World::die_and_start_again);
            driver = Driver::resume(&device.path(), guest);
        }
        for _ in 0..random.below(under_way.len() as u64 + 1) {
            let (head, _) = driver.guest.wait_used(0).expect("an answer");
            let index = under_way.iter().position(|(taken, ..)| *taken == head).expect("a head that is under way");
            let (_, sector, written) = under_way.swap_remove(index);
            assert_eq!(driver.outcome(head, 0).0, OK);
            content[usize::try_from(sector).expect("small")] = written;
        }
    }
    while !under_way.is_empty() {
        let (head, _) = driver.guest.wait_used(0).expect("an answer");
        let index = under_way.iter().position(|(taken, ..)| *taken == head).expect("a head that is under way");
        let (_, sector, written) = under_way.swap_remove(index);
        content[usize::try_from(sector).expect("small")] = written;
    }
    assert_eq!(driver.guest.take_used(0), None, "nothing is answered twice");
    for (sector, byte) in (0..).zip(&content) {
        assert_eq!(driver.request(IN, sector, &[], 512).1, [*byte; 512], "sector {sector}");
    }
}

#[test]
fn a_device_that_dies_all_the_time_answers_every_request_once() {
    let mut random = Random::new(seed(1));
    let device = Device::start(Build::default());
    for _ in 0..cases(3) {
        life(&device, &mut random);
    }
}

#[test]
fn a_power_cut_stops_the_rings_and_its_end_brings_them_back() {
    let device = Device::start(Build::default());
    let mut driver = Driver::connect(&device.path(), Wishes::default());
    assert_eq!(driver.request(OUT, 0, &[1; 512], 0).0, OK);
    device.ask(|world| world.with_subsystem(|subsystem| drop(subsystem.power_cut(&Default::default()))));
    driver.begin(0, 0, IN, 0, &[], 512);
    driver.guest.kick(0);
    for _ in 0..20 {
        device.ask(|_| ());
    }
    assert_eq!(driver.guest.take_used(0), None, "a dead disk answers nothing");
    assert_eq!(driver.config()[20..24], 512_u32.to_le_bytes(), "the client is answered all the same");
    device.ask(|world| world.with_subsystem(|subsystem| subsystem.power_restore(None).map(|_| ()).expect("power")));
    assert_eq!(driver.guest.wait_used(0).expect("an answer").0, 0);
    assert_eq!(driver.outcome(0, 512).0, OK);
}
