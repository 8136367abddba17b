//! Controller properties (Base 2.1 section 3.1.4).

use nvme_spec::register::{self, AdminQueueAttributes, Capabilities, Configuration, ControllerStatus};

#[test]
fn properties_lie_where_the_figure_has_them() {
    assert_eq!([register::CAP, register::VS, register::INTMS, register::INTMC], [0x00, 0x08, 0x0c, 0x10]);
    assert_eq!([register::CC, register::CSTS, register::NSSR, register::AQA], [0x14, 0x1c, 0x20, 0x24]);
    assert_eq!([register::ASQ, register::ACQ, register::CRTO, register::DOORBELLS], [0x28, 0x30, 0x68, 0x1000]);
}

// Base 2.1 section 3.1.4.2 (VS: major in 31:16, minor in 15:8, tertiary in 7:0) and 3.1.4.7 (NSSR: "NVMe", N in the top byte).
#[test]
fn version_and_reset_key() {
    assert_eq!(register::VERSION_2_1.to_be_bytes(), [0, 2, 1, 0]);
    assert_eq!(register::NSSR_KEY.to_be_bytes(), *b"NVMe");
}

// Base 2.1 section 3.1.4.1.
#[test]
fn fields_of_cap() {
    let fields = |cap: Capabilities| {
        (cap.mqes_z(), cap.timeout_half_seconds(), cap.doorbell_stride(), cap.mps_min(), cap.mps_max())
    };
    assert_eq!(fields(Capabilities(0x0000_0000_0000_ffff)), (0xffff, 0, 0, 0, 0));
    assert_eq!(fields(Capabilities(0x0000_0000_ff00_0000)), (0, 0xff, 0, 0, 0));
    assert_eq!(fields(Capabilities(0x0000_000f_0000_0000)), (0, 0, 0xf, 0, 0));
    assert_eq!(fields(Capabilities(0x000f_0000_0000_0000)), (0, 0, 0, 0xf, 0));
    assert_eq!(fields(Capabilities(0x00f0_0000_0000_0000)), (0, 0, 0, 0, 0xf));
    assert_eq!(fields(Capabilities(0xff00_fff0_00ff_0000)), (0, 0, 0, 0, 0));
}

// Base 2.1 section 3.1.4.1: CQR 16, NSSRS 36, CSS 44:37 (bit 0 NVM, bit 6 I/O command sets), CRMS 60:59 (bit 0 CRWMS).
#[test]
fn bits_of_cap() {
    assert_eq!(Capabilities::CQR, 0x0000_0000_0001_0000);
    assert_eq!(Capabilities::NSSRS, 0x0000_0010_0000_0000);
    assert_eq!(Capabilities::CSS_NVM, 0x0000_0020_0000_0000);
    assert_eq!(Capabilities::CSS_IO, 0x0000_0800_0000_0000);
    assert_eq!(Capabilities::CRWMS, 0x0800_0000_0000_0000);
}

// Base 2.1 section 3.1.4.5: EN 0, CSS 6:4, MPS 10:7, AMS 13:11, SHN 15:14, IOSQES 19:16, IOCQES 23:20.
#[test]
fn fields_of_cc() {
    let fields = |bits: u32| {
        let cc = Configuration(bits);
        let shifts = (cc.io_sq_entry_shift(), cc.io_cq_entry_shift());
        (cc.enabled(), cc.command_set(), cc.mps(), cc.arbitration(), cc.shutdown(), shifts)
    };
    assert_eq!(fields(0x0000_0001), (true, 0, 0, 0, 0, (0, 0)));
    assert_eq!(fields(0x0000_0070), (false, 7, 0, 0, 0, (0, 0)));
    assert_eq!(fields(0x0000_0780), (false, 0, 0xf, 0, 0, (0, 0)));
    assert_eq!(fields(0x0000_3800), (false, 0, 0, 7, 0, (0, 0)));
    assert_eq!(fields(0x0000_c000), (false, 0, 0, 0, 3, (0, 0)));
    assert_eq!(fields(0x000f_0000), (false, 0, 0, 0, 0, (0xf, 0)));
    assert_eq!(fields(0x00f0_0000), (false, 0, 0, 0, 0, (0, 0xf)));
    assert_eq!(fields(0xff00_000e), (false, 0, 0, 0, 0, (0, 0)));
}

// What Linux writes on a controller with all I/O command sets: 0046_0061h.
#[test]
fn cc_as_drivers_write_it() {
    assert_eq!(Configuration::usual(true, 0).0, 0x0046_0001);
    assert_eq!(Configuration::usual(true, 6).0, 0x0046_0061);
    assert_eq!(Configuration::usual(true, 0).with_shutdown(1).0, 0x0046_4001);
    assert_eq!(Configuration(0x0046_c001).with_shutdown(2).0, 0x0046_8001);
    assert_eq!(Configuration::usual(true, 0).with_mps(4).with_arbitration(1).0, 0x0046_0a01);
}

// Base 2.1 section 3.1.4.6: RDY 0, CFS 1, SHST 3:2 (01b going on, 10b complete), NSSRO 4.
#[test]
fn bits_of_csts() {
    assert_eq!(ControllerStatus::READY.bits(), 0x01);
    assert_eq!(ControllerStatus::FATAL.bits(), 0x02);
    assert_eq!(ControllerStatus::SHUTDOWN_RUNNING.bits(), 0x04);
    assert_eq!(ControllerStatus::SHUTDOWN_COMPLETE.bits(), 0x08);
    assert_eq!(ControllerStatus::SUBSYSTEM_RESET.bits(), 0x10);
}

// Base 2.1 section 3.1.4.8: ASQS 11:0, ACQS 27:16.
#[test]
fn fields_of_aqa() {
    let attributes = AdminQueueAttributes(0x0abc_0123);
    assert_eq!((attributes.submission_z(), attributes.completion_z()), (0x123, 0xabc));
    let reserved = AdminQueueAttributes(0xf000_f000);
    assert_eq!((reserved.submission_z(), reserved.completion_z()), (0, 0));
    assert_eq!(AdminQueueAttributes::new(0x123, 0xabc).0, 0x0abc_0123);
}
