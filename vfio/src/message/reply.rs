//! Replies. None is longer than what the client has room for: an error and an acknowledgement are a header, a read is as long as
//! was asked, VERSION is shorter than QEMU's own request (QEMU's receive buffer is the size of what it sent).

use super::{Errno, FLAG_ERROR, HEADER_BYTES, Header, TYPE_REPLY};

/// What we ask of the client, and no more: QEMU 10.1 to 10.2.2 goes wrong on `write_multiple`, and warns of names that it does not know.
pub const VERSION_REPLY_JSON: &[u8] = b"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}\0";

/// A reply in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    header: Header,
    bytes: Vec<u8>,
}

impl Reply {
    /// Success: so far only a header.
    #[must_use]
    pub fn to(request: &Header) -> Self {
        let header = Header { flags: TYPE_REPLY, error: 0, ..*request };
        Self { header, bytes: vec![0; HEADER_BYTES] }
    }

    /// Refusal: a header with an errno. It is never 0, which QEMU would take for success.
    #[must_use]
    pub fn refuse(request: &Header, errno: Errno) -> Self {
        let errno = if errno.0 == 0 { Errno::INVAL } else { errno };
        let header = Header { flags: TYPE_REPLY | FLAG_ERROR, error: errno.0, ..*request };
        Self { header, bytes: vec![0; HEADER_BYTES] }
    }

    /// Appends a 16-bit number.
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a 32-bit number.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a 64-bit number.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Appends `count` zeroes and lends them to be filled.
    pub fn room(&mut self, count: usize) -> &mut [u8] {
        let from = self.bytes.len();
        self.bytes.resize(from + count, 0);
        self.bytes.get_mut(from..).unwrap_or_default()
    }

    /// The message, with its size in its header.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.header.size = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        for (to, from) in self.bytes.iter_mut().zip(self.header.encode()) {
            *to = from;
        }
        self.bytes
    }
}
