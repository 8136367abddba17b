//! What happens to the memory of commands that are under way: H52, H53, H55. Only with [`controller::watch::Detail::Memory`].

use controller::watch::{CommandName, TraceEvent, Traced};
use nvme_spec::opcode::NvmOpcode;

use crate::found::{Finding, Found};
use crate::host::{HostState, Outstanding};
use crate::rules::Rule;

pub(crate) fn judge(host: &HostState, traced: &Traced, found: &mut Found) {
    match traced.event {
        TraceEvent::Piece { command, address, length, .. } => piece(host, command, (address, length), found),
        TraceEvent::EntryChanged { command, entry } => {
            let text = format!(
                "the entry of command {} of queue {} was rewritten before its slot was given back",
                command.identifier, command.queue
            );
            found.report(Finding::new(Rule::H55, entry.opcode.into(), 0, text).of(command, Some(entry)));
        }
        _ => {}
    }
}

/// Whether the device writes to the memory of a command.
fn fills(command: &Outstanding) -> bool {
    command.name.queue != 0 && NvmOpcode(command.entry.opcode) == NvmOpcode::READ
}

fn piece(host: &HostState, name: CommandName, piece: (u64, u64), found: &mut Found) {
    let Some(own) = host.outstanding.get(&(name.queue, name.identifier)) else { return };
    let submissions = host.submissions.iter().map(|(id, queue)| (*id, (queue.base, u64::from(queue.entries) * 64)));
    let completions = host.completions.iter().map(|(id, queue)| (*id, (queue.base, u64::from(queue.entries) * 16)));
    if let Some((id, _)) = submissions.chain(completions).find(|(_, queue)| overlap(piece, *queue)) {
        let text = format!("the data of a command lies in the memory of queue {id}");
        found.report(Finding::new(Rule::H53, piece.0, id.into(), text).of(name, Some(own.entry)));
    }
    if name.queue == 0 {
        return;
    }
    // Writes may share their source; what a Read fills is nobody else's.
    let others = host.outstanding.values().filter(|other| other.name != name && other.name.queue != 0);
    for other in others.filter(|other| fills(other) || fills(own)) {
        if let Some(shared) = other.pieces.iter().find(|other| overlap(piece, **other)) {
            let text = format!(
                "the buffer of command {} of queue {} is also that of command {} of queue {}",
                name.identifier, name.queue, other.name.identifier, other.name.queue
            );
            found.report(Finding::new(Rule::H52, piece.0, shared.0, text).of(name, Some(own.entry)));
            return;
        }
    }
}

fn overlap((one, one_bytes): (u64, u64), (other, other_bytes): (u64, u64)) -> bool {
    one < other.saturating_add(other_bytes) && other < one.saturating_add(one_bytes)
}
