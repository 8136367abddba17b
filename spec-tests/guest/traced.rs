//! What fio in a guest says that it did, analysed: its own log of I/O is imported, and the counts are those of the workload.

mod boot;
mod list;

use anyhow::{Context, Result};
use guest_harness::{Brownout, Device, Kernel, Machine};
use traces::analysis::Analysis;
use traces::import::{self, Format};
use traces::record::Kind;
use traces::waf::IndirectionUnit;

/// 256 accesses of 4 KiB in random order, then the write of 20 KiB at 12 KiB; each log between two lines that name it.
const SCRIPT: &str = r#"
. /lib.sh
wait_for_device
show() {
    echo "BEGIN $1"
    cat "/tmp/$1.log"
    echo "END $1"
}
fio_job mixed --ioengine=libaio --iodepth=8 --rw=randrw --bs=4k --size=1M --randseed=7 --write_iolog=/tmp/mixed.log
fio_job article --ioengine=psync --rw=write --bs=20k --offset=12k --size=20k --end_fsync=1 --write_iolog=/tmp/article.log
show mixed
show article
"#;

fn analysed(output: &str, name: &str) -> Result<Analysis> {
    let (_, behind) = output.split_once(&format!("BEGIN {name}")).context("the log is shown")?;
    let (log, _) = behind.split_once(&format!("END {name}")).context("the log is shown whole")?;
    let (format, trace) = import::open(None, log.trim_start().as_bytes())?;
    assert_eq!(format, Format::Fio);
    let mut analysis = Analysis::new(&[IndirectionUnit::new(16384).expect("a power of two")], 0.07);
    analysis.take(trace)?;
    Ok(analysis)
}

#[test]
fn the_log_of_fio_in_a_guest_has_the_counts_of_its_workload() -> Result<()> {
    let drive = Brownout::builder().name("traced").namespace("size=64MiB,lba=512").start()?;
    let machine =
        Machine::new(Kernel::Newest).name("traced").device(Device::VfioUser { socket: drive.socket().into() });
    let report = machine.script(SCRIPT).run()?;
    report.require_success()?;
    drive.stop()?;
    let output = report.script_output();

    let mixed = analysed(&output, "mixed")?;
    let (reads, writes) = (mixed.commands(Kind::Read), mixed.commands(Kind::Write));
    assert_eq!((reads + writes, mixed.bytes(Kind::Read) + mixed.bytes(Kind::Write)), (256, 1 << 20), "{mixed}");
    assert!(reads > 50 && writes > 50, "{mixed}");
    // A quarter of a unit each.
    assert_eq!(mixed.costs()[0].commands.to_string(), "4", "{mixed}");
    let article = analysed(&output, "article")?;
    assert_eq!((article.commands(Kind::Write), article.bytes(Kind::Write)), (1, 20 << 10), "{article}");
    assert_eq!(article.costs()[0].commands.to_string(), "1.6", "{article}");
    Ok(())
}
