//! SeaBIOS has no prompt. It starts a boot sector of ours, which takes orders of a letter from the first serial port and has the BIOS
//! carry them out: `i` reads the first block that is copied, `cN` copies 2^N blocks at a time, `o` switches off. It tries three times.

use super::Place;
use crate::conform::console::Console;
use crate::conform::place::COPIED;

/// What the boot sector says when it waits for an order.
pub const PROMPT: &str = "boot> ";

/// Where it is loaded.
#[cfg(test)]
const LOADED: usize = 0x7c00;
const BYTES: usize = 512;
/// Where its data are. What the host knows is patched in: 32 bits each.
const FIRST: usize = 0x1f0;
const SECOND: usize = 0x1f4;
const BLOCKS: usize = 0x1f8;
const PACKET: usize = 0x1e0;

/// The instructions, by routine. Registers while copying: ESI from, EDI to, EBP blocks at a time, EBX blocks left.
#[rustfmt::skip]
const CODE: &[&[u8]] = &[
    // cli; segments and stack at 0:7c00h; sti; cld; the BIOS' number of the drive, DL, is kept at 7d05h
    &[0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfb, 0xfc, 0x88, 0x16, 0x05, 0x7d],
    // prompt, at 12h: say the text at 7cf0h
    &[0xbe, 0xf0, 0x7c, 0xe8, 0xb4, 0x00],
    // next: hear a letter; i: information, c: copy; o: 2000h to port 604h, which is S5 of a q35; anything else is not heard
    &[0xe8, 0xc8, 0x00, 0x3c, 0x69, 0x74, 0x11, 0x3c, 0x63, 0x74, 0x24, 0x3c, 0x6f, 0x75, 0xf1,
      0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xeb, 0xe8],
    // information, at 30h: one block from FIRST; AH=42h
    &[0xc7, 0x06, 0xfc, 0x7d, 0x01, 0x00, 0x66, 0xa1, 0xf0, 0x7d, 0x66, 0xa3, 0xe8, 0x7d, 0xb4, 0x42,
      0xe8, 0x5b, 0x00, 0x72, 0x50, 0xeb, 0x45],
    // copy, at 47h: hear a digit, 1 << digit blocks at a time; load FIRST, SECOND, BLOCKS
    &[0xe8, 0x99, 0x00, 0x2c, 0x30, 0x88, 0xc1, 0xb8, 0x01, 0x00, 0xd3, 0xe0, 0xa3, 0xfc, 0x7d, 0x66, 0x0f, 0xb7, 0xe8,
      0x66, 0x8b, 0x36, 0xf0, 0x7d, 0x66, 0x8b, 0x3e, 0xf4, 0x7d, 0x66, 0x8b, 0x1e, 0xf8, 0x7d],
    // piece, at 69h: read with AH=42h, write with AH=43h, go on by so many, until none is left
    &[0x66, 0x89, 0x36, 0xe8, 0x7d, 0xb4, 0x42, 0xe8, 0x2b, 0x00, 0x72, 0x20,
      0x66, 0x89, 0x3e, 0xe8, 0x7d, 0xb4, 0x43, 0xe8, 0x1f, 0x00, 0x72, 0x14,
      0x66, 0x01, 0xee, 0x66, 0x01, 0xef, 0x66, 0x29, 0xeb, 0x77, 0xdd],
    // good, at 8ch, and failed, at 95h: say so, back to the prompt
    &[0xbe, 0xf9, 0x7c, 0xe8, 0x3a, 0x00, 0xe9, 0x7d, 0xff],
    &[0xbe, 0xfe, 0x7c, 0xe8, 0x31, 0x00, 0xe9, 0x74, 0xff],
    // disk, at 9eh: three tries, at 7d06h, of the function in AH, kept at 7d07h
    &[0xc6, 0x06, 0x06, 0x7d, 0x03, 0x88, 0x26, 0x07, 0x7d],
    // a try: the count into the packet, which the BIOS changes; int 13h; carry set after the last one
    &[0x66, 0x60, 0x8a, 0x26, 0x07, 0x7d, 0xb0, 0x00, 0x8a, 0x16, 0x05, 0x7d, 0x8b, 0x0e, 0xfc, 0x7d, 0x89, 0x0e, 0xe2, 0x7d,
      0xbe, 0xe0, 0x7d, 0xcd, 0x13, 0x66, 0x61, 0x73, 0x07, 0xfe, 0x0e, 0x06, 0x7d, 0x75, 0xdd, 0xf9, 0xc3],
    // say, at cch: bytes from SI to a zero; each waits until the transmitter is empty
    &[0xac, 0x84, 0xc0, 0x74, 0xfa, 0x88, 0xc4, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0x88, 0xe0, 0xba, 0xf8, 0x03,
      0xee, 0xeb, 0xe9],
    // hear, at e3h: waits until there is a byte, into AL
    &[0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0xba, 0xf8, 0x03, 0xec, 0xc3],
    b"\r\nboot> \0", b"good\0", b"failed\0",
];

/// Behind the boot sector, far from it.
pub const fn place(beginning: Place) -> Place {
    let blocks = COPIED / beginning.block_bytes;
    Place { from: blocks, to: 2 * blocks, ..beginning }
}

/// The first 512 bytes of the disk.
pub fn boot_sector(place: &Place) -> Vec<u8> {
    let mut sector = CODE.concat();
    assert!(sector.len() < PACKET, "the code does not reach its data");
    sector.resize(BYTES, 0);
    // The BIOS' packet: its length, a buffer at 1000h:0; count and block are filled in by the code.
    sector[PACKET..][..8].copy_from_slice(&[16, 0, 0, 0, 0, 0, 0x00, 0x10]);
    for (at, value) in [(FIRST, place.from), (SECOND, place.to), (BLOCKS, place.blocks())] {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        sector[at..][..4].copy_from_slice(&value.to_le_bytes());
    }
    sector[BYTES - 2..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Gives an order to the boot sector.
///
/// # Errors
/// It does not answer, or the machine broke.
pub fn order(console: &mut Console<'_>, place: &Place, words: &[&str]) -> anyhow::Result<bool> {
    let letters = match words {
        ["attach"] => "i".to_owned(),
        // The BIOS moves at most 127 blocks at a time, and at most a segment. Under emulation each call costs it 10 ms.
        ["copy", _, bytes] => {
            let blocks = (bytes.parse::<u64>()?.clamp(16 << 10, 64 << 10) / place.block_bytes).min(64);
            format!("c{}", blocks.ilog2())
        }
        ["off"] => {
            console.type_line("o", "")?;
            return console.is_off();
        }
        _ => anyhow::bail!("a boot sector cannot be told to {}", words.join(" ")),
    };
    Ok(console.ask(&letters, "", PROMPT)?.contains("good"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses in the instructions are those of the data.
    #[test]
    fn the_boot_sector_finds_its_data() {
        let sector = boot_sector(&place(Place::new(1, 512)));
        assert_eq!(sector.len(), BYTES);
        let address = |text: &[u8]| {
            let at = sector.windows(text.len()).position(|window| window == text).expect("it is there");
            u16::try_from(LOADED + at).expect("a segment").to_le_bytes()
        };
        for text in [&b"\r\nboot> \0"[..], b"good\0", b"failed\0"] {
            let [low, high] = address(text);
            assert!(sector.windows(3).any(|window| window == [0xbe, low, high]), "mov si, {low:x} {high:x}");
        }
        for (at, value) in [(FIRST, 16384_u32), (SECOND, 32768), (BLOCKS, 16384)] {
            assert_eq!(sector[at..][..4], value.to_le_bytes());
        }
        let kept = CODE.concat().len();
        assert_eq!(LOADED + kept, 0x7d05, "drive, tries and function are behind the texts");
    }
}
