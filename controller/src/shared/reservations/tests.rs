//! The value by itself. The rules, over the wire and against a model, are in `spec-tests/conformance/reservations`.

use media::power::Random;

use super::super::host::HostIdentifier;
use super::super::kept::{KEPT_BYTES_MAX, KeptError};
use super::*;
use crate::controllers::ControllerId;

fn named(number: u8) -> Host {
    Host::Named(HostIdentifier::Short([number, 0, 0, 0, 0, 0, 0, 1]))
}

fn registered(hosts: impl Iterator<Item = Host>) -> Registrations {
    let mut all = Registrations::default();
    for (host, key) in hosts.zip(1..) {
        all.register(host, RegisterAction::Register, false, [0, key]).expect("new");
    }
    all
}

/// Random registrations, of hosts with names of one length, and of none where asked for.
fn random(random: &mut Random, unnamed: bool) -> Registrations {
    let count = random.below(REGISTRANTS_MAX as u64 + 1);
    let extended = random.coin();
    let host = |number: u64| {
        let mut wide = [0; 16];
        wide[..8].copy_from_slice(&(number + 1).to_le_bytes());
        match (unnamed && number.is_multiple_of(3), extended) {
            (true, _) => Host::Unnamed(ControllerId(u16::try_from(number).expect("few"))),
            (false, true) => Host::Named(HostIdentifier::Long(wide)),
            (false, false) => Host::Named(HostIdentifier::of(&wide[..8]).expect("not zero")),
        }
    };
    let registrants = (0..count).map(|number| Registrant { host: host(number), key: random.below(u64::MAX) });
    let registrants: Vec<Registrant> = registrants.collect();
    let kind = ReservationKind::of(u8::try_from(random.below(7)).expect("small"));
    let held = kind.filter(|_| count > 0).map(|kind| {
        let by = usize::try_from(random.below(count)).expect("few");
        Held::new(kind, registrants[by].host)
    });
    let generation = u32::try_from(random.below(1 << 32)).expect("32 bits");
    Registrations { registrants, held, generation, persists: random.coin() }
}

#[test]
fn registrations_come_back_from_their_bytes() {
    let seed = 0x5e5;
    println!("seed {seed:#x}");
    let mut chance = Random::new(seed);
    for _ in 0..500 {
        let made = random(&mut chance, false);
        let bytes = made.to_bytes();
        assert!(bytes.len() <= KEPT_BYTES_MAX);
        assert_eq!(Registrations::from_bytes(&bytes), Ok(made));
    }
}

#[test]
fn hosts_without_a_name_are_not_kept_nor_what_they_hold() {
    let mut chance = Random::new(0x0);
    for _ in 0..500 {
        let made = random(&mut chance, true);
        let kept = Registrations::from_bytes(&made.to_bytes()).expect("bytes");
        let named: Vec<_> = made.registrants.iter().filter(|one| one.host.identifier().is_some()).copied().collect();
        let held = made.held.filter(|held| held.by.map_or(!named.is_empty(), |by| by.identifier().is_some()));
        assert_eq!((kept.registrants, kept.held, kept.generation), (named, held, made.generation));
    }
}

#[test]
fn bytes_that_nobody_wrote_are_refused() {
    let mut all = registered((0..3).map(named));
    all.acquire(named(1), 2, ReservationKind::WriteExclusive).expect("free");
    let bytes = all.to_bytes();
    assert_eq!(Registrations::from_bytes(&bytes[..9]), Err(KeptError::Length(9)));
    assert_eq!(Registrations::from_bytes(&bytes[..bytes.len() - 1]), Err(KeptError::Length(bytes.len() - 1)));
    let refused = |place: usize, value: u8| {
        let mut other = bytes.clone();
        other[place] = value;
        Registrations::from_bytes(&other).expect_err("no such registrations")
    };
    assert_eq!(refused(0, 2), KeptError::Version(2));
    // The type, the holder, persistence, how many, the length of an identifier.
    for (place, value) in [(2, 7), (2, 5), (2, 0), (3, 4), (3, 0), (8, 2), (10, 2)] {
        assert_eq!(refused(place, value), KeptError::Field, "byte {place}");
    }
    assert!(matches!(refused(9, 2), KeptError::Length(_)));
    let changed = |to: [u8; 2], registrants: u8| {
        let mut other = bytes[..10].to_vec();
        (other[2], other[3], other[9]) = (to[0], to[1], registrants);
        for number in 0..registrants {
            other.extend([&[0, number, 1][..], &[0; 22]].concat());
        }
        Registrations::from_bytes(&other).map(|all| all.registrants.len())
    };
    assert_eq!((changed([0, 0], 0), changed([5, 0], 1), changed([0, 0], 128)), (Ok(0), Ok(1), Ok(128)));
    assert_eq!((changed([7, 0], 1), changed([5, 0], 0)), (Err(KeptError::Field), Err(KeptError::Field)));
    assert_eq!(changed([0, 0], 129), Err(KeptError::Length(10 + 129 * 25)), "more than there can be");
    // Bytes of an identifier of 64 bits that would be of 128, the same host twice, and one without a name.
    assert_eq!(refused(19, 1), KeptError::Field);
    assert_eq!(refused(35 + 1, 0), KeptError::Field);
    let mut zero = bytes.clone();
    zero[11..19].fill(0);
    assert_eq!(Registrations::from_bytes(&zero), Err(KeptError::Field));
}

/// RES18: a host that is here finds room whatever others left behind; who holds the reservation stays.
#[test]
fn who_is_gone_and_holds_nothing_makes_room() {
    let absent = |number: u64| Host::Named(HostIdentifier::Long((u128::from(number) + 1).to_le_bytes()));
    let mut all = registered((0..REGISTRANTS_MAX as u64).map(absent));
    let mut free = all.clone();
    free.shed(|_| false);
    assert_eq!(free, all, "there is room for as many");
    let here = absent(REGISTRANTS_MAX as u64);
    free.register(here, RegisterAction::Register, false, [0, 7]).expect("always");
    free.shed(|host| host == here || host == absent(0));
    let is_there = |number: u64| free.key_of(absent(number)).is_some();
    assert_eq!([0, 1, 2].map(is_there), [true, false, true], "the first that no controller serves");
    all.acquire(absent(0), 1, ReservationKind::ExclusiveAccess).expect("free");
    for number in 0..300_u64 {
        let here = absent(1000 + number);
        all.register(here, RegisterAction::Register, false, [0, 7]).expect("always");
        all.shed(|host| host == here);
        assert_eq!(all.registrants.len(), REGISTRANTS_MAX);
        assert!(all.key_of(here).is_some() && all.key_of(absent(0)).is_some() && all.holds(absent(0)));
    }
}

/// RES10: 32 bits, which wrap.
#[test]
fn the_generation_wraps() {
    let mut all = Registrations { generation: u32::MAX, ..Registrations::default() };
    all.register(named(1), RegisterAction::Register, false, [0, 1]).expect("new");
    assert_eq!(all.generation, 0);
}
