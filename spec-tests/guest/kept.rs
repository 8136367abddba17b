//! What a drive keeps while it is off, and what trim gives back: a file store of a terabyte under a real file system.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use guest_harness::{Brownout, Device, Kernel, Machine};

/// Makes XFS, copies a tree, and says what it is.
const FILL: &str = r#"
. /lib.sh
wait_for_device
mkfs.xfs -q -K "$DEVICE" || fail "mkfs.xfs"
mkdir -p /mnt && mount -t xfs "$DEVICE" /mnt || fail "mount"
make_tree
cp -r /tmp/tree /mnt/tree || fail "cp"
cp /tmp/tree.sums /mnt/sums
dd if=/dev/urandom of=/mnt/tree/random bs=1M count=64 2>/dev/null || fail "dd"
(cd /mnt/tree && md5sum random >>/mnt/sums) || fail "md5sum"
umount /mnt || fail "umount"
"#;

/// Compares the tree, removes it, trims, and looks at what the namespace says of itself.
const COMPARE: &str = r#"
. /lib.sh
wait_for_device
used() { nvme id-ns "$DEVICE" -o json | tr ',' '\n' | sed -n 's/.*"nuse"[^0-9]*\([0-9]*\).*/\1/p'; }
mkdir -p /mnt && mount -t xfs "$DEVICE" /mnt || fail "mount"
[ "$(wc -l </mnt/sums)" -gt 100 ] || fail "the tree is too small to tell anything"
(cd /mnt/tree && md5sum -c /mnt/sums >/tmp/compared) || fail "the tree changed while the drive was off"
before=$(used)
rm -rf /mnt/tree && sync && fstrim /mnt || fail "fstrim"
sync
after=$(used)
echo "NUSE before trim: $before, after: $after"
[ -n "$before" ] && [ "$after" -lt "$before" ] || fail "trim gave nothing back"
[ $((before - after)) -ge 16384 ] || fail "trim gave back less than the 64 MiB that were written"
umount /mnt || fail "umount"
"#;

fn boot(file: &Path, namespace: Option<&str>, script: &str) -> Result<String> {
    let media = format!("store=file:{}", file.display());
    let mut builder = Brownout::builder().name("kept").argument("--media").argument(&media);
    if let Some(namespace) = namespace {
        builder = builder.namespace(namespace);
    }
    let drive = builder.start()?;
    let report = Machine::new(Kernel::Newest)
        .name("kept")
        .device(Device::VfioUser { socket: drive.socket().into() })
        .script(script)
        .timeout(Duration::from_secs(400))
        .run()?;
    report.require_success()?;
    report.require_no_complaints(&[])?;
    let errors = drive.errors();
    assert!(drive.stop()?.success(), "the end was not orderly");
    Ok(errors)
}

#[test]
fn a_tree_on_a_terabyte_outlives_daemon_and_guest_and_trim_gives_it_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("disk");
    boot(&file, Some("size=1TiB,lba=4KiB"), FILL)?;
    let log = boot(&file, None, COMPARE)?;
    assert!(log.contains("last_end=\"clean\""), "{log}");
    Ok(())
}
