//! Sizes in bytes as users write them: 512MiB, 2GiB, 1GB, 4096B, 16K, or a plain number of bytes. Exact: no floating point.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number of bytes that reads and prints with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("values" = "SIZE"))]
pub struct Bytes(pub u64);

impl Bytes {
    /// This many mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }
}

impl std::str::FromStr for Bytes {
    type Err = String;

    /// A bare letter counts in powers of 1024, as in QEMU's options and in `truncate`; KB, MB, GB and so on in powers of 1000.
    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = || "give a size such as 512MiB, 2GiB, 1GB, 4096B, or a number of bytes".to_owned();
        let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
        // Only whole numbers: a fraction of a unit would have to be rounded, and nobody writes an exponent here.
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(remedy());
        }
        let bare_letter = matches!(&text[digits.len()..], "k" | "K" | "m" | "M" | "g" | "G" | "t" | "T" | "p" | "P");
        let with_unit = if bare_letter { format!("{text}iB") } else { text.to_owned() };
        match parse_size::parse_size(&with_unit) {
            Ok(bytes) => Ok(Self(bytes)),
            Err(parse_size::Error::PosOverflow) => Err("give a size below 16 EiB".to_owned()),
            Err(_) => Err(remedy()),
        }
    }
}

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Bytes {
    /// The largest binary unit that divides the size, so that nothing is lost.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units.into_iter().find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match whole {
            Some((shift, unit)) => write!(formatter, "{}{unit}", self.0 >> shift),
            None => write!(formatter, "{}", self.0),
        }
    }
}

/// A number of bytes for people: the largest unit of which there is one, and its tenths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About(pub u64);

impl fmt::Display for About {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.into_iter().find(|(shift, _)| self.0 >> shift != 0) {
            Some((shift, unit)) => {
                // Rounded down, so that nothing looks like more than it is.
                let tenths = ((self.0 >> (shift - 10)) * 10) >> 10;
                let part = if tenths.is_multiple_of(10) { String::new() } else { format!(".{}", tenths % 10) };
                write!(formatter, "{}{part}{unit}", tenths / 10)
            }
            None => write!(formatter, "{} bytes", self.0),
        }
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_in_every_spelling() {
        let cases = [
            ("512MiB", 512 << 20),
            ("2GiB", 2 << 30),
            ("1GB", 1_000_000_000),
            ("4096B", 4096),
            ("4096", 4096),
            ("16K", 16384),
            ("1G", 1 << 30),
            ("1g", 1 << 30),
            ("7kib", 7168),
            ("0", 0),
            ("18446744073709551615", u64::MAX),
            // 2^53 + 1 is the first number that a double cannot hold.
            ("9007199254740993B", 9_007_199_254_740_993),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_examples() {
        for text in ["", "GiB", "-1", "1.5GiB", "1e9", "0x1000", "1 GiB", "12XB", "1_000", "1GiBB"] {
            let remedy = text.parse::<Bytes>().expect_err(text);
            assert!(remedy.contains("512MiB"), "{text}: {remedy}");
        }
        assert_eq!("16EiB".parse::<Bytes>(), Err("give a size below 16 EiB".to_owned()));
    }

    #[test]
    fn sizes_for_people_have_one_digit_behind_the_point() {
        let cases =
            [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5KiB"), (1 << 50, "1PiB"), ((1 << 30) - 1, "1023.9MiB")];
        for (bytes, text) in cases {
            assert_eq!(About(bytes).to_string(), text);
        }
        assert_eq!(About(u64::MAX).to_string(), "15.9EiB");
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_size() {
        for (bytes, text) in
            [(1 << 30, "1GiB"), (1536 << 20, "1536MiB"), (512, "512"), (1_000_000_000, "1000000000"), (0, "0")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(Bytes(bytes)));
        }
    }
}
