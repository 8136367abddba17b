//! An event in a line of text, for people.

use controller::watch::{CommandName, TraceEvent};
use nvme_spec::opcode::{self, NvmOpcode};
use nvme_spec::{Command, Status};

/// One line, without a time.
#[must_use]
pub fn describe(event: &TraceEvent) -> String {
    match *event {
        TraceEvent::RegisterRead { offset, bytes, value, refused } => {
            format!("register read: {bytes} bytes at {offset:#x}: {value:#x}{}", why(refused))
        }
        TraceEvent::RegisterWritten { offset, bytes, value, refused } => {
            format!("register written: {bytes} bytes at {offset:#x}: {value:#x}{}", why(refused))
        }
        TraceEvent::Doorbell { path, queue, tail, value, refused } => {
            let side = if tail { "tail" } else { "head" };
            format!("doorbell: {side} of queue {queue} = {value} by {path:?}{}", why(refused))
        }
        TraceEvent::DoorbellRead { offset } => format!("doorbell read at {offset:#x}"),
        TraceEvent::Fetched { command, entry } => format!("fetched: {}", command_line(command, &entry)),
        TraceEvent::Range { command, first, blocks } => format!("range: {}: {blocks} blocks at {first}", name(command)),
        TraceEvent::Pointers { command, pieces, bytes } => {
            format!("pointers: {}: {bytes} bytes in {pieces} pieces", name(command))
        }
        TraceEvent::Piece { command, address, length, metadata } => {
            let of = if metadata { "metadata" } else { "data" };
            format!("piece: {}: {of} at {address:#x}, {length} bytes", name(command))
        }
        TraceEvent::Data { command, length, to_host } => {
            let way = if to_host { "to the host" } else { "from the host" };
            format!("data: {}: {length} bytes {way}", name(command))
        }
        TraceEvent::MediaBegun { command } => format!("media begun: {}", name(command)),
        TraceEvent::MediaEnded { command, succeeded } => {
            format!("media ended: {}: {}", name(command), if succeeded { "success" } else { "failure" })
        }
        TraceEvent::Completed { command, status, result, reason, .. } => {
            let why = reason.map(|reason| format!(": {}", reason.text())).unwrap_or_default();
            format!("completed: {}: status {}, dword 0 {result:#x}{why}", name(command), status_text(status))
        }
        TraceEvent::CompletionWritten { queue, slot, entry } => format!(
            "completion written: queue {queue} slot {slot}: command {} of queue {}, head {}, status {}, phase {}",
            entry.cid.get(),
            entry.sqid.get(),
            entry.sq_head.get(),
            status_text(entry.status()),
            entry.status_and_phase.get() & 1
        ),
        TraceEvent::Message { vector } => format!("interrupt: vector {vector}"),
        TraceEvent::Pin { asserted } => format!("interrupt: pin {}", if asserted { "asserted" } else { "released" }),
        TraceEvent::Reset { kind, dropped } => format!("reset: {kind:?}, {dropped} commands dropped"),
        TraceEvent::Enabled { configuration, attributes, submission, completion } => {
            format!("enabled: CC {:#x}, AQA {attributes:#x}, ASQ {submission:#x}, ACQ {completion:#x}", configuration.0)
        }
        TraceEvent::Fatal { reason, value, bound } => format!("CSTS.CFS: {reason:?}: {value:#x}, bound {bound:#x}"),
        TraceEvent::Shutdown { state } => format!("shutdown: {state:?}"),
        TraceEvent::EventRaised { event } => format!("event raised: {:#x}", event.dword()),
        TraceEvent::EventReported { event } => format!("event reported: {:#x}", event.dword()),
        TraceEvent::StaleCompletions { queue, entries, first } => {
            format!("completion queue {queue} was created with {entries} entries of phase 1, the first in slot {first}")
        }
        TraceEvent::EntryChanged { command, entry } => format!("entry changed: now {}", command_line(command, &entry)),
        TraceEvent::BusMaster { enabled } => format!("bus master {}", if enabled { "on" } else { "off" }),
        TraceEvent::InterruptMode { messages } => {
            format!("interrupts by {}", if messages { "MSI-X" } else { "the pin" })
        }
        TraceEvent::FaultHit { fault, command } => format!("fault {fault} hit") + &of(command),
        TraceEvent::DataChanged { command, .. } => {
            format!("a fault changed data of {}", name(command)) + &changed(event)
        }
        TraceEvent::PowerLost => "power lost".to_owned(),
        TraceEvent::PowerRestored => "power restored".to_owned(),
        TraceEvent::AccessChanged { group, state } => format!("access to ANA group {group} is {} now", state.name()),
        TraceEvent::NamespaceChanged { nsid, blocks, .. } => format!("namespace {nsid} has {blocks} blocks now"),
    }
}

fn of(command: Option<CommandName>) -> String {
    command.map(|command| format!(": {}", name(command))).unwrap_or_default()
}

/// Which bytes are others.
fn changed(event: &TraceEvent) -> String {
    let TraceEvent::DataChanged { offset, bytes, count, .. } = event else { return String::new() };
    let bytes: String = bytes.iter().take((*count).into()).map(|byte| format!("{byte:02x}")).collect();
    format!(", from byte {offset}: {bytes}")
}

/// A queue entry in a line.
#[must_use]
pub fn command_line(command: CommandName, entry: &Command) -> String {
    let admin = command.queue == 0;
    let kind = opcode::name(command.queue, entry.opcode);
    let kind = kind.unwrap_or(if admin { "unknown admin command" } else { "unknown I/O command" });
    let blocks = NvmOpcode(entry.opcode).names_blocks() && !admin;
    let arguments = if blocks {
        let force = if entry.force_unit_access() { " FUA" } else { "" };
        format!("LBA {} + {}{force}", entry.slba(), u32::from(entry.nlb_z()) + 1)
    } else {
        format!("dwords 10, 11: {:#x}, {:#x}", entry.cdw10.get(), entry.cdw11.get())
    };
    format!("{}: {kind} ({:02x}h), namespace {:#x}, {arguments}", name(command), entry.opcode, entry.nsid.get())
}

fn name(command: CommandName) -> String {
    format!("command {} of queue {}", command.identifier, command.queue)
}

fn why<T: std::fmt::Debug>(refused: Option<T>) -> String {
    refused.map(|refused| format!(", without effect: {refused:?}")).unwrap_or_default()
}

fn status_text(status: Status) -> String {
    if status.is_success() {
        return "success".to_owned();
    }
    let retry = if status.do_not_retry() { " DNR" } else { "" };
    format!("{:x}h/{:02x}h{retry}", status.code_type(), status.code())
}
