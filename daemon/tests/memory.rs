//! Too little memory, from outside: what a drive cannot have is refused with option, value and remedy, whatever it is and wherever it
//! is noticed, and nothing panics, hangs or is left behind.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

/// How often a program is looked at that has nothing to do, and how long is waited in between: far beyond what it needs.
const LOOKS: u32 = 12_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// The program with this many KiB of addresses, as `ulimit -v` gives them.
fn limited(folder: &Path, kibibytes: u32, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {kibibytes} && exec \"$0\" {arguments}"), BROWNOUT]);
    // A panic that looks for its own origin takes memory too, and must not be what a lack of it ends in.
    command.current_dir(folder).env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_drive_that_does_not_fit_memory_is_refused_with_option_value_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = limited(folder.path(), 2_000_000, "media create whole.img --namespace size=256GiB").output();
    assert_eq!(made.expect("a program").status.code(), Some(0), "what fits is made");
    let cases = [
        (
            "serve --socket a.sock --namespace size=1GiB",
            700_000,
            "--namespace size=1GiB --media op=28%: the drive needs 1.2GiB of memory",
        ),
        (
            "serve --socket a.sock --media store=file:whole.img",
            400_000,
            "whole.img: --namespace size=256GiB --media iu=4KiB: ",
        ),
        (
            "media create new.img --namespace size=1TiB",
            900_000,
            "--namespace size=1TiB --media iu=4KiB: the drive needs",
        ),
        ("waf --numbers --drive 1TiB", 900_000, "--drive 1TiB: the system does not give"),
        ("media check whole.img", 400_000, "whole.img: --namespace size=256GiB --media iu=4KiB: the drive needs"),
        (
            "media scrub whole.img",
            400_000,
            "make another file that needs less, or give the process more memory (ulimit -v",
        ),
        (
            "media create new.img --media iu=512B,page_size=512B,pages=2,channels=1,dies=1,planes=1 --namespace size=4GiB,lba=512B",
            400_000,
            "give more pages, for fewer and longer lines",
        ),
    ];
    for (arguments, kibibytes, words) in cases {
        let (code, why) = said(&limited(folder.path(), kibibytes, arguments).output().expect("a program"));
        assert!(code == Some(1) && why.contains(words), "{arguments}: {code:?}: {why}");
        assert!(!why.contains("panicked") && !why.contains("os error"), "{arguments}: {why}");
    }
    let left: Vec<_> =
        folder.path().read_dir().expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left, ["whole.img"], "nothing is left of what was refused");
}

/// Waits until the program says that it is ready, or ends; its exit code then.
fn outcome(mut child: Child, says: &Path) -> Option<Option<i32>> {
    let mut looks = 0;
    let code = loop {
        let said = std::fs::read_to_string(says).unwrap_or_default();
        match child.try_wait().expect("it is ours") {
            Some(status) => break Some(status.code()),
            None if said.lines().any(|line| line.starts_with("# ready")) => break None,
            None => looks += 1,
        }
        assert!(looks < LOOKS, "it neither gets ready nor ends");
        std::thread::park_timeout(BETWEEN_LOOKS);
    };
    let _ = child.kill();
    let _ = child.wait();
    code
}

#[test]
fn with_whatever_memory_there_is_a_drive_starts_or_says_why_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let (says, errs) = (folder.path().join("says"), folder.path().join("errs"));
    let mut outcomes = [0, 0];
    for drive in ["--namespace size=64MiB", "--media store=file:a.img --namespace size=64MiB"] {
        // With less the program itself cannot be loaded.
        for kibibytes in (37_000..700_000).step_by(17_000) {
            for name in ["a.sock", "a.img"] {
                let _ = std::fs::remove_file(folder.path().join(name));
            }
            let mut command = limited(folder.path(), kibibytes, &format!("serve --socket a.sock {drive}"));
            command.stdout(File::create(&says).expect("a file")).stderr(File::create(&errs).expect("a file"));
            let code = outcome(command.spawn().expect("a program"), &says);
            let why = std::fs::read_to_string(&errs).expect("text");
            assert!(code.is_none() || code == Some(Some(1)), "{drive}, {kibibytes} KiB: {code:?}: {why}");
            assert!(!why.contains("panicked"), "{drive}, {kibibytes} KiB: {why}");
            outcomes[usize::from(code.is_none())] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 10), "some are too little, some enough: {outcomes:?}");
}
