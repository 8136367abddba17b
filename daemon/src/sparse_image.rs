//! Raw images of namespaces, with holes where they hold zeroes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Zeroes of this size are a hole, where they are aligned.
const HOLE_BYTES: usize = 4096;

/// Gives a new file its length. A drive that is confined may not set it, but may write the last byte.
pub fn stretch(image: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 { Ok(()) } else { image.write_all_at(&[0], bytes - 1) }
}

/// Writes what is not zero of these bytes; how many that are.
pub fn write(image: &File, at: u64, bytes: &[u8]) -> io::Result<u64> {
    let mut data = 0;
    for (number, part) in (0..).zip(bytes.chunks(HOLE_BYTES)).filter(|(_, part)| part.iter().any(|byte| *byte != 0)) {
        image.write_all_at(part, at + number * HOLE_BYTES as u64)?;
        data += part.len() as u64;
    }
    Ok(data)
}
