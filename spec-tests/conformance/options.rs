//! Options by twos: whatever two of them say, at their ends, either cannot be and the refusal names both, or is a device that writes, reads,
//! compares and copies a block.

use controller::config::{Config, DeviceOptions, Doorbells, Interleave, NamespaceOptions};
use media::ssd::VolumeConfig;
use nvme_host::io::block_command;
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Status};
use spec_tests::rig::{Build, small_drive};

use crate::verbs::{TestHost, bare, pattern};

/// What a device is made of here.
#[derive(Clone, Default)]
struct Wishes {
    device: DeviceOptions,
    block_bytes: u32,
    namespace: NamespaceOptions,
}

/// One option at one end.
struct End {
    option: &'static str,
    set: fn(&mut Wishes),
}

macro_rules! ends {
    ($($option:literal: $($change:expr),+;)+) => { &[$($(End { option: $option, set: $change }),+),+] };
}

const ENDS: &[End] = ends! {
    "mdts": |w| w.device.mdts = 0, |w| w.device.mdts = 1, |w| w.device.mdts = 4, |w| w.device.mdts = 9;
    "lba": |w| w.block_bytes = 512, |w| w.block_bytes = 4096, |w| w.block_bytes = 65536;
    "ms": |w| w.namespace.ms = 8, |w| (w.namespace.ms, w.namespace.mset) = (64, 1), |w| w.namespace.ms = 64;
    "mset": |w| w.namespace.mset = 0, |w| w.namespace.mset = 1;
    "max_ioqpairs": |w| w.device.max_ioqpairs = 1, |w| w.device.max_ioqpairs = 511;
    "msix_qsize": |w| w.device.msix_qsize = 0, |w| w.device.msix_qsize = 1, |w| w.device.msix_qsize = 2048;
    "mqes": |w| w.device.mqes = 1, |w| w.device.mqes = u16::MAX;
    "aerl": |w| w.device.aerl = 0, |w| w.device.aerl = u8::MAX;
    "aer_max_queued": |w| w.device.aer_max_queued = 0, |w| w.device.aer_max_queued = u32::MAX;
    "dbcs": |w| w.device.dbcs = false, |w| w.device.dbcs = true;
    "doorbells": |w| w.device.doorbells = Doorbells::Mapped, |w| w.device.doorbells = Doorbells::Trapped;
    "ana": |w| w.device.ana = true;
    "anagrpid": |w| (w.device.ana, w.namespace.anagrpid) = (true, 1), |w| (w.device.ana, w.namespace.anagrpid) = (true, 32);
    "interleave": |w| w.device.interleave = Interleave::Seeded;
    "atomic.dn": |w| w.device.atomic_dn = true;
    "atomic.awun": |w| w.device.atomic_awun = 1, |w| w.device.atomic_awun = u16::MAX;
    "atomic.awupf": |w| w.device.atomic_awupf = 1, |w| w.device.atomic_awupf = u16::MAX;
    "atomic.acwu": |w| w.device.atomic_acwu = 1, |w| w.device.atomic_acwu = u16::MAX;
    "atomic.nawun": |w| w.namespace.atomic_nawun = Some(0), |w| w.namespace.atomic_nawun = Some(u16::MAX);
    "atomic.nawupf": |w| w.namespace.atomic_nawupf = Some(0), |w| w.namespace.atomic_nawupf = Some(u16::MAX);
    "atomic.nacwu": |w| w.namespace.atomic_nacwu = Some(0), |w| w.namespace.atomic_nacwu = Some(u16::MAX);
    "atomic.nabsn": |w| w.namespace.atomic_nabsn = Some(1), |w| w.namespace.atomic_nabsn = Some(u16::MAX);
    "atomic.nabspf": |w| w.namespace.atomic_nabspf = Some(1), |w| w.namespace.atomic_nabspf = Some(u16::MAX);
    "atomic.mam": |w| w.namespace.atomic_mam = true;
};

/// The refusal, or a host of the device.
fn make(wishes: &Wishes) -> Result<TestHost, String> {
    let Wishes { device, block_bytes, namespace } = wishes;
    let config = Config::check(device, std::slice::from_ref(namespace)).map_err(|error| error.to_string())?;
    config.carries(0, *block_bytes, namespace.ms.into()).map_err(|error| error.to_string())?;
    let drive = small_drive(8 << 20, (*block_bytes).max(4096));
    let volume = VolumeConfig::new(*block_bytes, namespace.ms.into(), 1);
    let atomic_blocks = (drive.power_atomic_bytes / volume.block_bytes).max(1);
    config.atomics(0, atomic_blocks).map_err(|error| error.to_string())?;
    let build = Build {
        device: device.clone(),
        namespaces: vec![(*block_bytes, (8 << 20) / u64::from(*block_bytes))],
        identities: vec![namespace.clone()],
        drive: Some(drive),
        ..Build::default()
    };
    let mut host = build.admin_host();
    host.create_queue_pair(1, (u32::from(device.mqes) + 1).min(16), None).map_err(|error| error.to_string())?;
    Ok(host)
}

/// Writes, reads, compares and copies a block.
fn one_block_of_each(host: &mut TestHost, wishes: &Wishes, what: &str) {
    let among = if wishes.namespace.mset == 1 { usize::from(wishes.namespace.ms) } else { 0 };
    let bytes = wishes.block_bytes as usize + among;
    let metadata = host.allocate(4096).expect("room");
    let written = pattern(3, bytes);
    let command = |opcode, lba| Command { mptr: metadata.into(), ..block_command(opcode, 1, lba, 1) };
    for opcode in [NvmOpcode::WRITE, NvmOpcode::COMPARE] {
        let completion = host.execute_out(1, command(opcode, 3), &written).expect("answered");
        assert_eq!(bare(completion.status()), Status::SUCCESS, "{what}: {opcode:?}");
    }
    let (completion, read) = host.execute_in(1, command(NvmOpcode::READ, 3), bytes).expect("answered");
    assert_eq!(bare(completion.status()), Status::SUCCESS, "{what}: read");
    assert!(read == written, "{what}: what was written is read");
    let copied = host.copy(1, &[(3, 1)], 5, false).expect("answered");
    assert_eq!(bare(copied.status()), Status::SUCCESS, "{what}: copy");
    let completion = host.execute_out(1, command(NvmOpcode::COMPARE, 5), &written).expect("answered");
    assert_eq!(bare(completion.status()), Status::SUCCESS, "{what}: what was copied");
}

#[test]
fn any_two_options_make_a_device_or_a_refusal_that_names_both() {
    let (mut made, mut refused, mut wrong) = (0, 0, Vec::new());
    for (index, one) in ENDS.iter().enumerate() {
        for other in &ENDS[index..] {
            let mut wishes = Wishes { block_bytes: 512, ..Wishes::default() };
            (one.set)(&mut wishes);
            (other.set)(&mut wishes);
            let what = format!("{} #{index} with {}", one.option, other.option);
            match make(&wishes) {
                Ok(mut host) => {
                    one_block_of_each(&mut host, &wishes, &what);
                    made += 1;
                }
                Err(refusal) => {
                    let alone = [one, other].map(|end| {
                        let mut wishes = Wishes { block_bytes: 512, ..Wishes::default() };
                        (end.set)(&mut wishes);
                        make(&wishes).is_err()
                    });
                    // Where one of them is enough to be refused, it is enough to name that.
                    let named = |end: &End| {
                        let short = end.option.trim_start_matches("atomic.");
                        refusal.to_lowercase().contains(short)
                    };
                    let says =
                        if alone == [false; 2] { named(one) && named(other) } else { named(one) || named(other) };
                    if !says {
                        wrong.push(format!("{what}: {refusal}"));
                    }
                    refused += 1;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(made > 500 && refused > 50, "{made} made, {refused} refused");
}
