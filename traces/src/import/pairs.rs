//! Joins what a block layer handed to a driver with what came back: one access of each pair. Which request came back is known by device,
//! first sector and kind only.

use std::collections::{BTreeMap, VecDeque};

use super::volumes::{Access, Volumes};
use crate::record::Flags;

/// Requests that were issued and did not come back; beyond it the oldest is taken for one that never will. A trace that has no completions
/// holds so many in memory.
const UNDER_WAY_MAX: usize = 1 << 16;

/// A request that was issued.
#[derive(Clone, Debug)]
struct Issued {
    begin_ns: u64,
    length: u64,
    flags: Flags,
    queue: u16,
    cid: u16,
    ordinal: u64,
}

/// What makes it the same request.
type Key = (String, u64, u8);

/// Requests that are under way.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    under_way: BTreeMap<Key, VecDeque<Issued>>,
    /// In the order of issue; what has come back since is still named.
    order: BTreeMap<u64, Key>,
    ordinal: u64,
}

impl Pairs {
    /// A request was issued.
    ///
    /// # Errors
    /// Those of [`Volumes::push`], of a request that is given up.
    pub fn issued(&mut self, access: &Access<'_>, volumes: &mut Volumes) -> Result<(), String> {
        let key = (access.volume.to_owned(), access.offset, access.opcode);
        let Access { begin_ns, length, flags, queue, cid, .. } = *access;
        self.ordinal += 1;
        let issued = Issued { begin_ns, length, flags, queue, cid, ordinal: self.ordinal };
        self.order.insert(self.ordinal, key.clone());
        self.under_way.entry(key).or_default().push_back(issued);
        if self.order.len() > UNDER_WAY_MAX { self.give_up_oldest(volumes) } else { Ok(()) }
    }

    /// A request came back; one that was issued before the trace began is left out. Of a request that came back in parts the first part
    /// ends it.
    ///
    /// # Errors
    /// Those of [`Volumes::push`].
    pub fn completed(&mut self, access: &Access<'_>, volumes: &mut Volumes) -> Result<(), String> {
        let key = (access.volume.to_owned(), access.offset, access.opcode);
        let Some(queue) = self.under_way.get_mut(&key) else { return Ok(()) };
        let issued = queue.pop_front().expect("no list is empty");
        if queue.is_empty() {
            self.under_way.remove(&key);
        }
        self.order.remove(&issued.ordinal);
        push(&key, &issued, access.end_ns, volumes)
    }

    /// Nothing comes any more: what is under way never came back.
    ///
    /// # Errors
    /// Those of [`Volumes::push`].
    pub fn end(&mut self, volumes: &mut Volumes) -> Result<(), String> {
        while !self.order.is_empty() {
            self.give_up_oldest(volumes)?;
        }
        Ok(())
    }

    fn give_up_oldest(&mut self, volumes: &mut Volumes) -> Result<(), String> {
        let Some((ordinal, key)) = self.order.pop_first() else { return Ok(()) };
        let queue = self.under_way.get_mut(&key).expect("what is in order is under way");
        let issued = queue.pop_front().expect("no list is empty");
        assert_eq!(issued.ordinal, ordinal, "the oldest of all is the oldest of its kind");
        if queue.is_empty() {
            self.under_way.remove(&key);
        }
        push(&key, &issued, None, volumes)
    }
}

fn push(key: &Key, issued: &Issued, end_ns: Option<u64>, volumes: &mut Volumes) -> Result<(), String> {
    let (volume, offset, opcode) = key;
    let Issued { begin_ns, length, flags, queue, cid, .. } = *issued;
    let end_ns = end_ns.map(|end| end.max(begin_ns));
    volumes.push(&Access { begin_ns, end_ns, volume, opcode: *opcode, offset: *offset, length, flags, queue, cid })
}
