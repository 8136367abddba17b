//! The commands: one file and one row each. To add one, copy the smallest file, `query_version`, and add its row to [`COMMANDS`]: a
//! structure of arguments, whose comments become the descriptions in `query-schema`, and what it does to a [`Device`].

mod ana_set_state;
mod controller_add;
mod controller_remove;
mod crash_arm;
mod crash_disarm;
mod crash_image;
mod crash_images;
mod crash_point;
mod cut;
mod fault_add;
mod fault_remove;
mod faults;
mod inject_event;
mod media_fork;
mod media_restore;
mod media_save;
mod namespace_add;
mod namespace_attach;
mod namespace_change;
mod namespace_detach;
mod namespace_fill;
mod namespace_format;
mod namespace_remove;
mod namespace_resize;
mod namespace_verify;
mod namespace_write;
mod opcode;
mod power_cut;
mod power_restore;
mod qmp_capabilities;
mod query_ana;
mod query_commands;
mod query_controller;
mod query_controllers;
mod query_counters;
mod query_crash;
mod query_faults;
mod query_features;
mod query_lines;
mod query_log;
mod query_media;
mod query_namespaces;
mod query_queues;
mod query_reservations;
mod query_schema;
mod query_status;
mod query_trace;
mod query_traces;
mod query_version;
mod query_violations;
mod tape_mark;
mod tape_start;
mod tape_stop;
mod trace_event_get_state;
mod trace_event_set_state;
mod trace_start;
mod trace_stop;

use std::path::PathBuf;

use controller::{CONTROLLERS_MAX, Controller, ControllerId, ControllerSet, Subsystem};
use media::monitor::Monitor;
use media::power::Forks;
use media::{Nanoseconds, VolumeId};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::message::ProtocolError;
use crate::audience::Audience;
use crate::options::Settings;
use crate::ports::Ports;
pub use qmp_capabilities::QmpCapabilities;
pub use query_schema::description;

/// All commands, in the order in which they are listed.
pub const COMMANDS: [Row; 52] = [
    row::<QmpCapabilities>(),
    row_immediate::<query_version::QueryVersion>(),
    row_immediate::<query_commands::QueryCommands>(),
    row_immediate::<query_schema::QuerySchema>(),
    row::<query_status::QueryStatus>(),
    row::<query_controllers::QueryControllers>(),
    row::<controller_add::ControllerAdd>(),
    row_long::<controller_remove::ControllerRemove>(),
    row_of_controller::<query_controller::QueryController>(),
    row_of_controller::<query_queues::QueryQueues>(),
    row::<query_namespaces::QueryNamespaces>(),
    row::<query_reservations::QueryReservations>(),
    row::<query_ana::QueryAna>(),
    row::<query_media::QueryMedia>(),
    row::<query_lines::QueryLines>(),
    row_of_controller::<query_counters::QueryCounters>(),
    row_of_controller::<query_features::QueryFeatures>(),
    row_of_controller::<query_log::QueryLog>(),
    row_of_controller::<query_violations::QueryViolations>(),
    row_of_controller::<query_trace::QueryTrace>(),
    row_of_controller::<trace_start::TraceStart>(),
    row_long::<trace_stop::TraceStop>(),
    row::<query_traces::QueryTraces>(),
    row::<trace_event_get_state::TraceEventGetState>(),
    row::<trace_event_set_state::TraceEventSetState>(),
    row_of_controller::<query_faults::QueryFaults>(),
    row_long::<namespace_add::NamespaceAdd>(),
    row_long::<namespace_attach::NamespaceAttach>(),
    row_long::<namespace_detach::NamespaceDetach>(),
    row_long::<namespace_format::NamespaceFormat>(),
    row_long::<namespace_remove::NamespaceRemove>(),
    row_long::<namespace_resize::NamespaceResize>(),
    row_long::<namespace_fill::NamespaceFill>(),
    row_long::<namespace_verify::NamespaceVerify>(),
    row::<namespace_write::NamespaceWrite>(),
    row::<ana_set_state::AnaSetState>(),
    row_of_controller::<fault_add::FaultAdd>(),
    row_of_controller::<fault_remove::FaultRemove>(),
    row_of_controller::<inject_event::InjectEvent>(),
    row_long::<tape_start::TapeStart>(),
    row::<tape_mark::TapeMark>(),
    row_long::<tape_stop::TapeStop>(),
    row::<power_cut::PowerCut>(),
    row::<power_restore::PowerRestore>(),
    row_long::<crash_arm::CrashArm>(),
    row::<crash_disarm::CrashDisarm>(),
    row::<query_crash::QueryCrash>(),
    row::<crash_images::CrashImages>(),
    row::<crash_image::CrashImage>(),
    row::<media_fork::MediaFork>(),
    row::<media_restore::MediaRestore>(),
    row_long::<media_save::MediaSave>(),
];

/// What a command works on, between two steps of the device.
pub struct Device<'a> {
    /// The device: its controllers, and the media.
    pub subsystem: &'a mut Subsystem,
    /// Which controller is meant.
    pub id: ControllerId,
    /// The checked configuration.
    pub settings: &'a Settings,
    /// Who listens to the controller.
    pub audience: &'a mut Audience,
    /// Its tape, if there is one.
    pub tape: Option<&'a tape::Marker>,
    /// The file of that tape.
    pub tape_file: &'a mut Option<PathBuf>,
    /// Since the device was made.
    pub now: Nanoseconds,
    /// The controllers that a virtual machine has plugged in.
    pub clients: ControllerSet,
    /// Where controllers are plugged in.
    pub ports: &'a mut Ports,
}

impl Device<'_> {
    /// The controller that is meant, to look at.
    pub fn controller(&self) -> &Controller {
        self.subsystem.controller(self.id)
    }

    /// The controller that is meant.
    pub fn controller_mut(&mut self) -> &mut Controller {
        self.subsystem.controller_mut(self.id)
    }

    /// The drive's workbench.
    ///
    /// # Errors
    /// There is no drive inside.
    pub fn monitor(&mut self) -> Result<&mut dyn Monitor, Refusal> {
        self.subsystem.media().monitor().ok_or_else(|| Refusal::new("this media is no drive"))
    }

    /// The drive's forks.
    ///
    /// # Errors
    /// It can have none.
    pub fn forks(&mut self) -> Result<&mut dyn Forks, Refusal> {
        let none = || {
            Refusal::new(
                "this drive is in a file, which has no forks: start one in memory, without `store=file:`; a media file itself is \
                 copied while no drive uses it (cp --reflink=auto --sparse=always)",
            )
        };
        self.subsystem.media().power().and_then(|power| power.forks()).ok_or_else(none)
    }

    /// The volume of a namespace, its bytes of a block, and its bytes.
    ///
    /// # Errors
    /// There is no such namespace.
    pub fn volume(&mut self, nsid: u32) -> Result<(VolumeId, u64, u64), Refusal> {
        let block = namespace_fill::block_bytes(self, nsid, 0, 1)?;
        let volume =
            self.subsystem.volume_of(nsid).ok_or_else(|| Refusal::new(format!("there is no namespace {nsid}")))?;
        let shape = self.subsystem.media().shape(volume).ok_or_else(|| Refusal::new("this media is no drive"))?;
        Ok((volume, block, shape.capacity_blocks * block))
    }
}

/// Why a command was not carried out, for people. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    /// A refusal that names what was given, and what would do.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A command: its arguments, and what it does. The structure's fields are the arguments, in kebab case; it refuses unknown ones.
pub trait Execute: DeserializeOwned + JsonSchema + Send + 'static {
    /// How it is called.
    const NAME: &'static str;

    /// What comes back.
    type Answer: Serialize + JsonSchema;

    /// Does it, all or nothing.
    ///
    /// # Errors
    /// Why it was not done.
    fn execute(self, device: &mut Device<'_>) -> Result<Self::Answer, Refusal>;
}

/// A command that asks for nothing that the device knows: the thread of the control socket answers it, so that no guest waits meanwhile.
pub trait Tell: DeserializeOwned + JsonSchema + Send + 'static {
    /// How it is called.
    const NAME: &'static str;

    /// What comes back.
    type Answer: Serialize + JsonSchema;

    /// Says it, as a [`Tell::Answer`].
    ///
    /// # Errors
    /// Why not.
    fn tell(self) -> Result<Value, Refusal>;
}

/// A command that takes its time: it is begun, and asked after each step of the device whether it has ended. Meanwhile the device and
/// the other peers go on.
pub trait LongCommand: DeserializeOwned + JsonSchema + Send + 'static {
    /// How it is called.
    const NAME: &'static str;

    /// What comes back.
    type Answer: Serialize + JsonSchema;

    /// Begins it.
    ///
    /// # Errors
    /// Why not.
    fn begin(&self, device: &mut Device<'_>) -> Result<(), Refusal>;

    /// How it has ended; `None` while it is under way.
    fn ended(&self, device: &mut Device<'_>) -> Option<Result<Self::Answer, Refusal>>;
}

/// The answer of a command that has nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Nothing {}

/// The namespace that is meant where none is named.
const fn first_namespace() -> u32 {
    1
}

/// A command whose arguments are right.
pub enum Prepared {
    /// It is ready for the device's thread.
    Job(Job),
    /// It is answered.
    Answered(Result<Value, Refusal>),
}

/// What the device's thread is to call until it has an answer.
pub type Job = Box<dyn FnMut(&mut Device<'_>) -> Option<Result<Value, Refusal>> + Send>;

/// A command as the table has it.
pub struct Row {
    /// How it is called.
    pub name: &'static str,
    /// The schema of its arguments, with its description.
    pub arguments: fn() -> Schema,
    /// The schema of its answer.
    pub answer: fn() -> Schema,
    prepare: fn(Map<String, Value>) -> Result<Prepared, ProtocolError>,
}

const fn row<C: Execute>() -> Row {
    Row {
        name: C::NAME,
        arguments: read_schema::<C>,
        answer: written_schema::<C::Answer>,
        prepare: prepare_execute::<C>,
    }
}

/// Of one that is about a controller: its arguments may name which.
const fn row_of_controller<C: Execute>() -> Row {
    Row { arguments: read_schema_of_controller::<C>, prepare: prepare_of_controller::<C>, ..row::<C>() }
}

const fn row_immediate<C: Tell>() -> Row {
    Row {
        name: C::NAME,
        arguments: read_schema::<C>,
        answer: written_schema::<C::Answer>,
        prepare: prepare_immediate::<C>,
    }
}

const fn row_long<C: LongCommand>() -> Row {
    Row { name: C::NAME, arguments: read_schema::<C>, answer: written_schema::<C::Answer>, prepare: prepare_long::<C> }
}

/// The schema of what is read.
fn read_schema<T: JsonSchema>() -> Schema {
    schema::<T>(SchemaSettings::default().for_deserialize())
}

/// The same, and which controller is meant.
fn read_schema_of_controller<T: JsonSchema>() -> Schema {
    let mut schema = read_schema::<T>();
    let which = json!({
        "description": "CNTLID of the controller that is meant: 0 without it.", "type": "integer", "format": "uint16", "minimum": 0,
        "maximum": CONTROLLERS_MAX - 1,
    });
    let object = schema.ensure_object();
    let alternatives = object.get_mut("oneOf").and_then(Value::as_array_mut).filter(|list| !list.is_empty());
    let places: Vec<&mut Map<String, Value>> = match alternatives {
        Some(list) => list.iter_mut().filter_map(Value::as_object_mut).collect(),
        None => vec![object],
    };
    for place in places {
        let properties = place.entry("properties").or_insert_with(|| json!({}));
        properties[CONTROLLER] = which.clone();
    }
    schema
}

/// The schema of what is written.
pub fn written_schema<T: JsonSchema>() -> Schema {
    schema::<T>(SchemaSettings::default().for_serialize())
}

/// Without references to other places.
fn schema<T: JsonSchema>(settings: SchemaSettings) -> Schema {
    let settings = settings.with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema
}

/// Finds a command and checks its arguments.
///
/// # Errors
/// There is no such command, or it does not take these arguments.
pub fn prepare(name: &str, arguments: Map<String, Value>) -> Result<Prepared, ProtocolError> {
    let row = COMMANDS.iter().find(|row| row.name == name);
    let row = row.ok_or_else(|| ProtocolError::not_found(no_such_command(name)))?;
    (row.prepare)(arguments)
}

/// That there is no such command, and which one may be meant.
pub fn no_such_command(name: &str) -> String {
    let nearest = COMMANDS.iter().map(|row| row.name).min_by_key(|known| strsim::damerau_levenshtein(name, known));
    let nearest = nearest.unwrap_or_default();
    format!("there is no command `{name}`: `{nearest}` is the nearest, and `query-commands` lists them all")
}

/// Reads the arguments of a command.
///
/// # Errors
/// The first one that is wrong.
pub fn read<C: DeserializeOwned>(arguments: Map<String, Value>) -> Result<C, ProtocolError> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let place = error.path().to_string();
        let why = error.into_inner();
        let why = in_words(&why.to_string());
        ProtocolError::generic(if place == "." { why } else { format!("`{place}`: {why}") })
    })
}

/// What serde says of JSON that does not fit, in words for somebody who gave arguments.
fn in_words(why: &str) -> String {
    if let Some(name) = why.strip_prefix("missing field ") {
        return format!("{name} is missing: give it");
    }
    for (start, what) in [("unknown field ", "argument"), ("unknown variant ", "choice")] {
        let Some((name, known)) = why.strip_prefix(start).and_then(|rest| rest.split_once(", ")) else { continue };
        let known = known.trim_start_matches("expected one of ").trim_start_matches("expected ");
        return match known {
            "there are no fields" => format!("there is no {what} {name}: it takes none"),
            known => format!("there is no {what} {name}: give {known}"),
        };
    }
    let Some((found, expected)) = why.split_once(", expected ") else { return why.to_owned() };
    let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
    let wanted = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number from 0 to 18446744073709551615",
        "a boolean" => "true or false",
        other => other,
    };
    format!("{found} is not valid here: give {wanted}")
}

fn prepare_execute<C: Execute>(arguments: Map<String, Value>) -> Result<Prepared, ProtocolError> {
    let mut command = Some(read::<C>(arguments)?);
    Ok(Prepared::Job(Box::new(move |device| {
        let command = command.take().expect("whatever was answered is not called again");
        Some(command.execute(device).map(|answer| to_value(&answer)))
    })))
}

/// The argument that names a controller.
const CONTROLLER: &str = "controller";

fn prepare_of_controller<C: Execute>(mut arguments: Map<String, Value>) -> Result<Prepared, ProtocolError> {
    #[derive(Deserialize)]
    struct Which {
        controller: u16,
    }
    let named =
        arguments.remove(CONTROLLER).map(|value| read::<Which>([(CONTROLLER.to_owned(), value)].into_iter().collect()));
    let id = ControllerId(named.transpose()?.map_or(0, |which| which.controller));
    let Prepared::Job(mut job) = prepare_execute::<C>(arguments)? else { unreachable!("what is executed is a job") };
    Ok(Prepared::Job(Box::new(move |device| {
        if device.subsystem.ids().all(|there| there != id) {
            return Some(Err(no_controller(device, id)));
        }
        let usual = std::mem::replace(&mut device.id, id);
        let answer = job(device);
        device.id = usual;
        answer
    })))
}

fn no_controller(device: &Device<'_>, id: ControllerId) -> Refusal {
    let there: Vec<String> = device.subsystem.ids().map(|id| id.0.to_string()).collect();
    Refusal::new(format!("there is no controller {}: give one of {}", id.0, there.join(", ")))
}

fn prepare_immediate<C: Tell>(arguments: Map<String, Value>) -> Result<Prepared, ProtocolError> {
    read::<C>(arguments).map(|command| Prepared::Answered(command.tell()))
}

fn prepare_long<C: LongCommand>(arguments: Map<String, Value>) -> Result<Prepared, ProtocolError> {
    let command = read::<C>(arguments)?;
    let mut begun = false;
    Ok(Prepared::Job(Box::new(move |device| {
        if !std::mem::replace(&mut begun, true)
            && let Err(refusal) = command.begin(device)
        {
            return Some(Err(refusal));
        }
        command.ended(device).map(|ended| ended.map(|answer| to_value(&answer)))
    })))
}

fn to_value(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).expect("an answer is JSON")
}
