//! Writes cpio archives of the "newc" kind, which the kernel unpacks into its initramfs. Owns that format and nothing else.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// An archive that is being filled. The kernel reads archives which follow one another as one, so this is simply
/// appended to a ready-made initramfs.
#[derive(Debug)]
pub struct Archive {
    bytes: Vec<u8>,
    next_inode: u32,
}

const REGULAR_EXECUTABLE: u32 = 0o100_755;
const TRAILER: &str = "TRAILER!!!";

impl Default for Archive {
    fn default() -> Self {
        // Far away from the inode numbers of the archive before: they only matter for hard links, of which we have none.
        Self { bytes: Vec::new(), next_inode: 900_000 }
    }
}

impl Archive {
    /// One with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an executable file with the given path, relative to the root. The folders above it must be there already.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, REGULAR_EXECUTABLE, content);
    }

    /// The finished archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    /// Writes an initramfs to `target` that is `base` and, behind it, this archive, whose files replace those of the same path.
    ///
    /// # Errors
    /// `base` cannot be read, or `target` not written.
    pub fn write_behind(self, base: &Path, target: &Path) -> Result<()> {
        fs::copy(base, target).with_context(|| format!("cannot copy {}", base.display()))?;
        let cannot_write = || format!("cannot write {}", target.display());
        let mut file = File::options().append(true).open(target).with_context(cannot_write)?;
        // An archive must begin at a multiple of four; zeros in between are passed over.
        let length = file.metadata().with_context(cannot_write)?.len();
        let padding = length.next_multiple_of(4) - length;
        let padding = [0_u8; 4].get(..usize::try_from(padding)?).unwrap_or_default();
        file.write_all(padding).and_then(|()| file.write_all(&self.finish())).with_context(cannot_write)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.next_inode += 1;
        // magic, then thirteen numbers of eight hexadecimal digits: inode, mode, user, group, links, time, size,
        // device major and minor, special major and minor, length of the name with its end, checksum (unused).
        let header = format!(
            "070701{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}",
            self.next_inode,
            mode,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            path.len() + 1,
            0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_aligned_entries_and_a_trailer() {
        let mut archive = Archive::new();
        archive.file("test.sh", b"echo hello\n");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"070701"));
        // 110 bytes of header, 8 of name, 2 of padding.
        assert_eq!(&bytes[110..118], b"test.sh\0");
        assert_eq!(&bytes[120..131], b"echo hello\n");
        assert_eq!(&bytes[132..138], b"070701");
        assert!(bytes.windows(TRAILER.len()).any(|window| window == TRAILER.as_bytes()));
    }
}
