//! The inventory of a subsystem's namespaces, and what a host may know of it while commands that change it are under way (NVMe Base 2.1
//! sections 5.1.10, 5.1.20, 5.1.21; rules NSM1 to NSM14, FMT14, P1 and P2 of our reference). Pure: no controller, no drive, no blocks.
//!
//! Commands about namespaces take effect one after the other, each as a whole, at some moment between doorbell and answer. So a host knows a
//! list of possible inventories: an answer, or a look at the drive, leaves of them those that explain it. After a power loss a command that
//! was not answered has taken effect or has not, and one that was answered has.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::CommandId;

/// An LBA format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Format {
    /// Bytes of data of a block.
    pub block_bytes: u32,
    /// Bytes of its metadata.
    pub metadata_bytes: u32,
    /// Metadata follows each block of data.
    pub extended: bool,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the history: no other namespace has it, and after a Format it is another one.
    pub name: u32,
    /// The name that it was made with, which a Format does not change.
    pub born: u32,
    /// Its format.
    pub format: Format,
    /// Its blocks.
    pub blocks: u64,
    /// Several controllers may have it.
    pub shared: bool,
    /// Those that have it.
    pub attached: BTreeSet<u16>,
    /// Indirection units that are taken for it: NVMCAP in these.
    pub units: u64,
}

/// All of them, by identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The namespaces.
    pub namespaces: BTreeMap<u32, Entry>,
}

/// What does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Indirection units that namespaces may take together.
    pub units: u64,
    /// Bytes of one.
    pub unit_bytes: u64,
    /// The largest identifier.
    pub last: u32,
    /// How many controllers there are.
    pub controllers: u16,
}

/// A command that changes the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A namespace is made: it gets the lowest identifier that is free, and nobody has it.
    Create {
        /// Its name, if it comes to be.
        name: u32,
        /// Its format.
        format: Format,
        /// Its blocks.
        blocks: u64,
        /// Several controllers may have it.
        shared: bool,
    },
    /// It goes, whoever has it.
    Delete {
        /// Which.
        nsid: u32,
    },
    /// It gets a format, keeps its bytes and loses what is in them.
    Format {
        /// Which.
        nsid: u32,
        /// Its name afterwards.
        name: u32,
        /// The format.
        format: Format,
    },
    /// A controller gets it or loses it.
    Attach {
        /// Which.
        nsid: u32,
        /// The controller.
        controller: u16,
        /// It gets it.
        attach: bool,
    },
}

impl Change {
    /// The namespace that it is about; none of one that is to be made.
    #[must_use]
    pub const fn nsid(&self) -> Option<u32> {
        match self {
            Self::Create { .. } => None,
            Self::Delete { nsid } | Self::Format { nsid, .. } | Self::Attach { nsid, .. } => Some(*nsid),
        }
    }
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such namespace.
    NoNamespace,
    /// There is too little space.
    NoCapacity,
    /// Every identifier is taken.
    NoIdentifier,
    /// It cannot have the format.
    NoFormat,
    /// The controller has it already.
    Attached,
    /// The controller does not have it.
    NotAttached,
    /// It is for one controller, and another one has it.
    Private,
    /// A reservation of another host forbids it, of which nothing is known here.
    Reserved,
}

/// How a change ends: the identifier of a namespace that was made, or 0; or why it was refused.
pub type Ending = Result<u32, Refusal>;

impl Inventory {
    /// Units that no namespace has.
    #[must_use]
    pub fn free_units(&self, limits: &Limits) -> u64 {
        limits.units - self.namespaces.values().map(|entry| entry.units).sum::<u64>()
    }

    /// Makes a change, or says why it cannot be made and changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub fn apply(&mut self, change: &Change, limits: &Limits) -> Ending {
        match *change {
            Change::Create { name, format, blocks, shared } => {
                let units = (blocks * u64::from(format.block_bytes)).div_ceil(limits.unit_bytes);
                if units > self.free_units(limits) {
                    return Err(Refusal::NoCapacity);
                }
                let nsid = (1..=limits.last).find(|nsid| !self.namespaces.contains_key(nsid));
                let nsid = nsid.ok_or(Refusal::NoIdentifier)?;
                let entry = Entry { name, born: name, format, blocks, shared, attached: BTreeSet::new(), units };
                self.namespaces.insert(nsid, entry);
                Ok(nsid)
            }
            Change::Delete { nsid } => self.namespaces.remove(&nsid).map(|_| 0).ok_or(Refusal::NoNamespace),
            Change::Format { nsid, name, format } => {
                let entry = self.namespaces.get_mut(&nsid).ok_or(Refusal::NoNamespace)?;
                let blocks = entry.blocks * u64::from(entry.format.block_bytes) / u64::from(format.block_bytes);
                if blocks == 0 {
                    return Err(Refusal::NoFormat);
                }
                (entry.name, entry.format, entry.blocks) = (name, format, blocks);
                Ok(0)
            }
            Change::Attach { nsid, controller, attach } => {
                let entry = self.namespaces.get_mut(&nsid).ok_or(Refusal::NoNamespace)?;
                match (entry.attached.contains(&controller), attach) {
                    (true, true) => return Err(Refusal::Attached),
                    (false, false) => return Err(Refusal::NotAttached),
                    (false, true) if !entry.shared && !entry.attached.is_empty() => return Err(Refusal::Private),
                    (false, true) => entry.attached.insert(controller),
                    (true, false) => entry.attached.remove(&controller),
                };
                Ok(0)
            }
        }
    }

    /// Whether it looks the same to a host, who does not know names.
    #[must_use]
    pub fn looks_like(&self, seen: &Self) -> bool {
        let look = |inventory: &Self| -> Vec<(u32, Entry)> {
            inventory
                .namespaces
                .iter()
                .map(|(nsid, entry)| (*nsid, Entry { name: 0, born: 0, ..entry.clone() }))
                .collect()
        };
        look(self) == look(seen)
    }
}

/// One of the ways in which things may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Possible {
    inventory: Inventory,
    /// Commands under way that have taken effect, with how they end.
    done: BTreeMap<CommandId, Ending>,
}

/// What a host knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knowledge {
    limits: Limits,
    /// The one in which least has happened comes first.
    possible: Vec<Possible>,
    under_way: BTreeMap<CommandId, Change>,
}

impl Knowledge {
    /// A host knows how things stand.
    #[must_use]
    pub fn new(limits: Limits, inventory: Inventory) -> Self {
        Self { limits, possible: vec![Possible { inventory, done: BTreeMap::new() }], under_way: BTreeMap::new() }
    }

    /// What does not change.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A command is on its way: from now on it may take effect at any moment, and so may others after it.
    pub fn begin(&mut self, id: CommandId, change: Change) {
        self.under_way.insert(id, change);
        let mut next = 0;
        while next < self.possible.len() {
            for (id, change) in &self.under_way {
                let mut after = self.possible[next].clone();
                if after.done.contains_key(id) {
                    continue;
                }
                let ending = after.inventory.apply(change, &self.limits);
                after.done.insert(*id, ending);
                if !self.possible.contains(&after) {
                    self.possible.push(after);
                }
            }
            next += 1;
        }
        self.possible.sort_by_key(|possible| possible.done.len());
    }

    /// A command was answered: with this, it took effect before.
    ///
    /// # Errors
    /// No order of the commands explains the answer: how it could have ended instead.
    pub fn end(&mut self, id: CommandId, ending: Ending) -> Result<(), Vec<Ending>> {
        self.under_way.remove(&id);
        // What was refused for another reason has not been tried.
        let explains = |possible: &Possible| match ending {
            Err(Refusal::Reserved) => !possible.done.contains_key(&id),
            _ => possible.done.get(&id) == Some(&ending),
        };
        if !self.possible.iter().any(explains) {
            return Err(self.possible.iter().filter_map(|possible| possible.done.get(&id)).copied().collect());
        }
        self.possible.retain(explains);
        for possible in &mut self.possible {
            possible.done.remove(&id);
        }
        self.possible.dedup();
        Ok(())
    }

    /// Nothing is under way any more, and the drive shows these namespaces: which of the possible inventories that is.
    ///
    /// # Errors
    /// It is none of them; these are the possible ones.
    pub fn settle(&mut self, seen: &Inventory) -> Result<&Inventory, Vec<Inventory>> {
        let found = self.possible.iter().position(|possible| possible.inventory.looks_like(seen));
        let Some(found) = found else {
            return Err(self.possible.iter().map(|possible| possible.inventory.clone()).collect());
        };
        self.under_way.clear();
        let inventory = self.possible.swap_remove(found).inventory;
        self.possible = vec![Possible { inventory, done: BTreeMap::new() }];
        Ok(&self.possible[0].inventory)
    }

    /// The namespace of an identifier, if it is certain how it is.
    #[must_use]
    pub fn certain(&self, nsid: u32) -> Option<&Entry> {
        let first = self.possible[0].inventory.namespaces.get(&nsid)?;
        let same = |possible: &Possible| possible.inventory.namespaces.get(&nsid) == Some(first);
        self.possible.iter().all(same).then_some(first)
    }

    /// The namespace that a controller has under an identifier for certain, whoever else may have it.
    #[must_use]
    pub fn usable(&self, nsid: u32, controller: u16) -> Option<&Entry> {
        let first = self.possible[0].inventory.namespaces.get(&nsid)?;
        let has = |possible: &Possible| {
            let entry = possible.inventory.namespaces.get(&nsid);
            entry.is_some_and(|entry| entry.name == first.name && entry.attached.contains(&controller))
        };
        self.possible.iter().all(has).then_some(first)
    }

    /// The identifier of a namespace that may be there.
    #[must_use]
    pub fn nsid_of(&self, name: u32) -> Option<u32> {
        let of = |possible: &Possible| {
            possible.inventory.namespaces.iter().find(|(_, entry)| entry.name == name).map(|(nsid, _)| *nsid)
        };
        self.possible.iter().find_map(of)
    }

    /// The inventory in which nothing has happened of what is under way: how things stand if nothing is.
    #[must_use]
    pub fn settled(&self) -> &Inventory {
        &self.possible[0].inventory
    }

    /// The names of namespaces that a controller has for certain.
    #[must_use]
    pub fn attached_to(&self, controller: u16) -> BTreeSet<u32> {
        let nsids = self.possible[0].inventory.namespaces.keys();
        nsids.filter_map(|nsid| self.usable(*nsid, controller)).map(|entry| entry.name).collect()
    }

    /// Each namespace that may be there under an identifier.
    pub fn may_be(&self, nsid: u32) -> impl Iterator<Item = &Entry> {
        self.possible.iter().filter_map(move |possible| possible.inventory.namespaces.get(&nsid))
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.under_way.is_empty()
    }

    /// What is under way.
    pub fn under_way(&self) -> impl Iterator<Item = (CommandId, &Change)> {
        self.under_way.iter().map(|(id, change)| (*id, change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { block_bytes: 512, metadata_bytes: 0, extended: false };
    const OTHER: Format = Format { block_bytes: 4096, metadata_bytes: 8, extended: true };
    const LIMITS: Limits = Limits { units: 10, unit_bytes: 4096, last: 3, controllers: 2 };

    fn create(name: u32, blocks: u64, shared: bool) -> Change {
        Change::Create { name, format: FORMAT, blocks, shared }
    }

    fn begin(changes: &[Change]) -> Inventory {
        let mut inventory = Inventory::default();
        for change in changes {
            inventory.apply(change, &LIMITS).expect("possible");
        }
        inventory
    }

    /// NSM1, NSM3, NSM5: the lowest identifier, whole units, and nothing taken by what is refused.
    #[test]
    fn what_is_made_takes_whole_units_and_the_lowest_identifier() {
        let mut inventory = begin(&[create(1, 9, false), create(2, 8, false)]);
        assert_eq!(inventory.free_units(&LIMITS), 7);
        assert_eq!(inventory.apply(&create(3, 57, false), &LIMITS), Err(Refusal::NoCapacity));
        assert_eq!(inventory.apply(&Change::Delete { nsid: 1 }, &LIMITS), Ok(0));
        assert_eq!(inventory.apply(&Change::Delete { nsid: 1 }, &LIMITS), Err(Refusal::NoNamespace));
        assert_eq!(inventory.apply(&create(4, 8, false), &LIMITS), Ok(1));
        assert_eq!(inventory.apply(&create(5, 8, false), &LIMITS), Ok(3));
        assert_eq!(inventory.apply(&create(6, 8, false), &LIMITS), Err(Refusal::NoIdentifier));
        assert_eq!(inventory.free_units(&LIMITS), 7);
    }

    /// FMT8: as many bytes, and at least one block.
    #[test]
    fn a_format_keeps_the_bytes_and_gives_another_name() {
        let mut inventory = begin(&[create(1, 17, false), create(2, 7, false)]);
        let format = |nsid| Change::Format { nsid, name: 9, format: OTHER };
        assert_eq!(inventory.apply(&format(2), &LIMITS), Err(Refusal::NoFormat));
        assert_eq!(inventory.apply(&format(1), &LIMITS), Ok(0));
        let entry = &inventory.namespaces[&1];
        assert_eq!((entry.name, entry.blocks, entry.format, entry.units), (9, 2, OTHER, 3));
    }

    /// NSM13: who may have what.
    #[test]
    fn a_private_namespace_is_for_one_controller() {
        let mut inventory = begin(&[create(1, 8, false), create(2, 8, true)]);
        let attach = |nsid, controller, attach| Change::Attach { nsid, controller, attach };
        for (change, ending) in [
            (attach(1, 0, false), Err(Refusal::NotAttached)),
            (attach(1, 0, true), Ok(0)),
            (attach(1, 0, true), Err(Refusal::Attached)),
            (attach(1, 1, true), Err(Refusal::Private)),
            (attach(2, 0, true), Ok(0)),
            (attach(2, 1, true), Ok(0)),
            (attach(3, 1, true), Err(Refusal::NoNamespace)),
        ] {
            assert_eq!(inventory.apply(&change, &LIMITS), ending, "{change:?}");
        }
    }

    /// P1, P2: what is under way has happened or has not; what was answered has; nothing else is possible.
    #[test]
    fn the_old_inventory_or_the_new_one_and_never_a_third() {
        let old = begin(&[create(1, 8, false)]);
        let new = begin(&[create(1, 8, false), create(2, 16, false)]);
        let third = begin(&[create(1, 8, false), create(2, 17, false)]);
        let mut knowledge = Knowledge::new(LIMITS, old.clone());
        knowledge.begin(5, create(2, 16, false));
        assert_eq!(knowledge.clone().settle(&old), Ok(&old));
        assert_eq!(knowledge.clone().settle(&new), Ok(&new));
        assert_eq!(knowledge.clone().settle(&third), Err(vec![old.clone(), new.clone()]));
        assert!(knowledge.certain(1).is_some() && knowledge.certain(2).is_none());
        assert_eq!(knowledge.clone().end(5, Ok(1)), Err(vec![Ok(2)]));
        let mut refused = knowledge.clone();
        assert_eq!(refused.end(5, Err(Refusal::Reserved)), Ok(()));
        assert_eq!(refused.settle(&new), Err(vec![old.clone()]), "a reservation forbade it: nothing was tried");
        assert_eq!(knowledge.end(5, Ok(2)), Ok(()));
        assert!(knowledge.is_settled() && knowledge.certain(2).is_some());
        assert_eq!(knowledge.settle(&old), Err(vec![new]));
    }

    #[test]
    fn commands_that_are_under_way_together_take_effect_in_either_order() {
        let mut knowledge = Knowledge::new(LIMITS, begin(&[create(1, 8, false)]));
        knowledge.begin(5, Change::Delete { nsid: 1 });
        knowledge.begin(6, create(2, 8, false));
        // It got the identifier of the deleted one, so that one is gone, whether that was answered or not.
        assert_eq!(knowledge.clone().end(6, Ok(3)), Err(vec![Ok(2), Ok(1), Ok(2)]));
        assert_eq!(knowledge.end(6, Ok(1)), Ok(()));
        assert_eq!(knowledge.certain(1).map(|entry| entry.name), Some(2));
        assert_eq!(knowledge.end(5, Ok(0)), Ok(()));
    }
}
