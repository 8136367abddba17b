//! Ethernet, IP and TCP around bytes, so that a tool for networks takes them for a connection. Big-endian, as networks are.

/// One direction's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub address: [u8; 4],
    pub port: u16,
}

/// What a segment says besides its data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub from: End,
    pub to: End,
    pub sequence: u32,
    pub acknowledged: u32,
    pub flags: u8,
}

/// Flags of a segment.
pub(super) mod flag {
    pub const FIN: u8 = 0x01;
    pub const SYN: u8 = 0x02;
    pub const PUSH: u8 = 0x08;
    pub const ACK: u8 = 0x10;
}

const ETHERNET_BYTES: usize = 14;
const IP_BYTES: usize = 20;
const TCP_BYTES: usize = 20;
/// As much data as a packet takes whose length has 16 bits.
pub(super) const DATA_BYTES_MAX: usize = 0xffff - IP_BYTES - TCP_BYTES;
/// The longest packet.
pub(super) const PACKET_BYTES_MAX: usize = ETHERNET_BYTES + 0xffff;
const IP_OF_ETHERNET: u16 = 0x0800;
const TCP: u8 = 6;

/// A packet with this data.
///
/// # Panics
/// If there is more than [`DATA_BYTES_MAX`] of it.
pub(super) fn packet(segment: &Segment, data: &[u8]) -> Vec<u8> {
    assert!(data.len() <= DATA_BYTES_MAX, "{} bytes in a packet", data.len());
    let mut bytes = Vec::with_capacity(ETHERNET_BYTES + IP_BYTES + TCP_BYTES + data.len());
    for end in [segment.to, segment.from] {
        // Addresses that belong to nobody: locally administered, with the IP address in them.
        bytes.extend([0x02, 0x00]);
        bytes.extend(end.address);
    }
    bytes.extend(IP_OF_ETHERNET.to_be_bytes());
    let ip = ip_head(segment, data.len());
    bytes.extend(ip);
    bytes.extend(tcp_head(segment, data));
    bytes.extend(data);
    bytes
}

fn ip_head(segment: &Segment, data_bytes: usize) -> [u8; IP_BYTES] {
    let mut head = [0; IP_BYTES];
    let length = u16::try_from(IP_BYTES + TCP_BYTES + data_bytes).expect("checked before");
    // Version 4, five words of head; not to be cut into fragments; 64 hops.
    head[0] = 0x45;
    head[2..4].copy_from_slice(&length.to_be_bytes());
    head[6] = 0x40;
    head[8] = 64;
    head[9] = TCP;
    head[12..16].copy_from_slice(&segment.from.address);
    head[16..20].copy_from_slice(&segment.to.address);
    let sum = checksum(&[&head]);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    head
}

fn tcp_head(segment: &Segment, data: &[u8]) -> [u8; TCP_BYTES] {
    let mut head = [0; TCP_BYTES];
    head[..2].copy_from_slice(&segment.from.port.to_be_bytes());
    head[2..4].copy_from_slice(&segment.to.port.to_be_bytes());
    head[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
    head[8..12].copy_from_slice(&segment.acknowledged.to_be_bytes());
    // Five words of head, and as large a window as there is.
    head[12] = 0x50;
    head[13] = segment.flags;
    head[14..16].copy_from_slice(&[0xff, 0xff]);
    let length = u16::try_from(TCP_BYTES + data.len()).expect("checked before");
    let mut pseudo = [0; 12];
    pseudo[..4].copy_from_slice(&segment.from.address);
    pseudo[4..8].copy_from_slice(&segment.to.address);
    pseudo[9] = TCP;
    pseudo[10..].copy_from_slice(&length.to_be_bytes());
    let sum = checksum(&[&pseudo, &head, data]);
    head[16..18].copy_from_slice(&sum.to_be_bytes());
    head
}

/// The Internet's checksum (RFC 1071) over parts that lie one behind the other; only the last may have an odd length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u64 = parts.iter().flat_map(|part| part.chunks(2)).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

#[test]
fn a_checksum_makes_the_sum_of_all_words_all_ones() {
    let end = |last, port| End { address: [10, 0, 0, last], port };
    let segment = Segment { from: end(1, 5), to: end(2, 4420), sequence: 7, acknowledged: 9, flags: flag::ACK };
    let bytes = packet(&segment, b"odd");
    assert_eq!(checksum(&[&bytes[14..34]]), 0);
    assert_eq!(checksum(&[&[10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0, 23], &bytes[34..]]), 0);
    // The example of RFC 1071, section 3.
    assert_eq!(checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
}
