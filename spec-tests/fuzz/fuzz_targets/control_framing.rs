//! What a peer of the control socket sends, cut into messages: the same ones however the bytes arrive, and none above the limit. The
//! file itself is taken in, since a binary has no library.
#![no_main]

#[path = "../../../daemon/src/control/framing.rs"]
mod framing;

use framing::{Broken, Framer, MESSAGE_BYTES_MAX};

/// Messages, and what ended them, of bytes that arrive `piece` at a time.
fn cut(input: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Broken>) {
    let mut framer = Framer::default();
    let mut messages = Vec::new();
    for bytes in input.chunks(piece) {
        framer.push(bytes);
        loop {
            match framer.take() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(broken) => return (messages, Some(broken)),
            }
        }
    }
    (messages, None)
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let whole = cut(input, input.len().max(1));
    for piece in [1, 2, 7, 4096] {
        assert_eq!(cut(input, piece), whole);
    }
    for message in &whole.0 {
        assert!(message.len() <= MESSAGE_BYTES_MAX && message.starts_with(b"{"));
        if let Ok(text) = std::str::from_utf8(message) {
            // Whatever it is, it ends like an object or is none.
            assert!(text.ends_with(['}', ']']));
        }
    }
});
