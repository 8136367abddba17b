//! Opcodes of I/O commands, by number or by name.

use std::borrow::Cow;
use std::fmt;

use nvme_spec::opcode::NvmOpcode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What the commands are called.
const NAMES: [(&str, NvmOpcode); 9] = [
    ("flush", NvmOpcode::FLUSH),
    ("write", NvmOpcode::WRITE),
    ("read", NvmOpcode::READ),
    ("write-uncorrectable", NvmOpcode::WRITE_UNCORRECTABLE),
    ("compare", NvmOpcode::COMPARE),
    ("write-zeroes", NvmOpcode::WRITE_ZEROES),
    ("dataset-management", NvmOpcode::DATASET_MANAGEMENT),
    ("verify", NvmOpcode::VERIFY),
    ("copy", NvmOpcode::COPY),
];

/// An opcode. Read as a number or a name, shown as a number: there are opcodes without a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode(pub u8);

impl Serialize for Opcode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.0)
    }
}

impl<'de> Deserialize<'de> for Opcode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OpcodeVisitor)
    }
}

struct OpcodeVisitor;

fn names() -> [&'static str; NAMES.len()] {
    NAMES.map(|(name, _)| name)
}

impl Visitor<'_> for OpcodeVisitor {
    type Value = Opcode;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an opcode from 0 to 255, or one of {}", names().join(", "))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Opcode, E> {
        u8::try_from(number).map(Opcode).map_err(|_| {
            E::custom(format!("there is no opcode {number}: give 0 to 255, or one of {}", names().join(", ")))
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Opcode, E> {
        let named = NAMES.iter().find(|(name, _)| *name == text);
        named
            .map(|(_, opcode)| Opcode(opcode.0))
            .ok_or_else(|| E::custom(format!("there is no command {text:?}: give one of {}", names().join(", "))))
    }
}

impl JsonSchema for Opcode {
    fn schema_name() -> Cow<'static, str> {
        "Opcode".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 255 },
            { "type": "string", "enum": names() },
        ]})
    }
}
