//! Bytes of chance in place of what drivers and clients write.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::test_runner::{Config, TestRunner};
use vhost::inflight::{Extent, Inflight};
use vhost::testing::fuzz_entry;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// The table has this many entries, and the header lies behind it.
const ENTRIES: u16 = 32;
const HEADER: u64 = 512;
/// Data lies from here on, as far as there is memory.
const DATA: u64 = 1024;
const MEMORY: u64 = 16384;

fn descriptor((address, length, flags, next): (u64, u32, u16, u16)) -> Vec<u8> {
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}

/// Data of a request: addresses and lengths, and whether the device writes them.
fn data() -> impl Strategy<Value = (Vec<(u64, u32)>, bool)> {
    let length =
        prop_oneof![4 => (1..5_u32).prop_map(|blocks| blocks * 512), 1 => Just(16), 1 => Just(20), 1 => 0..600_u32];
    (vec((DATA..MEMORY - 4096, length), 0..6), any::<bool>())
}

/// A request of some kind with one descriptor changed, or none; in the table, or in one of its own.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0_u32), Just(1), Just(4), Just(8), Just(11), Just(13), 0..20_u32];
    let wrong = (0..8_usize, any::<u64>(), any::<u32>(), any::<u16>(), any::<u16>());
    let wrong = (wrong, any::<bool>()).prop_map(|(wrong, tame)| match tame {
        true => (wrong.0, wrong.1 % MEMORY, wrong.2 % 4096, wrong.3 % 8, wrong.4 % ENTRIES),
        false => wrong,
    });
    let parts = (kind, 0..64_u64, data(), option::weighted(0.3, wrong), vec(any::<u8>(), 64), any::<bool>());
    parts.prop_map(|(kind, sector, (data, into), wrong, noise, indirect)| {
        let last = u16::try_from(data.len()).expect("few") + 1;
        let flags = if into { NEXT | WRITE } else { NEXT };
        let mut chain = vec![(HEADER, 16, NEXT, 1)];
        chain.extend((2..).zip(&data).map(|(next, &(address, length))| (address, length, flags, next)));
        chain.push((HEADER + 16, 1, WRITE, 0));
        if let Some((index, address, length, flags, next)) = wrong {
            let at = index % chain.len();
            chain[at] = (address, length, flags, next);
        }
        let entries: Vec<u8> = chain.into_iter().flat_map(descriptor).collect();
        let mut memory = vec![0; usize::try_from(MEMORY).expect("small")];
        let place = if indirect { 8192 } else { 0 };
        memory[place..place + entries.len()].copy_from_slice(&entries);
        if indirect {
            memory[..16].copy_from_slice(&descriptor((8192, 16 * (u32::from(last) + 1), INDIRECT, 0)));
        }
        memory[512..516].copy_from_slice(&kind.to_le_bytes());
        memory[520..528].copy_from_slice(&sector.to_le_bytes());
        // What a Discard reads, where its data happens to begin early.
        memory[1024..1088].copy_from_slice(&noise);
        // 32 entries, head 0, indirect tables, blocks of 512 bytes, 2^16 of them, a small MDTS.
        [vec![5, 0, 0, 1, 0, 16, 0, 0], memory].concat()
    })
}

#[test]
fn whatever_a_driver_writes_becomes_sound_commands_or_none() {
    let mut runner = TestRunner::new(Config { cases: 10_000, ..Config::with_source_file(file!()) });
    let requests = std::cell::Cell::new(0);
    let ran = runner.run(&request(), |input| {
        requests.set(requests.get() + u32::from(fuzz_entry(&input)));
        Ok(())
    });
    assert_eq!(ran, Ok(()));
    assert!(requests.get() > 300, "{} requests are too few to show anything", requests.get());
}

#[test]
fn bytes_without_any_shape_are_no_danger_either() {
    let mut runner = TestRunner::new(Config { cases: 5_000, ..Config::with_source_file(file!()) });
    let ran = runner.run(&vec(any::<u8>(), 0..2048), |input| {
        fuzz_entry(&input);
        Ok(())
    });
    assert_eq!(ran, Ok(()));
}

/// In-flight memory that a client made up: an error, or heads of the ring, each once.
#[test]
fn in_flight_memory_may_hold_anything() {
    const SIZE: u16 = 32;
    let mut runner = TestRunner::new(Config { cases: 2_000, ..Config::with_source_file(file!()) });
    let input = (vec(any::<u8>(), 528), any::<bool>(), any::<u16>(), 0..48_u16);
    let ran = runner.run(&input, |(mut bytes, plausible, used, behind)| {
        if plausible {
            // Version 1, of that size, whose last batch is short.
            bytes[8..10].copy_from_slice(&1_u16.to_le_bytes());
            bytes[10..12].copy_from_slice(&SIZE.to_le_bytes());
            bytes[14..16].copy_from_slice(&used.wrapping_sub(behind).to_le_bytes());
        }
        let (extent, file) = Inflight::make(1, SIZE).expect("memory");
        std::fs::File::from(file.as_fd().try_clone_to_owned().expect("a copy"))
            .write_all_at(&bytes, 0)
            .expect("written");
        let mut memory = Inflight::open(extent, file).expect("it is ours");
        if let Ok(heads) = memory.recover(0, SIZE, used) {
            let mut sorted = heads.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert!(sorted.len() == heads.len() && heads.iter().all(|head| *head < SIZE));
        }
        Ok(())
    });
    assert_eq!(ran, Ok(()));
}

#[test]
fn in_flight_memory_that_does_not_fit_is_refused() {
    let (extent, file) = Inflight::make(2, 128).expect("memory");
    for wrong in [
        Extent { queues: 0, ..extent },
        Extent { queue_size: 0, ..extent },
        Extent { queue_size: 2048, ..extent },
        Extent { queues: u16::MAX, ..extent },
        Extent { bytes: 64, ..extent },
        Extent { bytes: u64::MAX, ..extent },
        Extent { offset: u64::MAX - 4095, ..extent },
        Extent { offset: 7, ..extent },
        Extent { offset: extent.bytes, ..extent },
    ] {
        let file = file.try_clone().expect("a copy");
        assert!(Inflight::open(wrong, file).is_err(), "{wrong:?}");
    }
    assert!(Inflight::open(extent, file).is_ok());
}
