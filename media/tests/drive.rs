//! The drive through its seam: what each promise of `volume.rs` and of the configuration means, one sentence a test.

use media::config::{Tuning, VictimPolicy};
use media::ftl::write::unit_amplification;
use media::geometry::GeometryConfig;
use media::nand::timing::NandTimes;
use media::power::{Arming, CutPolicy, Mark, Random, Step, VolatileEntry};
use media::ssd::{CacheConfig, Ssd, SsdConfig, SsdStatus, VolumeConfig};
use media::store::{ImageStore, MemoryStore, Store, TwinDisk};
use media::testing::Fill;
use media::volume::{Fault, Media, MediaError, Outcome, Request, Sink, Submitted, Token, VolumeId};
use media::{Lba, LbaRange, Nanoseconds, WarningKind};

/// Notes the pieces in which data came, and that all of it is one byte.
#[derive(Default)]
struct Pieces(Vec<(usize, usize, u8)>);

impl Sink for Pieces {
    fn take(&mut self, offset: usize, from: &[u8]) -> Result<(), Fault> {
        assert!(from.iter().all(|byte| *byte == from[0]), "mixed data at {offset}");
        self.0.push((offset, from.len(), from[0]));
        Ok(())
    }
}

fn config(unit_bytes: u32, block_bytes: u32) -> SsdConfig {
    let user_bytes = 64 * u64::from(unit_bytes.max(4096)) * 16;
    SsdConfig {
        geometry: GeometryConfig {
            channels: 2,
            dies_per_channel: 1,
            planes_per_die: 1,
            pages_per_block: 32,
            page_bytes: unit_bytes.max(4096),
            unit_bytes,
            user_bytes,
            spare_per_million_of_user: 250_000,
            replacement_blocks_per_plane: 2,
            factory_bad_blocks: 0,
            metadata_bytes_per_unit: 0,
            volumes_max: 0,
        },
        volumes: vec![VolumeConfig::new(block_bytes, 0, user_bytes / u64::from(block_bytes))],
        cache: CacheConfig { bytes: 16 * u64::from(unit_bytes), open_units: 0, ..CacheConfig::default() },
        power_atomic_bytes: unit_bytes,
        ..SsdConfig::default()
    }
}

fn drive(config: &SsdConfig) -> Ssd<MemoryStore> {
    let geometry = config.checked().unwrap();
    Ssd::create(config.clone(), MemoryStore::new(&geometry).unwrap()).unwrap()
}

fn submit<S: Store>(ssd: &mut Ssd<S>, request: Request<'_>) -> Outcome {
    match ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request) {
        Submitted::Done(outcome) => outcome,
        Submitted::Pending => panic!("nothing waits here"),
    }
}

fn write<S: Store>(ssd: &mut Ssd<S>, lba: u64, blocks: u64, byte: u8, force: bool) -> Outcome {
    submit(ssd, Request::Write { range: LbaRange::new(Lba(lba), blocks), from: &mut Fill(byte), force })
}

fn read<S: Store>(ssd: &mut Ssd<S>, lba: u64, blocks: u64) -> Pieces {
    let mut pieces = Pieces::default();
    let range = LbaRange::new(Lba(lba), blocks);
    assert_eq!(submit(ssd, Request::Read { range, into: &mut pieces, force: false }), Ok(()));
    pieces
}

#[test]
fn write_amplification_of_the_unit_is_exact_for_every_offset_and_length() {
    for unit_kib in [4u32, 8, 16, 32, 64] {
        let unit = unit_kib * 1024;
        let mut ssd = drive(&config(unit, 4096));
        let blocks = ssd.shape(VolumeId(0)).unwrap().capacity_blocks;
        assert_eq!(write(&mut ssd, 0, blocks, 1, true), Ok(()));
        for offset in 0..u64::from(unit_kib / 4) {
            for length in 1..=u64::from(unit_kib / 4) * 2 + 1 {
                let before = ssd.status().ledger;
                assert_eq!(write(&mut ssd, offset, length, 2, true), Ok(()));
                let done = ssd.status().ledger.since(&before);
                let bytes = length * 4096;
                assert_eq!(done.host, bytes, "unit {unit} offset {offset} length {length}");
                let measured = (done.host + done.fill) as f64 / bytes as f64;
                let expected = unit_amplification(offset * 4096, bytes, u64::from(unit));
                assert!((measured - expected).abs() < 1e-12, "unit {unit}: {measured} is not {expected}");
            }
        }
    }
}

#[test]
fn twenty_kib_at_twelve_kib_on_a_unit_of_sixteen_cost_one_point_six() {
    let mut ssd = drive(&config(16 << 10, 4096));
    assert_eq!(write(&mut ssd, 3, 5, 7, true), Ok(()));
    let ledger = ssd.status().ledger;
    assert_eq!((ledger.host, ledger.fill), (20 << 10, 12 << 10));
}

/// Bytes programmed per byte written, for writes that go to another allocation unit at every n-th write (0: never).
fn card(open_units: u32, switch_every: u64) -> f64 {
    let unit = 4u32 << 20;
    let mut config = config(4096, 4096);
    config.geometry.unit_bytes = unit;
    config.geometry.page_bytes = 64 << 10;
    config.geometry.pages_per_block = 64;
    config.geometry.user_bytes = 32 * u64::from(unit);
    config.volumes[0] = VolumeConfig::new(4096, 0, config.geometry.user_bytes / 4096);
    config.cache = CacheConfig { bytes: 0, open_units, ..CacheConfig::default() };
    config.power_atomic_bytes = 4096;
    let mut ssd = drive(&config);
    let per_unit = u64::from(unit) / 4096;
    let mut next = [0, 8 * per_unit];
    let mut at = 0;
    for n in 1..=400 {
        assert_eq!(write(&mut ssd, next[at], 1, 3, false), Ok(()));
        next[at] += 1;
        if switch_every != 0 && n % switch_every == 0 {
            at = 1 - at;
        }
    }
    assert_eq!(submit(&mut ssd, Request::Flush), Ok(()));
    let ledger = ssd.status().ledger;
    (ledger.host + ledger.fill) as f64 / (400.0 * 4096.0)
}

#[test]
fn a_card_with_one_open_unit_pays_for_each_switch_and_two_open_units_absorb_one() {
    let (streaming, fifth, every) = (card(1, 0), card(1, 5), card(1, 1));
    assert!(streaming < 3.0, "streaming programs a unit or two: {streaming}");
    assert!((200.0..210.0).contains(&fifth), "every fifth write a unit: {fifth}");
    assert!((1020.0..1030.0).contains(&every), "every write a unit: {every}");
    assert!(card(2, 1) < 6.0, "two open units absorb a switch at every write");
}

#[test]
fn a_stream_that_goes_on_to_its_next_unit_does_not_close_the_unit_of_another() {
    let mut config = config(16 << 10, 4096);
    config.cache = CacheConfig { bytes: 32 << 10, open_units: 2, ..CacheConfig::default() };
    let mut ssd = drive(&config);
    // Three blocks of the unit at 0, one of that at 40; the first is filled, the next begun, and the other one goes on.
    for lba in [0, 1, 2, 40, 3, 4, 41, 42, 43, 5, 6, 7] {
        assert_eq!(write(&mut ssd, lba, 1, 3, false), Ok(()));
    }
    assert_eq!(submit(&mut ssd, Request::Flush), Ok(()));
    let ledger = ssd.status().ledger;
    assert_eq!((ledger.host, ledger.fill), (3 * (16 << 10), 0), "each unit is programmed once, whole");
}

#[test]
fn neighbouring_units_are_handed_over_in_one_piece() {
    let mut ssd = drive(&config(4096, 512));
    assert_eq!(write(&mut ssd, 0, 64, 9, false), Ok(()));
    assert_eq!(read(&mut ssd, 3, 50).0, [(0, 50 * 512, 9)]);
    assert_eq!(read(&mut ssd, 60, 20).0, [(0, 4 * 512, 9), (4 * 512, 16 * 512, 0)]);
}

/// The fast path has one of its own for a whole unit.
#[test]
fn an_ordinary_write_puts_its_blocks_where_they_belong_whatever_part_of_units_they_are() {
    let mut config = config(16 << 10, 4096);
    config.power_atomic_bytes = 64 << 10;
    let mut ssd = drive(&config);
    let mut expected = [0; 16];
    let mut byte = 0;
    let mut host = 0;
    for (offset, length) in (0..8).flat_map(|offset| (1..=8).map(move |length| (offset, length))) {
        byte += 1;
        host += length as u64 * 4096;
        let range = LbaRange::new(Lba(offset as u64), length as u64);
        let fast_path = ssd.fast_path(Nanoseconds(0)).expect("nothing is armed");
        assert_eq!(fast_path.write(Mark::new(0, 1, 2, 3), VolumeId(0), range, &mut Fill(byte)), Some(Ok(())));
        expected[offset..offset + length].fill(byte);
        let found: Vec<u8> = (0..16).map(|lba| read(&mut ssd, lba, 1).0[0].2).collect();
        assert_eq!(found, expected, "{length} blocks at {offset}");
    }
    assert_eq!(submit(&mut ssd, Request::Flush), Ok(()));
    assert_eq!(ssd.status().ledger.host, host);
}

#[test]
fn requests_outside_of_everything_are_outcomes() {
    let mut ssd = drive(&config(4096, 512));
    let capacity = ssd.shape(VolumeId(0)).unwrap().capacity_blocks;
    for (start, blocks) in [(capacity, 1), (u64::MAX, 2), (0, capacity + 1), (1 << 60, 1 << 60)] {
        assert_eq!(write(&mut ssd, start, blocks, 1, false), Err(MediaError::OutOfRange));
        let range = LbaRange::new(Lba(start), blocks);
        assert_eq!(submit(&mut ssd, Request::Deallocate { ranges: &[range] }), Err(MediaError::OutOfRange));
    }
    assert_eq!(write(&mut ssd, capacity, 0, 1, true), Ok(()), "nothing is nowhere outside");
    let there_is_none = ssd.submit(Nanoseconds(0), Token(1), VolumeId(9), Request::Flush);
    assert_eq!(there_is_none, Submitted::Done(Err(MediaError::NoSuchVolume)));
    assert_eq!((ssd.shape(VolumeId(9)), ssd.allocated_blocks(VolumeId(9))), (None, 0));
}

#[test]
fn allocated_blocks_rise_and_fall_in_whole_units_and_survive_a_shutdown() {
    let config = config(4096, 512);
    let mut ssd = drive(&config);
    assert_eq!(write(&mut ssd, 4, 8, 1, false), Ok(()));
    assert_eq!(ssd.allocated_blocks(VolumeId(0)), 16);
    let range = LbaRange::new(Lba(0), 12);
    assert_eq!(submit(&mut ssd, Request::Deallocate { ranges: &[range] }), Ok(()));
    assert_eq!(ssd.allocated_blocks(VolumeId(0)), 8, "one unit left the map, the other was zeroed in part");
    assert_eq!(read(&mut ssd, 0, 12).0.iter().map(|piece| piece.2).max(), Some(0));
    ssd.shutdown();
    let mut ssd = Ssd::open(config, ssd.into_store()).unwrap();
    assert!(ssd.status().recovery.clean);
    assert_eq!(ssd.allocated_blocks(VolumeId(0)), 8);
    assert_eq!(read(&mut ssd, 12, 4).0, [(0, 2048, 0)]);
}

#[test]
fn without_a_flush_a_cut_takes_the_cache_and_with_capacitors_it_does_not() {
    let mut lossy = config(4096, 4096);
    lossy.cache.bytes = 1 << 20;
    let mut kept = lossy.clone();
    kept.cache.capacitors = true;
    for (config, expected) in [(lossy, 1), (kept, 2)] {
        let mut ssd = drive(&config);
        assert_eq!(write(&mut ssd, 0, 1, 1, true), Ok(()));
        assert_eq!(write(&mut ssd, 0, 1, 2, false), Ok(()));
        let report = ssd.cut(&CutPolicy::NoneSurvive.into());
        assert_eq!(report.entries.len(), 1);
        assert_eq!(write(&mut ssd, 0, 1, 3, false), Err(MediaError::PowerLost));
        ssd.restore(None).unwrap();
        assert_eq!(read(&mut ssd, 0, 1).0, [(0, 4096, expected)]);
        assert_eq!(ssd.status().counters.unsafe_shutdowns, 1);
    }
}

#[test]
fn a_cut_with_a_choice_leaves_just_the_chosen_entries() {
    let mut config = config(4096, 4096);
    config.cache.bytes = 1 << 20;
    for image in 0..16u32 {
        let mut ssd = drive(&config);
        for n in 0..4 {
            assert_eq!(write(&mut ssd, n, 1, 1, true), Ok(()));
        }
        for n in 0..4 {
            assert_eq!(write(&mut ssd, n, 1, 2, false), Ok(()));
        }
        let choice: Vec<bool> = (0..4).map(|n| image >> n & 1 == 1).collect();
        ssd.cut(&CutPolicy::Choose(choice).into());
        ssd.restore(None).unwrap();
        for n in 0..4 {
            let expected = if image >> n & 1 == 1 { 2 } else { 1 };
            assert_eq!(read(&mut ssd, n, 1).0[0].2, expected, "image {image:b} block {n}");
        }
    }
}

#[test]
fn two_writes_that_share_a_unit_survive_each_by_itself() {
    let mut config = config(16 << 10, 4096);
    config.cache.bytes = 1 << 20;
    config.power_atomic_bytes = 32 << 10;
    for open_units in [0, 4] {
        config.cache.open_units = open_units;
        for (choice, expected) in [
            ([false, true], [2, 0, 0, 0, 0, 0, 0, 0]),
            ([true, false], [0, 0, 1, 1, 1, 1, 0, 0]),
            ([true, true], [2, 0, 1, 1, 1, 1, 0, 0]),
        ] {
            let mut ssd = drive(&config);
            assert_eq!(write(&mut ssd, 2, 4, 1, false), Ok(()), "touches two units");
            assert_eq!(write(&mut ssd, 0, 1, 2, false), Ok(()), "carries along two blocks of the first");
            let report = ssd.cut(&CutPolicy::Choose(choice.to_vec()).into());
            assert_eq!(report.entries.iter().map(VolatileEntry::survives).collect::<Vec<_>>(), choice);
            ssd.restore(None).unwrap();
            let found: Vec<u8> = (0..8).map(|lba| read(&mut ssd, lba, 1).0[0].2).collect();
            assert_eq!(found, expected, "{choice:?} with {open_units} open units");
        }
    }
}

/// A command may be carried out by several requests: what each of them wrote is whole by itself.
#[test]
fn neighbouring_requests_of_one_command_survive_each_by_itself() {
    let mut config = config(4096, 4096);
    config.cache.bytes = 1 << 20;
    config.power_atomic_bytes = 8 << 10;
    let mut ssd = drive(&config);
    let mark = Mark::new(0, 1, 5, 9);
    ssd.breaker().work_on(mark);
    for lba in [4, 5, 7] {
        assert_eq!(write(&mut ssd, lba, 1, 1, false), Ok(()));
    }
    assert_eq!(write(&mut ssd, 8, 2, 1, false), Ok(()));
    ssd.breaker().work_on(Mark::NONE);
    assert_eq!(write(&mut ssd, 10, 1, 1, false), Ok(()));
    let report = ssd.cut(&CutPolicy::Choose(vec![false, true, false, true, false]).into());
    let entry = |entry: &VolatileEntry| (entry.range.start.0, entry.range.blocks, entry.mark, entry.survives());
    let expected =
        [(4, 1, mark, false), (5, 1, mark, true), (7, 1, mark, false), (8, 2, mark, true), (10, 1, Mark::NONE, false)];
    assert_eq!(report.entries.iter().map(entry).collect::<Vec<_>>(), expected);
    assert!(report.entries.iter().all(|entry| entry.complete && entry.atomic));
    ssd.restore(None).unwrap();
    let found: Vec<u8> = (4..11).map(|lba| read(&mut ssd, lba, 1).0[0].2).collect();
    assert_eq!(found, [0, 1, 0, 0, 1, 1, 0]);
}

#[test]
fn the_same_requests_leave_the_same_drive() {
    let run = || {
        let mut ssd = drive(&config(4096, 512));
        let seed = std::env::var("MEDIA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
        println!("MEDIA_SEED={seed}");
        let mut random = Random::new(seed);
        let capacity = ssd.shape(VolumeId(0)).unwrap().capacity_blocks;
        for n in 0..20_000u64 {
            let lba = random.below(capacity - 8);
            assert_eq!(write(&mut ssd, lba, 1 + random.below(8), n.to_le_bytes()[0], random.below(50) == 0), Ok(()));
        }
        (ssd.status(), ssd.ftl().describe_lines())
    };
    assert_eq!(run(), run());
}

#[test]
fn every_policy_keeps_a_full_drive_going_and_the_ledger_exact() {
    for policy in [VictimPolicy::Greedy, VictimPolicy::CostBenefit, VictimPolicy::Fifo] {
        let mut config = config(4096, 4096);
        config.geometry.spare_per_million_of_user = 600_000;
        config.tuning = Tuning { policy, ..Tuning::default() };
        let mut ssd = drive(&config);
        let mut random = Random::new(1);
        let capacity = ssd.shape(VolumeId(0)).unwrap().capacity_blocks;
        assert_eq!(write(&mut ssd, 0, capacity, 1, false), Ok(()));
        for _ in 0..capacity * 6 {
            assert_eq!(write(&mut ssd, random.below(capacity), 1, 2, false), Ok(()));
            assert!(ssd.status().ledger.balances());
        }
        ssd.ftl().assert_invariants();
        let ledger = ssd.status().ledger;
        assert!(ledger.collected > 0 && ledger.amplification(false) < 5.0, "{policy:?}: {ledger:?}");
    }
}

#[test]
fn failing_blocks_are_replaced_then_lines_retired_and_nothing_is_lost() {
    let mut config = config(4096, 4096);
    config.geometry.spare_per_million_of_user = 800_000;
    let mut ssd = drive(&config);
    let capacity = ssd.shape(VolumeId(0)).unwrap().capacity_blocks;
    let mut random = Random::new(3);
    for round in 0..8u64 {
        assert_eq!(write(&mut ssd, 0, capacity, 1 + round.to_le_bytes()[0], false), Ok(()), "round {round}");
        if round % 2 == 0 {
            ssd.fail_program(1 + random.below(50));
        } else {
            ssd.fail_erase(1, 1);
        }
        for _ in 0..capacity / 2 {
            assert_eq!(write(&mut ssd, random.below(capacity), 1, 1 + round.to_le_bytes()[0], false), Ok(()));
        }
        assert!(read(&mut ssd, 0, capacity).0.iter().all(|piece| piece.2 == 1 + round.to_le_bytes()[0]));
        ssd.ftl().assert_invariants();
    }
    let status = ssd.status();
    assert_eq!(status.bad_blocks, 8, "{status:?}");
    assert!(status.available_spare_percent < 100);
    assert_eq!((status.counters.program_failures, status.counters.erase_failures), (4, 4));
    ssd.cut(&CutPolicy::AllSurvive.into());
    ssd.restore(None).unwrap();
    assert_eq!(ssd.status().bad_blocks, 8);
    assert!(read(&mut ssd, 0, capacity).0.iter().all(|piece| piece.2 == 8));
}

#[test]
fn a_reformatted_volume_is_empty_and_has_its_new_shape_after_a_cut() {
    let mut config = config(4096, 4096);
    config.geometry.metadata_bytes_per_unit = 64;
    let mut ssd = drive(&config);
    assert_eq!(write(&mut ssd, 0, 10, 1, true), Ok(()));
    ssd.reformat(VolumeId(0), 512, 8).unwrap();
    assert!(ssd.reformat(VolumeId(0), 512, 16).is_err(), "there is room for 64 bytes a unit");
    ssd.cut(&CutPolicy::NoneSurvive.into());
    ssd.restore(None).unwrap();
    let shape = ssd.shape(VolumeId(0)).unwrap();
    assert_eq!((shape.block_bytes, shape.metadata_bytes), (512, 8));
    assert_eq!(ssd.allocated_blocks(VolumeId(0)), 0);
}

#[test]
fn with_a_profile_each_outcome_is_delivered_at_its_time_and_not_before() {
    let mut config = config(4096, 4096);
    config.times = Some(NandTimes { read_ns: 1000, program_ns: 10_000, erase_ns: 100_000, channel_bytes_per_us: 4096 });
    config.cache.bytes = 64 << 10;
    let mut ssd = drive(&config);
    let mut data = Fill(1);
    let range = LbaRange::new(Lba(0), 1);
    let forced = Request::Write { range, from: &mut data, force: true };
    assert_eq!(ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), forced), Submitted::Pending);
    // A transfer of a page takes 1000 ns, its program 10 000.
    assert_eq!(ssd.next_event(), Some(Nanoseconds(11_000)));
    let mut ended = Vec::new();
    ssd.poll(Nanoseconds(10_999), &mut |token, outcome| ended.push((token, outcome)));
    assert!(ended.is_empty());
    ssd.poll(Nanoseconds(11_000), &mut |token, outcome| ended.push((token, outcome)));
    assert_eq!(ended, [(Token(1), Ok(()))]);
    let mut sink = Pieces::default();
    let reading = Request::Read { range, into: &mut sink, force: false };
    assert_eq!(ssd.submit(Nanoseconds(20_000), Token(2), VolumeId(0), reading), Submitted::Pending);
    assert_eq!(ssd.next_event(), Some(Nanoseconds(22_000)));
    assert!(ssd.cancel(Token(2)) && !ssd.cancel(Token(2)));
    assert_eq!(ssd.next_event(), None);
}

#[test]
fn what_is_old_enough_in_the_cache_is_programmed_by_a_poll() {
    let mut config = config(4096, 4096);
    config.cache.age_max = Nanoseconds(500);
    let mut ssd = drive(&config);
    assert_eq!(write(&mut ssd, 0, 1, 5, false), Ok(()));
    assert_eq!(ssd.next_event(), Some(Nanoseconds(500)));
    ssd.poll(Nanoseconds(499), &mut |_, _| {});
    assert_eq!(ssd.status().staged_units, 1);
    ssd.poll(Nanoseconds(500), &mut |_, _| {});
    assert_eq!((ssd.status().staged_units, ssd.next_event()), (0, None));
    ssd.cut(&CutPolicy::NoneSurvive.into());
    ssd.restore(None).unwrap();
    assert_eq!(read(&mut ssd, 0, 1).0[0].2, 5);
}

#[test]
fn what_may_wait_for_ever_in_the_cache_is_lost_with_power_whenever_that_goes() {
    let mut config = config(4096, 4096);
    config.cache.age_max = Nanoseconds(u64::MAX);
    let mut ssd = drive(&config);
    assert_eq!(write(&mut ssd, 0, 1, 5, true), Ok(()));
    assert_eq!(write(&mut ssd, 0, 1, 6, false), Ok(()));
    assert_eq!(ssd.next_event(), None, "nothing is due");
    ssd.poll(Nanoseconds(1 << 50), &mut |_, _| {});
    assert_eq!(ssd.status().staged_units, 1);
    ssd.cut(&CutPolicy::NoneSurvive.into());
    ssd.restore(None).unwrap();
    assert_eq!(read(&mut ssd, 0, 1).0[0].2, 5);
}

#[test]
fn every_named_step_of_normal_work_can_be_reached() {
    for &step in Step::ALL.iter().filter(|step| !step.is_of_controller()) {
        let in_recovery = step.is_of_recovery();
        let mut config = config(4096, 4096);
        config.tuning.checkpoint_units = 100;
        let mut ssd = drive(&config);
        let capacity = ssd.shape(VolumeId(0)).unwrap().capacity_blocks;
        if in_recovery {
            ssd.cut(&CutPolicy::NoneSurvive.into());
            ssd.restore(Some(Arming::Hit(step, 1))).unwrap();
        } else {
            ssd.breaker().arm(Arming::Hit(step, 1));
            ssd.fail_program(20);
            let mut random = Random::new(4);
            let mut lost = false;
            for n in 0..capacity * 5 {
                let lba = random.below(capacity);
                let outcome = match n % 50 {
                    0 => submit(&mut ssd, Request::Deallocate { ranges: &[LbaRange::new(Lba(lba), 1)] }),
                    1 => submit(&mut ssd, Request::Flush),
                    _ => write(&mut ssd, lba, 1, 1, false),
                };
                lost |= outcome == Err(MediaError::PowerLost);
                if lost {
                    break;
                }
                assert_eq!(outcome, Ok(()));
            }
        }
        assert!(ssd.breaker().lost(), "{step:?} was not reached");
        assert_eq!(ssd.breaker().tripped_at(), Some(step));
        ssd.restore(None).unwrap();
        ssd.ftl().assert_invariants();
    }
}

#[test]
fn a_full_disk_is_an_outcome_and_everything_goes_on_when_there_is_room_again() {
    let config = config(4096, 4096);
    let geometry = config.checked().unwrap();
    let mut ssd =
        Ssd::create(config.clone(), ImageStore::create(&geometry, 4 << 20, TwinDisk::new(1)).unwrap()).unwrap();
    let settle = |ssd: &mut Ssd<ImageStore<TwinDisk>>, submitted| match submitted {
        Submitted::Done(outcome) => outcome,
        Submitted::Pending => {
            let mut ended = None;
            while ended.is_none() {
                ssd.poll(Nanoseconds(0), &mut |_, outcome| ended = Some(outcome));
            }
            ended.unwrap()
        }
    };
    let forced = |ssd: &mut Ssd<ImageStore<TwinDisk>>, lba, byte| {
        let range = LbaRange::new(Lba(lba), 1);
        let request = Request::Write { range, from: &mut Fill(byte), force: true };
        let submitted = ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request);
        settle(ssd, submitted)
    };
    assert_eq!(forced(&mut ssd, 0, 1), Ok(()));
    ssd.store().disk().set_full(true);
    assert_eq!(forced(&mut ssd, 1, 2), Err(MediaError::NoSpace));
    assert_eq!(forced(&mut ssd, 2, 3), Err(MediaError::NoSpace));
    assert_eq!(read(&mut ssd, 0, 1).0[0].2, 1, "reads go on");
    ssd.poll(Nanoseconds(7), &mut |_, _| {});
    ssd.poll(Nanoseconds(8), &mut |_, _| {});
    let [warning] = ssd.warnings().all() else { panic!("one thing is wrong") };
    assert_eq!((warning.kind, warning.since, warning.stands()), (WarningKind::HostDiskFull, Nanoseconds(7), true));
    assert!(warning.count >= 2 && ssd.health().degraded);
    ssd.store().disk().set_full(false);
    assert_eq!(forced(&mut ssd, 3, 4), Ok(()));
    ssd.poll(Nanoseconds(9), &mut |_, _| {});
    assert!(!ssd.warnings().all()[0].stands() && !ssd.health().degraded, "it is over");
    assert_eq!(read(&mut ssd, 1, 1).0[0].2, 2, "what was staged is not lost");
}

#[test]
fn a_forced_read_waits_for_the_disk_also_where_the_cache_is_empty() {
    let config = config(4096, 4096);
    let geometry = config.checked().unwrap();
    let old = Nanoseconds(config.cache.age_max.0 + 1);
    for seed in 0..40 {
        let store = ImageStore::create(&geometry, 4 << 20, TwinDisk::new(seed)).unwrap();
        let mut ssd = Ssd::create(config.clone(), store).unwrap();
        let settle = |ssd: &mut Ssd<ImageStore<TwinDisk>>, submitted| {
            let mut ended = if let Submitted::Done(outcome) = submitted { Some(outcome) } else { None };
            while ended.is_none() {
                ssd.poll(old, &mut |_, outcome| ended = Some(outcome));
            }
            assert_eq!(ended, Some(Ok(())), "seed {seed}");
        };
        let submitted = ssd.submit(Nanoseconds(0), Token(0), VolumeId(0), Request::FlushAll);
        settle(&mut ssd, submitted);
        let range = LbaRange::new(Lba(5), 1);
        let request = Request::Write { range, from: &mut Fill(7), force: false };
        let submitted = ssd.submit(Nanoseconds(0), Token(1), VolumeId(0), request);
        settle(&mut ssd, submitted);
        ssd.poll(old, &mut |_, _| ());
        assert!(ssd.volatile().is_empty(), "it grew old, and was programmed");
        let request = Request::Read { range, into: &mut Pieces::default(), force: true };
        let submitted = ssd.submit(old, Token(2), VolumeId(0), request);
        settle(&mut ssd, submitted);
        ssd.store().disk().fail(2 * seed + 1);
        let store = ssd.store().take();
        let mut ssd = Ssd::open(config.clone(), store).unwrap();
        assert_eq!(read(&mut ssd, 5, 1).0[0].2, 7, "seed {seed}: a forced read made it durable");
    }
}

/// A process dies when a record is on the disk, and the header of its line is not: recovery does not find it. The next process may begin
/// at the same root, and opens the same line, so that its header is there; the record is not found now either.
#[test]
fn what_one_recovery_did_not_find_the_next_one_does_not_find_either() {
    let config = config(4096, 4096);
    let geometry = config.checked().unwrap();
    let line = u64::from(geometry.units_per_line);
    let mut lost = 0;
    for seed in 0..200 {
        let store = ImageStore::create(&geometry, 4 << 20, TwinDisk::new(seed)).unwrap();
        let mut ssd = Ssd::create(config.clone(), store).unwrap();
        let write = |ssd: &mut Ssd<ImageStore<TwinDisk>>, first, blocks, force| {
            let request = Request::Write { range: LbaRange::new(Lba(first), blocks), from: &mut Fill(7), force };
            ssd.submit(Nanoseconds(0), Token(first), VolumeId(0), request)
        };
        let die = |mut ssd: Ssd<ImageStore<TwinDisk>>, seed| {
            ssd.store().disk().kill(seed);
            Ssd::open(config.clone(), ssd.store().take()).unwrap()
        };
        // The next write opens a line.
        let mut settled = write(&mut ssd, 0, line, true) != Submitted::Pending;
        while !settled {
            ssd.poll(Nanoseconds(0), &mut |_, _| settled = true);
        }
        // From here on nothing reaches the disk but what does as the process dies.
        ssd.store().disk().set_full(true);
        ssd = die(ssd, seed);
        // This one is programmed, and the next one only staged.
        write(&mut ssd, line, 1, true);
        ssd = die(ssd, seed + 1);
        if read(&mut ssd, line, 1).0[0].2 == 7 {
            continue;
        }
        lost += 1;
        write(&mut ssd, line + 1, 1, false);
        ssd = die(ssd, seed + 2);
        assert_ne!(read(&mut ssd, line, 1).0[0].2, 7, "seed {seed}: what was lost is there again");
    }
    assert!(lost > 50, "{lost} of 200 were lost at first");
}

/// A small drive, and how it is written.
#[derive(Clone, Copy, Debug)]
struct Stall {
    user_lines: u64,
    spare_lines: u64,
    page_units: u32,
    cache_units: u64,
    /// Units of a request.
    units: u64,
    /// One in this many requests is forced; 0: none.
    forced_in: u64,
    /// Nine of ten requests go to the first tenth.
    hot: bool,
}

impl Stall {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for (user_lines, spare_lines) in [(8, 7), (8, 10), (48, 7), (48, 10)] {
            for (page_units, cache_units) in [(1, 16), (1, 600), (4, 16), (4, 600)] {
                for (units, forced_in) in [(1, 0), (1, 1), (1, 7), (8, 0), (33, 5)] {
                    let case = Self { user_lines, spare_lines, page_units, cache_units, units, forced_in, hot: false };
                    cases.extend([case, Self { hot: true, ..case }]);
                }
            }
        }
        cases
    }

    fn drive(self) -> Ssd<MemoryStore> {
        let mut config = config(4096, 4096);
        config.geometry.page_bytes = 4096 * self.page_units;
        config.geometry.pages_per_block = 32 / self.page_units;
        config.geometry.user_bytes = self.user_lines * 64 * 4096;
        config.volumes[0] = VolumeConfig::new(4096, 0, config.geometry.user_bytes / 4096);
        let spare_per_million = self.spare_lines * 1_000_000 / self.user_lines;
        config.geometry.spare_per_million_of_user = u32::try_from(spare_per_million).unwrap();
        config.cache.bytes = self.cache_units * 4096;
        drive(&config)
    }

    /// Writes the drive full, then four times what it holds where chance will have it; hands over the state before and after each request.
    fn overwrite(self, mut see: impl FnMut(&SsdStatus, &SsdStatus)) {
        let mut ssd = self.drive();
        let capacity = ssd.shape(VolumeId(0)).unwrap().capacity_blocks;
        for lba in 0..capacity {
            assert_eq!(write(&mut ssd, lba, 1, 1, false), Ok(()));
        }
        let mut random = Random::new(2);
        for _ in 0..capacity * 4 / self.units {
            let before = ssd.status();
            let space = if self.hot && random.below(10) != 0 { capacity / 10 } else { capacity };
            let forced = self.forced_in != 0 && random.below(self.forced_in) == 0;
            let lba = random.below(space - self.units + 1);
            assert_eq!(write(&mut ssd, lba, self.units, 2, forced), Ok(()), "{self:?}");
            see(&before, &ssd.status());
        }
        ssd.ftl().assert_invariants();
        assert!(!ssd.status().read_only, "{self:?}");
    }

    /// The most units moved by one request.
    fn most_moved(self) -> u64 {
        let mut most = 0;
        self.overwrite(|before, after| {
            let since = after.ledger.since(&before.ledger);
            most = most.max((since.collected + since.wear) / 4096);
        });
        most
    }
}

/// A request of half a line uses up what several nearly full victims give. What it has paid when one of them is done goes to the next;
/// otherwise the host would nearly always find no more lines free than the collector needs itself, and wait for a whole one.
#[test]
fn what_a_long_request_paid_beyond_a_victim_goes_to_the_next() {
    let (user_lines, spare_lines, page_units, cache_units) = (48, 10, 1, 16);
    let case = Stall { user_lines, spare_lines, page_units, cache_units, units: 33, forced_in: 0, hot: false };
    let (mut late, mut requests) = (0, 0);
    case.overwrite(|_, after| {
        late += u32::from(after.lines.1 <= 2);
        requests += 1;
    });
    assert!(late < requests / 2, "{late} of {requests} requests left only two lines free");
}

/// This drive comes to where no line is free, and the drained ones wait only for what is staged: the moved units that need a line
/// are what has to be programmed. It became read-only there.
#[test]
fn collection_goes_on_where_all_drained_lines_wait_for_what_is_staged() {
    let (user_lines, spare_lines, page_units, cache_units) = (48, 7, 1, 16);
    Stall { user_lines, spare_lines, page_units, cache_units, units: 1, forced_in: 0, hot: false }.most_moved();
}

#[test]
fn no_unit_that_is_written_waits_for_more_than_a_line_on_the_smallest_of_drives() {
    for case in Stall::all() {
        let moved = case.most_moved();
        assert!(moved <= 64 * case.units, "one request moved {moved} units, and a line has 64: {case:?}");
    }
}
