//! The command line.

mod jobs;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use purlin_domain::clock::SystemClock;
use purlin_service::{
    ServiceError, keys, operator, secrets,
    store::{Db, migrate},
};
use rlimit::Resource;

use crate::{
    config::Config,
    data_dir, master_key,
    serve::{self, Part},
    telemetry,
};

/// The subcommand by which the host calls itself to compile a component.
pub(crate) const COMPILE: &str = "compile-component";

/// A multi-tenant platform host whose modules are sandboxed WebAssembly components.
#[derive(Parser)]
#[command(name = "purlin", version)]
struct Cli {
    /// The settings file; `purlin.toml` in this directory if it is there.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the host.
    Serve,
    /// Run jobs alone, beside hosts that share the database.
    Worker,
    /// Look at jobs, and repair what went wrong with them.
    Jobs {
        #[command(subcommand)]
        action: jobs::JobAction,
    },
    /// Change the database's schema.
    Migrate {
        #[command(subcommand)]
        direction: Direction,
    },
    /// See, rotate and retire the keys that sign access tokens.
    Keys {
        #[command(subcommand)]
        action: KeyAction,
    },
    /// See and name who runs the platform.
    Operator {
        #[command(subcommand)]
        action: OperatorAction,
    },
    /// Change the master key.
    MasterKey {
        #[command(subcommand)]
        action: MasterKeyAction,
    },
    /// Compile a component from stdin to stdout. The host calls this itself.
    #[command(name = COMPILE, hide = true)]
    Compile,
}

#[derive(Subcommand)]
enum Direction {
    /// Apply what is pending.
    Up,
    /// Take back the last migration, or several, with the data they made room for.
    Down {
        /// Down to this version; 0 takes back everything.
        #[arg(long)]
        to: Option<i64>,
    },
    /// Show what is applied and what is pending.
    Status,
}

#[derive(Subcommand)]
enum KeyAction {
    /// Show every key and what it is used for.
    List,
    /// Make a new key. It is published at once and signs ten seconds later; tokens that older
    /// keys signed stay good.
    Rotate,
    /// Refuse from now on what a key signed. Wait until its tokens have ended.
    Retire {
        /// The key, as `keys list` shows it.
        id: String,
    },
}

#[derive(Subcommand)]
enum OperatorAction {
    /// Show who runs the platform.
    List,
    /// Let a user of the tenant `operators` run the platform.
    Add {
        /// The user's address.
        email: String,
    },
    /// Let a user run the platform no more.
    Remove {
        /// The user's address.
        email: String,
    },
}

#[derive(Subcommand)]
enum MasterKeyAction {
    /// Put a new key before those in the file. Hosts take it when they start.
    Rotate,
    /// Seal anew, under the first key of the file, what is sealed under one after it.
    Reseal,
}

pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Compile => compile(),
        Command::Serve => with_config(cli.config.as_deref(), |config| serve::serve(config, Part::Host)),
        Command::Worker => with_config(cli.config.as_deref(), |config| serve::serve(config, Part::Worker)),
        Command::Jobs { action } => with_config(cli.config.as_deref(), |config| jobs::run(config, action)),
        Command::Keys { action } => with_config(cli.config.as_deref(), |config| keys(config, action)),
        Command::Operator { action } => with_config(cli.config.as_deref(), |config| operator(config, action)),
        Command::MasterKey { action } => with_config(cli.config.as_deref(), |config| master_key(config, action)),
        Command::Migrate { direction } => with_config(cli.config.as_deref(), |config| migrate(config, direction)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            complain(&why);
            ExitCode::FAILURE
        }
    }
}

fn with_config<F: Future<Output = Result<(), String>>>(
    file: Option<&Path>,
    work: impl FnOnce(Config) -> F,
) -> Result<(), String> {
    let config = Config::load(file)?;
    telemetry::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(work(config))
}

async fn keys(config: Config, action: KeyAction) -> Result<(), String> {
    let db = Db::open(&config.store()).await.map_err(|e| e.to_string())?;
    let clock = SystemClock;
    match action {
        KeyAction::List => {}
        KeyAction::Rotate => {
            let id = keys::rotate(&db, &clock, &master_key::load(&config)?).await.map_err(|e| e.to_string())?;
            say(&format!("made {id}; it signs in {} s", keys::SIGNS_AFTER.as_secs()));
        }
        KeyAction::Retire { id } => keys::retire(&db, &clock, &id).await.map_err(|e| match e {
            ServiceError::NotFound => format!("there is no key {id}; `purlin keys list` shows them"),
            other => other.to_string(),
        })?,
    }
    for key in keys::list(&db, &clock).await.map_err(|e| e.to_string())? {
        say(&format!("{} {:<10} made {}", key.id, key.state, key.created_at.format("%Y-%m-%d %H:%M:%S")));
    }
    db.close().await;
    Ok(())
}

async fn operator(config: Config, action: OperatorAction) -> Result<(), String> {
    let (platform, _) = serve::wire(&config, tokio::runtime::Handle::current(), None).await?;
    let found = match &action {
        OperatorAction::List => Ok(true),
        OperatorAction::Add { email } => operator::add(&platform, email).await,
        OperatorAction::Remove { email } => operator::remove(&platform, email).await,
    };
    if !found.map_err(|e| e.to_string())? {
        return Err(format!("no user of the tenant `{}` has this address", operator::TENANT));
    }
    for user in operator::list(&platform).await.map_err(|e| e.to_string())? {
        say(&format!("{} {}", user.email, if user.is_active { "active" } else { "inactive" }));
    }
    platform.db.close().await;
    Ok(())
}

async fn master_key(config: Config, action: MasterKeyAction) -> Result<(), String> {
    if let MasterKeyAction::Rotate = action {
        let path = master_key::rotate(&config)?;
        say(&format!("{} has a new key; restart every host that reads it", path.display()));
        say("then run `purlin master-key reseal`, and keep a copy of the file");
        return Ok(());
    }
    let db = Db::open(&config.store()).await.map_err(|e| e.to_string())?;
    let done = secrets::reseal(&db, &master_key::load(&config)?).await.map_err(|e| e.to_string())?;
    say(&format!("sealed {} secrets anew", done.count));
    for what in done.broken {
        say(&format!("left as it is, since it opens under none of the keys: {what}"));
    }
    db.close().await;
    Ok(())
}

async fn migrate(config: Config, direction: Direction) -> Result<(), String> {
    if config.database_url.is_none() {
        data_dir::prepare(&config.data_dir)?;
    }
    let store = config.store();
    match direction {
        Direction::Up => migrate::up(&store).await,
        Direction::Down { to } => migrate::down(&store, to).await,
        Direction::Status => Ok(()),
    }
    .map_err(|e| e.to_string())?;
    for migration in migrate::status(&store).await.map_err(|e| e.to_string())? {
        let state = migration
            .applied_at
            .map_or("pending".to_owned(), |at| format!("applied {}", at.format("%Y-%m-%d %H:%M:%S")));
        say(&format!("{:04} {:<30} {state}", migration.version, migration.name));
    }
    Ok(())
}

/// Limits of the process that compiles: a component made to exhaust the compiler ends it, not the host.
const COMPILE_CPU_S: u64 = 60;
const COMPILE_DATA_BYTES: u64 = 3 << 30;
const COMPILE_FILES: u64 = 32;
/// It writes none, but for its profile when lines are counted.
const COMPILE_FILE_BYTES: u64 = if cfg!(coverage) { 64 << 20 } else { 0 };

fn compile() -> Result<(), String> {
    let limits = [
        (Resource::CPU, COMPILE_CPU_S),
        (Resource::DATA, COMPILE_DATA_BYTES),
        (Resource::FSIZE, COMPILE_FILE_BYTES),
        (Resource::NOFILE, COMPILE_FILES),
        (Resource::CORE, 0),
    ];
    for (resource, limit) in limits {
        resource.set(limit, limit).map_err(|e| e.to_string())?;
    }
    purlin_runtime::compile_stdin_to_stdout().map_err(|e| e.to_string())
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(line: &str) {
    println!("{line}");
}

#[expect(clippy::print_stderr, reason = "why a command failed")]
fn complain(why: &str) {
    eprintln!("purlin: {why}");
}
