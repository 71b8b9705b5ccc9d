//! `purlin`: the binary. Reads the environment, wires the rooms together, runs the
//! worker loops and the command line.
#![forbid(unsafe_code)]

mod abort;
mod adapter;
mod answer;
mod checkpoints;
mod command;
mod config;
mod data_dir;
mod egress;
mod fault;
mod files;
mod http;
mod inspector;
mod invoke;
mod mailer;
mod master_key;
mod otlp;
mod relay;
mod serve;
mod telemetry;
mod worker;

use std::process::ExitCode;

/// Requests and runs allocate on many threads; the allocator of the system makes them wait.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    command::run()
}
