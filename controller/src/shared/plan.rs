//! What a change of the namespaces comes to: which volume it is about, what the media is asked for, what is recorded, and who is told
//! (NVMe Base 2.1 sections 5.1.10, 5.1.20, 5.1.21 and 8.1.15). Asks the media for nothing.

use media::{Lba, LbaRange, Space, VolumeChange, VolumeId, VolumeShape};

use super::Shared;
use super::changes::{Change, ChangeError, Effect, NewNamespace, Plan, Stage, UnderWay};
use super::formats::Format;
use super::mail::{Notice, Size};
use super::namespace::Namespace;
use super::record::Record;
use crate::ana::{ANA_GROUP_FIRST, AnaState};
use crate::atomic::Slices;
use crate::config::{AtomicWishes, NamespaceConfig, derived_uuid};
use crate::controllers::{CONTROLLERS_MAX, ControllerId, ControllerSet};
use crate::scheduling::FORGOTTEN_UNITS;

impl Shared {
    /// What a change comes to, of whose namespaces so many are done; nothing where none is left.
    ///
    /// # Errors
    /// It is not possible.
    pub(crate) fn plan(&self, change: &Change, done: usize) -> Result<Option<Plan>, ChangeError> {
        match change {
            Change::Resize { nsid, blocks } => self.plan_resize(*nsid, *blocks).map(Some),
            Change::Create(new) => self.plan_create(new).map(Some),
            Change::Delete { nsid: Some(nsid) } => self.plan_delete(*nsid).map(Some),
            Change::Delete { nsid: None } => {
                self.managed()?;
                let first = self.namespaces.iter().next().map(|namespace| namespace.identity.nsid);
                first.map(|nsid| self.plan_delete(nsid)).transpose()
            }
            Change::Format { nsids, format, extended, erase: _ } => {
                let there = |nsid: &&u32| self.namespaces.get(**nsid).is_some();
                // Either all can be formatted, or none is.
                for nsid in nsids.iter().skip(done).filter(there) {
                    self.plan_format(*nsid, *format, *extended)?;
                }
                let next = nsids.iter().filter(there).nth(done);
                next.map(|nsid| self.plan_format(*nsid, *format, *extended)).transpose()
            }
            Change::Attachment { nsid, controllers, attach } => {
                self.plan_attachment(*nsid, controllers, *attach).map(Some)
            }
            Change::Registrations { nsid } => {
                let plan = self.plan_of(self.existing(*nsid)?);
                Ok(Some(Plan { record: Some(self.record()), ..plan }))
            }
        }
    }

    /// What there is for namespaces, where they come and go.
    fn managed(&self) -> Result<Space, ChangeError> {
        self.media.space().filter(|space| space.volumes_max != 0).ok_or(ChangeError::Fixed)
    }

    /// The inventory as the media is to keep it.
    fn record(&self) -> Record {
        let mut record = self.namespaces.record();
        let kept = record.namespaces.iter().filter_map(|(own, _)| Some((own.nsid, self.reservations.kept(own.nsid)?)));
        record.registrations = kept.collect();
        record
    }

    /// The same with something else of one namespace.
    fn record_with(&self, nsid: u32, change: impl FnOnce(&mut NamespaceConfig)) -> Record {
        let mut record = self.record();
        if let Some((identity, _)) = record.namespaces.iter_mut().find(|(identity, _)| identity.nsid == nsid) {
            change(identity);
        }
        record
    }

    /// Registrations that persist through a power loss are as the media has kept them (RES15).
    pub(crate) fn recall_registrations(&mut self) {
        if !self.namespaces.is_kept() {
            return;
        }
        self.reservations.offer_persistence();
        let record = Record::decode(&self.media.note()).unwrap_or_default();
        for (nsid, kept) in &record.registrations {
            // What cannot be read was written by another version: the namespace has none then.
            if self.namespaces.get(*nsid).is_some() && self.reservations.restore(*nsid, kept).is_ok() {
                self.namespaces.set_reserved(*nsid, self.reservations.is_held(*nsid));
            }
        }
    }

    fn existing(&self, nsid: u32) -> Result<&Namespace, ChangeError> {
        self.namespaces.get(nsid).ok_or(ChangeError::NoSuchNamespace(nsid))
    }

    /// One of a namespace that stays as it is.
    fn plan_of(&self, namespace: &Namespace) -> Plan {
        Plan {
            nsid: namespace.identity.nsid,
            volume: namespace.volume,
            effect: Effect::Volume(VolumeChange::Keep),
            record: None,
            attached: namespace.attached,
            extended: namespace.identity.extended_metadata,
            result: 0,
            failed: None,
        }
    }

    fn plan_resize(&self, nsid: u32, blocks: u64) -> Result<Plan, ChangeError> {
        let namespace = self.existing(nsid)?;
        let most = self.media.shape(namespace.volume).map_or(0, |shape| shape.capacity_blocks_max);
        if !(1..=most).contains(&blocks) {
            return Err(ChangeError::Size { blocks, most });
        }
        Ok(Plan { effect: Effect::Resize { blocks }, ..self.plan_of(namespace) })
    }

    fn plan_create(&self, new: &NewNamespace) -> Result<Plan, ChangeError> {
        let space = self.managed()?;
        let format = self.formats.number(new.format).map(|_| new.format);
        let Format { block_bytes, metadata_bytes } = format.ok_or(ChangeError::NoSuchFormat(new.format))?;
        let most = space.bytes / u64::from(block_bytes);
        if new.blocks == 0 {
            return Err(ChangeError::Size { blocks: 0, most });
        }
        let unit = u128::from(space.unit_bytes);
        let needed = (u128::from(new.blocks) * u128::from(block_bytes)).next_multiple_of(unit);
        if needed > u128::from(space.free_bytes) {
            let needed = u64::try_from(needed).unwrap_or(u64::MAX);
            return Err(ChangeError::Capacity { needed, free: space.free_bytes });
        }
        let attached = new.attached.and(self.mail.controllers());
        if let Some(other) = attached.iter().next().filter(|_| !new.shared && attached.count() > 1) {
            return Err(ChangeError::Private(other.0));
        }
        let mut record = self.record();
        let free =
            |taken: &dyn Fn(u32) -> bool, first| (first..first + space.volumes_max).find(|number| !taken(*number));
        let nsid = free(&|nsid| record.namespaces.iter().any(|(other, _)| other.nsid == nsid), 1);
        let volume = free(&|volume| record.namespaces.iter().any(|(_, other)| *other == volume), 0);
        let (nsid, volume) = nsid.zip(volume).ok_or(ChangeError::NoIdentifier(space.volumes_max))?;
        record.born += 1;
        let identity = NamespaceConfig {
            nsid,
            uuid: derived_uuid(&self.config.serial, nsid, record.born),
            nguid: [0; 16],
            eui64: 0,
            extended_metadata: new.extended,
            atomics: AtomicWishes::default(),
            shared: new.shared,
            attached: new.attached,
            anagrpid: new.anagrpid,
        };
        record.namespaces.push((identity, volume));
        record.namespaces.sort_by_key(|(identity, _)| identity.nsid);
        Ok(Plan {
            nsid,
            volume: VolumeId(volume),
            effect: Effect::Volume(VolumeChange::Create { block_bytes, metadata_bytes, blocks: new.blocks }),
            record: Some(record),
            attached: new.attached,
            extended: new.extended,
            result: nsid,
            failed: None,
        })
    }

    fn plan_delete(&self, nsid: u32) -> Result<Plan, ChangeError> {
        self.managed()?;
        let namespace = self.existing(nsid)?;
        let mut record = self.record();
        record.namespaces.retain(|(identity, _)| identity.nsid != nsid);
        record.registrations.retain(|(other, _)| *other != nsid);
        Ok(Plan {
            effect: Effect::Volume(VolumeChange::Delete),
            record: Some(record),
            attached: ControllerSet::NONE,
            ..self.plan_of(namespace)
        })
    }

    fn plan_format(&self, nsid: u32, format: Format, extended: bool) -> Result<Plan, ChangeError> {
        let namespace = self.existing(nsid)?;
        let space = self.media.space().ok_or(ChangeError::NoSuchFormat(format))?;
        let unavailable = ChangeError::NoSuchFormat(format);
        self.formats.number(format).ok_or(unavailable)?;
        let extended = extended && format.metadata_bytes != 0;
        // Where the media does not keep it, the configuration says where metadata is.
        let placed =
            self.managed().is_ok() || format.metadata_bytes == 0 || extended == namespace.identity.extended_metadata;
        let bytes = namespace.capacity_bytes();
        let atomics = namespace.identity.atomics.resolve(self.config.atomics, format.power_atomic_blocks(&space));
        if !placed || bytes < u128::from(format.block_bytes) || atomics.is_err() {
            return Err(unavailable);
        }
        let Format { block_bytes, metadata_bytes } = format;
        let shape = namespace.shape;
        let same = (block_bytes, metadata_bytes) == (shape.block_bytes, shape.metadata_bytes);
        if self.blocks_stay == Some(nsid) && !same {
            return Err(ChangeError::BlocksStay(nsid));
        }
        let extended = if self.managed().is_ok() { extended } else { namespace.identity.extended_metadata };
        let record =
            self.managed().is_ok().then(|| self.record_with(nsid, |identity| identity.extended_metadata = extended));
        let effect = Effect::Volume(VolumeChange::Format { block_bytes, metadata_bytes });
        Ok(Plan { effect, record, extended, ..self.plan_of(namespace) })
    }

    fn plan_attachment(&self, nsid: u32, controllers: &[u16], attach: bool) -> Result<Plan, ChangeError> {
        let namespace = self.existing(nsid)?;
        let group = namespace.identity.anagrpid;
        let mut attached = namespace.attached;
        let mut failed = None;
        let controllers_there = self.mail.controllers();
        for (place, &id) in (0_u64..).zip(controllers) {
            let there = attached.and(controllers_there);
            let error = if id >= CONTROLLERS_MAX || !controllers_there.has(ControllerId(id)) {
                Some(ChangeError::NoSuchController(id))
            } else if there.has(ControllerId(id)) == attach {
                Some(if attach { ChangeError::Attached(id) } else { ChangeError::NotAttached(id) })
            } else if attach && !namespace.identity.shared && there != ControllerSet::NONE {
                there.iter().next().map(|other| ChangeError::Private(other.0))
            } else if attach && self.ana.state(ControllerId(id), group) == AnaState::PersistentLoss {
                Some(ChangeError::AccessLost(id, group))
            } else {
                None
            };
            if let Some(error) = error {
                // A controller list has its count first, then two bytes for each (NVMe Base 2.1 figure 138).
                failed = Some((error, 2 + 2 * place));
                break;
            }
            attached.set(ControllerId(id), attach);
        }
        let record = self.managed().is_ok().then(|| self.record_with(nsid, |identity| identity.attached = attached));
        Ok(Plan { record, attached, failed, ..self.plan_of(namespace) })
    }

    /// The blocks that there will be no more, where they are so many that the media should not drop them at once.
    pub(crate) fn dropped(&self, plan: &Plan) -> Slices {
        let Some(shape) = self.media.shape(plan.volume) else { return Slices::default() };
        let kept = match plan.effect {
            Effect::Resize { blocks } => blocks,
            Effect::Volume(VolumeChange::Delete | VolumeChange::Format { .. }) => 0,
            Effect::Volume(VolumeChange::Keep | VolumeChange::Create { .. }) => return Slices::default(),
        };
        let range = LbaRange::new(Lba(kept), shape.capacity_blocks.saturating_sub(kept));
        let step = u64::from(shape.preferred_blocks);
        let at_once = u64::from(FORGOTTEN_UNITS) * step;
        if range.blocks <= at_once { Slices::default() } else { Slices::new(vec![range], at_once, step) }
    }

    /// The namespaces are as planned from now on, and those whom it concerns are told; `by` has asked for it, and is told only where it got
    /// a namespace or lost one by an attachment.
    pub(crate) fn apply(&mut self, plan: Plan, by: Option<ControllerId>) {
        let Plan { nsid, effect, record, attached, extended, .. } = plan;
        let before = self.namespaces.get(nsid).map_or(ControllerSet::NONE, |namespace| namespace.attached);
        let size_before = self.size_of(nsid);
        let group_before = self.namespaces.get(nsid).map(|namespace| namespace.identity.anagrpid);
        if effect == Effect::Volume(VolumeChange::Delete) {
            self.reservations.forget_namespace(nsid);
        }
        match record {
            Some(record) => self.renew_namespaces(record),
            None => {
                let mut record = self.record_with(nsid, |identity| identity.extended_metadata = extended);
                record
                    .namespaces
                    .iter_mut()
                    .filter(|(own, _)| own.nsid == nsid)
                    .for_each(|(own, _)| own.attached = attached);
                self.renew_namespaces(record);
            }
        }
        let group_now = self.namespaces.get(nsid).map(|namespace| namespace.identity.anagrpid);
        let group = group_now.or(group_before).unwrap_or(ANA_GROUP_FIRST);
        let size = self.size_of(nsid);
        let same = matches!(effect, Effect::Resize { .. }) && size == size_before;
        let attachment = effect == Effect::Volume(VolumeChange::Keep);
        for id in self.mail.controllers().iter() {
            let announced = attachment || by != Some(id);
            if before.has(id) != attached.has(id) {
                let attached = attached.has(id);
                self.ana.changed(id, group);
                self.mail.tell(id, Notice::Attachment { nsid, attached, announced, size });
            } else if !attachment && !same {
                self.mail.tell(id, Notice::Reshaped { nsid, announced, size });
            }
        }
    }

    fn size_of(&self, nsid: u32) -> Size {
        let size = |namespace: &Namespace| Size {
            blocks: namespace.shape.capacity_blocks,
            block_bytes: namespace.shape.block_bytes,
            transfer_bytes: namespace.buffer_block_bytes,
        };
        self.namespaces.get(nsid).map(size).unwrap_or_default()
    }

    /// The media says how large the namespaces are now; what is different is told.
    pub(crate) fn renew_shapes(&mut self) {
        let record = self.namespaces.record();
        let before: Vec<_> = record.namespaces.iter().map(|(own, _)| (own.nsid, self.size_of(own.nsid))).collect();
        self.renew_namespaces(record);
        for (nsid, before) in before {
            let size = self.size_of(nsid);
            if size != before {
                self.mail.tell_others(None, Notice::Reshaped { nsid, announced: true, size });
            }
        }
    }

    /// What is left of the Format of a namespace, in percent; 0 where it is under no Format.
    pub(crate) fn format_left(&self, nsid: u32) -> u8 {
        let Some(UnderWay { change: Change::Format { nsids, .. }, stage, done, .. }) = self.changes.queue.front()
        else {
            return 0;
        };
        let formatted = |nsid: u32| nsids.iter().position(|other| *other == nsid).is_some_and(|place| place < *done);
        match stage {
            _ if !nsids.contains(&nsid) => 0,
            // Blocks are dropped at once in comparison.
            Stage::Purging => u8::try_from(self.media.stale().clamp(1, 99)).unwrap_or(99),
            _ if formatted(nsid) => 1,
            _ => 100,
        }
    }

    /// What all namespaces may hold together, in bytes: TNVMCAP.
    pub(crate) fn total_bytes(&self) -> u128 {
        self.managed().map_or_else(|_| self.namespaces.capacity_bytes_max(), |space| space.bytes.into())
    }

    /// What of that no namespace has: UNVMCAP.
    pub(crate) fn unallocated_bytes(&self) -> u128 {
        let fixed = |_| self.namespaces.capacity_bytes_max() - self.namespaces.capacity_bytes();
        self.managed().map_or_else(fixed, |space| space.free_bytes.into())
    }

    /// What a namespace takes of it: NVMCAP. Where namespaces come and go that is in whole units.
    pub(crate) fn taken_bytes(&self, namespace: &Namespace) -> u128 {
        let Ok(space) = self.managed() else { return namespace.capacity_bytes() };
        // While a Format is being made durable, the media has the new blocks and the namespace still the old ones.
        let most = |shape: VolumeShape| {
            u128::from(shape.capacity_blocks_max) * u128::from(shape.block_bytes) - u128::from(space.free_bytes)
        };
        self.media.shape(namespace.volume).map_or(0, most)
    }
}
