//! Identify (rules B63–B67; NVMe Base 2.1 section 5.1.13, NVM Command Set 1.1 section 4.1.5).

use controller::config::NamespaceOptions;
use nvme_host::admin::{IdentifyArguments, LogArguments};
use nvme_host::{Host, HostError};
use nvme_spec::identify::{Cns, IndependentNamespace, NamespaceStatus, OptionalCommands};
use nvme_spec::log::{COMMAND_EFFECTS_BYTES, COMMAND_EFFECTS_IO_OFFSET, LogId};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{NSID_ALL, Status};
use spec_tests::rig::{Build, Rig};

use crate::support::INVALID_FIELD;

const INVALID_NAMESPACE: (u8, u8) = (0, 0x0b);

/// Namespaces 1, 3 and 7; 2 and 4 to 6 are valid and not active.
fn gaps() -> Host<Rig> {
    let identities = [1, 3, 7].map(|nsid| NamespaceOptions { nsid, ..NamespaceOptions::default() }).to_vec();
    let namespaces = vec![(512, 1000), (4096, 500), (512, 7)];
    Build { namespaces, identities, ..Build::default() }.host()
}

fn identify(host: &mut Host<Rig>, cns: Cns, nsid: u32) -> Result<Vec<u8>, (u8, u8)> {
    identify_of_set(host, cns, nsid, 0)
}

fn identify_of_set(host: &mut Host<Rig>, cns: Cns, nsid: u32, command_set: u8) -> Result<Vec<u8>, (u8, u8)> {
    match host.identify(cns, IdentifyArguments { nsid, command_set, ..IdentifyArguments::default() }) {
        Ok(bytes) => Ok(bytes),
        Err(HostError::Refused(status)) => Err(status.kind()),
        Err(other) => panic!("{other}"),
    }
}

/// B63: what Identify Controller says is consistent: entry sizes, at least one namespace, and a bit in ONCS exactly where the effects log
/// names the command.
#[test]
fn identify_controller_is_consistent() {
    let mut host = gaps();
    let data = host.identify_controller().expect("identified");
    assert_eq!((data.sqes, data.cqes, data.nn.get(), data.cntrltype), (0x66, 0x44, 7, 1));
    assert!(data.mdts > 0);
    let log = host.get_log(LogId::COMMAND_EFFECTS, COMMAND_EFFECTS_BYTES, LogArguments::default()).expect("read");
    let io = &log[COMMAND_EFFECTS_IO_OFFSET..];
    let optional = [
        (NvmOpcode::COMPARE, OptionalCommands::COMPARE),
        (NvmOpcode::WRITE_UNCORRECTABLE, OptionalCommands::WRITE_UNCORRECTABLE),
        (NvmOpcode::DATASET_MANAGEMENT, OptionalCommands::DATASET_MANAGEMENT),
        (NvmOpcode::WRITE_ZEROES, OptionalCommands::WRITE_ZEROES),
        (NvmOpcode::RESERVATION_REGISTER, OptionalCommands::RESERVATIONS),
        (NvmOpcode::RESERVATION_REPORT, OptionalCommands::RESERVATIONS),
        (NvmOpcode::RESERVATION_ACQUIRE, OptionalCommands::RESERVATIONS),
        (NvmOpcode::RESERVATION_RELEASE, OptionalCommands::RESERVATIONS),
        (NvmOpcode::VERIFY, OptionalCommands::VERIFY),
        (NvmOpcode::COPY, OptionalCommands::COPY),
        (NvmOpcode::COPY, OptionalCommands::COPY_SINGLE_ATOMICITY),
    ];
    for (opcode, bit) in optional {
        let offered = io[usize::from(opcode.0) * 4] & 1 != 0;
        assert_eq!(OptionalCommands::from_bits_retain(data.oncs.get()).contains(bit), offered, "{opcode:?}");
    }
    assert!(
        [&data.sn[..], &data.mn[..], &data.fr[..]]
            .iter()
            .all(|text| text.iter().all(|byte| (0x20..0x7f).contains(byte)))
    );
    assert!(data.subnqn.starts_with(b"nqn.") && data.subnqn[223..].iter().all(|byte| *byte == 0));
}

/// B63: MDTS is the largest transfer: one block more is refused.
#[test]
fn mdts_is_what_it_says() {
    let mut host = Build::default().host();
    let blocks = (4096 << host.identify_controller().expect("identified").mdts) / 512;
    assert_eq!(host.read(1, 0, blocks).expect("answered").0, Status::SUCCESS);
    assert_eq!(host.read(1, 0, blocks + 1).expect("answered").0.kind(), INVALID_FIELD);
}

/// B63, B1: Identify does not change by being asked, by resets, or by I/O.
#[test]
fn identify_controller_stays_the_same() {
    let mut host = gaps();
    let first = identify(&mut host, Cns::CONTROLLER, 0);
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    assert!(identify(&mut host, Cns::CONTROLLER, 0) == first);
    host.start().expect("reset and enabled");
    assert!(identify(&mut host, Cns::CONTROLLER, NSID_ALL) == first, "the NSID does not matter");
}

/// B64: an active namespace is described, an inactive one is zeroes, an invalid identifier is refused, as is the broadcast one since there
/// is no namespace management.
#[test]
fn identify_namespace_tells_active_from_inactive_from_invalid() {
    let mut host = gaps();
    for (nsid, blocks, shift) in [(1, 1000, 9), (3, 500, 12), (7, 7, 9)] {
        let data = host.identify_namespace(nsid).expect("active");
        let format = data.format();
        assert_eq!((data.nsze.get(), data.ncap.get(), format.lbads), (blocks, blocks, shift));
        assert!(data.nuse.get() <= data.ncap.get());
    }
    for cns in [Cns::NAMESPACE, Cns::COMMAND_SET_NAMESPACE, Cns::INDEPENDENT_NAMESPACE] {
        for nsid in [2, 4, 6] {
            assert!(identify(&mut host, cns, nsid) == Ok(vec![0; 4096]), "{cns:?} {nsid}");
        }
        for nsid in [0, 8, 1024, NSID_ALL - 1, NSID_ALL] {
            assert_eq!(identify(&mut host, cns, nsid), Err(INVALID_NAMESPACE), "{cns:?} {nsid}");
        }
    }
}

/// B65: the list of active namespaces is ascending, above the one given, and zero-filled; the two highest identifiers are refused.
#[test]
fn active_namespaces_are_listed_in_order() {
    let mut host = gaps();
    for (above, expected) in [(0, &[1, 3, 7][..]), (1, &[3, 7]), (2, &[3, 7]), (6, &[7]), (7, &[]), (NSID_ALL - 2, &[])]
    {
        for cns in [Cns::ACTIVE_NAMESPACES, Cns::COMMAND_SET_ACTIVE_NAMESPACES] {
            let mut list = vec![0; 4096];
            for (place, nsid) in list.chunks_mut(4).zip(expected) {
                place.copy_from_slice(&u32::to_le_bytes(*nsid));
            }
            assert!(identify(&mut host, cns, above) == Ok(list), "{cns:?} above {above}");
        }
    }
    for above in [NSID_ALL - 1, NSID_ALL] {
        assert_eq!(identify(&mut host, Cns::ACTIVE_NAMESPACES, above), Err(INVALID_NAMESPACE));
    }
}

/// The descriptors of a namespace: type and value.
fn descriptors(page: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = page;
    while rest[1] != 0 {
        assert_eq!(rest[2..4], [0, 0], "reserved");
        let length = usize::from(rest[1]);
        found.push((rest[0], rest[4..4 + length].to_vec()));
        rest = &rest[4 + length..];
    }
    assert!(rest.iter().all(|byte| *byte == 0), "zeroes behind the last one");
    found
}

/// B66: each type once with its length; a UUID in any case; EUI64 and NGUID exactly when Identify Namespace has them, and the same.
#[test]
fn descriptors_name_every_identity_once() {
    let nguid = "00112233445566778899aabbccddeeff".to_string();
    let identities = vec![
        NamespaceOptions::default(),
        NamespaceOptions { eui64: 0x0102_0304_0506_0708, nguid: Some(nguid), ..NamespaceOptions::default() },
    ];
    let mut host = Build { namespaces: vec![(512, 8); 2], identities, ..Build::default() }.admin_host();
    let mut uuids = Vec::new();
    for (nsid, types) in [(1, &[3, 4][..]), (2, &[1, 2, 3, 4])] {
        let found = descriptors(&identify(&mut host, Cns::NAMESPACE_DESCRIPTORS, nsid).expect("active"));
        assert_eq!(found.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), types);
        let namespace = host.identify_namespace(nsid).expect("active");
        for (kind, value) in found {
            match kind {
                1 => assert_eq!(value, namespace.eui64),
                2 => assert_eq!(value, namespace.nguid),
                3 => uuids.push(value),
                _ => assert_eq!(value, [0], "the NVM command set"),
            }
        }
    }
    assert!(uuids.iter().all(|uuid| uuid.len() == 16 && uuid.iter().any(|byte| *byte != 0)));
    assert_ne!(uuids[0], uuids[1]);
    assert_eq!(host.identify_namespace(2).expect("active").eui64, [1, 2, 3, 4, 5, 6, 7, 8]);
    for (nsid, kind) in [(0, INVALID_NAMESPACE), (3, INVALID_NAMESPACE), (NSID_ALL, INVALID_NAMESPACE)] {
        assert_eq!(identify(&mut host, Cns::NAMESPACE_DESCRIPTORS, nsid), Err(kind));
    }
}

/// B67: the structures of 2.x are answered for the NVM command set, and for no other.
#[test]
fn structures_of_a_command_set_are_those_of_the_nvm_command_set() {
    let mut host = gaps();
    let of_set = [Cns::COMMAND_SET_NAMESPACE, Cns::COMMAND_SET_CONTROLLER, Cns::COMMAND_SET_ACTIVE_NAMESPACES];
    for cns in of_set {
        assert!(identify(&mut host, cns, 1).is_ok(), "{cns:?}");
        for command_set in [1, 2, 3, 0xff] {
            assert_eq!(identify_of_set(&mut host, cns, 1, command_set), Err(INVALID_FIELD), "{cns:?} {command_set}");
        }
    }
    let independent = identify(&mut host, Cns::INDEPENDENT_NAMESPACE, 1).expect("active");
    let independent: IndependentNamespace = spec_tests::golden::parsed(&independent);
    assert!(NamespaceStatus::from_bits_retain(independent.nstat).contains(NamespaceStatus::READY));
    let sets = identify(&mut host, Cns::COMMAND_SETS, 0).expect("answered");
    assert_eq!(sets[..8], [1, 0, 0, 0, 0, 0, 0, 0], "the NVM command set alone");
    assert!(sets[8..].iter().all(|byte| *byte == 0));
}

/// B67: what is reserved or belongs to something that is not offered is an invalid field.
#[test]
fn every_other_structure_is_refused() {
    let answered = [0, 1, 2, 3, 5, 6, 7, 8, 0x10, 0x11, 0x12, 0x13, 0x19, 0x1a, 0x1b, 0x1c, 0x1f];
    let mut host = gaps();
    for cns in 0..=255 {
        let refused = identify(&mut host, Cns(cns), 1) == Err(INVALID_FIELD);
        assert_eq!(refused, !answered.contains(&cns), "{cns:#x}");
    }
}
