//! KEY=VALUE words become a command's arguments, typed as the device's own schema says.

use anyhow::{anyhow, bail};
use serde_json::{Map, Value};

/// The arguments of `command` that `words` mean.
///
/// # Errors
/// The first word that cannot be: with its key, its value, and what would do.
pub fn typed(schema: &Value, command: &str, words: &[String]) -> anyhow::Result<Value> {
    let commands = schema["commands"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(described) = commands.iter().find(|entry| entry["name"] == command) else {
        bail!("there is no command {command:?}: query-commands lists those that there are");
    };
    let mut arguments = Value::Object(Map::new());
    for word in words {
        let (key, text) = word.split_once('=').ok_or_else(|| anyhow!("{word:?} is no argument: give KEY=VALUE"))?;
        let path: Vec<&str> = key.split('.').collect();
        let mut places = vec![&described["arguments"]];
        for (depth, name) in path.iter().enumerate() {
            places = descend(&places, name);
            if places.is_empty() {
                let known = known_beside(&described["arguments"], &path[..depth]);
                bail!("{word}: {command} has no argument {key:?}; there {known}");
            }
        }
        put(&mut arguments, &path, value(&places, text).map_err(|wanted| anyhow!("{word}: give {wanted}"))?)
            .ok_or_else(|| anyhow!("{word}: {key:?} was given before, or is within one that was"))?;
    }
    Ok(arguments)
}

/// The alternatives of a schema, each without further ones.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let mut found = vec![schema];
    for word in ["anyOf", "oneOf", "allOf"] {
        found.extend(schema[word].as_array().into_iter().flatten().flat_map(alternatives));
    }
    found
}

/// The schemas of a property.
fn descend<'a>(places: &[&'a Value], name: &str) -> Vec<&'a Value> {
    let all = places.iter().flat_map(|place| alternatives(place));
    all.filter_map(|place| place["properties"].get(name)).collect()
}

fn known_beside(arguments: &Value, path: &[&str]) -> String {
    let place = path.iter().fold(vec![arguments], |places, name| descend(&places, name));
    let mut names: Vec<&str> = Vec::new();
    for properties in place.into_iter().flat_map(alternatives).filter_map(|place| place["properties"].as_object()) {
        for name in properties.keys() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    match names.as_slice() {
        [] => "are none".into(),
        names => format!("are {}", names.join(", ")),
    }
}

/// The text as a value of one of the schemas, or what would be one.
fn value(places: &[&Value], text: &str) -> Result<Value, String> {
    let all: Vec<&Value> = places.iter().flat_map(|place| alternatives(place)).collect();
    let takes = |name: &str| {
        let is = |kind: &Value| kind.as_str() == Some(name);
        all.iter().any(|place| is(&place["type"]) || place["type"].as_array().is_some_and(|kinds| kinds.iter().any(is)))
    };
    let words: Vec<&str> = all.iter().flat_map(|place| constants(place)).collect();
    let mut wanted = Vec::new();
    if takes("integer") {
        if let Some(number) = integer(text) {
            return Ok(number.into());
        }
        wanted.push("a whole number, such as 12 or 0x1f".to_owned());
    }
    if takes("boolean") {
        match text {
            "true" | "on" | "yes" => return Ok(true.into()),
            "false" | "off" | "no" => return Ok(false.into()),
            _ => wanted.push("on or off".to_owned()),
        }
    }
    if takes("array") {
        let items: Vec<&Value> = all.iter().filter_map(|place| place.get("items")).collect();
        let items: Result<Vec<Value>, String> =
            text.split(',').filter(|item| !item.is_empty()).map(|item| value(&items, item)).collect();
        match items {
            Ok(items) => return Ok(items.into()),
            Err(item) => wanted.push(format!("a list with commas, each {item}")),
        }
    }
    if !words.is_empty() {
        if words.contains(&text) {
            return Ok(text.into());
        }
        wanted.push(format!("one of {}", words.join(", ")));
    } else if takes("string") {
        return Ok(text.into());
    }
    if wanted.is_empty() {
        wanted.push("its parts, as KEY.PART=VALUE".to_owned());
    }
    Err(wanted.join(", or "))
}

/// The words that a schema lists.
fn constants(schema: &Value) -> impl Iterator<Item = &str> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Value::as_str)
}

fn integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Puts a value where the path leads; nothing where something else is.
fn put(arguments: &mut Value, path: &[&str], value: Value) -> Option<()> {
    let (name, rest) = path.split_first()?;
    let object = arguments.as_object_mut()?;
    if rest.is_empty() {
        return object.insert((*name).to_owned(), value).is_none().then_some(());
    }
    put(object.entry(*name).or_insert_with(|| Value::Object(Map::new())), rest, value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::commands::COMMANDS;

    fn words(command: &str, words: &[&str]) -> Result<Value, String> {
        let described =
            |row: &crate::control::commands::Row| json!({ "name": row.name, "arguments": (row.arguments)() });
        let schema = json!({ "commands": COMMANDS.iter().map(described).collect::<Vec<_>>() });
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        typed(&schema, command, &words).map_err(|error| error.to_string())
    }

    #[test]
    fn words_get_the_types_of_the_schema_and_dots_lead_into_objects() {
        assert_eq!(words("query-status", &[]), Ok(json!({})));
        assert_eq!(
            words("fault-add", &["kind=bit-flips", "nsid=1", "lba=0x10", "bits=5"]),
            Ok(json!({ "kind": "bit-flips", "nsid": 1, "lba": 16, "bits": 5 }))
        );
        assert_eq!(
            words(
                "crash-arm",
                &["at.match.opcode=1", "at.match.lba=8", "at.nth=2", "policy=choose", "survivors=on,off", "tear=yes"]
            ),
            Ok(json!({
                "at": { "match": { "opcode": 1, "lba": 8 }, "nth": 2 },
                "policy": "choose", "survivors": [true, false], "tear": true
            }))
        );
        assert_eq!(
            words("crash-arm", &["at.rate.one-in=100", "at.rate.seed=1", "at.rate.steps=line-erase,line-erased"]),
            Ok(json!({ "at": { "rate": { "one-in": 100, "seed": 1, "steps": ["line-erase", "line-erased"] } } }))
        );
        assert_eq!(words("query-schema", &["command=a=b"]), Ok(json!({ "command": "a=b" })));
        assert_eq!(
            words("fault-remove", &["fault.kind=program-failure", "fault.nth=3"]),
            Ok(json!({ "fault": { "kind": "program-failure", "nth": 3 } }))
        );
    }

    #[test]
    fn words_that_cannot_be_are_refused_with_what_would_do() {
        let refused = |command: &str, given: &[&str]| words(command, given).expect_err("impossible");
        assert!(refused("nonsense", &[]).contains("query-commands"));
        assert_eq!(refused("power-cut", &["policy"]), "\"policy\" is no argument: give KEY=VALUE");
        let policies = "policy=some: give one of none-survive, all-survive, random, choose";
        assert_eq!(refused("power-cut", &["policy=some"]), policies);
        let unknown =
            "polcy=random: power-cut has no argument \"polcy\"; there are policy, seed, survivors, tear, profile";
        assert_eq!(refused("power-cut", &["polcy=random"]), unknown);
        assert_eq!(refused("power-cut", &["tear=perhaps"]), "tear=perhaps: give on or off");
        assert_eq!(refused("power-cut", &["seed=-1"]), "seed=-1: give a whole number, such as 12 or 0x1f");
        assert_eq!(
            refused("power-cut", &["survivors=on,2"]),
            "survivors=on,2: give a list with commas, each on or off"
        );
        assert!(refused("power-cut", &["seed=1", "seed=2"]).contains("was given before"));
        assert!(refused("crash-arm", &["at=line-erased"]).contains("its parts, as KEY.PART=VALUE"));
        assert!(refused("crash-arm", &["at.step=lunch"]).contains("give one of doorbell-seen, "));
        assert!(refused("query-status", &["verbose=on"]).contains("there are none"));
    }
}
