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
use crate::watched::{Begun, Ended, Watcher};

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
    /// By queue and identifier.
    begins: BTreeMap<(u16, u16), Begins>,
    /// The time of the last event.
    time_ns: u64,
}

impl<V: Watcher> Commands<V> {
    pub(super) const fn new(view: V, origin_ns: u64) -> Self {
        Self { view, origin_ns, begins: BTreeMap::new(), time_ns: 0 }
    }

    fn begun(&mut self, (queue, _): (u16, u16), begins: &Begins) -> io::Result<()> {
        let command = &begins.entry.to_bytes();
        let data = (!begins.data.is_empty()).then_some(&begins.data[..]);
        self.view.begun(&Begun { time_ns: begins.time_ns, controller: CONTROLLER, queue, command, data })
    }

    /// Tells what was held back: nothing more is said of what these commands carry.
    fn let_begin(&mut self) -> io::Result<()> {
        while let Some((place, begins)) = self.begins.pop_first() {
            self.begun(place, &begins)?;
        }
        Ok(())
    }

    fn fetched(&mut self, time_ns: u64, command: CommandName, entry: Command) -> io::Result<()> {
        let (place, begins) = (place(command), Begins { time_ns, entry, data: Vec::new() });
        if lists_ranges(command, &entry) {
            self.begins.insert(place, begins);
            return Ok(());
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

    fn ended(&mut self, time_ns: u64, completion: &Completion) -> io::Result<()> {
        let completion: &[u8; 16] = completion.as_bytes().try_into().expect("an entry has 16 bytes");
        self.view.ended(&Ended { time_ns, controller: CONTROLLER, completion, data: None })
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
            TraceEvent::Resized { nsid, blocks } => ("resized", json!({ "nsid": nsid, "blocks": blocks })),
            _ => return Ok(()),
        };
        self.view.mark(time_ns, CONTROLLER, name, &details)
    }
}

impl<V: Watcher + Send> Sink for Commands<V> {
    fn event(&mut self, traced: &Traced) -> io::Result<()> {
        let time_ns = self.origin_ns.saturating_add(traced.time.0);
        self.time_ns = time_ns;
        let of_data =
            matches!(traced.event, TraceEvent::Range { .. } | TraceEvent::Pointers { .. } | TraceEvent::Piece { .. });
        if !of_data {
            self.let_begin()?;
        }
        match traced.event {
            TraceEvent::Fetched { command, entry } => return self.fetched(time_ns, command, entry),
            TraceEvent::Range { command, first, blocks } => self.range(command, first, blocks),
            TraceEvent::CompletionWritten { entry, .. } => return self.ended(time_ns, &entry),
            TraceEvent::Reset { .. } | TraceEvent::PowerLost => self.view.forgotten(time_ns, CONTROLLER)?,
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
            Remark::Mark { time_ns, name, details } => {
                self.view.mark(self.origin_ns.saturating_add(*time_ns), CONTROLLER, name, details)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.view.flush()
    }

    fn close(mut self: Box<Self>) -> io::Result<()> {
        self.let_begin()?;
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
