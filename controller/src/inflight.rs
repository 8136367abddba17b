//! Commands that were taken and not finished, at the media or waiting: token → command. Abort, queue deletion, reset and drain look
//! here.

use media::{LbaRange, Nanoseconds, Token};
use nvme_spec::opcode::AdminOpcode;
use nvme_spec::{Command, Status};

use crate::atomic::Slices;
use crate::command::IoCommand;
use crate::controllers::ControllerSet;
use crate::queue::Permit;
use crate::reason::Reason;

/// What is left to do when the media is done, and what the error log wants to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) opcode: u8,
    pub(crate) nsid: u32,
    /// First block that the command names, or the first that failed where the media says which.
    pub(crate) lba: u64,
    /// A comparison found a difference. The media may yet fail, and that says more.
    pub(crate) differs: bool,
    /// When the step began that took it.
    pub(crate) taken: Nanoseconds,
    /// What the error log says besides, in a way that depends on the command.
    pub(crate) specific: u64,
}

/// What a command is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) status: Status,
    /// Why it failed.
    pub(crate) reason: Option<Reason>,
    /// Dword 0.
    pub(crate) result: u32,
}

impl Default for Reply {
    #[inline]
    fn default() -> Self {
        Self { status: Status::SUCCESS, reason: None, result: 0 }
    }
}

impl Reply {
    pub(crate) fn failed(reason: Reason) -> Self {
        Self { status: reason.status(), reason: Some(reason), result: 0 }
    }
}

impl Origin {
    /// What an entry says of itself that was taken by the step that began then.
    pub(crate) fn of(entry: &Command, taken: Nanoseconds) -> Self {
        Self { opcode: entry.opcode, nsid: entry.nsid.get(), taken, ..Self::default() }
    }

    /// Of an Asynchronous Event Request, of which nothing else is kept while it waits.
    pub(crate) fn of_event_request() -> Self {
        Self { opcode: AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST.0, ..Self::default() }
    }
}

/// Which of a fused pair a command is, and the token of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fused {
    /// Of none.
    No,
    /// The first.
    Compare { write: Token },
    /// The second; `None` once the first is done.
    Write { compare: Option<Token> },
}

/// A Preempt and Abort that was carried out, but for the commands of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aborting {
    /// No other has it.
    pub(crate) number: u64,
    /// The controllers whose commands may not have ended.
    pub(crate) left: ControllerSet,
}

/// What is kept of a command that does not simply go to the media once.
#[derive(Debug)]
pub(crate) struct Parked {
    /// Of no pair by itself: `fused` knows.
    pub(crate) command: IoCommand,
    /// The media has it. Otherwise it waits for others, or for its turn.
    pub(crate) at_media: bool,
    /// The ranges of a command that lists them in guest memory, as they were when it came.
    pub(crate) listed: Vec<LbaRange>,
    /// The blocks that it is about now, if not all of them.
    pub(crate) piece: Option<LbaRange>,
    /// The pieces that follow; the last is the next.
    pub(crate) left: Vec<LbaRange>,
    /// The slices that follow, of a command that holds its blocks until all are done.
    pub(crate) slices: Slices,
    /// It is its turn to do the next slice.
    pub(crate) in_turn: bool,
    pub(crate) fused: Fused,
    /// It waits for the commands of others to end, and for nothing else.
    pub(crate) aborting: Option<Aborting>,
}

impl Parked {
    pub(crate) fn new(command: IoCommand) -> Self {
        Self {
            command,
            at_media: false,
            listed: Vec::new(),
            piece: None,
            left: Vec::new(),
            slices: Slices::default(),
            in_turn: false,
            fused: Fused::No,
            aborting: None,
        }
    }
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) permit: Permit,
    pub(crate) origin: Origin,
    /// Nothing for one that the media has, and that is over when the media is done.
    pub(crate) parked: Option<Box<Parked>>,
}

impl InFlight {
    /// Whether the media has it.
    pub(crate) fn is_at_media(&self) -> bool {
        self.parked.as_ref().is_none_or(|parked| parked.at_media)
    }
}

/// A controller's table with free places; the index is the lower half of the token.
#[derive(Debug)]
pub(crate) struct InFlightTable {
    owner: u16,
    places: Vec<Option<InFlight>>,
    free: Vec<Token>,
}

impl InFlightTable {
    pub(crate) const fn new(owner: u16) -> Self {
        Self { owner, places: Vec::new(), free: Vec::new() }
    }

    /// The token that the next insertion will use.
    #[inline]
    pub(crate) fn next_token(&self) -> Token {
        self.free.last().copied().unwrap_or_else(|| self.new_token())
    }

    fn new_token(&self) -> Token {
        Token::of(self.owner, u32::try_from(self.places.len()).expect("as many as there are completion slots"))
    }

    /// Keeps a command under [`Self::next_token`].
    pub(crate) fn insert(&mut self, command: InFlight) {
        match self.free.pop() {
            Some(token) => self.places[token.number()] = Some(command),
            None => self.places.push(Some(command)),
        }
    }

    pub(crate) fn get(&self, token: Token) -> Option<&InFlight> {
        self.places.get(token.number())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut InFlight> {
        self.places.get_mut(token.number())?.as_mut()
    }

    /// The command under `token`, which is free afterwards.
    pub(crate) fn remove(&mut self, token: Token) -> Option<InFlight> {
        let command = self.places.get_mut(token.number())?.take()?;
        self.free.push(token);
        Some(command)
    }

    /// The tokens of the commands for which `wanted` holds, in ascending order.
    pub(crate) fn tokens(&self, wanted: impl Fn(&InFlight) -> bool) -> Vec<Token> {
        let matches = |(index, place): (u32, &Option<InFlight>)| place.as_ref().is_some_and(&wanted).then_some(index);
        (0..).zip(&self.places).filter_map(matches).map(|index| Token::of(self.owner, index)).collect()
    }

    /// Whether commands of I/O queues are under way.
    pub(crate) fn has_io(&self) -> bool {
        self.places.iter().flatten().any(|command| command.permit.sqid() != 0)
    }

    /// How many commands are under way.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
