//! The first page of an image: what it is, and of which geometry. Knows nothing of what lies behind it.

use super::backing::StoreError;
use crate::codec::{Reader, Writer, checksum};
use crate::geometry::GeometryConfig;
use crate::journal::METADATA_PAGE;

const MAGIC: u64 = u64::from_le_bytes(*b"brownout");
/// The version of the image's format. A newer one is refused, not guessed at.
pub const VERSION: u32 = 4;

/// What the first page of an image says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The geometry that the image was made with.
    pub geometry: GeometryConfig,
    /// Bytes of the metadata region.
    pub metadata_bytes: u64,
    /// What tells the image from every other one that was ever made; all zeroes if nobody said.
    pub identity: [u8; 16],
}

impl ImageHeader {
    /// The encoded page.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let geometry = &self.geometry;
        let mut writer = Writer::default();
        writer.u64(MAGIC);
        writer.u32(VERSION);
        for number in [
            geometry.channels,
            geometry.dies_per_channel,
            geometry.planes_per_die,
            geometry.pages_per_block,
            geometry.page_bytes,
            geometry.unit_bytes,
            geometry.spare_per_million_of_user,
            geometry.replacement_blocks_per_plane,
            geometry.factory_bad_blocks,
            geometry.metadata_bytes_per_unit,
        ] {
            writer.u32(number);
        }
        writer.words(&[geometry.user_bytes, self.metadata_bytes]);
        let sum = checksum(MAGIC, &writer.0);
        writer.u64(sum);
        if self.identity != [0; 16] {
            writer.0.extend(self.identity);
            writer.u64(checksum(MAGIC, &self.identity));
        }
        if geometry.volumes_max != 0 {
            writer.0.resize(VOLUMES_AT, 0);
            let volumes = geometry.volumes_max.to_le_bytes();
            writer.0.extend(volumes);
            writer.u64(checksum(MAGIC, &volumes));
        }
        writer.0.resize(METADATA_PAGE, 0);
        writer.0
    }

    /// The header of a page.
    ///
    /// # Errors
    /// What is wrong with it, in words for the person who named the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Damaged(what.into());
        let mut reader = Reader(bytes);
        if reader.u64() != Some(MAGIC) {
            return Err(StoreError::Refused("this is not a brownout media file".into()));
        }
        let version = reader.u32().ok_or_else(|| damaged("the header is cut off"))?;
        if version != VERSION {
            let reader = if version < VERSION {
                "it is from before the first release, and no release reads it: make another file"
            } else {
                "a newer release reads it"
            };
            return Err(StoreError::Refused(format!(
                "the file has format version {version}, and this is version {VERSION}: {reader}"
            )));
        }
        Self::decode_body(&mut reader, bytes).ok_or_else(|| damaged("the header's checksum is wrong"))
    }

    fn decode_body(reader: &mut Reader<'_>, bytes: &[u8]) -> Option<Self> {
        let mut number = || reader.u32();
        let mut geometry = GeometryConfig {
            channels: number()?,
            dies_per_channel: number()?,
            planes_per_die: number()?,
            pages_per_block: number()?,
            page_bytes: number()?,
            unit_bytes: number()?,
            spare_per_million_of_user: number()?,
            replacement_blocks_per_plane: number()?,
            factory_bad_blocks: number()?,
            metadata_bytes_per_unit: number()?,
            user_bytes: 0,
            volumes_max: 0,
        };
        let [user_bytes, metadata_bytes] = reader.words()?;
        geometry.user_bytes = user_bytes;
        let body = bytes.len() - reader.0.len();
        let sound = reader.u64()? == checksum(MAGIC, bytes.get(..body)?);
        let identity = identity(reader.0)?;
        geometry.volumes_max = volumes_max(bytes.get(VOLUMES_AT..)?)?;
        sound.then_some(Self { geometry, metadata_bytes, identity })
    }
}

/// The identity behind the rest of the header: zeroes where there is none, as in files from before there was one; nothing if it is
/// damaged.
fn identity(bytes: &[u8]) -> Option<[u8; 16]> {
    let (identity, rest) = bytes.split_first_chunk::<16>()?;
    let sum = u64::from_le_bytes(*rest.first_chunk()?);
    let none = *identity == [0; 16] && sum == 0;
    (none || sum == checksum(MAGIC, identity)).then_some(*identity)
}

/// Where it stands how many volumes come and go: zeroes where none does.
const VOLUMES_AT: usize = 256;

/// Nothing if it is damaged.
fn volumes_max(bytes: &[u8]) -> Option<u32> {
    let (volumes, rest) = bytes.split_first_chunk::<4>()?;
    let sum = u64::from_le_bytes(*rest.first_chunk()?);
    let none = *volumes == [0; 4] && sum == 0;
    (none || sum == checksum(MAGIC, volumes)).then_some(u32::from_le_bytes(*volumes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ImageHeader {
        ImageHeader { geometry: GeometryConfig::default(), metadata_bytes: 12345, identity: [7; 16] }
    }

    #[test]
    fn a_header_comes_back() {
        assert_eq!(ImageHeader::decode(&header().encode()), Ok(header()));
        let nobody = ImageHeader { identity: [0; 16], ..header() };
        assert_eq!(ImageHeader::decode(&nobody.encode()), Ok(nobody.clone()));
        let geometry = GeometryConfig { volumes_max: 16, ..GeometryConfig::default() };
        let many = ImageHeader { geometry, ..nobody };
        let mut bytes = many.encode();
        assert_eq!(ImageHeader::decode(&bytes), Ok(many));
        bytes[VOLUMES_AT] ^= 1;
        assert!(ImageHeader::decode(&bytes).is_err());
    }

    #[test]
    fn a_damaged_identity_is_not_taken_for_another_one() {
        let good = header().encode();
        let at = good.windows(16).position(|window| window == [7; 16]).expect("it is there");
        for bit in at * 8..(at + 24) * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ImageHeader::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_that_is_foreign_newer_damaged_or_cut_off_is_refused_in_words() {
        let refuse = |bytes: &[u8]| ImageHeader::decode(bytes).unwrap_err().to_string();
        assert!(refuse(&[0; 4096]).contains("not a brownout"));
        let mut newer = header().encode();
        newer[8] = 9;
        assert!(refuse(&newer).contains("format version 9"));
        let mut damaged = header().encode();
        damaged[20] ^= 1;
        assert!(refuse(&damaged).contains("checksum"));
        assert!(refuse(&header().encode()[..30]).contains("checksum"));
    }
}
