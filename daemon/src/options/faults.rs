//! The `[[fault]]` tables of a configuration file: what `fault-add` takes for faults of the device.

use std::collections::BTreeSet;

use controller::CONTROLLERS_MAX;
use controller::fault::FaultSpec;
use serde::Serialize;

use super::OptionError;

/// The kind that `fault-add` calls these faults. It may be left away here, where there is no other.
const KIND: &str = "controller";

/// A fault that a controller has from the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfiguredFault {
    /// CNTLID of the controller.
    pub controller: u16,
    /// What it meets, and what it does.
    #[serde(flatten)]
    pub spec: FaultSpec,
}

/// Reads and checks all of them.
///
/// # Errors
/// The first one that cannot be.
pub fn read(file: &str, tables: &[toml::Value]) -> Result<Vec<ConfiguredFault>, OptionError> {
    let mut numbers = BTreeSet::new();
    let fault = |(index, table): (usize, &toml::Value)| {
        let place = format!("{file} [[fault]] {}", index + 1);
        let refuse = |given: &str, remedy: &str| OptionError::new(&place, given, remedy);
        let mut table =
            table.as_table().cloned().ok_or_else(|| refuse("", "give [[fault]] and its fields below it"))?;
        match table.remove("kind") {
            None => {}
            Some(toml::Value::String(kind)) if kind == KIND => {}
            Some(other) => {
                let remedy = "give kind=controller; faults of the media are added over the control socket";
                return Err(refuse(&format!("kind={other}"), remedy));
            }
        }
        let named = table.remove("controller").unwrap_or(toml::Value::Integer(0));
        let controller = named.as_integer().and_then(|id| u16::try_from(id).ok()).filter(|id| *id < CONTROLLERS_MAX);
        let controller = controller.ok_or_else(|| {
            let remedy = format!("give a controller from 0 to {}", CONTROLLERS_MAX - 1);
            refuse(&format!("controller={named}"), &remedy)
        })?;
        let read: Result<FaultSpec, _> = serde_path_to_error::deserialize(toml::Value::Table(table));
        let spec = read.map_err(|error| {
            let field = error.path().to_string();
            refuse(if field == "." { "" } else { &field }, error.into_inner().message())
        })?;
        spec.check().map_err(|error| refuse("", &error.to_string()))?;
        if let Some(id) = spec.id.filter(|id| !numbers.insert((controller, *id))) {
            return Err(refuse(
                &format!("id={id}"),
                "another fault of the controller has this number: give another one",
            ));
        }
        Ok(ConfiguredFault { controller, spec })
    };
    tables.iter().enumerate().map(fault).collect()
}

#[cfg(test)]
mod tests {
    use controller::fault::{Action, Matching, When};

    use super::*;

    fn given(text: &str) -> Result<Vec<ConfiguredFault>, String> {
        let table: toml::Table = text.parse().expect("TOML");
        let tables = table["fault"].as_array().expect("a list").clone();
        read("drive.toml", &tables).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_a_fault_and_is_printed_as_it_is_read() {
        let text = r#"
            [[fault]]
            kind = "controller"
            match = { queue = "io", opcode = 2, lba = 8, blocks = 4 }
            when = { nth = 3 }
            times = "until-removed"
            action = { kind = "status", sct = 2, sc = 0x81, dnr = true }

            [[fault]]
            id = 7
            controller = 3
            times = 2
            action = { kind = "slow-ready" }
        "#;
        let faults = given(text).expect("possible");
        let action = Action::Status { sct: 2, sc: 0x81, dnr: true, more: false, crd: 0, carried_out: false };
        let matching = Matching { lba: Some(8), blocks: Some(4), ..Matching::io_opcode(2) };
        let first = FaultSpec::new(action).matching(matching).when(When::nth(3)).always();
        let second = FaultSpec { id: Some(7), ..FaultSpec::new(Action::SlowReady { delay_ns: None }).times(2) };
        let [first, second] = [(0, first), (3, second)].map(|(controller, spec)| ConfiguredFault { controller, spec });
        assert_eq!(faults, [first, second]);
        let printed = toml::to_string(&std::collections::BTreeMap::from([("fault", &faults)])).expect("TOML");
        assert_eq!(given(&printed), Ok(faults));
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_field() {
        for (table, expected) in [
            ("action = { kind = \"explode\" }", "unknown variant `explode`"),
            ("action = { kind = \"drop\", often = 3 }", "unknown field `often`"),
            ("match = { opcod = 2 }\naction = { kind = \"drop\" }", "match"),
            ("when = { nth = -1 }\naction = { kind = \"drop\" }", "when.nth"),
            ("when = { nth = 0 }\naction = { kind = \"drop\" }", "when.nth=0: give at least 1"),
            ("kind = \"bit-flips\"\nnsid = 1", "faults of the media are added over the control socket"),
            ("match = { nsid = 1 }", "missing field `action`"),
            ("controller = 64\naction = { kind = \"drop\" }", "controller=64: give a controller from 0 to 63"),
            ("controller = -1\naction = { kind = \"drop\" }", "controller=-1: give a controller from 0 to 63"),
        ] {
            let refused = given(&format!("[[fault]]\n{table}")).expect_err("impossible");
            assert!(refused.contains(expected) && refused.contains("drive.toml [[fault]] 1"), "{refused}");
        }
        let twice = "id = 1\naction = { kind = \"fatal\" }";
        assert!(given(&format!("[[fault]]\n{twice}\n[[fault]]\n{twice}")).expect_err("twice").contains("id=1"));
        assert!(
            given(&format!("[[fault]]\n{twice}\n[[fault]]\ncontroller = 1\n{twice}")).is_ok(),
            "each has its own numbers"
        );
    }
}
