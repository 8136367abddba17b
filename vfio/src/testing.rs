//! A toy device, and the entry that fuzzers and random tests share. Not part of the crate's interface.

use std::sync::Arc;

use controller::dma::{DoorbellPage, GuestMemory};
use rustix::event::epoll;

use crate::connection::Descriptors;
use crate::message::{Command, Decoder, FLAG_ERROR, HEADER_BYTES, Header, Step, TYPE_REPLY};
use crate::pci::BAR0_BYTES;
use crate::session::{Answer, Session};
use crate::{Device, Doorbells, InterruptMode, ServerConfig};

/// Bytes of BAR0 that are the device's.
const DEVICE_BYTES: usize = 0x2000;

/// Memory in place of registers, and a record of what was asked.
#[derive(Clone, Debug)]
pub struct ToyDevice {
    /// Registers and doorbells, as written.
    pub registers: Vec<u8>,
    /// How often it was reset.
    pub resets: usize,
    /// How many writes arrived.
    pub writes: usize,
    /// The last that was said.
    pub bus_master: bool,
    /// How often it was told to send its messages again.
    pub sent_again: u32,
    /// The last that was said.
    pub mode: InterruptMode,
    /// What it answers.
    pub pin: bool,
}

impl Default for ToyDevice {
    fn default() -> Self {
        let mut toy = Self {
            registers: Vec::new(),
            resets: 0,
            writes: 0,
            bus_master: false,
            sent_again: 0,
            mode: InterruptMode::Pin,
            pin: false,
        };
        toy.power_on();
        toy
    }
}

impl ToyDevice {
    /// CAP and VS of an NVMe controller that never gets ready.
    fn power_on(&mut self) {
        self.registers = vec![0; DEVICE_BYTES];
        self.registers[..8].copy_from_slice(&0x0000_0020_1401_07ff_u64.to_le_bytes());
        self.registers[8..12].copy_from_slice(&0x0002_0100_u32.to_le_bytes());
    }

    fn range(offset: u64, length: usize) -> std::ops::Range<usize> {
        let from = usize::try_from(offset).expect("an offset in BAR0");
        assert!(length > 0 && from + length <= DEVICE_BYTES, "{offset:#x} + {length} is not the device's");
        from..from + length
    }
}

impl Device for ToyDevice {
    fn bar_read(&mut self, offset: u64, into: &mut [u8]) {
        into.copy_from_slice(&self.registers[Self::range(offset, into.len())]);
    }

    fn bar_write(&mut self, offset: u64, from: &[u8]) {
        self.writes += 1;
        self.registers[Self::range(offset, from.len())].copy_from_slice(from);
    }

    fn reset(&mut self) {
        self.resets += 1;
        self.pin = false;
        self.power_on();
    }

    fn set_bus_master(&mut self, enabled: bool) {
        self.bus_master = enabled;
    }

    fn set_interrupt_mode(&mut self, mode: InterruptMode) {
        self.mode = mode;
    }

    fn send_messages_again(&mut self) {
        self.sent_again += 1;
    }
}

/// What the first byte of a fuzzing input chooses.
const MAPPED: u8 = 1 << 0;
const NO_VECTORS: u8 = 1 << 1;
/// The input has no headers of its own but (command, flags, length of payload, payload) over and over: random bytes get further.
const FRAMED_BY_US: u8 = 1 << 2;
/// A VERSION comes first.
const NEGOTIATED: u8 = 1 << 3;

/// Feeds `input` to the framing and to the state machine, in pieces, with a toy behind it; panics if a promise is broken.
///
/// # Panics
/// That is what it is for.
pub fn fuzz_entry(input: &[u8]) {
    let [choice, piece, rest @ ..] = input else { return };
    let doorbells = if choice & MAPPED != 0 { Doorbells::Mapped } else { Doorbells::Trapped };
    let vectors = if choice & NO_VECTORS != 0 { 0 } else { 65 };
    let config = ServerConfig { doorbells, vectors, ..ServerConfig::default() };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance");
    let mut session = Session::new(&config, Arc::new(epoll)).expect("a session");
    let mut device = ToyDevice::default();
    let mut stream = Vec::new();
    if choice & NEGOTIATED != 0 {
        stream.extend(frame(Command::VERSION.0, 0, &[0; 4]));
    }
    if choice & FRAMED_BY_US != 0 {
        frame_all(rest, &mut stream);
    } else {
        stream.extend_from_slice(rest);
    }
    run(&mut session, &mut device, &stream, usize::from(*piece).max(1));
    touch(&mut session, rest);
    session.forget_client(&mut device);
    assert_eq!(session.memory.extent(), (0, 0), "nothing stays of a client");
    assert!(device.resets > 0 && !device.bus_master && device.mode == InterruptMode::Pin);
}

fn frame(command: u16, flags: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEADER_BYTES + payload.len()).expect("a short payload");
    let mut message = Header { id: 1, command: Command(command), size, flags, error: 0 }.encode().to_vec();
    message.extend_from_slice(payload);
    message
}

fn frame_all(mut rest: &[u8], stream: &mut Vec<u8>) {
    while let [command, flags, length, after @ ..] = rest {
        let (payload, next) = after.split_at(usize::from(*length).min(after.len()));
        stream.extend(frame(u16::from(command & 0x1f), u32::from(flags & 0x3f), payload));
        rest = next;
    }
}

fn run(session: &mut Session, device: &mut ToyDevice, stream: &[u8], piece: usize) {
    let mut decoder = Decoder::default();
    for mut part in stream.chunks(piece) {
        loop {
            match decoder.step() {
                Step::Broken(_) => return,
                Step::Oversize(header) => check(&header, session.refuse_oversize(&header)),
                Step::Message(frame) => {
                    let payload = decoder.payload(&frame);
                    check(&frame.header, session.handle(device, &frame.header, payload, Descriptors::default()));
                }
                Step::Need(count) => {
                    assert!(count > 0);
                    if part.is_empty() {
                        break;
                    }
                    let fed = decoder.feed(part);
                    assert!(fed > 0, "a decoder that needs bytes has space for them");
                    part = &part[fed..];
                }
            }
        }
    }
}

/// What holds of every reply.
fn check(request: &Header, answer: Option<Answer>) {
    let expected = request.kind() == 0 && request.wants_reply();
    assert_eq!(answer.is_some(), expected, "one reply to each command that wants one");
    let Some(answer) = answer else { return };
    let header = Header::parse(&answer.bytes).expect("a reply has a header");
    assert_eq!((header.id, header.command), (request.id, request.command));
    assert_eq!(header.size as usize, answer.bytes.len());
    assert_eq!(header.kind(), TYPE_REPLY);
    assert_eq!(header.flags & FLAG_ERROR != 0, header.error != 0, "an error has an errno, success has none");
    assert!(header.error == 0 || answer.bytes.len() == HEADER_BYTES, "an error reply is a header");
    assert!(answer.bytes.len() as u64 <= HEADER_BYTES as u64 + 16 + BAR0_BYTES);
}

/// The device touches memory and interrupts as they are now.
fn touch(session: &mut Session, bytes: &[u8]) {
    for eight in bytes.chunks_exact(8).take(16) {
        let number = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let mut into = [0; 64];
        // No memory of these has a descriptor, so nothing can be reached.
        assert!(session.memory.read(number, &mut into).is_err());
        assert!(session.memory.store_u64(number, number).is_err());
        assert!(!session.memory.is_mapped(number, 64));
        session.interrupts.signal_message((number & 0xffff) as u16);
        session.set_pin(number & 1 != 0);
        if let Some(page) = &session.page {
            page.store((number % 1024) as usize, 1);
        }
    }
}
