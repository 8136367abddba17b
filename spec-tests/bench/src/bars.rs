//! What a bench promises: a number, the bar that it is held against, and the word for how that ended.

use std::fmt;

/// A bar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// The number is to be so large.
    AtLeast(f64),
    /// The number is to be no larger.
    AtMost(f64),
    /// There is none: the number is for people.
    None,
}

/// How a number compares with its bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There was no bar.
    Told,
    /// It held.
    Held,
    /// It did not.
    Missed,
    /// Nothing was measured that counts.
    NotJudged,
}

impl Bar {
    /// The verdict on a number; on none, nothing counted.
    pub fn judge(self, number: Option<f64>) -> Verdict {
        let held = match (self, number) {
            (Self::None, _) => return Verdict::Told,
            (_, None) => return Verdict::NotJudged,
            (Self::AtLeast(bar), Some(number)) => number >= bar,
            (Self::AtMost(bar), Some(number)) => number <= bar,
        };
        if held { Verdict::Held } else { Verdict::Missed }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::AtLeast(bar) => format!("≥ {bar}"),
            Self::AtMost(bar) => format!("≤ {bar}"),
            Self::None => String::new(),
        };
        formatter.pad(&text)
    }
}

impl Verdict {
    /// Whether a bench may end with success in spite of it.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Told | Self::Held)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Told => "",
            Self::Held => "held",
            Self::Missed => "MISSED",
            Self::NotJudged => "not judged: no round counts",
        })
    }
}

/// The median; of an even number the lower one of the two in the middle.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_not_held() {
        assert_eq!(Bar::AtLeast(2.5).judge(Some(2.5)), Verdict::Held);
        assert_eq!(Bar::AtLeast(2.5).judge(Some(2.4)), Verdict::Missed);
        assert_eq!(Bar::AtMost(1.0).judge(Some(1.1)), Verdict::Missed);
        assert!(!Bar::AtMost(1.0).judge(None).is_success());
        assert!(Bar::None.judge(None).is_success());
    }

    #[test]
    fn the_median_is_one_of_the_numbers() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
