//! Data structures of Identify (Base 2.1 section 5.1.13; NVM Command Set 1.1 section 4.1.5).

use nvme_spec::identify::{self, Controller, IndependentNamespace, LbaFormat, Namespace, NvmNamespace, PowerState};
use spec_tests::fields_at;
use spec_tests::golden::{marked, parsed};

// Base 2.1 section 5.1.13.2.1, Identify Controller.
#[test]
fn identify_controller_lies_as_its_figure_says() {
    fields_at!(Controller, 4096 bytes, {
        vid: 0, 2;
        ssvid: 2, 2;
        sn: 4, 20;
        mn: 24, 40;
        fr: 64, 8;
        rab: 72, 1;
        ieee: 73, 3;
        cmic: 76, 1;
        mdts: 77, 1;
        cntlid: 78, 2;
        ver: 80, 4;
        rtd3r: 84, 4;
        rtd3e: 88, 4;
        oaes: 92, 4;
        ctratt: 96, 4;
        rrls: 100, 2;
        cntrltype: 111, 1;
        fguid: 112, 16;
        crdt: 128, 6;
        oacs: 256, 2;
        acl_z: 258, 1;
        aerl_z: 259, 1;
        frmw: 260, 1;
        lpa: 261, 1;
        elpe_z: 262, 1;
        npss_z: 263, 1;
        avscc: 264, 1;
        apsta: 265, 1;
        wctemp: 266, 2;
        cctemp: 268, 2;
        mtfa: 270, 2;
        hmpre: 272, 4;
        hmmin: 276, 4;
        tnvmcap: 280, 16;
        unvmcap: 296, 16;
        rpmbs: 312, 4;
        edstt: 316, 2;
        dsto: 318, 1;
        fwug: 319, 1;
        kas: 320, 2;
        hctma: 322, 2;
        mntmt: 324, 2;
        mxtmt: 326, 2;
        sanicap: 328, 4;
        hmminds: 332, 4;
        hmmaxd: 336, 2;
        nsetidmax: 338, 2;
        endgidmax: 340, 2;
        anatt: 342, 1;
        anacap: 343, 1;
        anagrpmax: 344, 4;
        nanagrpid: 348, 4;
        pels: 352, 4;
        sqes: 512, 1;
        cqes: 513, 1;
        maxcmd: 514, 2;
        nn: 516, 4;
        oncs: 520, 2;
        fuses: 522, 2;
        fna: 524, 1;
        vwc: 525, 1;
        awun_z: 526, 2;
        awupf_z: 528, 2;
        icsvscc: 530, 1;
        nwpc: 531, 1;
        acwu_z: 532, 2;
        cdfs: 534, 2;
        sgls: 536, 4;
        mnan: 540, 4;
        subnqn: 768, 256;
        psd: 2048, 1024;
        vendor: 3072, 1024;
    }, reserved { reserved_102, reserved_134, reserved_356, reserved_544, reserved_1024 });
}

#[test]
fn numbers_of_identify_controller_are_little_endian() {
    let mut raw = [0; 4096];
    raw[0..2].copy_from_slice(&[0xf4, 0x1a]);
    raw[80..84].copy_from_slice(&[0x00, 0x01, 0x02, 0x00]);
    raw[130..132].copy_from_slice(&[0x34, 0x12]);
    raw[280..288].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
    raw[2048 + 32..2048 + 34].copy_from_slice(&[0xc4, 0x09]);
    let controller: Controller = parsed(&raw);
    assert_eq!((controller.vid.get(), controller.ver.get()), (0x1af4, nvme_spec::register::VERSION_2_1));
    assert_eq!(controller.crdt.map(zerocopy::little_endian::U16::get), [0, 0x1234, 0]);
    assert_eq!(controller.tnvmcap.get(), 0x0102_0304_0506_0708);
    assert_eq!(controller.psd[1].maximum_power_centiwatts.get(), 2500);
}

// Base 2.1 section 5.1.13.2.1: OAES, OACS, ONCS, FUSES, LPA and VWC.
#[test]
fn bits_of_identify_controller() {
    assert_eq!(identify::AdminCommands::DOORBELL_BUFFER.bits(), 0x0100);
    assert_eq!(identify::OptionalEvents::NAMESPACE_ATTRIBUTE.bits(), 0x0000_0100);
    assert_eq!(identify::OptionalEvents::ACCESS_CHANGE.bits(), 0x0000_0800);
    assert_eq!(identify::Multipath::ASYMMETRIC_ACCESS.bits(), 0b1000);
    // ANACAP: the five states in bits 4:0, the group that stays in bit 6, the one that may be chosen in bit 7.
    assert_eq!(identify::AccessCapabilities::all().bits(), 0b1101_1111);
    assert_eq!(identify::AccessCapabilities::GROUP_CHOSEN.bits(), 0x80);
    assert_eq!(identify::OptionalCommands::COMPARE.bits(), 0x0001);
    assert_eq!(identify::OptionalCommands::DATASET_MANAGEMENT.bits(), 0x0004);
    assert_eq!(identify::OptionalCommands::WRITE_ZEROES.bits(), 0x0008);
    assert_eq!(identify::OptionalCommands::SELECT.bits(), 0x0010);
    assert_eq!(identify::OptionalCommands::VERIFY.bits(), 0x0080);
    assert_eq!(identify::OptionalCommands::WRITE_UNCORRECTABLE.bits(), 0x0002);
    assert_eq!(identify::OptionalCommands::COPY.bits(), 0x0100);
    assert_eq!(identify::OptionalCommands::COPY_SINGLE_ATOMICITY.bits(), 0x0200);
    assert_eq!(identify::FusedOperations::COMPARE_AND_WRITE.bits(), 0x0001);
    assert_eq!(identify::LogPages::COMMAND_EFFECTS.bits(), 0x02);
    assert_eq!(identify::LogPages::EXTENDED.bits(), 0x04);
    assert_eq!(identify::LogPages::MISCELLANEOUS.bits(), 0x20);
    assert_eq!(identify::WriteCache::PRESENT.bits(), 0x01);
    assert_eq!(identify::WriteCache::FLUSH_ALL.bits(), 0x06);
}

// Base 2.1 section 5.1.13.2.1, Power State Descriptor.
#[test]
fn a_power_state_lies_as_its_figure_says() {
    fields_at!(PowerState, 32 bytes, { maximum_power_centiwatts: 0, 2; }, reserved { reserved_2 });
}

// NVM Command Set 1.1 section 4.1.5.1, Identify Namespace.
#[test]
fn identify_namespace_lies_as_its_figure_says() {
    fields_at!(Namespace, 4096 bytes, {
        nsze: 0, 8;
        ncap: 8, 8;
        nuse: 16, 8;
        nsfeat: 24, 1;
        nlbaf_z: 25, 1;
        flbas: 26, 1;
        mc: 27, 1;
        dpc: 28, 1;
        dps: 29, 1;
        nmic: 30, 1;
        rescap: 31, 1;
        fpi: 32, 1;
        dlfeat: 33, 1;
        nawun_z: 34, 2;
        nawupf_z: 36, 2;
        nacwu_z: 38, 2;
        nabsn_z: 40, 2;
        nabo: 42, 2;
        nabspf_z: 44, 2;
        noiob: 46, 2;
        nvmcap: 48, 16;
        npwg_z: 64, 2;
        npwa_z: 66, 2;
        npdg_z: 68, 2;
        npda_z: 70, 2;
        nows_z: 72, 2;
        mssrl: 74, 2;
        mcl: 76, 4;
        msrc_z: 80, 1;
        kpios: 81, 1;
        nulbaf: 82, 1;
        anagrpid: 92, 4;
        nsattr: 99, 1;
        nvmsetid: 100, 2;
        endgid: 102, 2;
        nguid: 104, 16;
        eui64: 120, 8;
        lbaf: 128, 256;
        vendor: 384, 3712;
    }, reserved { reserved_83, reserved_96 });
}

// NVM Command Set 1.1 section 4.1.5.1, LBA Format: MS in bits 15:0, LBADS in 23:16, RP in 25:24.
#[test]
fn lba_formats_follow_each_other() {
    fields_at!(LbaFormat, 4 bytes, { ms: 0, 2; lbads: 2, 1; rp: 3, 1; }, reserved {});
    let namespace: Namespace = parsed(&marked(4096, 380, 4));
    assert_eq!(namespace.lbaf[63], LbaFormat { ms: 0x0201.into(), lbads: 3, rp: 4 });
    assert_eq!(namespace.lbaf[62], LbaFormat { ms: 0.into(), lbads: 0, rp: 0 });
}

// NVM Command Set 1.1 section 4.1.5.1: NSFEAT bit 1 NSABP, bit 6 MAM; DLFEAT bits 2:0 = 1 zeroes, bit 3 Deallocate in Write Zeroes.
#[test]
fn bits_of_identify_namespace() {
    assert_eq!(identify::NamespaceFeatures::OWN_ATOMICS.bits(), 0x02);
    assert_eq!(identify::NamespaceFeatures::MULTIPLE_ATOMICITY.bits(), 0x40);
    assert_eq!(identify::DLFEAT_ZEROES_AND_DEALLOCATE, 0x09);
}

// NVM Command Set 1.1 section 4.1.5.3, I/O Command Set specific Identify Namespace.
#[test]
fn nvm_identify_namespace_lies_as_its_figure_says() {
    fields_at!(NvmNamespace, 4096 bytes, {
        lbstm: 0, 8;
        pic: 8, 1;
        elbaf: 12, 256;
        npdgl: 268, 4;
        nprg: 272, 4;
        npra: 276, 4;
        nors: 280, 4;
        npdal: 284, 4;
    }, reserved { reserved_9, reserved_288 });
}

// Base 2.1 section 5.1.13.2.8, I/O Command Set Independent Identify Namespace.
#[test]
fn independent_identify_namespace_lies_as_its_figure_says() {
    fields_at!(IndependentNamespace, 4096 bytes, {
        nsfeat: 0, 1;
        nmic: 1, 1;
        rescap: 2, 1;
        fpi: 3, 1;
        anagrpid: 4, 4;
        nsattr: 8, 1;
        nvmsetid: 10, 2;
        endgid: 12, 2;
        nstat: 14, 1;
    }, reserved { reserved_9, reserved_15 });
    assert_eq!(identify::NamespaceStatus::READY.bits(), 0x01);
}

// Base 2.1 section 5.1.13.2.3, Namespace Identifier Type.
#[test]
fn kinds_of_namespace_descriptors() {
    use nvme_spec::identify::descriptor::{COMMAND_SET, EUI64, NGUID, UUID};
    assert_eq!([EUI64, NGUID, UUID, COMMAND_SET], [1, 2, 3, 4]);
}
