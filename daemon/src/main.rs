//! The binary `brownout`: an NVMe SSD in software, plugged into stock QEMU.
//!
//! Map: [`cli`] is the command line, [`options`] turns what it says into a checked configuration, [`serve`], [`run_qemu`], [`ctl`],
//! [`crash`], [`conform`], [`waf`], [`trace`] and [`media_file`] are the verbs, [`pages`] and [`reference`] make manuals, [`html`]
//! reports, [`machine`] knows QEMU, [`open_media`] makes the drive, [`fronts`] are the sockets on which it is served, [`control`] takes
//! commands for it, [`trial`] judges its host, [`http`] shows it, [`tracer`] writes what it does, [`audience`] hands both its events,
//! [`wiring`] joins them, [`device_thread`], [`device_loop`] and [`watch`] run them, [`watchdog`] ends them when they are stuck. Only
//! [`clock`] knows the time, only [`version`] which brownout this is.

#![forbid(unsafe_code)]

mod audience;
mod cli;
mod clock;
mod conform;
mod control;
mod crash;
mod ctl;
mod device_arguments;
mod device_loop;
mod device_thread;
mod failure;
mod figure_file;
mod fronts;
mod html;
mod http;
mod logging;
mod machine;
mod media_file;
mod number;
mod open_media;
mod options;
mod pages;
mod ports;
mod progress;
mod reference;
mod run_qemu;
mod sandbox;
mod serve;
mod sparse_image;
mod stamps;
mod stop;
#[cfg(test)]
mod testing;
mod trace;
mod tracer;
mod trial;
mod user;
mod version;
mod waf;
mod warning_log;
mod watch;
mod watchdog;
mod wiring;

use std::process::ExitCode;

use clap::CommandFactory as _;
use cli::{CommandLine, Verb};
use failure::Failure;

fn main() -> ExitCode {
    let line = cli::read();
    logging::start(line.verbose, line.log_format);
    if let Err(error) = stop::outlive_file_limit() {
        tracing::warn!(%error, "a media file that cannot grow will end this process");
    }
    let code = match line.verb {
        Verb::Serve(arguments) => serve::serve(arguments).map(|()| 0),
        Verb::Qemu(arguments) => run_qemu::run_qemu(arguments),
        Verb::Ctl(arguments) => ctl::ctl(&arguments).map(|()| 0),
        Verb::Crash(arguments) => crash::crash(&arguments),
        Verb::Conform(arguments) => conform::conform(&arguments),
        Verb::Media(arguments) => media_file::media(arguments.verb).map(|()| 0),
        Verb::Waf(arguments) => waf::waf(&arguments),
        Verb::Trace(arguments) => trace::trace(arguments.verb),
        Verb::Version(arguments) => version::version(&arguments).map(|()| 0),
        Verb::Man(arguments) => pages::man(CommandLine::command(), &arguments.folder).map(|()| 0),
        Verb::Completions(arguments) => pages::completions(CommandLine::command(), arguments.shell).map(|()| 0),
        Verb::Reference(arguments) => reference::reference(CommandLine::command(), &arguments).map(|()| 0),
        Verb::BecomeQemu(arguments) => machine::become_qemu(arguments.parent, &arguments.program, &arguments.arguments)
            .map(|()| 0)
            .map_err(Failure::from),
    };
    ExitCode::from(code.unwrap_or_else(|failure| {
        // Not through the log: whatever RUST_LOG says, the user reads why nothing came of it.
        eprintln!("brownout: {}", failure::plain(&failure.to_string()));
        failure.exit_code()
    }))
}
