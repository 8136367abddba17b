//! A drive on which little work meets all there is.

use media::geometry::GeometryConfig;

/// 4 MiB on one die of two planes.
pub fn geometry(unit_bytes: u32) -> GeometryConfig {
    GeometryConfig {
        channels: 1,
        dies_per_channel: 1,
        planes_per_die: 2,
        pages_per_block: 16,
        page_bytes: 16384,
        unit_bytes,
        user_bytes: 4 << 20,
        spare_per_million_of_user: 250_000,
        ..GeometryConfig::default()
    }
}
