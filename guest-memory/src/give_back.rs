//! Returns memory of our own that is no longer needed to the system: no safe interface does that.
#![expect(unsafe_code, reason = "the system call takes an address; nothing else in the file may")]

use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

/// Gives back the whole pages among some bytes; their contents are lost. Where the system does not take them they stay as they are.
pub fn give_back(bytes: &mut [u8]) {
    let page = page_size();
    let skipped = bytes.as_ptr().align_offset(page);
    let Some(whole) = bytes.get_mut(skipped..) else { return };
    let length = whole.len() / page * page;
    if length > 0 {
        // SAFETY: the bytes are borrowed for us alone, and whatever the system lets them read as afterwards (zeroes, or what the file
        // behind them holds) is a value of theirs. Nothing but them lies in those pages.
        let _ = unsafe { madvise(whole.as_mut_ptr().cast(), length, Advice::LinuxDontNeed) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_are_given_back_and_what_lies_beside_them_stays() {
        let page = page_size();
        let mut bytes = vec![7; 40 * page];
        let start = bytes.as_ptr().align_offset(page) + page;
        give_back(&mut bytes[start - 5..start + 30 * page + 5]);
        assert!(bytes[..start].iter().chain(&bytes[start + 30 * page..]).all(|byte| *byte == 7));
        assert!(bytes[start..start + 30 * page].iter().all(|byte| *byte == 0));
        give_back(&mut bytes[start..start + page - 1]);
        give_back(&mut []);
    }
}
