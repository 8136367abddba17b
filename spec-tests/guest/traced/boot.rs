//! A boot and a workload, traced in every form at once: what each file says is what the others say, and what the drive has counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use guest_harness::{Brownout, Device, Kernel, Machine};
use serde_json::Value;
use spec_tests::qmp::Qmp;
use traces::analysis::Analysis;
use traces::qemu::PREFIX;
use traces::record::Kind;
use traces::recording::Reader;
use traces::waf::IndirectionUnit;

use super::list;

/// 512 writes of 4 KiB in random order, a deallocation, and as many reads of other sizes.
const SCRIPT: &str = r#"
. /lib.sh
wait_for_device
fio_job writes --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --offset=8M --size=2M --randseed=7 --end_fsync=1
fio_job reads --ioengine=psync --rw=read --bs=8k --offset=8M --size=2M
check "a deallocation" blkdiscard --offset 8M --length 1M "$DEVICE"
"#;

#[test]
fn every_form_of_a_trace_says_what_the_guest_did() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let control = path("control.sock");
    let mut drive = Brownout::builder()
        .name("traced-boot")
        .namespace("size=64MiB,lba=4096")
        .device("serial=TRACED")
        .argument("--control");
    drive = drive.argument(&control.display().to_string());
    for order in [
        "pci_nvme*,file=FILE.log",
        "format=chrome,file=FILE.json",
        "format=pcap,file=FILE.pcap,data=on",
        "format=recording,file=FILE.trace",
    ] {
        let file = path("boot").display().to_string();
        drive = drive.argument("--trace").argument(&order.replace("FILE", &file));
    }
    let drive = drive.start()?;
    let machine =
        Machine::new(Kernel::Newest).name("traced-boot").device(Device::VfioUser { socket: drive.socket().into() });
    let report = machine.script(SCRIPT).run()?;
    report.require_success()?;
    let mut peer = Qmp::connect(&control);
    let smart = peer.execute("query-log", &serde_json::json!({})).map_err(anyhow::Error::msg)?["smart"].take();
    let traces = peer.execute("query-traces", &serde_json::json!({})).map_err(anyhow::Error::msg)?;
    drive.stop()?;
    for trace in traces.as_array().context("a list")? {
        assert_eq!(trace["dropped"], 0, "{trace}");
    }

    let counts = lines(&path("boot.log"))?;
    let of = |name: &str| counts.get(&format!("{PREFIX}{name}")).copied().unwrap_or(0);
    let (io, admin) = (of("io_cmd"), of("admin_cmd"));
    ensure!(io > 512 + 256 && admin > 10 && of("mmio_start_success") > 0, "{counts:?}");
    assert_eq!((of("write"), of("dsm")), (512, 1), "{counts:?}");
    assert_eq!(Some(of("read")), smart["host-read-commands"].as_u64(), "{smart}");
    assert_eq!(Some(of("write")), smart["host-write-commands"].as_u64(), "{smart}");

    chrome(&path("boot.json"), io, admin)?;
    pcap(&path("boot.pcap"), io + admin)?;
    let mut analysis = Analysis::new(&[IndirectionUnit::new(4096).context("a power of two")?], 0.07);
    analysis.take(Reader::open(fs::File::open(path("boot.trace"))?)?)?;
    assert_eq!((analysis.commands(Kind::Write), analysis.bytes(Kind::Write)), (512, 2 << 20), "{analysis}");
    assert_eq!(analysis.commands(Kind::Read), of("read"), "{analysis}");
    assert_eq!((analysis.commands(Kind::Deallocate), analysis.bytes(Kind::Deallocate)), (1, 1 << 20), "{analysis}");
    Ok(())
}

/// How often each event is in a log; every line must be one that QEMU could have written.
fn lines(path: &Path) -> Result<BTreeMap<String, u64>> {
    let list = list::read()?;
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(path)?.lines() {
        let (name, _) = list::read_line(&list, line)?;
        *counts.entry(name).or_default() += 1;
    }
    Ok(counts)
}

/// Slices begin and end, in their rows, and have what viewers want of them.
fn chrome(path: &Path, io: u64, admin: u64) -> Result<()> {
    let trace: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let events = trace["traceEvents"].as_array().context("a list")?;
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let mut begun: BTreeMap<String, u64> = BTreeMap::new();
    for event in events {
        ensure!(
            event["ts"].is_number() && event["pid"].is_u64() && event["tid"].is_u64() && event["args"].is_object(),
            "{event}"
        );
        let text = |key: &str| event[key].as_str().map(str::to_owned).with_context(|| format!("{key} of {event}"));
        let key = || Ok::<_, anyhow::Error>(format!("{} {}", text("cat")?, text("id")?));
        match text("ph")?.as_str() {
            "b" => {
                *begun.entry(text("cat")?).or_default() += 1;
                ensure!(open.insert(key()?, text("name")?).is_none(), "{event} is open already");
            }
            "e" => ensure!(open.remove(&key()?) == Some(text("name")?), "{event} ends nothing"),
            "i" => ensure!(event["s"] == "p", "{event}"),
            "X" => ensure!(event["dur"].is_number(), "{event}"),
            "C" | "M" => {}
            other => anyhow::bail!("no phase {other}"),
        }
    }
    assert_eq!(begun, BTreeMap::from([("admin".to_owned(), admin), ("io".to_owned(), io)]));
    Ok(())
}

/// Wireshark's own decoder finds each command once, and what Identify brought. Without one the test says so, and goes on.
fn pcap(path: &Path, commands: u64) -> Result<()> {
    let program = std::env::var_os("BROWNOUT_TSHARK").map_or_else(|| PathBuf::from("tshark"), PathBuf::from);
    if !Command::new(&program).arg("--version").output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: there is no tshark (.ci/tshark prints the path of one, and BROWNOUT_TSHARK may name it)");
        return Ok(());
    }
    // Of a packet with several PDUs, each is in the field.
    let fields = |field: &str| -> Result<Vec<String>> {
        let mut tshark = Command::new(&program);
        let output = tshark.arg("-r").arg(path).args(["-Y", field, "-T", "fields", "-e", field]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().flat_map(|line| line.split(',')).map(str::to_owned).collect())
    };
    assert_eq!(fields("nvme.cmd.opc")?.len() as u64, commands);
    let serials = fields("nvme.cmd.identify.ctrl.sn")?;
    ensure!(serials.iter().any(|serial| serial.starts_with("TRACED")), "{serials:?}");
    Ok(())
}

/// fio's writes are a recording; replayed on a drive of the same shape they cost what they cost here.
#[test]
fn a_recording_of_fio_in_a_guest_is_replayed_at_the_same_cost() -> Result<()> {
    const WRITES: &str = r#"
. /lib.sh
wait_for_device
fio_job writes --ioengine=libaio --iodepth=16 --rw=randwrite --bs=4k --size=16M --randseed=7 --end_fsync=1
"#;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let drive =
        Brownout::builder().name("recorded").namespace("size=64MiB,lba=4096").argument("--media").argument("iu=16KiB");
    let drive = drive.argument("--trace").argument(&format!("format=recording,file={}", path("run.trace"))).start()?;
    let machine =
        Machine::new(Kernel::Newest).name("recorded").device(Device::VfioUser { socket: drive.socket().into() });
    machine.script(WRITES).run()?.require_success()?;
    drive.stop()?;

    let printed = |arguments: &[&str]| -> Result<Value> {
        let output = Brownout::run(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let run = printed(&["trace", "analyse", &path("run.trace"), "--iu", "16KiB", "--json"])?;
    assert_eq!(
        (&run["kinds"]["write"]["commands"], &run["kinds"]["write"]["bytes"]),
        (&4096.into(), &(16 << 20).into())
    );
    let media = ["--namespace", "size=64MiB,lba=4096", "--media", "iu=16KiB"];
    let replay = printed(&[&["trace", "replay", &path("run.trace"), "--json"][..], &media].concat())?;
    let factor = |of: &Value| of["measured"]["amplification"].as_f64().with_context(|| format!("a factor in {of}"));
    let (first, second) = (factor(&run)?, factor(&replay)?);
    ensure!((first - second).abs() <= first / 100.0, "{first} was measured, and {second} when it was replayed");
    Ok(())
}
