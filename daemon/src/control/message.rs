//! Messages of the protocol: parsing requests, and formatting everything that is sent. Knows no command.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Event;

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The command's name.
    pub execute: String,
    /// Its arguments; empty if none were given.
    pub arguments: Map<String, Value>,
    /// The peer's name for the request, handed back with the answer.
    pub id: Option<Value>,
}

/// What kind of error it is: clients act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ErrorClass {
    /// There is no such command, or not now.
    CommandNotFound,
    /// Anything else.
    GenericError,
}

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolError {
    /// What kind it is.
    pub class: ErrorClass,
    /// For people: what was wrong, and what would do.
    pub desc: String,
}

impl ProtocolError {
    /// Anything that a client need not tell apart.
    pub fn generic(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::GenericError, desc: desc.into() }
    }

    /// There is no such command, or not now.
    pub fn not_found(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::CommandNotFound, desc: desc.into() }
    }
}

/// Reads a request.
///
/// # Errors
/// What is wrong with it, and its identifier as far as there was one.
pub fn parse(bytes: &[u8]) -> Result<Request, (Option<Value>, ProtocolError)> {
    let refuse = |id: Option<Value>, desc: String| Err((id, ProtocolError::generic(desc)));
    let mut members: Map<String, Value> = match serde_json::from_slice(bytes) {
        Ok(members) => members,
        Err(error) => return refuse(None, format!("this is no JSON: {error}")),
    };
    let id = members.remove("id");
    let execute = match members.remove("execute") {
        Some(Value::String(name)) => name,
        Some(_) => return refuse(id, "`execute` is the name of a command: give a string".into()),
        None => return refuse(id, "a request has the member `execute`".into()),
    };
    let arguments = match members.remove("arguments") {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return refuse(id, "`arguments` is an object".into()),
    };
    if let Some(name) = members.keys().next() {
        return refuse(id, format!("`{name}` is unknown: a request has `execute`, `arguments` and `id`"));
    }
    Ok(Request { execute, arguments, id })
}

/// What a client is greeted with.
pub fn greeting() -> String {
    line(&json!({ "QMP": { "version": version(), "capabilities": [] } }))
}

/// The version as clients of QMP expect it: that of the emulator in three numbers, and of the package.
pub fn version() -> Value {
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    json!({
        "qemu": {
            "micro": number(env!("CARGO_PKG_VERSION_PATCH")),
            "minor": number(env!("CARGO_PKG_VERSION_MINOR")),
            "major": number(env!("CARGO_PKG_VERSION_MAJOR")),
        },
        "package": concat!("brownout ", env!("CARGO_PKG_VERSION")),
    })
}

/// The answer to a request.
pub fn answer(id: Option<Value>, result: Result<Value, ProtocolError>) -> String {
    let mut members = Map::new();
    match result {
        Ok(value) => members.insert("return".into(), value),
        Err(error) => members.insert("error".into(), json!({ "class": error.class, "desc": error.desc })),
    };
    if let Some(id) = id {
        members.insert("id".into(), id);
    }
    line(&Value::Object(members))
}

/// An event, and its time since 1970.
pub fn event(event: &Event, since_1970: std::time::Duration) -> String {
    line(&event_value(event, since_1970))
}

/// The same as a value.
pub fn event_value(event: &Event, since_1970: std::time::Duration) -> Value {
    let mut message = serde_json::to_value(event).expect("an event is JSON");
    message["timestamp"] = json!({ "seconds": since_1970.as_secs(), "microseconds": since_1970.subsec_micros() });
    message
}

fn line(message: &Value) -> String {
    format!("{message}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (Option<Value>, String) {
        let (id, error) = parse(text.as_bytes()).expect_err("not a request");
        (id, error.desc)
    }

    #[test]
    fn a_request_has_a_name_arguments_and_an_identifier_of_any_kind() {
        let request = parse(br#"{"execute": "x", "arguments": {"a": 1}, "id": [1, {"b": null}]}"#).expect("a request");
        assert_eq!((request.execute.as_str(), &request.arguments["a"]), ("x", &json!(1)));
        assert_eq!(request.id, Some(json!([1, { "b": null }])));
        assert_eq!(parse(br#"{"execute": "x"}"#).expect("a request").arguments, Map::new());
    }

    #[test]
    fn what_is_wrong_is_named_and_the_identifier_comes_back() {
        assert_eq!(refused(r#"{"id": 7}"#), (Some(json!(7)), "a request has the member `execute`".into()));
        let unknown = "`exec-oob` is unknown: a request has `execute`, `arguments` and `id`";
        assert_eq!(refused(r#"{"execute": "x", "exec-oob": "y", "id": 0}"#), (Some(json!(0)), unknown.into()));
        assert!(refused(r#"{"execute": 1}"#).1.contains("give a string"));
        assert!(refused(r#"{"execute": "x", "arguments": []}"#).1.contains("an object"));
        assert!(refused("{'execute': 1}").1.starts_with("this is no JSON"));
        assert!(refused(&format!("{{\"a\": {}}}", "[".repeat(1000))).1.starts_with("this is no JSON"));
        assert!(parse(b"{\"\xff\": 1}").is_err());
    }

    #[test]
    fn the_greeting_and_the_answers_are_those_of_the_protocol() {
        let greeting: Value = serde_json::from_str(&greeting()).expect("JSON");
        assert!(greeting["QMP"]["version"]["qemu"]["major"].is_u64());
        assert_eq!(greeting["QMP"]["capabilities"], json!([]));
        assert_eq!(answer(Some(json!("n")), Ok(json!({}))), "{\"return\":{},\"id\":\"n\"}\r\n");
        let error = "{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"no\"}}\r\n";
        assert_eq!(answer(None, Err(ProtocolError::not_found("no"))), error);
    }
}
