//! What the host is told of the drive behind the namespace: preferred sizes, atomic units, capacity, wear (rules B105, B158, B176–B179, and
//! the profiles of section D).

use controller::config::DeviceOptions;
use media::geometry::GeometryConfig;
use media::ssd::{CacheConfig, SsdConfig};
use nvme_host::admin::{IdentifyArguments, LogArguments};
use nvme_spec::identify::{self, Cns, NvmNamespace};
use nvme_spec::log::{EnduranceGroup, LogId, OcpSmart, Smart};
use nvme_spec::{NSID_ALL, Status};
use spec_tests::golden::parsed;
use spec_tests::rig::Build;

/// A drive of 64 MiB with this indirection unit, small lines, and a write that is whole or undone up to 64 KiB.
fn build(unit_bytes: u32, block_bytes: u32) -> Build {
    let geometry =
        GeometryConfig { unit_bytes, user_bytes: 64 << 20, pages_per_block: 16, ..GeometryConfig::default() };
    let drive = SsdConfig { geometry, power_atomic_bytes: 64 << 10, ..SsdConfig::default() };
    let blocks = (64 << 20) / u64::from(block_bytes);
    Build { namespaces: vec![(block_bytes, blocks)], drive: Some(drive), ..Build::default() }
}

fn command_set_namespace(build: &Build) -> NvmNamespace {
    let arguments = IdentifyArguments { nsid: 1, ..IdentifyArguments::default() };
    parsed(&build.admin_host().identify(Cns::COMMAND_SET_NAMESPACE, arguments).expect("mandatory"))
}

/// B176, B178: with a unit of 16 KiB over blocks of 512 bytes all preferred sizes are 32 blocks, in both widths of deallocation.
#[test]
fn preferred_sizes_are_the_indirection_unit_and_the_stripe() {
    for (unit, block) in [(4096, 512), (16384, 512), (16384, 4096), (65536, 4096), (65536, 65536)] {
        let build = build(unit, block);
        let data = build.admin_host().identify_namespace(1).expect("active");
        let unit_z = u16::try_from(unit / block - 1).expect("small");
        assert!(data.features().contains(identify::NamespaceFeatures::PREFERRED_SIZES));
        for hint in [data.npwg_z, data.npwa_z, data.npdg_z, data.npda_z] {
            assert_eq!(hint.get(), unit_z, "{unit} over {block}");
        }
        // The stripe is 16 planes of 16 KiB pages; many hosts send no more than half of that.
        assert_eq!((u32::from(data.nows_z.get()) + 1) * block, 128 << 10, "{unit} over {block}");
        let long = command_set_namespace(&build);
        assert_eq!((long.npdgl.get(), long.npdal.get()), (unit / block, unit / block));
    }
}

/// B176: no preferred size is above MDTS, and the optimal one is a multiple of the granularity.
#[test]
fn preferred_sizes_fit_a_transfer() {
    for mdts in 1..=9 {
        let device = DeviceOptions { mdts, ..DeviceOptions::default() };
        let data = Build { device, ..build(16384, 512) }.admin_host().identify_namespace(1).expect("active");
        let transfer_blocks = (4096 << mdts) / 512;
        if !data.features().contains(identify::NamespaceFeatures::PREFERRED_SIZES) {
            assert!(transfer_blocks < 32, "mdts={mdts}");
            assert_eq!(
                [data.npwg_z, data.npwa_z, data.npdg_z, data.npda_z, data.nows_z].map(|hint| hint.get()),
                [0; 5]
            );
            continue;
        }
        let (granularity, optimal) = (u32::from(data.npwg_z.get()) + 1, u32::from(data.nows_z.get()) + 1);
        assert!(granularity <= transfer_blocks && optimal <= transfer_blocks, "mdts={mdts}");
        assert!(optimal * 512 <= 128 << 10, "more than many hosts send");
        assert!(optimal.is_multiple_of(granularity));
    }
}

/// B158, B160, B179: the namespace's atomic unit is what the media commits as one group, without a boundary; the controller promises
/// one block.
#[test]
fn the_power_fail_atomic_unit_is_the_medias() {
    let build = build(16384, 4096);
    let data = build.admin_host().identify_namespace(1).expect("active");
    assert!(data.features().contains(identify::NamespaceFeatures::OWN_ATOMICS));
    assert_eq!(data.nawupf_z.get(), 15);
    assert!(data.nawun_z.get() >= data.nawupf_z.get());
    assert_eq!((data.nabsn_z.get(), data.nabspf_z.get(), data.nabo.get()), (0, 0, 0));
    let controller = build.admin_host().identify_controller().expect("mandatory");
    assert_eq!((controller.awun_z.get(), controller.awupf_z.get()), (0, 0));
}

/// B105: NUSE moves in whole units, NVMCAP is what the namespace holds, and the controller's total is their sum.
#[test]
fn capacity_is_accounted() {
    let build = Build { namespaces: vec![(512, 32 << 11), (4096, 8 << 8)], ..build(16384, 512) };
    let mut host = build.host();
    assert_eq!(host.write(1, 7, &[1; 512], false).expect("answered"), Status::SUCCESS);
    let first = host.identify_namespace(1).expect("active");
    let second = host.identify_namespace(2).expect("active");
    assert_eq!((first.nuse.get(), second.nuse.get()), (32, 0));
    assert_eq!((first.nvmcap.get(), second.nvmcap.get()), (32 << 20, 8 << 20));
    assert_eq!(host.identify_controller().expect("mandatory").tnvmcap.get(), 40 << 20);
    assert_eq!(host.deallocate(1, &[(0, 32)]).expect("answered"), Status::SUCCESS);
    assert_eq!(host.identify_namespace(1).expect("active").nuse.get(), 0);
}

/// B86, B87: what SMART, the endurance group and the OCP page say of the same life agrees, and a block written into a unit of 16 KiB
/// programs the whole unit: a write amplification of four for blocks of 4 KiB.
#[test]
fn amplification_can_be_read_from_the_logs() {
    let build = build(16384, 4096);
    let mut host = build.host();
    let media_bytes = |host: &mut nvme_host::Host<_>| {
        let page: OcpSmart = parsed(&host.get_log(LogId::OCP_SMART, 512, LogArguments::default()).expect("supported"));
        page.physical_bytes_written.get()
    };
    let before = media_bytes(&mut host);
    for unit in 0..1000_u64 {
        let lba = unit * 7 % 4096 * 4;
        assert_eq!(host.write(1, lba, &[1; 4096], true).expect("answered"), Status::SUCCESS);
    }
    let programmed = media_bytes(&mut host) - before;
    let written = 1000 * 4096;
    assert!(programmed >= 4 * written, "{programmed} bytes programmed for {written} written");
    let smart: Smart = parsed(&host.get_log(LogId::SMART, 512, LogArguments::default()).expect("mandatory"));
    assert_eq!(smart.data_units_written.get(), written.div_ceil(512_000));
    assert_eq!((smart.host_write_commands.get(), smart.power_cycles.get(), smart.unsafe_shutdowns.get()), (1000, 1, 0));
    let group = LogArguments { specific_identifier: 1, ..LogArguments::default() };
    let group: EnduranceGroup = parsed(&host.get_log(LogId::ENDURANCE_GROUP, 512, group).expect("supported"));
    assert_eq!(group.data_units_written.get(), 1);
    assert_eq!(group.host_write_commands.get(), 1000);
    assert_eq!(group.total_capacity_bytes.get(), 64 << 20);
    let other = LogArguments { specific_identifier: 2, ..LogArguments::default() };
    assert!(host.get_log(LogId::ENDURANCE_GROUP, 512, other).is_err(), "there is one group");
    let groups = host.identify(Cns::ENDURANCE_GROUPS, IdentifyArguments::default()).expect("supported");
    assert_eq!(groups[..6], [1, 0, 1, 0, 0, 0]);
}

/// B99: a drive with a volatile cache has feature 06h, on by default; without one it is refused.
#[test]
fn the_volatile_cache_is_the_medias() {
    for present in [true, false] {
        let mut build = build(4096, 512);
        if let Some(drive) = &mut build.drive {
            drive.cache = CacheConfig { present, ..CacheConfig::default() };
        }
        let mut host = build.host();
        let cache = host.identify_controller().expect("mandatory").write_cache();
        assert_eq!(cache.contains(identify::WriteCache::PRESENT), present);
        let feature = host.get_feature(nvme_spec::feature::FeatureId::VOLATILE_WRITE_CACHE, 0);
        assert_eq!(feature.ok(), present.then_some(1));
        assert_eq!(host.flush(NSID_ALL).expect("answered"), Status::SUCCESS);
    }
}
