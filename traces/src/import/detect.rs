//! What a trace is, by its beginning.

use super::{Format, blktrace};
use crate::record::TraceError;
use crate::recording;

/// The format of a file that begins like this.
///
/// # Errors
/// None has such a beginning.
pub(super) fn format_of(beginning: &[u8]) -> Result<Format, TraceError> {
    if beginning.starts_with(&recording::MAGIC) {
        return Ok(Format::Recording);
    }
    if blktrace::begins(beginning) {
        return Ok(Format::Blktrace);
    }
    let line = beginning.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty());
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    line.and_then(of_line).ok_or_else(|| {
        let names = Format::NAMES.join(", ");
        let what = if beginning.is_empty() { "it is empty" } else { "its beginning is that of no known trace" };
        TraceError::Format(format!("{what}: name its format with --format, one of {names}"))
    })
}

fn of_line(line: &str) -> Option<Format> {
    if line.starts_with("fio version ") {
        return Some(Format::Fio);
    }
    if line.starts_with("Timestamp,Response,IOType") {
        return Some(Format::Systor);
    }
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let is_kind = |index: usize| {
        let field = fields.get(index).map_or("", |field| *field).to_ascii_lowercase();
        ["r", "w", "read", "write"].contains(&field.as_str())
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match fields.len() {
        7 if is_kind(3) => Some(Format::Msr),
        6 if is_kind(2) => Some(Format::Systor),
        5 if is_kind(1) => Some(Format::Alibaba),
        5 if fields.iter().all(number) => Some(Format::Tencent),
        5.. if is_kind(3) => Some(Format::Spc),
        1 if words.len() == 5 && words.iter().all(number) => Some(Format::Mqsim),
        _ => {
            let (major, minor) = words.first()?.split_once(',')?;
            (words.len() > 6 && number(&major) && number(&minor)).then_some(Format::Blkparse)
        }
    }
}
