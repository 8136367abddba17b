//! What a media file says of itself, read without taking it into use. Owns nothing; a file that cannot be is refused in words.

use std::fs::File;
use std::path::Path;

use super::backing::StoreError;
use super::file::{failed, read_at};
use super::header::ImageHeader;
use crate::geometry::{Geometry, GeometryConfig};
use crate::journal::METADATA_PAGE;
use crate::large_memory::filled;
use crate::root::{Layout, Root};
use crate::unit::index;

/// What a media file holds, by its header and its newest root. A drive that uses the file may be ahead of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What it was made with.
    pub geometry: GeometryConfig,
    /// What tells it from every other file; all zeroes if it was made before there was that.
    pub identity: [u8; 16],
    /// The newest whole root: volumes, counters, whether the end was orderly.
    pub root: Root,
}

/// Reads a media file's header and root.
///
/// # Errors
/// Where the file cannot be read, is no media file, or is damaged.
pub fn inspect(path: &Path) -> Result<Inspection, StoreError> {
    let file = File::open(path).map_err(|error| failed("open", path, &error))?;
    let read = |offset: u64, bytes: usize| {
        let mut page = filled(0, bytes)?;
        read_at(&file, offset, &mut page).map_err(|error| failed("read", path, &error)).map(|()| page)
    };
    let header = ImageHeader::decode(&read(0, METADATA_PAGE)?)?;
    let geometry = Geometry::new(header.geometry.clone()).map_err(|error| StoreError::Damaged(error.0))?;
    // Where the roots lie depends on nothing that the header does not say.
    let layout = Layout::of(&geometry, 0);
    let length = file.metadata().map_err(|error| failed("examine", path, &error))?.len();
    let wanted = METADATA_PAGE as u64 + layout.root_at(0).max(layout.root_at(1)) + layout.root_bytes;
    if length < wanted {
        return Err(StoreError::Damaged(format!("the file is cut off: {length} bytes of at least {wanted}")));
    }
    let mut newest: Option<Root> = None;
    for generation in 0..2 {
        let bytes = read(METADATA_PAGE as u64 + layout.root_at(generation), index(layout.root_bytes))?;
        let root = Root::decode(&bytes);
        newest = newest.into_iter().chain(root).max_by_key(|root| root.generation);
    }
    let root = newest.ok_or_else(|| StoreError::Damaged("neither root of the metadata is whole".into()))?;
    Ok(Inspection { geometry: header.geometry, identity: header.identity, root })
}
