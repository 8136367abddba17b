//! What commands carry, for listeners who want it: read from guest memory when the media has pulled it, or before the host is told that it
//! is there.

use std::collections::BTreeMap;

use super::{CommandName, TraceEvent};
use crate::Controller;
use crate::dma::{GuestMemory, Segment};

/// Bits 1:0 of an opcode say which way data goes (Base 2.1 figure 92).
const TO_CONTROLLER: u8 = 0b01;
const TO_HOST: u8 = 0b10;

/// A command that has or may have data.
#[derive(Debug)]
struct Carrier {
    command: CommandName,
    direction: u8,
    /// Where its data is, once that is known.
    segments: Vec<Segment>,
}

/// Data of commands; nothing of it is kept unless somebody wants it.
#[derive(Debug, Default)]
pub(crate) struct DataWatch {
    wanted: bool,
    /// By queue and identifier.
    carriers: BTreeMap<(u16, u16), Carrier>,
    /// Of each event that tells of data, in their order.
    waiting: Vec<Vec<u8>>,
}

impl DataWatch {
    /// No command is under way any more.
    pub(super) fn clear(&mut self) {
        self.carriers.clear();
    }

    /// A command was fetched.
    pub(super) fn fetched(&mut self, command: CommandName, opcode: u8) {
        let direction = opcode & 0b11;
        if self.wanted && [TO_CONTROLLER, TO_HOST].contains(&direction) {
            let carrier = Carrier { command, direction, segments: Vec::new() };
            self.carriers.insert((command.queue, command.identifier), carrier);
        }
    }
}

/// What lies in these pieces of memory, if all of it can be read.
fn read<M: GuestMemory>(memory: &M, segments: &[Segment]) -> Option<Vec<u8>> {
    let mut bytes = vec![0; segments.iter().map(|segment| segment.length).sum()];
    let mut rest = &mut bytes[..];
    for segment in segments {
        let (piece, behind) = rest.split_at_mut(segment.length);
        memory.read(segment.address, piece).ok()?;
        rest = behind;
    }
    Some(bytes)
}

impl Controller {
    /// From now on, or no longer, events tell what commands carry. [`Self::take_traced_data`] has it.
    pub fn listen_to_data(&mut self, wanted: bool) {
        self.watch.data = DataWatch { wanted, ..DataWatch::default() };
    }

    /// Whether events tell what commands carry.
    #[must_use]
    pub fn tells_data(&self) -> bool {
        self.watch.data.wanted
    }

    /// What the events of [`TraceEvent::Data`] tell of that [`Self::take_traced`] returns next, in their order.
    pub fn take_traced_data(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.watch.data.waiting)
    }

    /// Where a command's data is has become known, and the media may have pulled it. A command that goes to the media piece by piece comes
    /// here with each of them, and its data is told once.
    pub(super) fn data_found<M: GuestMemory>(&mut self, command: CommandName, memory: &M) {
        let key = (command.queue, command.identifier);
        let data = &mut self.watch.data;
        let Some(carrier) = data.carriers.get_mut(&key).filter(|carrier| carrier.segments.is_empty()) else { return };
        carrier.segments.clone_from(&self.segments);
        if carrier.direction == TO_CONTROLLER {
            self.tell_data(command, memory);
        }
    }

    /// The host is about to be told that a command has ended: what was brought to it is there now.
    pub(super) fn data_ready<M: GuestMemory>(&mut self, key: (u16, u16), memory: &M) {
        let Some(carrier) = self.watch.data.carriers.get(&key) else { return };
        let (command, direction) = (carrier.command, carrier.direction);
        if direction == TO_HOST {
            self.tell_data(command, memory);
        }
        self.watch.data.carriers.remove(&key);
    }

    fn tell_data<M: GuestMemory>(&mut self, command: CommandName, memory: &M) {
        let data = &mut self.watch.data;
        let Some(carrier) = data.carriers.get(&(command.queue, command.identifier)) else { return };
        let (segments, to_host) = (&carrier.segments, carrier.direction == TO_HOST);
        let Some(bytes) = read(memory, segments).filter(|bytes| !bytes.is_empty()) else { return };
        let length = bytes.len() as u64;
        if self.watch.tell_listener(TraceEvent::Data { command, length, to_host }) {
            self.watch.data.waiting.push(bytes);
        }
    }
}
