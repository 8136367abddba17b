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
            return Err(damaged("this is not a brownout media file"));
        }
        let version = reader.u32().ok_or_else(|| damaged("the header is cut off"))?;
        if version != VERSION {
            return Err(StoreError::Damaged(format!(
                "the file has format version {version}; this is version {VERSION}"
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
        };
        let [user_bytes, metadata_bytes] = reader.words()?;
        geometry.user_bytes = user_bytes;
        let body = bytes.len() - reader.0.len();
        (reader.u64()? == checksum(MAGIC, bytes.get(..body)?)).then_some(Self { geometry, metadata_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ImageHeader {
        ImageHeader { geometry: GeometryConfig::default(), metadata_bytes: 12345 }
    }

    #[test]
    fn a_header_comes_back() {
        assert_eq!(ImageHeader::decode(&header().encode()), Ok(header()));
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
