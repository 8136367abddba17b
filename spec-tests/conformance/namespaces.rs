//! Namespaces and formats (rules B105–B113). Identify itself is another file's.

use controller::config::NamespaceOptions;
use nvme_host::admin::IdentifyArguments;
use nvme_host::io::{block_command, nvm_command};
use nvme_spec::identify::Cns;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{NSID_ALL, Status};
use spec_tests::rig::Build;

use crate::verbs::{TestHost, Verbs, with_prp};

/// Namespaces 2 and 5, so that there are valid identifiers without a namespace below and between.
fn sparse() -> TestHost {
    let identities = [2, 5].map(|nsid| NamespaceOptions { nsid, ..NamespaceOptions::default() });
    Build { namespaces: vec![(512, 64), (4096, 8)], identities: identities.into(), ..Build::default() }.host()
}

const COMMANDS: [NvmOpcode; 6] = [
    NvmOpcode::FLUSH,
    NvmOpcode::WRITE,
    NvmOpcode::READ,
    NvmOpcode::COMPARE,
    NvmOpcode::WRITE_ZEROES,
    NvmOpcode::DATASET_MANAGEMENT,
];

/// B105: NSZE ≥ NCAP ≥ NUSE at every moment, and without thin provisioning NCAP is NSZE.
#[test]
fn sizes_are_in_order_while_blocks_come_and_go() {
    let mut host = Build { namespaces: vec![(512, 64)], ..Build::default() }.over_memory().host();
    let used = |host: &mut TestHost| {
        let identify = host.identify_namespace(1).expect("active");
        assert_eq!((identify.nsze.get(), identify.ncap.get(), identify.nsfeat & 1), (64, 64, 0));
        identify.nuse.get()
    };
    assert_eq!(used(&mut host), 0);
    assert_eq!(host.write(1, 8, &[1; 32 * 512], false).expect("answered"), Status::SUCCESS);
    assert_eq!(host.write_zeroes(1, 0, 64, false).expect("answered"), Status::SUCCESS);
    assert_eq!(used(&mut host), 64);
    assert_eq!(host.deallocate(1, &[(0, 60)]).expect("answered"), Status::SUCCESS);
    assert_eq!(used(&mut host), 4);
}

/// B106: an identifier that cannot be and one that only is not there are refused differently, by every command.
#[test]
fn identifiers_without_a_namespace_are_refused() {
    let mut host = sparse();
    let buffer = host.allocate(4096).expect("room");
    assert_eq!(host.identify_controller().expect("mandatory").nn.get(), 5);
    for opcode in COMMANDS {
        for nsid in [0, 6, 7, 0x100, 0xffff, 0x1_0002, 0x8000_0002, NSID_ALL - 1] {
            let status = host.io_status(with_prp(nvm_command(opcode, nsid), buffer, 0));
            assert_eq!(status, Status::INVALID_NAMESPACE, "{opcode:?}, NSID {nsid:#x}");
        }
        for nsid in [1, 3, 4] {
            let status = host.io_status(with_prp(nvm_command(opcode, nsid), buffer, 0));
            assert_eq!(status, Status::INVALID_FIELD, "{opcode:?}, NSID {nsid:#x}");
        }
        for nsid in [2, 5] {
            let status = host.io_status(with_prp(nvm_command(opcode, nsid), buffer, 0));
            assert_eq!(status, Status::SUCCESS, "{opcode:?}, NSID {nsid:#x}");
        }
        let all = if opcode == NvmOpcode::FLUSH { Status::SUCCESS } else { Status::INVALID_NAMESPACE };
        assert_eq!(host.io_status(with_prp(nvm_command(opcode, NSID_ALL), buffer, 0)), all, "{opcode:?}");
    }
}

/// B106: over every identifier that could be and a good many that could not, Read answers as the active list says.
#[test]
fn the_active_list_is_what_can_be_read() {
    let mut host = sparse();
    let active = host.active_namespaces(0).expect("mandatory");
    assert_eq!(active, [2, 5]);
    let buffer = host.allocate(4096).expect("room");
    for nsid in 0..2000 {
        let status = host.io_status(with_prp(block_command(NvmOpcode::READ, nsid, 0, 1), buffer, 0));
        assert_eq!(status.is_success(), active.contains(&nsid), "NSID {nsid}");
    }
}

/// B107, B131: every format that can be is listed with its size, and the current one is in the list.
#[test]
fn formats_say_the_block_size() {
    for shift in 9..=16 {
        let mut host = Build { namespaces: vec![(1 << shift, 32)], ..Build::default() }.host();
        let identify = host.identify_namespace(1).expect("active");
        let count = usize::from(identify.nlbaf_z) + 1 + usize::from(identify.nulbaf);
        let current = usize::from(identify.flbas & 0xf);
        assert!(count <= 64 && current < count);
        for format in &identify.lbaf[..count] {
            assert!(format.lbads == 0 || format.lbads >= 9);
        }
        for format in &identify.lbaf[count..] {
            assert_eq!((format.ms.get(), format.lbads, format.rp), (0, 0, 0));
        }
        assert_eq!((identify.lbaf[current].lbads, identify.lbaf[current].ms.get()), (shift, 0));
        assert_eq!(host.write(1, 31, &vec![shift; 1 << shift], false).expect("answered"), Status::SUCCESS);
        assert_eq!(host.read(1, 31, 1).expect("answered"), (Status::SUCCESS, vec![shift; 1 << shift]));
    }
}

/// B105, B132: namespaces are apart: what is written to one is not in another.
#[test]
fn namespaces_do_not_share_blocks() {
    let mut host = sparse();
    assert_eq!(host.write(2, 0, &[2; 64 * 512], false).expect("answered"), Status::SUCCESS);
    assert_eq!(host.read(5, 0, 8).expect("answered"), (Status::SUCCESS, vec![0; 8 * 4096]));
    assert_eq!(host.write_zeroes(5, 0, 8, true).expect("answered"), Status::SUCCESS);
    assert_eq!(host.read(2, 0, 64).expect("answered"), (Status::SUCCESS, vec![2; 64 * 512]));
}

/// The descriptors of a namespace: type and value.
fn descriptors(host: &mut TestHost, nsid: u32) -> Vec<(u8, Vec<u8>)> {
    let arguments = IdentifyArguments { nsid, ..IdentifyArguments::default() };
    let page = host.identify(Cns::NAMESPACE_DESCRIPTORS, arguments).expect("mandatory");
    let mut rest = page.as_slice();
    let mut found = Vec::new();
    while let [kind @ 1..=255, length, _, _, more @ ..] = rest {
        let (value, behind) = more.split_at(usize::from(*length));
        found.push((*kind, value.to_vec()));
        rest = behind;
    }
    found
}

/// B113: identities are unique within a device and between devices, and the same at every start.
#[test]
fn identities_are_unique_and_stable() {
    let identities = |serial: &str| {
        let mut build = Build { namespaces: vec![(512, 8); 3], ..Build::default() };
        build.device.serial = serial.into();
        let mut host = build.host();
        [1, 2, 3].map(|nsid| descriptors(&mut host, nsid))
    };
    let (first, again, other) = (identities("A"), identities("A"), identities("B"));
    assert_eq!(first, again);
    let uuids = |of: &[Vec<(u8, Vec<u8>)>; 3]| of.clone().map(|list| list.iter().find(|(kind, _)| *kind == 3).cloned());
    let mut all: Vec<_> =
        uuids(&first).into_iter().chain(uuids(&other)).map(|uuid| uuid.expect("each has one")).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

/// B113: identities that were given are those that are told, alike in all structures.
#[test]
fn given_identities_are_told() {
    let given = NamespaceOptions {
        eui64: 0x0123_4567_89ab_cdef,
        nguid: Some("00112233445566778899aabbccddeeff".into()),
        ..NamespaceOptions::default()
    };
    let mut host = Build { identities: vec![given], ..Build::default() }.host();
    let identify = host.identify_namespace(1).expect("active");
    assert_eq!(identify.eui64, [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    let found = descriptors(&mut host, 1);
    assert!(found.contains(&(1, identify.eui64.to_vec())) && found.contains(&(2, identify.nguid.to_vec())));
    assert_eq!(identify.nguid[..3], [0x00, 0x11, 0x22]);
}
