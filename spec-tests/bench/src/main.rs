//! The benches of `make bench`: each is a verb that prints a table, and none asserts a time.

use clap::{Parser, Subcommand};

/// What brownout costs, measured on this machine.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {}
}
