//! What `brownout media` says, as JSON: an object for a file, a line for each entry of a list. Sizes are in bytes.

use media::LbaRange;
use media::ssd::{Findings, Ssd};
use media::store::header::VERSION;
use media::store::{Inspection, Store};
use serde_json::{Value, json};

use super::identified;

/// A file by its header and its newest root.
pub fn info(file: &Inspection) -> Value {
    let (geometry, root) = (&file.geometry, &file.root);
    let namespaces = identified(file).into_iter().map(|(nsid, volume)| {
        json!({
            "nsid": nsid,
            "size": volume.capacity_blocks.saturating_mul(volume.block_bytes.into()),
            "size-max": u64::from(volume.units) * u64::from(geometry.unit_bytes),
            "lba": volume.block_bytes,
        })
    });
    let counters = &root.counters;
    json!({
        "format": VERSION,
        "iu": geometry.unit_bytes,
        "user": geometry.user_bytes,
        "nand": {
            "channels": geometry.channels, "dies": geometry.dies_per_channel, "planes": geometry.planes_per_die,
            "pages": geometry.pages_per_block, "page-size": geometry.page_bytes,
        },
        "namespaces": namespaces.collect::<Vec<_>>(),
        "clean": root.clean,
        "power-cycles": counters.power_cycles,
        "unsafe-shutdowns": counters.unsafe_shutdowns,
        "host-write-bytes": counters.host_write_bytes,
        "host-writes": counters.host_writes,
        "bad-blocks": root.bad_blocks.len(),
    })
}

/// What recovery found, the ledger and the lines.
pub fn structure<S: Store>(drive: &Ssd<S>) -> Value {
    let status = drive.status();
    let (ledger, found, erases) = (&status.ledger, &status.recovery, status.erase_counts);
    json!({
        "recovery": { "clean": found.clean, "replayed": found.replayed, "given-up": found.given_up, "torn": found.torn },
        "ledger": {
            "programmed": ledger.programs, "host": ledger.host, "fill": ledger.fill, "collected": ledger.collected,
            "wear": ledger.wear, "padding": ledger.padding, "metadata": ledger.metadata, "balances": ledger.balances(),
        },
        "lines": { "all": status.lines.0, "free": status.lines.1 },
        "erases": { "least": erases.least, "most": erases.most },
        "bad-blocks": status.bad_blocks,
    })
}

/// All data: how much there is, and each unit that is damaged, with the blocks that a host sees of it.
pub fn data<S: Store>(drive: &Ssd<S>, findings: &Findings) -> Value {
    let damaged = findings.damaged.iter().map(|&(unit, line, slot)| {
        let seen = drive.blocks_of(unit).filter(|(_, range)| range.blocks > 0);
        let nsid = seen.map(|(volume, _)| volume.0 + 1);
        json!({ "unit": unit.0, "line": line, "slot": slot, "nsid": nsid, "blocks": seen.map(|(_, range)| ends(range)) })
    });
    json!({ "mapped": findings.mapped, "damaged": damaged.collect::<Vec<_>>(), "sound": findings.sound() })
}

/// The first and the last block.
fn ends(range: LbaRange) -> [u64; 2] {
    [range.start.0, range.start.0 + range.blocks - 1]
}
