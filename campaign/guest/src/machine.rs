//! Describes a virtual machine and turns the description into QEMU's command line.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::archive::Archive;
use crate::assets::{Assets, Emulator, Kernel};
use crate::boot::{Boot, Firmware, text};
use crate::clock;
use crate::folder::RunFolder;
use crate::guest::Guest;
use crate::process::Process;
use crate::report::GuestReport;
use crate::scripts;

/// Under emulation, on a machine that compiles at the same time, a guest may be slow without being stuck.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// A device the guest finds on its PCI Express bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A vfio-user server, behind a root port of its own. The server must be listening already: QEMU does not wait.
    VfioUser {
        /// Path of the server's socket.
        socket: PathBuf,
    },
    /// A vhost-user disk. If the server goes away, QEMU looks for it again and again.
    VhostUser {
        /// Path of the server's socket.
        socket: PathBuf,
        /// How many queues the driver gets; QEMU takes one for each processor if not said.
        queues: Option<u16>,
    },
    /// QEMU's own NVMe controller with one namespace on an empty file: for comparison, and to test this crate.
    QemuNvme {
        /// Bytes of the namespace.
        size: u64,
        /// Bytes of a logical block.
        block_size: u32,
    },
}

impl Device {
    /// QEMU's own controller with 512-byte blocks.
    #[must_use]
    pub fn qemu_nvme(size: u64) -> Self {
        Self::QemuNvme { size, block_size: 512 }
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU's translator: works everywhere.
    #[default]
    Tcg,
    /// The kernel's virtual machine; not all machines that have `/dev/kvm` can boot a stock kernel on it.
    Kvm,
}

impl Emulator {
    /// The processor for the translator. The older one's sometimes loses flags in an exchange of 16 bytes, and the kernel's allocator
    /// then uses what it did not get.
    const fn translated_processor(self) -> &'static str {
        match self {
            Self::Newest => "Nehalem,+rdrand",
            Self::Old => "Nehalem,+rdrand,-cx16",
        }
    }

    /// The translator. In the older one a processor may still run what another has patched: kernels patch their own code while they
    /// boot, and one in some hundred boots met a breakpoint that was gone already ("Oops: int3"). Processors that take turns in one
    /// thread cannot.
    const fn translator(self) -> &'static str {
        match self {
            Self::Newest => "tcg",
            Self::Old => "tcg,thread=single",
        }
    }
}

/// A machine to be started. Each method changes one property and returns the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    boot: Boot,
    name: Option<String>,
    command_line: Vec<String>,
    memory_mib: u32,
    processors: u32,
    accelerator: Accelerator,
    emulator: Emulator,
    express: bool,
    devices: Vec<Device>,
    qemu_arguments: Vec<String>,
    script: String,
    environment: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
    timeout: Duration,
}

impl Machine {
    /// A machine with 512 MiB of shared memory, two processors, no device, and a script that does nothing.
    #[must_use]
    pub fn new(kernel: Kernel) -> Self {
        Self::booting(Boot::Stock(kernel))
    }

    /// The same with a kernel and a initramfs of somebody's own. No script runs in it, and it gives no verdict.
    #[must_use]
    pub fn with_images(kernel: PathBuf, initrd: Option<PathBuf>) -> Self {
        Self::booting(Boot::Images { kernel, initrd })
    }

    /// The same, with a script that runs in it: the initramfs has a shell, and the kernel what [`Machine::script`] asks of it. With a root,
    /// which is a disk image, raw or qcow2, the script runs in what is on it; what it changes there is dropped.
    #[must_use]
    pub fn with_script_in(kernel: PathBuf, initrd: PathBuf, root: Option<PathBuf>) -> Self {
        Self::booting(Boot::Own { kernel, initrd, root })
    }

    /// The same with no kernel at all: the firmware boots what it finds on the devices.
    #[must_use]
    pub fn with_firmware(firmware: Firmware) -> Self {
        Self::booting(Boot::Firmware(firmware))
    }

    fn booting(boot: Boot) -> Self {
        Self {
            boot,
            name: None,
            command_line: Vec::new(),
            memory_mib: 512,
            processors: 2,
            accelerator: Accelerator::default(),
            emulator: Emulator::default(),
            express: true,
            devices: Vec::new(),
            qemu_arguments: Vec::new(),
            script: "exit 0\n".to_owned(),
            environment: Vec::new(),
            files: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// The name of the run in `target/guest-logs`; without it, the name of the test.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// More words for the kernel's command line, for instance `pci=nomsi`.
    #[must_use]
    pub fn kernel_argument(mut self, argument: &str) -> Self {
        self.command_line.push(argument.to_owned());
        self
    }

    /// Size of the guest's memory in MiB; the initramfs takes about 75 of them.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Number of virtual processors; the NVMe driver makes an I/O queue pair for each.
    #[must_use]
    pub fn processors(mut self, processors: u32) -> Self {
        self.processors = processors;
        self
    }

    /// What executes the guest; emulation if not said.
    #[must_use]
    pub fn accelerator(mut self, accelerator: Accelerator) -> Self {
        self.accelerator = accelerator;
        self
    }

    /// Which QEMU runs it; the newest if not said.
    #[must_use]
    pub fn emulator(mut self, emulator: Emulator) -> Self {
        self.emulator = emulator;
        self
    }

    /// A board of 1996, without PCI Express: its devices are all on one bus.
    #[must_use]
    pub fn without_pci_express(mut self) -> Self {
        self.express = false;
        self
    }

    /// Plugs in a device; may be called several times.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.devices.push(device);
        self
    }

    /// One more argument for QEMU, after all of ours.
    #[must_use]
    pub fn qemu_argument(mut self, argument: &str) -> Self {
        self.qemu_arguments.push(argument.to_owned());
        self
    }

    /// The shell script that the guest runs; its exit code is the verdict.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        script.clone_into(&mut self.script);
        self
    }

    /// A variable that the script finds in its environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file that the guest finds under the path, which is relative to the root and in an existing folder.
    #[must_use]
    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.push((path.to_owned(), content.to_vec()));
        self
    }

    /// How long the whole run may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Boots the guest, runs the script, waits for the machine to switch itself off. A script that fails is not an error
    /// here: it is in the report.
    ///
    /// # Errors
    /// When the guest could not be started, gave no verdict, or took too long. The logs are kept then.
    pub fn run(self) -> Result<GuestReport> {
        self.spawn()?.wait()
    }

    /// Starts the guest and returns while it boots. The time-out counts from here.
    ///
    /// # Errors
    /// When assets cannot be had or QEMU cannot be started.
    pub fn spawn(self) -> Result<Guest> {
        let assets = self.boot.assets()?;
        let folder = RunFolder::new(self.name.as_deref())?;
        if let Some(base) = self.boot.base(&assets)? {
            self.write_initrd(&base, &folder.path().join("initrd"))?;
            fs::write(folder.path().join("test.sh"), &self.script)?;
        }
        let arguments = self.qemu_command(&assets, folder.path())?;
        let started = clock::now();
        let process = Process::start("console", &assets.emulator(self.emulator)?, &arguments, folder.path())?;
        Ok(Guest::new(process, folder, started, self.timeout))
    }

    fn write_initrd(&self, base: &Path, target: &Path) -> Result<()> {
        let mut archive = Archive::new();
        archive.file("lib.sh", scripts::LIBRARY.as_bytes());
        archive.file("test.sh", self.script.as_bytes());
        archive.file("test.env", shell_exports(&self.environment)?.as_bytes());
        for (path, content) in self.boot.files().iter().copied() {
            archive.file(path, content.as_bytes());
        }
        for (path, content) in &self.files {
            archive.file(path.trim_start_matches('/'), content);
        }
        archive.write_behind(base, target)
    }

    fn qemu_command(&self, assets: &Assets, folder: &Path) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(|&word| word.to_owned()));
        add(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        // Shared memory: a vfio-user server must be able to map it.
        let board = if self.express { "q35" } else { "pc" };
        add(&["-machine", &format!("{board},memory-backend=mem"), "-m", &format!("{}M", self.memory_mib)]);
        add(&["-object", &format!("memory-backend-memfd,id=mem,size={}M,share=on", self.memory_mib)]);
        add(&["-smp", &self.processors.to_string()]);
        match self.accelerator {
            // Of the models that the translator can do, an older one with a random number instruction boots fastest: fewer
            // features to set up, and nothing in the guest waits for entropy.
            Accelerator::Tcg => {
                add(&["-accel", self.emulator.translator(), "-cpu", self.emulator.translated_processor()]);
            }
            Accelerator::Kvm => add(&["-accel", "kvm", "-cpu", "host"]),
        }
        add(&["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        let boot = self.boot.arguments(assets, folder, &self.command_line)?;
        add(&boot.iter().map(String::as_str).collect::<Vec<_>>());
        for (index, device) in self.devices.iter().enumerate() {
            let bus = if self.express {
                add(&["-device", &format!("pcie-root-port,id=port{index},chassis={0},slot={0}", index + 1)]);
                format!("port{index}")
            } else {
                "pci.0".to_owned()
            };
            match device {
                Device::VfioUser { socket } => add(&["-device", &vfio_user_device(index, &bus, &text(socket)?)]),
                Device::VhostUser { socket, queues } => {
                    add(&vhost_user_disk(index, &bus, &text(socket)?, *queues, self.emulator)
                        .each_ref()
                        .map(String::as_str));
                }
                Device::QemuNvme { size, block_size } => {
                    let disk = folder.join(format!("disk{index}"));
                    File::create(&disk)?.set_len(*size)?;
                    add(&["-blockdev", &qemu_disk(index, &text(&disk)?)]);
                    // Host CPUs are few; the default of 64 queue pairs is not needed either.
                    add(&[
                        "-device",
                        &format!(
                            "nvme,id=device{index},bus={bus},serial=guest{index},drive=disk{index},\
                             logical_block_size={block_size},physical_block_size={block_size}"
                        ),
                    ]);
                }
            }
        }
        arguments.extend(self.qemu_arguments.iter().cloned());
        Ok(arguments)
    }
}

/// `-device` must be JSON for this device: the socket is an object, which the comma form cannot say. The rest is what
/// `brownout serve` prints.
fn vfio_user_device(index: usize, bus: &str, socket: &str) -> String {
    format!(
        r#"{{"driver":"vfio-user-pci","id":"device{index}","bus":"{bus}","socket":{{"type":"unix","path":{}}},"x-msg-timeout":120000}}"#,
        json_string(socket)
    )
}

/// The comma form, because the older QEMU has no other for `-chardev`: a comma in a value is written twice.
fn vhost_user_disk(index: usize, bus: &str, socket: &str, queues: Option<u16>, emulator: Emulator) -> [String; 4] {
    let reconnect = match emulator {
        Emulator::Newest => "reconnect-ms=100",
        Emulator::Old => "reconnect=1",
    };
    let queues = queues.map_or_else(String::new, |queues| format!(",num-queues={queues}"));
    let socket = socket.replace(',', ",,");
    [
        "-chardev".to_owned(),
        format!("socket,id=socket{index},path={socket},{reconnect}"),
        "-device".to_owned(),
        format!("vhost-user-blk-pci,id=device{index},bus={bus},chardev=socket{index}{queues}"),
    ]
}

fn qemu_disk(index: usize, path: &str) -> String {
    format!(
        r#"{{"driver":"raw","node-name":"disk{index}","discard":"unmap","detect-zeroes":"off","file":{{"driver":"file","filename":{},"discard":"unmap","locking":"off"}}}}"#,
        json_string(path)
    )
}

fn json_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            control if control.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

fn shell_exports(environment: &[(String, String)]) -> Result<String> {
    let mut lines = String::new();
    for (name, value) in environment {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            bail!("{name:?} cannot be the name of a shell variable");
        }
        lines.push_str(&format!("export {name}='{}'\n", value.replace('\'', "'\\''")));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vfio_user_device_is_json_with_its_socket_quoted() {
        assert_eq!(
            vfio_user_device(0, "port0", "/tmp/a \"b\"/s"),
            concat!(
                r#"{"driver":"vfio-user-pci","id":"device0","bus":"port0","#,
                r#""socket":{"type":"unix","path":"/tmp/a \"b\"/s"},"x-msg-timeout":120000}"#
            )
        );
    }

    #[test]
    fn environment_values_are_quoted_and_names_are_checked() -> Result<()> {
        let exports = shell_exports(&[("A_1".to_owned(), "it's $HOME".to_owned())])?;
        assert_eq!(exports, "export A_1='it'\\''s $HOME'\n");
        assert!(shell_exports(&[("A B".to_owned(), String::new())]).is_err());
        Ok(())
    }
}
