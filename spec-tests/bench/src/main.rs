//! The benches of `make bench`: each is a verb that prints a table, and none asserts a time. Exit code 0 says that every bar was held,
//! 1 that one was missed or could not be judged.

#![forbid(unsafe_code)]

mod bars;
mod copy;
mod cores;
mod daemon;
mod guest;
mod mapped_port;
mod polling_host;
mod socket;
mod sustained;
mod wake;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What brownout costs, measured on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Two processes over the real socket: a polling host against `brownout serve` with doorbells=mapped
    Socket(socket::Options),
    /// What doorbells=trapped costs an idle guest, and how long the first command after a pause takes
    Wake(wake::Options),
    /// Random writes without end on a drive in memory: what garbage collection leaves of the burst
    Sustained(sustained::Options),
    /// fio in an emulated guest, beside QEMU's own controller
    Guest(guest::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let held = match Arguments::parse().bench {
        Bench::Socket(options) => socket::run(&options),
        Bench::Wake(options) => wake::run(&options),
        Bench::Sustained(options) => sustained::run(&options),
        Bench::Guest(options) => guest::run(&options),
    }?;
    Ok(ExitCode::from(u8::from(!held)))
}
