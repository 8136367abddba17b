//! The benches of `make bench`: each is a verb that prints a table, and none asserts a time. Exit code 0 means that every limit was
//! held, 1 that one was exceeded or could not be judged.

#![forbid(unsafe_code)]

mod bars;
mod callgrind;
mod clock;
mod copy;
mod cores;
mod daemon;
mod device_cost;
mod drive;
mod fairness;
mod flat_memory;
mod growth;
mod guest;
mod holding;
mod instructions;
mod lanes;
mod mapped_port;
mod polling_host;
mod recovery;
mod ring;
mod shared_memory;
mod socket;
mod stripped;
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
    /// The device's side of a command, in nanoseconds, beside a stripped loop.
    DeviceCost(device_cost::Options),
    /// Instructions of a command, by valgrind.
    Instructions(instructions::Options),
    /// What a command pays for crash steps that are not armed, and for writes that it does not meet, by valgrind.
    Extras(instructions::Extras),
    /// What valgrind counts.
    #[command(hide = true)]
    Subject(instructions::Subject),
    /// Two processes over the real socket: a polling host against `brownout serve` with doorbells=mapped.
    Socket(socket::Options),
    /// What doorbells=trapped costs an idle guest, and how long the first command after a pause takes.
    Wake(wake::Options),
    /// Random writes without end on a drive in memory: what garbage collection leaves of the burst.
    Sustained(sustained::Options),
    /// What a command costs when there are more queues, namespaces, commands, media; and two controllers on two processors.
    Growth(growth::Options),
    /// How long power needs to come back, over the size of the media.
    Recovery(recovery::Options),
    /// How long a Read of another queue, an order and SIGTERM wait while a queue is full of long commands.
    Fairness(fairness::Options),
    /// fio in an emulated guest, beside QEMU's own controller.
    Guest(guest::Options),
}

fn main() -> anyhow::Result<ExitCode> {
    let held = match Arguments::parse().bench {
        Bench::DeviceCost(options) => device_cost::run(&options).map(|()| true),
        Bench::Instructions(options) => instructions::run(&options).map(|()| true),
        Bench::Extras(options) => instructions::extras(&options),
        Bench::Subject(subject) => instructions::be_subject(&subject).map(|()| true),
        Bench::Socket(options) => socket::run(&options),
        Bench::Wake(options) => wake::run(&options),
        Bench::Sustained(options) => sustained::run(&options),
        Bench::Growth(options) => growth::run(&options),
        Bench::Recovery(options) => recovery::run(&options),
        Bench::Fairness(options) => fairness::run(&options),
        Bench::Guest(options) => guest::run(&options),
    }?;
    Ok(ExitCode::from(u8::from(!held)))
}
