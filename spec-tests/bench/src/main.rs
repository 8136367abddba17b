//! The benches of `make bench`: each is a verb that prints a table, and none asserts a time.

mod callgrind;
mod device_cost;
mod drive;
mod flat_memory;
mod instructions;
mod ring;
mod shared_memory;
mod stripped;

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
    /// What valgrind counts.
    #[command(hide = true)]
    Subject(instructions::Subject),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::DeviceCost(options) => device_cost::run(&options),
        Bench::Instructions(options) => instructions::run(&options),
        Bench::Subject(subject) => instructions::be_subject(&subject),
    }
}
