//! Commands that the media has taken and not finished: token → command. Abort, queue deletion, reset and drain ask here.

use media::Token;

use crate::queue::Permit;

/// What is left to do when the media is done, and what the error log wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) opcode: u8,
    pub(crate) nsid: u32,
    /// First block that the command names, or the first that failed where the media says which.
    pub(crate) lba: u64,
    /// A comparison found a difference. The media may yet fail, and that says more.
    pub(crate) differs: bool,
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) permit: Permit,
    pub(crate) origin: Origin,
}

/// A table with free places; the index is the token.
#[derive(Debug, Default)]
pub(crate) struct InFlightTable {
    places: Vec<Option<InFlight>>,
    free: Vec<usize>,
}

impl InFlightTable {
    /// The token that the next insertion will use.
    #[inline]
    pub(crate) fn next_token(&self) -> Token {
        Token(self.free.last().copied().unwrap_or(self.places.len()) as u64)
    }

    /// Keeps a command under [`Self::next_token`].
    pub(crate) fn insert(&mut self, command: InFlight) {
        match self.free.pop() {
            Some(index) => self.places[index] = Some(command),
            None => self.places.push(Some(command)),
        }
    }

    /// The command under `token`, which is free afterwards.
    pub(crate) fn remove(&mut self, token: Token) -> Option<InFlight> {
        let index = usize::try_from(token.0).ok()?;
        let command = self.places.get_mut(index)?.take()?;
        self.free.push(index);
        Some(command)
    }

    /// The tokens of the commands for which `wanted` holds, in ascending order.
    pub(crate) fn tokens(&self, wanted: impl Fn(&InFlight) -> bool) -> Vec<Token> {
        let matches =
            |(index, place): (u64, &Option<InFlight>)| place.as_ref().is_some_and(&wanted).then_some(Token(index));
        (0..).zip(&self.places).filter_map(matches).collect()
    }

    /// How many commands are under way.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
