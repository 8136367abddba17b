//! Turns KEY=VALUE words into a command's arguments, typed by the device's own schema.

use anyhow::{anyhow, bail};
use serde_json::{Map, Value};

/// The arguments of `command` that `words` mean.
///
/// # Errors
/// The first word that cannot be: with its key, its value, and what would do.
pub fn typed(schema: &Value, command: &str, words: &[String]) -> anyhow::Result<Value> {
    let commands = schema["commands"].as_array().map_or(&[][..], Vec::as_slice);
    let Some(described) = commands.iter().find(|entry| entry["name"] == command) else {
        let names = commands.iter().filter_map(|entry| entry["name"].as_str());
        let nearest = names.min_by_key(|name| strsim::damerau_levenshtein(name, command)).unwrap_or_default();
        bail!("there is no command {command:?}: {nearest} is the nearest, and `brownout ctl PATH help` lists them all");
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
        if text.is_empty() {
            bail!("{word}: {key} has no value: give KEY=VALUE");
        }
        put(&mut arguments, &path, value(&places, text).map_err(|wanted| anyhow!("{word}: give {wanted}"))?)
            .ok_or_else(|| anyhow!("{word}: {key:?} was given before, or is within one that was"))?;
    }
    Ok(arguments)
}

/// What a command is for, what it takes and what it answers; of no command, what each is for.
///
/// # Errors
/// There is no such command.
pub fn help(schema: &Value, command: Option<&str>) -> anyhow::Result<String> {
    let commands = schema["commands"].as_array().map_or(&[][..], Vec::as_slice);
    let description = |schema: &Value| schema["description"].as_str().unwrap_or_default().replace('\n', " ");
    let Some(command) = command else {
        let line = |entry: &Value| {
            let text = description(&entry["arguments"]);
            let first = text.split_inclusive(". ").next().unwrap_or_default().trim_end();
            format!("{:<20} {first}\n", entry["name"].as_str().unwrap_or_default())
        };
        return Ok(commands.iter().map(line).collect());
    };
    // Refuses what there is not, in the words of every other verb.
    typed(schema, command, &[])?;
    let described = commands.iter().find(|entry| entry["name"] == command).unwrap_or(&Value::Null);
    let mut text = format!("{command}: {}\n", description(&described["arguments"]));
    describe(&described["arguments"], "", Side::Arguments, &mut text);
    text.push_str("Answer:\n");
    let (prefix, answer) = element("", &described["returns"]);
    let before = text.len();
    describe(answer, &prefix, Side::Answer, &mut text);
    if text.len() == before {
        text.push_str("  nothing but that it was done\n");
    }
    Ok(text)
}

/// An event, for people.
pub struct EventHelp {
    /// Its name, in capitals.
    pub name: String,
    /// What happened.
    pub purpose: String,
    /// What it carries, a member in each line.
    pub members: String,
}

/// Every event of a schema.
pub fn events(schema: &Value) -> Vec<EventHelp> {
    let described = |event: &&Value| {
        let name = event["properties"]["event"]["const"].as_str()?.to_owned();
        let mut members = String::new();
        describe(&event["properties"]["data"], "", Side::Answer, &mut members);
        let purpose = event["description"].as_str().unwrap_or_default().replace('\n', " ");
        Some(EventHelp { name, purpose, members })
    };
    alternatives(&schema["events"]).iter().filter_map(described).collect()
}

/// Which half of a command is described.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// As it is written on the command line.
    Arguments,
    /// As JSON has it, with dots between names.
    Answer,
}

/// What a schema describes one of: of a list, its elements, which have a name of their own.
fn element<'a>(name: &str, schema: &'a Value) -> (String, &'a Value) {
    let list = alternatives(schema).into_iter().find(|place| place["items"].is_object());
    list.map_or_else(|| (name.to_owned(), schema), |list| (format!("{name}[]."), &list["items"]))
}

/// The properties of an object and of what is inside it, one in a line.
fn describe(schema: &Value, prefix: &str, side: Side, text: &mut String) {
    let mut seen: Vec<&str> = Vec::new();
    for place in alternatives(schema) {
        let required: Vec<&str> =
            place["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, property) in place["properties"].as_object().into_iter().flatten() {
            if seen.contains(&name.as_str()) {
                continue;
            }
            seen.push(name);
            let inside = descend(&[schema], name);
            let wanted = wanted(&inside);
            let purpose = property["description"].as_str().unwrap_or_default().replace('\n', " ");
            let must = match &property["default"] {
                _ if side == Side::Answer => String::new(),
                _ if required.contains(&name.as_str()) => ", required".to_owned(),
                Value::Null => String::new(),
                Value::String(default) => format!(", default {default}"),
                default => format!(", default {default}"),
            };
            let for_kinds = for_kinds(schema, name);
            let shown = match side {
                _ if wanted.is_empty() => ".…".to_owned(),
                Side::Arguments => format!("={wanted}"),
                Side::Answer => format!(": {wanted}"),
            };
            text.push_str(&format!("  {prefix}{name}{shown}{must}{for_kinds}\n"));
            if !purpose.is_empty() {
                text.push_str(&format!("      {purpose}\n"));
            }
            let object = |place: &&Value| alternatives(place).iter().any(|part| part["properties"].is_object());
            let elements = |place: &Value| side == Side::Answer && object(&element("", place).1);
            if let Some(parts) = inside.iter().find(|place| object(place)) {
                describe(parts, &format!("{prefix}{name}."), side, text);
            } else if let Some(list) = inside.iter().find(|place| elements(place)) {
                let (name, parts) = element(name, list);
                describe(parts, &format!("{prefix}{name}"), side, text);
            }
        }
    }
}

/// Which alternatives have a property, where not all have it: they are told apart by the one word that each names.
fn for_kinds(schema: &Value, name: &str) -> String {
    let objects: Vec<_> =
        alternatives(schema).into_iter().filter_map(|place| place["properties"].as_object()).collect();
    let kind = |(key, property): (&String, &Value)| Some(format!("{key}={}", property["const"].as_str()?));
    let having: Vec<_> = objects.iter().filter(|properties| properties.contains_key(name)).collect();
    let kinds: Vec<String> = having.iter().filter_map(|properties| properties.iter().find_map(kind)).collect();
    if having.len() == objects.len() || kinds.is_empty() { String::new() } else { format!(" for {}", kinds.join(", ")) }
}

/// What a value may be, in a few words; nothing for an object.
fn wanted(places: &[&Value]) -> String {
    let all: Vec<&Value> = places.iter().flat_map(|place| alternatives(place)).collect();
    let mut kinds: Vec<String> = Vec::new();
    let mut add = |kind: String| {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    };
    for place in all {
        let words: Vec<&str> = constants(place).collect();
        let of = |name: &str| {
            place["type"] == name || place["type"].as_array().is_some_and(|kinds| kinds.contains(&name.into()))
        };
        if !words.is_empty() {
            words.into_iter().for_each(|word| add(word.to_owned()));
        } else if of("integer") {
            add("NUMBER".into());
        } else if of("boolean") {
            add("on|off".into());
        } else if of("array") {
            add("LIST".into());
        } else if of("string") {
            add("TEXT".into());
        }
    }
    kinds.join("|")
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

    fn schema() -> Value {
        let described =
            |row: &crate::control::commands::Row| json!({ "name": row.name, "arguments": (row.arguments)() });
        json!({ "commands": COMMANDS.iter().map(described).collect::<Vec<_>>() })
    }

    fn words(command: &str, words: &[&str]) -> Result<Value, String> {
        let schema = schema();
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
        assert_eq!(
            words("crash-arm", &["at.match.opcode=write-zeroes"]),
            Ok(json!({ "at": { "match": { "opcode": "write-zeroes" } } }))
        );
        assert_eq!(words("query-schema", &["command=a=b"]), Ok(json!({ "command": "a=b" })));
        let of_device = ["kind=controller", "match.queue=io", "match.opcode=2", "when.every=3", "times=until-removed"];
        let action = ["action.kind=status", "action.sct=2", "action.sc=0x81", "action.dnr=on"];
        assert_eq!(
            words("fault-add", &[&of_device[..], &action].concat()),
            Ok(json!({
                "kind": "controller", "match": { "queue": "io", "opcode": 2 }, "when": { "every": 3 },
                "times": "until-removed", "action": { "kind": "status", "sct": 2, "sc": 129, "dnr": true }
            }))
        );
        assert_eq!(
            words("fault-add", &["kind=controller", "times=2", "action.kind=wrong-cid", "action.cid=free"]),
            Ok(json!({ "kind": "controller", "times": 2, "action": { "kind": "wrong-cid", "cid": "free" } }))
        );
        assert_eq!(
            words("fault-remove", &["fault.kind=program-failure", "fault.nth=3"]),
            Ok(json!({ "fault": { "kind": "program-failure", "nth": 3 } }))
        );
    }

    #[test]
    fn words_that_cannot_be_are_refused_with_what_would_do() {
        let refused = |command: &str, given: &[&str]| words(command, given).expect_err("impossible");
        assert!(refused("qurey-media", &[]).contains("\"qurey-media\": query-media is the nearest"));
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

    #[test]
    fn help_lists_every_command_and_describes_every_argument() {
        let all = help(&schema(), None).expect("a list");
        assert_eq!(all.lines().count(), COMMANDS.len());
        assert!(all.lines().all(|line| line.len() > 25 && line.ends_with('.')), "{all}");
        for row in &COMMANDS {
            let text = help(&schema(), Some(row.name)).expect("known");
            let properties = descend_names(&(row.arguments)().into());
            assert!(properties.iter().all(|name| text.contains(&format!("  {name}"))), "{text}");
        }
        let fault = help(&schema(), Some("fault-add")).expect("known");
        assert!(
            fault.contains("\n  kind=unrecovered-read|bit-flips|program-failure|erase-failure|controller, required\n"),
            "{fault}"
        );
        assert!(
            fault.contains(
                "\n  nsid=NUMBER, required for kind=unrecovered-read, kind=bit-flips\n      The namespace.\n"
            ),
            "{fault}"
        );
        let arm = help(&schema(), Some("crash-arm")).expect("known");
        assert!(arm.contains("\n  at.match.opcode=NUMBER|flush|write|read|"), "{arm}");
        assert!(
            help(&schema(), Some("crash-amr")).expect_err("unknown").to_string().contains("crash-arm is the nearest")
        );
    }

    fn descend_names(schema: &Value) -> Vec<String> {
        let objects = alternatives(schema).into_iter().filter_map(|place| place["properties"].as_object());
        objects.flat_map(|properties| properties.keys().cloned()).collect()
    }
}
