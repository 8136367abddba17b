//! Get and Set Features (NVMe Base 2.1 sections 5.1.11 and 5.1.25, with NVM Command Set 1.1 section 4.1.3). No feature can be saved; all of
//! them return to their defaults at a controller reset (B12).

use media::{Submitted, Token};
use nvme_spec::command::{high16, low16};
use nvme_spec::feature::{self, CAPABILITY_CHANGEABLE, CAPABILITY_NAMESPACE, FeatureId, HOST_BEHAVIOR_BYTES, select};
use nvme_spec::log::{WARNING_TEMPERATURE, effects};
use nvme_spec::{Command, NSID_ALL};
use zerocopy::FromZeros;

use super::{Done, host_features, keep_alive};
use crate::Controller;
use crate::config::Config;
use crate::dma::GuestMemory;
use crate::effects::FEATURES;
use crate::health::WARNING_KELVINS;
use crate::outcome;
use crate::reason::Reason;
use crate::shared::Shared;

/// Dword 10 bit 31 of Set Features: save the value.
const SAVE: u32 = 1 << 31;

/// Host Behavior Support: LBA Format Extension Enable.
const LBA_FORMATS_BYTE: usize = 2;
/// Host Behavior Support, byte 4: formats 2h to 4h of Copy descriptors.
const COPY_FORMATS: u8 = 0b1_1100;
/// Power Management, dword 11 bits 7:5.
const WORKLOAD_HINT: u32 = 0b111 << 5;

/// The values in force.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    pub(crate) arbitration: u32,
    /// What the host says of its load; nothing here depends on it.
    workload_hint: u32,
    temperature_over_kelvins: u16,
    temperature_under_kelvins: u16,
    /// Ascending by namespace; one that is not here has the default.
    error_recovery: Vec<(u32, u32)>,
    /// How many I/O submission queues the host may create.
    pub(crate) submission_queues: u16,
    /// How many I/O completion queues the host may create.
    pub(crate) completion_queues: u16,
    interrupt_coalescing: u32,
    write_atomicity: u32,
    asynchronous_events: u32,
    pub(crate) keep_alive_ms: u32,
    host_behavior: [u8; HOST_BEHAVIOR_BYTES],
}

impl Features {
    /// What is in force after a reset.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            // A burst of eight commands.
            arbitration: 3,
            workload_hint: 0,
            temperature_over_kelvins: WARNING_KELVINS,
            temperature_under_kelvins: 0,
            error_recovery: Vec::new(),
            submission_queues: config.io_queue_pairs,
            completion_queues: config.io_queue_pairs,
            interrupt_coalescing: 0,
            write_atomicity: u32::from(config.atomics.disable_normal),
            asynchronous_events: 0,
            keep_alive_ms: 0,
            host_behavior: [0; HOST_BEHAVIOR_BYTES],
        }
    }

    /// Arbitration Burst: how many commands a queue may give in its turn.
    pub(crate) fn burst(&self) -> u32 {
        match self.arbitration & 0x7 {
            0x7 => u32::MAX,
            exponent => 1 << exponent,
        }
    }

    /// Disable Normal of Write Atomicity Normal: only the units of a power loss are kept.
    pub(crate) fn disables_normal(&self) -> bool {
        self.write_atomicity != 0
    }

    /// The host knows of extended LBA formats: LBAFEE of Host Behavior Support.
    pub(crate) fn knows_extended_formats(&self) -> bool {
        self.host_behavior[LBA_FORMATS_BYTE] == 1
    }

    /// A namespace is there no longer: one that gets its identifier has the defaults.
    pub(crate) fn forget_namespace(&mut self, nsid: u32) {
        self.error_recovery.retain(|(other, _)| *other != nsid);
    }

    /// The host wants to hear of namespaces whose attributes change.
    pub(crate) fn hears_of_namespaces(&self) -> bool {
        self.asynchronous_events & feature::EVENT_NAMESPACE_ATTRIBUTE != 0
    }

    /// The host wants to hear of another access to namespaces.
    pub(crate) fn hears_of_access(&self) -> bool {
        self.asynchronous_events & feature::EVENT_ACCESS_CHANGE != 0
    }

    /// The critical warnings that the host wants to hear of.
    pub(crate) fn hears_of_warnings(&self) -> u8 {
        let [warnings, ..] = self.asynchronous_events.to_le_bytes();
        warnings
    }

    /// The critical warning bits for this composite temperature.
    pub(crate) fn temperature_warning(&self, kelvins: u16) -> u8 {
        let outside = kelvins >= self.temperature_over_kelvins || kelvins <= self.temperature_under_kelvins;
        if outside { WARNING_TEMPERATURE } else { 0 }
    }
}

/// The number of switching the write cache on again at a reset; no command has it.
const RESET: u32 = u32::MAX - 1;

impl Controller {
    /// The write cache is on by default (B12). Whenever the media is done with that is early enough: nobody waits for it.
    pub(crate) fn restore_write_cache(&mut self, shared: &mut Shared) {
        if shared.media.write_cache() == Some(false) {
            let token = Token::of(self.id.0, RESET);
            shared.media.cancel(token);
            let _ = shared.media.set_write_cache(self.health.now, token, true);
        }
    }

    /// Whether the feature exists here.
    pub(crate) fn has_feature(&self, shared: &Shared, wanted: FeatureId) -> bool {
        let cached = wanted != FeatureId::VOLATILE_WRITE_CACHE || shared.media.write_cache().is_some();
        cached && FEATURES.iter().any(|(feature, _)| *feature == wanted)
    }

    /// The feature that dword 10 names, and whether it belongs to a namespace.
    fn feature(&self, shared: &Shared, command: &Command) -> Result<(FeatureId, bool), Reason> {
        let [identifier, ..] = command.cdw10.get().to_le_bytes();
        let wanted = FeatureId(identifier);
        let entry = FEATURES.iter().find(|(feature, _)| *feature == wanted && self.has_feature(shared, wanted));
        entry.map(|(feature, scope)| (*feature, *scope == effects::SCOPE_NAMESPACE)).ok_or(Reason::FeatureUnknown)
    }
}

/// Get Features.
pub(super) fn get<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
) -> Result<Done, Reason> {
    let (feature, of_namespace) = controller.feature(shared, command)?;
    // Hosts ask without naming a namespace, or naming all, and have always been answered: from the first.
    let first = controller.namespaces.iter().next().map(|namespace| namespace.identity.nsid);
    let nsid = match command.nsid.get() {
        NSID_ALL if host_features::are_of_reservations(feature) => return Err(Reason::ReservationFeatureOfAll),
        0 | NSID_ALL if of_namespace => first.ok_or(Reason::NamespaceInvalid)?,
        nsid => nsid,
    };
    if of_namespace {
        controller.namespaces.resolve(nsid)?;
        controller.check_reach(shared, nsid)?;
    }
    let command = &Command { nsid: nsid.into(), ..*command };
    let defaults = Features::new(&shared.config);
    match command.cdw10.get() >> 8 & 0x7 {
        select::CURRENT => {}
        // Nothing can be saved, so what would be restored is the default (B97).
        select::DEFAULT | select::SAVED => return default(controller, memory, command, feature, &defaults),
        select::CAPABILITIES => {
            let namespace = if of_namespace { CAPABILITY_NAMESPACE } else { 0 };
            return Ok(Done::Now(CAPABILITY_CHANGEABLE | namespace));
        }
        _ => return Err(Reason::FeatureSelect),
    }
    if feature == FeatureId::HOST_IDENTIFIER {
        return host_features::get_identifier(controller, shared, memory, command);
    }
    if feature == FeatureId::HOST_BEHAVIOR {
        let bytes = controller.features.host_behavior;
        return controller.send(memory, command, &bytes).map(|()| Done::Now(0));
    }
    if feature == FeatureId::INTERRUPT_VECTOR {
        let vector = low16(command.cdw11.get());
        let immediate = *controller.interrupts.immediate_mut(vector).ok_or(Reason::FeatureVector)?;
        return Ok(Done::Now(u32::from(vector) | u32::from(immediate) << 16));
    }
    current(controller, shared, command, feature).map(Done::Now)
}

/// Completion dword 0 of a feature that is in force.
fn current(controller: &Controller, shared: &Shared, command: &Command, feature: FeatureId) -> Result<u32, Reason> {
    match feature {
        FeatureId::VOLATILE_WRITE_CACHE => Ok(u32::from(shared.media.write_cache() == Some(true))),
        FeatureId::RESERVATION_NOTIFICATIONS => Ok(shared.reservations.mask(command.nsid.get())),
        FeatureId::RESERVATION_PERSISTENCE => Ok(u32::from(shared.reservations.persists(command.nsid.get()))),
        _ => value(&controller.features, command, feature),
    }
}

/// The value of a feature that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureState {
    /// Which feature.
    pub id: FeatureId,
    /// The namespace that it is of, if it is of one.
    pub nsid: Option<u32>,
    /// Command dword 11 that selects this value, where a feature has several.
    pub selector: u32,
    /// Completion dword 0 of Get Features; of a feature that is a data structure, its first four bytes.
    pub value: u32,
}

/// The values of a feature that are in force, for whoever is not the host.
pub(crate) fn states(controller: &Controller, shared: &Shared, id: FeatureId) -> Vec<FeatureState> {
    let state = |nsid: Option<u32>, selector: u32| {
        let nsid_or_none = nsid.unwrap_or(0).into();
        let command = Command { nsid: nsid_or_none, cdw11: selector.into(), ..Command::new_zeroed() };
        current(controller, shared, &command, id).ok().map(|value| FeatureState { id, nsid, selector, value })
    };
    match id {
        FeatureId::TEMPERATURE_THRESHOLD => [0, 1 << 20].into_iter().filter_map(|which| state(None, which)).collect(),
        FeatureId::HOST_IDENTIFIER => {
            let identifier = shared.reservations.identifier(controller.id);
            let selector = identifier.map_or(0, |identifier| u32::from(identifier.is_extended()));
            let first = identifier.and_then(|identifier| identifier.bytes().first_chunk().copied());
            vec![FeatureState { id, nsid: None, selector, value: first.map_or(0, u32::from_le_bytes) }]
        }
        FeatureId::ERROR_RECOVERY | FeatureId::RESERVATION_NOTIFICATIONS | FeatureId::RESERVATION_PERSISTENCE => {
            controller.namespaces.iter().filter_map(|namespace| state(Some(namespace.identity.nsid), 0)).collect()
        }
        FeatureId::HOST_BEHAVIOR => {
            let [a, b, c, d, ..] = controller.features.host_behavior;
            vec![FeatureState { id, nsid: None, selector: 0, value: u32::from_le_bytes([a, b, c, d]) }]
        }
        _ => state(None, 0).into_iter().collect(),
    }
}

fn default<M: GuestMemory>(
    controller: &mut Controller,
    memory: &M,
    command: &Command,
    feature: FeatureId,
    defaults: &Features,
) -> Result<Done, Reason> {
    match feature {
        FeatureId::HOST_BEHAVIOR => controller.send(memory, command, &defaults.host_behavior).map(|()| Done::Now(0)),
        FeatureId::HOST_IDENTIFIER => host_features::send_identifier(controller, memory, command, None),
        FeatureId::RESERVATION_NOTIFICATIONS | FeatureId::RESERVATION_PERSISTENCE => Ok(Done::Now(0)),
        FeatureId::INTERRUPT_VECTOR => Ok(Done::Now(u32::from(low16(command.cdw11.get())))),
        FeatureId::VOLATILE_WRITE_CACHE => Ok(Done::Now(1)),
        _ => value(defaults, command, feature).map(Done::Now),
    }
}

/// Completion dword 0 of the features that are a dword.
fn value(features: &Features, command: &Command, feature: FeatureId) -> Result<u32, Reason> {
    Ok(match feature {
        FeatureId::ARBITRATION => features.arbitration,
        // There is one power state, number 0.
        FeatureId::POWER_MANAGEMENT => features.workload_hint,
        FeatureId::TEMPERATURE_THRESHOLD => match threshold(command)? {
            Threshold::Over => features.temperature_over_kelvins.into(),
            Threshold::Under => features.temperature_under_kelvins.into(),
            Threshold::NoSensor => 0,
            Threshold::Every => return Err(Reason::TemperatureSensor),
        },
        FeatureId::ERROR_RECOVERY => {
            let nsid = command.nsid.get();
            features.error_recovery.iter().find(|(of, _)| *of == nsid).map_or(0, |(_, value)| *value)
        }
        FeatureId::NUMBER_OF_QUEUES => granted(features),
        FeatureId::INTERRUPT_COALESCING => features.interrupt_coalescing,
        FeatureId::WRITE_ATOMICITY => features.write_atomicity,
        FeatureId::ASYNCHRONOUS_EVENTS => features.asynchronous_events,
        FeatureId::KEEP_ALIVE_TIMER => features.keep_alive_ms,
        _ => return Err(Reason::FeatureUnknown),
    })
}

/// Set Features.
pub(super) fn set<M: GuestMemory>(
    controller: &mut Controller,
    shared: &mut Shared,
    memory: &M,
    command: &Command,
    token: Token,
) -> Result<Done, Reason> {
    let (feature, of_namespace) = controller.feature(shared, command)?;
    if command.cdw10.get() & SAVE != 0 {
        return Err(Reason::FeatureSave);
    }
    let nsid = command.nsid.get();
    match of_namespace {
        true if nsid != NSID_ALL => controller.namespaces.resolve(nsid).map(|_| ())?,
        false if nsid != 0 && nsid != NSID_ALL => return Err(Reason::FeatureOfController),
        _ => {}
    }
    if of_namespace {
        controller.check_reach(shared, nsid)?;
    }
    let value = command.cdw11.get();
    match feature {
        FeatureId::ARBITRATION => controller.features.arbitration = value & 0xffff_ff07,
        FeatureId::POWER_MANAGEMENT if value & 0x1f != 0 => return Err(Reason::PowerState),
        FeatureId::POWER_MANAGEMENT => controller.features.workload_hint = value & WORKLOAD_HINT,
        FeatureId::TEMPERATURE_THRESHOLD => set_temperature(controller, shared, command)?,
        FeatureId::ERROR_RECOVERY => set_error_recovery(controller, nsid, value)?,
        FeatureId::VOLATILE_WRITE_CACHE => return set_write_cache(controller, shared, value & 1 != 0, token),
        FeatureId::NUMBER_OF_QUEUES => return set_queues(controller, shared, value),
        FeatureId::INTERRUPT_COALESCING => {
            controller.features.interrupt_coalescing = value & 0xffff;
            controller.interrupts.set_coalescing(value);
        }
        FeatureId::INTERRUPT_VECTOR => {
            let immediate = controller.interrupts.immediate_mut(low16(value)).ok_or(Reason::FeatureVector)?;
            *immediate = value & 1 << 16 != 0;
        }
        FeatureId::WRITE_ATOMICITY => controller.features.write_atomicity = value & 1,
        FeatureId::ASYNCHRONOUS_EVENTS => {
            let access = if shared.config.ana { feature::EVENT_ACCESS_CHANGE } else { 0 };
            controller.features.asynchronous_events =
                value & (feature::EVENT_SMART_MASK | feature::EVENT_NAMESPACE_ATTRIBUTE | access);
            controller.report_warnings(shared, u8::MAX);
        }
        FeatureId::KEEP_ALIVE_TIMER => {
            controller.features.keep_alive_ms = value;
            keep_alive::restart(controller);
        }
        FeatureId::HOST_BEHAVIOR => set_host_behavior(controller, memory, command)?,
        FeatureId::HOST_IDENTIFIER => host_features::set_identifier(controller, shared, memory, command)?,
        FeatureId::RESERVATION_NOTIFICATIONS | FeatureId::RESERVATION_PERSISTENCE => {
            return host_features::set_of_reservations(controller, shared, feature, (nsid, value), token);
        }
        _ => return Err(Reason::FeatureUnknown),
    }
    Ok(Done::Now(0))
}

/// Which threshold dword 11 means (Base 2.1 section 5.1.25.1.3).
enum Threshold {
    Over,
    Under,
    /// A sensor that we do not have.
    NoSensor,
    /// All of them, the composite temperature among them: only to be set.
    Every,
}

fn threshold(command: &Command) -> Result<Threshold, Reason> {
    let dword = command.cdw11.get();
    match (dword >> 16 & 0xf, dword >> 20 & 0x3) {
        (0, 0) => Ok(Threshold::Over),
        (0, 1) => Ok(Threshold::Under),
        (1..=8, 0 | 1) => Ok(Threshold::NoSensor),
        (0xf, 0 | 1) => Ok(Threshold::Every),
        _ => Err(Reason::TemperatureSensor),
    }
}

/// The threshold of a sensor that is not there cannot be kept, and who sets one is told so.
fn set_temperature(controller: &mut Controller, shared: &mut Shared, command: &Command) -> Result<(), Reason> {
    let kelvins = low16(command.cdw11.get());
    let under = command.cdw11.get() >> 20 & 0x3 == 1;
    match threshold(command)? {
        Threshold::NoSensor => return Err(Reason::TemperatureSensor),
        _ if under => controller.features.temperature_under_kelvins = kelvins,
        _ => controller.features.temperature_over_kelvins = kelvins,
    }
    controller.report_warnings(shared, WARNING_TEMPERATURE);
    Ok(())
}

fn set_error_recovery(controller: &mut Controller, nsid: u32, value: u32) -> Result<(), Reason> {
    // DULBE is for namespaces that report errors on deallocated blocks, and none does (B101).
    if value & 1 << 16 != 0 {
        return Err(Reason::DeallocatedError);
    }
    let meant: Vec<u32> = controller.namespaces.iter().map(|namespace| namespace.identity.nsid).collect();
    let values = &mut controller.features.error_recovery;
    for nsid in meant.into_iter().filter(|of| nsid == NSID_ALL || *of == nsid) {
        values.retain(|(of, _)| *of != nsid);
        values.push((nsid, value & 0xffff));
    }
    Ok(())
}

/// Switching the cache off is finished when what was in it is durable (B99).
fn set_write_cache(
    controller: &mut Controller,
    shared: &mut Shared,
    enabled: bool,
    token: Token,
) -> Result<Done, Reason> {
    match shared.media.set_write_cache(controller.health.now, token, enabled) {
        Submitted::Pending => Ok(Done::Pending),
        Submitted::Done(outcome) => outcome.map(|()| Done::Now(0)).map_err(outcome::reason),
    }
}

/// How many queues the host may create, as Number of Queues reports it: zero-based, completion queues in the high half.
fn granted(features: &Features) -> u32 {
    let (submission, completion) = (features.submission_queues - 1, features.completion_queues - 1);
    u32::from(submission) | u32::from(completion) << 16
}

/// Grants what is asked for as far as there is room; only before the first I/O queue is created (B51).
fn set_queues(controller: &mut Controller, shared: &mut Shared, value: u32) -> Result<Done, Reason> {
    let (submission_z, completion_z) = (low16(value), high16(value));
    if controller.queues.any_io() {
        return Err(Reason::QueuesTooLate);
    }
    if submission_z == u16::MAX || completion_z == u16::MAX {
        return Err(Reason::QueuesTooMany);
    }
    let room = shared.config.io_queue_pairs;
    controller.features.submission_queues = (submission_z + 1).min(room);
    controller.features.completion_queues = (completion_z + 1).min(room);
    Ok(Done::Now(granted(&controller.features)))
}

/// The host says what it understands. What could make a difference here is kept and given back; the rest must be zero.
fn set_host_behavior<M: GuestMemory>(controller: &mut Controller, memory: &M, command: &Command) -> Result<(), Reason> {
    let mut bytes = [0; HOST_BEHAVIOR_BYTES];
    controller.receive(memory, command, &mut bytes)?;
    // Base 2.1 section 5.1.25.1.14: the first four bytes are switches, and the next two enable formats of Copy descriptors. What the
    // host understands is its own to say: a format that it enables and that we do not offer is not offered all the same.
    if bytes[..4].iter().any(|switch| *switch > 1) {
        return Err(Reason::HostBehavior);
    }
    bytes[4] &= COPY_FORMATS;
    bytes[5..].fill(0);
    controller.features.host_behavior = bytes;
    Ok(())
}
