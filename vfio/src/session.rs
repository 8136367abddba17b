//! What each command does: the device as a client sees it, without the socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use guest_memory::{Limit, Memory, PAGE_BYTES};
use serde_json::Value;
use tracing::debug;

use crate::config::{Doorbells, ServerConfig};
use crate::connection::Descriptors;
use crate::interrupt::{INDEX_MSIX, INDEX_PIN, Interrupts};
use crate::message::flags::{DeviceFlags, InterruptFlags, RegionFlags};
use crate::message::{
    Command, DmaMap, DmaUnmap, Errno, Header, RegionAccess, Reply, Request, SetInterrupts, TYPE_COMMAND,
    VERSION_REPLY_JSON, Version,
};
use crate::page::{PAGE_OFFSET, Page};
use crate::pci::{BAR0_BYTES, CONFIG_BYTES, ConfigSpace, Effects, MSIX_PENDING_OFFSET, MSIX_TABLE_OFFSET, VECTORS_MAX};
use crate::{Device, InterruptMode, dma};

/// Region index of BAR0.
const REGION_BAR0: u32 = 0;
/// Region index of configuration space.
const REGION_CONFIG: u32 = 7;
/// Regions that a PCI device has: six BARs, the ROM, configuration space, VGA.
const REGIONS: u32 = 9;
/// Kinds of interrupt that a PCI device has: pin, MSI, MSI-X, error, request.
const INTERRUPTS: u32 = 5;

/// Where BAR0's parts begin.
const TABLE_FROM: u64 = MSIX_TABLE_OFFSET as u64;
const PENDING_FROM: u64 = MSIX_PENDING_OFFSET as u64;
/// Bytes of an entry of the MSI-X table.
const VECTOR_BYTES: usize = 16;

/// Bytes of the region info, and of the capability behind it that names one mappable area.
const REGION_INFO_BYTES: u32 = 32;
const AREA_CAPABILITY_BYTES: u32 = 32;
const CAPABILITY_SPARSE_MMAP: u16 = 1;

/// What a message leads to.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptor: Option<OwnedFd>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { bytes: reply.finish(), descriptor: None }
    }
}

/// The device as clients see it, one at a time.
#[derive(Debug)]
pub(crate) struct Session {
    config: ServerConfig,
    pub(crate) memory: Memory,
    pub(crate) interrupts: Interrupts,
    pub(crate) page: Option<Page>,
    pci: ConfigSpace,
    /// MSI-X table as written. QEMU keeps its own and never writes it; what counts are the event descriptors.
    table: Box<[u8]>,
    negotiated: bool,
    /// Whether the client takes descriptors with replies.
    takes_descriptors: bool,
    refused: Limit,
}

impl Session {
    pub(crate) fn new(config: &ServerConfig, epoll: Arc<OwnedFd>) -> io::Result<Self> {
        let page = match config.doorbells {
            Doorbells::Mapped => Some(Page::new()?),
            Doorbells::Trapped => None,
        };
        Ok(Self {
            memory: Memory::default(),
            interrupts: Interrupts::new(epoll, config.vectors),
            page,
            pci: ConfigSpace::new(config),
            table: vec![0; usize::from(VECTORS_MAX) * VECTOR_BYTES].into(),
            negotiated: false,
            takes_descriptors: true,
            refused: Limit::default(),
            config: config.clone(),
        })
    }

    /// The client is gone: nothing of it stays. A client may keep its mapping of the doorbell page, so the next one gets another.
    pub(crate) fn forget_client(&mut self, device: &mut dyn Device) {
        self.memory.clear();
        self.interrupts.clear();
        self.negotiated = false;
        self.takes_descriptors = true;
        if let Some(page) = &mut self.page {
            match Page::new() {
                Ok(fresh) => *page = fresh,
                Err(_) => page.clear(),
            }
        }
        self.reset(device, false);
    }

    /// Back to power-on, apart from what the client has attached.
    fn reset(&mut self, device: &mut dyn Device, by_host: bool) {
        self.pci.reset();
        self.table.fill(0);
        if by_host {
            device.reset_by_host();
        } else {
            device.reset();
        }
        device.set_bus_master(false);
        device.set_interrupt_mode(InterruptMode::Pin);
        self.set_pin(false);
    }

    /// Sets the pin as the device has it and the host allows it.
    pub(crate) fn set_pin(&mut self, asserted: bool) {
        self.pci.show_pin(asserted);
        self.interrupts.set_pin(asserted && self.pci.pin_enabled());
    }

    /// Does what one message says.
    pub(crate) fn handle(
        &mut self,
        device: &mut dyn Device,
        header: &Header,
        payload: &[u8],
        descriptors: Descriptors,
    ) -> Option<Answer> {
        if header.kind() != TYPE_COMMAND {
            // We ask nothing of a client, so there is nothing it could reply to.
            self.note_refusal(header, Errno::INVAL);
            return None;
        }
        let answer = self.obey(device, header, payload, descriptors).unwrap_or_else(|errno| {
            self.note_refusal(header, errno);
            Reply::refuse(header, errno).into()
        });
        header.wants_reply().then_some(answer)
    }

    /// The answer to a message that is too long to be looked at.
    pub(crate) fn refuse_oversize(&self, header: &Header) -> Option<Answer> {
        self.note_refusal(header, Errno::INVAL);
        let expected = header.kind() == TYPE_COMMAND && header.wants_reply();
        expected.then(|| Reply::refuse(header, Errno::INVAL).into())
    }

    fn note_refusal(&self, header: &Header, errno: Errno) {
        if let Some(times) = self.refused.admit() {
            debug!(
                command = header.command.0,
                size = header.size,
                flags = header.flags,
                errno = errno.0,
                times,
                "refused"
            );
        }
    }

    fn obey(
        &mut self,
        device: &mut dyn Device,
        header: &Header,
        payload: &[u8],
        descriptors: Descriptors,
    ) -> Result<Answer, Errno> {
        if descriptors.incomplete {
            return Err(Errno::INVAL);
        }
        let request = Request::parse(header, payload)?;
        if !self.negotiated && header.command != Command::VERSION {
            return Err(Errno::INVAL);
        }
        let reply = Reply::to(header);
        match request {
            Request::Version(version) => self.version(&version, reply),
            Request::DmaMap(map) => self.dma_map(&map, descriptors, reply),
            Request::DmaUnmap(unmap) => self.dma_unmap(&unmap, reply),
            Request::DeviceInfo => Ok(device_info(reply)),
            Request::RegionInfo { argument_bytes, index } => self.region_info(argument_bytes, index, reply),
            Request::InterruptInfo { index } => self.interrupt_info(index, reply),
            Request::SetInterrupts(set) => self.set_interrupts(&set, descriptors, reply),
            Request::RegionRead(access) => self.region_read(device, &access, reply),
            Request::RegionWrite(access, data) => self.region_write(device, &access, data, reply),
            Request::Reset => {
                self.reset(device, true);
                Ok(reply.into())
            }
        }
    }

    /// Version 0.0 is spoken whatever minor number the client names: a minor version only adds, and what is added is announced by
    /// capabilities. QEMU refuses a minor number above its own 0.
    fn version(&mut self, version: &Version<'_>, reply: Reply) -> Result<Answer, Errno> {
        if self.negotiated || version.major != 0 {
            return Err(Errno::INVAL);
        }
        let taken = match version.capabilities {
            [] => None,
            json => descriptors_taken(json)?,
        };
        self.takes_descriptors = taken.is_none_or(|count| count > 0);
        self.negotiated = true;
        debug!(minor = version.minor, ?taken, "client agreed on version 0.0");
        Ok(reply.u16(0).u16(0).bytes(VERSION_REPLY_JSON).into())
    }

    fn dma_map(&mut self, map: &DmaMap, descriptors: Descriptors, reply: Reply) -> Result<Answer, Errno> {
        let mut all = descriptors.all;
        if all.len() > 1 {
            return Err(Errno::INVAL);
        }
        dma::map(&mut self.memory, map, all.pop())?;
        Ok(reply.into())
    }

    /// The reply echoes the request: rust-vmm's client waits for these bytes.
    fn dma_unmap(&mut self, unmap: &DmaUnmap, reply: Reply) -> Result<Answer, Errno> {
        dma::unmap(&mut self.memory, unmap)?;
        Ok(reply.u32(unmap.argument_bytes).u32(unmap.flags.bits()).u64(unmap.address).u64(unmap.length).into())
    }

    fn region_info(&self, room: u32, index: u32, reply: Reply) -> Result<Answer, Errno> {
        let size = region_bytes(index)?;
        let page = self.page.as_ref().filter(|_| index == REGION_BAR0 && self.takes_descriptors);
        let accessible = if size > 0 { RegionFlags::READABLE | RegionFlags::WRITABLE } else { RegionFlags::empty() };
        let Some(page) = page else {
            return Ok(reply.u32(REGION_INFO_BYTES).u32(accessible.bits()).u32(index).u32(0).u64(size).u64(0).into());
        };
        let full = REGION_INFO_BYTES + AREA_CAPABILITY_BYTES;
        if room < full {
            // The client learns how much room it needs and asks again. Until then nothing is mappable: QEMU refuses a reply that
            // announces a capability and does not hold it.
            return Ok(reply.u32(full).u32(accessible.bits()).u32(index).u32(0).u64(size).u64(0).into());
        }
        let flags = accessible | RegionFlags::MAPPABLE | RegionFlags::CAPABILITIES;
        let info = reply.u32(full).u32(flags.bits()).u32(index).u32(REGION_INFO_BYTES).u64(size).u64(0);
        let area = info.u16(CAPABILITY_SPARSE_MMAP).u16(1).u32(0).u32(1).u32(0).u64(PAGE_OFFSET).u64(PAGE_BYTES);
        // Descriptors may run out; the client asks once, so it is better told than left without doorbells.
        let descriptor = page.as_fd().try_clone_to_owned().map_err(|_| Errno::NOMEM)?;
        Ok(Answer { bytes: area.finish(), descriptor: Some(descriptor) })
    }

    /// MSI-X vectors are not marked as fixed in number: QEMU would tear all down for each new one.
    fn interrupt_info(&self, index: u32, reply: Reply) -> Result<Answer, Errno> {
        let count = self.interrupts.count(index).ok_or(Errno::INVAL)?;
        let flags = match index {
            INDEX_PIN => InterruptFlags::all(),
            INDEX_MSIX if count > 0 => InterruptFlags::EVENTFD,
            _ => InterruptFlags::empty(),
        };
        Ok(reply.u32(16).u32(flags.bits()).u32(index).u32(count).into())
    }

    fn set_interrupts(
        &mut self,
        set: &SetInterrupts<'_>,
        descriptors: Descriptors,
        reply: Reply,
    ) -> Result<Answer, Errno> {
        self.interrupts.set(set, descriptors.all)?;
        Ok(reply.into())
    }

    fn region_read(&mut self, device: &mut dyn Device, access: &RegionAccess, reply: Reply) -> Result<Answer, Errno> {
        let count = check_access(access)?;
        let mut reply = reply.u64(access.offset).u32(access.region).u32(access.count);
        let into = reply.room(count);
        if access.region == REGION_CONFIG {
            self.pci.read(usize::try_from(access.offset).map_err(|_| Errno::INVAL)?, into);
        } else {
            for (offset, part) in bar_parts(access.offset, count) {
                self.bar_read(device, offset, into.get_mut(part).unwrap_or_default());
            }
        }
        Ok(reply.into())
    }

    fn region_write(
        &mut self,
        device: &mut dyn Device,
        access: &RegionAccess,
        data: &[u8],
        reply: Reply,
    ) -> Result<Answer, Errno> {
        let count = check_access(access)?;
        if access.region == REGION_CONFIG {
            let effects = self.pci.write(usize::try_from(access.offset).map_err(|_| Errno::INVAL)?, data);
            self.apply(device, effects);
        } else {
            for (offset, part) in bar_parts(access.offset, count) {
                self.bar_write(device, offset, data.get(part).unwrap_or_default());
            }
        }
        Ok(reply.u64(access.offset).u32(access.region).u32(access.count).into())
    }

    fn apply(&mut self, device: &mut dyn Device, effects: Effects) {
        if effects.function_reset {
            return self.reset(device, true);
        }
        if let Some(enabled) = effects.bus_master {
            device.set_bus_master(enabled);
        }
        if let Some(mode) = effects.interrupt_mode {
            device.set_interrupt_mode(mode);
        }
        if effects.messages_unmasked {
            device.send_messages_again();
        }
    }

    /// A read that lies in one of BAR0's parts.
    fn bar_read(&self, device: &mut dyn Device, offset: u64, into: &mut [u8]) {
        if offset < TABLE_FROM {
            device.bar_read(offset, into);
        } else if offset < PENDING_FROM {
            let from = usize::try_from(offset - TABLE_FROM).unwrap_or(usize::MAX);
            let stored = self.table.get(from..).unwrap_or_default();
            into.iter_mut().zip(stored).for_each(|(to, byte)| *to = *byte);
        }
        // The pending bits read as zero: whoever masks by DEVICE_SET_IRQS gets the event when unmasking.
    }

    /// A write that lies in one of BAR0's parts.
    fn bar_write(&mut self, device: &mut dyn Device, offset: u64, data: &[u8]) {
        if offset < TABLE_FROM {
            device.bar_write(offset, data);
        } else if offset < PENDING_FROM {
            let from = usize::try_from(offset - TABLE_FROM).unwrap_or(usize::MAX);
            let table_bytes = usize::from(self.config.vectors) * VECTOR_BYTES;
            let stored = self.table.get_mut(from..table_bytes).unwrap_or_default();
            stored.iter_mut().zip(data).for_each(|(to, byte)| *to = *byte);
        }
    }
}

fn device_info(reply: Reply) -> Answer {
    reply.u32(16).u32((DeviceFlags::RESET | DeviceFlags::PCI).bits()).u32(REGIONS).u32(INTERRUPTS).into()
}

/// Bytes of a region; 0 if it exists in name only.
fn region_bytes(index: u32) -> Result<u64, Errno> {
    match index {
        REGION_BAR0 => Ok(BAR0_BYTES),
        REGION_CONFIG => Ok(CONFIG_BYTES as u64),
        REGIONS.. => Err(Errno::INVAL),
        _ => Ok(0),
    }
}

/// How many bytes to move, which is none only by mistake, and all of them inside of the region.
fn check_access(access: &RegionAccess) -> Result<usize, Errno> {
    let size = region_bytes(access.region)?;
    let inside = access.offset.checked_add(u64::from(access.count)).is_some_and(|end| end <= size);
    if access.count == 0 || !inside {
        return Err(Errno::INVAL);
    }
    usize::try_from(access.count).map_err(|_| Errno::INVAL)
}

/// Cuts an access where BAR0's parts meet: device, MSI-X table, pending bits.
fn bar_parts(offset: u64, count: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let end = offset + count as u64;
    let bounds = [0, TABLE_FROM, PENDING_FROM, BAR0_BYTES];
    let parts = [(bounds[0], bounds[1]), (bounds[1], bounds[2]), (bounds[2], bounds[3])];
    parts.into_iter().filter_map(move |(first, after)| {
        let (from, to) = (offset.max(first), end.min(after));
        let index = |at: u64| usize::try_from(at - offset).ok();
        (from < to).then_some(()).and_then(|()| Some((from, index(from)?..index(to)?)))
    })
}

/// How many descriptors a client takes with a message, by its capabilities: `None` if it does not say. Names that we do not know
/// are fine. An error if this is no JSON object, or what we look at has the wrong type.
fn descriptors_taken(json: &[u8]) -> Result<Option<u64>, Errno> {
    let value: Value = serde_json::from_slice(json).map_err(|_| Errno::INVAL)?;
    let hello = value.as_object().ok_or(Errno::INVAL)?;
    let Some(capabilities) = hello.get("capabilities") else { return Ok(None) };
    let capabilities = capabilities.as_object().ok_or(Errno::INVAL)?;
    capabilities.get("max_msg_fds").map(|count| count.as_u64().ok_or(Errno::INVAL)).transpose()
}
