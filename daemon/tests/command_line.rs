//! The program from outside: exit codes, and what becomes of QEMU.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

fn brownout(arguments: &[&str]) -> Output {
    Command::new(BROWNOUT).args(arguments).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A QEMU that only says what it is, writes its arguments down, and ends with 7.
fn imitation(folder: &Path) -> String {
    let program = folder.join("qemu-system-x86_64");
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n'--version ') echo 'QEMU emulator version 11.1.3';;\n\
         '-device help') echo 'name \"vfio-user-pci\"';;\n*) printf '%s\\n' \"$@\" > '{}/arguments'; exit 7;;\nesac\n",
        folder.display()
    );
    fs::write(&program, script).expect("a script");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    program.display().to_string()
}

#[test]
fn wrong_use_is_2_and_names_option_value_and_remedy() {
    let output = brownout(&["serve", "--socket", "disk.sock", "--namespace", "lba=3000"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "brownout: --namespace lba=3000: give a power of two from 512 to 65536\n");

    let output = brownout(&["qemu", "--memory", "much"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("'much' for '--memory <SIZE>': give a size such as 512MiB"),
        "{}",
        stderr(&output)
    );
    assert_eq!(brownout(&["qemu", "--nonsense"]).status.code(), Some(2));
    assert_eq!(brownout(&["qemu", "--help"]).status.code(), Some(0));
}

#[test]
fn the_version_names_release_and_media_format_for_people_and_programs() {
    let said = |arguments: &[&str]| String::from_utf8(brownout(arguments).stdout).expect("text");
    let line = said(&["--version"]);
    assert!(line.starts_with("brownout 0.1.0") && line.ends_with(", media format 4\n"), "{line}");
    assert_eq!(said(&["version"]), line);
    let json: Value = serde_json::from_str(&said(&["version", "--json"])).expect("JSON");
    assert_eq!((&json["version"], &json["media-format"]), (&json!("0.1.0"), &json!(4)));
    let commit = json["commit"].as_str();
    assert!(commit.is_none_or(|commit| line.contains(&format!("({commit})"))), "{line}");
}

/// A drive says that it is ready; whoever started it reads its places and its configuration.
#[test]
fn a_drive_that_is_ready_says_so_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let places = ["--socket", "disk.sock", "--control", "control.sock", "--http", "127.0.0.1:0"];
    let mut drive = Command::new(BROWNOUT)
        .args(["serve", "--json", "--log-format", "json", "--namespace", "size=16MiB,lba=4KiB"])
        .args(places)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(drive.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
    drive.kill().expect("it runs");
    let mut errors = String::new();
    drive.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("text");
    drive.wait().expect("it ended");
    let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}{errors}"));
    assert_eq!(
        (&ready["ready"], &ready["sockets"], &ready["control"]),
        (&json!(true), &json!(["disk.sock"]), &json!("control.sock"))
    );
    assert_eq!(ready["configuration"]["namespace"][0]["size"], "16MiB");
    assert_eq!((&ready["vhost-user"], &ready["pid"]), (&Value::Null, &json!(drive.id())));
    let port = ready["http"].as_str().and_then(|at| at.strip_prefix("127.0.0.1:")).expect("an address");
    assert!(port.parse::<u16>().expect("a port") > 0);
    // Messages are objects; what is for people, such as QEMU's arguments, is not.
    let messages: Vec<Value> = errors.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let confined =
        messages.iter().find(|message| message["message"].as_str().is_some_and(|text| text.starts_with("confined")));
    assert_eq!(confined.expect("a message")["level"], "INFO", "{errors}");
}

#[test]
fn a_machine_without_a_qemu_that_will_do_is_1_and_says_what_to_install() {
    let output = brownout(&["qemu", "--qemu", "/bin/true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("install QEMU 10.1 or later"), "{}", stderr(&output));
}

#[test]
fn a_socket_that_cannot_be_made_is_1() {
    let output = brownout(&["serve", "--socket", "/nowhere/disk.sock"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "what is not ready does not say so");
}

#[test]
fn qemu_gets_the_device_and_its_exit_code_is_ours() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = imitation(folder.path());
    let output = brownout(&["qemu", "--qemu", &program, "--memory", "64MiB", "--", "-smp", "2"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    let arguments = fs::read_to_string(folder.path().join("arguments")).expect("what QEMU was given");
    assert!(arguments.contains("\nmemory-backend-memfd,id=brownout-memory,size=64M,share=on\n"), "{arguments}");
    assert!(arguments.contains("\"driver\":\"vfio-user-pci\""), "{arguments}");
    assert!(arguments.ends_with("-smp\n2\n"), "{arguments}");
}

#[test]
fn each_machine_has_a_drive_with_a_serial_number_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let program = imitation(folder.path());
    let ask = format!("{BROWNOUT} ctl {} query-controller > {}", path("control.sock"), path("answer"));
    let script =
        fs::read_to_string(&program).expect("the script").replace("printf '%s\\n' \"$@\"", &format!("{ask}; true"));
    fs::write(&program, script).expect("a script");
    let serial = || {
        let output = brownout(&["qemu", "--qemu", &program, "--memory", "64MiB", "--control", &path("control.sock")]);
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
        let answer: Value = serde_json::from_slice(&fs::read(path("answer")).expect("an answer")).expect("JSON");
        answer["identify"]["serial"].as_str().expect("a serial number").to_owned()
    };
    let (one, other) = (serial(), serial());
    assert!(one.starts_with("brownout-") && one != other, "{one} {other}");
}

/// A supervisor that is killed outright cannot tidy up; the kernel does it.
#[test]
fn qemu_dies_with_the_process_that_wanted_it() {
    let script = format!("{BROWNOUT} become-qemu $$ /bin/sh -c 'echo up; exec sleep 1000' & wait");
    let mut parent =
        Command::new("/bin/sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().expect("a shell starts");
    let mut output = BufReader::new(parent.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "up\n");
    parent.kill().expect("a living shell");
    parent.wait().expect("a dead shell");
    // The pipe ends when its last writer is gone, which is the one that would sleep on.
    assert_eq!(output.read_to_end(&mut Vec::new()).expect("the end"), 0);
}

#[test]
fn qemu_is_not_started_for_a_parent_that_is_gone() {
    let output = brownout(&["become-qemu", "1", "/bin/echo", "here"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert_eq!(stderr(&output), "brownout: the process that started QEMU is gone\n");
}
