//! The guest's test scripts. They live as files beside this crate, so that the shell checker and people can read them;
//! here they only get names.

/// Functions that all scripts share; the harness puts it into every guest as `/lib.sh`.
pub const LIBRARY: &str = concat!(include_str!("../scripts/device.sh"), include_str!("../scripts/lib.sh"));
/// fio with verification, at queue depths 1, 16 and 128, with 512-byte and 4-KiB blocks.
pub const VERIFY: &str = include_str!("../scripts/verify.sh");
/// ext4 and XFS: made, filled, unmounted, compared, checked.
pub const FILESYSTEMS: &str = include_str!("../scripts/filesystems.sh");
/// What a virtio disk says of itself and does, with places at which the test looks from outside.
pub const DISK: &str = include_str!("../scripts/disk.sh");
/// XFS with 16-KiB blocks and sectors, on a namespace with 16-KiB logical blocks.
pub const XFS16K: &str = include_str!("../scripts/xfs16k.sh");
/// Fifty controller resets under a verifying load.
pub const RESETS: &str = include_str!("../scripts/resets.sh");
/// nvme-cli: identify, logs, features, registers, compare, write zeroes, deallocate, write uncorrectable, copy,
/// flush.
pub const TOOLS: &str = include_str!("../scripts/tools.sh");
/// The block queue's limits as KEY=VALUE lines.
pub const LIMITS: &str = include_str!("../scripts/limits.sh");
/// Random small writes, and what the drive says they cost.
pub const AMPLIFICATION: &str = include_str!("../scripts/amplification.sh");
/// The guest's half of `brownout crash --guest`.
pub const CAMPAIGN: &str = include_str!("../scripts/campaign.sh");
/// The guest's half of `brownout crash --tape --check-guest`.
pub const IMAGES: &str = include_str!("../scripts/images.sh");
/// The guest's half of `brownout crash --guest --load`, whole, for machines of others too: it needs no other file. It finds its port in the
/// variable PORT or as its first argument.
pub const AGENT: &str =
    concat!(include_str!("../scripts/agent.sh"), "\n", include_str!("../scripts/device.sh"), "\nmain \"$@\"\n");
/// The guest's half of `brownout conform`.
pub const CONFORM: &str = include_str!("../scripts/conform.sh");
/// A drive that loses power under a driver that nobody warns.
pub const POWERLESS: &str = include_str!("../scripts/powerless.sh");
/// The second act of `make demo`: what is written as power goes, and what another boot finds of it.
pub const POWER_CUT: &str = include_str!("../scripts/powercut.sh");
/// A block that cannot be read until it is written.
pub const MEDIUM: &str = include_str!("../scripts/medium.sh");
/// One fault of the device, and what the driver says of it.
pub const FAULTS: &str = include_str!("../scripts/faults.sh");
/// A disk that gets another size under a mounted file system.
pub const RESIZE: &str = include_str!("../scripts/resize.sh");
/// A drive with two controllers in one guest: a path goes and comes back under a load.
pub const MULTIPATH: &str = include_str!("../scripts/multipath.sh");
/// The same while the state of each path's access changes.
pub const ANA: &str = include_str!("../scripts/ana.sh");
/// One of two guests that share a namespace.
pub const SHARED: &str = include_str!("../scripts/shared.sh");
/// Two hosts in one guest that reserve a namespace by nvme-cli.
pub const RESERVATIONS: &str = include_str!("../scripts/reservations.sh");
/// Namespaces that are made, formatted and deleted by nvme-cli beside a load.
pub const NAMESPACES: &str = include_str!("../scripts/namespaces.sh");
/// What `make demo` shows.
pub const DEMO: &str = include_str!("../scripts/demo.sh");
/// The first process of a guest of `brownout qemu --exec`.
pub const EXEC: &str = include_str!("../scripts/exec.sh");
/// What that process runs in a guest with a kernel of somebody's own: our script, in the user's root image if there is one.
pub const OWN: &str = include_str!("../scripts/own.sh");
