//! Processes that die, and what a guest that does nothing costs.

use std::time::Duration;

use anyhow::{Context, Result};
use guest_harness::{Brownout, Device, Guest, Kernel, Machine};

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

/// What the daemon holds: descriptors, mappings of the guest's memory and of everything else, threads.
fn holdings(drive: &Brownout) -> Result<(usize, usize, usize)> {
    Ok((drive.descriptors()?, drive.mappings()?, drive.threads()?))
}

/// Kills QEMU in the middle of I/O so many times. The daemon listens again each time, and holds no more than after the first one.
fn kill_qemu(name: &str, times: usize) -> Result<()> {
    let mut drive = Brownout::builder().name(name).namespace("size=256MiB").start()?;
    let mut first = None;
    for time in 0..times {
        busy_guest(name, &drive).with_context(|| format!("guest {time}"))?.kill()?;
        assert!(drive.is_running()?, "the daemon ended after guest {time}");
        // The next guest's start shows that it listens; what it holds is looked at when that one is gone.
        let now = settled(&drive, first)?;
        let (descriptors, mappings, threads) = *first.get_or_insert(now);
        assert_eq!((now.0, now.2), (descriptors, threads), "descriptors and threads after guest {time}");
        // Media memory grows with what guests write, a mapping or two at a time; a guest's memory would show as several.
        assert!(now.1 <= mappings + 8 + time, "{} mappings after guest {time}, {mappings} after the first", now.1);
    }
    drive.stop().map(drop)
}

/// Waits, within bounds, until the daemon has noticed that the guest is gone.
fn settled(drive: &Brownout, wanted: Option<(usize, usize, usize)>) -> Result<(usize, usize, usize)> {
    let mut now = holdings(drive)?;
    for _ in 0..200 {
        std::thread::park_timeout(Duration::from_millis(20));
        let next = holdings(drive)?;
        if next == now && wanted.is_none_or(|wanted| wanted.0 == next.0) {
            return Ok(next);
        }
        now = next;
    }
    Ok(now)
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
