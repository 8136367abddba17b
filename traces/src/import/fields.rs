//! Fields of a line: a fixed number of them, numbers, and times that are exact.

/// The fields between commas, without the white space around them.
pub(super) fn commas<const N: usize>(line: &str, names: &str) -> Result<[String; N], String> {
    exactly(line.split(',').map(|field| field.trim().to_owned()), names)
}

/// The fields between white space.
pub(super) fn blanks<const N: usize>(line: &str, names: &str) -> Result<[String; N], String> {
    exactly(line.split_whitespace().map(str::to_owned), names)
}

fn exactly<const N: usize>(fields: impl Iterator<Item = String>, names: &str) -> Result<[String; N], String> {
    let fields: Vec<String> = fields.take(N + 1).collect();
    let count = fields.len();
    fields.try_into().map_err(|_| {
        let found = if count > N { "more".to_owned() } else { count.to_string() };
        format!("{found} fields instead of {N}: {names}")
    })
}

/// A whole number without a sign.
pub(super) fn number<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = digits.then(|| text.parse().ok()).flatten();
    parsed.ok_or_else(|| format!("{what} {} is not a whole number that fits", quoted(text)))
}

/// Bytes of so many sectors.
pub(super) fn sectors(text: &str, what: &str) -> Result<u64, String> {
    let sectors: u64 = number(text, what)?;
    sectors.checked_mul(512).ok_or_else(|| format!("{what} {sectors} has more bytes than 64 bits can count"))
}

/// A number with a point and up to nine digits behind it, which is multiplied by 10^9: seconds become nanoseconds without rounding. More
/// digits are left out.
pub(super) fn billionths(text: &str, what: &str) -> Result<u64, String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let wrong = || format!("{what} {} is not a time in seconds", quoted(text));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole: u64 = number(whole, what).map_err(|_| wrong())?;
    let nine = format!("{:0<9}", &fraction[..fraction.len().min(9)]);
    let fraction: u64 = nine.parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(fraction)).ok_or_else(wrong)
}

/// A time that is a whole number of units of `unit_ns`.
pub(super) fn units(text: &str, unit_ns: u64, what: &str) -> Result<u64, String> {
    let count: u64 = number(text, what)?;
    count.checked_mul(unit_ns).ok_or_else(|| format!("{what} {count} is more nanoseconds than 64 bits can count"))
}

/// Whether a letter or word says that it is a write.
pub(super) fn is_write(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "w" | "write" => Ok(true),
        "r" | "read" => Ok(false),
        _ => Err(format!("{} is neither a read nor a write", quoted(text))),
    }
}

/// Text of a file for a message: short, and harmless to a terminal.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    let more = if shown.len() < text.len() { "..." } else { "" };
    format!("{shown:?}{more}")
}

/// The origin of a trace's times: the first one that is seen. What claims to be before it is at it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin(Option<u64>);

impl Origin {
    /// A time since the origin.
    pub fn since(&mut self, time: u64) -> u64 {
        time.saturating_sub(*self.0.get_or_insert(time))
    }
}
