//! A capture that Wireshark opens as NVMe over TCP. There is no link type for NVMe over PCI Express, so each queue pair becomes a
//! connection as NVMe/TCP would have it: handshake, ICReq and ICResp, Fabrics Connect; then commands are capsules, and data, where there is
//! any, is sent as that transport sends it. Commands themselves are as the host wrote them: their PRP entries are shown as an SGL
//! descriptor.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nvme_spec::Completion;
use zerocopy::FromBytes;

use super::packet::{DATA_BYTES_MAX, End, PACKET_BYTES_MAX, Segment, flag, packet};
use crate::watched::{Begun, Ended, Watcher};

/// Of a classic capture whose times are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
/// The port of NVMe/TCP's subsystems.
const PORT: u16 = 4420;
/// The first of the ports that hosts take.
const HOST_PORT: u16 = 49152;
/// What goes with a command in its capsule; more follows as H2CData.
const IN_CAPSULE_BYTES_MAX: usize = 8192;
/// Data of one PDU.
const PDU_DATA_BYTES_MAX: usize = 32 << 10;

/// Types of PDUs (NVMe/TCP Transport 1.1, section 3.6.2).
mod pdu {
    pub const IC_REQUEST: u8 = 0x00;
    pub const IC_RESPONSE: u8 = 0x01;
    pub const COMMAND: u8 = 0x04;
    pub const RESPONSE: u8 = 0x05;
    pub const DATA_TO_CONTROLLER: u8 = 0x06;
    pub const DATA_TO_HOST: u8 = 0x07;
    /// Flag: no data follows.
    pub const LAST: u8 = 1 << 2;
}

/// A queue pair as a connection.
#[derive(Clone, Copy, Debug)]
struct Stream {
    host: End,
    controller: End,
    /// Bytes sent so far, by host and by controller.
    sent: (u32, u32),
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Host,
    Controller,
}

/// Writes such a file.
#[derive(Debug)]
pub struct Pcap<W: Write> {
    into: W,
    /// By controller and queue.
    streams: BTreeMap<(u16, u16), Stream>,
    /// Connections so far.
    connections: u32,
}

impl<W: Write> Pcap<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of `into`.
    ///
    /// # Panics
    /// Never: a packet's length fits 32 bits.
    pub fn create(mut into: W) -> io::Result<Self> {
        let snapshot = u32::try_from(PACKET_BYTES_MAX).expect("a packet is short");
        into.write_all(&MAGIC.to_le_bytes())?;
        // Version 2.4.
        into.write_all(&[2, 0, 4, 0])?;
        for word in [0, 0, snapshot, ETHERNET] {
            into.write_all(&u32::to_le_bytes(word))?;
        }
        Ok(Self { into, streams: BTreeMap::new(), connections: 0 })
    }

    /// A command began.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn command_begun(&mut self, begun: &Begun<'_>) -> io::Result<()> {
        let place = (begun.controller, begun.queue);
        self.connect(place, begun.time_ns)?;
        let data = begun.data.unwrap_or_default();
        let (inside, behind) = if data.len() <= IN_CAPSULE_BYTES_MAX { (data, &[][..]) } else { (&[][..], data) };
        let capsule = pdu_of(pdu::COMMAND, 0, begun.command, inside);
        self.send(place, begun.time_ns, Sender::Host, &capsule)?;
        let cid = [begun.command[2], begun.command[3]];
        self.send_data(place, begun.time_ns, Sender::Host, cid, behind)
    }

    /// A command ended. One of a queue of which no command was seen is left out.
    ///
    /// # Errors
    /// Those of what is written to.
    ///
    /// # Panics
    /// Never: 16 bytes are a completion.
    pub fn command_ended(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        let completion = Completion::read_from_bytes(ended.completion).expect("an entry has 16 bytes");
        let place = (ended.controller, completion.sqid.get());
        if !self.streams.contains_key(&place) {
            return Ok(());
        }
        let cid = completion.cid.get().to_le_bytes();
        self.send_data(place, ended.time_ns, Sender::Controller, cid, ended.data.unwrap_or_default())?;
        let response = pdu_of(pdu::RESPONSE, 0, ended.completion, &[]);
        self.send(place, ended.time_ns, Sender::Controller, &response)
    }

    /// The queues of a controller are gone, by a reset or a power loss: their connections end. The next command is on a new one.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn forgotten(&mut self, time_ns: u64, controller: u16) -> io::Result<()> {
        let gone: Vec<(u16, u16)> = self.streams.keys().copied().filter(|place| place.0 == controller).collect();
        for place in gone {
            self.segment(place, time_ns, Sender::Controller, flag::FIN | flag::ACK, &[])?;
            self.streams.remove(&place);
        }
        Ok(())
    }

    /// Ends the file, which needs no mark for it.
    ///
    /// # Errors
    /// Those of what is written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.into.flush()?;
        Ok(self.into)
    }

    /// Begins the connection of a queue, if there is none.
    fn connect(&mut self, place: (u16, u16), time_ns: u64) -> io::Result<()> {
        if self.streams.contains_key(&place) {
            return Ok(());
        }
        let (controller, queue) = place;
        let ports = u32::from(u16::MAX - HOST_PORT) + 1;
        // Beyond the ports of a host there is another host.
        let [_, _, high, low] = (self.connections / ports).to_be_bytes();
        let port = HOST_PORT + u16::try_from(self.connections % ports).expect("less than all ports");
        let host = End { address: [10, 0, high, low.wrapping_add(1)], port };
        let [high, low] = controller.to_be_bytes();
        let target = End { address: [10, 1, high, low.wrapping_add(1)], port: PORT };
        self.connections = self.connections.wrapping_add(1);
        self.streams.insert(place, Stream { host, controller: target, sent: (0, 0) });

        self.segment(place, time_ns, Sender::Host, flag::SYN, &[])?;
        self.segment(place, time_ns, Sender::Controller, flag::SYN | flag::ACK, &[])?;
        self.segment(place, time_ns, Sender::Host, flag::ACK, &[])?;
        self.send(place, time_ns, Sender::Host, &pdu_of(pdu::IC_REQUEST, 0, &[0; 120], &[]))?;
        let mut agreed = [0; 120];
        // MAXH2CDATA: a power of two that is larger than any command's data.
        agreed[4..8].copy_from_slice(&(1u32 << 30).to_le_bytes());
        self.send(place, time_ns, Sender::Controller, &pdu_of(pdu::IC_RESPONSE, 0, &agreed, &[]))?;
        let (command, data) = connect_command(controller, queue);
        self.send(place, time_ns, Sender::Host, &pdu_of(pdu::COMMAND, 0, &command, &data))?;
        let mut completion = [0; 16];
        completion[..2].copy_from_slice(&controller.to_le_bytes());
        completion[10..12].copy_from_slice(&queue.to_le_bytes());
        completion[12..14].copy_from_slice(&CONNECT_CID.to_le_bytes());
        self.send(place, time_ns, Sender::Controller, &pdu_of(pdu::RESPONSE, 0, &completion, &[]))
    }

    /// Sends data of a command, in as many PDUs as it takes.
    fn send_data(
        &mut self,
        place: (u16, u16),
        time_ns: u64,
        sender: Sender,
        cid: [u8; 2],
        data: &[u8],
    ) -> io::Result<()> {
        let kind = if sender == Sender::Host { pdu::DATA_TO_CONTROLLER } else { pdu::DATA_TO_HOST };
        let mut offset: u32 = 0;
        let mut pieces = data.chunks(PDU_DATA_BYTES_MAX).peekable();
        while let Some(piece) = pieces.next() {
            let length = u32::try_from(piece.len()).expect("a piece is short");
            let mut head = [0; 16];
            head[..2].copy_from_slice(&cid);
            head[4..8].copy_from_slice(&offset.to_le_bytes());
            head[8..12].copy_from_slice(&length.to_le_bytes());
            let flags = if pieces.peek().is_none() { pdu::LAST } else { 0 };
            self.send(place, time_ns, sender, &pdu_of(kind, flags, &head, piece))?;
            offset = offset.wrapping_add(length);
        }
        Ok(())
    }

    fn send(&mut self, place: (u16, u16), time_ns: u64, sender: Sender, bytes: &[u8]) -> io::Result<()> {
        let mut pieces = bytes.chunks(DATA_BYTES_MAX);
        pieces.try_for_each(|piece| self.segment(place, time_ns, sender, flag::PUSH | flag::ACK, piece))
    }

    fn segment(&mut self, place: (u16, u16), time_ns: u64, sender: Sender, flags: u8, data: &[u8]) -> io::Result<()> {
        let stream = self.streams.get_mut(&place).expect("it was connected before");
        let (host, controller) = stream.sent;
        let (from, to, sequence, acknowledged) = match sender {
            Sender::Host => (stream.host, stream.controller, host, controller),
            Sender::Controller => (stream.controller, stream.host, controller, host),
        };
        let acknowledged = if flags & flag::ACK == 0 { 0 } else { acknowledged };
        let bytes = packet(&Segment { from, to, sequence, acknowledged, flags }, data);
        // The first and the last segment count as a byte each.
        let counted =
            u32::try_from(data.len()).expect("a segment is short") + u32::from(flags & (flag::SYN | flag::FIN) != 0);
        match sender {
            Sender::Host => stream.sent.0 = host.wrapping_add(counted),
            Sender::Controller => stream.sent.1 = controller.wrapping_add(counted),
        }
        let length = u32::try_from(bytes.len()).expect("a packet is short");
        let [seconds, rest] = [time_ns / 1_000_000_000, time_ns % 1_000_000_000];
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        for word in [seconds, u32::try_from(rest).expect("below 10^9"), length, length] {
            self.into.write_all(&word.to_le_bytes())?;
        }
        self.into.write_all(&bytes)
    }
}

impl<W: Write> Watcher for Pcap<W> {
    fn begun(&mut self, begun: &Begun<'_>) -> io::Result<()> {
        self.command_begun(begun)
    }

    fn ended(&mut self, ended: &Ended<'_>) -> io::Result<()> {
        self.command_ended(ended)
    }

    fn forgotten(&mut self, time_ns: u64, controller: u16) -> io::Result<()> {
        Self::forgotten(self, time_ns, controller)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.finish().map(drop)
    }
}

/// The identifier of the command that connects; no host's own has it.
const CONNECT_CID: u16 = 0xffff;

/// A PDU of a head and data.
fn pdu_of(kind: u8, flags: u8, head: &[u8], data: &[u8]) -> Vec<u8> {
    let head_bytes = u8::try_from(8 + head.len()).expect("a head is short");
    let length = u32::try_from(8 + head.len() + data.len()).expect("a PDU is short");
    let data_offset = if data.is_empty() { 0 } else { head_bytes };
    let mut bytes = vec![kind, flags, head_bytes, data_offset];
    bytes.extend(length.to_le_bytes());
    bytes.extend(head);
    bytes.extend(data);
    bytes
}

/// Fabrics Connect with its data (Base 2.1 section 6.3).
fn connect_command(controller: u16, queue: u16) -> ([u8; 64], Vec<u8>) {
    const DATA_BYTES: u32 = 1024;
    let mut command = [0; 64];
    command[0] = 0x7f;
    command[1] = 0x40;
    command[2..4].copy_from_slice(&CONNECT_CID.to_le_bytes());
    // The type of command: Connect.
    command[4] = 0x01;
    // Data block that begins behind the command, in its capsule.
    command[32..36].copy_from_slice(&DATA_BYTES.to_le_bytes());
    command[39] = 0x01;
    command[42..44].copy_from_slice(&queue.to_le_bytes());
    command[44..46].copy_from_slice(&[0xff, 0xff]);
    let mut data = vec![0; DATA_BYTES as usize];
    data[16..18].copy_from_slice(&controller.to_le_bytes());
    for (at, name) in [(256, "nqn.2014-08.org.nvmexpress:host"), (512, "nqn.2014-08.org.nvmexpress:brownout")] {
        data[at..at + name.len()].copy_from_slice(name.as_bytes());
    }
    (command, data)
}
