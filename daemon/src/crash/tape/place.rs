//! Places of a tape at which power may have gone, and how they are named.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr;

use anyhow::Context as _;
use tape::history::Block;
use tape::{Entry, History, Piece, Reader, Volume};

use super::OfTape;
use crate::failure::Failure;
use crate::options::OptionError;

/// Where power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Before each flush ends.
    Flush,
    /// Before each n-th command that changes something ends.
    Command(u64),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("flush", _) => Ok(Self::Flush),
            ("command", _) => Ok(Self::Command(1)),
            (_, Ok(nth)) if nth > 0 => Ok(Self::Command(nth)),
            _ => Err("give flush, command, or a number from 1 up for each such command".to_owned()),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flush => formatter.write_str("flush"),
            Self::Command(nth) => write!(formatter, "{nth}"),
        }
    }
}

/// No place has more pieces.
const PIECES_MAX: usize = 1 << 24;

/// An image by its name: the place, and which of its pieces survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The place, from 1.
    pub place: u64,
    pieces: Vec<usize>,
}

impl Shown {
    /// The name of an image.
    pub fn new(place: u64, survives: &[bool]) -> Self {
        let pieces = survives.iter().enumerate().filter(|(_, survives)| **survives).map(|(piece, _)| piece).collect();
        Self { place, pieces }
    }

    /// Which of so many pieces survive.
    ///
    /// # Errors
    /// What would do, where there are not so many.
    pub fn survives(&self, count: usize) -> Result<Vec<bool>, String> {
        let mut survives = vec![false; count];
        for piece in &self.pieces {
            *survives.get_mut(*piece).ok_or_else(|| format!("place {} has {count} pieces, from 0", self.place))? = true;
        }
        Ok(survives)
    }
}

impl FromStr for Shown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let remedy = || "give PLACE:SURVIVORS as a report has it, as in 17:0,2,5-9 or 17:".to_owned();
        let (place, pieces) = text.split_once(':').ok_or_else(remedy)?;
        let number = |text: &str| text.parse().ok().filter(|piece| *piece < PIECES_MAX);
        let run = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Some(number(first)?..=number(last)?)
        };
        let runs = pieces.split(',').filter(|run| !run.is_empty()).map(run);
        let runs: Vec<_> = runs.collect::<Option<_>>().ok_or_else(remedy)?;
        Ok(Self { place: place.parse().map_err(|_| remedy())?, pieces: runs.into_iter().flatten().collect() })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.pieces.chunk_by(|one, next| one + 1 == *next).map(|run| match run {
            [first, _, .., last] => format!("{first}-{last}"),
            few => few.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        });
        write!(formatter, "{}:{}", self.place, runs.collect::<Vec<_>>().join(","))
    }
}

/// The places of a tape, one after the other.
pub struct Places {
    reader: Reader,
    history: History,
    at: At,
    /// Not followed yet: the entry behind this place.
    next: Option<Entry>,
    place: u64,
    commands: u64,
    /// Flushes that have not ended.
    flushes: Vec<u64>,
    flushes_begun: u64,
    /// Only each n-th flush makes anything durable.
    flushes_kept: u64,
    over: Option<&'static str>,
}

impl Places {
    /// The beginning of a tape.
    ///
    /// # Errors
    /// It is none; it has no such namespace; or the namespace held data and nobody says which.
    pub fn open(path: &Path, of_tape: &OfTape) -> Result<Self, Failure> {
        let mut reader = Reader::open(path).with_context(|| format!("cannot use the tape {}", path.display()))?;
        let mut volumes: Vec<Volume> = Vec::new();
        let mut next = None;
        for entry in reader.by_ref() {
            let Entry::Volume(volume) = entry else {
                next = Some(entry);
                break;
            };
            volumes.push(volume);
        }
        let of = |name: &str, number: u64| {
            let found = usize::try_from(number - 1).ok().and_then(|index| volumes.get(index));
            let remedy = || format!("the tape has {} namespaces, from 1", volumes.len());
            found.copied().ok_or_else(|| OptionError::new(name, number.to_string(), remedy()))
        };
        let volume = of("--namespace", of_tape.namespace.unwrap_or(1))?;
        let witness = of_tape.witness.map(|number| of("--witness", number)).transpose()?;
        let mut history = History::new(volume, witness.map(|volume| volume.volume));
        match &of_tape.base {
            Some(base) => preset(&mut history, base)?,
            None if volume.has_data => {
                let remedy = "the namespace held data when the tape began: give --base RAW with what it held";
                return Err(OptionError::new("--tape", path.display().to_string(), remedy).into());
            }
            None => {}
        }
        // Presetting says nothing new: who makes images has the base too.
        history.take_news();
        let at = of_tape.at.unwrap_or(At::Flush);
        Ok(Self {
            reader,
            history,
            at,
            next,
            place: 0,
            commands: 0,
            flushes: Vec::new(),
            flushes_begun: 0,
            flushes_kept: of_tape.flushes_kept.unwrap_or(1),
            over: None,
        })
    }

    /// The state at this place.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// What was acknowledged at this place, a line each.
    pub fn acks(&self) -> String {
        self.history.marks().iter().map(|mark| format!("{mark}\n")).collect()
    }

    /// What became durable since the last place.
    pub fn news(&mut self) -> Vec<(u64, Block)> {
        self.history.take_news()
    }

    /// Why the tape ended before its end.
    pub fn cut_off(&self) -> Option<&'static str> {
        self.over.or(self.reader.cut_off())
    }

    /// Goes on to the next place; its number, from 1.
    pub fn next(&mut self) -> Option<u64> {
        loop {
            if let Some(entry) = self.next.take() {
                if self.counts(&entry) {
                    self.history.follow(&entry);
                }
                if let Some(why) = self.history.over() {
                    self.over = Some(why);
                    return None;
                }
            }
            let entry = self.reader.next()?;
            let is_place = self.is_place(&entry);
            self.next = Some(entry);
            if is_place {
                self.place += 1;
                return Some(self.place);
            }
        }
    }

    /// Whether an entry has its effect: each that is no flush, and of these as many as the campaign wants.
    fn counts(&mut self, entry: &Entry) -> bool {
        let Entry::Flush { request, .. } = entry else { return true };
        self.flushes.push(*request);
        self.flushes_begun += 1;
        self.flushes_begun.is_multiple_of(self.flushes_kept)
    }

    fn is_place(&mut self, entry: &Entry) -> bool {
        let Entry::Ended { request, .. } = entry else { return false };
        let flushes =
            self.flushes.iter().position(|flush| flush == request).map(|at| self.flushes.remove(at)).is_some();
        match self.at {
            At::Flush => flushes,
            At::Command(_) if flushes => false,
            At::Command(nth) => {
                self.commands += 1;
                self.commands.is_multiple_of(nth)
            }
        }
    }

    /// Goes on to this place.
    ///
    /// # Errors
    /// The tape has fewer.
    pub fn until(&mut self, place: u64) -> Result<(), OptionError> {
        while self.place < place {
            if self.next().is_none() {
                let remedy = format!("the tape has {} places, from 1", self.place);
                return Err(OptionError::new("--show", place.to_string(), remedy));
            }
        }
        Ok(())
    }

    /// What the pieces at this place are, for people.
    pub fn names(&self) -> Vec<String> {
        self.history.volatile().map(name).collect()
    }
}

fn name(piece: &Piece) -> String {
    let (first, last) = (piece.range.start.0, piece.range.start.0 + piece.range.blocks.max(1) - 1);
    let blocks = if first == last { format!("block {first}") } else { format!("blocks {first} to {last}") };
    let (ordinal, queue, identifier) = (piece.command >> 32, piece.command >> 16 & 0xffff, piece.command & 0xffff);
    let ended = if piece.ended { "completed" } else { "not completed" };
    format!("{} of {blocks}, command {ordinal} (queue {queue}, identifier {identifier}), {ended}", piece.kind)
}

fn preset(history: &mut History, base: &Path) -> anyhow::Result<()> {
    let block_bytes = history.volume().block_bytes as usize;
    read_base(base, block_bytes, &mut |lba, bytes| history.preset(lba, bytes))
}

/// Reads a file of what a namespace held, and passes on whole blocks, each run with the number of its first.
///
/// # Errors
/// It cannot be read.
pub fn read_base(base: &Path, block_bytes: usize, take: &mut dyn FnMut(u64, &[u8])) -> anyhow::Result<()> {
    let cannot_read = || format!("cannot read --base {}", base.display());
    let mut file = File::open(base).with_context(cannot_read)?;
    let mut lba = 0;
    let mut buffer = vec![0; block_bytes << 8];
    loop {
        let mut have = 0;
        while have < buffer.len() {
            match file.read(&mut buffer[have..]).with_context(cannot_read)? {
                0 => break,
                count => have += count,
            }
        }
        if have == 0 {
            return Ok(());
        }
        take(lba, &buffer[..have.next_multiple_of(block_bytes)]);
        lba += (have / block_bytes) as u64;
        buffer.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_images_are_named_as_they_are_read() {
        for text in ["flush", "7"] {
            assert_eq!(text.parse::<At>().expect("legal").to_string(), text);
        }
        assert_eq!("command".parse(), Ok(At::Command(1)));
        assert!("0".parse::<At>().is_err() && "".parse::<At>().is_err());
        let shown = Shown::new(17, &[true, false, true]);
        assert_eq!((shown.to_string(), shown.survives(4)), ("17:0,2".to_owned(), Ok(vec![true, false, true, false])));
        assert_eq!("17:0,2".parse(), Ok(shown.clone()));
        assert_eq!("17:".parse(), Ok(Shown::new(17, &[])));
        let long = Shown::new(17, &[true, true, true, false, true, true, false, true]);
        assert_eq!((long.to_string().as_str(), "17:0-2,4,5,7".parse()), ("17:0-2,4,5,7", Ok(long.clone())));
        assert!("1:0-99999999999".parse::<Shown>().is_err() && "1:-".parse::<Shown>().is_err());
        assert!("17".parse::<Shown>().is_err() && "a:1".parse::<Shown>().is_err() && "1:b".parse::<Shown>().is_err());
        assert!(shown.survives(2).expect_err("too few").contains("2 pieces"));
    }
}
