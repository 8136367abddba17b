//! A drive with an indirection unit of 16 KiB over blocks of 512 bytes: what the kernel makes of its numbers (section D of the rules), and
//! what small writes cost on it.

use anyhow::{Context, Result};
use guest_harness::{Brownout, Device, GuestReport, Kernel, Machine, scripts};

fn run(name: &str, kernel: Kernel, script: &str) -> Result<GuestReport> {
    let drive = Brownout::builder()
        .name(name)
        .argument("--media")
        .argument("iu=16KiB,dies=2,planes=2,page_size=16KiB")
        .namespace("size=256MiB,lba=512")
        .start()?;
    let machine = Machine::new(kernel).name(name).device(Device::VfioUser { socket: drive.socket().into() });
    let report = machine.script(script).run()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop()?;
    Ok(report)
}

/// D1, D2: the unit is the physical block and the smallest I/O, the best one is 128 KiB,
/// which is as much of the stripe of 256 KiB as all hosts can send at a time; 64 KiB are atomic without a boundary.
/// Discards are in whole units: newer kernels read that from the namespace, older ones raise it to the physical block.
fn limits(name: &str, kernel: Kernel) -> Result<()> {
    let report = run(name, kernel, scripts::LIMITS)?;
    let values = report.values();
    for (name, expected) in [
        ("logical_block_size", "512"),
        ("physical_block_size", "16384"),
        ("minimum_io_size", "16384"),
        ("optimal_io_size", "131072"),
        ("discard_granularity", "16384"),
        ("atomic_write_max_bytes", "65536"),
        ("atomic_write_unit_min_bytes", "512"),
        ("atomic_write_unit_max_bytes", "65536"),
        ("atomic_write_boundary_bytes", "0"),
        ("write_cache", "write back"),
        ("fua", "1"),
    ] {
        assert_eq!(values.get(name).map(String::as_str), Some(expected), "{name}");
    }
    Ok(())
}

#[test]
fn limits_on_6_12() -> Result<()> {
    limits("unit-limits-6.12", Kernel::Debian612)
}

#[test]
fn limits_on_the_newest_kernel() -> Result<()> {
    limits("unit-limits-newest", Kernel::Newest)
}

/// A write of a quarter of a unit programs the unit: a write amplification of four, and a little for the log's own pages.
#[test]
fn small_writes_cost_whole_units() -> Result<()> {
    let values = run("unit-waf", Kernel::Newest, scripts::AMPLIFICATION)?.values();
    let number = |name: &str| -> Result<f64> {
        values.get(name).with_context(|| format!("no {name}"))?.parse().context("a number")
    };
    let (written, programmed) = (number("written_bytes")?, number("programmed_bytes")?);
    let amplification = programmed / written;
    assert!((3.8..=4.6).contains(&amplification), "{programmed} bytes programmed for {written}: {amplification}");
    // Thousands of 512 bytes, rounded up before and after.
    assert!((number("data_units_written")? * 512_000.0 - written).abs() <= 2.0 * 512_000.0);
    Ok(())
}
