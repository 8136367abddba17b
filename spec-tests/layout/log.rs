//! Log pages and asynchronous events (Base 2.1 sections 5.1.12 and 5.1.2).

use nvme_spec::log::{
    self, AccessGroup, AccessHeader, EnduranceGroup, ErrorEntry, Event, FirmwareSlots, LogId, OcpSmart, Smart, effects,
};
use spec_tests::fields_at;
use spec_tests::golden::{marked, parsed};

// Base 2.1 section 5.1.12.1.2, Error Information log entry.
#[test]
fn an_error_entry_lies_as_its_figure_says() {
    fields_at!(ErrorEntry, 64 bytes, {
        error_count: 0, 8;
        sqid: 8, 2;
        cid: 10, 2;
        status: 12, 2;
        parameter_location: 14, 2;
        lba: 16, 8;
        nsid: 24, 4;
        vendor_log: 28, 1;
        transport: 29, 1;
        command_set: 30, 1;
        opcode: 31, 1;
        command_specific: 32, 8;
        transport_specific: 40, 2;
        version: 63, 1;
    }, reserved { reserved });
}

// Base 2.1 section 5.1.12.1.3, SMART / Health Information.
#[test]
fn smart_lies_as_its_figure_says() {
    fields_at!(Smart, 512 bytes, {
        critical_warning: 0, 1;
        composite_temperature_kelvins: 1, 2;
        available_spare_percent: 3, 1;
        available_spare_threshold_percent: 4, 1;
        percentage_used: 5, 1;
        endurance_group_warning: 6, 1;
        data_units_read: 32, 16;
        data_units_written: 48, 16;
        host_read_commands: 64, 16;
        host_write_commands: 80, 16;
        controller_busy_minutes: 96, 16;
        power_cycles: 112, 16;
        power_on_hours: 128, 16;
        unsafe_shutdowns: 144, 16;
        media_errors: 160, 16;
        error_log_entries: 176, 16;
        warning_temperature_minutes: 192, 4;
        critical_temperature_minutes: 196, 4;
        temperature_sensors_kelvins: 200, 16;
    }, reserved { reserved_7, reserved_216 });
    assert_eq!(log::WARNING_TEMPERATURE, 0x02);
    assert_eq!(log::WARNING_RELIABILITY, 0x04);
}

// Base 2.1 section 5.1.12.1.10, Endurance Group Information.
#[test]
fn the_endurance_group_page_lies_as_its_figure_says() {
    fields_at!(EnduranceGroup, 512 bytes, {
        critical_warning: 0, 1;
        features: 1, 2;
        available_spare_percent: 3, 1;
        available_spare_threshold_percent: 4, 1;
        percentage_used: 5, 1;
        domain: 6, 2;
        endurance_estimate: 32, 16;
        data_units_read: 48, 16;
        data_units_written: 64, 16;
        media_units_written: 80, 16;
        host_read_commands: 96, 16;
        host_write_commands: 112, 16;
        media_errors: 128, 16;
        error_log_entries: 144, 16;
        total_capacity_bytes: 160, 16;
        unallocated_capacity_bytes: 176, 16;
    }, reserved { reserved_8, reserved_192 });
}

// OCP Datacenter NVMe SSD 2.0 section 4.8.4, SMART / Health Information Extended.
#[test]
fn the_ocp_page_lies_as_its_table_says() {
    fields_at!(OcpSmart, 512 bytes, {
        physical_bytes_written: 0, 16;
        physical_bytes_read: 16, 16;
        bad_user_blocks: 32, 6;
        bad_user_blocks_normalized: 38, 2;
        uncorrectable_reads: 56, 8;
        erases_most: 88, 4;
        erases_fewest: 92, 4;
        incomplete_shutdowns: 112, 4;
        version: 494, 2;
        guid: 496, 16;
    }, reserved { reserved_40, reserved_64, reserved_96, reserved_116 });
    // The number is written with its highest byte first: AFD514C9-7C6F-4F9C-A4F2-BFEA2810AFC5.
    assert_eq!(u128::from_le_bytes(log::OCP_SMART_GUID), 0xafd5_14c9_7c6f_4f9c_a4f2_bfea_2810_afc5);
}

#[test]
fn smart_temperature_begins_at_an_odd_byte() {
    let smart: Smart = parsed(&marked(512, 0, 7));
    assert_eq!(smart.composite_temperature_kelvins.get(), 0x0302);
}

// Base 2.1 section 5.1.12.1.4, Firmware Slot Information: seven revisions of 8 bytes from byte 8 on.
#[test]
fn firmware_slots_lie_as_their_figure_says() {
    fields_at!(FirmwareSlots, 512 bytes, { active: 0, 1; revisions: 8, 56; }, reserved { reserved_1, reserved_64 });
    let slots: FirmwareSlots = parsed(&marked(512, 56, 8));
    assert_eq!(slots.revisions[6], [1, 2, 3, 4, 5, 6, 7, 8]);
}

// Base 2.1 section 5.1.12.1.13, Asymmetric Namespace Access; the states as section 8.1.1.3 numbers them.
#[test]
fn asymmetric_namespace_access_lies_as_its_figure_says() {
    fields_at!(AccessHeader, 16 bytes, { change_count: 0, 8; groups: 8, 2; }, reserved { reserved_10 });
    fields_at!(AccessGroup, 32 bytes, {
        group: 0, 4;
        namespaces: 4, 4;
        change_count: 8, 8;
        state: 16, 1;
    }, reserved { reserved_17 });
    use nvme_spec::log::access_state::{CHANGE, INACCESSIBLE, NON_OPTIMIZED, OPTIMIZED, PERSISTENT_LOSS};
    assert_eq!([OPTIMIZED, NON_OPTIMIZED, INACCESSIBLE, PERSISTENT_LOSS, CHANGE], [1, 2, 3, 4, 0xf]);
    assert_eq!(log::ACCESS_GROUPS_ONLY, 0x0000_0100);
}

// Base 2.1 section 5.1.12: log page identifiers.
#[test]
fn log_page_identifiers() {
    let ids = [
        (LogId::SUPPORTED, 0x00),
        (LogId::ERROR, 0x01),
        (LogId::SMART, 0x02),
        (LogId::FIRMWARE_SLOT, 0x03),
        (LogId::CHANGED_NAMESPACES, 0x04),
        (LogId::COMMAND_EFFECTS, 0x05),
        (LogId::ASYMMETRIC_ACCESS, 0x0c),
        (LogId::FEATURE_EFFECTS, 0x12),
        (LogId::MANAGEMENT_EFFECTS, 0x13),
        (LogId::RESERVATION, 0x80),
    ];
    assert!(ids.iter().all(|&(id, figure)| id.0 == figure), "{ids:?}");
}

// Base 2.1 sections 5.1.12.1.1, .6, .18 and .19: a dword for each of 256 identifiers; page 05h has admin, then I/O opcodes, and 2 KiB
// reserved; page 13h has 3 KiB reserved.
#[test]
fn effects_logs_have_their_sizes_and_bits() {
    assert_eq!(log::SUPPORTED_BYTES, 256 * 4);
    assert_eq!((log::COMMAND_EFFECTS_BYTES, log::COMMAND_EFFECTS_IO_OFFSET), (4096, 256 * 4));
    assert_eq!(log::FEATURE_EFFECTS_BYTES, 256 * 4);
    assert_eq!(log::MANAGEMENT_EFFECTS_BYTES, 4096);
    assert_eq!((effects::SUPPORTED, effects::CONTENT_CHANGE), (0x0000_0001, 0x0000_0002));
    assert_eq!((effects::SCOPE_NAMESPACE, effects::SCOPE_CONTROLLER), (0x0010_0000, 0x0020_0000));
}

// Base 2.1 section 5.1.2: type in bits 2:0, information in 15:8, log page in 23:16.
#[test]
fn an_event_lies_in_dword_0_as_its_figure_says() {
    assert_eq!(Event { kind: 0x7, information: 0, log: LogId(0) }.dword(), 0x0000_0007);
    assert_eq!(Event { kind: 0, information: 0xff, log: LogId(0) }.dword(), 0x0000_ff00);
    assert_eq!(Event { kind: 0, information: 0, log: LogId(0xff) }.dword(), 0x00ff_0000);
    assert_eq!(Event::INVALID_DOORBELL_REGISTER.dword(), 0x0001_0000);
    assert_eq!(Event::INVALID_DOORBELL_VALUE.dword(), 0x0001_0100);
    assert_eq!(Event::TEMPERATURE.dword(), 0x0002_0101);
    assert_eq!(Event::RELIABILITY.dword(), 0x0002_0001);
    assert_eq!(Event::SPARE.dword(), 0x0002_0201);
    // Figure 151: Namespace Attribute Changed, whose log is the Changed Attached Namespace List.
    assert_eq!(Event::NAMESPACE_CHANGED.dword(), 0x0004_0002);
    // The same figure: Asymmetric Namespace Access Change, information 03h, whose log is 0Ch.
    assert_eq!(Event::ACCESS_CHANGED.dword(), 0x000c_0302);
    // Type 6, information 00h: Reservation Log Page Available.
    assert_eq!(Event::RESERVATION.dword(), 0x0080_0006);
}
