//! Identify (NVMe Base 2.1 section 5.1.13; NVM Command Set 1.1 section 4.1.5): what the controller reports about itself. Every field
//! describes something that exists; what is not offered is zero.

use nvme_spec::command::{CopyFormat, high16, low16};
use nvme_spec::identify::{
    self, Cns, FormattedSize, LbaFormat, LogPages, MetadataCapabilities, NamespaceFeatures, OptionalCommands,
    ReservationCapabilities, SglSupport, WriteCache, descriptor,
};
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::register::VERSION_2_1;
use nvme_spec::{Command, IDENTIFY_BYTES, NSID_ALL};
use zerocopy::IntoBytes;

use super::logs::ENDURANCE_GROUP;
use super::{Done, keep_alive};
use crate::Controller;
use crate::ana::{ANA_GROUPS_MAX, ANA_TRANSITION_SECONDS};
use crate::config::Atomics;
use crate::controllers::ControllerSet;
use crate::dma::GuestMemory;
use crate::health::{CRITICAL_KELVINS, ERROR_ENTRIES, WARNING_KELVINS};
use crate::reason::Reason;
use crate::shared::Shared;
use crate::shared::formats::Format;
use crate::shared::namespace::{Namespace, Namespaces};

pub(crate) type Page = [u8; IDENTIFY_BYTES];

/// Abort Command Limit, zero-based.
const ACL_Z: u8 = 3;
/// The organizationally unique identifier that we use: a locally administered one, since nobody assigned us any.
const IEEE_LOCAL: [u8; 3] = [0x00, 0xb0, 0x02];
/// The longest write that we recommend: many hosts send no longer one, whatever MDTS says.
const OPTIMAL_BYTES_MAX: usize = 128 << 10;
/// FPI: how much of a Format is left is reported.
const FORMAT_PROGRESS: u8 = 1 << 7;
/// The NVM command set among the command sets.
const CSI_NVM: u8 = 0;

/// Answers with the 4096 bytes that dword 10 asks for.
pub(super) fn get<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
) -> Result<Done, Reason> {
    let page = page(controller, shared, command)?;
    controller.send(memory, command, &page)?;
    Ok(Done::Now(0))
}

fn page(controller: &Controller, shared: &Shared, command: &Command) -> Result<Page, Reason> {
    let [cns, ..] = command.cdw10.get().to_le_bytes();
    let [.., command_set] = command.cdw11.get().to_le_bytes();
    let nsid = command.nsid.get();
    match Cns(cns) {
        Cns::NAMESPACE => namespace_of(controller, &controller.namespaces, shared, nsid),
        Cns::CONTROLLER => Ok(this_controller(controller, shared)),
        Cns::ACTIVE_NAMESPACES => active(&controller.namespaces, nsid),
        Cns::NAMESPACE_DESCRIPTORS => descriptors(&controller.namespaces, nsid),
        Cns::INDEPENDENT_NAMESPACE => independent(&controller.namespaces, shared, nsid),
        Cns::ALLOCATED_NAMESPACES => active(&shared.namespaces, nsid),
        Cns::ALLOCATED_NAMESPACE => namespace_of(controller, &shared.namespaces, shared, nsid),
        Cns::ATTACHED_CONTROLLERS => controllers_of(shared, nsid, high16(command.cdw10.get())),
        Cns::CONTROLLERS => Ok(controllers(ControllerSet::ALL, shared, high16(command.cdw10.get()))),
        Cns::GRANULARITIES if shared.namespaces.is_kept() => Ok(granularities(shared)),
        Cns::COMMAND_SET_ALLOCATED_NAMESPACES => nvm_only(command_set).and_then(|()| active(&shared.namespaces, nsid)),
        Cns::COMMAND_SET_ALLOCATED_NAMESPACE => {
            nvm_only(command_set).and_then(|()| command_set_namespace(&shared.namespaces, shared, nsid))
        }
        Cns::INDEPENDENT_ALLOCATED_NAMESPACE => independent(&shared.namespaces, shared, nsid),
        Cns::ENDURANCE_GROUPS => Ok(endurance_groups(low16(command.cdw11.get()))),
        Cns::COMMAND_SETS => Ok(command_sets()),
        Cns::COMMAND_SET_NAMESPACE => {
            nvm_only(command_set).and_then(|()| command_set_namespace(&controller.namespaces, shared, nsid))
        }
        Cns::COMMAND_SET_CONTROLLER => nvm_only(command_set).map(|()| command_set_controller(shared.config.mdts)),
        Cns::COMMAND_SET_ACTIVE_NAMESPACES => nvm_only(command_set).and_then(|()| active(&controller.namespaces, nsid)),
        _ => Err(Reason::IdentifyStructure),
    }
}

/// Whether there is such a structure here, whatever else the command says.
pub(super) fn is_offered(shared: &Shared, command: &Command) -> bool {
    let [cns, ..] = command.cdw10.get().to_le_bytes();
    let [.., command_set] = command.cdw11.get().to_le_bytes();
    match Cns(cns) {
        Cns::COMMAND_SET_NAMESPACE
        | Cns::COMMAND_SET_CONTROLLER
        | Cns::COMMAND_SET_ACTIVE_NAMESPACES
        | Cns::COMMAND_SET_ALLOCATED_NAMESPACES
        | Cns::COMMAND_SET_ALLOCATED_NAMESPACE => nvm_only(command_set).is_ok(),
        Cns::NAMESPACE
        | Cns::CONTROLLER
        | Cns::ACTIVE_NAMESPACES
        | Cns::NAMESPACE_DESCRIPTORS
        | Cns::INDEPENDENT_NAMESPACE
        | Cns::ALLOCATED_NAMESPACES
        | Cns::ALLOCATED_NAMESPACE
        | Cns::ATTACHED_CONTROLLERS
        | Cns::CONTROLLERS
        | Cns::INDEPENDENT_ALLOCATED_NAMESPACE
        | Cns::ENDURANCE_GROUPS
        | Cns::COMMAND_SETS => true,
        Cns::GRANULARITIES => shared.namespaces.is_kept(),
        _ => false,
    }
}

fn nvm_only(command_set: u8) -> Result<(), Reason> {
    if command_set == CSI_NVM { Ok(()) } else { Err(Reason::IdentifyCommandSet) }
}

/// CNS 01h.
pub(crate) fn this_controller(controller: &Controller, shared: &Shared) -> Page {
    let config = &shared.config;
    let mut data = identify::Controller::zeroed();
    data.vid = config.vendor_id.into();
    data.ssvid = config.vendor_id.into();
    data.sn = config.serial;
    data.mn = config.model;
    data.fr = config.firmware;
    data.ieee = IEEE_LOCAL;
    data.mdts = config.mdts;
    data.cntlid = controller.id.0.into();
    data.cmic = multipath(shared);
    data.ver = VERSION_2_1.into();
    let mut attributes =
        identify::ControllerAttributes::ENDURANCE_GROUPS | identify::ControllerAttributes::HOST_IDENTIFIER_128;
    attributes.set(identify::ControllerAttributes::NAMESPACE_GRANULARITY, shared.namespaces.is_kept());
    attributes.set(identify::ControllerAttributes::EXTENDED_FORMATS, shared.formats.needs_extended());
    data.ctratt = attributes.bits().into();
    data.endgidmax = ENDURANCE_GROUP.into();
    data.tnvmcap = shared.total_bytes().into();
    data.unvmcap = shared.unallocated_bytes().into();
    data.oaes = identify::OptionalEvents::NAMESPACE_ATTRIBUTE.bits().into();
    report_access(shared, &mut data);
    // An I/O controller.
    data.cntrltype = 1;
    let commands = optional_commands(controller, shared);
    data.oacs = commands.bits().into();
    if commands.contains(identify::AdminCommands::FORMAT) {
        data.fna = identify::FormatAttributes::CRYPTOGRAPHIC_ERASE.bits();
    }
    data.acl_z = ACL_Z;
    data.aerl_z = config.aerl_z;
    // One firmware slot, which cannot be written.
    data.frmw = 1 << 1 | 1;
    data.lpa = (LogPages::COMMAND_EFFECTS | LogPages::EXTENDED | LogPages::MISCELLANEOUS).bits();
    data.elpe_z = u8::try_from(ERROR_ENTRIES - 1).unwrap_or(u8::MAX);
    data.wctemp = WARNING_KELVINS.into();
    data.cctemp = CRITICAL_KELVINS.into();
    data.kas = keep_alive::GRANULARITY_HUNDRED_MS.into();
    data.sqes = 0x66;
    data.cqes = 0x44;
    data.nn = shared.namespaces.limit().into();
    data.mnan = if shared.namespaces.is_kept() || config.ana { shared.namespaces.limit() } else { 0 }.into();
    let commands = OptionalCommands::COMPARE
        | OptionalCommands::DATASET_MANAGEMENT
        | OptionalCommands::WRITE_ZEROES
        | OptionalCommands::SELECT
        | OptionalCommands::RESERVATIONS
        | OptionalCommands::VERIFY
        | OptionalCommands::WRITE_UNCORRECTABLE
        | OptionalCommands::COPY
        | OptionalCommands::COPY_SINGLE_ATOMICITY;
    data.oncs = commands.bits().into();
    data.cdfs = (1 << CopyFormat::PLAIN.0).into();
    data.fuses = identify::FusedOperations::COMPARE_AND_WRITE.bits().into();
    let mut cache = WriteCache::FLUSH_ALL;
    cache.set(WriteCache::PRESENT, shared.media.write_cache().is_some());
    data.vwc = cache.bits();
    data.awun_z = config.atomics.awun_z.into();
    data.awupf_z = config.atomics.awupf_z.into();
    data.acwu_z = config.atomics.acwu_z.into();
    data.sgls = (SglSupport::ANY_ALIGNMENT | SglSupport::EXCESS_LENGTH).bits().into();
    data.subnqn = config.subnqn;
    to_page(&data)
}

/// OACS.
fn optional_commands(controller: &Controller, shared: &Shared) -> identify::AdminCommands {
    let mut commands = identify::AdminCommands::empty();
    for (opcode, flag) in [
        (AdminOpcode::DOORBELL_BUFFER_CONFIG, identify::AdminCommands::DOORBELL_BUFFER),
        (AdminOpcode::FORMAT, identify::AdminCommands::FORMAT),
        (AdminOpcode::NAMESPACE_MANAGEMENT, identify::AdminCommands::NAMESPACE_MANAGEMENT),
    ] {
        commands.set(flag, controller.supports(shared, opcode));
    }
    commands
}

/// CMIC: each controller has a port of its own (NVMe Base 2.1 figure 313).
fn multipath(shared: &Shared) -> u8 {
    let several = identify::Multipath::SEVERAL_PORTS | identify::Multipath::SEVERAL_CONTROLLERS;
    let several = if shared.may_be_several() { several } else { identify::Multipath::empty() };
    let ana = if shared.config.ana { identify::Multipath::ASYMMETRIC_ACCESS } else { identify::Multipath::empty() };
    (several | ana).bits()
}

/// What there is of asymmetric namespace access: all of its states, and groups that stay as they were made.
fn report_access(shared: &Shared, data: &mut identify::Controller) {
    if !shared.config.ana {
        return;
    }
    data.oaes = (data.oaes.get() | identify::OptionalEvents::ACCESS_CHANGE.bits()).into();
    let mut offered = identify::AccessCapabilities::all();
    offered.set(identify::AccessCapabilities::GROUP_CHOSEN, shared.namespaces.is_kept());
    data.anacap = offered.bits();
    data.anatt = ANA_TRANSITION_SECONDS;
    data.anagrpmax = ANA_GROUPS_MAX.into();
    data.nanagrpid = ANA_GROUPS_MAX.into();
}

/// ANAGRPID.
fn access_group(namespace: &Namespace, shared: &Shared) -> u32 {
    if shared.config.ana { namespace.identity.anagrpid } else { 0 }
}

/// NMIC: the namespace may be attached to two controllers at the same time, where there are as many.
fn shareable(namespace: &Namespace, shared: &Shared) -> u8 {
    u8::from(namespace.identity.shared && shared.may_be_several())
}

/// RESCAP.
fn reservations(shared: &Shared) -> u8 {
    let mut offered = ReservationCapabilities::ALL_TYPES | ReservationCapabilities::IGNORE_KEY;
    offered.set(ReservationCapabilities::PERSISTENCE, shared.reservations.are_persistent());
    offered.bits()
}

/// CNS 00h and 11h: an identifier that is valid and not active, or not allocated, gives zeroes (B64). All of them, where they can be made,
/// have in common what a new one would have (NSM17).
fn namespace_of(controller: &Controller, namespaces: &Namespaces, shared: &Shared, nsid: u32) -> Result<Page, Reason> {
    let seen = shared.formats.seen(controller.features.knows_extended_formats());
    if nsid == NSID_ALL && shared.namespaces.is_kept() {
        let mut data = identify::Namespace::zeroed();
        data.dlfeat = identify::DLFEAT_ZEROES_AND_DEALLOCATE;
        report_formats(None, shared, seen, &mut data);
        return Ok(to_page(&data));
    }
    // Capacity that a host cannot reach is not known to it: what it uses, and what it takes. How large it is, is known all the same: hosts
    // take a namespace of no size for one that is not there (NVMe Base 2.1 sections 8.1.1.6 and 8.1.1.7).
    let group = shared.namespaces.get(nsid).map(|own| own.identity.anagrpid);
    let hidden =
        group.is_some_and(|group| shared.config.ana && shared.ana.state(controller.id, group).hides_capacity());
    namespace(namespaces, shared, nsid, seen, hidden)
}

/// The same, for a host that sees so many LBA formats, and does not see what capacity is used if that is hidden.
pub(crate) fn namespace(
    namespaces: &Namespaces,
    shared: &Shared,
    nsid: u32,
    seen: &[Format],
    hidden: bool,
) -> Result<Page, Reason> {
    let Some(namespace) = valid(namespaces, nsid)? else { return Ok([0; IDENTIFY_BYTES]) };
    let shape = &namespace.shape;
    let hints = Hints::of(namespace, shared.config.transfer_bytes_max());
    let mut data = identify::Namespace::zeroed();
    data.nsze = shape.capacity_blocks.into();
    data.ncap = shape.capacity_blocks.into();
    data.nuse = if hidden { 0 } else { shared.media.allocated_blocks(namespace.volume) }.into();
    data.dlfeat = identify::DLFEAT_ZEROES_AND_DEALLOCATE;
    report_atomics(&namespace.atomics, &mut data);
    let copy = namespace.copy_limits(shared.config.transfer_bytes_max());
    (data.msrc_z, data.mssrl, data.mcl) = (copy.ranges_z, copy.range_blocks.into(), copy.blocks.into());
    if let Some(hints) = hints {
        data.nsfeat |= NamespaceFeatures::PREFERRED_SIZES.bits();
        data.npwg_z = hints.unit_z.into();
        data.npwa_z = hints.unit_z.into();
        data.npdg_z = hints.unit_z.into();
        data.npda_z = hints.unit_z.into();
        data.nows_z = hints.stripe_z.into();
    }
    data.nmic = shareable(namespace, shared);
    data.rescap = reservations(shared);
    data.nvmcap = if hidden { 0 } else { shared.taken_bytes(namespace) }.into();
    data.anagrpid = access_group(namespace, shared).into();
    data.fpi = FORMAT_PROGRESS | shared.format_left(nsid);
    data.endgid = ENDURANCE_GROUP.into();
    data.nguid = namespace.identity.nguid;
    data.eui64 = namespace.identity.eui64.to_be_bytes();
    report_formats(Some(namespace), shared, seen, &mut data);
    Ok(to_page(&data))
}

/// The LBA formats that there are, and which one a namespace has (NVM Command Set 1.1 section 4.1.5.1).
fn report_formats(namespace: Option<&Namespace>, shared: &Shared, seen: &[Format], data: &mut identify::Namespace) {
    let entry = |format: &Format| LbaFormat {
        ms: u16::try_from(format.metadata_bytes).unwrap_or(0).into(),
        lbads: u8::try_from(format.block_bytes.trailing_zeros()).unwrap_or(0),
        rp: 0,
    };
    let own = namespace.map(|namespace| Format::of(&namespace.shape));
    // A media that cannot be formatted has one.
    let offered = own.filter(|_| seen.is_empty()).into_iter().chain(seen.iter().copied());
    let mut count = 0;
    for (place, format) in data.lbaf.iter_mut().zip(offered) {
        *place = entry(&format);
        count += 1;
    }
    data.nlbaf_z = if count == 0 { 0 } else { count - 1 };
    let extended = namespace.is_some_and(|namespace| namespace.identity.extended_metadata);
    let with_metadata = shared.formats.have_metadata() || own.is_some_and(|own| own.metadata_bytes != 0);
    let places = match namespace {
        _ if !with_metadata => MetadataCapabilities::empty(),
        Some(_) if !shared.namespaces.is_kept() && extended => MetadataCapabilities::EXTENDED,
        Some(_) if !shared.namespaces.is_kept() => MetadataCapabilities::SEPARATE,
        _ => MetadataCapabilities::all(),
    };
    data.mc = places.bits();
    let Some(own) = own else { return };
    let number = shared.formats.number(own).unwrap_or(0);
    let follows = extended && own.metadata_bytes != 0;
    data.flbas = number & 0xf | (number >> 4) << 5 | if follows { FormattedSize::EXTENDED.bits() } else { 0 };
}

/// CNS 12h: the controllers from a number on that have a namespace.
fn controllers_of(shared: &Shared, nsid: u32, from: u16) -> Result<Page, Reason> {
    // NSM16: a broadcast names no namespace.
    if nsid == NSID_ALL {
        return Err(Reason::NamespaceInactive);
    }
    let namespace = valid(&shared.namespaces, nsid)?;
    Ok(controllers(namespace.map_or(ControllerSet::NONE, |namespace| namespace.attached), shared, from))
}

/// A controller list: how many, and which.
fn controllers(set: ControllerSet, shared: &Shared, from: u16) -> Page {
    let mut page = [0; IDENTIFY_BYTES];
    let mut count = 0_u16;
    let (head, places) = page.split_at_mut(2);
    let found = set.and(shared.mail.controllers()).iter().filter(|id| id.0 >= from);
    for (place, id) in places.as_chunks_mut::<2>().0.iter_mut().zip(found) {
        *place = id.0.to_le_bytes();
        count += 1;
    }
    head.copy_from_slice(&count.to_le_bytes());
    page
}

/// CNS 16h: one granularity for every format, of whole units (NVMe Base 2.1 section 5.1.13.2.15).
fn granularities(shared: &Shared) -> Page {
    let mut page = [0; IDENTIFY_BYTES];
    let unit = u64::from(shared.media.space().map_or(0, |space| space.unit_bytes));
    for place in [32, 40] {
        page[place..place + 8].copy_from_slice(&unit.to_le_bytes());
    }
    page
}

/// The namespace's atomic units (NVM Command Set 1.1 section 4.1.5.1; B158 to B162).
fn report_atomics(atomics: &Atomics, data: &mut identify::Namespace) {
    let mut features = data.features();
    features.set(NamespaceFeatures::OWN_ATOMICS, atomics.are_own());
    features.set(NamespaceFeatures::MULTIPLE_ATOMICITY, atomics.multiple);
    data.nsfeat = features.bits();
    data.nawun_z = atomics.nawun_z.into();
    data.nawupf_z = atomics.nawupf_z.into();
    data.nacwu_z = atomics.nacwu_z.into();
    data.nabsn_z = atomics.nabsn_z.into();
    data.nabspf_z = atomics.nabspf_z.into();
    data.nabo = atomics.nabo.into();
}

/// CNS 02h and 07h: identifiers above the given one, ascending (B65).
fn active(namespaces: &Namespaces, above: u32) -> Result<Page, Reason> {
    if above >= NSID_ALL - 1 {
        return Err(Reason::NamespaceListStart);
    }
    let mut page = [0; IDENTIFY_BYTES];
    let identifiers = namespaces.iter().map(|namespace| namespace.identity.nsid).filter(|nsid| *nsid > above);
    for (place, nsid) in page.as_chunks_mut::<4>().0.iter_mut().zip(identifiers) {
        *place = nsid.to_le_bytes();
    }
    Ok(page)
}

/// CNS 03h: every namespace has a UUID and a command set; the others if they were given (B66).
fn descriptors(namespaces: &Namespaces, nsid: u32) -> Result<Page, Reason> {
    let identity = &namespaces.resolve(nsid)?.identity;
    let mut page = [0; IDENTIFY_BYTES];
    let mut at = 0;
    let mut put = |kind: u8, value: &[u8]| {
        page[at] = kind;
        page[at + 1] = u8::try_from(value.len()).unwrap_or(0);
        page[at + 4..at + 4 + value.len()].copy_from_slice(value);
        at += 4 + value.len();
    };
    if identity.eui64 != 0 {
        put(descriptor::EUI64, &identity.eui64.to_be_bytes());
    }
    if identity.nguid != [0; 16] {
        put(descriptor::NGUID, &identity.nguid);
    }
    put(descriptor::UUID, identity.uuid.as_bytes());
    put(descriptor::COMMAND_SET, &[CSI_NVM]);
    Ok(page)
}

/// CNS 05h for the NVM command set: no extended formats and no protection information; the sizes of deallocation, in blocks.
fn command_set_namespace(namespaces: &Namespaces, shared: &Shared, nsid: u32) -> Result<Page, Reason> {
    let Some(namespace) = valid(namespaces, nsid)? else { return Ok([0; IDENTIFY_BYTES]) };
    let mut data = identify::NvmNamespace::zeroed();
    if let Some(hints) = Hints::of(namespace, shared.config.transfer_bytes_max()) {
        data.npdgl = (u32::from(hints.unit_z) + 1).into();
        data.npdal = data.npdgl;
    }
    Ok(to_page(&data))
}

/// What a host should prefer, in blocks, zero-based: whole indirection units, and stripes of them. A write that keeps to it needs no
/// read before, and a deallocation that does gives everything back.
struct Hints {
    unit_z: u16,
    stripe_z: u16,
}

impl Hints {
    /// `None` where the unit is one block and there is nothing to prefer, and where it is more than one command can carry: the fields
    /// may not name a size above MDTS (B176).
    fn of(namespace: &Namespace, transfer_bytes_max: usize) -> Option<Self> {
        let shape = &namespace.shape;
        let limit = u32::try_from(transfer_bytes_max >> namespace.block_shift()).ok()?.min(1 << 16);
        let unit = shape.preferred_blocks;
        if unit > limit || shape.optimal_blocks <= 1 {
            return None;
        }
        // Above this, hosts would have to split what they are told to prefer (B176).
        let usual = u32::try_from(OPTIMAL_BYTES_MAX >> namespace.block_shift()).ok()?.max(unit);
        let stripe = shape.optimal_blocks.min(limit).min(usual) / unit * unit;
        let zero_based = |blocks: u32| u16::try_from(blocks - 1).ok();
        Some(Self { unit_z: zero_based(unit)?, stripe_z: zero_based(stripe)? })
    }
}

/// CNS 19h: how many groups there are from the given one on, and which.
fn endurance_groups(from: u16) -> Page {
    let mut page = [0; IDENTIFY_BYTES];
    if from <= ENDURANCE_GROUP {
        page[..2].copy_from_slice(&1_u16.to_le_bytes());
        page[2..4].copy_from_slice(&ENDURANCE_GROUP.to_le_bytes());
    }
    page
}

/// CNS 06h for the NVM command set at version 1.1: Verify has the limit of transfers, Write Uncorrectable is recommended to keep to it, and
/// no other command has one of its own (those fields are zero).
fn command_set_controller(mdts: u8) -> Page {
    let mut page = [0; IDENTIFY_BYTES];
    // NVM Command Set 1.1 figure 105: VSL at byte 0, a power of two of pages of CAP.MPSMIN.
    page[0] = mdts;
    // WUSL at byte 2, likewise; with ONCS.NVMWUSV what is above it is carried out all the same.
    page[2] = mdts;
    // NVM Command Set 1.1 figure 105: VER at byte 20.
    page[20..24].copy_from_slice(&0x0001_0100_u32.to_le_bytes());
    page
}

/// CNS 08h.
fn independent(namespaces: &Namespaces, shared: &Shared, nsid: u32) -> Result<Page, Reason> {
    let Some(namespace) = valid(namespaces, nsid)? else { return Ok([0; IDENTIFY_BYTES]) };
    let mut data = identify::IndependentNamespace::zeroed();
    data.nmic = shareable(namespace, shared);
    data.rescap = reservations(shared);
    data.anagrpid = access_group(namespace, shared).into();
    data.endgid = ENDURANCE_GROUP.into();
    data.nstat = identify::NamespaceStatus::READY.bits();
    Ok(to_page(&data))
}

/// CNS 1Ch: the first combination of command sets is the NVM command set alone.
fn command_sets() -> Page {
    let mut page = [0; IDENTIFY_BYTES];
    page[0] = 1 << CSI_NVM;
    page
}

/// The active namespace, or nothing if the identifier is valid without one; NSID FFFFFFFFh is not.
fn valid(namespaces: &Namespaces, nsid: u32) -> Result<Option<&Namespace>, Reason> {
    if !namespaces.is_valid(nsid) {
        return Err(Reason::NamespaceInvalid);
    }
    Ok(namespaces.get(nsid))
}

fn to_page(data: &(impl IntoBytes + zerocopy::Immutable)) -> Page {
    let mut page = [0; IDENTIFY_BYTES];
    page.copy_from_slice(data.as_bytes());
    page
}
