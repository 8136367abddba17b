//! Registers as they are read and written (rules B1–B6, B15–B19; NVMe Base 2.1 section 3.1.4, PCIe Transport 1.1 section 3.1).

use controller::ControllerId;
use nvme_host::{Host, Port, Setup};
use nvme_spec::Status;
use nvme_spec::register::{self, Capabilities, Configuration, ControllerStatus, VERSION_2_1};
use spec_tests::rig::{Build, MEMORY, Rig};

use crate::support::{admin_kind, create_completion, registers};

/// Where the host may write something and read it back or see an effect.
const WRITABLE: [u64; 10] = [
    register::INTMS,
    register::INTMC,
    register::CC,
    register::CSTS,
    register::NSSR,
    register::AQA,
    register::ASQ,
    register::ASQ + 4,
    register::ACQ,
    register::ACQ + 4,
];

/// B1: two narrow reads and a wide one agree at every offset, and reading changes nothing.
#[test]
fn a_wide_read_agrees_with_two_narrow_ones_at_every_offset() {
    let mut host = Build::default().host();
    let rig = host.port_mut();
    let before = registers(rig);
    for offset in (0..0x4000).step_by(8) {
        let wide = rig.register_read_64(offset);
        let narrow = [rig.register_read_32(offset), rig.register_read_32(offset + 4)];
        assert_eq!(wide, u64::from(narrow[0]) | u64::from(narrow[1]) << 32, "at {offset:#x}");
    }
    assert_eq!(registers(rig), before);
}

/// B1: CAP and VS are the same in every state, and bits without a meaning are 0.
#[test]
fn cap_and_vs_never_change() {
    let reserved: u64 = 0x1f << 19 | 0b11 << 62;
    let mut host = Build::default().admin_host();
    let cap = host.capabilities();
    assert_eq!(cap.0 & reserved, 0);
    let check = |rig: &mut Rig| {
        assert_eq!((rig.register_read_64(register::CAP), rig.register_read_32(register::VS)), (cap.0, VERSION_2_1));
    };
    check(host.port_mut());
    host.shutdown(nvme_host::Shutdown::Normal).expect("shut down");
    check(host.port_mut());
    host.disable().expect("disabled");
    check(host.port_mut());
    host.port_mut().controller_mut().reset_function();
    host.port_mut().step();
    check(host.port_mut());
}

/// B2: VS says what Identify Controller says in VER.
#[test]
fn vs_equals_the_version_in_identify_controller() {
    let mut host = Build::default().admin_host();
    let version = host.identify_controller().expect("identified").ver.get();
    assert_eq!(host.port_mut().register_read_32(register::VS), version);
}

/// B3: what CAP offers can be had: a queue of more than one entry, every page size from MPSMIN to MPSMAX, both ways to select the
/// NVM command set.
#[test]
fn cap_offers_only_what_comes_up() {
    let cap = Build::default().admin_host().capabilities();
    assert!(cap.mqes_z() >= 1 && cap.mps_min() <= cap.mps_max());
    assert_ne!(cap.0 & (Capabilities::CSS_NVM | Capabilities::CSS_IO), 0);
    for mps in cap.mps_min()..=cap.mps_max() {
        for (command_set, bit) in [(0, Capabilities::CSS_NVM), (6, Capabilities::CSS_IO)] {
            if cap.0 & bit == 0 {
                continue;
            }
            let setup = Setup { page_shift: 12 + mps, command_set, ..Setup::new(MEMORY) };
            let mut host = Build { setup, ..Build::default() }.host();
            assert_eq!(host.write(1, 0, &[7; 512], false), Ok(Status::SUCCESS));
            assert_eq!(host.read(1, 0, 1), Ok((Status::SUCCESS, vec![7; 512])));
        }
    }
}

/// B4, B5: RDY follows EN within CAP.TO and CRTO.CRWMT, and a controller that says CRWMS is ready with its media.
#[test]
fn ready_follows_enable_within_the_time_that_cap_names() {
    let mut host = Build::default().admin_host();
    let limit = u64::from(host.capabilities().timeout_half_seconds()) * 500_000_000;
    let crto = u64::from(host.port_mut().register_read_32(register::CRTO) & 0xffff) * 500_000_000;
    assert_ne!(host.capabilities().0 & Capabilities::CRWMS, 0);
    for _ in 0..3 {
        let begin = host.port().now.0;
        host.disable().expect("RDY goes away");
        let disabled = host.port().now.0;
        host.start().expect("RDY comes back");
        let ready = host.port().now.0;
        assert!(disabled - begin <= limit && ready - disabled <= limit.min(crto));
        host.create_queue_pair(1, 8, None).expect("a queue pair");
        assert_eq!(host.read(1, 0, 1).expect("answered").0, Status::SUCCESS, "the media is ready at once");
    }
}

/// B6: at power-on nothing is enabled, ready, fatal or shut down, and no subsystem reset is reported.
#[test]
fn power_on_values_are_zero() {
    let mut rig = Build::default().rig();
    for _ in 0..2 {
        let after_version = registers(&mut rig).split_off(usize::try_from(register::INTMS / 4).expect("small"));
        let set: Vec<u32> = after_version.into_iter().filter(|dword| *dword != 0).collect();
        assert_eq!(set, [rig.register_read_32(register::CRTO)], "nothing but CRTO");
        rig.step();
    }
}

/// B15 (ours): fields of CC other than EN and SHN do not change while EN is 1.
#[test]
fn fields_of_cc_do_not_change_while_enabled() {
    let mut host = Build::default().host();
    let was = host.port_mut().register_read_32(register::CC);
    for bit in [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 18, 19, 20, 21, 22, 23] {
        host.port_mut().register_write_32(register::CC, was ^ 1 << bit);
        host.port_mut().run_until_idle();
        assert_eq!(host.port_mut().register_read_32(register::CC), was, "bit {bit}");
    }
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
}

/// B15: an I/O queue is refused while CC names other entry sizes than Identify Controller offers.
#[test]
fn queues_need_the_entry_sizes_that_identify_offers() {
    for configuration in [Configuration(0), Configuration(5 << 16 | 4 << 20), Configuration(6 << 16 | 5 << 20)] {
        let mut host = Build::default().admin_host();
        host.disable().expect("disabled");
        host.start().expect("enabled: the admin queues need no entry sizes");
        // The same once more by hand, with the queues where they are.
        host.port_mut().register_write_32(register::CC, 0);
        host.port_mut().step();
        host.port_mut().register_write_32(register::CC, configuration.0 | 1);
        host.port_mut().step();
        let base = host.allocate(4096).expect("memory");
        assert_eq!(admin_kind(&mut host, create_completion(1, 7, base)), (1, 0x02), "{configuration:?}");
    }
}

/// B16, E18, E1: an access of another width than 4 or 8 bytes, or not aligned to its width, reads zeroes and changes nothing,
/// wherever it is.
#[test]
fn odd_accesses_have_no_effect_at_any_offset() {
    let mut host = Build::default().host();
    let rig = host.port_mut();
    let before = registers(rig);
    for offset in (0..0x4010).chain(u64::MAX - 16..=u64::MAX) {
        for width in [0_usize, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 64] {
            if matches!(width, 4 | 8) && offset.is_multiple_of(width as u64) {
                continue;
            }
            let mut bytes = vec![0xa5; width];
            rig.subsystem.bar_read(ControllerId::FIRST, offset, &mut bytes);
            assert!(bytes.iter().all(|byte| *byte == 0), "{width} bytes at {offset:#x}");
            rig.subsystem.bar_write(ControllerId::FIRST, offset, &vec![0xff; width]);
        }
    }
    rig.run_until_idle();
    assert_eq!(registers(rig), before);
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    assert!(host.surprises().is_empty());
}

/// B17: what is not a register reads 0; writes to it and to what is read-only change nothing. Doorbells read 0 too.
#[test]
fn holes_read_zero_and_read_only_registers_ignore_writes() {
    let known = [register::CAP, register::CAP + 4, register::VS, register::CRTO];
    let mut host = Build::default().host();
    let rig = host.port_mut();
    let before = registers(rig);
    for offset in (0..0x1000).step_by(4) {
        if !known.contains(&offset) && !WRITABLE.contains(&offset) {
            assert_eq!(rig.register_read_32(offset), 0, "at {offset:#x}");
        }
        if !WRITABLE.contains(&offset) {
            rig.register_write_32(offset, 0xffff_ffff);
            rig.register_write_32(offset, 0);
        }
    }
    assert!((0x1000..0x2000).step_by(4).all(|offset| rig.register_read_32(offset) == 0));
    rig.run_until_idle();
    assert_eq!(registers(rig), before);
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
}

/// B17: CSTS is read-only but for NSSRO; AQA, ASQ and ACQ stay as they are while EN is 1.
#[test]
fn admin_queue_registers_do_not_move_under_a_running_queue() {
    let mut host = Build::default().admin_host();
    let before = registers(host.port_mut());
    for offset in [register::AQA, register::ASQ, register::ASQ + 4, register::ACQ, register::ACQ + 4, register::CSTS] {
        host.port_mut().register_write_32(offset, 0xffff_ffff);
    }
    host.port_mut().run_until_idle();
    assert_eq!(registers(host.port_mut()), before);
    host.identify_controller().expect("the admin queue works");
}

/// B17: reserved bits of AQA, ASQ and ACQ read 0, and each half of a 64-bit register can be written alone.
#[test]
fn admin_queue_registers_keep_what_has_a_meaning() {
    let mut rig = Build::default().rig();
    rig.register_write_32(register::AQA, 0xffff_ffff);
    assert_eq!(rig.register_read_32(register::AQA), 0x0fff_0fff);
    for offset in [register::ASQ, register::ACQ] {
        rig.register_write_32(offset, 0x1234_5000);
        rig.register_write_32(offset + 4, 0x9abc_def0);
        assert_eq!(rig.register_read_64(offset), 0x9abc_def0_1234_5000);
        rig.register_write_64(offset, u64::MAX);
        assert_eq!(rig.register_read_64(offset), !0xfff);
    }
}

/// B18: INTMS sets and INTMC clears bits of one mask, and both read it.
#[test]
fn intms_and_intmc_work_on_one_mask() {
    let mut host = Build::default().admin_host();
    let rig = host.port_mut();
    rig.controller_mut().set_interrupt_mode(controller::InterruptMode::Pin);
    let both = |rig: &mut Rig| [register::INTMS, register::INTMC].map(|offset| rig.register_read_32(offset));
    rig.register_write_32(register::INTMS, 0x8000_0005);
    rig.register_write_32(register::INTMS, 0x0000_0002);
    assert_eq!(both(rig), [0x8000_0007; 2]);
    rig.register_write_32(register::INTMC, 0x0000_0005);
    assert_eq!(both(rig), [0x8000_0002; 2]);
}

/// B18: with MSI-X enabled the two do nothing: messages go on, and the mask does not change.
#[test]
fn intms_is_ignored_with_msi_x() {
    let mut host = Build::default().host();
    host.port_mut().register_write_32(register::INTMS, 0xffff_ffff);
    assert_eq!(host.port_mut().register_read_32(register::INTMS), 0);
    host.port_mut().take_vectors();
    assert_eq!(host.flush(1), Ok(Status::SUCCESS));
    assert_eq!(host.port_mut().take_vectors(), [1]);
}

/// B19: only "NVMe" written to NSSR resets the subsystem: every property returns to its power-on value, CSTS.NSSRO says why, and
/// writing 1 to NSSRO clears it.
#[test]
fn only_the_key_in_nssr_resets_the_subsystem() {
    let mut host = Build::default().host();
    assert_ne!(host.capabilities().0 & Capabilities::NSSRS, 0);
    for wrong in [0, 1, 0x4e56_4d64, 0x6556_4d4e, 0x654d_564e, 0xffff_ffff] {
        host.port_mut().register_write_32(register::NSSR, wrong);
        host.port_mut().run_until_idle();
        assert_eq!(host.flush(1), Ok(Status::SUCCESS), "{wrong:#x} resets nothing");
    }
    let rig = host.port_mut();
    rig.register_write_32(register::NSSR, register::NSSR_KEY);
    rig.run_until_idle();
    assert_eq!(rig.register_read_32(register::CSTS), ControllerStatus::SUBSYSTEM_RESET.bits());
    let cleared = [register::CC, register::AQA, register::ASQ, register::ACQ, register::NSSR];
    assert_eq!(cleared.map(|offset| rig.register_read_32(offset)), [0; 5]);
    rig.register_write_32(register::CSTS, !ControllerStatus::SUBSYSTEM_RESET.bits());
    assert_eq!(rig.register_read_32(register::CSTS), ControllerStatus::SUBSYSTEM_RESET.bits());
    rig.register_write_32(register::CSTS, ControllerStatus::SUBSYSTEM_RESET.bits());
    assert_eq!(rig.register_read_32(register::CSTS), 0);
    host.start().expect("it comes up again");
}

/// B19: NSSRO lives through a controller reset, which is not what it reports.
#[test]
fn a_controller_reset_leaves_nssro() {
    let mut rig = Build::default().rig();
    rig.register_write_32(register::NSSR, register::NSSR_KEY);
    rig.step();
    let mut host = Host::enable(rig, Setup::new(MEMORY)).expect("enabled");
    host.disable().expect("disabled");
    assert!(host.status().contains(ControllerStatus::SUBSYSTEM_RESET));
}
