//! The identity of a drive without a given serial number: one that no other drive has, and the same one after a restart. Subsystem name
//! and UUIDs follow from it. To Linux, two drives with one serial number are one drive with two paths.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use media::store::Inspection;
use twox_hash::XxHash3_64;
use uuid::Uuid;

use super::media_words::Store;

/// What a drive's serial number follows from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Kept in its media file; of a new file it was drawn by lot.
    Kept([u8; 16]),
    /// A drive in memory, or in a file from before files had identities: where it is.
    Place(PathBuf),
    /// Nobody is to see it.
    None,
}

impl Identity {
    /// The identity of a drive in this store, to be had at `place`.
    pub fn of(store: Option<&Store>, file: Option<&Inspection>, place: Option<&Path>) -> Self {
        match (store, file) {
            (Some(Store::File(path)), Some(file)) if file.identity == [0; 16] => Self::Place(full(path)),
            (Some(Store::File(_)), Some(file)) => Self::Kept(file.identity),
            (Some(Store::File(_)), None) => Self::Kept(Uuid::new_v4().into_bytes()),
            (Some(Store::Ram) | None, _) => place.map_or(Self::None, |place| Self::Place(full(place))),
        }
    }

    /// The serial number, if the drive is to have one of its own.
    pub fn serial(&self) -> Option<String> {
        let hash = match self {
            Self::Kept(bytes) => XxHash3_64::oneshot(bytes),
            Self::Place(path) => XxHash3_64::oneshot(path.as_os_str().as_bytes()),
            Self::None => return None,
        };
        // As many digits as a serial number has room for.
        Some(format!("brownout-{:011x}", hash >> 20))
    }

    /// What a new file is to keep.
    pub const fn kept(&self) -> [u8; 16] {
        match self {
            Self::Kept(bytes) => *bytes,
            Self::Place(_) | Self::None => [0; 16],
        }
    }
}

/// The same for every way to write a path, and so for every folder that the process may be started in.
fn full(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // The file itself may not be there yet, its folder is.
    match (absolute.parent().and_then(|folder| folder.canonicalize().ok()), absolute.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => absolute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_one_drive_however_it_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |path: PathBuf| Identity::of(None, None, Some(&path)).serial().expect("it has one");
        let plain = at(folder.path().join("a.sock"));
        assert_eq!(plain, at(folder.path().join(".").join("a.sock")));
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).expect("a link");
        assert_eq!(plain, at(folder.path().join("link").join("a.sock")));
        assert_ne!(plain, at(folder.path().join("b.sock")));
        assert_eq!(plain.len(), 20, "as many as the field holds");
    }

    #[test]
    fn drives_that_nobody_is_to_see_have_none() {
        assert_eq!(Identity::of(Some(&Store::Ram), None, None).serial(), None);
    }

    #[test]
    fn each_new_file_has_its_own() {
        let one = Identity::of(Some(&Store::File("x".into())), None, None);
        let other = Identity::of(Some(&Store::File("x".into())), None, None);
        assert_ne!(one.kept(), other.kept());
        assert_ne!(one.serial(), other.serial());
    }
}
