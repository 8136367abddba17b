//! Processes that die, and what a guest that does nothing costs.

use std::time::Duration;

use anyhow::{Context, Result};
use guest_harness::{Brownout, Device, Guest, Kernel, Machine};
use rustix::process::{Pid, Signal, kill_process};

/// A guest that writes without end, once it says so.
fn busy_guest(name: &str, drive: &Brownout) -> Result<Guest> {
    let script = ". /lib.sh\nwait_for_device\n(sleep 0.3; echo WRITING) &\n\
                  fio --name=busy --filename=$DEVICE --direct=1 --ioengine=libaio --iodepth=32 --rw=randrw --bs=4k \
                  --time_based --runtime=1000 >/dev/null 2>&1\n";
    let machine = Machine::new(Kernel::Debian612).name(name).device(Device::VfioUser { socket: drive.socket().into() });
    let mut guest = machine.script(script).spawn()?;
    guest.wait_for("WRITING", Duration::from_secs(120))?;
    Ok(guest)
}

/// What the daemon holds: descriptors, threads, and mappings of shared memory.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    descriptors: usize,
    threads: usize,
    shared_mappings: usize,
}

impl Holdings {
    fn of(drive: &Brownout) -> Result<Self> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", drive.pid()))?;
        let shared_mappings = maps.lines().filter(|line| line.contains("memfd:")).count();
        Ok(Self { descriptors: drive.descriptors()?, threads: drive.threads()?, shared_mappings })
    }
}

/// Kills QEMU in the middle of I/O this many times. The daemon listens again each time, and holds what it held before the first.
fn kill_qemu(name: &str, times: usize) -> Result<()> {
    let mut drive = Brownout::builder().name(name).namespace("size=256MiB").start()?;
    let before = Holdings::of(&drive)?;
    for time in 0..times {
        busy_guest(name, &drive).with_context(|| format!("guest {time}"))?.kill()?;
        assert_eq!(settled(&drive, &before)?, before, "after guest {time}");
        assert!(drive.is_running()?, "the daemon ended after guest {time}");
    }
    drive.stop().map(drop)
}

/// Waits, within bounds, until the daemon has noticed that the guest is gone.
fn settled(drive: &Brownout, wanted: &Holdings) -> Result<Holdings> {
    for _ in 0..200 {
        let now = Holdings::of(drive)?;
        if now == *wanted {
            return Ok(now);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Holdings::of(drive)
}

#[test]
fn qemu_killed_in_the_middle_of_io_leaves_nothing_behind() -> Result<()> {
    kill_qemu("kill-qemu", 4)
}

/// The long version.
#[test]
#[ignore = "make soak: a hundred guests"]
fn qemu_killed_a_hundred_times_leaves_nothing_behind() -> Result<()> {
    kill_qemu("kill-qemu-soak", 100)
}

/// A process that is stopped for 8 s, as by a debugger or a host that swaps, is asked for something meanwhile: QEMU gives up a device that
/// does not answer for 5 s unless it is told otherwise, as ours is. Doorbells want no answer; a read of configuration space does.
#[test]
fn a_drive_that_stood_still_longer_than_qemu_waits_by_default_is_used_on() -> Result<()> {
    let drive = Brownout::builder().name("stopped").namespace("size=64MiB,lba=4KiB").start()?;
    let script = ". /lib.sh\nwait_for_device\necho ASKED\nread -r _\n\
                  cat /sys/class/nvme/nvme0/device/config >/dev/null\n\
                  dd if=/dev/urandom of=/tmp/data bs=4k count=64 2>/dev/null\n\
                  dd if=/tmp/data of=$DEVICE bs=4k oflag=direct 2>/dev/null || fail 'the drive was given up'\n\
                  dd if=$DEVICE of=/tmp/back bs=4k count=64 iflag=direct 2>/dev/null || fail 'the drive is gone'\n\
                  cmp /tmp/data /tmp/back || fail 'other data'\n";
    let machine =
        Machine::new(Kernel::Newest).name("stopped").device(Device::VfioUser { socket: drive.socket().into() });
    let mut guest = machine.script(script).spawn()?;
    guest.wait_for("ASKED", Duration::from_secs(120))?;
    let process = i32::try_from(drive.pid()).ok().and_then(Pid::from_raw).context("a process has a number")?;
    kill_process(process, Signal::STOP)?;
    guest.send_line("go")?;
    std::thread::park_timeout(Duration::from_secs(8));
    kill_process(process, Signal::CONT)?;
    guest.wait()?.require_success()?;
    drive.stop().map(drop)
}

/// An idle guest costs under 2 % of a core: with trapped doorbells the daemon sleeps until it is rung.
#[test]
fn an_idle_guest_costs_next_to_nothing() -> Result<()> {
    let drive = Brownout::builder().name("idle").namespace("size=64MiB").start()?;
    let script = ". /lib.sh\nwait_for_device\nsleep 1\necho IDLE\nread -r _\n";
    let machine =
        Machine::new(Kernel::Debian612).name("idle").device(Device::VfioUser { socket: drive.socket().into() });
    let mut guest = machine.script(script).spawn()?;
    guest.wait_for("IDLE", Duration::from_secs(120))?;
    let before = drive.cpu_time()?;
    std::thread::park_timeout(Duration::from_secs(5));
    let used = drive.cpu_time()?.saturating_sub(before);
    guest.send_line("done")?;
    guest.wait()?.require_success()?;
    assert!(used <= Duration::from_millis(100), "the daemon used {used:?} in 5 s");
    drive.stop().map(drop)
}
