//! Why an image is bad: the pieces that must survive for it, and those that must be lost. Knows no images, only choices and a judge.

/// Broken where all of `survive` are there and all of `lost` are not, whether the rest survives as a whole or is lost as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Pieces, by their place among all.
    pub survive: Vec<usize>,
    /// Pieces, by their place among all.
    pub lost: Vec<usize>,
}

/// Shrinks a choice that fails. `fails` judges a choice; it is asked some ten times for each piece that matters.
pub fn shrink(failing: &[bool], fails: &mut dyn FnMut(&[bool]) -> bool) -> Cause {
    let lost = of(&flip(failing, true, fails), false);
    let survive = of(&flip(failing, false, fails), true);
    Cause { survive, lost }
}

fn of(choice: &[bool], wanted: bool) -> Vec<usize> {
    choice.iter().enumerate().filter(|(_, survives)| **survives == wanted).map(|(piece, _)| piece).collect()
}

/// As many pieces as possible get the value `to`, first many at a time, and it still fails.
fn flip(failing: &[bool], to: bool, fails: &mut dyn FnMut(&[bool]) -> bool) -> Vec<bool> {
    let mut choice = failing.to_vec();
    let mut step = choice.len().next_power_of_two();
    while step > 0 {
        let others = of(&choice, !to);
        for group in others.chunks(step) {
            let mut tried = choice.clone();
            group.iter().for_each(|piece| tried[*piece] = to);
            if tried != choice && fails(&tried) {
                choice = tried;
            }
        }
        step /= 2;
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_that_matter_are_found() {
        // Broken whenever piece 17 survives without 12.
        let mut asked = 0;
        let mut fails = |choice: &[bool]| {
            asked += 1;
            choice[17] && !choice[12]
        };
        let failing: Vec<bool> = (0..64).map(|piece| piece % 2 == 1).collect();
        let cause = shrink(&failing, &mut fails);
        assert_eq!(cause, Cause { survive: vec![17], lost: vec![12] });
        assert!(asked < 100, "{asked}");
    }

    #[test]
    fn what_fails_always_has_no_cause_among_the_pieces() {
        assert_eq!(shrink(&[true, false, true], &mut |_| true), Cause { survive: vec![], lost: vec![] });
        assert_eq!(shrink(&[], &mut |_| true), Cause { survive: vec![], lost: vec![] });
    }

    #[test]
    fn several_pieces_may_have_to_go_together() {
        let mut fails = |choice: &[bool]| !choice[1] && !choice[3] && choice[0];
        let cause = shrink(&[true, false, false, false, true], &mut fails);
        assert_eq!(cause, Cause { survive: vec![0], lost: vec![1, 3] });
    }
}
