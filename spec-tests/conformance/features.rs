//! Features (rules B93–B104).

use media::{MediaError, Nanoseconds};
use nvme_host::admin::{LogArguments, get_feature_command, set_feature_command};
use nvme_host::io::block_command;
use nvme_spec::feature::{FeatureId, HOST_BEHAVIOR_BYTES, select};
use nvme_spec::log::{FEATURE_EFFECTS_BYTES, LogId, WARNING_TEMPERATURE, effects};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, NSID_ALL, Status};
use spec_tests::rig::{Build, STEP};
use spec_tests::slow_media::Asked;

use crate::verbs::{TestHost, Verbs, bare, with_prp};

/// Every feature that there is with a cache.
const ALL: [u8; 15] = [0x01, 0x02, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0f, 0x16, 0x81, 0x82, 0x83];
/// Features whose value is a dword that can be set to anything within a mask, with that mask.
const DWORDS: [(FeatureId, u32, u32); 6] = [
    (FeatureId::ARBITRATION, 0, 0xffff_ff07),
    (FeatureId::ERROR_RECOVERY, 1, 0x0000_ffff),
    (FeatureId::INTERRUPT_COALESCING, 0, 0x0000_ffff),
    (FeatureId::WRITE_ATOMICITY, 0, 0x0000_0001),
    (FeatureId::ASYNCHRONOUS_EVENTS, 0, 0x0000_01ff),
    (FeatureId::KEEP_ALIVE_TIMER, 0, 0xffff_ffff),
];

fn of_namespace(feature: FeatureId) -> bool {
    let all = [FeatureId::ERROR_RECOVERY, FeatureId::RESERVATION_NOTIFICATIONS, FeatureId::RESERVATION_PERSISTENCE];
    all.contains(&feature)
}

fn cached() -> TestHost {
    let mut host = Build::default().host();
    host.port_mut().behaviour.borrow_mut().cache = Some(true);
    host
}

fn of(nsid: u32, command: Command) -> Command {
    Command { nsid: nsid.into(), ..command }
}

/// Get Features over a fresh buffer, for those that have data.
fn get(host: &mut TestHost, nsid: u32, feature: FeatureId, select: u32) -> (Status, u32) {
    let command = of(nsid, get_feature_command(feature, select));
    let (answer, _) = host.execute_in(0, command, HOST_BEHAVIOR_BYTES).expect("answered");
    (bare(answer.status()), answer.dw0.get())
}

fn set(host: &mut TestHost, nsid: u32, feature: FeatureId, value: u32) -> Status {
    let command = of(nsid, set_feature_command(feature, value));
    bare(host.execute_out(0, command, &[0; HOST_BEHAVIOR_BYTES]).expect("answered").status())
}

/// B93: the mandatory features are answered, and can be set to what they are.
#[test]
fn mandatory_features_can_be_got_and_set() {
    let mut host = Build::default().admin_host();
    for feature in [0x01, 0x02, 0x04, 0x05, 0x07, 0x08, 0x09, 0x0a, 0x0b].map(FeatureId) {
        let nsid = u32::from(of_namespace(feature));
        let (status, value) = get(&mut host, nsid, feature, select::CURRENT);
        assert_eq!(status, Status::SUCCESS, "{feature:?}");
        assert_eq!(set(&mut host, nsid, feature, value), Status::SUCCESS, "{feature:?}");
        assert_eq!(get(&mut host, nsid, feature, select::CURRENT), (Status::SUCCESS, value), "{feature:?}");
    }
}

/// B94, B91, B104: over all identifiers, page 12h says supported exactly where Get and Set are not refused.
#[test]
fn supported_features_are_those_that_are_answered() {
    for cache in [None, Some(true)] {
        let mut host = Build::default().over_memory().admin_host();
        host.port_mut().behaviour.borrow_mut().cache = cache;
        let page = host.get_log(LogId::FEATURE_EFFECTS, FEATURE_EFFECTS_BYTES, LogArguments::default()).expect("there");
        for (fid, dword) in (0..=u8::MAX).zip(page.as_chunks::<4>().0) {
            let marked = u32::from_le_bytes(*dword) & effects::SUPPORTED != 0;
            let expected = if marked { Status::SUCCESS } else { Status::INVALID_FIELD };
            let nsid = u32::from(u32::from_le_bytes(*dword) & effects::SCOPE_NAMESPACE != 0);
            for select in [select::CURRENT, select::DEFAULT, select::SAVED, select::CAPABILITIES] {
                assert_eq!(get(&mut host, nsid, FeatureId(fid), select).0, expected, "get {fid:#x}, select {select}");
            }
            assert_eq!(set(&mut host, nsid, FeatureId(fid), 0), expected, "set {fid:#x}");
            let known = ALL.contains(&fid) && (cache.is_some() || fid != FeatureId::VOLATILE_WRITE_CACHE.0);
            assert_eq!(marked, known, "{fid:#x} in this test");
        }
    }
}

/// B95: nothing can be saved, and who wants it is told so.
#[test]
fn saving_is_refused_and_changes_nothing() {
    let mut host = cached();
    for feature in ALL.map(FeatureId) {
        let nsid = u32::from(of_namespace(feature));
        let before = get(&mut host, nsid, feature, select::CURRENT);
        let mut command = of(nsid, set_feature_command(feature, 1));
        command.cdw10 = (u32::from(feature.0) | 1 << 31).into();
        assert_eq!(host.admin_status(command), Status::FEATURE_NOT_SAVEABLE, "{feature:?}");
        assert_eq!(get(&mut host, nsid, feature, select::CURRENT), before, "{feature:?}");
        // SEL 3: bit 0 would say saveable.
        assert_eq!(get(&mut host, nsid, feature, select::CAPABILITIES).1 & 1, 0, "{feature:?}");
    }
}

/// B96: a namespace for a feature of the controller is refused by Set; the broadcast identifier and none are not.
#[test]
fn features_of_the_controller_have_no_namespace() {
    let mut host = Build::default().admin_host();
    for feature in [0x01, 0x02, 0x04, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0f, 0x16].map(FeatureId) {
        assert_eq!(set(&mut host, 1, feature, 0), Status::FEATURE_NOT_NAMESPACE_SPECIFIC, "{feature:?}");
        assert_eq!(set(&mut host, NSID_ALL, feature, 0), Status::SUCCESS, "{feature:?}");
        assert_eq!(set(&mut host, 0, feature, 0), Status::SUCCESS, "{feature:?}");
        assert_eq!(get(&mut host, 0, feature, select::CAPABILITIES).1 & 0b10, 0, "{feature:?}");
    }
}

/// B96: Error Recovery belongs to a namespace, which must be one.
#[test]
fn a_feature_of_a_namespace_wants_a_namespace_that_is_there() {
    let mut build = Build { namespaces: vec![(512, 64); 2], ..Build::default() };
    build.identities = [1, 3].map(|nsid| controller::config::NamespaceOptions { nsid, ..Default::default() }).into();
    let mut host = build.admin_host();
    let feature = FeatureId::ERROR_RECOVERY;
    for (nsid, expected) in
        [(1, Status::SUCCESS), (3, Status::SUCCESS), (2, Status::INVALID_FIELD), (4, Status::INVALID_NAMESPACE)]
    {
        assert_eq!(get(&mut host, nsid, feature, select::CURRENT).0, expected, "get, NSID {nsid}");
        assert_eq!(set(&mut host, nsid, feature, 0), expected, "set, NSID {nsid}");
    }
    assert_eq!(set(&mut host, 0, feature, 0), Status::INVALID_NAMESPACE);
    assert_eq!(get(&mut host, 1, feature, select::CAPABILITIES).1 & 0b10, 0b10);
    // Each namespace has its own, and the broadcast sets all.
    assert_eq!(set(&mut host, 1, feature, 7), Status::SUCCESS);
    assert_eq!(get(&mut host, 3, feature, select::CURRENT).1, 0);
    assert_eq!(set(&mut host, NSID_ALL, feature, 9), Status::SUCCESS);
    assert_eq!([1, 3].map(|nsid| get(&mut host, nsid, feature, select::CURRENT).1), [9, 9]);
    // Who asks without a namespace, or for all, is answered from the first (SPDK does).
    assert_eq!(set(&mut host, 1, feature, 5), Status::SUCCESS);
    for nsid in [0, NSID_ALL] {
        assert_eq!(get(&mut host, nsid, feature, select::CURRENT), (Status::SUCCESS, 5), "NSID {nsid:#x}");
        assert_eq!(get(&mut host, nsid, feature, select::DEFAULT), (Status::SUCCESS, 0), "NSID {nsid:#x}");
    }
}

/// Of every feature that is a dword: which bits are kept, and which are refused. All others are ignored.
const BITS: [(FeatureId, u32, u32, u32); 11] = [
    (FeatureId::ARBITRATION, 0, 0xffff_ff07, 0),
    // There is one power state; the workload hint is the host's own.
    (FeatureId::POWER_MANAGEMENT, 0, 0x0000_00e0, 0x0000_001f),
    // Sensors that are not there, and reserved types. Bit 20 alone is another threshold, and has a test of its own.
    (FeatureId::TEMPERATURE_THRESHOLD, 0, 0x0000_ffff, 0x002f_0000),
    // Deallocated blocks are no errors here.
    (FeatureId::ERROR_RECOVERY, 1, 0x0000_ffff, 0x0001_0000),
    (FeatureId::VOLATILE_WRITE_CACHE, 0, 0x0000_0001, 0),
    (FeatureId::INTERRUPT_COALESCING, 0, 0x0000_ffff, 0),
    (FeatureId::WRITE_ATOMICITY, 0, 0x0000_0001, 0),
    (FeatureId::ASYNCHRONOUS_EVENTS, 0, 0x0000_01ff, 0),
    (FeatureId::KEEP_ALIVE_TIMER, 0, 0xffff_ffff, 0),
    (FeatureId::RESERVATION_NOTIFICATIONS, 1, 0x0000_000e, 0),
    // Nothing persists.
    (FeatureId::RESERVATION_PERSISTENCE, 1, 0, 0x0000_0001),
];

/// B93, B97, B12: bit for bit of every feature: what Set accepts, Get gives back; what it does not keep is ignored in every case, and what
/// it refuses changes nothing; a controller reset brings the default back, which no Set moves.
#[test]
fn every_bit_of_every_feature_is_kept_or_ignored_or_refused() {
    for (feature, nsid, kept, refused) in BITS {
        let mut host = cached();
        let default = get(&mut host, nsid, feature, select::DEFAULT).1;
        for bit in (0..32).filter(|bit| (feature, *bit) != (FeatureId::TEMPERATURE_THRESHOLD, 20)) {
            for value in [1 << bit, default & kept | 1 << bit, default & kept & !(1 << bit)] {
                let before = get(&mut host, nsid, feature, select::CURRENT).1;
                let (status, after) = match value & refused {
                    0 => (Status::SUCCESS, value & kept),
                    _ => (Status::INVALID_FIELD, before),
                };
                assert_eq!(set(&mut host, nsid, feature, value), status, "{feature:?} {value:#x}");
                let now = get(&mut host, nsid, feature, select::CURRENT);
                assert_eq!(now, (Status::SUCCESS, after), "{feature:?} {value:#x}");
                for other in [select::DEFAULT, select::SAVED] {
                    assert_eq!(get(&mut host, nsid, feature, other).1, default, "{feature:?} {value:#x}");
                }
            }
        }
        if feature != FeatureId::KEEP_ALIVE_TIMER {
            host.start().expect("comes up again");
            assert_eq!(get(&mut host, nsid, feature, select::CURRENT).1, default, "{feature:?} after a reset");
        }
    }
    let others = [
        FeatureId::NUMBER_OF_QUEUES,
        FeatureId::INTERRUPT_VECTOR,
        FeatureId::HOST_BEHAVIOR,
        FeatureId::HOST_IDENTIFIER,
    ];
    let in_table = |fid: u8| BITS.iter().any(|(feature, ..)| feature.0 == fid) || others.contains(&FeatureId(fid));
    assert!(ALL.into_iter().all(in_table), "a feature that this test or one of its own does not know");
}

/// B104: the same of Host Behavior Support, whose value is data.
#[test]
fn every_bit_of_host_behavior_is_kept_or_ignored_or_refused() {
    let mut host = Build::default().admin_host();
    for byte in 0..HOST_BEHAVIOR_BYTES {
        for bit in 0..8 {
            let mut data = [0; HOST_BEHAVIOR_BYTES];
            data[byte] = 1 << bit;
            let set = host.set_feature_data(FeatureId::HOST_BEHAVIOR, 0, &data);
            let kept = host.get_feature_data(FeatureId::HOST_BEHAVIOR, select::CURRENT, 512).expect("there").1;
            match (byte, bit) {
                (0..4, 0) | (4, 2..=4) => assert!(set.is_ok() && kept == data, "byte {byte} bit {bit}"),
                (0..4, _) => assert!(set.is_err() && kept != data, "byte {byte} bit {bit}"),
                _ => assert!(set.is_ok() && kept == [0; HOST_BEHAVIOR_BYTES], "byte {byte} bit {bit}"),
            }
        }
    }
}

/// B97, B93, B100: what is set comes back; the default does not move, and what would be restored is the default.
#[test]
fn what_is_set_comes_back_and_the_default_stays() {
    for (feature, nsid, mask) in DWORDS {
        let mut host = Build::default().admin_host();
        let default = get(&mut host, nsid, feature, select::DEFAULT);
        assert_eq!(get(&mut host, nsid, feature, select::CURRENT), default, "{feature:?}");
        for value in [mask, 0xa5a5_a5a5 & mask, 0] {
            assert_eq!(set(&mut host, nsid, feature, value), Status::SUCCESS, "{feature:?}");
            assert_eq!(get(&mut host, nsid, feature, select::CURRENT), (Status::SUCCESS, value), "{feature:?}");
            assert_eq!(get(&mut host, nsid, feature, select::DEFAULT), default, "{feature:?}");
            assert_eq!(get(&mut host, nsid, feature, select::SAVED), default, "{feature:?}");
        }
    }
}

/// B97: reserved selections are refused.
#[test]
fn reserved_selections_are_refused() {
    let mut host = cached();
    for feature in ALL.map(FeatureId) {
        for select in 4..8 {
            let nsid = u32::from(of_namespace(feature));
            assert_eq!(get(&mut host, nsid, feature, select).0, Status::INVALID_FIELD, "{feature:?}, select {select}");
        }
    }
}

/// B12: nothing is saved, so every feature has its default after a controller reset.
#[test]
fn a_controller_reset_restores_the_defaults() {
    let mut host = cached();
    for (feature, nsid, mask) in DWORDS.into_iter().filter(|(feature, ..)| *feature != FeatureId::KEEP_ALIVE_TIMER) {
        assert_eq!(set(&mut host, nsid, feature, 1 & mask), Status::SUCCESS, "{feature:?}");
    }
    assert_eq!(set(&mut host, 0, FeatureId::KEEP_ALIVE_TIMER, 1_000_000), Status::SUCCESS);
    assert_eq!(set(&mut host, 0, FeatureId::TEMPERATURE_THRESHOLD, 999), Status::SUCCESS);
    assert_eq!(set(&mut host, 0, FeatureId::VOLATILE_WRITE_CACHE, 0), Status::SUCCESS);
    assert_eq!(set(&mut host, 0, FeatureId::INTERRUPT_VECTOR, 1 << 16 | 1), Status::SUCCESS);
    host.set_feature_data(FeatureId::HOST_BEHAVIOR, 0, &[1; HOST_BEHAVIOR_BYTES]).expect("legal switches");
    host.start().expect("comes up again");
    for feature in ALL.map(FeatureId) {
        let nsid = u32::from(of_namespace(feature));
        let default = get(&mut host, nsid, feature, select::DEFAULT);
        assert_eq!(get(&mut host, nsid, feature, select::CURRENT), default, "{feature:?}");
    }
    let (_, behavior) = host.get_feature_data(FeatureId::HOST_BEHAVIOR, select::CURRENT, 512).expect("there");
    assert_eq!(behavior, [0; 512]);
}

/// B99: without a cache there is no such feature, and Identify says so.
#[test]
fn without_a_cache_there_is_no_cache_feature() {
    let mut host = Build::default().over_memory().admin_host();
    assert_eq!(host.identify_controller().expect("mandatory").vwc & 1, 0);
    assert_eq!(get(&mut host, 0, FeatureId::VOLATILE_WRITE_CACHE, select::CURRENT).0, Status::INVALID_FIELD);
    assert_eq!(set(&mut host, 0, FeatureId::VOLATILE_WRITE_CACHE, 1), Status::INVALID_FIELD);
    assert_eq!(host.port_mut().behaviour.borrow().asked, []);
}

/// B99: with a cache, Identify says so, the switch reaches the media and is read back.
#[test]
fn the_cache_switch_reaches_the_media() {
    let mut host = cached();
    assert_eq!(host.identify_controller().expect("mandatory").vwc & 1, 1);
    assert_eq!(get(&mut host, 0, FeatureId::VOLATILE_WRITE_CACHE, select::CURRENT).1, 1);
    for enabled in [false, true] {
        assert_eq!(set(&mut host, 0, FeatureId::VOLATILE_WRITE_CACHE, u32::from(enabled)), Status::SUCCESS);
        assert_eq!(get(&mut host, 0, FeatureId::VOLATILE_WRITE_CACHE, select::CURRENT).1, u32::from(enabled));
    }
    assert_eq!(host.port_mut().behaviour.borrow().asked, [Asked::WriteCache(false), Asked::WriteCache(true)]);
}

/// B99: switching the cache off is answered when the media has flushed, and no sooner; other commands go on meanwhile.
#[test]
fn switching_the_cache_off_waits_for_the_flush() {
    let mut host = cached();
    host.port_mut().behaviour.borrow_mut().latency = Some(Nanoseconds(STEP.0 * 100));
    let cid = host.submit(0, set_feature_command(FeatureId::VOLATILE_WRITE_CACHE, 0)).expect("room");
    for _ in 0..50 {
        host.port_mut().step();
        assert_eq!(host.poll(0, cid), None);
    }
    host.assert_alive();
    let answer = host.wait(0, cid).expect("the flush ends");
    assert_eq!(answer.status(), Status::SUCCESS);
    assert!(host.port_mut().now >= Nanoseconds(STEP.0 * 100));
}

/// B99, B187: if the flush fails, so does the switch.
#[test]
fn a_failed_flush_fails_the_switch() {
    for latency in [None, Some(STEP)] {
        let mut host = cached();
        host.port_mut().behaviour.borrow_mut().latency = latency;
        host.port_mut().behaviour.borrow_mut().failure = Some(MediaError::WriteFailed { first: media::Lba(3) });
        assert_eq!(set(&mut host, 0, FeatureId::VOLATILE_WRITE_CACHE, 0), Status::WRITE_FAULT);
    }
}

/// B101: errors for deallocated blocks are accepted only where the namespace says that it can give them.
#[test]
fn errors_on_deallocated_blocks_are_not_accepted() {
    let mut host = Build::default().admin_host();
    assert_eq!(host.identify_namespace(1).expect("active").nsfeat & 1 << 2, 0);
    assert_eq!(set(&mut host, 1, FeatureId::ERROR_RECOVERY, 1 << 16), Status::INVALID_FIELD);
    assert_eq!(get(&mut host, 1, FeatureId::ERROR_RECOVERY, select::CURRENT).1, 0);
}

/// B102: power states that are not there are refused.
#[test]
fn power_states_above_the_last_are_refused() {
    let mut host = Build::default().admin_host();
    let last = u32::from(host.identify_controller().expect("mandatory").npss_z);
    for state in 0..32 {
        let expected = if state <= last { Status::SUCCESS } else { Status::INVALID_FIELD };
        assert_eq!(set(&mut host, 0, FeatureId::POWER_MANAGEMENT, state), expected, "state {state}");
    }
    assert_eq!(get(&mut host, 0, FeatureId::POWER_MANAGEMENT, select::CURRENT).1, 0);
}

/// Get Features of Temperature Threshold with a dword 11.
fn threshold(host: &mut TestHost, dword: u32) -> (Status, u32) {
    let command = Command { cdw11: dword.into(), ..get_feature_command(FeatureId::TEMPERATURE_THRESHOLD, 0) };
    let answer = host.admin_answer(command);
    (bare(answer.status()), answer.dw0.get() & 0xffff)
}

/// B103: the composite temperature has an over and an under threshold; they are apart from each other.
#[test]
fn over_and_under_thresholds_are_kept_apart() {
    const UNDER: u32 = 1 << 20;
    let mut host = Build::default().admin_host();
    let identify = host.identify_controller().expect("mandatory");
    assert_eq!(threshold(&mut host, 0), (Status::SUCCESS, identify.wctemp.get().into()));
    assert_eq!(set(&mut host, 0, FeatureId::TEMPERATURE_THRESHOLD, 400), Status::SUCCESS);
    assert_eq!(set(&mut host, 0, FeatureId::TEMPERATURE_THRESHOLD, UNDER | 200), Status::SUCCESS);
    assert_eq!([0, UNDER].map(|dword| threshold(&mut host, dword).1), [400, 200]);
    // The threshold of a sensor that is not there cannot be set, and moves nothing of the composite temperature.
    for sensor in 1..=8 {
        assert_eq!(set(&mut host, 0, FeatureId::TEMPERATURE_THRESHOLD, sensor << 16 | 300), Status::INVALID_FIELD);
        assert_eq!(threshold(&mut host, sensor << 16), (Status::SUCCESS, 0));
    }
    assert_eq!([0, UNDER].map(|dword| threshold(&mut host, dword).1), [400, 200]);
    // All sensors: the composite temperature is one.
    assert_eq!(set(&mut host, 0, FeatureId::TEMPERATURE_THRESHOLD, 0xf << 16 | 350), Status::SUCCESS);
    assert_eq!(threshold(&mut host, 0).1, 350);
    assert_eq!(threshold(&mut host, 0xf << 16).0, Status::INVALID_FIELD, "all of them have no one value");
}

/// B103: reserved threshold types are refused, by Get and by Set.
#[test]
fn reserved_threshold_types_are_refused() {
    let mut host = Build::default().admin_host();
    for kind in [2, 3] {
        assert_eq!(threshold(&mut host, kind << 20).0, Status::INVALID_FIELD);
        assert_eq!(set(&mut host, 0, FeatureId::TEMPERATURE_THRESHOLD, kind << 20 | 1), Status::INVALID_FIELD);
    }
}

/// B103, B76: a threshold that is crossed warns in the SMART log, on either side.
#[test]
fn a_crossed_threshold_warns_in_the_smart_log() {
    let mut host = Build::default().admin_host();
    let temperature = u32::from(host.smart().composite_temperature_kelvins.get());
    assert_eq!(host.smart().critical_warning & WARNING_TEMPERATURE, 0);
    for (value, warns) in [
        (temperature, true),
        (temperature + 1, false),
        (1 << 20 | temperature, true),
        (1 << 20 | (temperature - 1), false),
    ] {
        assert_eq!(set(&mut host, 0, FeatureId::TEMPERATURE_THRESHOLD, value), Status::SUCCESS);
        assert_eq!(host.smart().critical_warning & WARNING_TEMPERATURE != 0, warns, "{value:#x}");
    }
}

/// B93: Interrupt Vector Configuration is of each vector, and a vector that is not there is refused.
#[test]
fn each_vector_has_its_own_configuration() {
    let mut host = Build::default().admin_host();
    let vector = |host: &mut TestHost, vector: u32| {
        let command = Command { cdw11: vector.into(), ..get_feature_command(FeatureId::INTERRUPT_VECTOR, 0) };
        let answer = host.admin_answer(command);
        (bare(answer.status()), answer.dw0.get())
    };
    assert_eq!(set(&mut host, 0, FeatureId::INTERRUPT_VECTOR, 1 << 16 | 3), Status::SUCCESS);
    assert_eq!(vector(&mut host, 3), (Status::SUCCESS, 1 << 16 | 3));
    assert_eq!(vector(&mut host, 4), (Status::SUCCESS, 4));
    let vectors = u32::from(Build::default().device.msix_qsize);
    assert_eq!(vector(&mut host, vectors).0, Status::INVALID_FIELD);
    assert_eq!(set(&mut host, 0, FeatureId::INTERRUPT_VECTOR, vectors), Status::INVALID_FIELD);
}

/// B104: Host Behavior Support takes its switches and refuses what is no switch; a bad pointer changes nothing.
#[test]
fn host_behavior_keeps_its_switches() {
    let mut host = Build::default().admin_host();
    let mut data = [0; HOST_BEHAVIOR_BYTES];
    data[0] = 1;
    data[2] = 1;
    host.set_feature_data(FeatureId::HOST_BEHAVIOR, 0, &data).expect("legal");
    let read = |host: &mut TestHost| host.get_feature_data(FeatureId::HOST_BEHAVIOR, 0, 512).expect("there").1;
    assert_eq!(read(&mut host), data);
    let mut bad = data;
    bad[1] = 2;
    assert!(host.set_feature_data(FeatureId::HOST_BEHAVIOR, 0, &bad).is_err());
    let unmapped = with_prp(set_feature_command(FeatureId::HOST_BEHAVIOR, 0), 1 << 40, 0);
    assert_eq!(host.admin_status(unmapped), Status::DATA_TRANSFER_ERROR);
    assert_eq!(read(&mut host), data);
}

/// B100: Write Atomicity Normal is off at first, and I/O goes on with it on.
#[test]
fn write_atomicity_is_off_at_first() {
    let mut host = Build::default().host();
    assert_eq!(get(&mut host, 0, FeatureId::WRITE_ATOMICITY, select::CURRENT).1, 0);
    assert_eq!(set(&mut host, 0, FeatureId::WRITE_ATOMICITY, 1), Status::SUCCESS);
    let buffer = host.allocate(4096).expect("room");
    assert_eq!(host.io_status(with_prp(block_command(NvmOpcode::READ, 1, 0, 8), buffer, 0)), Status::SUCCESS);
}
