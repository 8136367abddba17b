//! One drive with several controllers under stock QEMU: two paths in one guest, and a namespace that two guests share.

use std::time::Duration;

use anyhow::{Context, Result};
use guest_harness::{Brownout, Device, Kernel, Machine, scripts};
use serde_json::json;
use spec_tests::qmp::Qmp;

/// A guest under emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A drive with two NVMe sockets, and the second socket.
fn drive(name: &str) -> Result<(Brownout, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let second = folder.path().join("second.sock");
    let second = second.to_str().context("UTF-8")?;
    let drive = Brownout::builder().name(name).namespace("size=64MiB,lba=4KiB").argument("--socket").argument(second);
    Ok((drive.start()?, folder))
}

fn two_paths(name: &str, kernel: Kernel) -> Result<()> {
    let (drive, folder) = drive(name)?;
    let machine = Machine::new(kernel).name(name).timeout(Duration::from_secs(600)).script(scripts::MULTIPATH);
    let machine = machine.device(Device::VfioUser { socket: drive.socket().into() });
    let report = machine.device(Device::VfioUser { socket: folder.path().join("second.sock") }).run()?;
    report.require_success()?;
    drive.stop().map(drop)
}

#[test]
fn two_controllers_are_two_paths_to_one_disk_under_6_12() -> Result<()> {
    two_paths("multipath-6.12", Kernel::Debian612)
}

#[test]
fn two_controllers_are_two_paths_to_one_disk_under_the_newest_kernel() -> Result<()> {
    two_paths("multipath-newest", Kernel::Newest)
}

/// The states of both paths, one after the other: in each of them a path at least is of use. What is under a load goes to `change`, since
/// the kernel asks about a path whose commands say so, and is told of every other state.
const STATES: [[&str; 2]; 6] = [
    ["optimized", "non-optimized"],
    ["change", "non-optimized"],
    ["inaccessible", "optimized"],
    ["non-optimized", "optimized"],
    ["non-optimized", "change"],
    ["optimized", "inaccessible"],
];

/// The states go round `ROUNDS` times under a load on the disk that both paths make (MC5).
fn states_of_paths(name: &str, kernel: Kernel) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [second, control] = ["second.sock", "control.sock"].map(|file| folder.path().join(file));
    let drive = Brownout::builder().name(name).namespace("size=64MiB,lba=4KiB").argument("--device").argument("ana=on");
    let drive = drive.argument("--socket").argument(second.to_str().context("UTF-8")?);
    let drive = drive.argument("--control").argument(control.to_str().context("UTF-8")?).start()?;
    let machine = Machine::new(kernel).name(name).timeout(Duration::from_secs(600)).script(scripts::ANA);
    let machine = machine.device(Device::VfioUser { socket: drive.socket().into() });
    let mut guest = machine.device(Device::VfioUser { socket: second }).spawn()?;
    guest.wait_for("ana: ready", PATIENCE)?;
    let mut peer = Qmp::connect(&control);
    let mut now = ["optimized"; 2];
    let rounds = std::env::var("ROUNDS").ok().map_or(Ok(3), |given| given.parse::<usize>())?;
    for (number, states) in (1..).zip(STATES.iter().cycle().take(rounds * STATES.len())) {
        // What becomes usable comes before what ceases to be.
        let mut order = [0, 1];
        order.sort_by_key(|path| !states[*path].ends_with("optimized"));
        for path in order.into_iter().filter(|path| now[*path] != states[*path]) {
            let arguments = json!({ "controller": path, "group": 1, "state": states[path] });
            peer.execute("ana-set-state", &arguments).map_err(anyhow::Error::msg)?;
        }
        now = *states;
        guest.send_line(&states.join(" "))?;
        guest.wait_for(&format!("ana: shown {number}"), PATIENCE)?;
    }
    guest.send_line("done")?;
    let report = guest.wait()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop().map(drop)
}

#[test]
fn states_of_access_change_under_a_load_under_6_12() -> Result<()> {
    states_of_paths("ana-6.12", Kernel::Debian612)
}

#[test]
fn states_of_access_change_under_a_load_under_the_newest_kernel() -> Result<()> {
    states_of_paths("ana-newest", Kernel::Newest)
}

/// nvme-cli's commands of reservations, by two hosts that take the two controllers for two disks.
#[test]
fn two_hosts_reserve_a_namespace() -> Result<()> {
    let (drive, folder) = drive("reservations")?;
    let machine = Machine::new(Kernel::Newest).name("reservations").timeout(Duration::from_secs(600));
    let machine = machine.script(scripts::RESERVATIONS).kernel_argument("nvme_core.multipath=N");
    let machine = machine.device(Device::VfioUser { socket: drive.socket().into() });
    let report = machine.device(Device::VfioUser { socket: folder.path().join("second.sock") }).run()?;
    report.require_success()?;
    drive.stop().map(drop)
}

/// nvme-cli's commands of namespaces, at random beside a load: `ROUNDS` of them, from `SEED`.
fn namespaces(name: &str, kernel: Kernel) -> Result<()> {
    let drive = Brownout::builder().name(name).namespace("size=16MiB,lba=4KiB");
    let drive = drive.argument("--media").argument("capacity=96MiB,namespaces=8");
    let drive = drive.start()?;
    let machine = Machine::new(kernel).name(name).timeout(Duration::from_secs(3000)).script(scripts::NAMESPACES);
    let given = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let machine = machine.environment("ROUNDS", &given("ROUNDS", "6")).environment("SEED", &given("SEED", "1"));
    let report = machine.device(Device::VfioUser { socket: drive.socket().into() }).run()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop().map(drop)
}

#[test]
fn namespaces_come_and_go_under_6_12() -> Result<()> {
    namespaces("namespaces-6.12", Kernel::Debian612)
}

#[test]
fn namespaces_come_and_go_under_the_newest_kernel() -> Result<()> {
    namespaces("namespaces-newest", Kernel::Newest)
}

/// Each writes its half and reads the other's; one that is killed disturbs the other in nothing.
#[test]
fn two_guests_share_a_namespace() -> Result<()> {
    let (drive, folder) = drive("shared")?;
    let sockets = [drive.socket().into(), folder.path().join("second.sock")];
    let mut guests = Vec::new();
    for (half, socket) in ["0", "1"].into_iter().zip(sockets) {
        let machine = Machine::new(Kernel::Newest).name(&format!("shared-{half}")).timeout(Duration::from_secs(600));
        let machine = machine.script(scripts::SHARED).environment("HALF", half);
        guests.push(machine.device(Device::VfioUser { socket }).spawn()?);
    }
    for guest in &mut guests {
        guest.wait_for("shared: written", PATIENCE)?;
    }
    for guest in &mut guests {
        guest.send_line("both are written")?;
    }
    for guest in &mut guests {
        guest.wait_for("shared: read", PATIENCE)?;
    }
    for guest in &mut guests {
        guest.send_line("both are read")?;
    }
    for guest in &mut guests {
        guest.wait_for("shared: round 1", PATIENCE)?;
    }
    let killed = guests.pop().context("the second guest")?;
    drop(killed);
    let mut other = guests.pop().context("the first guest")?;
    other.wait_for("shared: round 5", PATIENCE)?;
    let report = other.wait()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    drive.stop().map(drop)
}
