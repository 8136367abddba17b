//! Non-temporal copies, and prefetching.
//!
//! Copies whose destination will not be read soon bypass the processor's caches. An ordinary store first loads the cache line that it
//! changes, and evicts another one: for a page that is only stored, that is twice the memory traffic, and it evicts what a guest will
//! want again.

/// Bytes that go to memory together: a line of the caches.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;
/// How many cache lines are prefetched.
#[cfg(target_arch = "x86_64")]
const LINES_PREFETCHED: usize = 16;

/// Copies from `from` to `to`, as [`std::ptr::copy_nonoverlapping`] does, past the processor's caches where it can. This thread sees the
/// bytes at once; before any other one is told of them, [`store_fence`] is to be called.
///
/// # Safety
/// As there: `bytes` bytes can be read at the one and written at the other, which do not overlap.
#[inline(never)]
pub(super) unsafe fn copy_non_temporal(from: *const u8, to: *mut u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    if to.addr().is_multiple_of(LINE) && bytes.is_multiple_of(LINE) {
        // SAFETY: the caller's promise; `to` is at a multiple of what is stored, and SSE2 is in every such processor.
        unsafe { stream(from, to, bytes) };
        return;
    }
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
}

/// The same, where `to` and `bytes` are multiples of a line.
#[cfg(target_arch = "x86_64")]
#[inline]
unsafe fn stream(from: *const u8, to: *mut u8, bytes: usize) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};

    const WORDS: usize = LINE / size_of::<__m128i>();
    let (mut from, mut to) = (from.cast::<__m128i>(), to.cast::<__m128i>());
    for _ in 0..bytes / LINE {
        // SAFETY: a line inside both ranges; loads may be unaligned, and `to` began at a multiple of a line.
        unsafe {
            let line: [__m128i; WORDS] = std::array::from_fn(|word| _mm_loadu_si128(from.wrapping_add(word)));
            for (word, value) in line.into_iter().enumerate() {
                _mm_stream_si128(to.wrapping_add(word), value);
            }
        }
        (from, to) = (from.wrapping_add(WORDS), to.wrapping_add(WORDS));
    }
}

/// Copies bytes to as many others, past the processor's caches where it can.
///
/// # Panics
/// They are not as many.
#[inline]
pub fn copy_past_caches(from: &[u8], into: &mut [u8]) {
    assert_eq!(from.len(), into.len(), "as many bytes as there is room for");
    // SAFETY: both are as long, and the one is borrowed for us alone.
    unsafe { copy_non_temporal(from.as_ptr(), into.as_mut_ptr(), into.len()) };
}

/// What was copied is there before anything that this thread stores from now on. To wait for it after each copy would take as long as the
/// copy itself: it is on its way while the next one is prepared.
#[inline]
pub(crate) fn store_fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is in every such processor.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// The bytes are about to be copied: their first lines come into the second cache while something else is done. (The processor finds the
/// others by itself. To ask for all of them, or for the first cache, holds up what it does meanwhile.)
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(lines) = bytes.first_chunk::<{ LINES_PREFETCHED * LINE }>() {
        for line in lines.as_chunks::<LINE>().0 {
            fetch(line.as_ptr());
        }
    } else if let Some(first) = bytes.first() {
        fetch(first);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn fetch(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    // SAFETY: a hint, which reads nothing and cannot fault; SSE is in every such processor.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
}

#[cfg(test)]
mod tests {
    use super::{copy_non_temporal, prefetch, store_fence};

    #[test]
    fn every_place_and_length_is_copied_and_nothing_else() {
        let from: Vec<u8> = (0..4096_u32).map(|byte| (byte * 7 % 251).to_le_bytes()[0]).collect();
        for begin in [0, 1, 16, 63, 64, 128] {
            for bytes in [0, 1, 63, 64, 65, 128, 1000, 1024] {
                for shift in [0, 3] {
                    let mut into = [[0xee_u8; 64]; 32];
                    let flat = into.as_flattened_mut();
                    let lead = flat.as_ptr().align_offset(64);
                    let target = flat[lead + begin..].as_mut_ptr();
                    // SAFETY: 64 + 128 + 1024 bytes lie inside, and so do 3 + 1024 of the other.
                    unsafe { copy_non_temporal(from[shift..].as_ptr(), target, bytes) };
                    store_fence();
                    prefetch(flat);
                    let (before, rest) = flat.split_at(lead + begin);
                    let (copied, behind) = rest.split_at(bytes);
                    assert_eq!(copied, &from[shift..shift + bytes], "{begin} {bytes} {shift}");
                    assert!(before.iter().chain(behind).all(|&byte| byte == 0xee), "{begin} {bytes} {shift}");
                }
            }
        }
    }
}
