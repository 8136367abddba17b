//! Chooses the QEMU to run. The vfio-user client came with QEMU 10.1, which not all stable systems have. So the search goes from what
//! the user named, over what the system has, to what the guest tests unpack into their cache.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::Front;

const PROGRAM: &str = "qemu-system-x86_64";
/// The first version with a vfio-user client, and the first with a vhost-user disk.
const OLDEST: (u32, u32) = (10, 1);
const OLDEST_VHOST: (u32, u32) = (2, 12);
const INSTALL: &str = "install QEMU 10.1 or later (on Debian 13: apt install -t trixie-backports qemu-system-x86; `make guest` \
                       unpacks one without installing it), or name one with --qemu PATH or BROWNOUT_QEMU";
const INSTALL_VHOST: &str =
    "install QEMU 2.12 or later (apt install qemu-system-x86), or name one with --qemu PATH or BROWNOUT_QEMU";

/// Where to look: the parts of this process's surroundings that decide it.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// `--qemu`, or else the variable `BROWNOUT_QEMU`: nothing else is tried then.
    pub named: Option<PathBuf>,
    /// The folders of `PATH`.
    pub folders: Vec<PathBuf>,
    /// What `campaign/guest/recipe/assets` left behind: `KEY=VALUE` lines, one of which names a QEMU.
    pub assets: Option<PathBuf>,
    /// What it must be able to plug in.
    pub front: Front,
}

/// A QEMU that can carry this device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub program: PathBuf,
    /// What it calls itself, such as 11.1.3.
    pub version: String,
    /// The first two numbers of that.
    pub number: (u32, u32),
}

impl Search {
    /// The search for this process and this command line.
    pub fn new(named: Option<PathBuf>, front: Front) -> Self {
        let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let home_cache = || variable("HOME").map(|home| Path::new(&home).join(".cache"));
        let user_cache = || variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(home_cache);
        let cache =
            variable("BROWNOUT_CACHE").map(PathBuf::from).or_else(|| user_cache().map(|cache| cache.join("brownout")));
        let path = variable("PATH").unwrap_or_default();
        Self {
            named: named.or_else(|| variable("BROWNOUT_QEMU").map(PathBuf::from)),
            folders: std::env::split_paths(&path).collect(),
            assets: cache.map(|cache| cache.join("guest.env")),
            front,
        }
    }

    /// The programs to try, best first.
    fn candidates(&self) -> impl Iterator<Item = PathBuf> {
        let installed = self.folders.iter().map(|folder| folder.join(PROGRAM));
        let unpacked = self.assets.as_ref().and_then(|file| {
            let text = std::fs::read_to_string(file).ok()?;
            text.lines().find_map(|line| line.strip_prefix("QEMU=").map(PathBuf::from))
        });
        installed.chain(unpacked).filter(|program| program.is_file())
    }

    /// Finds the first QEMU that will do.
    ///
    /// # Errors
    /// There is none; says for each one that was looked at why it will not do, and what to install.
    pub fn find(&self) -> anyhow::Result<Qemu> {
        if let Some(program) = &self.named {
            return check(program, self.front)
                .with_context(|| format!("{} cannot carry the device: {}", program.display(), install(self.front)));
        }
        let mut refused = String::new();
        for program in self.candidates() {
            match check(&program, self.front) {
                Ok(qemu) => return Ok(qemu),
                Err(error) => write!(refused, "\n  {}: {error:#}", program.display())?,
            }
        }
        bail!("no {PROGRAM} that can carry the device: {}{refused}", install(self.front))
    }
}

/// What to do about a QEMU that will not do.
const fn install(front: Front) -> &'static str {
    match front {
        Front::VfioUser => INSTALL,
        Front::VhostUser => INSTALL_VHOST,
    }
}

/// Asks a program whether it is a QEMU with the device's other half.
fn check(program: &Path, front: Front) -> anyhow::Result<Qemu> {
    let told = output(program, &["--version"])?;
    let version =
        version_of(&told).with_context(|| format!("not a QEMU, it says {:?}", told.lines().next().unwrap_or("")))?;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (oldest, device) = match front {
        Front::VfioUser => (OLDEST, "vfio-user-pci"),
        Front::VhostUser => (OLDEST_VHOST, "vhost-user-blk-pci"),
    };
    ensure!(number >= oldest, "is {version}, older than {}.{}", oldest.0, oldest.1);
    let devices = output(program, &["-device", "help"])?;
    ensure!(devices.contains(&format!("\"{device}\"")), "is {version}, built without {device}");
    Ok(Qemu { program: program.to_owned(), version: version.to_owned(), number })
}

fn output(program: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.context("cannot be started")?;
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `11.1.3` of `QEMU emulator version 11.1.3 (Debian …)`.
fn version_of(told: &str) -> Option<&str> {
    told.strip_prefix("QEMU emulator version ")?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder with a program that answers as a QEMU of that version would.
    fn imitation(version: &str, device: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join(PROGRAM);
        let script = format!(
            "#!/bin/sh\ncase $1 in\n--version) echo 'QEMU emulator version {version} (Debian 1:{version})';;\n\
             *) echo 'name \"{device}\", bus PCI';;\nesac\n"
        );
        fs::write(&program, script).expect("a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        folder
    }

    fn search(folders: &[&tempfile::TempDir]) -> Search {
        Search { folders: folders.iter().map(|folder| folder.path().to_owned()).collect(), ..Search::default() }
    }

    #[test]
    fn the_first_that_will_do_is_taken() {
        let (old, bare) = (imitation("10.0.13", "vfio-user-pci"), imitation("11.1.3", "vfio-pci"));
        let good = imitation("10.1.0", "vfio-user-pci");
        let found = search(&[&old, &bare, &good]).find().expect("one will do");
        assert_eq!(found, Qemu { program: good.path().join(PROGRAM), version: "10.1.0".to_owned(), number: (10, 1) });
    }

    #[test]
    fn the_unpacked_one_of_our_guest_tests_is_the_last_resort() {
        let (old, unpacked) = (imitation("10.0.13", "vfio-user-pci"), imitation("11.1.3", "vfio-user-pci"));
        let assets = unpacked.path().join("guest.env");
        let program = unpacked.path().join(PROGRAM);
        fs::write(&assets, format!("KERNEL=/k\nQEMU={}\n", program.display())).expect("a file");
        let search = Search { assets: Some(assets), ..search(&[&old]) };
        assert_eq!(search.find().expect("one will do").program, program);
    }

    #[test]
    fn where_none_will_do_each_is_named_with_its_reason() {
        let (old, bare) = (imitation("9.2.4", "vfio-user-pci"), imitation("11.1.3", "vfio-pci"));
        let error = search(&[&old, &bare]).find().expect_err("none will do").to_string();
        assert!(error.contains("install QEMU 10.1 or later"), "{error}");
        assert!(error.contains(": is 9.2.4, older than 10.1\n"), "{error}");
        assert!(error.ends_with(": is 11.1.3, built without vfio-user-pci"), "{error}");
    }

    #[test]
    fn a_named_one_is_the_only_one_tried() {
        let (named, other) = (imitation("8.0.0", "vfio-user-pci"), imitation("11.1.3", "vfio-user-pci"));
        let search = Search { named: Some(named.path().join(PROGRAM)), ..search(&[&other]) };
        assert!(format!("{:#}", search.find().expect_err("too old")).ends_with("is 8.0.0, older than 10.1"));
        let absent = Search { named: Some("/nowhere/qemu".into()), ..Search::default() };
        assert!(format!("{:#}", absent.find().expect_err("absent")).contains("cannot be started"));
    }

    #[test]
    fn a_virtio_disk_fits_an_older_one() {
        let old = imitation("7.2.22", "vhost-user-blk-pci");
        let search = Search { front: Front::VhostUser, ..search(&[&old]) };
        assert_eq!(search.find().expect("it will do").number, (7, 2));
    }

    #[test]
    fn versions_are_read_from_what_qemu_says() {
        assert_eq!(version_of("QEMU emulator version 11.1.3 (Debian 1:11.1.3)\nCopyright"), Some("11.1.3"));
        assert_eq!(version_of("bash 5"), None);
    }
}
