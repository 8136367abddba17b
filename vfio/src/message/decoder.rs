//! From a stream of bytes to messages. Whatever a header says, exactly that many bytes are taken off the stream, so a message that we
//! cannot use costs an error reply and not the connection.

use super::{HEADER_BYTES, Header, MESSAGE_BYTES_MAX, SKIPPED_BYTES_MAX};

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At least this many more bytes have to come (never 0).
    Need(usize),
    /// A whole message; [`Decoder::payload`] lends what follows its header.
    Message(Frame),
    /// A message longer than [`MESSAGE_BYTES_MAX`]. Its bytes are dropped as they come; the stream goes on after it.
    Oversize(Header),
    /// A size that no message can have: smaller than a header, or larger than [`SKIPPED_BYTES_MAX`]. The framing is lost, and the
    /// stream with it. Every further step says so again.
    Broken(Header),
}

/// Where a message lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Bytes of the stream up to and including this message.
    pub end: u64,
    /// In the buffer, until more bytes come.
    payload_from: usize,
    payload_to: usize,
}

/// The bytes of a stream that have come and are not used up.
#[derive(Debug)]
pub struct Decoder {
    buffer: Box<[u8]>,
    /// Unused bytes are `from..to`.
    from: usize,
    to: usize,
    /// How many bytes of an oversize message are still to be dropped.
    skipping: usize,
    /// Place in the stream of the byte at `from`.
    position: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { buffer: vec![0; MESSAGE_BYTES_MAX].into(), from: 0, to: 0, skipping: 0, position: 0 }
    }
}

impl Decoder {
    /// Where the next bytes go. Never empty after [`Self::step`] has said [`Step::Need`].
    pub fn space(&mut self) -> &mut [u8] {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            self.to -= self.from;
            self.from = 0;
        }
        self.buffer.get_mut(self.to..).unwrap_or_default()
    }

    /// `count` bytes of [`Self::space`] have been filled.
    pub fn filled(&mut self, count: usize) {
        self.to = self.to.saturating_add(count).min(self.buffer.len());
    }

    /// Copies as much of `bytes` as there is space for; how much that was.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let count = space.len().min(bytes.len());
        for (to, from) in space.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.filled(count);
        count
    }

    /// Place in the stream of the first byte that is not used up.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Place in the stream of the next byte to come.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.position + (self.to - self.from) as u64
    }

    /// Takes the next message off the stream, if it is there.
    pub fn step(&mut self) -> Step {
        self.skip();
        if self.skipping > 0 {
            return Step::Need(self.skipping);
        }
        let available = self.to - self.from;
        let Some(header) = self.buffer.get(self.from..self.to).and_then(Header::parse) else {
            return Step::Need(HEADER_BYTES - available);
        };
        let size = usize::try_from(header.size).unwrap_or(usize::MAX);
        if !(HEADER_BYTES..=SKIPPED_BYTES_MAX).contains(&size) {
            return Step::Broken(header);
        }
        if size > MESSAGE_BYTES_MAX {
            self.skipping = size;
            self.skip();
            return Step::Oversize(header);
        }
        if available < size {
            return Step::Need(size - available);
        }
        let (payload_from, payload_to) = (self.from + HEADER_BYTES, self.from + size);
        self.consume(size);
        Step::Message(Frame { header, end: self.position, payload_from, payload_to })
    }

    /// What follows the header of the message that the last step found.
    #[must_use]
    pub fn payload(&self, frame: &Frame) -> &[u8] {
        self.buffer.get(frame.payload_from..frame.payload_to).unwrap_or_default()
    }

    fn skip(&mut self) {
        let count = self.skipping.min(self.to - self.from);
        self.skipping -= count;
        self.consume(count);
    }

    const fn consume(&mut self, count: usize) {
        self.from += count;
        self.position += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;

    fn message(size: u32, length: usize) -> Vec<u8> {
        let header = Header { id: 7, command: Command::REGION_READ, size, flags: 0, error: 0 };
        let mut bytes = header.encode().to_vec();
        bytes.resize(length, 0xaa);
        bytes
    }

    #[test]
    fn every_truncation_asks_for_what_is_missing_and_every_split_gives_the_same_message() {
        let whole = message(40, 40);
        for cut in 0..whole.len() {
            let mut decoder = Decoder::default();
            decoder.feed(&whole[..cut]);
            let missing = if cut < HEADER_BYTES { HEADER_BYTES - cut } else { 40 - cut };
            assert_eq!(decoder.step(), Step::Need(missing), "after {cut} bytes");
            decoder.feed(&whole[cut..]);
            match decoder.step() {
                Step::Message(frame) => {
                    assert_eq!((frame.header.id, frame.end), (7, 40));
                    assert_eq!(decoder.payload(&frame), &whole[HEADER_BYTES..]);
                }
                other => panic!("split at {cut}: {other:?}"),
            }
            assert_eq!(decoder.step(), Step::Need(HEADER_BYTES));
        }
    }

    #[test]
    fn sizes_that_cannot_be_break_the_stream_for_good() {
        for size in [0, 1, 15, u32::try_from(SKIPPED_BYTES_MAX).expect("small") + 1, u32::MAX] {
            let mut decoder = Decoder::default();
            decoder.feed(&message(size, 64));
            assert!(matches!(decoder.step(), Step::Broken(_)), "size {size}");
            decoder.feed(&message(16, 16));
            assert!(matches!(decoder.step(), Step::Broken(_)), "size {size}, again");
        }
    }

    #[test]
    fn an_oversize_message_is_skipped_to_its_last_byte_and_no_further() {
        for size in [MESSAGE_BYTES_MAX + 1, 2 * MESSAGE_BYTES_MAX - 1, SKIPPED_BYTES_MAX] {
            let mut decoder = Decoder::default();
            let mut stream = message(u32::try_from(size).expect("small"), size);
            stream.extend(message(20, 20));
            let (mut oversize, mut usual) = (0, 0);
            let mut rest = stream.as_slice();
            loop {
                match decoder.step() {
                    Step::Need(_) if rest.is_empty() => break,
                    Step::Need(_) => rest = &rest[decoder.feed(rest)..],
                    Step::Oversize(_) => oversize += 1,
                    Step::Message(frame) => {
                        assert_eq!((decoder.payload(&frame).len(), frame.end), (4, stream.len() as u64));
                        usual += 1;
                    }
                    Step::Broken(header) => panic!("{header:?}"),
                }
            }
            assert_eq!((oversize, usual), (1, 1), "size {size}");
        }
    }

    #[test]
    fn the_longest_message_fits_whatever_came_before_it() {
        let mut decoder = Decoder::default();
        let longest = message(u32::try_from(MESSAGE_BYTES_MAX).expect("small"), MESSAGE_BYTES_MAX);
        let mut stream = message(17, 17);
        stream.extend(&longest);
        let mut rest = stream.as_slice();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match decoder.step() {
                Step::Need(count) => {
                    assert!(count > 0 && !decoder.space().is_empty());
                    rest = &rest[decoder.feed(rest)..];
                }
                Step::Message(frame) => seen.push(decoder.payload(&frame).len()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, [1, MESSAGE_BYTES_MAX - HEADER_BYTES]);
    }
}
