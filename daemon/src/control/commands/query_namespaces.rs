//! `query-namespaces`.

use nvme_spec::identify;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Device, Execute, Refusal};

/// Every active namespace, as Identify Namespace tells the host. Sizes are in logical blocks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryNamespaces {}

/// A namespace.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Namespace {
    nsid: u32,
    uuid: String,
    /// NGUID in hexadecimal digits; none if it has none.
    nguid: Option<String>,
    /// EUI-64; 0 if it has none.
    eui64: u64,
    /// NSZE.
    size_blocks: u64,
    /// As many blocks as it can have: `namespace-resize`.
    size_blocks_max: u64,
    /// NCAP.
    capacity_blocks: u64,
    /// NUSE: blocks that hold data.
    used_blocks: u64,
    format: Format,
    atomics: Atomics,
    preferred: Preferred,
}

/// The format in use.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Format {
    block_bytes: u64,
    metadata_bytes: u16,
    /// Metadata follows each block instead of being in a buffer of its own.
    metadata_extended: bool,
}

/// The namespace's atomic fields, as Identify has them: in blocks, zero-based where the name ends in z.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Atomics {
    /// NSFEAT bit 1: the fields below count; otherwise those of the controller do.
    own: bool,
    nawun_z: u16,
    nawupf_z: u16,
    nacwu_z: u16,
    /// Boundary; 0 is none.
    nabsn_z: u16,
    /// Boundary offset.
    nabo: u16,
    /// Boundary for power loss; 0 is none.
    nabspf_z: u16,
}

/// Preferred sizes, in blocks, zero-based.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Preferred {
    /// NSFEAT says that the fields below count.
    reported: bool,
    npwg_z: u16,
    npwa_z: u16,
    npdg_z: u16,
    npda_z: u16,
    nows_z: u16,
}

impl Execute for QueryNamespaces {
    const NAME: &'static str = "query-namespaces";
    type Answer = Vec<Namespace>;

    fn execute(self, device: &mut Device<'_>) -> Result<Vec<Namespace>, Refusal> {
        let subsystem = &device.subsystem;
        let active = subsystem.namespaces();
        let active = active.filter_map(|config| {
            let most = subsystem.namespace_blocks_max(config.nsid)?;
            Some(namespace(config, &subsystem.identify_namespace(config.nsid)?, most))
        });
        Ok(active.collect())
    }
}

fn namespace(config: &controller::config::NamespaceConfig, data: &identify::Namespace, most: u64) -> Namespace {
    let format = data.format();
    let nguid = (data.nguid != [0; 16]).then(|| data.nguid.iter().map(|byte| format!("{byte:02x}")).collect());
    Namespace {
        nsid: config.nsid,
        uuid: config.uuid.to_string(),
        nguid,
        eui64: u64::from_be_bytes(data.eui64),
        size_blocks: data.nsze.get(),
        size_blocks_max: most,
        capacity_blocks: data.ncap.get(),
        used_blocks: data.nuse.get(),
        format: Format {
            block_bytes: 1 << format.lbads,
            metadata_bytes: format.ms.get(),
            metadata_extended: data.has_extended_metadata(),
        },
        atomics: Atomics {
            own: data.features().contains(identify::NamespaceFeatures::OWN_ATOMICS),
            nawun_z: data.nawun_z.get(),
            nawupf_z: data.nawupf_z.get(),
            nacwu_z: data.nacwu_z.get(),
            nabsn_z: data.nabsn_z.get(),
            nabo: data.nabo.get(),
            nabspf_z: data.nabspf_z.get(),
        },
        preferred: Preferred {
            reported: data.features().contains(identify::NamespaceFeatures::PREFERRED_SIZES),
            npwg_z: data.npwg_z.get(),
            npwa_z: data.npwa_z.get(),
            npdg_z: data.npdg_z.get(),
            npda_z: data.npda_z.get(),
            nows_z: data.nows_z.get(),
        },
    }
}
