//! `brownout qemu`: device and machine together, the machine in the user's terminal.

use std::ffi::OsString;
use std::io::{IsTerminal as _, stdin};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tempfile::Builder;

use crate::device_thread::DeviceThread;
use crate::failure::Failure;
use crate::http::address::Address;
use crate::machine::{self, Ended, Front, MACHINE_MEMORY, Machine, Script, Search};
use crate::options::{Given, Settings, check_socket};
use crate::serve::{check_folder, check_fronts, tape_file};
use crate::tracer::Opened;
use crate::wiring::{Files, Places};
use crate::{cli, stop, tracer, wiring};

/// Runs a machine with the device until the machine ends. Returns QEMU's exit code, or that of the script that the guest ran.
///
/// # Errors
/// A wrong option, no QEMU that will do, a guest that did not finish its script, or a device that breaks.
pub fn run_qemu(arguments: cli::Qemu) -> Result<u8, Failure> {
    let control = arguments.control.clone();
    let traces = tracer::order::read(&arguments.trace)?;
    arguments.trace_folder.as_deref().map_or(Ok(()), |folder| check_folder("--trace-folder", folder))?;
    if let Some(control) = &control {
        check_socket("--control", control)?;
    }
    arguments.http.as_ref().map_or(Ok(()), |address| address.check(arguments.http_anywhere))?;
    let memory_mib = Machine::memory_mib(arguments.memory.unwrap_or(MACHINE_MEMORY))?;
    // Only we may enter the folder, and so only our child reaches the device.
    let folder = Builder::new().prefix("brownout-").tempdir().context("cannot create a folder for the socket")?;
    let socket = folder.path().join("cntrl");
    let sockets = [("its own socket", Some(socket.clone())), ("--control", control.clone())];
    let sockets = sockets.into_iter().filter_map(|(option, path)| Some((option, path?))).collect();
    let (front, limit, dry_run) = (arguments.front, arguments.timeout, arguments.dry_run);
    let settings = Settings::read(&Given { sockets, ..arguments.device.into() })?;
    check_fronts(&settings, 1, front == Front::VhostUser)?;
    let qemu = Search::new(arguments.qemu, front).find()?;
    let (kernel, initrd) = machine::stacks(arguments.kernel, arguments.initrd)?;
    let mut machine = Machine {
        memory_mib,
        kernel,
        initrd,
        append: arguments.append,
        gdb: arguments.gdb,
        kvm: arguments.kvm,
        answer: None,
        front,
        place: 0,
        version: Some(qemu.number),
        more: arguments.more,
    };
    if let Some(script) = &arguments.exec {
        with_script(&mut machine, script, folder.path())?;
    }
    let words = machine.arguments(&socket)?;
    if dry_run {
        let program = [qemu.program.as_os_str()].into_iter();
        println!("{}", machine::shell_line(program.chain(words.iter().map(OsString::as_os_str))));
        return Ok(0);
    }
    let traces = traces.into_iter().map(Opened::open).collect::<anyhow::Result<Vec<_>>>()?;
    let tape = arguments.tape.as_deref().map(|path| tape_file(path, &settings)).transpose()?;
    let web = arguments.http;
    let files = Files { traces, tape, ..Files::with_web(web.as_ref())? };
    eprint!("{}", files.invitation(web.as_ref())?);
    let signals = stop::on_signals().context("cannot listen for signals")?;
    let (stop, stopper) = UnixStream::pair().context("cannot create a pair of sockets")?;

    let (sockets, vhost_user) = match front {
        Front::VfioUser => (vec![socket], None),
        Front::VhostUser => (Vec::new(), Some(socket)),
    };
    let http = web.as_ref().and_then(Address::path).map(Path::to_owned);
    let places = Places { sockets, vhost_user, control, http, traces: arguments.trace_folder, ..Places::default() };
    let device = DeviceThread::start(stop, move || wiring::open(settings, &places, files))?;
    tracing::info!(program = %qemu.program.display(), version = qemu.version, "starting QEMU");
    tracing::debug!(?words);
    say_what_to_type(&machine);
    let ended = machine::run(&qemu.program, &words, signals.as_fd(), device.ended(), limit);
    drop(stopper);
    let device = device.join();
    let ended = ended?;
    if ended == Ended::Device {
        return Err(device.err().unwrap_or_else(|| anyhow!("the device ended before the machine did")).into());
    }
    device?;
    outcome(ended, limit, machine.answer.as_deref())
}

/// The guest boots into the script.
fn with_script(machine: &mut Machine, script: &Path, folder: &Path) -> anyhow::Result<()> {
    let (kernel, initrd) = (machine.kernel.take(), machine.initrd.take());
    let script = Script::prepare(script, kernel, initrd, machine.append.as_deref(), folder)?;
    machine.kernel = Some(script.kernel);
    machine.initrd = Some(script.initrd);
    machine.append = Some(script.append);
    machine.answer = Some(script.answer);
    Ok(())
}

/// For whoever sits at the terminal.
fn say_what_to_type(machine: &Machine) {
    if machine.gdb {
        eprintln!("brownout: the machine waits for gdb: target remote localhost:1234, then continue");
    }
    if stdin().is_terminal() && (machine.answer.is_some() || machine.is_headless()) {
        eprintln!("brownout: Ctrl-A X ends the machine, Ctrl-A C switches between console and QEMU monitor");
    }
}

/// What the end of the machine means for whoever started it.
fn outcome(ended: Ended, limit: Option<Duration>, answer: Option<&Path>) -> Result<u8, Failure> {
    let code = match (ended, limit) {
        (Ended::TimedOut, Some(limit)) => {
            return Err(Failure::TimedOut(format!("the guest was ended after {limit:?}: --timeout")));
        }
        (Ended::Qemu(code), _) => code,
        (Ended::Device | Ended::TimedOut, _) => unreachable!("told before, and no limit without an end"),
    };
    match answer {
        Some(_) if code != 0 => {
            Err(Failure::NoExitCode(format!("QEMU ended with code {code}, and not by the script's end")))
        }
        Some(answer) => machine::exit_code(answer).ok_or_else(|| {
            let remedy = "look at its console for a panic; the kernel needs initramfs, 8250 serial ports and /bin/sh";
            Failure::NoExitCode(format!("the guest ended before its script did: {remedy}"))
        }),
        None => Ok(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_qemus_or_the_scripts_or_says_that_there_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let answer = folder.path().join("code");
        let code = |ended, answer| {
            let limit = Some(Duration::from_secs(90));
            outcome(ended, limit, answer).unwrap_or_else(|failure| failure.exit_code())
        };
        assert_eq!(code(Ended::Qemu(3), None), 3);
        assert_eq!(code(Ended::TimedOut, None), 124);
        assert_eq!(code(Ended::Qemu(0), Some(&answer)), 125, "there is no answer");
        std::fs::write(&answer, "7\n").expect("written");
        assert_eq!(code(Ended::Qemu(0), Some(&answer)), 7);
        assert_eq!(code(Ended::TimedOut, Some(&answer)), 124, "it said so, and then hung");
        assert_eq!(code(Ended::Qemu(143), Some(&answer)), 125, "somebody ended it");
    }
}
