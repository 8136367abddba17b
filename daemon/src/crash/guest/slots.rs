//! The slots that two writers in the guest stamp, as the oracle knows them: what the guest said of its writes becomes a history, what it
//! found after the power loss an image. Knows the guest's lines; the oracle knows what is legal.
//!
//! A line is said before a write is submitted and after it has returned, so the guest's order is one that the drive's really had.

use std::collections::BTreeMap;

use oracle::checker::{Image, judge};
use oracle::history::{CommandId, History, Namespace, Verb};
use oracle::parameters::{Blocks, Fields, Parameters};
use oracle::stamp::{Found, Stamp};
use oracle::verdict::Violation;

/// Slots, and the blocks of each: what one write covers, and what the drive promises to keep whole.
const SLOTS: u64 = 8;
const SLOT_BLOCKS: u64 = 4;
/// A block of 4 KiB is the same line of 16 bytes again and again.
const LINES_OF_A_BLOCK: usize = 256;
/// A write's number, of the writer that forces its writes, is odd.
const FORCED: u32 = 1;

/// What the slots hold, and what was done to them since power came.
pub struct Slots {
    /// As the pass began; the commands in the stamps are the writers' numbers.
    image: Vec<Found>,
    history: History,
    names: BTreeMap<u32, CommandId>,
}

impl Slots {
    /// As the guest makes them: stamped with pass 0 and number 0.
    #[must_use]
    pub fn new() -> Self {
        let image = (0..SLOTS * SLOT_BLOCKS).map(|lba| Found::Stamp(Stamp { command: 0, pass: 0, nsid: 1, lba }));
        let mut slots = Self { image: image.collect(), history: History::default(), names: BTreeMap::new() };
        slots.begin(1);
        slots
    }

    /// Power is there, and nothing was done.
    fn begin(&mut self, pass: u32) {
        let fields = Fields {
            nsabp: true,
            nawun_z: narrow(SLOT_BLOCKS - 1),
            nawupf_z: narrow(SLOT_BLOCKS - 1),
            ..Fields::default()
        };
        let initial = self.image.clone();
        let namespace = Namespace { parameters: Parameters::from(fields), cached: true, initial };
        self.history = History::new(pass, vec![namespace], true);
        self.names.clear();
    }

    /// What the guest said while it wrote, and what it found afterwards. `killed`: the machine went with the power, and some of what
    /// it wanted to say with it.
    ///
    /// # Errors
    /// What of it cannot be.
    pub fn pass(&mut self, pass: u32, did: &str, found: &str, killed: bool) -> Result<(), Violation> {
        self.begin(pass);
        for line in lines(did) {
            self.heard(line);
        }
        let image = self.look(found);
        if killed {
            self.unsaid(&image);
        }
        let named = image.iter().map(|found| self.by_name(*found)).collect();
        self.image = image;
        judge(&self.history, &Image::from([(1, named)]))
    }

    fn heard(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some(word), Some(Ok(number))) = (words.next(), words.next().map(str::parse::<u32>)) else { return };
        let slot = words.next().and_then(|slot| slot.parse::<u64>().ok()).filter(|slot| *slot < SLOTS);
        match (word, slot) {
            ("force" | "try", Some(slot)) => self.wrote(number, slot),
            ("flush", None) => {
                let id = self.history.submit(Verb::Flush, 1, Blocks::new(0, 0), false);
                self.names.insert(number, id);
            }
            ("did", None) => {
                if let Some(id) = self.names.get(&number) {
                    self.history.end(*id, true);
                }
            }
            _ => {}
        }
    }

    fn wrote(&mut self, number: u32, slot: u64) {
        let blocks = Blocks::new(slot * SLOT_BLOCKS, SLOT_BLOCKS);
        let id = self.history.submit(Verb::Write, 1, blocks, number % 2 == FORCED);
        self.names.insert(number, id);
    }

    /// A killed machine may have written what it had no time to tell of.
    fn unsaid(&mut self, image: &[Found]) {
        for found in image {
            if let Found::Stamp(stamp) = found
                && stamp.pass == self.history.pass
                && !self.names.contains_key(&stamp.command)
            {
                self.wrote(stamp.command, stamp.lba / SLOT_BLOCKS);
            }
        }
    }

    /// A block by the oracle's name of its writer.
    fn by_name(&self, found: Found) -> Found {
        match found {
            Found::Stamp(stamp) if stamp.pass == self.history.pass => {
                let command = self.names.get(&stamp.command).copied().unwrap_or(CommandId::MAX);
                Found::Stamp(Stamp { command, ..stamp })
            }
            other => other,
        }
    }

    /// Reads the lines that count equal lines: `COUNT pPASS wNUMBER`.
    fn look(&self, text: &str) -> Vec<Found> {
        let mut stamps: Vec<Option<(u32, u32)>> = Vec::new();
        let all = self.image.len() * LINES_OF_A_BLOCK;
        for line in lines(text).filter_map(|line| line.strip_prefix("slots ")) {
            let (count, words) = line.split_once(' ').unwrap_or((line, ""));
            let room = all.saturating_sub(stamps.len());
            let count = count.parse::<usize>().unwrap_or(0).min(room);
            stamps.extend(std::iter::repeat_n(stamp(words), count));
        }
        stamps.resize(all, None);
        let block = |(lba, of_block): (u64, &[Option<(u32, u32)>])| match of_block {
            [Some((pass, command)), rest @ ..] if rest.iter().all(|stamp| *stamp == Some((*pass, *command))) => {
                Found::Stamp(Stamp { command: *command, pass: *pass, nsid: 1, lba })
            }
            _ => Found::Garbage,
        };
        (0..).zip(stamps.chunks(LINES_OF_A_BLOCK)).map(block).collect()
    }
}

fn stamp(words: &str) -> Option<(u32, u32)> {
    let (pass, number) = words.split_once(' ')?;
    let digits = |word: &str, letter| word.strip_prefix(letter).filter(|digits| digits.len() == 6)?.parse().ok();
    Some((digits(pass, 'p')?, digits(number, 'w')?))
}

fn narrow(blocks: u64) -> u16 {
    u16::try_from(blocks).expect("a slot is small")
}

/// What the guest's half of the campaign said, among whatever else is on a console.
pub fn lines(console: &str) -> impl Iterator<Item = &str> {
    console.lines().filter_map(|line| line.split_once("guest: ")).map(|(_, said)| said.trim_end())
}

#[cfg(test)]
mod tests {
    use oracle::verdict::Rule;

    use super::*;

    const BEFORE: &str = "guest: slots 8192 p000000 w000000\r\n";

    fn rule(did: &str, found: &str, killed: bool) -> Option<Rule> {
        Slots::new().pass(1, did, found, killed).err().map(|violation| violation.rule)
    }

    #[test]
    fn what_was_forced_must_be_there_and_what_was_not_may() {
        let new = "guest: slots 1024 p000001 w000003\nguest: slots 7168 p000000 w000000\n";
        assert_eq!(rule("guest: force 3 0\nguest: did 3\n", new, false), None);
        assert_eq!(rule("guest: force 3 0\nguest: did 3\n", BEFORE, false), Some(Rule::Lost));
        assert_eq!(rule("guest: force 3 0\n", BEFORE, false), None);
        let new = new.replace("w000003", "w000002");
        assert_eq!(rule("guest: try 2 0\nguest: did 2\n", BEFORE, false), None);
        let flushed = "guest: try 2 0\nguest: did 2\nguest: flush 500002\nguest: did 500002\n";
        assert_eq!(rule(flushed, BEFORE, false), Some(Rule::Lost));
        assert_eq!(rule(flushed, &new, false), None);
    }

    #[test]
    fn a_slot_is_whole() {
        let torn = "guest: slots 512 p000001 w000003\nguest: slots 7680 p000000 w000000\n";
        assert_eq!(rule("guest: force 3 0\n", torn, false), Some(Rule::Torn));
        let inside = "guest: slots 100 p000001 w000003\nguest: slots 8092 p000000 w000000\n";
        assert_eq!(rule("guest: force 3 0\n", inside, false), Some(Rule::Garbage));
        assert_eq!(rule("", "guest: slots 8191 p000000 w000000\n", false), Some(Rule::Garbage));
    }

    #[test]
    fn a_killed_machine_may_have_written_what_it_did_not_say() {
        let unsaid = "guest: slots 1024 p000001 w000003\nguest: slots 7168 p000000 w000000\n";
        assert_eq!(rule("noise\nguest: tr", unsaid, true), None);
        assert_eq!(rule("", unsaid, false), Some(Rule::Unsubmitted));
        let misdirected = "guest: slots 1024 p000000 w000000\nguest: slots 1024 p000001 w000003\n\
                           guest: slots 6144 p000000 w000000\n";
        assert_eq!(rule("guest: force 3 0\n", misdirected, false), Some(Rule::Unsubmitted));
    }

    #[test]
    fn what_a_pass_left_is_what_the_next_begins_with() {
        let mut slots = Slots::new();
        let first = "guest: slots 1024 p000001 w000002\nguest: slots 7168 p000000 w000000\n";
        assert_eq!(slots.pass(1, "guest: try 2 0\n", first, false), Ok(()));
        assert_eq!(slots.pass(2, "", first, false), Ok(()), "who survived one loss is not volatile any more");
        let gone = slots.pass(3, "", BEFORE, false).expect_err("it was there");
        assert!(matches!(gone.rule, Rule::Resurrected | Rule::Bystander), "{gone}");
    }
}
