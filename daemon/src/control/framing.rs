//! Where one message ends and the next begins. QMP is a stream of JSON objects; clients may end theirs with a newline or not. Knows
//! brackets and strings, but not what they contain. The cost per byte is constant, however the bytes arrive.

use std::fmt;

/// The longest message that a peer may send.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Why nothing more can be read from a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A message does not end within [`MESSAGE_BYTES_MAX`].
    TooLong,
    /// Something stands between messages that is no object.
    NotAnObject(u8),
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(formatter, "a message has at most {MESSAGE_BYTES_MAX} bytes"),
            Self::NotAnObject(byte) => {
                write!(formatter, "a message is a JSON object, and begins with {{, not with {:?}", char::from(*byte))
            }
        }
    }
}

/// Bytes that arrived and have not become messages yet.
#[derive(Debug, Default)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Bytes that were looked at; they belong to the message that has begun.
    seen: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Framer {
    /// Takes bytes in, in the order of their arrival.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next message out, if all of it is there.
    ///
    /// # Errors
    /// There will never be another one.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        if self.depth == 0 {
            let blank = self.bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.bytes.drain(..blank);
        }
        while let Some(&byte) = self.bytes.get(self.seen) {
            if self.depth == 0 && byte != b'{' {
                return Err(Broken::NotAnObject(byte));
            }
            if self.seen == MESSAGE_BYTES_MAX {
                return Err(Broken::TooLong);
            }
            self.seen += 1;
            if self.ends_with(byte) {
                let rest = self.bytes.split_off(std::mem::take(&mut self.seen));
                return Ok(Some(std::mem::replace(&mut self.bytes, rest)));
            }
        }
        Ok(None)
    }

    /// Whether the message ends with this byte.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use media::power::Random;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> Result<Vec<String>, Broken> {
        let mut framer = Framer::default();
        let mut messages = Vec::new();
        for piece in pieces {
            framer.push(piece);
            while let Some(message) = framer.take()? {
                messages.push(String::from_utf8_lossy(&message).into_owned());
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_end_where_their_braces_do_with_newlines_or_without() {
        let text = br#" {"a": "}{\"\\"} {"b": [{}, {"c": 1}]}{}"#;
        let expected = [r#"{"a": "}{\"\\"}"#, r#"{"b": [{}, {"c": 1}]}"#, "{}"];
        assert_eq!(cut(&[text]).expect("objects"), expected);
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(cut(&bytes).expect("objects"), expected);
        assert_eq!(cut(&[b"{\"a\":\n", b"1}\r\n\r\n", b"{}\n", b"{\"half"]).expect("objects").len(), 2);
    }

    #[test]
    fn what_is_no_object_is_noticed_at_once() {
        assert_eq!(cut(&[b"{} \n GET / HTTP/1.1"]), Err(Broken::NotAnObject(b'G')));
        assert_eq!(cut(&[b"\0"]), Err(Broken::NotAnObject(0)));
        assert_eq!(cut(&[b"}"]), Err(Broken::NotAnObject(b'}')));
    }

    #[test]
    fn a_message_without_end_is_cut_off_at_the_limit_and_not_before() {
        let of = |length: usize| format!("{{\"a\": \"{}\"}}", "x".repeat(length - 9)).into_bytes();
        assert_eq!(cut(&[&of(MESSAGE_BYTES_MAX)]).map(|messages| messages.len()), Ok(1));
        assert_eq!(cut(&[&of(MESSAGE_BYTES_MAX + 1)]), Err(Broken::TooLong));
        assert_eq!(cut(&[&[b'['; 10]]), Err(Broken::NotAnObject(b'[')));
        let deep: Vec<u8> = std::iter::once(b'{').chain(std::iter::repeat_n(b'[', MESSAGE_BYTES_MAX)).collect();
        assert_eq!(cut(&[&deep]), Err(Broken::TooLong));
    }

    #[test]
    fn any_bytes_in_any_pieces_give_the_same_messages() {
        let seed = std::env::var("BROWNOUT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        println!("BROWNOUT_SEED={seed}");
        let mut random = Random::new(seed);
        let mut pick = |limit: usize| usize::try_from(random.below(limit as u64)).expect("small");
        for _ in 0..2_000 {
            let bytes: Vec<u8> = (0..pick(40)).map(|_| b"{}[]\"\\ \nx"[pick(9)]).collect();
            let mut rest = bytes.as_slice();
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(1 + pick(rest.len()));
                pieces.push(piece);
                rest = more;
            }
            assert_eq!(cut(&[&bytes]), cut(&pieces), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
