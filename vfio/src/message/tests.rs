//! Requests and replies, byte by byte. The bytes are typed from the specification's tables, not from the code.

use proptest::prelude::*;

use super::flags::{DmaMapFlags, DmaUnmapFlags};
use super::*;

fn header(command: Command) -> Header {
    Header { id: 0x1234, command, size: 16, flags: 0, error: 0 }
}

/// For each command: the shortest payload that is right, and what it means.
fn samples() -> Vec<(Command, Vec<u8>, Request<'static>)> {
    let access = RegionAccess { offset: 0x14, region: 7, count: 4 };
    vec![
        (Command::VERSION, vec![0, 0, 1, 0], Request::Version(Version { major: 0, minor: 1, capabilities: b"" })),
        (
            Command::DMA_MAP,
            [
                &[32, 0, 0, 0, 3, 0, 0, 0][..],
                &[0, 0x10, 0, 0, 0, 0, 0, 0],
                &[0, 0, 0x10, 0, 0, 0, 0, 0],
                &[0, 0x20, 0, 0, 0, 0, 0, 0],
            ]
            .concat(),
            Request::DmaMap(DmaMap { flags: DmaMapFlags::all(), offset: 0x1000, address: 0x10_0000, length: 0x2000 }),
        ),
        (
            Command::DMA_UNMAP,
            [&[24, 0, 0, 0, 2, 0, 0, 0][..], &[0, 0, 0x10, 0, 0, 0, 0, 0], &[0, 0x20, 0, 0, 0, 0, 0, 0]].concat(),
            Request::DmaUnmap(DmaUnmap {
                argument_bytes: 24,
                flags: DmaUnmapFlags::ALL,
                address: 0x10_0000,
                length: 0x2000,
            }),
        ),
        (Command::DEVICE_GET_INFO, [&[16, 0, 0, 0][..], &[0; 12]].concat(), Request::DeviceInfo),
        (
            Command::DEVICE_GET_REGION_INFO,
            [&[32, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0][..], &[0; 20]].concat(),
            Request::RegionInfo { argument_bytes: 32, index: 7 },
        ),
        (
            Command::DEVICE_GET_IRQ_INFO,
            vec![16, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
            Request::InterruptInfo { index: 2 },
        ),
        (
            Command::DEVICE_SET_IRQS,
            vec![23, 0, 0, 0, 0x12, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 1, 0, 1],
            Request::SetInterrupts(SetInterrupts {
                index: 2,
                start: 5,
                count: 3,
                action: Action::Unmask,
                data: InterruptData::Bool(&[1, 0, 1]),
            }),
        ),
        (Command::REGION_READ, vec![0x14, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0], Request::RegionRead(access)),
        (
            Command::REGION_WRITE,
            vec![0x14, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4],
            Request::RegionWrite(access, &[1, 2, 3, 4]),
        ),
        (Command::DEVICE_RESET, vec![], Request::Reset),
    ]
}

#[test]
fn every_command_means_what_the_specification_says() {
    for (command, payload, meaning) in samples() {
        assert_eq!(Request::parse(&header(command), &payload), Ok(meaning));
    }
}

/// SPDK pads its region query to 4080 bytes.
#[test]
fn bytes_after_the_arguments_are_accepted() {
    for (command, mut payload, meaning) in samples() {
        payload.resize(4080, 0);
        assert_eq!(Request::parse(&header(command), &payload), Ok(meaning));
    }
}

/// E37.
#[test]
fn every_truncation_of_every_payload_is_refused() {
    for (command, payload, _) in samples() {
        for cut in 0..payload.len() {
            assert_eq!(
                Request::parse(&header(command), &payload[..cut]),
                Err(Errno::INVAL),
                "{command:?} cut to {cut}"
            );
        }
    }
}

#[test]
fn commands_that_are_not_offered_are_refused_as_such() {
    let known: Vec<Command> = samples().into_iter().map(|(command, ..)| command).collect();
    for number in 0..=u16::MAX {
        let command = Command(number);
        if !known.contains(&command) {
            assert_eq!(Request::parse(&header(command), &[0; 64]), Err(Errno::NOTSUP));
        }
    }
}

#[test]
fn an_info_request_has_room_for_its_reply() {
    for (command, bytes) in
        [(Command::DEVICE_GET_INFO, 16), (Command::DEVICE_GET_REGION_INFO, 32), (Command::DEVICE_GET_IRQ_INFO, 16)]
    {
        let mut payload = vec![0; bytes];
        payload[0] = u8::try_from(bytes).expect("small") - 1;
        assert_eq!(Request::parse(&header(command), &payload), Err(Errno::INVAL));
        payload[..4].fill(0xff);
        assert!(Request::parse(&header(command), &payload).is_ok(), "room for more is nobody's harm (E32)");
    }
}

#[test]
fn setting_interrupts_takes_exactly_one_action_and_one_kind_of_data() {
    for flags in 0..=0xff_u32 {
        let mut payload = [0; 21];
        payload[4..8].copy_from_slice(&flags.to_le_bytes());
        payload[16] = 1;
        let one = |bits: u32| bits.count_ones() == 1;
        let expected = one(flags & 7) && one(flags >> 3 & 7) && flags >> 6 == 0;
        assert_eq!(Request::parse(&header(Command::DEVICE_SET_IRQS), &payload).is_ok(), expected, "flags {flags:#x}");
    }
}

#[test]
fn capabilities_end_at_the_first_zero() {
    let payload = b"\0\0\0\0{\"a\":1}\0garbage";
    let Ok(Request::Version(version)) = Request::parse(&header(Command::VERSION), payload) else { panic!("refused") };
    assert_eq!(version.capabilities, b"{\"a\":1}");
}

#[test]
fn replies_echo_and_errors_are_never_zero() {
    let request = header(Command::REGION_READ);
    let bytes = Reply::to(&request).u16(1).u32(2).u64(3).bytes(&[9]).finish();
    assert_eq!(&bytes[..16], [0x34, 0x12, 9, 0, 31, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(&bytes[16..], [1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 9]);
    let refusal = Reply::refuse(&request, Errno(0)).finish();
    assert_eq!(refusal, [0x34, 0x12, 9, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0]);
}

/// QEMU's receive buffer for the VERSION reply is its own request, of 214 bytes.
#[test]
fn the_version_reply_fits_where_qemu_has_room() {
    let reply = Reply::to(&header(Command::VERSION)).u16(0).u16(0).bytes(VERSION_REPLY_JSON).finish();
    assert!(reply.len() <= 214);
    assert_eq!(reply.last(), Some(&0));
}

proptest! {
    #[test]
    fn headers_survive_the_wire(bytes in any::<[u8; HEADER_BYTES]>()) {
        let header = Header::parse(&bytes).expect("16 bytes are a header");
        prop_assert_eq!(header.encode(), bytes);
    }

    #[test]
    fn any_bytes_are_a_request_or_an_errno(command in 0_u16..20, payload in proptest::collection::vec(any::<u8>(), 0..100)) {
        if let Err(errno) = Request::parse(&header(Command(command)), &payload) {
            prop_assert!(errno == Errno::INVAL || errno == Errno::NOTSUP);
        }
    }

    /// However a stream is cut into reads, it holds the same messages.
    #[test]
    fn any_stream_decodes_alike_whole_and_in_pieces(
        stream in proptest::collection::vec(prop_oneof![3 => 0_u8..24, 1 => any::<u8>()], 0..400),
        piece in 1_usize..50,
    ) {
        prop_assert_eq!(decode(&stream, stream.len().max(1)), decode(&stream, piece));
    }
}

fn decode(stream: &[u8], piece: usize) -> Vec<(Header, Vec<u8>)> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for part in stream.chunks(piece) {
        decoder.feed(part);
        loop {
            match decoder.step() {
                Step::Need(_) => break,
                Step::Message(frame) => found.push((frame.header, decoder.payload(&frame).to_vec())),
                Step::Oversize(header) => found.push((header, Vec::new())),
                Step::Broken(header) => {
                    found.push((header, Vec::new()));
                    return found;
                }
            }
        }
    }
    found
}
