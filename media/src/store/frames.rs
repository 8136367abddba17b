//! Owns which piece of memory, a *frame*, stands behind each slot of a store in memory. A unit that is moved takes its frame along
//! instead of being copied: until the line that it was moved out of is erased, both slots have it. A frame that no slot has any more is
//! taken before one that was never touched, so that no more memory is touched than slots had frames at one time; where far fewer have
//! one now, it says which frames to give back to the system. Knows no bytes.

use std::ops::Range;

use crate::large_memory::LargeMemory;
use crate::unit::{PhysicalUnit, narrow};

/// Bytes of an entry.
const ENTRY: usize = 4;
/// Bytes of a word of bits.
const WORD: usize = 8;
const WORD_BITS: usize = 8 * WORD;

/// Words of bits that are looked at together when memory is given back: with units of 4 KiB, a huge page.
const REGION_WORDS: usize = 8;
/// Frames of a region.
pub(super) const REGION: usize = REGION_WORDS * WORD_BITS;
/// Regions that are looked at in search of one with something to give back, at a time.
const REGIONS_LOOKED_AT: usize = 4096;

/// The frames behind the slots: as many as slots, or fewer, where callers see to it that those do. Slots have the numbers of physical
/// units, some of which may be no slot.
pub(super) struct Frames {
    /// For each slot its frame + 1, or 0.
    of_slots: LargeMemory,
    /// For each frame how many slots have it.
    holders: LargeMemory,
    frames: usize,
    /// Frames that no slot has.
    room: usize,
    /// Frames from here on were never in use: memory is taken only when none below is free.
    untouched: usize,
    /// Frames below that which no slot has: a bit for each, and how many bits there are.
    free: LargeMemory,
    free_count: usize,
    /// Those of them whose memory was given back to the system: they are taken when there are no others.
    returned: LargeMemory,
    returned_count: usize,
    /// The region to look at next for something to give back.
    next_region: usize,
    /// They are taken in rising order, so that what is written in order lies in order where there is room: what is left of a word of the
    /// bits, the frame that its first bit stands for, and which word is next.
    left: u64,
    base: u32,
    next: usize,
}

impl Frames {
    /// So many frames, one for each slot; slots have numbers below `numbers`.
    pub(super) fn new(numbers: usize, frames: usize) -> Self {
        assert!(numbers <= 1 << 31 && frames <= numbers, "physical units have 31 bits");
        Self {
            of_slots: LargeMemory::zeroed(numbers * ENTRY),
            holders: LargeMemory::zeroed(frames),
            frames,
            room: frames,
            untouched: 0,
            free: LargeMemory::zeroed(frames.div_ceil(REGION) * REGION_WORDS * WORD),
            free_count: 0,
            returned: LargeMemory::zeroed(frames.div_ceil(REGION) * REGION_WORDS * WORD),
            returned_count: 0,
            next_region: 0,
            left: 0,
            base: 0,
            next: 0,
        }
    }

    /// The frame of a slot.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<usize> {
        let entry = u32::from_le_bytes(self.of_slots.as_chunks::<ENTRY>().0[slot]);
        (entry as usize).checked_sub(1)
    }

    #[inline]
    fn set(&mut self, slot: usize, frame: u32) {
        self.of_slots.as_chunks_mut::<ENTRY>().0[slot] = frame.wrapping_add(1).to_le_bytes();
    }

    /// The frame of a slot that no other slot has: the one that it has, or another one, whatever lies in it.
    #[inline]
    pub(super) fn own(&mut self, slot: usize) -> usize {
        match self.get(slot) {
            Some(frame) if self.holders[frame] == 1 => return frame,
            // The slot that it was moved from still shows it.
            Some(_) => self.release(slot..slot + 1),
            None => {}
        }
        let frame = self.take();
        self.holders[frame as usize] = 1;
        self.set(slot, frame);
        frame as usize
    }

    /// A frame that no slot has.
    #[inline]
    fn take(&mut self) -> u32 {
        if self.left == 0 {
            self.look();
        }
        self.room -= 1;
        let frame = self.base | self.left.trailing_zeros();
        self.left &= self.left.wrapping_sub(1);
        frame
    }

    /// Takes the next word of bits that has any; a frame that was given back, or never touched, where none has.
    #[inline(never)]
    fn look(&mut self) {
        if self.free_count == 0 && self.returned_count == 0 {
            assert!(self.untouched < self.frames, "a slot without a frame leaves one over");
            self.base = narrow(self.untouched / WORD_BITS * WORD_BITS);
            self.left = 1 << (self.untouched % WORD_BITS);
            self.untouched += 1;
            return;
        }
        let (bits, count) = match self.free_count {
            0 => (&mut self.returned, &mut self.returned_count),
            _ => (&mut self.free, &mut self.free_count),
        };
        let words = bits.as_chunks_mut::<WORD>().0;
        while self.left == 0 {
            let word = if self.next == words.len() { 0 } else { self.next };
            self.left = u64::from_le_bytes(std::mem::take(&mut words[word]));
            (self.base, self.next) = (narrow(word * WORD_BITS), word + 1);
        }
        *count -= self.left.count_ones() as usize;
    }

    /// How many frames there are.
    pub(super) const fn number(&self) -> usize {
        self.frames
    }

    /// How many frames no slot has.
    #[inline]
    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// Whether so many more frames are touched than slots have that memory should be given back: more than a tenth, and than `slack`.
    #[inline]
    pub(super) const fn excessive(&self, slack: usize) -> bool {
        self.free_count > slack + (self.frames - self.room) / 10
    }

    /// Takes the free frames of a region for given back: the first frame of the region, a bit for each frame to give back, and whether
    /// nothing of the region is in use. `None` where none was found; others may be found by asking again.
    pub(super) fn return_region(&mut self) -> Option<(usize, [u64; REGION_WORDS], bool)> {
        let touched = self.untouched.div_ceil(REGION);
        for _ in 0..touched.min(REGIONS_LOOKED_AT) {
            let region = if self.next_region < touched { self.next_region } else { 0 };
            self.next_region = region + 1;
            let words = region * REGION_WORDS..(region + 1) * REGION_WORDS;
            let free = &mut self.free.as_chunks_mut::<WORD>().0[words.clone()];
            let returned = &mut self.returned.as_chunks_mut::<WORD>().0[words];
            let (mut now, mut whole, mut count) = ([0; REGION_WORDS], true, 0);
            for ((now, free), returned) in now.iter_mut().zip(free).zip(returned) {
                *now = u64::from_le_bytes(std::mem::take(free));
                let all = *now | u64::from_le_bytes(*returned);
                *returned = all.to_le_bytes();
                whole &= all == u64::MAX;
                count += now.count_ones() as usize;
            }
            if count > 0 {
                self.free_count -= count;
                self.returned_count += count;
                return Some((region * REGION, now, whole));
            }
        }
        None
    }

    /// Gives the frame of a slot to another one too; `false` where it has none, or too many have it.
    #[inline]
    pub(super) fn share(&mut self, from: usize, to: usize) -> bool {
        let Some(frame) = self.get(from).filter(|&frame| self.holders[frame] < u8::MAX) else {
            return false;
        };
        self.holders[frame] += 1;
        self.release(to..to + 1);
        self.set(to, narrow(frame));
        true
    }

    /// Slots have no frames any more.
    pub(super) fn release(&mut self, slots: Range<usize>) {
        let entries = &mut self.of_slots.as_chunks_mut::<ENTRY>().0[slots];
        let (holders, free) = (&mut self.holders[..], &mut self.free[..]);
        let mut freed = 0;
        for entry in entries {
            freed += let_go(entry, holders, free);
        }
        self.free_count += freed;
        self.room += freed;
    }

    /// Slots here and there have no frames any more; those that there are not are passed over.
    #[inline]
    pub(super) fn release_each(&mut self, places: &[PhysicalUnit]) {
        let entries = self.of_slots.as_chunks_mut::<ENTRY>().0;
        let (holders, free) = (&mut self.holders[..], &mut self.free[..]);
        let mut freed = 0;
        for place in places {
            if let Some(entry) = entries.get_mut(place.0 as usize) {
                freed += let_go(entry, holders, free);
            }
        }
        self.free_count += freed;
        self.room += freed;
    }

    /// All slots but those whose bits are set have no frames any more.
    pub(super) fn release_others(&mut self, kept: &[u64]) {
        let entries = self.of_slots.as_chunks_mut::<ENTRY>().0;
        let mut freed = 0;
        for (slot, entry) in entries.iter_mut().enumerate() {
            if kept[slot / WORD_BITS] >> (slot % WORD_BITS) & 1 == 0 {
                freed += let_go(entry, &mut self.holders, &mut self.free);
            }
        }
        self.free_count += freed;
        self.room += freed;
    }
}

/// A slot has no frame any more; returns how many frames nobody has since then.
#[inline]
fn let_go(entry: &mut [u8; ENTRY], holders: &mut [u8], free: &mut [u8]) -> usize {
    let Some(frame) = (u32::from_le_bytes(std::mem::take(entry)) as usize).checked_sub(1) else { return 0 };
    holders[frame] -= 1;
    if holders[frame] != 0 {
        return 0;
    }
    free[frame / 8] |= 1 << (frame % 8);
    1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_taken_in_order_lies_in_order_and_what_is_given_back_is_taken_before_new_memory() {
        let mut frames = Frames::new(8, 8);
        assert_eq!((0..6).map(|slot| frames.own(slot)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        frames.release(4..5);
        frames.release(1..2);
        frames.release(2..3);
        assert_eq!((frames.get(1), frames.own(6), frames.own(1), frames.own(7)), (None, 1, 2, 4));
        assert_eq!(frames.own(2), 6, "only now is there none");
    }

    #[test]
    fn a_frame_that_moved_stays_with_both_until_one_of_them_lets_go() {
        let mut frames = Frames::new(4, 4);
        let moved = frames.own(0);
        assert!(frames.share(0, 2));
        assert_eq!((frames.get(0), frames.get(2)), (Some(moved), Some(moved)));
        frames.release(0..1);
        assert_eq!((frames.own(2), frames.free_count), (moved, 0));
        assert!(frames.share(2, 3));
        assert_ne!(frames.own(3), moved, "what is written anew must not be seen by the slot that it was moved from");
        assert_eq!(frames.get(2), Some(moved));
        assert!(!frames.share(1, 0), "there is nothing to share");
    }

    #[test]
    fn a_frame_has_no_more_holders_than_can_be_counted() {
        let mut frames = Frames::new(300, 300);
        frames.own(0);
        assert_eq!((1..300).take_while(|&slot| frames.share(0, slot)).count(), 254);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Own(usize),
        Share(usize, usize),
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12usize).prop_map(Step::Own),
            (0..12usize, 0..12usize).prop_map(|(from, to)| Step::Share(from, to)),
            (0..12usize).prop_map(Step::Release),
        ]
    }

    proptest! {
        /// Slots see what was written to them, or to the slot that it was moved from, whatever is written elsewhere.
        #[test]
        fn no_slot_loses_what_it_shows(steps in prop::collection::vec(step(), 0..200)) {
            let mut frames = Frames::new(16, 12);
            let mut written = BTreeMap::new();
            let mut shown = BTreeMap::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Own(slot) => {
                        written.insert(frames.own(slot), number);
                        shown.insert(slot, number);
                    }
                    Step::Share(from, to) => {
                        let shared = frames.share(from, to);
                        prop_assert_eq!(shared, shown.contains_key(&from));
                        if let Some(&number) = shown.get(&from) {
                            shown.insert(to, number);
                        }
                    }
                    Step::Release(slot) => {
                        frames.release(slot..slot + 1);
                        shown.remove(&slot);
                    }
                }
                for slot in 0..12 {
                    let found = frames.get(slot).map(|frame| written[&frame]);
                    prop_assert_eq!(found, shown.get(&slot).copied());
                }
            }
        }
    }
}
