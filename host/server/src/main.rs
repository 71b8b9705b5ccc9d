//! `purlin`: the binary. Reads the environment, wires the rooms together, runs the
//! worker loops and the command line.
#![forbid(unsafe_code)]

mod adapter;
mod command;
mod config;
mod data_dir;
mod fault;
mod inspector;
mod invoke;
mod serve;
mod signing_key;
mod telemetry;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
