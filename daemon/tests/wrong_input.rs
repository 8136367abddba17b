//! What is said of wrong input: each line of `wrong_inputs.txt` is given to the program, which ends with 1 or 2 and says what would do.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");
const INPUTS: &str = include_str!("wrong_inputs.txt");

/// How libraries and types speak, who know nothing of what was given.
const RAW: [&str; 10] = [
    "missing field",
    "unknown field",
    "unknown variant",
    "invalid digit",
    "invalid type",
    "UUID parsing",
    "NoSpace",
    "os error",
    "panicked",
    "RUST_BACKTRACE",
];

/// A device that takes orders, killed when dropped.
struct Served(Child);

impl Served {
    fn start(folder: &Path) -> Self {
        let mut daemon = Command::new(BROWNOUT)
            .args(["serve", "--socket", "nvme.sock", "--control", "control.sock", "--namespace", "size=16MiB"])
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(daemon.stdout.take().expect("a pipe")).lines();
        while !lines.next().expect("it gets ready").expect("text").starts_with("# ready: ") {}
        Self(daemon)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Gives an input to the program. No drive that is possible after all can be served at this place, so that the program ends anyhow.
fn give(folder: &Path, kind: &str, input: &str) -> Output {
    let serve = |option: &str, value: &str| {
        ["serve", "--socket", "/nowhere/nvme.sock", option, value].map(str::to_owned).to_vec()
    };
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let arguments = match kind {
        "device" | "namespace" | "media" => serve(&format!("--{kind}"), input),
        "config" => {
            std::fs::write(folder.join("drive.toml"), input.replace("\\n", "\n")).expect("a file");
            serve("--config", "drive.toml")
        }
        "verb" => words(input),
        "order" => [words("ctl control.sock"), words(input)].concat(),
        other => panic!("there is no kind {other}"),
    };
    let mut command = Command::new(BROWNOUT);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.output().expect("the program starts")
}

/// What is wrong with what is said of an input.
fn objection(folder: &Path, line: &str) -> Option<String> {
    let mut parts = line.splitn(3, " | ");
    let (Some(kind), Some(input), Some(words)) = (parts.next(), parts.next(), parts.next()) else {
        return Some(format!("{line}: give kind | input | words"));
    };
    let output = give(folder, kind, input);
    let said = String::from_utf8_lossy(&output.stderr);
    let raw = RAW.iter().find(|words| said.contains(**words));
    match output.status.code() {
        Some(1 | 2) if said.contains(words) && raw.is_none() => None,
        code => Some(format!("{kind} {input}: code {code:?}, wanted {words:?}, raw {raw:?}: {}", said.trim_end())),
    }
}

#[test]
fn what_is_said_of_wrong_input_says_what_would_do() {
    let lines: Vec<&str> = INPUTS.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(lines.len() >= 200, "{} inputs", lines.len());
    let folder = tempfile::tempdir().expect("a folder");
    let _served = Served::start(folder.path());
    let objections: Vec<String> = lines.iter().filter_map(|line| objection(folder.path(), line)).collect();
    assert!(objections.is_empty(), "{} of {}:\n{}", objections.len(), lines.len(), objections.join("\n"));
}
