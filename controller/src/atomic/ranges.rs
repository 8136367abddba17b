//! Ranges of blocks, ordered, for one question: which of the ranges that came before a given one overlaps this range? A treap over the
//! first block. Each node knows the furthest end and the first and last serial number below it, so a search skips whole subtrees.

use media::{LbaRange, Token};

/// No node.
const NONE: u32 = u32::MAX;

/// A range, and who has it.
#[derive(Clone, Copy, Debug)]
struct Node {
    start: u64,
    end: u64,
    /// Unique, and later ones are larger.
    serial: u64,
    owner: Token,
    /// A heap by this keeps the tree shallow; it is mixed from the serial number, so that a run repeats.
    priority: u64,
    left: u32,
    right: u32,
    end_max: u64,
    serial_min: u64,
    serial_max: u64,
}

/// A set of ranges; they may overlap.
#[derive(Debug)]
pub(super) struct RangeSet {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
}

impl Default for RangeSet {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NONE }
    }
}

/// The first block, and the first behind the last.
fn bounds(range: LbaRange) -> (u64, u64) {
    (range.start.0, range.start.0.saturating_add(range.blocks))
}

impl RangeSet {
    /// Adds a range under a serial number that is not in use.
    pub(super) fn insert(&mut self, range: LbaRange, serial: u64, owner: Token) {
        let (start, end) = bounds(range);
        assert!(start < end, "an empty range overlaps nothing");
        // The finaliser of SplitMix64.
        let mixed = (serial ^ serial >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let node = Node {
            start,
            end,
            serial,
            owner,
            priority: mixed ^ mixed >> 31,
            left: NONE,
            right: NONE,
            end_max: end,
            serial_min: serial,
            serial_max: serial,
        };
        let new = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).expect("fewer ranges than commands")
            }
        };
        let (before, behind) = self.split(self.root, (start, serial));
        let joined = self.join(before, new);
        self.root = self.join(joined, behind);
    }

    /// Takes away the range that was added with this start under this serial number.
    pub(super) fn remove(&mut self, range: LbaRange, serial: u64) {
        let (before, rest) = self.split(self.root, (range.start.0, serial));
        let (found, behind) = self.split(rest, (range.start.0, serial + 1));
        assert!(found != NONE && self.at(found).serial == serial, "a range is removed once");
        self.free.push(found);
        self.root = self.join(before, behind);
    }

    /// Of the ranges that overlap this one and have a serial number below `limit`, the last, with its owner.
    pub(super) fn last_before(&self, range: LbaRange, limit: u64) -> Option<(u64, Token)> {
        let (start, end) = bounds(range);
        let mut best = None;
        self.search(self.root, (start, end, limit), &mut best);
        best
    }

    fn search(&self, index: u32, wanted: (u64, u64, u64), best: &mut Option<(u64, Token)>) {
        if index == NONE {
            return;
        }
        let (start, end, limit) = wanted;
        let node = self.at(index);
        let known = best.map_or(0, |(serial, _)| serial + 1);
        if node.end_max <= start || node.serial_min >= limit || node.serial_max < known {
            return;
        }
        if node.start < end && node.end > start && node.serial < limit && node.serial >= known {
            *best = Some((node.serial, node.owner));
        }
        // To the right everything begins at this node's start or behind it.
        if node.start < end {
            self.search(node.right, wanted, best);
        }
        self.search(node.left, wanted, best);
    }

    fn at(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    /// Makes `index` know what its children know.
    fn renew(&mut self, index: u32) {
        let node = *self.at(index);
        let (mut end_max, mut serial_min, mut serial_max) = (node.end, node.serial, node.serial);
        for child in [node.left, node.right].into_iter().filter(|child| *child != NONE) {
            let child = self.at(child);
            end_max = end_max.max(child.end_max);
            serial_min = serial_min.min(child.serial_min);
            serial_max = serial_max.max(child.serial_max);
        }
        let node = &mut self.nodes[index as usize];
        (node.end_max, node.serial_min, node.serial_max) = (end_max, serial_min, serial_max);
    }

    /// What lies before `key` (start and serial number), and what does not.
    fn split(&mut self, index: u32, key: (u64, u64)) -> (u32, u32) {
        if index == NONE {
            return (NONE, NONE);
        }
        let node = *self.at(index);
        let halves = if (node.start, node.serial) < key {
            let (before, behind) = self.split(node.right, key);
            self.nodes[index as usize].right = before;
            (index, behind)
        } else {
            let (before, behind) = self.split(node.left, key);
            self.nodes[index as usize].left = behind;
            (before, index)
        };
        self.renew(index);
        halves
    }

    /// One tree of two, where everything in the first lies before everything in the second.
    fn join(&mut self, before: u32, behind: u32) -> u32 {
        if before == NONE || behind == NONE {
            return before.min(behind);
        }
        if self.at(before).priority > self.at(behind).priority {
            let right = self.join(self.at(before).right, behind);
            self.nodes[before as usize].right = right;
            self.renew(before);
            before
        } else {
            let left = self.join(before, self.at(behind).left);
            self.nodes[behind as usize].left = left;
            self.renew(behind);
            behind
        }
    }
}

#[cfg(test)]
mod tests {
    use media::Lba;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Insert(u64, u64),
        /// The n-th that is there, counted around.
        Remove(usize),
        /// Range, and a serial number as a share of those given out.
        Ask(u64, u64, u64),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            3 => (0..200_u64, 1..40_u64).prop_map(|(start, blocks)| Action::Insert(start, blocks)),
            1 => (0..4_u64, 1..5000_u64).prop_map(|(start, blocks)| Action::Insert(start, blocks)),
            2 => any::<usize>().prop_map(Action::Remove),
            4 => (0..240_u64, 1..60_u64, 0..=100_u64).prop_map(|(start, blocks, share)| Action::Ask(start, blocks, share)),
        ]
    }

    proptest! {
        /// Whatever is put in and taken out, every question is answered as by looking at all of them.
        #[test]
        fn answers_as_a_list_does(actions in prop::collection::vec(action(), 1..400)) {
            let mut set = RangeSet::default();
            let mut list: Vec<(LbaRange, u64)> = Vec::new();
            let mut serial = 0;
            for action in actions {
                match action {
                    Action::Insert(start, blocks) => {
                        let range = LbaRange::new(Lba(start), blocks);
                        set.insert(range, serial, Token(serial * 3));
                        list.push((range, serial));
                        serial += 1;
                    }
                    Action::Remove(_) if list.is_empty() => {}
                    Action::Remove(index) => {
                        let (range, serial) = list.swap_remove(index % list.len());
                        set.remove(range, serial);
                    }
                    Action::Ask(start, blocks, share) => {
                        let range = LbaRange::new(Lba(start), blocks);
                        let limit = (serial + 1) * share / 100;
                        let expected = list
                            .iter()
                            .filter(|(other, serial)| *serial < limit && range.overlaps(*other))
                            .map(|(_, serial)| (*serial, Token(serial * 3)))
                            .max();
                        prop_assert_eq!(set.last_before(range, limit), expected);
                    }
                }
                prop_assert_eq!(set.root == NONE, list.is_empty());
            }
        }
    }

    #[test]
    fn the_tree_stays_shallow_and_its_places_are_used_again() {
        fn depth(set: &RangeSet, index: u32) -> usize {
            if index == NONE {
                return 0;
            }
            1 + depth(set, set.at(index).left).max(depth(set, set.at(index).right))
        }
        let mut set = RangeSet::default();
        for serial in 0..4096 {
            set.insert(LbaRange::new(Lba(serial), 1), serial, Token(serial));
        }
        assert!(depth(&set, set.root) < 50, "{}", depth(&set, set.root));
        for serial in 0..4096 {
            set.remove(LbaRange::new(Lba(serial), 1), serial);
            set.insert(LbaRange::new(Lba(serial), 1), serial + 4096, Token(serial));
        }
        assert_eq!(set.nodes.len(), 4097 - 1);
    }
}
