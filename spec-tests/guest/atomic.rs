//! Atomic writes as kernels see them: what they compute from Identify for the profiles of section D of the rules, and overlapping atomic
//! writes that are verified while others go on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use guest_harness::{Brownout, Device, GuestReport, Kernel, Machine};

/// Prints the limits of every namespace as nsN_NAME=VALUE, by its identifier: newer kernels name namespaces in any order.
const LIMITS: &str = r#"
. /lib.sh
wait_for_device
waited=0
until [ "$(ls -d /sys/block/nvme0n* | wc -l)" -ge "$NAMESPACES" ]; do
    waited=$((waited + 1))
    [ "$waited" -lt 600 ] || fail "not all namespaces appeared"
    sleep 0.1
done
for disk in /sys/block/nvme0n*; do
    for name in logical_block_size physical_block_size minimum_io_size optimal_io_size max_hw_sectors_kb max_segments \
        atomic_write_max_bytes atomic_write_unit_min_bytes atomic_write_unit_max_bytes atomic_write_boundary_bytes; do
        echo "ns$(cat "$disk/nsid")_$name=$(cat "$disk/queue/$name")"
    done
done
exit 0
"#;

/// A stripe of 256 KiB, which a drive of this size would not have by itself.
const NAND: &str = "dies=2,planes=2,page_size=16KiB";

fn run(name: &str, kernel: Kernel, options: [&str; 2], namespaces: &[&str], script: &str) -> Result<GuestReport> {
    let [device, media] = options;
    let media = format!("{media},{NAND}");
    let mut drive = Brownout::builder().name(name).argument("--media").argument(&media).device(device);
    for namespace in namespaces {
        drive = drive.namespace(namespace);
    }
    let drive = drive.start()?;
    let machine = Machine::new(kernel).name(name).device(Device::VfioUser { socket: drive.socket().into() });
    let report = machine.script(script).timeout(Duration::from_secs(400)).run()?;
    report.require_success()?;
    // A kernel that ignores the controller's unit says so once.
    report.require_no_complaints(&["AWUPF", "atomic"])?;
    drive.stop()?;
    Ok(report)
}

/// What a profile comes to: name of section D, physical block and smallest I/O in bytes, then atomic: longest, smallest unit, boundary.
/// The largest unit follows from the longest and from what the kernel can put into one command.
struct Profile {
    name: &'static str,
    namespace: &'static str,
    physical: u64,
    minimum: u64,
    atomic: [u64; 3],
}

const fn profile(name: &'static str, namespace: &'static str, block: [u64; 2], atomic: [u64; 3]) -> Profile {
    Profile { name, namespace, physical: block[0], minimum: block[1], atomic }
}

/// Section D1: a unit is a power of two, and must fit a command whose every page is a segment of its own, but for two blocks.
fn unit_max(values: &BTreeMap<String, u64>, longest: u64) -> u64 {
    let block = values["logical_block_size"];
    let segments = 2 * block + (values["max_segments"] - 2) * 4096;
    let limit = segments.min(values["max_hw_sectors_kb"] * 1024);
    let floor = |bytes: u64| if bytes == 0 { 0 } else { 1 << bytes.ilog2() };
    floor(longest).min(floor(limit))
}

fn compare(name: &str, kernel: Kernel, options: [&str; 2], profiles: &[Profile]) -> Result<()> {
    let namespaces: Vec<_> = profiles.iter().map(|profile| profile.namespace).collect();
    let script = format!("NAMESPACES={}\n{}", namespaces.len(), LIMITS);
    let report = run(name, kernel, options, &namespaces, &script)?;
    let all = report.values();
    for (nsid, profile) in (1..).zip(profiles) {
        let prefix = format!("ns{nsid}_");
        let of_namespace = all.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)));
        let values = of_namespace
            .map(|(key, value)| Ok((key.to_owned(), value.parse::<u64>().with_context(|| format!("{key}={value}"))?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let name = profile.name;
        let [longest, smallest, boundary] = profile.atomic;
        let longest = longest.min(values["max_hw_sectors_kb"] * 1024);
        for (key, expected) in [
            ("physical_block_size", profile.physical),
            ("minimum_io_size", profile.minimum),
            // The stripe of 256 KiB, or what one command can carry.
            ("optimal_io_size", 128 << 10),
            ("atomic_write_max_bytes", longest),
            ("atomic_write_unit_min_bytes", smallest),
            ("atomic_write_unit_max_bytes", unit_max(&values, longest)),
            ("atomic_write_boundary_bytes", boundary),
        ] {
            assert_eq!(values.get(key), Some(&expected), "{name} {key}");
        }
    }
    Ok(())
}

/// D2: P2, P6 to P9 over a unit of 4 KiB. No atomics at all where the boundaries have an offset, or are no power of two.
fn fine_units(name: &str, kernel: Kernel) -> Result<()> {
    let profiles = [
        profile("P2", "size=64MiB,lba=512,atomic.nawupf=7,atomic.nabspf=7", [4096, 4096], [4096, 512, 4096]),
        profile("P6", "size=64MiB,lba=4KiB,atomic.nawupf=11", [4096, 4096], [49152, 4096, 0]),
        profile(
            "P7",
            "size=64MiB,lba=4KiB,atomic.nawupf=3,atomic.nabspf=3,atomic.nabsn=3,atomic.nabo=1",
            [4096, 4096],
            [0, 0, 0],
        ),
        profile("P8", "size=64MiB,lba=4KiB,atomic.nawupf=3,atomic.nabspf=11", [4096, 4096], [0, 0, 0]),
        profile("P9", "size=64MiB,lba=512,atomic.nawupf=255", [4096, 4096], [131_072, 512, 0]),
    ];
    compare(name, kernel, ["mdts=5", "iu=4KiB"], &profiles)
}

#[test]
fn atomic_limits_over_small_units_on_6_12() -> Result<()> {
    fine_units("atomic-fine-6.12", Kernel::Debian612)
}

#[test]
fn atomic_limits_over_small_units_on_the_newest_kernel() -> Result<()> {
    fine_units("atomic-fine-newest", Kernel::Newest)
}

/// D2: P3 and P4, and P12 as far as its atomics go, over a unit of 16 KiB.
fn coarse_units(name: &str, kernel: Kernel) -> Result<()> {
    let profiles = [
        profile("P3", "size=64MiB,lba=4KiB,atomic.nawupf=3,atomic.nabspf=3", [16384, 16384], [16384, 4096, 16384]),
        profile("P4", "size=64MiB,lba=4KiB,atomic.nawupf=15,atomic.nabspf=15", [16384, 16384], [65536, 4096, 65536]),
    ];
    compare(name, kernel, ["mdts=5", "iu=16KiB"], &profiles)
}

#[test]
fn atomic_limits_over_large_units_on_6_12() -> Result<()> {
    coarse_units("atomic-coarse-6.12", Kernel::Debian612)
}

#[test]
fn atomic_limits_over_large_units_on_the_newest_kernel() -> Result<()> {
    coarse_units("atomic-coarse-newest", Kernel::Newest)
}

/// D1, P5: the controller's unit alone is taken by 6.12. Newer kernels take one block instead, from some release on.
#[test]
fn the_controllers_unit_alone_is_taken_by_6_12() -> Result<()> {
    let namespace = "size=64MiB,lba=4KiB,atomic.nawun=0,atomic.nawupf=0";
    let profiles = [profile("P5", namespace, [4096, 4096], [32768, 4096, 0])];
    compare("atomic-controller-6.12", Kernel::Debian612, ["mdts=5,atomic.awun=7,atomic.awupf=7", "iu=4KiB"], &profiles)
}

/// Four jobs write the same 4 MiB with atomic writes of 16 KiB, each over the others, and read them back with their checksums: a block of
/// fio is from one job, whoever that was. What is longer than the unit is refused by the kernel.
fn overlapping_atomic_writes(name: &str, kernel: Kernel) -> Result<()> {
    let script = r#"
. /lib.sh
wait_for_device
fio_job atomic --ioengine=libaio --iodepth=8 --rw=randwrite --bs=16k --size=4M --numjobs=4 --group_reporting --loops=4 \
    --atomic=1 --randrepeat=0 --verify=crc64 --verify_write_sequence=0 --verify_header_seed=0 --verify_backlog=32 \
    --verify_fatal=1
say "ok: overlapping atomic writes verified"
check_fails "an atomic write above the limit" fio --name=long --filename="$DEVICE" --direct=1 --ioengine=pvsync2 \
    --rw=write --bs=32k --size=32k --atomic=1
"#;
    let namespace = "size=64MiB,lba=4KiB,atomic.nawupf=3,atomic.nabspf=3";
    let device = ["mdts=5,interleave=seeded,interleave_seed=7", "iu=4KiB"];
    run(name, kernel, device, &[namespace], script).map(drop)
}

#[test]
fn overlapping_atomic_writes_verify_on_6_12() -> Result<()> {
    overlapping_atomic_writes("atomic-overlap-6.12", Kernel::Debian612)
}

#[test]
fn overlapping_atomic_writes_verify_on_the_newest_kernel() -> Result<()> {
    overlapping_atomic_writes("atomic-overlap-newest", Kernel::Newest)
}
