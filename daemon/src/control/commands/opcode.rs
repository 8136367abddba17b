//! Opcodes of I/O commands, by number or by name.

use std::borrow::Cow;
use std::fmt;

use nvme_spec::opcode::NvmOpcode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

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

/// What a command is called here: its name in the specification, as the other words of this socket are written.
fn word(opcode: NvmOpcode) -> String {
    opcode.name().unwrap_or_default().to_lowercase().replace(' ', "-")
}

fn names() -> Vec<String> {
    NvmOpcode::ALL.iter().copied().map(word).collect()
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
        let named = NvmOpcode::ALL.iter().find(|opcode| word(**opcode) == text);
        named
            .map(|opcode| Opcode(opcode.0))
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
