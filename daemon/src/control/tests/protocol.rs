//! The protocol: greeting, negotiation, identifiers, errors, descriptions.

use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::Running;
use crate::control::commands::COMMANDS;

#[test]
fn capabilities_come_first_and_once() {
    let device = Running::start();
    let mut peer = device.connect();
    peer.send(r#"{"execute": "query-version", "id": 1}"#);
    let refused = peer.answer();
    assert_eq!((&refused["error"]["class"], &refused["id"]), (&json!("CommandNotFound"), &json!(1)));
    assert!(peer.ask("qmp_capabilities", json!({ "enable": ["oob"] })).is_err());
    assert_eq!(peer.ask("qmp_capabilities", json!({ "enable": [] })), Ok(json!({})));
    peer.send(r#"{"execute": "qmp_capabilities"}"#);
    assert_eq!(peer.answer()["error"]["class"], "CommandNotFound");
    assert_eq!(peer.ask("query-version", json!({})).expect("a version")["qemu"]["major"], 0);
}

#[test]
fn only_the_owner_may_connect_and_the_socket_goes_with_the_device() {
    let mut device = Running::start();
    let mode = std::fs::metadata(device.path()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut peer = device.peer();
    device.stop().expect("an orderly end");
    assert!(peer.hear().is_none(), "the connection is ended");
    assert!(!device.path().exists());
}

#[test]
fn requests_are_answered_in_order_however_they_are_written() {
    let device = Running::start();
    let mut peer = device.peer();
    peer.send("{\"execute\": \"query-status\", \"id\": 1}{\"execute\": \"none\", \"id\": [2]}\r\n\r\n");
    peer.send("{\"id\": {\"three\": 3},\n  \"execute\":\n \"query-version\"}{\"exe");
    peer.send("cute\": \"query-commands\", \"id\": null}");
    peer.stream.get_ref().shutdown(Shutdown::Write).expect("half a connection");
    let ids: Vec<Value> = std::iter::from_fn(|| peer.hear()).map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!([2]), json!({ "three": 3 }), json!(null)], "and then the connection ends");
}

#[test]
fn errors_have_a_class_and_say_what_would_do() {
    let device = Running::start();
    let mut peer = device.peer();
    peer.send(r#"{"execute": "power-of-love"}"#);
    let error = peer.answer()["error"].clone();
    assert_eq!(error["class"], "CommandNotFound");
    assert!(error["desc"].as_str().expect("text").contains("query-commands"));
    peer.send(r#"{"execute": "query-status", "arguments": {"verbose": true}}"#);
    let error = peer.answer()["error"].clone();
    assert_eq!(error["class"], "GenericError");
    assert!(error["desc"].as_str().expect("text").contains("there is no argument `verbose`: it takes none"), "{error}");
    let wrong = peer.ask("crash-arm", json!({ "at": { "step": 7 } })).expect_err("a number");
    assert!(wrong.starts_with("`at.step`: integer `7` is not valid here: give a string"), "{wrong}");
    peer.send("{\"execute\": nothing}");
    assert!(peer.answer()["error"]["desc"].as_str().expect("text").starts_with("this is no JSON"));
    assert!(peer.ask("query-status", json!({})).is_ok(), "none of these ends the connection");
}

/// What the schema leaves out or adds, by the places in the answer.
fn differences(schema: &Value, answer: &Value, place: &str) -> Vec<String> {
    let alternatives = ["anyOf", "oneOf"].into_iter().filter_map(|word| schema[word].as_array()).flatten();
    let alternatives: Vec<Vec<String>> = alternatives.map(|schema| differences(schema, answer, place)).collect();
    if !alternatives.is_empty() {
        let fits = alternatives.iter().any(Vec::is_empty);
        return if fits { Vec::new() } else { alternatives.concat() };
    }
    let kind = match answer {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let described = |value: &Value| value == kind || kind == "integer" && value == "number";
    let kinds = &schema["type"];
    let mut found = Vec::new();
    if !(kinds.is_null() || described(kinds) || kinds.as_array().is_some_and(|kinds| kinds.iter().any(described))) {
        found.push(format!("{place} is {kind}, not {kinds}"));
    }
    let words = schema.get("const").into_iter().chain(schema["enum"].as_array().into_iter().flatten());
    if words.clone().count() > 0 && !words.clone().any(|word| word == answer) {
        found.push(format!("{place} is {answer}"));
    }
    for item in answer.as_array().into_iter().flatten() {
        found.extend(differences(&schema["items"], item, &format!("{place}[]")));
    }
    if let (Some(members), Some(known)) = (answer.as_object(), schema["properties"].as_object()) {
        for (name, value) in members {
            let place = format!("{place}.{name}");
            match known.get(name) {
                Some(schema) => found.extend(differences(schema, value, &place)),
                None => found.push(format!("{place} is not described")),
            }
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        found.extend(required.filter(|name| !members.contains_key(*name)).map(|name| format!("{place}.{name} lacks")));
    }
    found
}

#[test]
fn every_command_is_listed_described_and_refuses_what_it_does_not_know() {
    let device = Running::start();
    let mut peer = device.peer();
    let listed = peer.ask("query-commands", json!({})).expect("a list");
    let names: Vec<&str> = listed.as_array().expect("a list").iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, COMMANDS.iter().map(|row| row.name).collect::<Vec<_>>());
    let schema = peer.ask("query-schema", json!({})).expect("a schema");
    for (name, described) in names.iter().zip(schema["commands"].as_array().expect("a list")) {
        assert_eq!(described["name"], *name);
        assert!(described["arguments"]["description"].as_str().is_some_and(|text| text.ends_with('.')), "{described}");
        assert!(!described.to_string().contains("$ref"), "{name}: everything is said in its place");
        let refused = peer.ask(name, json!({ "no-such-argument": 1 })).expect_err("an unknown argument");
        assert!(refused.contains("no-such-argument") || refused.contains("kind") || refused.contains("negotiated"));
    }
    assert!(peer.ask("query-schema", json!({ "command": "none" })).is_err());
    let one = peer.ask("query-schema", json!({ "command": "query-media" })).expect("a schema");
    assert_eq!(one["commands"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_queries_answer_is_what_their_schemas_describe() {
    let device = Running::start();
    let mut peer = device.peer();
    let schema = peer.ask("query-schema", json!({})).expect("a schema");
    let mut asked = 0;
    for add in [
        json!({ "kind": "bit-flips", "nsid": 1, "lba": 8, "bits": 3 }),
        json!({ "kind": "erase-failure", "nth": 9, "plane": 1 }),
    ] {
        peer.ask("fault-add", add).expect("a fault");
    }
    peer.ask("crash-arm", json!({ "at": { "rate": { "one-in": 1_000_000, "seed": 1 } } })).expect("armed");
    for powered in [true, false] {
        for described in schema["commands"].as_array().expect("a list") {
            let name = described["name"].as_str().expect("a name");
            if name.starts_with("query-") {
                let answer = peer.ask(name, json!({})).expect("an answer");
                assert_eq!(differences(&described["returns"], &answer, name), Vec::<String>::new(), "power: {powered}");
                asked += 1;
            }
        }
        if powered {
            peer.ask("power-cut", json!({})).expect("no power");
        }
    }
    assert!(asked >= 20, "{asked}");
    // The judge itself finds what is wrong.
    let wrong = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a", "b"] });
    assert_eq!(differences(&wrong, &json!({ "a": 1, "c": 2 }), "x").len(), 3);
}
