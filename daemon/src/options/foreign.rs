//! Options that QEMU's own NVMe devices have and this drive has not: whoever writes one is told so, instead of being left to search for a
//! slip of the pen. Names of QEMU 11.1.

/// Of `nvme`: the controller.
const CONTROLLER: &[&str] = &[
    "cmb_size_mb",
    "ctratt.mem",
    "ioeventfd",
    "legacy-cmb",
    "msix-exclusive-bar",
    "ocp",
    "pmrdev",
    "smart_critical_warning",
    "spdm_port",
    "spdm_trans",
    "sriov-pf",
    "sriov_max_vfs",
    "sriov_max_vi_per_vf",
    "sriov_max_vq_per_vf",
    "sriov_vi_flexible",
    "sriov_vq_flexible",
    "subsys",
    "use-intel-id",
    "vsl",
    "zoned.auto_transition",
    "zoned.zasl",
];

/// Of `nvme-ns`: the namespace.
const NAMESPACE: &[&str] = &[
    "eui64-default",
    "fdp.ruhs",
    "mcl",
    "msrc",
    "mssrl",
    "pi",
    "pif",
    "pil",
    "zoned",
    "zoned.cross_read",
    "zoned.descr_ext_size",
    "zoned.max_active",
    "zoned.max_open",
    "zoned.numzrwa",
    "zoned.zone_capacity",
    "zoned.zone_size",
    "zoned.zrwafg",
    "zoned.zrwas",
];

/// Of `nvme-subsys`: the subsystem.
const SUBSYSTEM: &[&str] = &["fdp", "fdp.nrg", "fdp.nruh", "fdp.runs"];

/// Of any device with a block device behind it, which here is the media's.
const BLOCK: &[&str] = &[
    "account-failed",
    "account-invalid",
    "backend_defaults",
    "discard_granularity",
    "min_io_size",
    "opt_io_size",
    "share-rw",
    "stats-intervals",
];

/// Of any PCI device: QEMU has them for the device that it plugs in.
const PLUGGED: &[&str] = &[
    "acpi-index",
    "addr",
    "bootindex",
    "bus",
    "busnr",
    "failover_pair_id",
    "id",
    "multifunction",
    "rombar",
    "romfile",
    "romsize",
    "x-max-bounce-buffer-size",
    "x-pcie-ari-nextfn-1",
    "x-pcie-err-unc-mask",
    "x-pcie-ext-tag",
    "x-pcie-lnksta-dllla",
];

/// What has another name here.
const RENAMED: &[(&str, &str)] = &[
    ("drive", "--media store=file:PATH"),
    ("logical_block_size", "--namespace lba=SIZE"),
    ("nqn", "--device subnqn=NAME"),
    ("num_queues", "--device max_ioqpairs=N"),
    ("physical_block_size", "--media iu=SIZE"),
    ("write-cache", "--media vwc=on|off"),
];

/// What to tell whoever gives an option of QEMU's that is none of ours.
pub fn remedy(name: &str) -> Option<String> {
    if let Some((_, ours)) = RENAMED.iter().find(|(theirs, _)| *theirs == name) {
        return Some(format!("QEMU's name: here it is {ours}"));
    }
    if PLUGGED.contains(&name) {
        return Some("it says how QEMU plugs the device in: give it to QEMU's -device vfio-user-pci".to_owned());
    }
    let owners = [("nvme", CONTROLLER), ("nvme-ns", NAMESPACE), ("nvme-subsys", SUBSYSTEM), ("nvme", BLOCK)];
    let (owner, _) = owners.into_iter().find(|(_, names)| names.contains(&name))?;
    Some(format!("not implemented: QEMU's {owner} has it, this drive does not"))
}

/// All names that this file knows.
#[cfg(test)]
pub fn names() -> impl Iterator<Item = &'static str> {
    let lists = [CONTROLLER, NAMESPACE, SUBSYSTEM, BLOCK, PLUGGED];
    lists.into_iter().flatten().copied().chain(RENAMED.iter().map(|(name, _)| *name))
}
