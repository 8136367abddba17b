//! Copies of images, which are large and mostly holes.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};

/// Copies a file to an empty one: shared where the file system can do that, otherwise without its holes.
///
/// # Errors
/// One cannot be read, or the other not written.
pub fn copy_with_holes(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(length)?;
    let (mut from, mut to) = (from, to);
    let mut at = 0;
    while at < length {
        let data = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(data))?;
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        io::copy(&mut io::Read::take(&mut from, end - data), &mut to)?;
        at = end;
    }
    to.flush()
}
