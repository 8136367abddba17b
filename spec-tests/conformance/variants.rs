//! All of the other tests again, over drives with and without the fast path and with hosts of other habits: each runs this program once
//! more and tells it by the environment what its rigs are made of.

use std::process::Command;

use spec_tests::variant::{VARIABLE, Variant};

/// Runs every test that needs no variant of its own over the variant of that name.
fn all_tests_hold_over(name: &str) {
    assert!(Variant::OTHERS.iter().any(|(other, _)| *other == name));
    let program = std::env::current_exe().expect("we are a program");
    let mut command = Command::new(program);
    command.args(["--skip", "variants::", "--skip", "racing_host::", "--quiet"]).env(VARIABLE, name);
    // What the runner of this test says of it is not meant for the other tests.
    std::env::vars().filter(|(key, _)| key.starts_with("NEXTEST")).for_each(|(key, _)| _ = command.env_remove(key));
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "RIG={name}:\n{said}{}", String::from_utf8_lossy(&output.stderr));
    let ran = said.lines().find_map(|line| line.strip_prefix("running ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(ran.is_some_and(|tests| tests > 300), "RIG={name}: too few tests ran: {said}");
}

#[test]
fn a_drive_with_a_flash_translation_layer() {
    all_tests_hold_over("drive");
}

#[test]
fn a_drive_with_the_fast_path() {
    all_tests_hold_over("fast");
}

/// B56: shadow doorbells from the start, the admin queue by its registers alone.
#[test]
fn hosts_like_linux() {
    all_tests_hold_over("linux");
}

/// B56: shadow doorbells from the start, those of the admin queue too.
#[test]
fn hosts_like_libvfn() {
    all_tests_hold_over("libvfn");
}

/// B56: shadow doorbells from the start, those of the admin queue now and then.
#[test]
fn hosts_that_go_from_one_to_the_other_and_back() {
    all_tests_hold_over("alternating");
}
