//! `cargo xtask`: the only automation. Each command installs what it needs, or says what
//! it could not and what to do.

mod bench;
mod bench_audit;
mod bench_collections;
mod bench_engine;
mod bench_runtime;
mod client;
mod coverage;
mod demo;
mod fuzz;
mod generated_client;
mod hooks;
mod host;
mod plugins;
mod private;
mod prove;
mod python_guest;
mod settings;
mod shell;
mod test;
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, run and test Purlin")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the host and the plugins and run them: the embedded database, or DATABASE_URL.
    Up {
        /// Start over: forget all data first.
        #[arg(long)]
        fresh: bool,
        /// Build with optimisations (longer to build, faster to run).
        #[arg(long)]
        release: bool,
    },
    /// Drive the host that `up` runs through the whole story.
    Demo,
    /// Build the plugins for wasm32-wasip2.
    Plugins,
    /// Run every test, on SQLite and PostgreSQL.
    Test {
        /// Only tests whose name contains this.
        filter: Vec<String>,
    },
    /// Measure what docs/performance.md reports.
    Bench {
        /// `start`, `audit`, `collections`, `engine` or `runtime`.
        #[arg(default_value = "start")]
        what: String,
    },
    /// Prove the promises of docs/promises.md in their full size.
    Prove {
        /// One of them, by name.
        row: Option<String>,
    },
    /// Fuzz the API from its own document: 50,000 cases.
    Fuzz {
        /// A few cases for each operation, as the tests do.
        #[arg(long)]
        short: bool,
    },
    /// Run a program over a client generated from the OpenAPI document.
    Client,
    /// Tell which share of the lines the tests run.
    Coverage,
    /// Write the diagram in docs/database-schema.md anew from the migrations.
    Schema,
    /// Install a git pre-commit hook that checks format and lints.
    Hooks,
}

fn main() -> Result<()> {
    std::env::set_current_dir(shell::root()?)?;
    match Cli::parse().command {
        Command::Up { fresh, release } => up::run(fresh, release),
        Command::Demo => demo::run(),
        Command::Plugins => plugins::build(&plugins::all()?).map(drop),
        Command::Test { filter } => test::run(&filter),
        Command::Bench { what } => bench::run(&what),
        Command::Prove { row } => prove::run(row.as_deref()),
        Command::Fuzz { short } => fuzz::run(short),
        Command::Client => test::build().and_then(|_| generated_client::run()),
        Command::Coverage => coverage::run(),
        Command::Schema => test::write_schema(),
        Command::Hooks => hooks::install(),
    }
}
