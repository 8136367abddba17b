//! `brownout qemu` as a test runner: a script in the guest, whose exit code is ours.

use std::process::Output;

use anyhow::Result;
use guest_harness::Brownout;

/// Runs this script in a guest with a drive of two namespaces.
fn exec(script: &str, more: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("script");
    std::fs::write(&path, script)?;
    let path = path.to_string_lossy();
    let words = ["qemu", "--exec", &path, "--namespace", "size=64MiB", "--namespace", "size=32MiB,lba=4KiB"];
    Brownout::run(&[&words, more].concat())
}

#[test]
fn a_script_finds_the_drive_and_its_exit_code_is_ours() -> Result<()> {
    // Linux looks for namespaces side by side: which of them is nvme0n1 is another matter than which is the first.
    let script = "uname -s\nfor disk in /sys/block/nvme*; do\n\
                  echo namespace $(cat $disk/nsid) $(cat $disk/queue/logical_block_size)\ndone | sort\nexit 42\n";
    let output = exec(script, &["--timeout", "5min"])?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(42), "{errors}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("Linux\nnamespace 1 512\nnamespace 2 4096\n"),
        "nothing comes between its lines: {said:?}, {errors}"
    );
    Ok(())
}

#[test]
fn a_script_that_does_not_end_and_a_kernel_that_panics_have_codes_of_their_own() -> Result<()> {
    let hangs = exec("sleep 1000\n", &["--timeout", "20s"])?;
    let errors = String::from_utf8_lossy(&hangs.stderr).into_owned();
    assert_eq!(hangs.status.code(), Some(124), "{errors}");
    assert!(errors.contains("brownout: the guest was ended after 20s: --timeout\n"), "{errors}");
    let panics = exec("echo c > /proc/sysrq-trigger\n", &["--timeout", "5min"])?;
    assert_eq!(panics.status.code(), Some(125), "{}", String::from_utf8_lossy(&panics.stderr));
    assert!(String::from_utf8_lossy(&panics.stdout).contains("Kernel panic"), "its console is not lost");
    Ok(())
}
