//! Who a host is (RES12; NVMe Base 2.3 section 5.2.26.1.32), and how many there may be (RES18).

use nvme_host::HostError;
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::{Command, Status};
use spec_tests::rig::Build;

use super::{OK, Party, build, name, register, registering, report, some, summary};
use crate::verbs::bare;

const WIDE: [u8; 16] = [7, 6, 5, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 5, 6, 0x88];

fn refused(result: Result<(), HostError>) -> Status {
    match result {
        Ok(()) => OK,
        Err(HostError::Refused(status)) => bare(status),
        Err(other) => panic!("{other}"),
    }
}

/// Get Features of Host Identifier with EXHID as asked.
fn identifier(host: &mut Party, extended: bool, which: u32) -> Result<Vec<u8>, Status> {
    let length = if extended { 16 } else { 8 };
    let command = nvme_host::admin::get_feature_command(FeatureId::HOST_IDENTIFIER, which);
    let command = Command { cdw11: u32::from(extended).into(), ..command };
    let (answer, data) = host.execute_in(0, command, length).expect("answered");
    if bare(answer.status()) == OK { Ok(data) } else { Err(bare(answer.status())) }
}

/// RES12: from zero to any other, once; the same again is no change.
#[test]
fn a_host_says_once_who_it_is() {
    let [mut one] = some([0]);
    for extended in [false, true] {
        let zeroes = vec![0; if extended { 16 } else { 8 }];
        for which in [select::CURRENT, select::DEFAULT, select::SAVED] {
            assert_eq!(identifier(&mut one, extended, which), Ok(zeroes.clone()));
        }
        assert_eq!(refused(one.set_host_identifier(&zeroes)), OK, "it has none, and is left so");
    }
    assert_eq!(refused(one.set_host_identifier(&name(1))), OK);
    assert_eq!(refused(one.set_host_identifier(&name(1))), OK);
    for other in [&name(2)[..], &[0; 8], &[0; 16]] {
        assert_eq!(refused(one.set_host_identifier(other)), Status::SEQUENCE_ERROR, "{other:?}");
    }
    assert_eq!(identifier(&mut one, false, select::CURRENT), Ok(name(1).to_vec()));
    assert_eq!(identifier(&mut one, true, select::CURRENT), Err(Status::HOST_IDENTIFIER_FORMAT));
    assert_eq!(identifier(&mut one, false, select::DEFAULT), Ok(vec![0; 8]));
    one.start().expect("reset and enabled");
    assert_eq!(identifier(&mut one, true, select::CURRENT), Ok(vec![0; 16]), "a reset clears it");
    assert_eq!(refused(one.set_host_identifier(&WIDE)), OK);
    assert_eq!(identifier(&mut one, true, select::CURRENT), Ok(WIDE.to_vec()));
}

/// RES12: all hosts of a subsystem have names of one length, those too that left a registration behind.
#[test]
fn all_names_have_one_length() {
    let [mut one, mut two] = some([1, 0]);
    assert_eq!(refused(two.set_host_identifier(&WIDE)), Status::HOST_IDENTIFIER_FORMAT);
    assert_eq!(refused(two.set_host_identifier(&[0; 16])), OK, "that is no name");
    assert_eq!(register(&mut one, 7), OK);
    one.start().expect("reset and enabled");
    assert_eq!(refused(two.set_host_identifier(&WIDE)), Status::HOST_IDENTIFIER_FORMAT, "the report has one length");
    assert_eq!(refused(two.set_host_identifier(&name(1))), OK);
    assert_eq!(registering(&mut two, 1, false, [7, 0]), OK, "it is the same host on another controller");
    two.start().expect("reset and enabled");
    assert_eq!(refused(one.set_host_identifier(&WIDE)), OK, "nobody has a name any more");
    assert_eq!(refused(two.set_host_identifier(&name(1))), Status::HOST_IDENTIFIER_FORMAT);
}

/// RES12, RHII = 0: a host without a name may reserve as any other, alone on its controller; it cannot take a name while it is registered.
#[test]
fn a_host_without_a_name_is_one_on_each_controller() {
    let [mut one, mut two] = some([0, 0]);
    assert_eq!((register(&mut one, 7), register(&mut two, 7)), (OK, OK));
    assert_eq!(summary(&mut one), (0, vec![(0, 7, false), (1, 7, false)]));
    assert_eq!(report(&mut one).registered[0].host, [0; 16]);
    let wide = one.reservation_report(1, true).expect("either structure").registered;
    assert_eq!(wide.len(), 2);
    assert_eq!(refused(one.set_host_identifier(&name(1))), Status::SEQUENCE_ERROR);
    assert_eq!(registering(&mut one, 1, false, [7, 0]), OK);
    assert_eq!(refused(one.set_host_identifier(&name(1))), OK);
}

/// RES18: whatever hosts left behind, and however many, the next one can register.
#[test]
fn registering_never_fails_for_lack_of_room() {
    let [mut holder, mut guest] = some([1, 0]);
    assert_eq!((register(&mut holder, 1), super::acquire(&mut holder, 1, super::EA)), (OK, OK));
    for number in 0..300_u16 {
        guest.start().expect("reset and enabled");
        guest.create_queue_pair(1, 64, Some(1)).expect("room");
        let [low, high] = number.to_le_bytes();
        guest.set_host_identifier(&[low, high, 1, 0, 0, 0, 0, 0]).expect("another host");
        assert_eq!(register(&mut guest, number.into()), OK, "host {number}");
    }
    let report = report(&mut holder);
    assert_eq!(report.status.rtype, 2);
    assert!(report.registered.iter().any(|entry| entry.controller == 1 && entry.key == 299), "the last one");
    assert!(report.registered.iter().any(|entry| entry.controller == 0 && entry.status == 1), "and the holder");
    assert!(report.registered.len() >= 16, "CVE-2025-57275 was about the seventeenth");
}

/// B96: of a controller; nobody names a namespace for it.
#[test]
fn the_identifier_is_of_the_controller() {
    let mut host = Build { ..build() }.hosts(1).pop().expect("one");
    let command = nvme_host::admin::set_feature_command(FeatureId::HOST_IDENTIFIER, 0);
    let command = Command { nsid: 1.into(), ..command };
    let answer = host.execute_out(0, command, &name(1)).expect("answered");
    assert_eq!(bare(answer.status()), Status::FEATURE_NOT_NAMESPACE_SPECIFIC);
}
