//! Reads a text line by line, none of them longer than any that a format has, and says which one is wrong.

use std::io::{BufRead, Read as _};

use super::volumes::Volumes;
use crate::record::{Entry, Trace, TraceError};

/// The longest line, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// What makes entries of lines.
pub(super) trait Parser {
    /// Takes a line, without its end and the white space around it; never an empty one.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    fn line(&mut self, line: &str, volumes: &mut Volumes) -> Result<(), String>;

    /// No line comes any more.
    ///
    /// # Errors
    /// In words, what is missing.
    fn end(&mut self, _volumes: &mut Volumes) -> Result<(), String> {
        Ok(())
    }
}

/// A text and what parses it.
pub(super) struct TextTrace<R, P> {
    input: R,
    parser: P,
    volumes: Volumes,
    number: u64,
    ended: bool,
}

impl<R: BufRead, P: Parser> TextTrace<R, P> {
    pub fn new(input: R, parser: P) -> Self {
        Self { input, parser, volumes: Volumes::default(), number: 0, ended: false }
    }

    /// Reads a line and hands it on; false at the end.
    fn advance(&mut self) -> Result<bool, TraceError> {
        let mut bytes = Vec::new();
        self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
        self.number += 1;
        let line = self.number;
        let wrong = |why: String| TraceError::Line { line, why };
        if bytes.is_empty() {
            self.parser.end(&mut self.volumes).map_err(wrong)?;
            return Ok(false);
        }
        if bytes.len() as u64 == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
            return Err(wrong(format!("a line of {LINE_BYTES_MAX} bytes or more")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is no text".to_owned()))?.trim();
        if !text.is_empty() {
            self.parser.line(text, &mut self.volumes).map_err(wrong)?;
        }
        Ok(true)
    }
}

impl<R: BufRead, P: Parser> Trace for TextTrace<R, P> {
    fn next(&mut self) -> Result<Option<Entry>, TraceError> {
        loop {
            if let Some(entry) = self.volumes.take() {
                return Ok(Some(entry));
            }
            if self.ended {
                return Ok(None);
            }
            let advanced = self.advance();
            self.ended = !matches!(advanced, Ok(true));
            advanced?;
        }
    }
}
