//! What a fault does, as data.

use std::borrow::Cow;
use std::fmt::Write as _;

use nvme_spec::Status;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{FaultError, refuse};

/// Where a fault may be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A command was fetched.
    Command,
    /// CC.EN went from 0 to 1.
    Enable,
    /// CC.EN went from 1 to 0.
    Disable,
    /// CC.SHN asks for a shutdown.
    Shutdown,
    /// A reset of the function was asked for.
    Reset,
    /// A register is read.
    Read,
    /// A message is about to be sent.
    Interrupt,
    /// At any time.
    Moment,
}

/// The most messages of one [`Action::Interrupt`], and copies of one answer.
const BURST_MAX: u16 = 4096;

/// What a fault does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// F1, F14: the command is answered with this status.
    Status {
        /// Status Code Type, 0 to 7.
        sct: u8,
        /// Status Code.
        sc: u8,
        /// Do Not Retry.
        #[serde(default)]
        dnr: bool,
        /// More: the error log has an entry.
        #[serde(default)]
        more: bool,
        /// Command Retry Delay, 0 to 3.
        #[serde(default)]
        crd: u8,
        /// The command is carried out all the same.
        #[serde(default)]
        carried_out: bool,
    },
    /// F3: the command is never answered.
    Drop {
        /// F4: an Abort of it succeeds, and it is answered with Command Abort Requested.
        #[serde(default)]
        abortable: bool,
        /// The command is carried out all the same.
        #[serde(default)]
        carried_out: bool,
    },
    /// F2, F6: the command is carried out, and answered so much later.
    Delay {
        /// Nanoseconds.
        delay_ns: u64,
    },
    /// F2, F6: the command is begun so much later: its data move then, also into memory that the host has given to somebody else. An Abort
    /// of it succeeds until then.
    Postpone {
        /// Nanoseconds.
        delay_ns: u64,
    },
    /// F7: the command is answered again.
    Duplicate {
        /// How many more times; 1 if not given.
        #[serde(default = "one")]
        copies: u16,
    },
    /// F8: the answer bears another command identifier.
    WrongCid {
        /// Which: a number, or `in-flight`, `free` or `event`.
        cid: CidChoice,
    },
    /// F9: the answer bears another submission queue identifier.
    WrongSqid {
        /// Which.
        sqid: u16,
    },
    /// F9: the answer bears another SQ head pointer.
    WrongSqHead {
        /// Which.
        head: u16,
    },
    /// F10: the answer is written with the phase of the entry that was there before. With `match` for all commands the phase is not
    /// inverted any more.
    OldPhase {},
    /// F10: the phase of the answer is written so much before the rest.
    EarlyPhase {
        /// Nanoseconds.
        delay_ns: u64,
    },
    /// F11: an answer to nothing comes behind that to the command.
    Stray {
        /// Its command identifier: a number, or `in-flight`, `free` or `event`.
        cid: CidChoice,
    },
    /// F12: success, and no data was moved.
    NoData {},
    /// F12: success, and data of the first blocks only was moved.
    ShortData {
        /// How many blocks, at least 1.
        blocks: u16,
    },
    /// F12: the blocks that are read or written are others.
    OtherBlock {
        /// The first of them.
        lba: u64,
    },
    /// F12, F15 to F17, F48: bytes of the data that the host is given are others. Identify, log pages and features are data too.
    Patch {
        /// Where they begin in the data.
        offset: u32,
        /// What is there, as pairs of hexadecimal digits.
        bytes: HexBytes,
        /// Bits that are set are inverted instead.
        #[serde(default)]
        xor: bool,
    },
    /// Dword 0 of the answer is another one.
    Result {
        /// Dword 0.
        dword: u32,
    },
    /// F13: answers wait for each other, and come together.
    Hold {
        /// For how many.
        commands: u32,
        /// But no longer than so many nanoseconds.
        most_ns: u64,
        /// In which order they come then.
        #[serde(default)]
        order: Order,
    },
    /// F14: Number of Queues grants no more than so many of each kind.
    FewerQueues {
        /// At least 1.
        queues: u16,
    },
    /// F18: behind this command nothing is fetched from its queue, as if the completion queue were full.
    Stall {
        /// So many nanoseconds; until the fault is removed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ns: Option<u64>,
    },
    /// F26: the interrupt comes now, and the answer so much later.
    EarlyInterrupt {
        /// Nanoseconds.
        delay_ns: u64,
    },
    /// F20: CSTS.RDY comes late.
    SlowReady {
        /// Nanoseconds; never if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ns: Option<u64>,
    },
    /// F20: CSTS.RDY goes late after CC.EN went to 0.
    SlowDisable {
        /// Nanoseconds; never if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ns: Option<u64>,
    },
    /// F24: a shutdown completes late.
    SlowShutdown {
        /// Nanoseconds; never if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay_ns: Option<u64>,
    },
    /// F21: CSTS.CFS.
    Fatal {},
    /// F22: CSTS.RDY falls by itself, and all queues are forgotten. The controller comes back when the host resets it.
    NotReady {},
    /// F23: the device is gone: registers read as all ones, and it does not touch memory.
    Gone {
        /// So many nanoseconds; until the fault is removed if not given. Then it is as after a function level reset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ns: Option<u64>,
    },
    /// F30: an NVM subsystem reset from outside.
    SubsystemReset {},
    /// F26: messages that nothing asks for.
    Interrupt {
        /// Their vector.
        vector: u16,
        /// How many; 1 if not given.
        #[serde(default = "one")]
        count: u16,
    },
    /// F26: the pin is asserted, and nothing is there. Only while the host uses the pin.
    StuckPin {
        /// So many nanoseconds; until the fault is removed if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ns: Option<u64>,
    },
    /// F28: a reset of the function has no effect.
    IgnoreReset {},
    /// F27, F29: a register reads as something else.
    Register {
        /// Offset of its dword in bytes.
        offset: u16,
        /// Which bits are others; all if not given.
        #[serde(default = "all_bits")]
        mask: u32,
        /// What they are.
        value: u32,
    },
    /// F25: a message is lost, or the pin is not asserted.
    LoseInterrupt {},
    /// F26: a message is sent with another vector.
    WrongVector {
        /// Which.
        vector: u16,
    },
    /// F26: a message comes so much later.
    LateInterrupt {
        /// Nanoseconds.
        delay_ns: u64,
    },
}

const fn one() -> u16 {
    1
}

const fn all_bits() -> u32 {
    u32::MAX
}

impl Action {
    /// The name that it has in its serialised form.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Drop { .. } => "drop",
            Self::Delay { .. } => "delay",
            Self::Postpone { .. } => "postpone",
            Self::Duplicate { .. } => "duplicate",
            Self::WrongCid { .. } => "wrong-cid",
            Self::WrongSqid { .. } => "wrong-sqid",
            Self::WrongSqHead { .. } => "wrong-sq-head",
            Self::OldPhase {} => "old-phase",
            Self::EarlyPhase { .. } => "early-phase",
            Self::Stray { .. } => "stray",
            Self::NoData {} => "no-data",
            Self::ShortData { .. } => "short-data",
            Self::OtherBlock { .. } => "other-block",
            Self::Patch { .. } => "patch",
            Self::Result { .. } => "result",
            Self::Hold { .. } => "hold",
            Self::FewerQueues { .. } => "fewer-queues",
            Self::Stall { .. } => "stall",
            Self::EarlyInterrupt { .. } => "early-interrupt",
            Self::SlowReady { .. } => "slow-ready",
            Self::SlowDisable { .. } => "slow-disable",
            Self::SlowShutdown { .. } => "slow-shutdown",
            Self::Fatal {} => "fatal",
            Self::NotReady {} => "not-ready",
            Self::Gone { .. } => "gone",
            Self::SubsystemReset {} => "subsystem-reset",
            Self::Interrupt { .. } => "interrupt",
            Self::StuckPin { .. } => "stuck-pin",
            Self::IgnoreReset {} => "ignore-reset",
            Self::Register { .. } => "register",
            Self::LoseInterrupt {} => "lose-interrupt",
            Self::WrongVector { .. } => "wrong-vector",
            Self::LateInterrupt { .. } => "late-interrupt",
        }
    }

    /// Where it happens. What may happen at any moment happens to a command where one is to be matched.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::SlowReady { .. } => Place::Enable,
            Self::SlowDisable { .. } => Place::Disable,
            Self::SlowShutdown { .. } => Place::Shutdown,
            Self::IgnoreReset {} => Place::Reset,
            Self::Register { .. } => Place::Read,
            Self::LoseInterrupt {} | Self::WrongVector { .. } | Self::LateInterrupt { .. } => Place::Interrupt,
            Self::Fatal {}
            | Self::NotReady {}
            | Self::Gone { .. }
            | Self::SubsystemReset {}
            | Self::Interrupt { .. }
            | Self::StuckPin { .. } => Place::Moment,
            _ => Place::Command,
        }
    }

    /// Whether it is about this register, or about none.
    pub(super) fn concerns(&self, register: Option<u64>) -> bool {
        !matches!(self, Self::Register { offset, .. } if register != Some(u64::from(*offset)))
    }

    pub(super) fn check(&self) -> Result<(), FaultError> {
        match self {
            Self::Status { sct: 8.., .. } => refuse("action.sct", "", "give 0 to 7"),
            Self::Status { crd: 4.., .. } => refuse("action.crd", "", "give 0 to 3"),
            Self::Duplicate { copies } if !(1..=BURST_MAX).contains(copies) => {
                refuse("action.copies", &copies.to_string(), "give 1 to 4096")
            }
            Self::Interrupt { count, .. } if !(1..=BURST_MAX).contains(count) => {
                refuse("action.count", &count.to_string(), "give 1 to 4096")
            }
            Self::ShortData { blocks: 0 } => refuse("action.blocks", "0", "give at least 1, or use no-data"),
            Self::FewerQueues { queues: 0 } => refuse("action.queues", "0", "give at least 1"),
            Self::Hold { commands: 0 | 1, .. } => refuse("action.commands", "", "give at least 2"),
            Self::Patch { bytes, .. } if bytes.0.is_empty() => refuse("action.bytes", "", "give at least one byte"),
            Self::Register { offset, .. } if !offset.is_multiple_of(4) || *offset >= 0x1000 => {
                refuse("action.offset", &offset.to_string(), "give a multiple of 4 below 4096")
            }
            _ => Ok(()),
        }
    }
}

/// The status that the fields of [`Action::Status`] make.
pub(super) fn status(sct: u8, sc: u8, [dnr, more]: [bool; 2], crd: u8) -> Status {
    let bits = u16::from(sc) | u16::from(sct & 7) << 8 | u16::from(crd & 3) << 11;
    let set = |on, bit| if on { bit } else { 0 };
    Status(bits | set(dnr, Status::DNR) | set(more, Status::MORE))
}

/// A command identifier, by itself or by whose it is when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CidChoice {
    /// This one.
    Number(u16),
    /// One of somebody.
    Whose(Whose),
}

/// Whose command identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Whose {
    /// That of another command of the queue that is under way, if there is one.
    InFlight,
    /// The smallest that no command of the queue has that is under way.
    Free,
    /// That of an Asynchronous Event Request that waits, if one does.
    Event,
}

/// In which order answers come that were held back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As they were.
    #[default]
    Same,
    /// The last one first.
    Reversed,
    /// By chance, from the fault's seed.
    Shuffled,
}

/// Bytes that are written as pairs of hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        self.0.iter().for_each(|byte| write!(text, "{byte:02x}").expect("a string takes everything"));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refuse = || D::Error::custom(format!("`{text}` will not do: give pairs of hexadecimal digits"));
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes.filter(|_| rest.is_empty()).map(Self).ok_or_else(refuse)
    }
}

impl JsonSchema for HexBytes {
    fn schema_name() -> Cow<'static, str> {
        "HexBytes".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9a-fA-F]{2})+$" })
    }
}
