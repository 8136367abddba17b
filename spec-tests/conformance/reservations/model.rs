//! Reservations of one namespace as the rules RES3 to RES16 are written down, sentence by sentence: what a random sequence is judged by.
//! Shares nothing with the code that it judges.

use std::collections::BTreeMap;

/// A host: the number in its name, or 100 and the number of its controller.
pub type Who = u8;

/// What a host does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Register { action: u32, ignore: bool, current: u64, new: u64 },
    Acquire { key: u64, rtype: u8 },
    Preempt { key: u64, preempted: u64, rtype: u8, abort: bool },
    Release { key: u64, rtype: u8 },
    Clear { key: u64 },
    Read,
    Write,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    Well,
    Conflict,
    Invalid,
}
use Ends::{Conflict, Invalid, Well};

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub keys: BTreeMap<Who, u64>,
    /// 0 is none.
    pub rtype: u8,
    /// Who acquired it; under types 5 and 6 that is nobody in particular.
    owner: Option<Who>,
    pub generation: u32,
    /// Who heard what since it was looked at.
    pub heard: Vec<(Who, u8)>,
}

impl Model {
    pub fn holds(&self, who: Who) -> bool {
        match self.rtype {
            0 => false,
            1..=4 => self.owner == Some(who),
            _ => self.keys.contains_key(&who),
        }
    }

    /// RES4, RES16: the reservation is over.
    fn end(&mut self, but: Who) {
        if self.rtype >= 3 {
            let others: Vec<Who> = self.keys.keys().copied().filter(|who| *who != but).collect();
            self.heard.extend(others.into_iter().map(|who| (who, 2)));
        }
        self.rtype = 0;
        self.owner = None;
    }

    fn leave(&mut self, who: Who) {
        let held = self.holds(who);
        self.keys.remove(&who);
        let last_of_all = self.rtype >= 5 && self.keys.is_empty();
        if held && (self.rtype <= 4 || last_of_all) {
            self.end(who);
        }
    }

    /// A host without a name goes with its controller's reset.
    pub fn vanish(&mut self, who: Who) {
        if self.keys.contains_key(&who) {
            self.leave(who);
        }
    }

    pub fn act(&mut self, who: Who, act: Act) -> Ends {
        let mine = self.keys.get(&who).copied();
        match act {
            // RES14: columns WE, EA, then registrants only, then all registrants.
            Act::Read => match self.rtype {
                2 if !self.holds(who) => Conflict,
                4 | 6 if mine.is_none() => Conflict,
                _ => Well,
            },
            Act::Write => match self.rtype {
                1 | 2 if !self.holds(who) => Conflict,
                3..=6 if mine.is_none() => Conflict,
                _ => Well,
            },
            Act::Register { action, ignore, current, new } => {
                let ends = match (action, mine) {
                    (0, None) => Well,
                    (0, Some(key)) if key == new => Well,
                    (1, Some(key)) if ignore || key == current => Well,
                    (2, Some(key)) if ignore || key == current => Well,
                    (2, None) if ignore => Well,
                    _ => Conflict,
                };
                if ends == Well {
                    self.generation = self.generation.wrapping_add(1);
                    if action == 1 {
                        self.leave(who);
                    } else {
                        self.keys.insert(who, new);
                    }
                }
                ends
            }
            Act::Acquire { key, .. } | Act::Preempt { key, .. } | Act::Release { key, .. } | Act::Clear { key }
                if mine != Some(key) =>
            {
                Conflict
            }
            Act::Acquire { rtype, .. } => match self.rtype {
                0 => {
                    (self.rtype, self.owner) = (rtype, Some(who));
                    Well
                }
                held if held == rtype && self.holds(who) => Well,
                _ => Conflict,
            },
            Act::Preempt { preempted, rtype, .. } => self.preempt(who, preempted, rtype),
            Act::Release { rtype, .. } => {
                if self.rtype == 0 {
                    return Well;
                }
                if rtype != self.rtype {
                    return Invalid;
                }
                if self.holds(who) {
                    self.end(who);
                }
                Well
            }
            Act::Clear { .. } => {
                let others: Vec<Who> = self.keys.keys().copied().filter(|other| *other != who).collect();
                self.heard.extend(others.into_iter().map(|other| (other, 3)));
                self.keys.clear();
                (self.rtype, self.owner) = (0, None);
                self.generation = self.generation.wrapping_add(1);
                Well
            }
        }
    }

    /// RES6, RES7.
    fn preempt(&mut self, who: Who, preempted: u64, rtype: u8) -> Ends {
        let anybody = self.keys.values().any(|key| *key == preempted);
        let holder_key = self.owner.and_then(|owner| self.keys.get(&owner)).copied();
        let (all, mine_now) = match self.rtype {
            0 => (false, false),
            1..=4 if preempted == 0 => return Invalid,
            1..=4 => (false, holder_key == Some(preempted)),
            _ => (preempted == 0, preempted == 0),
        };
        if !all && !anybody {
            return Conflict;
        }
        let gone = |(other, key): (&Who, &u64)| (*other != who && (all || *key == preempted)).then_some(*other);
        let gone: Vec<Who> = self.keys.iter().filter_map(gone).collect();
        for other in gone {
            self.keys.remove(&other);
            self.heard.push((other, 1));
        }
        if mine_now {
            if self.rtype >= 3 && self.rtype != rtype {
                let others: Vec<Who> = self.keys.keys().copied().filter(|other| *other != who).collect();
                self.heard.extend(others.into_iter().map(|other| (other, 2)));
            }
            (self.rtype, self.owner) = (rtype, Some(who));
        }
        self.generation = self.generation.wrapping_add(1);
        Well
    }
}
