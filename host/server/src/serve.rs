//! `purlin serve`: wire the rooms together and run until a signal.

use std::{path::PathBuf, sync::Arc, time::Duration};

use purlin_api::Edge;
use purlin_domain::{
    clock::{Clock, SystemClock},
    limits::UnitLimits,
};
use purlin_runtime::{Compiler, Runtime};
use purlin_service::{
    Outside, Platform, ServiceError, Settings, audit, events, jobs, keys, ledger, operator, storage,
    store::{Db, bus::Bus, migrate, shares::Shares},
    trace::CollectSpans,
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    adapter::UnitHost, answer::Answerer, checkpoints::CheckpointFiles, config::Config, data_dir, egress::Egress, fault,
    files::Files, http, inspector::Inspector, invoke::Invoker, mailer::Mailer, master_key, otlp::Otlp, relay,
    telemetry, worker::Worker,
};

/// How long requests and jobs may take to end once the host was told to stop.
const GRACE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Answers requests and runs jobs.
    Host,
    /// Runs jobs alone.
    Worker,
}

/// Serve until SIGTERM or SIGINT.
pub(crate) async fn serve(config: Config, part: Part) -> Result<(), String> {
    if part == Part::Worker && config.database_url.is_none() {
        return Err(
            "the embedded database serves one host: set DATABASE_URL to share work with `purlin worker`".to_owned()
        );
    }
    data_dir::prepare(&config.data_dir)?;
    // One host for an embedded database; several share a PostgreSQL.
    let _lock = config.database_url.is_none().then(|| data_dir::lock(&config.data_dir)).transpose()?;
    let listener = match part {
        Part::Host => Some(
            TcpListener::bind(config.listen)
                .await
                .map_err(|error| format!("{}: {error}; set PURLIN_LISTEN to another address", config.listen))?,
        ),
        Part::Worker => None,
    };
    telemetry::serve_metrics(&config)?;
    let guests = GuestThreads::start()?;
    let incarnation = SystemClock.id();
    let otlp =
        config.otlp_endpoint.as_deref().map(|endpoint| Otlp::open(endpoint, incarnation)).transpose()?.map(Arc::new);
    let (platform, runtime) = wire(&config, guests.handle(), otlp.clone()).await?;
    first_run(&config, &platform).await?;
    if platform.db.is_embedded() {
        let count = jobs::take_over(&platform, incarnation).await.map_err(|e| e.to_string())?;
        if count > 0 {
            tracing::warn!(count, "took back jobs that were running when the host went down");
        }
    }

    let (stop, mut stopping) = watch::channel(false);
    let worker = Worker {
        invoker: Invoker { platform: Arc::clone(&platform), runtime, guests: guests.handle() },
        incarnation,
        jobs_at_once: config.workers,
        poll: Duration::from_millis(config.poll_ms),
        grace: GRACE,
    };
    let worker = tokio::spawn(worker.run(stopping.clone()));
    stop_on_signal(stop, Arc::clone(&platform));
    let looks = look_after(&platform, &config);
    match listener {
        Some(listener) => {
            let address = listener.local_addr().map_err(|e| e.to_string())?;
            tracing::info!(database = platform.db.kind(), "listening on http://{address}");
            let app = purlin_api::router(Arc::clone(&platform), &edge(&config));
            http::serve(listener, app, config.connections as usize, stopping, GRACE).await;
        }
        None => {
            tracing::info!(workers = config.workers, "running jobs");
            let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
        }
    }

    worker.await.map_err(|e| e.to_string())?;
    drop((guests, looks));
    if let Err(error) = ledger::write(&platform).await {
        tracing::warn!(%error, "what plugins used lastly could not be written down");
    }
    if let Some(otlp) = otlp {
        tokio::task::spawn_blocking(move || otlp.close()).await.map_err(|e| e.to_string())?;
    }
    platform.db.close().await;
    Ok(())
}

fn edge(config: &Config) -> Edge {
    Edge {
        cors_origins: config.cors_origins.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        requests_at_once: config.requests_at_once as usize,
    }
}

/// Tell everything to stop when a signal comes.
fn stop_on_signal(stop: watch::Sender<bool>, platform: Arc<Platform>) {
    tokio::spawn(async move {
        wait_for_signal().await;
        stop.send_replace(true);
        events::end_streams(&platform);
        tracing::info!("stopping");
    });
}

/// What has to be looked at again and again while the host serves.
fn look_after(platform: &Arc<Platform>, config: &Config) -> JoinSet<()> {
    let mut looks = JoinSet::new();
    let of_keys = Arc::clone(platform);
    looks.spawn(async move {
        loop {
            tokio::time::sleep(keys::REFRESH_EVERY).await;
            if let Err(error) = keys::refresh(&of_keys).await {
                tracing::warn!(%error, "the signing keys could not be read; those known are used");
            }
        }
    });
    let of_ledger = Arc::clone(platform);
    looks.spawn(async move {
        loop {
            tokio::time::sleep(ledger::WRITTEN_EVERY).await;
            if let Err(error) = ledger::write(&of_ledger).await {
                tracing::warn!(%error, "what plugins used within a second could not be written down");
            }
        }
    });
    let of_storage = Arc::clone(platform);
    looks.spawn(async move {
        loop {
            tokio::time::sleep(storage::WRITTEN_EVERY).await;
            if let Err(error) = storage::write(&of_storage).await {
                tracing::warn!(%error, "how much tenants stored could not be written down; it will be tried again");
            }
        }
    });
    let of_audit = Arc::clone(platform);
    looks.spawn(async move {
        loop {
            if let Err(error) = audit::chain(&of_audit).await {
                tracing::warn!(%error, "the audit log could not be chained; it will be tried again");
            }
            tokio::time::sleep(audit::CHAIN_EVERY).await;
        }
    });
    if !config.event_stream.is_empty() {
        let (stream, length) = (config.event_stream.clone(), config.event_stream_length);
        looks.spawn(relay::pass_on(Arc::clone(platform), stream, length));
    }
    looks
}

pub(crate) async fn wire(
    config: &Config,
    guests: Handle,
    otlp: Option<Arc<Otlp>>,
) -> Result<(Arc<Platform>, Arc<Runtime<UnitHost>>), String> {
    let store = config.store();
    if config.migrate_on_start {
        migrate::up(&store).await.map_err(|e| e.to_string())?;
    }
    let db = Db::open(&store).await.map_err(|e| e.to_string())?;
    let bus = match &config.redis_url {
        Some(url) => Some(Bus::open(url).map_err(|error| format!("redis_url: {error}"))?),
        None => None,
    };
    let clock = fault::clock();
    let runtime = purlin_runtime::Config {
        cache: config.cache_dir.clone().unwrap_or_else(|| config.data_dir.join("cache")),
        guests: config.guests,
        compiler: compiler()?,
    };
    let runtime = Arc::new(Runtime::new(&runtime, Arc::clone(&clock)).map_err(|e| e.to_string())?);
    let settings = Settings {
        registration_open: config.registration_open,
        issuer: config.issuer.clone(),
        access_token_life: Duration::from_secs(config.access_token_minutes * 60),
        lease: Duration::from_secs(config.lease_seconds),
        plugin_log_life: DAY * u32::try_from(config.plugin_log_days).map_err(|e| e.to_string())?,
        job_history_life: DAY * u32::try_from(config.job_history_days).map_err(|e| e.to_string())?,
        dead_letter_life: DAY * u32::try_from(config.dead_letter_days).map_err(|e| e.to_string())?,
        webhook_patience: Duration::from_secs(config.webhook_patience_hours * 3_600),
        limits: UnitLimits::default(),
        plans: config.plans.clone().unwrap_or_default(),
        event_stream: Some(config.event_stream.clone()).filter(|stream| !stream.is_empty()),
        public_url: config.public_url.clone(),
        auth_requests_per_minute: config.auth_requests_per_minute,
        auth_slowdown: Duration::from_millis(config.auth_slowdown_ms),
    };
    let secrets = master_key::load(config)?;
    let checkpoints = config.checkpoint_dir.clone().unwrap_or_else(|| config.data_dir.join("audit-checkpoints"));
    let outside = Outside {
        bus,
        inspector: Arc::new(Inspector(Arc::clone(&runtime))),
        guests: Arc::new(Answerer {
            runtime: Arc::clone(&runtime),
            guests,
            answers: Shares::new((config.guests as usize / 2).max(1)),
            checks: Shares::new((config.guests as usize / 4).max(1)),
        }),
        mailer: Arc::new(Mailer::open(config)?),
        files: Arc::new(Files::open(&data_dir::folder(config.files_dir.clone(), &config.data_dir, "files")?)?),
        http: Arc::new(Egress::new(config.egress_allow.clone())?),
        checkpoints: Arc::new(CheckpointFiles::open(checkpoints)?),
        spans: otlp.map(|otlp| otlp as Arc<dyn CollectSpans>),
    };
    let platform = Platform::new(db, clock, secrets, outside, settings).map_err(|e| e.to_string())?;
    Ok((Arc::new(platform), runtime))
}

/// This program compiles components too, as a child with limits of its own.
fn compiler() -> Result<Compiler, String> {
    let program: PathBuf = std::env::current_exe().map_err(|e| e.to_string())?;
    Ok(Compiler { program, arguments: vec![crate::command::COMPILE.to_owned()] })
}

/// The threads guests run on. A runtime must not be dropped where it would wait for its
/// threads, so it is let go instead.
struct GuestThreads(Option<tokio::runtime::Runtime>);

impl GuestThreads {
    fn start() -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("guest").enable_all().build();
        Ok(Self(Some(runtime.map_err(|e| e.to_string())?)))
    }

    fn handle(&self) -> Handle {
        self.0.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Everything a fresh database needs: permissions, partitions, somebody to run it.
async fn first_run(config: &Config, platform: &Platform) -> Result<(), String> {
    operator::prepare(platform).await.map_err(|e| e.to_string())?;
    if operator::exists(platform).await.map_err(|e| e.to_string())? {
        return Ok(());
    }
    let password = match &config.operator_password {
        Some(password) => password.clone(),
        None => {
            let path = config.data_dir.join("operator-password");
            if !path.exists() {
                data_dir::write_secret(&path, &made_up_password())?;
            }
            tracing::info!(email = config.operator_email, password_file = %path.display(), "made the operator's account");
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    match operator::create(platform, &config.operator_email, password.trim()).await {
        // The tenants are served all the same.
        Err(error @ ServiceError::Conflict(..)) => tracing::error!(%error, "nobody runs the platform"),
        done => done.map_err(|e| format!("operator account: {e}"))?,
    }
    Ok(())
}

/// 32 characters of 62: 190 bits.
fn made_up_password() -> String {
    use rand::{RngExt, distr::Alphanumeric};
    let mut random = rand::rng();
    (0..32).map(|_| char::from(random.sample(Alphanumeric))).collect()
}

async fn wait_for_signal() {
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be heard; stop the host with SIGKILL");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}
