//! A quotient of two integers that stays one until it is printed or drawn.

use std::fmt;
use std::num::NonZeroU64;

/// How many places are looked at for an end. Sizes are mostly powers of two, and 1 + 1/4096 has twelve.
const PLACES_MAX: usize = 12;

/// A quotient in lowest terms, so that equal values are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    numerator: u128,
    denominator: u64,
}

impl Ratio {
    /// `numerator` / `denominator`.
    pub fn new(numerator: u128, denominator: NonZeroU64) -> Self {
        let (mut divisor, mut rest) = (denominator.get(), remainder(numerator, denominator.get()));
        while rest != 0 {
            (divisor, rest) = (rest, divisor % rest);
        }
        Self { numerator: numerator / u128::from(divisor), denominator: denominator.get() / divisor }
    }

    /// What is divided, in lowest terms.
    pub const fn numerator(self) -> u128 {
        self.numerator
    }

    /// What it is divided by, in lowest terms.
    pub const fn denominator(self) -> u64 {
        self.denominator
    }

    /// The nearest number that can be drawn.
    pub fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }

    /// The digits behind the point, if they end.
    fn decimals(self) -> Option<String> {
        let denominator = u128::from(self.denominator);
        let mut rest = self.numerator % denominator;
        let mut digits = String::new();
        while rest != 0 {
            if digits.len() == PLACES_MAX {
                return None;
            }
            rest *= 10;
            digits.push_str(&(rest / denominator).to_string());
            rest %= denominator;
        }
        Some(digits)
    }

    /// In thousandths, rounded to the nearest.
    fn thousandths(self) -> u128 {
        let denominator = u128::from(self.denominator);
        let rest = self.numerator % denominator;
        self.numerator / denominator * 1000 + (rest * 2000 + denominator) / (2 * denominator)
    }
}

fn remainder(numerator: u128, denominator: u64) -> u64 {
    u64::try_from(numerator % u128::from(denominator)).expect("less than what it was divided by")
}

impl fmt::Display for Ratio {
    /// Exactly: `1.6` or `4`, and `2.667 (8/3)` where the digits would not end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.numerator / u128::from(self.denominator);
        match self.decimals() {
            Some(digits) if digits.is_empty() => write!(formatter, "{whole}"),
            Some(digits) => write!(formatter, "{whole}.{digits}"),
            None => {
                let (thousandths, Self { numerator, denominator }) = (self.thousandths(), self);
                let (whole, decimals) = (thousandths / 1000, thousandths % 1000);
                write!(formatter, "{whole}.{decimals:03} ({numerator}/{denominator})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: u128, denominator: u64) -> Ratio {
        Ratio::new(numerator, NonZeroU64::new(denominator).expect("tests divide by something"))
    }

    #[test]
    fn a_ratio_is_printed_exactly_or_with_its_fraction() {
        let cases = [
            (ratio(32, 20), "1.6"),
            (ratio(4, 1), "4"),
            (ratio(0, 7), "0"),
            (ratio(9, 8), "1.125"),
            (ratio(4097, 4096), "1.000244140625"),
            (ratio(8193, 8192), "1.000 (8193/8192)"),
            (ratio(32, 12), "2.667 (8/3)"),
            (ratio(1_999_999, 3), "666666.333 (1999999/3)"),
            (ratio(29_999, 10_001), "3.000 (29999/10001)"),
        ];
        for (ratio, text) in cases {
            assert_eq!(ratio.to_string(), text);
        }
    }

    #[test]
    fn equal_quotients_are_equal() {
        assert_eq!(ratio(32, 20), ratio(8, 5));
        assert_eq!((ratio(32, 20).numerator(), ratio(32, 20).denominator()), (8, 5));
        assert_ne!(ratio(u128::from(u64::MAX), 1), ratio(u128::from(u64::MAX) + 1, 1));
        assert!((ratio(32, 20).to_f64() - 1.6).abs() < 1e-15);
    }
}
