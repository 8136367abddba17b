//! Commands of the NVM command set (rules B131–B149).

use nvme_spec::Status;
use spec_tests::rig::Build;

/// B132: a read after a completed write returns it.
#[test]
fn read_returns_what_was_written() {
    let mut host = Build::default().host();
    let data: Vec<u8> = (0..8192_u32).map(|byte| byte.to_le_bytes()[0]).collect();
    assert_eq!(host.write(1, 100, &data, false).expect("answered"), Status::SUCCESS);
    let (status, read) = host.read(1, 100, 16).expect("answered");
    assert_eq!(status, Status::SUCCESS);
    assert!(read == data);
    let (_, before) = host.read(1, 99, 1).expect("answered");
    assert_eq!(before, [0; 512]);
}
