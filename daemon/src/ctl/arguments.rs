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
