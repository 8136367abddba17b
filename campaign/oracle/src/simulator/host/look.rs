//! What a host finds when it looks at the drive: which namespaces there are, what they are like, what each block holds.

use std::collections::{BTreeMap, BTreeSet};

use media::VolumeId;
use nvme_host::admin::IdentifyArguments;
use nvme_host::io::block_command;
use nvme_spec::identify::{self, Cns};
use nvme_spec::opcode::NvmOpcode;
use zerocopy::FromBytes;

use super::known::Known;
use super::{Session, Stop, index};
use crate::checker::Image;
use crate::history::{History, Namespace};
use crate::inventory::{Entry, Inventory};
use crate::parameters::Blocks;
use crate::stamp::Found;
use crate::verdict::{Rule, Violation};

/// Bytes of a read of everything.
const READ_BYTES: usize = 128 << 10;

/// What is wrong with the namespaces.
pub(super) fn inventory(found: String) -> Violation {
    Violation { rule: Rule::Inventory, commands: Vec::new(), nsid: 0, blocks: Vec::new(), found }
}

impl Session {
    /// Identify of an active namespace, or where namespaces come and go of any.
    pub(super) fn identify(&mut self, controller: u16, nsid: u32) -> Result<identify::Namespace, Stop> {
        let cns = if self.is_managed() { Cns::ALLOCATED_NAMESPACE } else { Cns::NAMESPACE };
        let arguments = IdentifyArguments { nsid, ..IdentifyArguments::default() };
        let page = self.hosts[usize::from(controller)].identify(cns, arguments);
        let page = self.admin(page)?;
        identify::Namespace::read_from_bytes(&page).map_err(|_| inventory("a short page".into()).into())
    }

    /// Whether namespaces come and go.
    pub(super) fn is_managed(&self) -> bool {
        self.knowledge.limits().units != 0
    }

    /// A namespace is used for the first time since it was made or formatted: what it is like.
    pub(super) fn learn(&mut self, history: &mut History, nsid: u32, name: u32) -> Result<(), Stop> {
        if !self.known.contains_key(&name) {
            let owner = self.knowledge.may_be(nsid).find_map(|entry| entry.attached.first().copied());
            let data = self.identify(owner.unwrap_or(0), nsid)?;
            self.known.insert(name, Known::of(&self.controller, &data));
        }
        if !history.namespaces.contains_key(&name) {
            let known = &self.known[&name];
            let initial = vec![Found::Zeroes; index(known.blocks)];
            history.add(name, Namespace { parameters: known.parameters, cached: known.cached, initial });
        }
        let born = self.knowledge.may_be(nsid).find(|entry| entry.name == name).map_or(name, |entry| entry.born);
        self.reserving.learn(name, born, self.known[&name].persistent);
        Ok(())
    }

    /// The namespaces as all hosts see them, without names.
    ///
    /// # Errors
    /// As [`Session::start`]; what does not fit together.
    pub fn look_at_inventory(&mut self) -> Result<Inventory, Stop> {
        let mut active = Vec::new();
        for host in 0..self.hosts.len() {
            let list = self.hosts[host].active_namespaces(0);
            active.push(self.admin(list)?);
        }
        let mut all: Vec<u32> = active.concat();
        if self.is_managed() {
            let list = self.hosts[0].identify(Cns::ALLOCATED_NAMESPACES, IdentifyArguments::default());
            let list = self.admin(list)?;
            let listed = list.as_chunks::<4>().0.iter().map(|nsid| u32::from_le_bytes(*nsid));
            let allocated: Vec<u32> = listed.take_while(|nsid| *nsid != 0).collect();
            if let Some(nsid) = all.iter().find(|nsid| !allocated.contains(nsid)) {
                return Err(inventory(format!("namespace {nsid} is active and not allocated")).into());
            }
            all = allocated;
        }
        let mut seen = Inventory::default();
        for nsid in all {
            let has = |(_, active): &(u16, &Vec<u32>)| active.contains(&nsid);
            let attached: BTreeSet<u16> = (0..).zip(&active).filter(has).map(|(id, _)| id).collect();
            let data = self.identify(attached.first().copied().unwrap_or(0), nsid)?;
            let known = Known::of(&self.controller, &data);
            let (blocks, format, shared) = (known.blocks, known.format(), data.nmic & 1 != 0);
            let units = self.units(data.nvmcap.get());
            seen.namespaces.insert(nsid, Entry { name: 0, born: 0, format, blocks, shared, attached, units });
            self.seen_as.insert(nsid, known);
        }
        if self.is_managed() {
            self.check_capacity(&seen)?;
        }
        Ok(seen)
    }

    /// NSM5: every byte belongs to a namespace or to none.
    fn check_capacity(&mut self, seen: &Inventory) -> Result<(), Stop> {
        let data = self.hosts[0].identify_controller();
        let data = self.admin(data)?;
        let (total, free) = (self.units(data.tnvmcap.get()), self.units(data.unvmcap.get()));
        let limits = *self.knowledge.limits();
        let taken: u64 = seen.namespaces.values().map(|entry| entry.units).sum();
        if total == limits.units && taken + free == total {
            return Ok(());
        }
        Err(inventory(format!("{taken} units are taken and {free} are free, of {total}")).into())
    }

    fn units(&self, bytes: u128) -> u64 {
        let limits = self.knowledge.limits();
        if limits.units == 0 { 0 } else { u64::try_from(bytes / u128::from(limits.unit_bytes)).unwrap_or(u64::MAX) }
    }

    /// After a power loss: the namespaces that are there are the old ones or the new ones. The history has each of them then.
    ///
    /// # Errors
    /// As [`Session::start`]; [`Rule::Inventory`].
    pub fn settle(&mut self, history: &mut History) -> Result<(), Stop> {
        let seen = self.look_at_inventory()?;
        let settled = self.knowledge.settle(&seen).cloned();
        let settled = settled.map_err(|possible| inventory(format!("{seen:?}, and possible are {possible:?}")))?;
        let mut known = std::mem::take(&mut self.seen_as);
        let names: Vec<u32> = settled.namespaces.values().map(|entry| entry.name).collect();
        self.known.retain(|name, _| names.contains(name));
        for (nsid, entry) in &settled.namespaces {
            let now = known.remove(nsid).expect("it was seen");
            if self.known.insert(entry.name, now).is_some_and(|before| before != now) {
                return Err(inventory(format!("namespace {nsid} is described in another way than before")).into());
            }
            self.learn(history, *nsid, entry.name)?;
        }
        let gone: Vec<u32> = history.namespaces.keys().filter(|name| !names.contains(name)).copied().collect();
        gone.into_iter().for_each(|name| history.forget(name));
        self.settle_reservations(&settled)
    }

    /// The volume behind each namespace, by name, once it is settled which there are.
    #[must_use]
    pub fn volumes(&self) -> BTreeMap<u32, VolumeId> {
        let settled = self.knowledge.settled().namespaces.iter();
        let of = |(nsid, entry): (&u32, &Entry)| {
            self.world(|world| world.subsystem.volume_of(*nsid)).map(|volume| (entry.name, volume))
        };
        settled.filter_map(of).collect()
    }

    /// A namespace that is certainly there, which of the blocks it has, and its volume.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn damageable(
        &mut self,
        history: &mut History,
        nsid: u32,
        blocks: Blocks,
    ) -> Result<Option<(u32, Blocks, VolumeId)>, Stop> {
        let Some(name) = self.knowledge.certain(nsid).map(|entry| entry.name) else { return Ok(None) };
        self.learn(history, nsid, name)?;
        let own = self.known[&name].blocks;
        let blocks = Blocks { start: blocks.start.min(own - 1), end: blocks.end.min(own) };
        let volume = self.world(|world| world.subsystem.volume_of(nsid));
        Ok(volume.filter(|_| blocks.start < blocks.end).map(|volume| (name, blocks, volume)))
    }

    /// Reads every block of every namespace, once it is settled which there are.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn read_everything(&mut self) -> Result<Image, Stop> {
        let mut image = Image::new();
        for (nsid, entry) in self.knowledge.settled().namespaces.clone() {
            let found = self.with(nsid, &entry, |session| {
                let reader = session.reader(nsid, &entry)?;
                session.read_namespace(reader, nsid, entry.name)
            })?;
            image.insert(entry.name, found);
        }
        Ok(image)
    }

    /// Does something with a namespace that some controller has, the first one if no other.
    pub(super) fn with<T>(
        &mut self,
        nsid: u32,
        entry: &Entry,
        work: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let is_lonely = entry.attached.is_empty();
        if is_lonely {
            self.attach_now(nsid, true)?;
        }
        let worked = work(self)?;
        if is_lonely {
            self.attach_now(nsid, false)?;
        }
        Ok(worked)
    }

    fn read_namespace(&mut self, controller: u16, nsid: u32, name: u32) -> Result<Vec<Found>, Stop> {
        let known = self.known[&name];
        let most = (READ_BYTES / known.strides().0) as u64;
        let mut found = Vec::new();
        while (found.len() as u64) < known.blocks {
            let start = found.len() as u64;
            let blocks = Blocks::new(start, most.min(known.blocks - start));
            match self.read(&known, (controller, nsid), blocks)? {
                Some(mut read) => found.append(&mut read),
                // Which of them cannot be read, one by one.
                None => {
                    for block in blocks.each() {
                        let read = self.read(&known, (controller, nsid), Blocks::new(block, 1))?;
                        found.push(read.map_or(Found::Unreadable, |read| read[0]));
                    }
                }
            }
        }
        Ok(found)
    }

    /// What the blocks hold; nothing if they cannot be read.
    fn read(
        &mut self,
        known: &Known,
        (controller, nsid): (u16, u32),
        blocks: Blocks,
    ) -> Result<Option<Vec<Found>>, Stop> {
        let (stride, apart) = known.strides();
        let count = index(blocks.count());
        let command = block_command(NvmOpcode::READ, nsid, blocks.start, u32::try_from(count).expect("few blocks"));
        let described = self.with_buffers(controller, command, 0, &vec![0; count * stride], &vec![0; count * apart]);
        let (command, sent) = self.admin(described)?;
        let host = &mut self.hosts[usize::from(controller)];
        let ended = host.execute(1, command);
        let read = ended.map(|completion| {
            let (data, metadata) = sent.take(host);
            completion.status().is_success().then(|| known.look(&data, &metadata))
        });
        self.admin(read)
    }
}
