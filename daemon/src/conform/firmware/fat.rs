//! A file system that firmware boots from: FAT16 without a partition table. One file is what is copied; the only free clusters are those
//! that a copy of it takes, so where the copy gets to is known. Everything else is marked as bad.

use super::{Disk, Place};
use crate::conform::place::COPIED;

/// The file that is copied, and what the copy is called.
pub const SOURCE: &str = "A.BIN";
/// See [`SOURCE`].
pub const TARGET: &str = "B.BIN";

const CLUSTER: u64 = 4096;
/// Clusters of the volume: more than FAT12 has, fewer than FAT32.
const CLUSTERS: u64 = 8192;
/// The first cluster has this number.
const BASE: u64 = 2;
const EFI: u64 = BASE;
const BOOT: u64 = BASE + 1;
const SHELL: u64 = BASE + 2;
const FROM: u64 = 1024;
const TO: u64 = 4096;
const ROOT_ENTRIES: u64 = 512;
const ENTRY: u64 = 32;
const END: u16 = 0xffff;
const BAD: u16 = 0xfff7;
const DIRECTORY: u8 = 0x10;
const FILE: u8 = 0x20;

/// Where the table ends, the root ends, in sectors. A sector is a block.
const fn root(block: u64) -> u64 {
    1 + ((CLUSTERS + BASE) * 2).div_ceil(block)
}

const fn data(block: u64) -> u64 {
    root(block) + (ROOT_ENTRIES * ENTRY).div_ceil(block)
}

const fn sector_of(block: u64, cluster: u64) -> u64 {
    data(block) + (cluster - BASE) * (CLUSTER / block)
}

/// The blocks of the two files.
pub const fn place(beginning: Place) -> Place {
    let block = beginning.block_bytes;
    Place { from: sector_of(block, FROM), to: sector_of(block, TO), ..beginning }
}

/// The volume with its files, but for what is copied.
pub fn disk(place: &Place, shell: &[u8]) -> Disk {
    let block = place.block_bytes;
    let bytes = |cluster| sector_of(block, cluster) * block;
    let root_entries = [entry(b"EFI        ", DIRECTORY, EFI, 0), entry(b"A       BIN", FILE, FROM, COPIED)].concat();
    let efi = [dots(EFI, 0), entry(b"BOOT       ", DIRECTORY, BOOT, 0).to_vec()].concat();
    let boot = [dots(BOOT, EFI), entry(b"BOOTX64 EFI", FILE, SHELL, shell.len() as u64).to_vec()].concat();
    vec![
        (0, parameters(block)),
        (block, table(shell.len() as u64)),
        (root(block) * block, root_entries),
        (bytes(EFI), efi),
        (bytes(BOOT), boot),
        (bytes(SHELL), shell.to_vec()),
    ]
}

/// The parameter block: sizes in sectors, all little-endian.
fn parameters(block: u64) -> Vec<u8> {
    let mut sector = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..][..bytes.len()].copy_from_slice(bytes);
    let short = |value: u64| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    let total = u32::try_from(sector_of(block, CLUSTERS + BASE)).unwrap_or(u32::MAX);
    put(0, &[0xeb, 0x3c, 0x90]);
    put(3, b"BROWNOUT");
    put(11, &short(block));
    put(13, &[u8::try_from(CLUSTER / block).unwrap_or(1)]);
    // One sector is reserved, and there is one table.
    put(14, &short(1));
    put(16, &[1]);
    put(17, &short(ROOT_ENTRIES));
    put(21, &[0xf8]);
    put(22, &short(root(block) - 1));
    put(32, &total.to_le_bytes());
    put(36, &[0x80, 0, 0x29]);
    put(43, b"BROWNOUT   FAT16   ");
    put(510, &[0x55, 0xaa]);
    sector
}

fn table(shell_bytes: u64) -> Vec<u8> {
    let copied = COPIED / CLUSTER;
    let shell = shell_bytes.div_ceil(CLUSTER);
    assert!(SHELL + shell <= FROM && FROM + copied <= TO && TO + copied <= CLUSTERS, "the files do not overlap");
    let chain = |cluster: u64, first: u64, count: u64| match cluster + 1 == first + count {
        true => END,
        false => u16::try_from(cluster + 1).unwrap_or(END),
    };
    let entries = (0..CLUSTERS + BASE).map(|cluster| match cluster {
        // The media's kind, and that the volume is clean.
        0 => 0xfff8,
        1 | EFI | BOOT => END,
        _ if (SHELL..SHELL + shell).contains(&cluster) => chain(cluster, SHELL, shell),
        _ if (FROM..FROM + copied).contains(&cluster) => chain(cluster, FROM, copied),
        _ if (TO..TO + copied).contains(&cluster) => 0,
        _ => BAD,
    });
    entries.flat_map(u16::to_le_bytes).collect()
}

fn entry(name: &[u8; 11], kind: u8, cluster: u64, bytes: u64) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = kind;
    entry[26..28].copy_from_slice(&u16::try_from(cluster).unwrap_or(0).to_le_bytes());
    entry[28..].copy_from_slice(&u32::try_from(bytes).unwrap_or(0).to_le_bytes());
    entry
}

/// A directory begins with itself and the one above it; the root is 0.
fn dots(own: u64, above: u64) -> Vec<u8> {
    [entry(b".          ", DIRECTORY, own, 0), entry(b"..         ", DIRECTORY, above, 0)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The free clusters are those of the copy, whatever the blocks, and the pieces do not overlap.
    #[test]
    fn there_is_room_for_the_copy_and_for_nothing_else() {
        for block in [512, 1024, 4096] {
            let place = place(Place::new(1, block));
            let mut disk = disk(&place, &vec![7; 900_000]);
            assert_eq!(disk[1].1.as_chunks::<2>().0.iter().filter(|entry| **entry == [0, 0]).count() as u64, 2048);
            assert_eq!((place.to - place.from) * block, (TO - FROM) * CLUSTER);
            disk.push((place.from * block, vec![0; usize::try_from(COPIED).expect("small")]));
            disk.push((place.to * block, vec![0; usize::try_from(COPIED).expect("small")]));
            disk.sort_by_key(|(at, _)| *at);
            for pair in disk.windows(2) {
                assert!(pair[0].0 + pair[0].1.len() as u64 <= pair[1].0, "{} and {}", pair[0].0, pair[1].0);
            }
            let last = disk.last().expect("pieces");
            assert!(last.0 + last.1.len() as u64 <= 64 << 20, "the namespace has 64 MiB");
        }
    }
}
