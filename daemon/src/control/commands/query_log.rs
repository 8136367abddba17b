//! `query-log`.

use nvme_spec::log::{ErrorEntry, Smart as SmartPage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// The SMART log and the error log, as the host would get them. Reading them here re-arms no event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryLog {}

/// Both logs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Logs {
    smart: Smart,
    /// Newest first.
    errors: Vec<Entry>,
}

/// SMART / Health Information (log 02h).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Smart {
    /// Bits: 0 spare low, 1 temperature, 3 read only.
    critical_warning: u8,
    composite_temperature_kelvins: u16,
    available_spare_percent: u8,
    available_spare_threshold_percent: u8,
    percentage_used: u8,
    /// Thousands of 512 bytes, rounded up.
    data_units_read: u64,
    /// Thousands of 512 bytes, rounded up.
    data_units_written: u64,
    host_read_commands: u64,
    host_write_commands: u64,
    power_cycles: u64,
    power_on_hours: u64,
    unsafe_shutdowns: u64,
    media_errors: u64,
    error_log_entries: u64,
}

/// An entry of the error log (log 01h).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    /// Its rising number.
    error_count: u64,
    /// FFFFh where no command is to blame.
    sqid: u16,
    /// FFFFh where no command is to blame.
    cid: u16,
    opcode: u8,
    /// Status Code Type.
    status_code_type: u8,
    /// Status Code.
    status_code: u8,
    nsid: u32,
    /// The first block that the error is about.
    lba: u64,
    /// Byte of the command that is to blame, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter_byte: Option<u8>,
    /// And the bit of that byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter_bit: Option<u8>,
}

impl Execute for QueryLog {
    const NAME: &'static str = "query-log";
    type Answer = Logs;

    fn execute(self, device: &mut Device<'_>) -> Result<Logs, Refusal> {
        let smart = smart(&device.subsystem.smart(device.id));
        Ok(Logs { smart, errors: device.controller().error_log().map(entry).collect() })
    }
}

fn smart(page: &SmartPage) -> Smart {
    let number = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
    Smart {
        critical_warning: page.critical_warning,
        composite_temperature_kelvins: page.composite_temperature_kelvins.get(),
        available_spare_percent: page.available_spare_percent,
        available_spare_threshold_percent: page.available_spare_threshold_percent,
        percentage_used: page.percentage_used,
        data_units_read: number(page.data_units_read.get()),
        data_units_written: number(page.data_units_written.get()),
        host_read_commands: number(page.host_read_commands.get()),
        host_write_commands: number(page.host_write_commands.get()),
        power_cycles: number(page.power_cycles.get()),
        power_on_hours: number(page.power_on_hours.get()),
        unsafe_shutdowns: number(page.unsafe_shutdowns.get()),
        media_errors: number(page.media_errors.get()),
        error_log_entries: number(page.error_log_entries.get()),
    }
}

fn entry(entry: &ErrorEntry) -> Entry {
    // The status field of a completion stands in bits 15:1: the code in 8:1, its type in 11:9.
    let [status_code, upper] = (entry.status.get() >> 1).to_le_bytes();
    let parameter = Some(entry.parameter_location.get()).filter(|it| *it != u16::MAX).map(u16::to_le_bytes);
    Entry {
        error_count: entry.error_count.get(),
        sqid: entry.sqid.get(),
        cid: entry.cid.get(),
        opcode: entry.opcode,
        status_code_type: upper & 0x7,
        status_code,
        nsid: entry.nsid.get(),
        lba: entry.lba.get(),
        parameter_byte: parameter.map(|[byte, _]| byte),
        parameter_bit: parameter.map(|[_, bit]| bit),
    }
}
