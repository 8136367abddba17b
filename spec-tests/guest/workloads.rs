//! What guests do with the drive, and that their kernels have nothing to say about it.

use std::time::Duration;

use anyhow::Result;
use guest_harness::{Brownout, Device, GuestReport, Kernel, Machine, scripts};

/// Runs a script in a guest with one drive and requires success and a kernel log without complaints but the expected ones.
struct Workload {
    name: &'static str,
    kernel: Kernel,
    device: &'static str,
    namespace: &'static str,
    kernel_argument: Option<&'static str>,
    expected: &'static [&'static str],
}

impl Workload {
    fn new(name: &'static str, kernel: Kernel) -> Self {
        Self { name, kernel, device: "", namespace: "size=1GiB", kernel_argument: None, expected: &[] }
    }

    fn run(&self, script: &str) -> Result<GuestReport> {
        let mut builder = Brownout::builder().name(self.name).namespace(self.namespace);
        if !self.device.is_empty() {
            builder = builder.device(self.device);
        }
        let drive = builder.start()?;
        let mut machine =
            Machine::new(self.kernel).name(self.name).device(Device::VfioUser { socket: drive.socket().into() });
        if let Some(argument) = self.kernel_argument {
            machine = machine.kernel_argument(argument);
        }
        let report = machine.script(script).timeout(Duration::from_secs(400)).run()?;
        report.require_success()?;
        report.require_no_complaints(self.expected)?;
        drive.stop()?;
        Ok(report)
    }
}

/// fio with verification at queue depths 1, 16 and 128, with blocks of 512 bytes and 4 KiB.
fn verified_io(name: &'static str, kernel: Kernel) -> Result<()> {
    Workload::new(name, kernel).run(scripts::VERIFY).map(drop)
}

#[test]
fn verified_io_on_6_12() -> Result<()> {
    verified_io("verified-io-6.12", Kernel::Debian612)
}

#[test]
fn verified_io_on_the_newest_kernel() -> Result<()> {
    verified_io("verified-io-newest", Kernel::Newest)
}

/// ext4 and XFS: make, mount, copy, compare, unmount, check.
fn file_systems(name: &'static str, kernel: Kernel) -> Result<()> {
    Workload::new(name, kernel).run(scripts::FILESYSTEMS).map(drop)
}

#[test]
fn file_systems_on_6_12() -> Result<()> {
    file_systems("file-systems-6.12", Kernel::Debian612)
}

#[test]
fn file_systems_on_the_newest_kernel() -> Result<()> {
    file_systems("file-systems-newest", Kernel::Newest)
}

/// The interrupt pin, for systems without messages.
fn pin(name: &'static str, kernel: Kernel) -> Result<()> {
    let workload = Workload { kernel_argument: Some("pci=nomsi"), ..Workload::new(name, kernel) };
    workload.run(&format!("{}\n{}", scripts::VERIFY, scripts::FILESYSTEMS)).map(drop)
}

#[test]
fn the_interrupt_pin_on_6_12() -> Result<()> {
    pin("pin-6.12", Kernel::Debian612)
}

#[test]
fn the_interrupt_pin_on_the_newest_kernel() -> Result<()> {
    pin("pin-newest", Kernel::Newest)
}

/// Doorbells in a page that the device polls.
fn mapped_doorbells(name: &'static str, kernel: Kernel, argument: Option<&'static str>) -> Result<()> {
    let workload = Workload { device: "doorbells=mapped", kernel_argument: argument, ..Workload::new(name, kernel) };
    workload.run(scripts::VERIFY).map(drop)
}

#[test]
fn mapped_doorbells_on_6_12() -> Result<()> {
    mapped_doorbells("mapped-6.12", Kernel::Debian612, None)
}

#[test]
fn mapped_doorbells_on_the_newest_kernel() -> Result<()> {
    mapped_doorbells("mapped-newest", Kernel::Newest, None)
}

/// QEMU gives the mapping up when the pin is used, and doorbells come as messages all the same.
#[test]
fn mapped_doorbells_with_the_interrupt_pin() -> Result<()> {
    mapped_doorbells("mapped-pin", Kernel::Newest, Some("pci=nomsi"))
}

/// Everything larger than two pages by SGLs, which Linux otherwise keeps for pieces of 32 KiB and more.
fn scatter_gather_lists(name: &'static str, kernel: Kernel) -> Result<()> {
    let script = r#"
. /lib.sh
wait_for_device
echo 1 > /sys/module/nvme/parameters/sgl_threshold || fail "the kernel cannot be told to use SGLs"
fio_job small --rw=randwrite --bs=12k --size=64M --verify=crc32 --ioengine=libaio --iodepth=16
fio_job large --rw=randrw --bs=256k --size=256M --verify=crc32 --ioengine=libaio --iodepth=16
"#;
    Workload::new(name, kernel).run(&format!("{script}\n{}", scripts::FILESYSTEMS)).map(drop)
}

#[test]
fn scatter_gather_lists_on_6_12() -> Result<()> {
    scatter_gather_lists("lists-6.12", Kernel::Debian612)
}

#[test]
fn scatter_gather_lists_on_the_newest_kernel() -> Result<()> {
    scatter_gather_lists("lists-newest", Kernel::Newest)
}

/// Fifty controller resets under running I/O lose nothing. The kernel says that it resets, as it was told.
fn resets(name: &'static str, kernel: Kernel) -> Result<()> {
    let workload = Workload { expected: &["resetting controller"], ..Workload::new(name, kernel) };
    workload.run(scripts::RESETS).map(drop)
}

#[test]
fn fifty_resets_on_6_12() -> Result<()> {
    resets("resets-6.12", Kernel::Debian612)
}

#[test]
fn fifty_resets_on_the_newest_kernel() -> Result<()> {
    resets("resets-newest", Kernel::Newest)
}

/// nvme-cli, command by command. Registers are read through /dev/mem's kin, which Debian's kernels allow only when told to.
fn tools(name: &'static str, kernel: Kernel) -> Result<()> {
    let workload = Workload { kernel_argument: Some("iomem=relaxed"), ..Workload::new(name, kernel) };
    workload.run(scripts::TOOLS).map(drop)
}

#[test]
fn nvme_cli_on_6_12() -> Result<()> {
    tools("tools-6.12", Kernel::Debian612)
}

#[test]
fn nvme_cli_on_the_newest_kernel() -> Result<()> {
    tools("tools-newest", Kernel::Newest)
}

#[test]
fn xfs_with_16_kib_blocks_on_a_16_kib_drive() -> Result<()> {
    let workload = Workload { namespace: "size=1GiB,lba=16KiB", ..Workload::new("xfs-16k", Kernel::Newest) };
    workload.run(scripts::XFS16K).map(drop)
}

#[test]
fn several_namespaces_with_formats_of_their_own() -> Result<()> {
    let drive = Brownout::builder()
        .name("namespaces")
        .namespace("size=64MiB,lba=512")
        .namespace("size=1TiB,lba=4KiB")
        .start()?;
    let script = r#"
. /lib.sh
wait_for_device
DEVICE=/dev/nvme0n2 wait_for_device
# Newer kernels look at namespaces side by side, so that the names need not follow the identifiers.
first=nvme0n1 second=nvme0n2
[ "$(cat /sys/block/nvme0n1/nsid)" = 1 ] || { first=nvme0n2 second=nvme0n1; }
[ "$(cat /sys/block/$first/size)" = 131072 ] || fail "size of the first namespace"
[ "$(cat /sys/block/$second/size)" = 2147483648 ] || fail "size of the second namespace"
[ "$(cat /sys/block/$second/queue/logical_block_size)" = 4096 ] || fail "block size of the second namespace"
[ "$(cat /sys/block/nvme0n1/wwid)" != "$(cat /sys/block/nvme0n2/wwid)" ] || fail "the same identity twice"
DEVICE=/dev/$second
fio_job end --rw=randwrite --bs=4k --offset=1099507433472 --size=4M --verify=crc32 --ioengine=libaio --iodepth=16
"#;
    let report = Machine::new(Kernel::Newest)
        .name("namespaces")
        .device(Device::VfioUser { socket: drive.socket().into() })
        .script(script)
        .run()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    let resident = drive.resident_bytes()?;
    // A terabyte costs what is written to it.
    assert!(resident < 1 << 30, "the daemon holds {resident} bytes");
    drive.stop().map(drop)
}
