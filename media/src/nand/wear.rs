//! Owns which physical block stands behind each block of a line, which blocks are bad, and the replacements that are left. A block
//! that fails is replaced by one of the same plane; when there is none left, its line is retired.

use std::collections::BTreeMap;

use crate::geometry::Geometry;
use crate::power::Random;
use crate::unit::{index, narrow};

/// Physical blocks, by plane. A block's index is that of the line it was made for; replacements lie above the lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    first_replacement: u32,
    /// For each plane, the replacements that it was delivered with.
    delivered: Vec<usize>,
    replaced: BTreeMap<(u32, u32), u32>,
    unused: Vec<Vec<u32>>,
    bad: Vec<(u32, u32)>,
}

impl Blocks {
    /// The blocks as delivered: what is bad at birth is replaced, or is no replacement.
    #[must_use]
    pub fn new(geometry: &Geometry) -> Self {
        let mut blocks = Self::flawless(geometry);
        let mut random = Random::new(u64::from(geometry.config.factory_bad_blocks));
        let of_plane = u64::from(geometry.lines + geometry.config.replacement_blocks_per_plane);
        let mut below = |most: u64| narrow(index(random.below(most)));
        while blocks.bad.len() < geometry.config.factory_bad_blocks as usize {
            let (plane, block) = (below(u64::from(geometry.planes)), below(of_plane));
            let unused = &mut blocks.unused[plane as usize];
            if unused.is_empty() || blocks.bad.contains(&(plane, block)) {
                continue;
            }
            if block < geometry.lines {
                blocks.retire(block, plane);
            } else if unused.contains(&block) {
                unused.retain(|&other| other != block);
                blocks.bad.push((plane, block));
            }
        }
        blocks.delivered = blocks.unused.iter().map(Vec::len).collect();
        blocks
    }

    fn flawless(geometry: &Geometry) -> Self {
        let count = geometry.config.replacement_blocks_per_plane;
        let of_plane: Vec<u32> = (geometry.lines..geometry.lines + count).rev().collect();
        Self {
            first_replacement: geometry.lines,
            delivered: Vec::new(),
            replaced: BTreeMap::new(),
            unused: vec![of_plane; geometry.planes as usize],
            bad: Vec::new(),
        }
    }

    /// The blocks of a root: bad ones and replaced ones. `None` where they contradict the geometry.
    #[must_use]
    pub fn from_root(geometry: &Geometry, bad: &[(u32, u32)], replaced: &[(u32, u32, u32)]) -> Option<Self> {
        let mut blocks = Self { delivered: Self::new(geometry).delivered, ..Self::flawless(geometry) };
        let taken = bad.iter().copied().chain(replaced.iter().map(|&(_, plane, block)| (plane, block)));
        for (plane, block) in taken {
            blocks.unused.get_mut(plane as usize)?.retain(|&unused| unused != block);
        }
        blocks.bad = bad.to_vec();
        blocks.replaced = replaced.iter().map(|&(line, plane, block)| ((line, plane), block)).collect();
        Some(blocks)
    }

    /// The block behind a line's block in a plane.
    #[must_use]
    pub fn behind(&self, line: u32, plane: u32) -> u32 {
        self.replaced.get(&(line, plane)).copied().unwrap_or(line)
    }

    /// Puts the block behind a line's block out of use and a replacement in its place; `false` where there is none left.
    pub fn retire(&mut self, line: u32, plane: u32) -> bool {
        let block = self.behind(line, plane);
        assert!(!self.bad.contains(&(plane, block)), "a block goes bad once");
        self.bad.push((plane, block));
        let Some(replacement) = self.unused[plane as usize].pop() else {
            return false;
        };
        assert!(replacement >= self.first_replacement, "replacements lie above the lines");
        self.replaced.insert((line, plane), replacement);
        true
    }

    /// Bad blocks as (plane, block), in the order in which they went bad.
    #[must_use]
    pub fn bad(&self) -> &[(u32, u32)] {
        &self.bad
    }

    /// Replaced blocks as (line, plane, replacement).
    #[must_use]
    pub fn replaced(&self) -> Vec<(u32, u32, u32)> {
        self.replaced.iter().map(|(&(line, plane), &block)| (line, plane, block)).collect()
    }

    /// Replacements left in the plane that lost most of them, in percent of what it was delivered with (100 where that was none).
    #[must_use]
    pub fn available_spare_percent(&self) -> u32 {
        let shares = self.unused.iter().zip(&self.delivered).filter(|&(_, &delivered)| delivered > 0);
        shares.map(|(unused, &delivered)| narrow(unused.len() * 100 / delivered)).min().unwrap_or(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::GeometryConfig;

    #[test]
    fn a_block_is_replaced_until_its_plane_has_none_left() {
        let config = GeometryConfig { replacement_blocks_per_plane: 2, ..GeometryConfig::default() };
        let geometry = Geometry::new(config).unwrap();
        let mut blocks = Blocks::new(&geometry);
        assert_eq!(blocks.available_spare_percent(), 100);
        assert!(blocks.retire(5, 3));
        assert_eq!(blocks.behind(5, 3), geometry.lines);
        assert_eq!(blocks.available_spare_percent(), 50);
        assert!(blocks.retire(5, 3), "a replacement may fail as well");
        assert!(!blocks.retire(6, 3));
        assert!(blocks.retire(6, 4), "another plane has its own");
        assert_eq!(blocks.bad().len(), 4);
        let again = Blocks::from_root(&geometry, blocks.bad(), &blocks.replaced()).unwrap();
        assert_eq!(again, blocks);
        assert!(Blocks::from_root(&geometry, &[(99, 0)], &[]).is_none());
    }

    #[test]
    fn what_is_bad_at_birth_is_replaced_and_costs_no_spare() {
        let config = GeometryConfig { factory_bad_blocks: 64, ..GeometryConfig::default() };
        let geometry = Geometry::new(config).unwrap();
        let mut blocks = Blocks::new(&geometry);
        assert_eq!(blocks.bad().len(), 64, "every replacement is used up, or bad itself");
        for &(plane, block) in blocks.bad() {
            let behind = (0..geometry.lines).map(|line| blocks.behind(line, plane));
            assert!(behind.clone().all(|other| other != block), "plane {plane}: nothing stands on block {block}");
        }
        assert_eq!(blocks.available_spare_percent(), 100, "delivered so");
        assert_eq!(Blocks::from_root(&geometry, blocks.bad(), &blocks.replaced()), Some(blocks.clone()));
        assert!(!blocks.retire(0, 0), "there is none left");
        let half = Geometry::new(GeometryConfig { factory_bad_blocks: 20, ..geometry.config.clone() }).unwrap();
        let mut blocks = Blocks::new(&half);
        let plane = (0..half.planes).find(|&plane| blocks.delivered[plane as usize] == 2).unwrap();
        assert!(blocks.retire(half.lines - 1, plane));
        assert_eq!(blocks.available_spare_percent(), 50, "of the two that plane {plane} was delivered with");
        let too_many = GeometryConfig { factory_bad_blocks: 65, ..geometry.config.clone() };
        assert!(Geometry::new(too_many).unwrap_err().0.contains("64 can be replaced"));
    }
}
