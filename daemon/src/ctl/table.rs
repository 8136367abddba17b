//! An answer of the drive for people: a line for each value, and a table for each list of things that are alike.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The answer as lines.
pub fn table(answer: &Value) -> String {
    let mut text = String::new();
    match answer {
        Value::Object(fields) => object("", fields, &mut text),
        Value::Array(items) => list("", items, &mut text),
        other => _ = writeln!(text, "{}", word(other)),
    }
    text
}

/// Values with their names first, and then lists, which take more than a line.
fn object(path: &str, fields: &Map<String, Value>, text: &mut String) {
    let below = |name: &String| if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
    let mut values = Vec::new();
    flat(path, fields, &mut values);
    let width = values.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in values {
        let _ = writeln!(text, "{name:width$}  {value}");
    }
    lists(fields, &below, text);
}

/// What an object says in a word each, with the names of what it is in.
fn flat(path: &str, fields: &Map<String, Value>, values: &mut Vec<(String, String)>) {
    for (name, value) in fields {
        let name = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Object(fields) => flat(&name, fields, values),
            Value::Array(items) if items.iter().any(Value::is_object) => {}
            value => values.push((name, word(value))),
        }
    }
}

fn lists(fields: &Map<String, Value>, below: &dyn Fn(&String) -> String, text: &mut String) {
    for (name, value) in fields {
        let name = below(name);
        match value {
            Value::Object(fields) => lists(fields, &|inner| format!("{name}.{inner}"), text),
            Value::Array(items) if items.iter().any(Value::is_object) => list(&name, items, text),
            _ => {}
        }
    }
}

/// A table of what its items have, in the order in which it is met.
fn list(title: &str, items: &[Value], text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
    if !title.is_empty() {
        let _ = writeln!(text, "{title}:");
    }
    let rows: Vec<Vec<(String, String)>> = items.iter().map(row).collect();
    let mut columns: Vec<String> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    let find = |row: &[(String, String)], column: &String| {
        row.iter().find(|(name, _)| name == column).map_or_else(|| "-".to_owned(), |(_, value)| value.clone())
    };
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| find(row, column)).collect()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(columns).chain(cells).collect();
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for line in &lines {
        let padded: String = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        let _ = writeln!(text, "{}", padded.trim_end());
    }
}

fn row(item: &Value) -> Vec<(String, String)> {
    let mut values = Vec::new();
    match item {
        Value::Object(fields) => {
            flat("", fields, &mut values);
            // A list within a list has no room: how long it is.
            let lists = fields.iter().filter_map(|(name, value)| Some((name, value.as_array()?)));
            let long = lists.filter(|(_, items)| items.iter().any(Value::is_object));
            values.extend(long.map(|(name, items)| (name.clone(), format!("{} items", items.len()))));
        }
        other => values.push(("value".to_owned(), word(other))),
    }
    values
}

/// A value as a person would write it. What comes from a guest moves no cursor.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.escape_debug().to_string(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_lines_and_lists_are_tables() {
        let answer = json!({
            "state": "on", "at": { "step": null, "ends": [1, 2] }, "empty": [],
            "queues": [{ "id": 1, "depth": 64 }, { "id": 12, "mode": { "vector": 3 }, "log": [{ "a": 1 }] }],
        });
        let expected = "state    on\nat.step  -\nat.ends  1 2\nempty    \n\n\
                        queues:\nid  depth  mode.vector  log\n1   64     -            -\n12  -      3            1 items\n";
        assert_eq!(
            table(&answer).lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n",
            expected.replace("empty    ", "empty")
        );
        assert_eq!(table(&json!([{ "a": 1 }, { "a": 20 }])), "a\n1\n20\n");
        assert_eq!(table(&json!("text")), "text\n");
    }

    #[test]
    fn what_a_guest_wrote_moves_no_cursor() {
        assert_eq!(table(&json!({ "name": "a\u{1b}[2J\nb" })), "name  a\\u{1b}[2J\\nb\n");
    }
}
