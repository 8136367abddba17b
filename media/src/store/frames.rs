//! Owns which piece of memory, a *frame*, stands behind each slot of a store in memory. A unit that is moved takes its frame along
//! instead of being copied: until the line that it was moved out of is erased, both slots have it. A frame that no slot has any more is
//! taken again, and where far more are free than are in use, says which ones to give back to the system. Knows no bytes.

use std::ops::Range;

use crate::large_memory::{LargeMemory, OutOfMemory};
use crate::unit::narrow;

/// Bytes of an entry.
const ENTRY: usize = 4;
/// Entries that are looked at together.
const ENTRIES: usize = 8;
/// Bytes of a word of bits.
const WORD: usize = 8;
const WORD_BITS: usize = 8 * WORD;

/// Words of bits that are looked at together when memory is given back: with units of 4 KiB, a huge page.
const REGION_WORDS: usize = 8;
/// Frames of a region.
pub(super) const REGION: usize = REGION_WORDS * WORD_BITS;
/// Regions that are looked at in search of one with something to give back, at a time.
const REGIONS_LOOKED_AT: usize = 4096;

/// While fewer frames are free than one for this many in use, others are touched: where hardly any are, the next one is far.
const IN_USE_PER_FREE: usize = 8;
/// Where one is free for this many in use, and a line's worth besides, memory goes back to the system.
const IN_USE_PER_EXCESS: usize = 5;

/// The frames behind the slots: as many as slots, or fewer, where callers see to it that those do. Slots have the numbers of physical
/// units, some of which may be no slot.
pub(super) struct Frames {
    /// For each slot its frame + 1, or 0.
    of_slots: LargeMemory,
    /// For each frame how many slots have it besides one.
    sharers: LargeMemory,
    frames: usize,
    /// Frames that no slot has.
    room: usize,
    /// Frames from here on were never in use.
    untouched: usize,
    /// Frames below that which no slot has: a bit for each, and how many bits there are.
    free: LargeMemory,
    free_count: usize,
    /// The same of those whose memory was given back to the system.
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
    /// This many frames; slots have numbers below `numbers`.
    ///
    /// # Errors
    /// Where the system has no memory for that.
    pub(super) fn new(numbers: usize, frames: usize) -> Result<Self, OutOfMemory> {
        assert!(numbers <= 1 << 31 && frames <= numbers, "physical units have 31 bits");
        let bits = || LargeMemory::zeroed(frames.div_ceil(REGION) * REGION_WORDS * WORD);
        Ok(Self {
            of_slots: LargeMemory::zeroed(numbers * ENTRY)?,
            sharers: LargeMemory::zeroed(frames)?,
            frames,
            room: frames,
            untouched: 0,
            free: bits()?,
            free_count: 0,
            returned: bits()?,
            returned_count: 0,
            next_region: 0,
            left: 0,
            base: 0,
            next: 0,
        })
    }

    /// Bytes of memory that this many frames take, for slots with numbers below `numbers`.
    pub(super) const fn bytes_for(numbers: usize, frames: usize) -> usize {
        numbers * ENTRY + frames + 2 * frames.div_ceil(REGION) * REGION_WORDS * WORD
    }

    /// What they take.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.of_slots.len() + self.sharers.len() + self.free.len() + self.returned.len()
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

    /// How many frames slots have.
    #[inline]
    pub(super) const fn held(&self) -> usize {
        self.frames - self.room
    }

    /// How many frames have memory.
    pub(super) const fn resident(&self) -> usize {
        self.untouched - self.returned_count
    }

    /// The frame of a slot.
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<usize> {
        frame(self.of_slots.as_chunks::<ENTRY>().0[slot])
    }

    #[inline]
    fn set(&mut self, slot: usize, frame: u32) {
        self.of_slots.as_chunks_mut::<ENTRY>().0[slot] = frame.wrapping_add(1).to_le_bytes();
    }

    /// The frame of a slot that no other slot has: the one that it has, or another one, whatever lies in it.
    #[inline]
    pub(super) fn own(&mut self, slot: usize) -> usize {
        match self.get(slot) {
            Some(frame) if self.sharers[frame] == 0 => return frame,
            // The slot that it was moved from still shows it.
            Some(_) => self.let_go(slot),
            None => {}
        }
        let frame = self.take();
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

    /// Takes the next word of bits that has any, where enough are free; or else frames that have no memory yet, if there are such.
    #[inline(never)]
    fn look(&mut self) {
        let scarce = self.free_count <= self.held() / IN_USE_PER_FREE;
        if scarce && self.returned_count == 0 && self.untouched < self.frames {
            self.base = narrow(self.untouched);
            let fresh = WORD_BITS.min(self.frames - self.untouched);
            self.left = u64::MAX >> (WORD_BITS - fresh);
            self.untouched += fresh;
            return;
        }
        let (bits, count) = match scarce && self.returned_count > 0 {
            true => (&mut self.returned, &mut self.returned_count),
            false => (&mut self.free, &mut self.free_count),
        };
        assert!(*count > 0, "a slot without a frame leaves one over");
        let words = &mut bits.as_chunks_mut::<WORD>().0[..self.untouched.div_ceil(WORD_BITS)];
        while self.left == 0 {
            let word = if self.next < words.len() { self.next } else { 0 };
            self.left = u64::from_le_bytes(std::mem::take(&mut words[word]));
            (self.base, self.next) = (narrow(word * WORD_BITS), word + 1);
        }
        *count -= self.left.count_ones() as usize;
    }

    /// Gives the frame of a slot to another one too; `false` where it has none, or too many have it.
    #[inline]
    pub(super) fn share(&mut self, from: usize, to: usize) -> bool {
        let Some(frame) = self.get(from).filter(|&frame| self.sharers[frame] < u8::MAX) else {
            return false;
        };
        self.sharers[frame] += 1;
        if self.get(to).is_some() {
            self.let_go(to);
        }
        self.set(to, narrow(frame));
        true
    }

    /// Gives the frames of slots, which are counted from `base`, to neighbouring ones from `to` on too; returns to how many, up to the first
    /// that has one already, or whose frame cannot be given.
    #[inline]
    pub(super) fn share_each(&mut self, base: usize, slots: &[u32], to: usize) -> usize {
        let (entries, sharers) = (self.of_slots.as_chunks_mut::<ENTRY>().0, &mut self.sharers[..]);
        for (n, slot) in slots.iter().enumerate() {
            let entry = entries[base + *slot as usize];
            let (Some(frame), target) = (frame(entry), &mut entries[to + n]) else { return n };
            let others = &mut sharers[frame];
            if *others == u8::MAX || *target != [0; ENTRY] {
                return n;
            }
            *target = entry;
            *others += 1;
        }
        slots.len()
    }

    /// A slot has no frame any more.
    pub(super) fn let_go(&mut self, slot: usize) {
        self.let_go_each(std::iter::once(slot));
    }

    /// Slots here and there have no frames any more; returns how many slots that were.
    #[inline]
    pub(super) fn let_go_each(&mut self, slots: impl Iterator<Item = usize>) -> usize {
        let entries = self.of_slots.as_chunks_mut::<ENTRY>().0;
        let (sharers, free) = (&mut self.sharers[..], self.free.as_chunks_mut::<WORD>().0);
        let (mut count, mut freed) = (0usize, 0);
        for slot in slots {
            count = count.wrapping_add(1);
            freed = let_go(&mut entries[slot], sharers, free).wrapping_add(freed);
        }
        self.free_count += freed;
        self.room += freed;
        count
    }

    /// Slots have no frames any more. Most have none: what was overwritten is let go before its line is erased.
    pub(super) fn release(&mut self, slots: Range<usize>) {
        let entries = &mut self.of_slots.as_chunks_mut::<ENTRY>().0[slots];
        let (sharers, free) = (&mut self.sharers[..], self.free.as_chunks_mut::<WORD>().0);
        let mut freed = 0;
        for entries in entries.chunks_mut(ENTRIES) {
            if entries.iter().fold(0, |any, entry| any | u32::from_le_bytes(*entry)) != 0 {
                for entry in entries {
                    freed += let_go(entry, sharers, free);
                }
            }
        }
        self.free_count += freed;
        self.room += freed;
    }

    /// Whether this many more frames have memory than slots have frames that some should go back, besides this many.
    #[inline]
    pub(super) const fn excessive(&self, besides: usize) -> bool {
        self.free_count > besides + self.held() / IN_USE_PER_EXCESS
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
}

/// A slot has no frame any more; returns how many frames nobody has since then.
#[inline]
fn let_go(entry: &mut [u8; ENTRY], sharers: &mut [u8], free: &mut [[u8; WORD]]) -> usize {
    let Some(frame) = frame(std::mem::take(entry)) else { return 0 };
    let others = &mut sharers[frame];
    if *others != 0 {
        *others -= 1;
        return 0;
    }
    let word = &mut free[frame / WORD_BITS];
    *word = (u64::from_le_bytes(*word) | 1 << (frame % WORD_BITS)).to_le_bytes();
    1
}

/// The frame in an entry.
#[inline]
const fn frame(entry: [u8; ENTRY]) -> Option<usize> {
    (u32::from_le_bytes(entry) as usize).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Frames for slots, of which those below `slots` have one.
    fn filled(slots: usize) -> Frames {
        let mut frames = Frames::new(4096, 4096).expect("memory");
        assert!((0..slots).all(|slot| frames.own(slot) == slot), "what is taken in order lies in order");
        frames
    }

    #[test]
    fn what_was_let_go_is_taken_in_order_and_before_new_memory_where_there_is_enough_of_it() {
        let mut frames = filled(128);
        frames.release(10..30);
        assert_eq!((frames.get(10), frames.held(), frames.resident()), (None, 108, 128));
        assert_eq!((200..220).map(|slot| frames.own(slot)).collect::<Vec<_>>(), (10..30).collect::<Vec<_>>());
        frames.let_go(5);
        assert_eq!(frames.own(300), 128, "one of this many is far to look for");
        assert_eq!((frames.held(), frames.resident(), frames.room()), (128, 192, 4096 - 128));
    }

    #[test]
    fn there_is_a_frame_for_each_slot_however_many_were_free_on_the_way() {
        let mut frames = filled(4096);
        frames.let_go(77);
        frames.let_go(3);
        assert_eq!((frames.own(77), frames.own(3), frames.room()), (3, 77, 0));
    }

    #[test]
    fn memory_of_which_too_much_is_free_goes_back_and_is_taken_again_before_memory_that_was_never_touched() {
        let mut frames = filled(2 * REGION);
        frames.release(0..REGION + 8);
        assert!(frames.excessive(100) && !frames.excessive(REGION + 8));
        assert_eq!(frames.return_region(), Some((0, [u64::MAX; REGION_WORDS], true)));
        let mut first = [0; REGION_WORDS];
        first[0] = 0xff;
        assert_eq!(frames.return_region(), Some((REGION, first, false)));
        assert_eq!((frames.return_region(), frames.excessive(0)), (None, false));
        assert_eq!((frames.resident(), frames.held()), (REGION - 8, REGION - 8));
        let mut taken: Vec<_> = (0..REGION + 8).map(|slot| frames.own(slot)).collect();
        taken.sort_unstable();
        assert_eq!(taken, (0..REGION + 8).collect::<Vec<_>>());
        assert_eq!(frames.own(3 * REGION), 2 * REGION);
    }

    #[test]
    fn a_frame_that_moved_stays_with_both_until_one_of_them_lets_go() {
        let mut frames = Frames::new(4, 4).expect("memory");
        let moved = frames.own(0);
        assert!(frames.share(0, 2));
        assert_eq!((frames.get(0), frames.get(2)), (Some(moved), Some(moved)));
        frames.let_go(0);
        assert_eq!((frames.own(2), frames.room()), (moved, 3));
        assert!(frames.share(2, 3));
        assert_ne!(frames.own(3), moved, "what is written anew must not be seen by the slot that it was moved from");
        assert_eq!(frames.get(2), Some(moved));
        assert!(!frames.share(1, 0), "there is nothing to share");
    }

    #[test]
    fn frames_are_given_to_neighbours_up_to_the_first_that_cannot_have_one() {
        let mut frames = filled(16);
        frames.let_go(7);
        assert_eq!(frames.share_each(2, &[0, 3, 4], 32), 3);
        let found = |frames: &Frames, slots: Range<usize>| slots.map(|slot| frames.get(slot)).collect::<Vec<_>>();
        assert_eq!(found(&frames, 32..35), [Some(2), Some(5), Some(6)]);
        assert_eq!(frames.share_each(0, &[1, 7, 2], 40), 1, "there is nothing to share in the second one");
        assert_eq!(frames.share_each(0, &[8, 9, 10], 31), 1, "the second target has a frame, which it keeps");
        assert_eq!(found(&frames, 31..33), [Some(8), Some(2)]);
        (0..254).for_each(|n| assert!(frames.share(11, 100 + n)));
        assert_eq!(
            (frames.share_each(11, &[0, 0], 60), frames.get(61)),
            (1, None),
            "one has as many holders as can be counted"
        );
        // Each holder counts: what is taken anew is none of these.
        frames.release(0..16);
        assert!((200..216).all(|slot| ![2, 5, 6, 1, 8, 11].contains(&frames.own(4000 - slot))));
    }

    #[test]
    fn a_frame_has_no_more_holders_than_can_be_counted() {
        let mut frames = Frames::new(300, 300).expect("memory");
        frames.own(0);
        assert_eq!((1..300).take_while(|&slot| frames.share(0, slot)).count(), 255);
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
                        frames.let_go(slot);
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
