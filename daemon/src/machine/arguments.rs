//! The arguments of QEMU. Guest memory must be shared with us (a plain `-m` is not), and `-device` must be JSON: the socket is an
//! object, which the dotted form cannot name.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use serde_json::json;

use crate::options::{Bytes, OptionError};

/// Guest memory where nothing is said.
pub const MACHINE_MEMORY: Bytes = Bytes::mib(1024);

/// How long QEMU waits for an answer of the device, in milliseconds, before it takes it for dead for good. QEMU's own 5 s are over when
/// somebody stops the process for a moment, or the host swaps. A process that is stuck ends itself long before this.
const MESSAGE_TIMEOUT_MS: u32 = 120_000;

/// Arguments of QEMU by which a user asks for a screen. Otherwise the serial port and QEMU's monitor are in the terminal.
const DISPLAYS: [&str; 4] = ["-display", "-vnc", "-spice", "-nographic"];

/// How the device is plugged in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Front {
    /// An NVMe device, by vfio-user.
    #[default]
    VfioUser,
    /// A virtio disk, by vhost-user.
    VhostUser,
}

/// What a virtual machine consists of, besides this device.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Guest memory in MiB.
    pub memory_mib: u64,
    /// A Linux kernel to boot, with the serial port as its console and QEMU's.
    pub kernel: Option<PathBuf>,
    /// Its initramfs.
    pub initrd: Option<PathBuf>,
    /// More words for its command line.
    pub append: Option<String>,
    /// Wait for gdb on TCP port 1234 before the first instruction.
    pub gdb: bool,
    /// Use the host's processor, where it lets us, in place of QEMU's own translation.
    pub kvm: bool,
    /// Where the second serial port writes: the exit code of a script that the guest runs. Such a guest boots once.
    pub answer: Option<PathBuf>,
    /// How the device is plugged in.
    pub front: Front,
    /// Which of the sockets of a drive it is: those of one drive may be plugged into one machine, and have names of their own there.
    pub place: u16,
    /// The program's version, where it is known: what brings a lost disk back changed its name in 9.2.
    pub version: Option<(u32, u32)>,
    /// Handed on as they are.
    pub more: Vec<OsString>,
}

impl Machine {
    /// Checks the amount of memory, which both `-m` and the memory object must state in the same whole mebibytes.
    ///
    /// # Errors
    /// An amount that is no such number.
    pub fn memory_mib(size: Bytes) -> Result<u64, OptionError> {
        let mib = Bytes::mib(1).0;
        if size.0 < 16 * mib || !size.0.is_multiple_of(mib) {
            let remedy = "give whole mebibytes, at least 16MiB";
            return Err(OptionError::new("--memory", size.to_string(), remedy));
        }
        Ok(size.0 / mib)
    }

    /// Whether no screen was asked for.
    pub fn is_headless(&self) -> bool {
        !self.more.iter().any(|word| DISPLAYS.iter().any(|display| word == display))
    }

    /// All arguments that come after the name of the program.
    ///
    /// # Errors
    /// A socket path that is not UTF-8, and so fits no JSON.
    pub fn arguments(&self, socket: &Path) -> anyhow::Result<Vec<OsString>> {
        let mut arguments = self.plug(socket)?;
        let mut push = |words: &[&OsStr]| arguments.extend(words.iter().map(OsString::from));
        if self.kvm {
            push(&["-accel".as_ref(), "kvm".as_ref(), "-cpu".as_ref(), "host".as_ref()]);
        } else {
            push(&["-accel".as_ref(), "tcg".as_ref()]);
        }
        if let Some(kernel) = &self.kernel {
            let append = ["console=ttyS0", self.append.as_deref().unwrap_or_default()].join(" ");
            push(&["-kernel".as_ref(), kernel.as_ref(), "-append".as_ref(), append.trim_end().as_ref()]);
        }
        if let Some(initrd) = &self.initrd {
            push(&["-initrd".as_ref(), initrd.as_ref()]);
        }
        if let Some(answer) = &self.answer {
            // Without -nographic, so that the firmware does not write between the lines of the script.
            let mut file = OsString::from("file:");
            file.push(answer);
            push(&["-display".as_ref(), "none".as_ref(), "-serial".as_ref(), "mon:stdio".as_ref()]);
            push(&["-serial".as_ref(), &file, "-no-reboot".as_ref()]);
        } else if self.is_headless() {
            push(&["-nographic".as_ref()]);
        }
        if self.gdb {
            push(&["-s".as_ref(), "-S".as_ref()]);
        }
        arguments.extend(self.more.iter().cloned());
        Ok(arguments)
    }

    /// The arguments without which the device is not there, and nothing besides.
    ///
    /// # Errors
    /// As [`Machine::arguments`].
    pub fn plug(&self, socket: &Path) -> anyhow::Result<Vec<OsString>> {
        let socket =
            socket.to_str().context("the socket's path is not UTF-8, which QEMU's -device needs: choose another")?;
        let memory = self.memory_mib;
        let (name, slot) = match self.place {
            0 => ("brownout".to_owned(), 1),
            place => (format!("brownout{place}"), place + 1),
        };
        let mut words = vec![
            "-machine".to_owned(),
            "q35,memory-backend=brownout-memory".to_owned(),
            "-m".to_owned(),
            format!("{memory}M"),
            "-object".to_owned(),
            format!("memory-backend-memfd,id=brownout-memory,size={memory}M,share=on"),
        ];
        match self.front {
            Front::VfioUser => {
                let device = json!({
                    "driver": "vfio-user-pci", "id": name, "bus": format!("{name}-port"), "socket": {"type": "unix", "path": socket},
                    "x-msg-timeout": MESSAGE_TIMEOUT_MS,
                });
                // A port of its own: the device is then a PCI Express endpoint, as a real drive is.
                let port = format!("pcie-root-port,id={name}-port,chassis={slot},slot={slot}");
                words.extend(["-device".to_owned(), port, "-device".to_owned(), device.to_string()]);
            }
            Front::VhostUser => {
                // A comma ends a value, and two are one. Whoever is gone is looked for again, in seconds before QEMU 9.2.
                let reconnect = if self.version.is_some_and(|version| version < (9, 2)) {
                    "reconnect=1"
                } else {
                    "reconnect-ms=500"
                };
                let path = socket.replace(',', ",,");
                words.extend([
                    "-chardev".to_owned(),
                    format!("socket,id={name}-socket,path={path},{reconnect}"),
                    "-device".to_owned(),
                    format!("vhost-user-blk-pci,id={name},chardev={name}-socket"),
                ]);
            }
        }
        Ok(words.into_iter().map(OsString::from).collect())
    }
}

/// A command as a POSIX shell reads it back, an option and its value on each line.
pub fn shell_line<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    let mut line = String::new();
    for word in words {
        let word = word.to_string_lossy();
        if word.starts_with('-') {
            line.push_str(" \\\n ");
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&shell_word(&word));
    }
    line
}

/// A word as a POSIX shell reads it back.
pub fn shell_word(word: &str) -> Cow<'_, str> {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_=,./:+".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(machine: &Machine) -> Vec<String> {
        let arguments = machine.arguments(Path::new("/run/a \"b\".sock")).expect("UTF-8");
        arguments.into_iter().map(|word| word.into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn memory_is_shared_and_the_device_is_json_on_a_port_of_its_own() {
        let words = words(&Machine { memory_mib: 512, ..Machine::default() });
        let expected = [
            "-machine",
            "q35,memory-backend=brownout-memory",
            "-m",
            "512M",
            "-object",
            "memory-backend-memfd,id=brownout-memory,size=512M,share=on",
            "-device",
            "pcie-root-port,id=brownout-port,chassis=1,slot=1",
            "-device",
        ];
        assert_eq!(words[..expected.len()], expected);
        let device: serde_json::Value = serde_json::from_str(&words[expected.len()]).expect("JSON");
        assert_eq!(device["driver"], "vfio-user-pci");
        assert_eq!(device["bus"], "brownout-port");
        assert_eq!(device["x-msg-timeout"], 120_000, "QEMU's own limit is 5 s");
        assert_eq!(device["socket"], json!({"type": "unix", "path": "/run/a \"b\".sock"}));
        assert_eq!(words[expected.len() + 1..], ["-accel", "tcg", "-nographic"]);
    }

    #[test]
    fn no_window_opens_unless_it_is_asked_for() {
        let with =
            |more: &[&str]| words(&Machine { more: more.iter().map(Into::into).collect(), ..Machine::default() });
        assert!(with(&["-smp", "2"]).contains(&"-nographic".to_owned()));
        assert!(!with(&["-display", "gtk"]).contains(&"-nographic".to_owned()));
        assert_eq!(with(&["-nographic"]).iter().filter(|word| *word == "-nographic").count(), 1);
    }

    #[test]
    fn a_script_answers_on_the_second_serial_port_and_boots_once() {
        let words = words(&Machine { answer: Some("/run/code".into()), ..Machine::default() });
        let expected = ["-display", "none", "-serial", "mon:stdio", "-serial", "file:/run/code", "-no-reboot"];
        assert_eq!(words[words.len() - expected.len()..], expected);
    }

    #[test]
    fn a_kernel_brings_its_console_and_the_rest_follows() {
        let machine = Machine {
            memory_mib: 1024,
            kernel: Some("bzImage".into()),
            initrd: Some("initrd".into()),
            append: Some("quiet".into()),
            gdb: true,
            kvm: true,
            more: vec!["-smp".into(), "2".into()],
            ..Machine::default()
        };
        let words = words(&machine);
        let expected =
            "-accel kvm -cpu host -kernel bzImage -append|console=ttyS0 quiet|-initrd initrd -nographic -s -S -smp 2";
        let expected = expected
            .split('|')
            .enumerate()
            .flat_map(|(index, part)| if index == 1 { vec![part] } else { part.split(' ').collect() });
        assert_eq!(words[10..], expected.collect::<Vec<_>>());
        let bare = Machine { kernel: Some("bzImage".into()), ..Machine::default() };
        assert!(bare.arguments(Path::new("s")).expect("UTF-8").contains(&"console=ttyS0".into()));
    }

    #[test]
    fn a_virtio_disk_is_looked_for_again_when_it_is_gone() {
        let machine = |version| Machine { memory_mib: 512, front: Front::VhostUser, version, ..Machine::default() };
        let plug = |version| {
            let words = machine(version).plug(Path::new("/run/a,b.sock")).expect("UTF-8");
            words.into_iter().map(|word| word.into_string().expect("UTF-8")).collect::<Vec<_>>()
        };
        let words = plug(Some((7, 2)));
        assert_eq!(words[6..8], ["-chardev", "socket,id=brownout-socket,path=/run/a,,b.sock,reconnect=1"]);
        assert_eq!(words[8..], ["-device", "vhost-user-blk-pci,id=brownout,chardev=brownout-socket"]);
        assert!(plug(None)[7].ends_with(",reconnect-ms=500"));
        assert!(plug(Some((9, 2)))[7].ends_with(",reconnect-ms=500"));
    }

    #[test]
    fn memory_comes_in_whole_mebibytes() {
        assert_eq!(Machine::memory_mib(MACHINE_MEMORY), Ok(1024));
        let refusal = |size| Machine::memory_mib(size).expect_err("too odd").to_string();
        assert_eq!(refusal(Bytes(1 << 20)), "--memory 1MiB: give whole mebibytes, at least 16MiB");
        assert_eq!(refusal(Bytes(1_000_000_000)), "--memory 1000000000: give whole mebibytes, at least 16MiB");
    }

    #[test]
    fn a_printed_command_is_what_a_shell_reads() {
        let words = ["qemu", "-device", "{\"a\":1}", "-append", "it's", ""].map(OsStr::new);
        assert_eq!(shell_line(words), "qemu \\\n  -device '{\"a\":1}' \\\n  -append 'it'\\''s' ''");
    }
}
