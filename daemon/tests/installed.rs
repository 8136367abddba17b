//! What is installed beside the program: manual pages, completions, documents, and where `make install` puts them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BROWNOUT: &str = env!("CARGO_BIN_EXE_brownout");

fn brownout(arguments: &[&str]) -> Output {
    let output = Command::new(BROWNOUT).args(arguments).output().expect("the program starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: Output) -> String {
    String::from_utf8(output.stdout).expect("text")
}

/// The second level of verbs is asked too: `media check` has a page of its own.
fn verbs_of(path: &[&str]) -> Vec<String> {
    let help = text(brownout(&[path, &["--help"]].concat()));
    let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = listed.lines().take_while(|line| !line.is_empty());
    // A line that is indented further goes on with the one before.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").map(str::to_owned).collect()
}

/// The long options that a help shows.
fn options_of(path: &[&str]) -> Vec<String> {
    let help = text(brownout(&[path, &["--help"]].concat()));
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")));
    words.map(|word| word.split(['=', '.', '[']).next().unwrap_or(word).to_owned()).collect()
}

fn check_page(folder: &Path, path: &[&str]) {
    let name = [&["brownout"], path].concat().join("-");
    let page = fs::read_to_string(folder.join(format!("{name}.1"))).expect(&name);
    let plain = page.replace('\\', "");
    assert!(plain.contains(".SH NAME") && plain.contains(".SH SYNOPSIS"), "{name}");
    let options = options_of(path);
    assert!(options.len() >= 2, "{name}: {options:?}");
    let missing: Vec<_> = options.iter().filter(|option| !plain.contains(option.as_str())).collect();
    assert!(missing.is_empty(), "{name}: {missing:?}");
}

#[test]
fn every_verb_has_a_page_with_its_options_and_hidden_verbs_have_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("man1");
    brownout(&["man", pages.to_str().expect("a name")]);
    let verbs = verbs_of(&[]);
    assert!(verbs.len() >= 8, "{verbs:?}");
    for verb in &verbs {
        check_page(&pages, &[verb]);
        for inner in verbs_of(&[verb]) {
            check_page(&pages, &[verb, &inner]);
        }
    }
    for hidden in ["become-qemu", "man", "completions", "reference"] {
        assert!(!pages.join(format!("brownout-{hidden}.1")).exists(), "{hidden}");
    }
}

#[test]
fn completions_name_every_verb_and_bash_takes_its_own() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(brownout(&["completions", shell]));
        let missing: Vec<_> = verbs_of(&[]).into_iter().filter(|verb| !script.contains(verb.as_str())).collect();
        assert!(missing.is_empty(), "{shell}: {missing:?}");
    }
    let script = text(brownout(&["completions", "bash"]));
    let complete =
        "COMP_WORDS=(brownout serve --guest-m); COMP_CWORD=2; _brownout brownout --guest-m serve; echo ${COMPREPLY[@]}";
    for (flags, more, printed) in [(&["-n"][..], "", ""), (&[], complete, "--guest-memory\n")] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "--noprofile"]).args(flags).args(["-c", &format!("{script}\n{more}")]);
        let output = bash.stdin(Stdio::null()).output().expect("bash is there");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text(output), printed);
    }
}

#[test]
fn options_are_listed_to_standard_output_one_in_a_line() {
    for (option, line) in
        [("device", "  max_ioqpairs=1..511 "), ("media", "  vwc=on|off "), ("namespace", "  lba=SIZE ")]
    {
        for verb in ["serve", "qemu"] {
            let listed = text(brownout(&[verb, &format!("--{option}"), "help"]));
            assert!(listed.starts_with(&format!("{option} options:\n")) && listed.contains(line), "{listed}");
        }
    }
    assert!(text(brownout(&["serve", "--device", "nvme,help"])).starts_with("device options:\n"));
    assert!(text(brownout(&["serve", "--trace", "help"])).starts_with("pci_nvme"));
}

/// Without a drive that runs, and as a running one would say it.
#[test]
fn commands_of_the_control_socket_are_described_without_a_drive() {
    let list = text(brownout(&["ctl", "help"]));
    assert!(list.contains("\nquery-media ") && list.lines().count() > 30, "{list}");
    let resize = text(brownout(&["ctl", "help", "namespace-resize"]));
    assert!(
        resize.starts_with("namespace-resize: ") && resize.contains("\n  size=NUMBER|TEXT, required\n"),
        "{resize}"
    );
    let status = text(brownout(&["ctl", "help", "query-status"]));
    assert!(status.contains("\nAnswer:\n") && status.contains("\n  running: on|off\n"), "{status}");
    let unknown = Command::new(BROWNOUT).args(["ctl", "help", "qurey-status"]).output().expect("the program starts");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("query-status is the nearest"));
}

#[test]
fn make_install_puts_everything_below_destdir_and_uninstall_takes_it_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
    let make = |target: &str| {
        let destination = format!("DESTDIR={}", folder.path().display());
        let mut make = Command::new("make");
        make.arg("-C").arg(root).args([target, "PREFIX=/opt/b", &destination, &format!("BINARY={BROWNOUT}")]);
        let output = make.env_remove("MAKEFLAGS").output().expect("make is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    make("install");
    let installed = folder.path().join("opt/b");
    let version = Command::new(installed.join("bin/brownout")).arg("--version").output().expect("it starts");
    assert!(version.status.success() && version.stdout.starts_with(b"brownout "));
    for file in [
        "share/man/man1/brownout.1",
        "share/man/man1/brownout-serve.1",
        "share/bash-completion/completions/brownout",
        "share/zsh/site-functions/_brownout",
        "share/fish/vendor_completions.d/brownout.fish",
        "share/doc/brownout/README.md",
        "share/doc/brownout/docs/power.md",
        "share/doc/brownout/LICENSE-MIT",
        "share/doc/brownout/campaign/machines/slurm.sh",
        "share/doc/brownout/campaign/loads/files.sh",
    ] {
        assert!(fs::metadata(installed.join(file)).expect(file).len() > 100, "{file}");
    }
    let unit = fs::read_to_string(installed.join("lib/systemd/system/brownout@.service")).expect("a unit");
    assert!(unit.contains("\nType=notify\nExecStart=/opt/b/bin/brownout serve "), "{unit}");
    make("uninstall");
    let left = Command::new("find").arg(folder.path()).args(["-type", "f"]).output().expect("find is there");
    assert_eq!(text(left), "");
}

/// The Containerfile, as a linter would look at it: no engine is here. `make package-check` runs its line of apt in fresh Debians.
#[test]
fn the_container_file_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root");
    let text = fs::read_to_string(root.join("Containerfile")).expect("a file").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let steps: Vec<(&str, &str)> = lines.map(|line| line.split_once(' ').expect("an instruction")).collect();
    let of = |wanted: &str| steps.iter().filter(|(step, _)| *step == wanted).map(|(_, rest)| *rest).collect::<Vec<_>>();
    for (step, _) in &steps {
        assert!(["FROM", "COPY", "RUN", "WORKDIR", "ENTRYPOINT", "CMD"].contains(step), "{step}");
    }
    assert_eq!(steps[0].0, "FROM");
    for image in of("FROM") {
        assert!(image.split_once(':').is_some_and(|(_, tag)| !tag.is_empty() && tag != "latest"), "{image} has no tag");
    }
    for line in of("RUN").into_iter().filter(|line| line.contains("apt-get install")) {
        let parts = ["apt-get update && ", " -y ", " --no-install-recommends ", "rm -rf ", "/var/lib/apt/lists/*"];
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    for line in of("COPY") {
        // What `make package` makes, and nothing else of the tree.
        assert!(line.starts_with("target/package/brownout.deb /"), "{line}");
    }
    assert!(of("WORKDIR").iter().all(|folder| folder.starts_with('/')));
    let word =
        |list: &str| serde_json::from_str::<Vec<String>>(list).unwrap_or_else(|_| panic!("{list} needs a shell"));
    let [entry, command] = [of("ENTRYPOINT"), of("CMD")].map(|all| word(all.last().expect("there is one")));
    assert_eq!(
        (entry.as_slice(), command.as_slice()),
        (&["/usr/bin/brownout".to_owned()][..], &["--help".to_owned()][..])
    );
}
