//! Scatter Gather Lists (Base 2.1 section 4.3.2): a buffer in pieces as a descriptor and, beyond one piece, segments of descriptors.
//! Pure functions from addresses to numbers, like those of [`crate::prp`].

use nvme_spec::sgl::{DESCRIPTOR_BYTES, SglDescriptor, SglType};
use thiserror::Error;
use zerocopy::IntoBytes;

/// Contiguous bytes of a buffer, at any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Guest address.
    pub address: u64,
    /// Length in bytes; it may be 0.
    pub length: u32,
}

/// One segment to be written to guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SglSegment {
    /// Where the first descriptor goes; a multiple of 8 bytes.
    pub address: u64,
    /// The descriptors; unless it is the last segment, the last of them points to the next one.
    pub descriptors: Vec<SglDescriptor>,
}

impl SglSegment {
    /// The segment as it lies in memory.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.descriptors.as_bytes()
    }
}

/// Why a buffer cannot be described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SglError {
    /// The places given for segments do not suffice.
    #[error("{missing} more pieces than the segments have room for")]
    SegmentsTooShort {
        /// Pieces that found no room.
        missing: usize,
    },
}

/// How many segments `pieces` pieces need, when each has room for `room` descriptors. None for one piece, which the command carries.
///
/// # Panics
/// If there is room for one descriptor only, and more than one piece: such a chain would have no end.
#[must_use]
pub fn segments_needed(pieces: usize, room: usize) -> usize {
    if pieces <= 1 {
        return 0;
    }
    assert!(room > 1, "a segment of {room} descriptors has no room for data");
    // All but the last give one descriptor to the pointer to the next.
    (pieces - 1).div_ceil(room - 1)
}

/// Describes `pieces` with the help of segments of `room` descriptors at `places`: what the command carries, and what is to be written.
/// Places that are not needed stay unused.
///
/// # Errors
/// If the places do not suffice.
///
/// # Panics
/// Like [`segments_needed`].
pub fn describe(pieces: &[Piece], places: &[u64], room: usize) -> Result<(SglDescriptor, Vec<SglSegment>), SglError> {
    match *pieces {
        [] => return Ok((SglDescriptor::new(SglType::DATA_BLOCK, 0, 0), Vec::new())),
        [piece] => return Ok((data_block(piece), Vec::new())),
        _ => {}
    }
    let needed = segments_needed(pieces.len(), room);
    let places = places.get(..needed).ok_or_else(|| {
        let held = places.len() * (room - 1) + usize::from(!places.is_empty());
        SglError::SegmentsTooShort { missing: pieces.len() - held }
    })?;
    let mut left = pieces;
    let mut segments = Vec::new();
    for &address in places {
        let count = if left.len() <= room { left.len() } else { room - 1 };
        let (here, later) = left.split_at(count);
        segments.push(SglSegment { address, descriptors: here.iter().copied().map(data_block).collect() });
        left = later;
    }
    // From the end on: what points to a segment tells its length, which includes the pointer that it ends with.
    let mut next = None;
    for segment in segments.iter_mut().rev() {
        let is_last = next.is_none();
        segment.descriptors.extend(next);
        next = Some(pointer(segment, is_last));
    }
    Ok((next.expect("two pieces have a segment"), segments))
}

fn data_block(piece: Piece) -> SglDescriptor {
    SglDescriptor::new(SglType::DATA_BLOCK, piece.address, piece.length)
}

/// The descriptor that points to a segment.
fn pointer(segment: &SglSegment, is_last: bool) -> SglDescriptor {
    let kind = if is_last { SglType::LAST_SEGMENT } else { SglType::SEGMENT };
    let bytes = u32::try_from(segment.descriptors.len() * DESCRIPTOR_BYTES).expect("a segment is smaller than 4 GiB");
    SglDescriptor::new(kind, segment.address, bytes)
}

#[cfg(test)]
mod tests {
    use super::{Piece, SglError, describe, segments_needed};
    use nvme_spec::sgl::{SglDescriptor, SglType};

    fn piece(number: u64) -> Piece {
        Piece { address: number << 16 | 1, length: 7 }
    }

    fn data(number: u64) -> SglDescriptor {
        SglDescriptor::new(SglType::DATA_BLOCK, number << 16 | 1, 7)
    }

    #[test]
    fn one_piece_is_carried_by_the_command() {
        assert_eq!(describe(&[piece(1)], &[], 0), Ok((data(1), vec![])));
        assert_eq!(describe(&[], &[], 0).unwrap().0, SglDescriptor::default());
    }

    #[test]
    fn what_fits_into_one_segment_is_the_last_one() {
        let (first, segments) = describe(&[piece(1), piece(2), piece(3)], &[0x8000, 0x9000], 3).unwrap();
        assert_eq!(first, SglDescriptor::new(SglType::LAST_SEGMENT, 0x8000, 48));
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].descriptors, [data(1), data(2), data(3)]);
    }

    #[test]
    fn segments_are_chained_by_their_last_descriptors() {
        let pieces: Vec<_> = (1..=6).map(piece).collect();
        let (first, segments) = describe(&pieces, &[0x8000, 0x9000, 0xa000], 3).unwrap();
        assert_eq!(first, SglDescriptor::new(SglType::SEGMENT, 0x8000, 48));
        let to = |kind, address, bytes| SglDescriptor::new(kind, address, bytes);
        assert_eq!(segments[0].descriptors, [data(1), data(2), to(SglType::SEGMENT, 0x9000, 48)]);
        assert_eq!(segments[1].descriptors, [data(3), data(4), to(SglType::LAST_SEGMENT, 0xa000, 32)]);
        assert_eq!(segments[2].descriptors, [data(5), data(6)]);
        assert_eq!(segments[2].bytes()[16..28], [1, 0, 6, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
    }

    #[test]
    fn as_many_segments_as_needed_suffice_and_one_less_does_not() {
        for count in 2..40 {
            let pieces: Vec<_> = (1..=count).map(piece).collect();
            for room in 2..9 {
                let places: Vec<u64> = (1..=segments_needed(pieces.len(), room) as u64).map(|at| at << 12).collect();
                let (_, segments) = describe(&pieces, &places, room).unwrap();
                let of_data = |kind| kind == SglType::DATA_BLOCK;
                let described = segments.iter().flat_map(|segment| &segment.descriptors);
                let described: Vec<_> = described.copied().filter(|found| of_data(found.kind())).collect();
                assert_eq!(described, (1..=count).map(data).collect::<Vec<_>>(), "{count} pieces, {room} at a time");
                let error = describe(&pieces, &places[1..], room).unwrap_err();
                assert!(matches!(error, SglError::SegmentsTooShort { missing: 1.. }), "{error}");
            }
        }
    }
}
