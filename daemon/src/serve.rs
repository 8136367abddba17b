//! `brownout serve`: one device on a socket, for a QEMU that the user starts.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use controller::{CONTROLLERS_MAX, ControllerSet};
use serde_json::{Value, json};

use crate::device_thread::DeviceThread;
use crate::failure::Failure;
use crate::http::address::Address;
use crate::machine::{Front, MACHINE_MEMORY, Machine, shell_line};
use crate::options::{Given, OptionError, Settings, check_socket};
use crate::sandbox::Sandbox;
use crate::tracer::Opened;
use crate::user::Identity;
use crate::wiring::{Files, NewFile, Places};
use crate::{cli, sandbox, stop, tracer, version, wiring};

/// Serves until a signal ends it.
///
/// # Errors
/// A wrong option, or a device that cannot be made or breaks.
pub fn serve(arguments: cli::Serve) -> Result<(), Failure> {
    let cli::Serve {
        sockets, vhost_user, control, guest_memory, sandbox, user, trace, trace_folder, tape, device, ..
    } = arguments;
    let web = arguments.http;
    web.as_ref().map_or(Ok(()), |address| address.check(arguments.http_anywhere))?;
    let http = web.as_ref().and_then(Address::path).map(Path::to_owned);
    let (guest_files, socket_folder) = (guest_memory.into(), arguments.socket_folder);
    let places = Places { sockets, vhost_user, control, http, traces: trace_folder, socket_folder, guest_files };
    places.by_option().iter().try_for_each(|(option, place)| check_socket(option, place))?;
    let settings = Settings::read(&Given { sockets: places.by_option(), ..device.into() })?;
    check_fronts(&settings, places.controllers(), places.vhost_user.is_some())?;
    let traces = tracer::order::read(&trace)?;
    places.traces.as_deref().map_or(Ok(()), |folder| check_folder("--trace-folder", folder))?;
    places.socket_folder.as_deref().map_or(Ok(()), |folder| check_folder("--socket-folder", folder))?;
    let user = user.as_deref().map(Identity::look_up).transpose()?;
    let (configuration, machines) = (configuration(&settings)?, machines(&places)?);
    let traces = traces.into_iter().map(Opened::open).collect::<anyhow::Result<Vec<_>>>()?;
    let tape_made = tape.as_deref().map(|path| tape_file(path, &settings)).transpose()?;
    let files = Files { traces, tape: tape_made, ..Files::with_web(web.as_ref())? };
    let invitation = files.invitation(web.as_ref())?;
    let json = arguments.json.then(|| in_json(&settings, &places, files.web(web.as_ref())?.as_deref())).transpose()?;
    let signals = stop::on_signals().context("cannot listen for signals")?;

    let ready: Vec<_> = places.plugs().map(|at| at.display().to_string()).collect();
    if sandbox == Sandbox::On {
        let active = sandbox::enter(&places, settings.media.file(), tape.as_deref(), user.is_some())?;
        tracing::info!("confined: {active}");
    }
    let device = DeviceThread::start(signals, move || {
        let wired = wiring::open(settings, &places, files)?;
        user.map_or(Ok(()), |user| user.assume(&places))?;
        Ok(wired)
    })?;
    // Standard output is a file for --config, to its last line; what is for people alone goes to standard error.
    let (first, last) = match json {
        Some(ready) => (String::new(), ready.to_string()),
        None => (configuration, format!("# ready: listening on {}", ready.join(" and "))),
    };
    write!(io::stdout(), "{first}")
        .and_then(|()| write!(io::stderr(), "{machines}{invitation}"))
        .and_then(|()| writeln!(io::stdout(), "{last}"))
        .and_then(|()| io::stdout().flush())
        .context("cannot report that the device is ready")?;
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot tell the service manager that the device is ready");
    }
    Ok(device.join()?)
}

/// The configuration as a file that `--config` reads back, with what follows from it as comments.
fn configuration(settings: &Settings) -> anyhow::Result<String> {
    let configuration = settings.to_toml().context("cannot print the configuration")?;
    let figures: String = settings.media.figures().iter().map(|line| format!("# {line}\n")).collect();
    Ok(format!("# configuration (--config reads it back)\n{configuration}\n{figures}"))
}

/// What is ready, for programs: where it listens, and the configuration with the names and values that it has in a file.
fn in_json(settings: &Settings, places: &Places, web: Option<&str>) -> anyhow::Result<Value> {
    let configuration = settings.to_toml().context("cannot print the configuration")?;
    let configuration: Value = toml::from_str(&configuration).context("cannot print the configuration")?;
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    Ok(json!({
        "ready": true,
        "version": version::text(),
        "pid": std::process::id(),
        "sockets": places.sockets.iter().map(|socket| socket.display().to_string()).collect::<Vec<_>>(),
        "vhost-user": path(&places.vhost_user),
        "control": path(&places.control),
        "http": web,
        "configuration": configuration,
    }))
}

/// How a machine plugs the device in, and how it takes orders, to be pasted into a shell.
fn machines(places: &Places) -> anyhow::Result<String> {
    let mut text = String::new();
    let nvme = places.sockets.iter().map(|at| (Front::VfioUser, at, "QEMU 10.1 or later; its memory must be shared"));
    let disk = places.vhost_user.iter();
    let disk = disk.map(|at| (Front::VhostUser, at, "QEMU of any age, here 9.2 or later; its memory must be shared"));
    for (place, (front, socket, title)) in (0..).zip(nvme.chain(disk)) {
        // QEMU resolves the path in its own folder.
        let socket = std::path::absolute(socket).context("cannot determine the socket's full path")?;
        let machine = Machine { memory_mib: MACHINE_MEMORY.0 >> 20, front, place, ..Machine::default() };
        let plug = machine.plug(&socket)?;
        let line = shell_line(std::iter::once(OsStr::new("qemu-system-x86_64")).chain(plug.iter().map(AsRef::as_ref)));
        text.push_str(&format!("# {title}\n{line}\n\n"));
    }
    if let Some(control) = &places.control {
        let words = ["brownout".as_ref(), "ctl".as_ref(), control.as_os_str(), "query-status".as_ref()];
        text.push_str(&format!("# orders\n{}\n\n", shell_line(words)));
    }
    Ok(text)
}

/// Whether the drive can be plugged in by so many controllers, one of them a virtio disk or none.
///
/// # Errors
/// What keeps it from that.
pub fn check_fronts(settings: &Settings, controllers: u16, disk: bool) -> Result<(), OptionError> {
    check_controllers(settings, controllers)?;
    if disk { check_disk(settings) } else { Ok(()) }
}

/// A drive has no more controllers than it can have, one for each socket at which it is plugged in, and a namespace names only those that
/// there are.
///
/// # Errors
/// There are too many, or it names another one.
fn check_controllers(settings: &Settings, count: u16) -> Result<(), OptionError> {
    if count > CONTROLLERS_MAX {
        let remedy = format!("a drive has one controller for each socket, and at most {CONTROLLERS_MAX}: give fewer");
        return Err(OptionError::new("--socket", format!("{count} sockets"), remedy));
    }
    // What a media keeps may be of more controllers than there are now.
    let given = if settings.media.has_capacity() && settings.media.exists() {
        &[]
    } else {
        settings.controller.namespaces.as_slice()
    };
    for namespace in given {
        let named = namespace.attached;
        if named != ControllerSet::ALL && named.and(ControllerSet::first(count)) != named {
            let remedy = match count {
                1 => "there is one controller, number 0: more come with more --socket".to_owned(),
                _ => format!("there are {count} controllers, one for each socket: name some from 0 to {}", count - 1),
            };
            return Err(OptionError::new("--namespace", format!("controllers={named}"), remedy));
        }
    }
    Ok(())
}

/// A virtio disk is the first namespace, and carries nothing beside its blocks.
///
/// # Errors
/// That namespace has metadata.
fn check_disk(settings: &Settings) -> Result<(), OptionError> {
    let Some(first) = settings.media.ssd.volumes.first() else {
        let remedy =
            "a virtio disk is the first namespace, and there is none: give --namespace size=SIZE, or make one before";
        return Err(OptionError::new("--vhost-user", "PATH", remedy));
    };
    let metadata = first.metadata_bytes;
    if metadata > 0 {
        let remedy = "the first namespace becomes a virtio disk, which carries no metadata: give it ms=0";
        return Err(OptionError::new("--namespace", format!("ms={metadata}"), remedy));
    }
    Ok(())
}

/// A new file for a tape.
///
/// # Errors
/// There is something already, it cannot be made, or a namespace has what a tape does not hold.
pub fn tape_file(path: &Path, settings: &Settings) -> Result<NewFile, OptionError> {
    let refuse = |remedy: String| OptionError::new("--tape", path.display().to_string(), remedy);
    if settings.media.ssd.volumes.iter().any(|volume| volume.metadata_bytes > 0) {
        return Err(refuse("a tape holds no metadata: give the namespaces ms=0".to_owned()));
    }
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    let made = made.map(|file| NewFile::new(file, std::path::absolute(path).unwrap_or_else(|_| path.to_owned())));
    made.map_err(|error| refuse(format!("{error}: give a path where there is nothing yet")))
}

/// What is made later lies in a folder, which an option names.
///
/// # Errors
/// It is none.
pub fn check_folder(option: &str, path: &Path) -> Result<(), OptionError> {
    if path.is_dir() {
        return Ok(());
    }
    Err(OptionError::new(option, path.display().to_string(), "give a folder that exists"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_toml_and_the_figures_are_comments() {
        let settings = Settings::read(&Given::default()).expect("defaults");
        let text = configuration(&settings).expect("printable");
        assert!(text.contains("\nserial = \"brownout-0\"\n"), "{text}");
        assert!(text.contains("\n[[namespace]]\nsize = \"1GiB\"\n"), "{text}");
        assert!(text.contains("\n[media]\nstore = \"ram\"\niu = \"4KiB\"\nop = \"28%\"\n"), "{text}");
        assert!(text.contains("\n# L2P: 1048576 bytes, 4 for each unit of 4KiB\n"), "{text}");
        assert!(text.contains("\n# over-provisioning: spare/user 28.02 %, spare/raw 21.89 %\n"), "{text}");
        assert!(text.contains("\n# lines: 1311 of 1MiB, 256 units each\n"), "{text}");
    }

    #[test]
    fn a_namespace_names_controllers_that_there_are() {
        let check = |words: &str, count| {
            let given = Given { namespaces: vec![words.into()], ..Given::default() };
            check_controllers(&Settings::read(&given).expect("legal"), count).map_err(|error| error.to_string())
        };
        assert_eq!(check("shared=off", 1), Ok(()));
        assert_eq!(check("controllers=0:1", 2), Ok(()));
        assert_eq!(check("", 64), Ok(()));
        let missing = check("controllers=0:1", 1).expect_err("there is one");
        assert!(missing.starts_with("--namespace controllers=0:1: there is one controller"), "{missing}");
        let many = check("", 65).expect_err("too many");
        assert!(many.starts_with("--socket 65 sockets: ") && many.contains("at most 64"), "{many}");
    }

    #[test]
    fn each_front_is_told_how_it_is_plugged_in() {
        let places = Places { sockets: vec!["/run/disk.sock".into()], ..Places::default() };
        let text = machines(&places).expect("printable");
        assert!(!text.contains("vhost-user") && !text.contains("brownout ctl"), "{text}");
        assert!(
            text.contains("\n  -object memory-backend-memfd,id=brownout-memory,size=1024M,share=on \\\n"),
            "{text}"
        );
        assert!(text.contains("\"path\":\"/run/disk.sock\""), "{text}");
        let two = Places { sockets: vec!["/run/a.sock".into(), "/run/b.sock".into()], ..Places::default() };
        let text = machines(&two).expect("printable");
        for name in ["brownout-port,chassis=1,slot=1", "brownout1-port,chassis=2,slot=2"] {
            assert!(text.contains(&format!("pcie-root-port,id={name} ")), "{name}: {text}");
        }
        assert!(text.contains("\"id\":\"brownout1\",\"bus\":\"brownout1-port\""), "{text}");
        let places =
            Places { vhost_user: places.sockets.first().cloned(), control: Some("a b".into()), ..Places::default() };
        let text = machines(&places).expect("printable");
        assert!(text.contains("-device vhost-user-blk-pci,") && !text.contains("vfio-user-pci"), "{text}");
        assert!(text.contains("\nbrownout ctl 'a b' query-status\n"), "{text}");
    }

    #[test]
    fn a_virtio_disk_has_no_metadata() {
        let settings = Settings::read(&Given::default()).expect("defaults");
        assert_eq!(check_disk(&settings), Ok(()));
        let given = Given { namespaces: vec!["size=64MiB,ms=8".into()], ..Given::default() };
        let error = check_disk(&Settings::read(&given).expect("legal")).expect_err("metadata").to_string();
        assert!(error.starts_with("--namespace ms=8: the first namespace becomes"), "{error}");
    }
}
