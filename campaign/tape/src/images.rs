//! Which pieces survive: every choice where they are few, and where they are many the ones that tell most, then draws from a seed. And the
//! image of a choice.

use std::collections::BTreeMap;

use media::power::Random;

use crate::history::{Block, History};

/// As many images are made of one place where all of them are.
pub const IMAGES_MAX: u64 = 1 << 16;

/// What a power loss may leave: what differs from what is durable.
pub struct Image {
    /// By piece, oldest first.
    pub survives: Vec<bool>,
    /// Blocks that differ from those that are durable; none is zeroes.
    pub blocks: BTreeMap<u64, Block>,
    /// Equal images have equal ones.
    pub fingerprint: u64,
}

impl Image {
    /// The image of a choice.
    #[must_use]
    pub fn new(history: &History, survives: Vec<bool>) -> Self {
        let blocks = history.overlay(&survives);
        let fingerprint = history.fingerprint_with(&blocks);
        Self { survives, blocks, fingerprint }
    }
}

/// The choices at one place, each a list of which pieces survive.
pub struct Choices {
    pieces: usize,
    most: u64,
    next: u64,
    random: Random,
}

impl Choices {
    /// All choices of so many pieces if there are at most [`IMAGES_MAX`] and `most`; otherwise `most` of them: nothing survives,
    /// everything, each beginning, each piece alone, each piece missing, and then draws from a seed.
    #[must_use]
    pub fn new(pieces: usize, most: u64, seed: u64) -> Self {
        Self { pieces, most: most.max(2), next: 0, random: Random::new(seed) }
    }

    /// How many choices come before the first draw, where not all are made.
    #[must_use]
    pub const fn telling(pieces: usize) -> u64 {
        2 + 3 * pieces as u64
    }

    /// How many choices there are, if that is a number.
    #[must_use]
    pub fn possible(&self) -> Option<u64> {
        u32::try_from(self.pieces).ok().and_then(|pieces| 1_u64.checked_shl(pieces))
    }

    /// Whether it will be all.
    #[must_use]
    pub fn exhaustive(&self) -> bool {
        self.possible().is_some_and(|possible| possible <= IMAGES_MAX.min(self.most))
    }
}

impl Iterator for Choices {
    type Item = Vec<bool>;

    fn next(&mut self) -> Option<Vec<bool>> {
        let (pieces, number) = (self.pieces, self.next);
        self.next += 1;
        if self.exhaustive() {
            let possible = self.possible().unwrap_or(0);
            return (number < possible).then(|| (0..pieces).map(|piece| number >> piece & 1 == 1).collect());
        }
        if number >= self.most {
            return None;
        }
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let each = |is: &dyn Fn(usize) -> bool| (0..pieces).map(is).collect();
        Some(match place {
            0 => vec![false; pieces],
            1 => vec![true; pieces],
            _ if place < 2 + pieces => each(&|piece| piece != place - 2),
            _ if place < 2 + 2 * pieces => each(&|piece| piece < place - 2 - pieces),
            _ if place < 2 + 3 * pieces => each(&|piece| piece == place - 2 - 2 * pieces),
            _ => (0..pieces).map(|_| self.random.below(2) == 1).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn few_pieces_have_every_choice_once() {
        let choices = Choices::new(5, 100, 1);
        assert!(choices.exhaustive());
        let all: Vec<_> = choices.collect();
        assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (32, 32));
        assert_eq!(Choices::new(0, 100, 1).collect::<Vec<_>>(), [vec![]]);
    }

    #[test]
    fn many_pieces_have_those_that_tell_most_and_then_draws() {
        let drawn = |seed| Choices::new(40, 200, seed).collect::<Vec<_>>();
        let choices = drawn(7);
        assert_eq!(choices.len(), 200);
        assert_eq!(choices, drawn(7));
        assert_ne!(choices, drawn(8));
        let survivors: Vec<usize> =
            choices.iter().map(|choice| choice.iter().filter(|survives| **survives).count()).collect();
        assert_eq!(survivors[..3], [0, 40, 39]);
        assert_eq!(survivors[42..45], [0, 1, 2], "beginnings");
        assert!(survivors[82..122].iter().all(|count| *count == 1));
        let most = Choices::new(16, 1 << 20, 1);
        assert!(
            most.exhaustive()
                && !Choices::new(17, 1 << 20, 1).exhaustive()
                && !Choices::new(200, 1 << 20, 1).exhaustive()
        );
    }
}
