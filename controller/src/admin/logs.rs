//! Get Log Page (NVMe Base 2.1 section 5.1.12).

use nvme_spec::command::{high16, low16};
use nvme_spec::log::{self, AccessGroup, AccessHeader, EnduranceGroup, FirmwareSlots, LogId, OcpSmart, Smart, effects};
use nvme_spec::{Command, NSID_ALL};
use zerocopy::little_endian::U128;
use zerocopy::{FromZeros, IntoBytes};

use super::Done;
use crate::Controller;
use crate::ana::AnaGroup;
use crate::dma::GuestMemory;
use crate::effects::{ADMIN, FEATURES, LOGS, NVM};
use crate::health::{ERROR_ENTRIES, TEMPERATURE_KELVINS};
use crate::reason::Reason;
use crate::shared::Shared;

/// Dword 10 bit 15: Retain Asynchronous Event.
const RETAIN_EVENT: u32 = 1 << 15;
/// The one endurance group.
pub(super) const ENDURANCE_GROUP: u16 = 1;
/// Version of the OCP SMART log's layout.
const OCP_SMART_VERSION: u16 = 3;
/// Below this much spare the SMART log warns, in percent.
const SPARE_THRESHOLD_PERCENT: u8 = 10;
/// Dword 14 bit 23: the offset is an index, not bytes.
const OFFSET_IS_INDEX: u32 = 1 << 23;

/// Transfers the part of the page that was asked for; behind the page's end there are zeroes, never other memory (B84, B85).
pub(super) fn get<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
) -> Result<Done, Reason> {
    let [identifier, ..] = command.cdw10.get().to_le_bytes();
    let identifier = LogId(identifier);
    if !is_offered(shared, identifier) {
        return Err(Reason::LogPage);
    }
    let offset = offset(command)?;
    let length = length(shared, command)?;
    let page = page(controller, shared, identifier, command)?;
    if offset > page.len() {
        return Err(Reason::LogOffset);
    }
    let part = &page[offset..page.len().min(offset.saturating_add(length))];
    controller.send_padded(memory, command, part, length)?;
    // Only a page that was read makes its events heard again (B75).
    if command.cdw10.get() & RETAIN_EVENT == 0 {
        controller.events.log_read(identifier);
        if identifier == LogId::CHANGED_NAMESPACES {
            controller.changed_namespaces.clear();
        }
        if identifier == LogId::RESERVATION {
            controller.notification_read();
        }
    }
    Ok(Done::Now(0))
}

/// Whether there is such a page here.
pub(super) fn is_offered(shared: &Shared, identifier: LogId) -> bool {
    LOGS.contains(&identifier) && (identifier != LogId::ASYMMETRIC_ACCESS || shared.config.ana)
}

/// LPO: bytes, a multiple of four.
fn offset(command: &Command) -> Result<usize, Reason> {
    let offset = u64::from(command.cdw12.get()) | u64::from(command.cdw13.get()) << 32;
    if command.cdw14.get() & OFFSET_IS_INDEX != 0 {
        return Err(Reason::LogOffsetType);
    }
    usize::try_from(offset).ok().filter(|offset| offset.is_multiple_of(4)).ok_or(Reason::LogOffset)
}

/// NUMD: dwords, zero-based, 32 bits over two fields; within MDTS (B121).
fn length(shared: &Shared, command: &Command) -> Result<usize, Reason> {
    let dwords_z = u64::from(high16(command.cdw10.get())) | u64::from(low16(command.cdw11.get())) << 16;
    let bytes = usize::try_from((dwords_z + 1) * 4).map_err(|_| Reason::LogLength)?;
    if bytes > shared.config.transfer_bytes_max() { Err(Reason::LogLength) } else { Ok(bytes) }
}

fn page(controller: &Controller, shared: &Shared, identifier: LogId, command: &Command) -> Result<Vec<u8>, Reason> {
    Ok(match identifier {
        LogId::SUPPORTED => supported(shared),
        LogId::ERROR => errors(controller),
        LogId::SMART => smart(controller, shared, command.nsid.get())?.as_bytes().to_vec(),
        LogId::FIRMWARE_SLOT => firmware(shared).as_bytes().to_vec(),
        LogId::CHANGED_NAMESPACES => changed_namespaces(controller),
        LogId::COMMAND_EFFECTS => command_effects(controller, shared),
        LogId::ENDURANCE_GROUP => endurance_group(controller, shared, high16(command.cdw11.get()))?.as_bytes().to_vec(),
        LogId::ASYMMETRIC_ACCESS => access(controller, shared, command.cdw10.get() & log::ACCESS_GROUPS_ONLY != 0),
        LogId::RESERVATION => controller.notifications.page().as_bytes().to_vec(),
        LogId::OCP_SMART => ocp_smart(shared).as_bytes().to_vec(),
        LogId::FEATURE_EFFECTS => feature_effects(controller, shared),
        LogId::MANAGEMENT_EFFECTS => vec![0; log::MANAGEMENT_EFFECTS_BYTES],
        _ => return Err(Reason::LogPage),
    })
}

/// LID 00h.
fn supported(shared: &Shared) -> Vec<u8> {
    let mut page = vec![0; log::SUPPORTED_BYTES];
    LOGS.iter().filter(|log| is_offered(shared, **log)).for_each(|log| put(&mut page, log.0, effects::SUPPORTED));
    page
}

/// LID 01h: newest first (B88).
fn errors(controller: &Controller) -> Vec<u8> {
    let mut page = vec![0; ERROR_ENTRIES * size_of::<log::ErrorEntry>()];
    for (place, entry) in page.chunks_mut(size_of::<log::ErrorEntry>()).zip(controller.health.errors()) {
        place.copy_from_slice(entry.as_bytes());
    }
    page
}

/// LID 04h (Base 2.1 section 5.1.12.1.5). There are never more namespaces than it has room for.
fn changed_namespaces(controller: &Controller) -> Vec<u8> {
    let mut page: Vec<u8> = controller.changed_namespaces.iter().flat_map(|nsid| nsid.to_le_bytes()).collect();
    assert!(page.len() <= log::CHANGED_NAMESPACES_BYTES, "at most 1024 namespaces");
    page.resize(log::CHANGED_NAMESPACES_BYTES, 0);
    page
}

/// LID 0Ch (Base 2.1 section 5.1.12.1.13): the groups of which the controller has namespaces, ascending; these with them unless groups
/// only are asked for.
fn access(controller: &Controller, shared: &Shared, groups_only: bool) -> Vec<u8> {
    let groups = shared.ana_groups(controller.id);
    let mut header = AccessHeader::new_zeroed();
    header.change_count = shared.ana.changes(controller.id).into();
    header.groups = u16::try_from(groups.len()).expect("few groups").into();
    let mut page = header.as_bytes().to_vec();
    for AnaGroup { group, state, changes, namespaces } in groups {
        let namespaces = if groups_only { Vec::new() } else { namespaces };
        let mut descriptor = AccessGroup::new_zeroed();
        descriptor.group = group.into();
        descriptor.namespaces = u32::try_from(namespaces.len()).expect("few namespaces").into();
        descriptor.change_count = changes.into();
        descriptor.state = state.number();
        page.extend(descriptor.as_bytes());
        page.extend(namespaces.iter().flat_map(|nsid| nsid.to_le_bytes()));
    }
    page
}

/// LID 02h, of the controller: there is none for each namespace (B86).
fn smart(controller: &Controller, shared: &Shared, nsid: u32) -> Result<Smart, Reason> {
    if nsid == 0 || nsid == NSID_ALL { Ok(smart_of_controller(controller, shared)) } else { Err(Reason::LogNamespace) }
}

pub(crate) fn smart_of_controller(controller: &Controller, shared: &Shared) -> Smart {
    let health = shared.media.health();
    let mut page = Smart::zeroed();
    page.critical_warning = critical_warnings(controller, shared);
    page.composite_temperature_kelvins = temperature(controller).into();
    page.available_spare_percent = health.available_spare_percent;
    page.available_spare_threshold_percent = SPARE_THRESHOLD_PERCENT;
    page.percentage_used = health.percentage_used;
    page.data_units_read = data_units(health.read_bytes);
    page.data_units_written = data_units(health.written_bytes);
    page.host_read_commands = u128::from(health.reads).into();
    page.host_write_commands = u128::from(health.writes).into();
    page.power_cycles = u128::from(health.power_cycles).into();
    page.unsafe_shutdowns = u128::from(health.unsafe_shutdowns).into();
    page.power_on_hours = u128::from(controller.health.now.0 / 3_600_000_000_000).into();
    page.media_errors = u128::from(health.media_errors).into();
    page.error_log_entries = u128::from(controller.health.errors_logged).into();
    page
}

/// Base 2.1 figure 207: thousands of 512 bytes, rounded up.
fn data_units(bytes: u64) -> U128 {
    u128::from(bytes.div_ceil(512_000)).into()
}

/// All critical warnings.
pub(crate) fn critical_warnings(controller: &Controller, shared: &Shared) -> u8 {
    controller.features.temperature_warning(temperature(controller))
        | media_warning(&shared.media.health())
        | controller.faults.warnings
}

/// The composite temperature in kelvins.
fn temperature(controller: &Controller) -> u16 {
    controller.faults.temperature.unwrap_or(TEMPERATURE_KELVINS)
}

/// The critical warnings that come from the media: its spare is short, it is not reliable now, or it can no longer be written.
fn media_warning(health: &media::Health) -> u8 {
    let spare = if health.available_spare_percent < SPARE_THRESHOLD_PERCENT { log::WARNING_SPARE } else { 0 };
    let read_only = if health.read_only { log::WARNING_READ_ONLY } else { 0 };
    // The host's disk under the media, or what it holds: Base 2.1 figure 207, reliability degraded by media or internal errors.
    let degraded = if health.degraded { log::WARNING_RELIABILITY } else { 0 };
    spare | read_only | degraded
}

/// LID 09h: all namespaces are in group 1, whose number the command carries in its log specific identifier.
fn endurance_group(controller: &Controller, shared: &Shared, group: u16) -> Result<EnduranceGroup, Reason> {
    if group != ENDURANCE_GROUP {
        return Err(Reason::LogEnduranceGroup);
    }
    let health = shared.media.health();
    let billions = |bytes: u64| u128::from(bytes.div_ceil(1_000_000_000)).into();
    let mut page = EnduranceGroup::new_zeroed();
    page.critical_warning = media_warning(&health);
    page.available_spare_percent = health.available_spare_percent;
    page.available_spare_threshold_percent = SPARE_THRESHOLD_PERCENT;
    page.percentage_used = health.percentage_used;
    page.endurance_estimate = billions(health.endurance_bytes);
    page.data_units_read = billions(health.read_bytes);
    page.data_units_written = billions(health.written_bytes);
    page.media_units_written = billions(health.programmed_bytes);
    page.host_read_commands = u128::from(health.reads).into();
    page.host_write_commands = u128::from(health.writes).into();
    page.media_errors = u128::from(health.media_errors).into();
    page.error_log_entries = u128::from(controller.health.errors_logged).into();
    page.total_capacity_bytes = shared.total_bytes().into();
    page.unallocated_capacity_bytes = shared.unallocated_bytes().into();
    Ok(page)
}

/// LID C0h: what the media did, byte by byte.
fn ocp_smart(shared: &Shared) -> OcpSmart {
    let health = shared.media.health();
    let mut page = OcpSmart::new_zeroed();
    page.physical_bytes_written = u128::from(health.programmed_bytes).into();
    page.bad_user_blocks.copy_from_slice(&health.bad_blocks.to_le_bytes()[..6]);
    page.bad_user_blocks_normalized = u16::from(health.available_spare_percent).into();
    page.uncorrectable_reads = health.media_errors.into();
    page.erases_most = u32::try_from(health.erases.most).unwrap_or(u32::MAX).into();
    page.erases_fewest = u32::try_from(health.erases.fewest).unwrap_or(u32::MAX).into();
    page.incomplete_shutdowns = u32::try_from(health.unsafe_shutdowns).unwrap_or(u32::MAX).into();
    page.version = OCP_SMART_VERSION.into();
    page.guid = log::OCP_SMART_GUID;
    page
}

/// LID 03h: slot 1 is active and the only one.
fn firmware(shared: &Shared) -> FirmwareSlots {
    let mut page = FirmwareSlots::new_zeroed();
    page.active = 1;
    page.revisions[0] = shared.config.firmware;
    page
}

/// LID 05h.
fn command_effects(controller: &Controller, shared: &Shared) -> Vec<u8> {
    let mut page = vec![0; log::COMMAND_EFFECTS_BYTES];
    for (opcode, effects) in ADMIN.into_iter().filter(|(opcode, _)| controller.supports(shared, *opcode)) {
        put(&mut page, opcode.0, effects);
    }
    // No scope is given for I/O commands, which may be left open: Linux takes every bit here but these two for an unusual effect and
    // says so in its log.
    for (opcode, effects) in NVM {
        put(&mut page[log::COMMAND_EFFECTS_IO_OFFSET..], opcode.0, effects);
    }
    page
}

/// LID 12h.
fn feature_effects(controller: &Controller, shared: &Shared) -> Vec<u8> {
    let mut page = vec![0; log::FEATURE_EFFECTS_BYTES];
    for (feature, scope) in FEATURES.into_iter().filter(|(feature, _)| controller.has_feature(shared, *feature)) {
        put(&mut page, feature.0, effects::SUPPORTED | scope);
    }
    page
}

/// The dword for `identifier`.
fn put(page: &mut [u8], identifier: u8, dword: u32) {
    page[usize::from(identifier) * 4..][..4].copy_from_slice(&dword.to_le_bytes());
}
