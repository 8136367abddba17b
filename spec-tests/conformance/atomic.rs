//! Atomic writes: what is promised, and that it is kept (rules B158 to B168; NVM Command Set 1.1 section 2.1.4).

use controller::config::{DeviceOptions, NamespaceOptions};
use media::geometry::GeometryConfig;
use media::ssd::SsdConfig;
use nvme_spec::feature::{FeatureId, select};
use nvme_spec::identify;
use spec_tests::rig::Build;

/// A drive of 16 MiB in blocks of 4 KiB that commits up to 16 blocks as one.
fn build(device: DeviceOptions, namespace: NamespaceOptions) -> Build {
    let geometry = GeometryConfig { user_bytes: 16 << 20, pages_per_block: 16, ..GeometryConfig::default() };
    let drive = SsdConfig { geometry, power_atomic_bytes: 64 << 10, ..SsdConfig::default() };
    Build {
        device,
        namespaces: vec![(4096, 4096)],
        identities: vec![namespace],
        drive: Some(drive),
        ..Build::default()
    }
}

/// B158 to B161, and profiles P3 to P5 of section D: Identify says what was configured.
#[test]
fn identify_reports_the_configured_units() {
    let device = DeviceOptions { atomic_awun: 7, atomic_awupf: 3, atomic_acwu: 1, ..DeviceOptions::default() };
    let namespace = NamespaceOptions {
        atomic_nawun: Some(15),
        atomic_nawupf: Some(7),
        atomic_nacwu: Some(3),
        atomic_nabsn: Some(31),
        atomic_nabspf: Some(11),
        atomic_nabo: 5,
        ..NamespaceOptions::default()
    };
    let mut host = build(device, namespace).admin_host();
    let controller = host.identify_controller().expect("mandatory");
    assert_eq!((controller.awun_z.get(), controller.awupf_z.get(), controller.acwu_z.get()), (7, 3, 1));
    let data = host.identify_namespace(1).expect("active");
    assert_eq!((data.nawun_z.get(), data.nawupf_z.get(), data.nacwu_z.get()), (15, 7, 3));
    assert_eq!((data.nabsn_z.get(), data.nabspf_z.get(), data.nabo.get()), (31, 11, 5));
    assert_eq!(data.nsfeat & identify::NSFEAT_OWN_ATOMICS, identify::NSFEAT_OWN_ATOMICS);
    assert_eq!(data.nsfeat & identify::NSFEAT_MULTIPLE_ATOMICITY, 0);

    let device = DeviceOptions { atomic_awun: 7, atomic_awupf: 7, ..DeviceOptions::default() };
    let namespace = NamespaceOptions { atomic_nawun: Some(0), atomic_nawupf: Some(0), ..NamespaceOptions::default() };
    let data = build(device, namespace).admin_host().identify_namespace(1).expect("active");
    assert_eq!(data.nsfeat & identify::NSFEAT_OWN_ATOMICS, 0, "the controller's hold");
    assert_eq!((data.nawun_z.get(), data.nawupf_z.get(), data.nacwu_z.get()), (0, 0, 0));
}

/// B162: Multiple Atomicity Mode has one size for all.
#[test]
fn multiple_atomicity_has_one_size() {
    let namespace = NamespaceOptions { atomic_mam: true, atomic_nabspf: Some(3), ..NamespaceOptions::default() };
    let data = build(DeviceOptions::default(), namespace).admin_host().identify_namespace(1).expect("active");
    assert_eq!(data.nsfeat & identify::NSFEAT_MULTIPLE_ATOMICITY, identify::NSFEAT_MULTIPLE_ATOMICITY);
    assert_eq!([data.nabsn_z, data.nabspf_z, data.nawun_z, data.nawupf_z].map(|size_z| size_z.get()), [3; 4]);
}

/// B100, B12: Disable Normal is off unless the device says otherwise; it can be changed, and a reset brings the device's word back.
#[test]
fn disable_normal_begins_as_the_device_says() {
    for given in [false, true] {
        let device = DeviceOptions { atomic_dn: given, ..DeviceOptions::default() };
        let mut host = build(device, NamespaceOptions::default()).admin_host();
        let feature = FeatureId::WRITE_ATOMICITY;
        assert_eq!(host.get_feature(feature, select::CURRENT), Ok(u32::from(given)));
        assert_eq!(host.get_feature(feature, select::DEFAULT), Ok(u32::from(given)));
        host.set_feature(feature, u32::from(!given)).expect("changeable");
        assert_eq!(host.get_feature(feature, select::CURRENT), Ok(u32::from(!given)));
        host.start().expect("reset and enabled");
        assert_eq!(host.get_feature(feature, select::CURRENT), Ok(u32::from(given)));
    }
}
