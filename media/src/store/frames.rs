//! Owns which piece of memory, a *frame*, stands behind each slot of a store in memory. A unit that is moved takes its frame along
//! instead of being copied: until the line that it was moved out of is erased, both slots have it. Knows no bytes.

use std::ops::Range;

use crate::large_memory::{LargeMemory, OutOfMemory};
use crate::unit::narrow;

/// Bytes of an entry.
const ENTRY: usize = 4;
/// Bytes of a word of bits.
const WORD: usize = 8;
const WORD_BITS: usize = 8 * WORD;

/// The frames behind the slots. There are as many as slots, so there is one for every slot that has none, or has one with others.
/// Slots have the numbers of physical units, some of which may be no slot.
pub(super) struct Frames {
    /// For each slot its frame + 1, or 0.
    of_slots: LargeMemory,
    /// For each frame how many slots have it.
    holders: LargeMemory,
    frames: usize,
    /// Frames from here on were never in use: memory is taken only when none below is free.
    untouched: usize,
    /// Frames below that which no slot has: a bit for each, and how many.
    free: LargeMemory,
    free_count: usize,
    /// They are taken in rising order, so that what is written in order lies in order where there is room: what is left of a word of the
    /// bits, the frame that its first bit stands for, and which word is next.
    left: u64,
    base: u32,
    next: usize,
}

impl Frames {
    /// So many frames, one for each slot; slots have numbers below `numbers`.
    ///
    /// # Errors
    /// Where the system has no memory for that.
    pub(super) fn new(numbers: usize, frames: usize) -> Result<Self, OutOfMemory> {
        assert!(numbers <= 1 << 31 && frames <= numbers, "physical units have 31 bits");
        Ok(Self {
            of_slots: LargeMemory::zeroed(numbers * ENTRY)?,
            holders: LargeMemory::zeroed(frames)?,
            frames,
            untouched: 0,
            free: LargeMemory::zeroed(frames.div_ceil(WORD_BITS) * WORD)?,
            free_count: 0,
            left: 0,
            base: 0,
            next: 0,
        })
    }

    /// Bytes of memory that so many frames take, for slots with numbers below `numbers`.
    pub(super) const fn bytes_for(numbers: usize, frames: usize) -> usize {
        numbers * ENTRY + frames + frames.div_ceil(WORD_BITS) * WORD
    }

    /// What they take.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.of_slots.len() + self.holders.len() + self.free.len()
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
        if self.free_count == 0 {
            assert!(self.untouched < self.frames, "a slot without a frame leaves one over");
            self.untouched += 1;
            return narrow(self.untouched - 1);
        }
        if self.left == 0 {
            self.look();
        }
        self.free_count -= 1;
        let frame = self.base | self.left.trailing_zeros();
        self.left &= self.left.wrapping_sub(1);
        frame
    }

    /// Takes the next word of bits that has any.
    #[inline(never)]
    fn look(&mut self) {
        let words = self.free.as_chunks_mut::<WORD>().0;
        while self.left == 0 {
            let word = if self.next == words.len() { 0 } else { self.next };
            self.left = u64::from_le_bytes(std::mem::take(&mut words[word]));
            (self.base, self.next) = (narrow(word * WORD_BITS), word + 1);
        }
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
        let (holders, bits) = (&mut self.holders[..], &mut self.free[..]);
        let mut freed = 0;
        let entries = &mut self.of_slots.as_chunks_mut::<ENTRY>().0[slots];
        for entry in &*entries {
            let Some(frame) = (u32::from_le_bytes(*entry) as usize).checked_sub(1) else { continue };
            holders[frame] -= 1;
            if holders[frame] == 0 {
                bits[frame / 8] |= 1 << (frame % 8);
                freed += 1;
            }
        }
        entries.fill([0; ENTRY]);
        self.free_count += freed;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_taken_in_order_lies_in_order_and_what_is_given_back_is_taken_before_new_memory() {
        let mut frames = Frames::new(8, 8).expect("memory");
        assert_eq!((0..6).map(|slot| frames.own(slot)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        frames.release(4..5);
        frames.release(1..2);
        frames.release(2..3);
        assert_eq!((frames.get(1), frames.own(6), frames.own(1), frames.own(7)), (None, 1, 2, 4));
        assert_eq!(frames.own(2), 6, "only now is there none");
    }

    #[test]
    fn a_frame_that_moved_stays_with_both_until_one_of_them_lets_go() {
        let mut frames = Frames::new(4, 4).expect("memory");
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
        let mut frames = Frames::new(300, 300).expect("memory");
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
            let mut frames = Frames::new(16, 12).expect("memory");
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
