//! Blocks that say where they belong: a stamp in every 64 bytes names namespace, block, place in the block and seed, with a checksum. What
//! lies in the wrong place, or is half one block and half another, names where it came from.

use twox_hash::XxHash3_64;

/// Bytes of a stamp.
pub const STAMP_BYTES: usize = 64;
const MAGIC: u64 = u64::from_le_bytes(*b"brwnstmp");
const CHECKED_BYTES: usize = 40;

/// Where 64 bytes belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Namespace identifier.
    pub nsid: u32,
    /// Logical block.
    pub lba: u64,
    /// Which 64 bytes of the block.
    pub place: u32,
    /// Tells one filling from another.
    pub seed: u64,
}

impl Stamp {
    /// As it lies on the media.
    pub fn bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        let words = [MAGIC, u64::from(self.nsid) << 32 | u64::from(self.place), self.lba, self.seed, 0];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        let checksum = XxHash3_64::oneshot(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..][..8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The stamp in 64 bytes, if one is there.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let word = |number: usize| Some(u64::from_le_bytes(*bytes.get(number * 8..)?.first_chunk()?));
        let checksum = XxHash3_64::oneshot(bytes.get(..CHECKED_BYTES)?);
        let ours = word(0)? == MAGIC && word(5)? == checksum;
        let [place, nsid] = [word(1)?, word(1)? >> 32].map(|half| u32::try_from(half & 0xffff_ffff).unwrap_or(0));
        ours.then_some(Self { nsid, lba: word(2)?, place, seed: word(3)? })
    }
}

/// Fills whole blocks, the first of which is `lba`.
pub fn fill(blocks: &mut [u8], block_bytes: usize, nsid: u32, lba: u64, seed: u64) {
    for (lba, block) in (lba..).zip(blocks.chunks_mut(block_bytes)) {
        for (place, bytes) in (0..).zip(block.chunks_mut(STAMP_BYTES)) {
            bytes.copy_from_slice(&Stamp { nsid, lba, place, seed }.bytes()[..bytes.len()]);
        }
    }
}

/// What is wrong with blocks that should hold stamps of those from `lba` on: for each wrong block its number from the first, and what it
/// holds.
pub fn wrong(blocks: &[u8], block_bytes: usize, nsid: u32, lba: u64, seed: u64) -> Vec<(u64, String)> {
    let mut wrong = Vec::new();
    for (number, block) in (0_u64..).zip(blocks.chunks(block_bytes)) {
        let expected = |place| Stamp { nsid, lba: lba + number, place, seed };
        let bad = (0..).zip(block.chunks(STAMP_BYTES)).find(|(place, bytes)| *bytes != expected(*place).bytes());
        if let Some((place, bytes)) = bad {
            wrong.push((number, format!("at byte {}: {}", place as usize * STAMP_BYTES, describe(bytes, seed))));
        }
    }
    wrong
}

fn describe(bytes: &[u8], seed: u64) -> String {
    match Stamp::read(bytes) {
        _ if bytes.iter().all(|byte| *byte == 0) => "zeroes".to_owned(),
        None => "no stamp".to_owned(),
        Some(stamp) => {
            let of = if stamp.seed == seed { "" } else { " of another filling" };
            format!("namespace {} block {} byte {}{of}", stamp.nsid, stamp.lba, stamp.place as usize * STAMP_BYTES)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_say_where_they_belong() {
        let mut blocks = vec![0; 4 * 512];
        fill(&mut blocks, 512, 1, 10, 7);
        assert_eq!(wrong(&blocks, 512, 1, 10, 7), []);
        assert_eq!(Stamp::read(&blocks[512 + 64..]), Some(Stamp { nsid: 1, lba: 11, place: 1, seed: 7 }));

        let second = blocks[512..1024].to_vec();
        blocks[1024 + 128..1024 + 256].copy_from_slice(&second[128..256]);
        blocks[0..64].fill(0);
        blocks[1536 + 300] ^= 1;
        let texts: Vec<_> = wrong(&blocks, 512, 1, 10, 7);
        assert_eq!(
            texts,
            [
                (0, "at byte 0: zeroes".to_owned()),
                (2, "at byte 128: namespace 1 block 11 byte 128".to_owned()),
                (3, "at byte 256: no stamp".to_owned())
            ]
        );
        assert_eq!(
            wrong(&blocks[512..1024], 512, 1, 11, 8)[0].1,
            "at byte 0: namespace 1 block 11 byte 0 of another filling"
        );
    }
}
