//! Events of the controller become commands that begin and end, for whoever writes commands.

use std::collections::BTreeMap;
use std::io;

use controller::watch::{CommandName, ShutdownState, TraceEvent, Traced};
use nvme_spec::command::{CopyRange, DatasetRange};
use nvme_spec::opcode::NvmOpcode;
use nvme_spec::{Command, Completion};
use serde_json::{Value, json};
use zerocopy::IntoBytes;

use super::{Remark, Sink};
use crate::watched::{Begun, Drive, Ended, Watcher};

/// Bits 1:0 of an opcode whose data goes to the controller.
const TO_CONTROLLER: u8 = 0b01;
/// There is one controller.
const CONTROLLER: u16 = 0;

/// A command whose beginning is not told yet, because what it carries is not known.
struct Begins {
    time_ns: u64,
    entry: Command,
    data: Vec<u8>,
}

/// See the file's text.
pub(super) struct Commands<V> {
    view: V,
    /// What is added to times.
    origin_ns: u64,
    /// What commands carry is wanted.
    data: bool,
    /// By queue and identifier.
    begins: BTreeMap<(u16, u16), Begins>,
    /// What is brought to the host, by queue and identifier, until the command ends.
    brought: BTreeMap<(u16, u16), Vec<u8>>,
    /// The time of the last event.
    time_ns: u64,
}

impl<V: Watcher> Commands<V> {
    pub(super) const fn new(view: V, origin_ns: u64, data: bool) -> Self {
        Self { view, origin_ns, data, begins: BTreeMap::new(), brought: BTreeMap::new(), time_ns: 0 }
    }

    fn begun(&mut self, (queue, _): (u16, u16), begins: &Begins) -> io::Result<()> {
        let command = &begins.entry.to_bytes();
        let data = (!begins.data.is_empty()).then_some(&begins.data[..]);
        self.view.begun(&Begun { time_ns: begins.time_ns, controller: CONTROLLER, queue, command, data })
    }

    /// Tells what was held back of commands of which nothing more is to be said: without data, no event but these stands between an entry
    /// and its ranges; with data, a command may wait for another one before its data is pulled.
    fn let_begin(&mut self, event: &TraceEvent) -> io::Result<()> {
        match *event {
            TraceEvent::Range { .. }
            | TraceEvent::Pointers { .. }
            | TraceEvent::Piece { .. }
            | TraceEvent::Data { .. } => Ok(()),
            TraceEvent::MediaBegun { command } | TraceEvent::Completed { command, .. } if self.data => {
                match self.begins.remove_entry(&place(command)) {
                    Some((place, begins)) => self.begun(place, &begins),
                    None => Ok(()),
                }
            }
            TraceEvent::Reset { .. } | TraceEvent::PowerLost => self.let_all_begin(),
            _ if self.data => Ok(()),
            _ => self.let_all_begin(),
        }
    }

    fn let_all_begin(&mut self) -> io::Result<()> {
        while let Some((place, begins)) = self.begins.pop_first() {
            self.begun(place, &begins)?;
        }
        Ok(())
    }

    fn fetched(&mut self, time_ns: u64, command: CommandName, entry: Command) -> io::Result<()> {
        let (place, begins) = (place(command), Begins { time_ns, entry, data: Vec::new() });
        let carries = self.data && entry.opcode & 0b11 == TO_CONTROLLER;
        if carries || lists_ranges(command, &entry) {
            // An identifier that is used again: whoever had it before has no data.
            return match self.begins.insert(place, begins) {
                Some(before) => self.begun(place, &before),
                None => Ok(()),
            };
        }
        self.begun(place, &begins)
    }

    fn range(&mut self, command: CommandName, first: u64, blocks: u32) {
        let Some(begins) = self.begins.get_mut(&place(command)) else { return };
        if NvmOpcode(begins.entry.opcode) == NvmOpcode::COPY {
            let nlb_z = nvme_spec::command::low16(blocks.saturating_sub(1)).into();
            begins.data.extend(CopyRange { slba: first.into(), nlb_z, ..CopyRange::default() }.as_bytes());
        } else {
            let range = DatasetRange { slba: first.into(), blocks: blocks.into(), ..DatasetRange::default() };
            begins.data.extend(range.as_bytes());
        }
    }

    /// What a command carries. The ranges that were told before are the same.
    fn data(&mut self, command: CommandName, to_host: bool, data: &[u8]) {
        if !self.data {
            return;
        }
        if to_host {
            self.brought.insert(place(command), data.to_vec());
        } else if let Some(begins) = self.begins.get_mut(&place(command)) {
            begins.data = data.to_vec();
        }
    }

    fn ended(&mut self, time_ns: u64, completion: &Completion) -> io::Result<()> {
        let data = self.brought.remove(&(completion.sqid.get(), completion.cid.get()));
        let completion: &[u8; 16] = completion.as_bytes().try_into().expect("an entry has 16 bytes");
        self.view.ended(&Ended { time_ns, controller: CONTROLLER, completion, data: data.as_deref() })
    }

    fn mark(&mut self, time_ns: u64, event: &TraceEvent) -> io::Result<()> {
        let (name, details) = match event {
            TraceEvent::Reset { kind, dropped } => {
                ("reset", json!({ "kind": format!("{kind:?}"), "commands dropped": dropped }))
            }
            TraceEvent::Enabled { configuration, .. } => {
                ("enabled", json!({ "CC": format!("{:#x}", configuration.0) }))
            }
            TraceEvent::Fatal { reason, .. } => ("CSTS.CFS", json!({ "reason": format!("{reason:?}") })),
            TraceEvent::Shutdown { state: ShutdownState::Begun } => ("shutdown", Value::Null),
            TraceEvent::Shutdown { state: ShutdownState::Complete } => ("shutdown complete", Value::Null),
            TraceEvent::FaultHit { fault, .. } => ("fault", json!({ "number": fault })),
            TraceEvent::PowerLost => ("power lost", Value::Null),
            TraceEvent::PowerRestored => ("power restored", Value::Null),
            TraceEvent::AccessChanged { group, state } => {
                ("ANA state", json!({ "group": group, "state": state.name() }))
            }
            TraceEvent::NamespaceChanged { nsid, blocks, block_bytes, .. } => {
                ("namespace changed", json!({ "nsid": nsid, "blocks": blocks, "block_bytes": block_bytes }))
            }
            _ => return Ok(()),
        };
        self.view.mark(time_ns, CONTROLLER, name, &details)
    }
}

impl<V: Watcher + Send> Sink for Commands<V> {
    fn event(&mut self, traced: &Traced, data: Option<&[u8]>) -> io::Result<()> {
        let time_ns = self.origin_ns.saturating_add(traced.time.0);
        self.time_ns = time_ns;
        self.let_begin(&traced.event)?;
        match traced.event {
            TraceEvent::Fetched { command, entry } => return self.fetched(time_ns, command, entry),
            TraceEvent::Data { command, to_host, .. } => self.data(command, to_host, data.unwrap_or_default()),
            TraceEvent::Range { command, first, blocks } => self.range(command, first, blocks),
            TraceEvent::CompletionWritten { entry, .. } => return self.ended(time_ns, &entry),
            TraceEvent::Reset { .. } | TraceEvent::PowerLost => {
                self.brought.clear();
                self.view.forgotten(time_ns, CONTROLLER)?;
            }
            _ => {}
        }
        self.mark(time_ns, &traced.event)
    }

    fn remark(&mut self, remark: &Remark) -> io::Result<()> {
        match remark {
            Remark::Dropped(count) => {
                self.view.mark(self.time_ns, CONTROLLER, "events dropped", &json!({ "count": count }))
            }
            Remark::Selection(_) => Ok(()),
            Remark::Sample(sample) => self.view.sample(*sample),
            Remark::Drive(drive) => {
                let time_ns = self.origin_ns.saturating_add(drive.time_ns);
                self.view.drive(CONTROLLER, &Drive { time_ns, ..*drive })
            }
            Remark::Mark { time_ns, name, details } => {
                self.view.mark(self.origin_ns.saturating_add(*time_ns), CONTROLLER, name, details)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.view.flush()
    }

    fn close(mut self: Box<Self>) -> io::Result<()> {
        self.let_all_begin()?;
        Box::new(self.view).close()
    }
}

fn place(command: CommandName) -> (u16, u16) {
    (command.queue, command.identifier)
}

/// Whether the blocks of a command stand in guest memory, and events tell them.
fn lists_ranges(command: CommandName, entry: &Command) -> bool {
    command.queue != 0 && [NvmOpcode::DATASET_MANAGEMENT, NvmOpcode::COPY].contains(&NvmOpcode(entry.opcode))
}
