//! The virtio disk without a machine: QEMU's disk tools plug into vhost-user through libblkio.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guest_harness::{Assets, Brownout};

fn image(socket: &Path) -> String {
    format!("driver=virtio-blk-vhost-user,path={},cache.direct=on", socket.display())
}

/// Runs a tool to its end, and returns what it said.
fn run(tool: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(Assets::load()?.tool(tool)?).args(arguments).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && complaints.is_empty(), "{tool} {arguments:?}: {said}{complaints}");
    Ok(said)
}

/// qemu-io, one command after the other. It ends with 0 whatever its commands do, and says so.
fn io(image: &str, commands: &[&str]) -> Result<()> {
    let mut arguments: Vec<&str> = commands.iter().flat_map(|command| ["-c", *command]).collect();
    arguments.extend(["--image-opts", image]);
    let said = run("qemu-io", &arguments)?;
    ensure!(!said.contains("failed") && !said.contains("error"), "{said}");
    Ok(())
}

/// A `qemu-storage-daemon` that ends with this value.
struct StorageDaemon(Child);

impl StorageDaemon {
    /// Starts it, and waits for the socket at which it listens.
    fn start(arguments: &[&str], socket: &Path) -> Result<Self> {
        let program = Assets::load()?.tool("qemu-storage-daemon")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(arguments).stdin(Stdio::null());
        let mut daemon = Self(command.spawn()?);
        for _ in 0..500 {
            if socket.exists() {
                return Ok(daemon);
            }
            ensure!(daemon.0.try_wait()?.is_none(), "qemu-storage-daemon ended");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        anyhow::bail!("qemu-storage-daemon does not listen at {}", socket.display())
    }
}

impl Drop for StorageDaemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn drive(name: &str) -> Result<Brownout> {
    Brownout::builder().name(name).vhost_user().namespace("size=256MiB,lba=4KiB").start()
}

#[test]
fn qemu_io_reads_what_it_wrote_discarded_and_zeroed() -> Result<()> {
    let drive = drive("qemu-io")?;
    let image = image(drive.socket());
    let written =
        ["write -P 5 0 1M", "read -P 5 0 1M", "flush", "discard 0 512k", "write -z -u 512k 256k", "write -z 768k 128k"];
    io(&image, &written)?;
    // Another client finds the same.
    io(&image, &["read -P 0 0 896k", "read -P 5 896k 128k", "write -f -P 6 4k 8k", "read -P 6 4k 8k"])?;
    // Vectors, and what begins nowhere in particular: QEMU makes whole blocks of it.
    io(&image, &["writev -P 7 100 200 4096 3", "readv -P 7 100 200 4096 3", "read -P 0 0 100"])?;
    drive.stop().map(drop)
}

#[test]
fn qemu_img_copies_to_the_disk_and_back() -> Result<()> {
    let drive = drive("qemu-img")?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| -> Result<String> { Ok(folder.path().join(name).to_str().context("UTF-8")?.to_owned()) };
    let bytes: Vec<u8> =
        (0..16_u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    std::fs::write(path("from")?, &bytes)?;
    let target = image(drive.socket());
    let source = format!("driver=raw,file.driver=file,file.filename={}", path("from")?);
    run("qemu-img", &["convert", "-n", "--image-opts", "--target-image-opts", &source, &target])?;
    run("qemu-img", &["convert", "--image-opts", "-O", "raw", &target, &path("back")?])?;
    ensure!(std::fs::read(path("back")?)?.starts_with(&bytes), "what came back is not what was copied");
    drive.stop().map(drop)
}

#[test]
fn the_storage_daemon_hands_the_disk_on() -> Result<()> {
    let drive = drive("storage-daemon")?;
    let folder = tempfile::tempdir()?;
    let socket: PathBuf = folder.path().join("nbd.sock");
    let disk = format!(
        "driver=virtio-blk-vhost-user,node-name=disk,path={},cache.direct=on,discard=unmap",
        drive.socket().display()
    );
    let server = format!("addr.type=unix,addr.path={}", socket.display());
    let export = "nbd,id=export,node-name=disk,name=disk,writable=on";
    let arguments = ["--blockdev", &disk, "--nbd-server", &server, "--export", export];
    let daemon = StorageDaemon::start(&arguments, &socket)?;
    let image = format!("driver=nbd,export=disk,server.type=unix,server.path={}", socket.display());
    io(&image, &["write -P 9 64k 256k", "flush", "read -P 9 64k 256k", "discard 64k 128k", "read -P 0 64k 128k"])?;
    drop(daemon);
    drive.stop().map(drop)
}

/// 4 KiB reads at queue depth 32, in reads a second.
fn bench(image: &str) -> Result<f64> {
    const READS: u32 = 400_000;
    let said = run("qemu-img", &["bench", "-c", &READS.to_string(), "-d", "32", "-s", "4096", "--image-opts", image])?;
    let seconds = said.split("completed in ").nth(1).and_then(|rest| rest.split(' ').next()).context("a time")?;
    Ok(f64::from(READS) / seconds.parse::<f64>()?)
}

/// With everything that a drive does behind it, no slower than QEMU's own export of nothing.
#[test]
#[ignore = "make soak: a comparison by time"]
fn reads_are_as_fast_as_from_the_storage_daemons_null_device() -> Result<()> {
    let drive = drive("bench")?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("null.sock");
    let export = format!("vhost-user-blk,id=export,addr.type=unix,addr.path={},node-name=null", socket.display());
    let null = "null-co,node-name=null,size=268435456,read-zeroes=on";
    let _daemon = StorageDaemon::start(&["--blockdev", null, "--export", &export], &socket)?;
    let (mut ours, mut theirs) = (0.0_f64, 0.0_f64);
    for _ in 0..5 {
        ours = ours.max(bench(&image(drive.socket()))?);
        theirs = theirs.max(bench(&image(&socket))?);
    }
    println!("4 KiB reads a second at queue depth 32: {ours:.0}, from the null device {theirs:.0}");
    ensure!(ours >= theirs, "{ours:.0} a second, and {theirs:.0} from the null device");
    drive.stop().map(drop)
}
