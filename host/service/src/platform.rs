//! What every service call shares.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use purlin_domain::{Timestamp, clock::Clock, id::TenantId, limits::UnitLimits, plan::Plans};
use purlin_store::{
    Db,
    bus::{Bus, Hint},
    jobs::Group,
    shares::Shares,
};
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use crate::{
    access_cache::AccessCache,
    breaker::Breaker,
    catalog::Catalog,
    checkpoints::KeepCheckpoints,
    checks::Checkers,
    egress::SendHttp,
    events::Streams,
    files::KeepFiles,
    guests::RunGuests,
    jobs::{BacklogMeter, Bell, ChainMeter, Resting, RunningPlugins},
    keys::Keyring,
    ledger::Ledger,
    limiter::Limiter,
    mail::SendMail,
    metrics::Meters,
    password::Hasher,
    plugins::Inspect,
    records::Writers,
    secrets::Secrets,
    storage::StorageMeter,
    trace::CollectSpans,
    unit::Gathering,
};

/// What the operator chose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether strangers may register a tenant.
    pub registration_open: bool,
    /// Who issues the tokens: the `iss` of every one.
    pub issuer: String,
    /// How long an access token lives.
    pub access_token_life: Duration,
    /// How long a worker holds a job without a beat.
    pub lease: Duration,
    /// How long lines of plugin logs are kept.
    pub plugin_log_life: Duration,
    /// How long jobs that ended well are kept.
    pub job_history_life: Duration,
    /// How long dead letters are kept.
    pub dead_letter_life: Duration,
    /// How long nothing may be taken by a webhook before it is disabled.
    pub webhook_patience: Duration,
    /// What bounds a unit of work.
    pub limits: UnitLimits,
    /// The plans that tenants can be on.
    pub plans: Plans,
    /// The stream of the bus that events are passed on to, where there is one.
    pub event_stream: Option<String>,
    /// Where people reach the applications; links in mails begin so.
    pub public_url: String,
    /// Requests a minute from one address to what needs no token.
    pub auth_requests_per_minute: u32,
    /// How long a try at one account is slowed at most.
    pub auth_slowdown: Duration,
}

/// What the platform is given from outside.
pub struct Outside {
    /// Hints to and from other hosts, where there is a bus.
    pub bus: Option<Bus>,
    /// Looks into uploaded components.
    pub inspector: Arc<dyn Inspect>,
    /// Runs guests, beside jobs.
    pub guests: Arc<dyn RunGuests>,
    /// Sends mails.
    pub mailer: Arc<dyn SendMail>,
    /// Sends requests to where tenants say.
    pub http: Arc<dyn SendHttp>,
    /// Keeps files of tenants.
    pub files: Arc<dyn KeepFiles>,
    /// Keeps signed checkpoints of the audit log apart from the database.
    pub checkpoints: Arc<dyn KeepCheckpoints>,
    /// Collects spans, where anybody does.
    pub spans: Option<Arc<dyn CollectSpans>>,
}

/// The platform: the database, and what is worth keeping in memory.
pub struct Platform {
    /// The database.
    pub db: Db,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// What the operator chose.
    pub settings: Settings,
    /// Hints to and from other hosts, where there is a bus.
    pub bus: Option<Bus>,
    /// Calls the claimer of this process.
    pub bell: Bell,
    /// Looks into uploaded components.
    pub inspector: Arc<dyn Inspect>,
    /// Runs guests, beside jobs.
    pub(crate) guests: Arc<dyn RunGuests>,
    /// Rings when a tenant was suspended by this process.
    pub suspended: Notify,
    pub(crate) mailer: Arc<dyn SendMail>,
    pub(crate) http: Arc<dyn SendHttp>,
    pub(crate) files: Arc<dyn KeepFiles>,
    pub(crate) checkpoints: Arc<dyn KeepCheckpoints>,
    pub(crate) spans: Option<Arc<dyn CollectSpans>>,
    pub(crate) secrets: Secrets,
    pub(crate) keys: Keyring,
    pub(crate) look_again: AtMostEach,
    pub(crate) access: AccessCache,
    pub(crate) limiter: Limiter,
    pub(crate) storage: StorageMeter,
    /// Verifications of the audit log at the same time, one of a tenant: each reads all of it.
    pub(crate) verifying: Shares<TenantId>,
    /// Turns to validate documents for which that takes long.
    pub(crate) validating: Shares<TenantId>,
    /// Sign-ins that look somebody up at the same time: a flood of them leaves connections
    /// for everybody else.
    pub(crate) signing_in: Semaphore,
    pub(crate) hasher: Hasher,
    pub(crate) writers: Writers,
    pub(crate) catalog: Catalog,
    pub(crate) running: RunningPlugins,
    pub(crate) breaker: Breaker,
    pub(crate) ledger: Ledger,
    pub(crate) checkers: Checkers,
    pub(crate) backlog: BacklogMeter,
    pub(crate) chains: ChainMeter,
    pub(crate) resting: Resting,
    pub(crate) gathering: Gathering,
    pub(crate) meters: Meters,
    /// Rings, for all who listen, when events were published.
    pub(crate) published: Notify,
    pub(crate) streams: Arc<Streams>,
    /// Rings when this process enqueued a job whose time is yet to come.
    pub scheduled: Notify,
    /// Rings when a running job is to be cancelled.
    pub cancelled: Notify,
}

const VERIFYING_MAX: usize = 2;
/// Long validations at the same time, and how many wait, in all and of one tenant.
const VALIDATING_MAX: usize = 2;
const VALIDATIONS_WAITING_MAX: usize = 1_000;
const VALIDATIONS_WAITING_EACH_MAX: usize = 20;
const SIGNING_IN_MAX: usize = 3;

/// Lets one through each second.
#[derive(Default)]
pub(crate) struct AtMostEach(AtomicI64);

impl AtMostEach {
    pub(crate) fn passed(&self, now: Timestamp) -> bool {
        let (now, last) = (now.timestamp_millis(), self.0.load(Ordering::Relaxed));
        now - last >= 1_000 && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Platform {
    /// The platform over an open database.
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        secrets: Secrets,
        outside: Outside,
        settings: Settings,
    ) -> crate::Result<Self> {
        Ok(Self {
            db,
            clock,
            settings,
            bus: outside.bus,
            bell: Bell::default(),
            suspended: Notify::new(),
            inspector: outside.inspector,
            guests: outside.guests,
            mailer: outside.mailer,
            http: outside.http,
            files: outside.files,
            checkpoints: outside.checkpoints,
            spans: outside.spans,
            secrets,
            keys: Keyring::default(),
            look_again: AtMostEach::default(),
            access: AccessCache::new(),
            limiter: Limiter::new(),
            storage: StorageMeter::new(),
            verifying: Shares::limited(VERIFYING_MAX, 1, 0, 0),
            validating: Shares::limited(VALIDATING_MAX, 1, VALIDATIONS_WAITING_MAX, VALIDATIONS_WAITING_EACH_MAX),
            signing_in: Semaphore::new(SIGNING_IN_MAX),
            hasher: Hasher::new()?,
            writers: Writers::new(),
            catalog: Catalog::default(),
            running: RunningPlugins::new(),
            breaker: Breaker::new(),
            ledger: Ledger::new(),
            checkers: Checkers::new(),
            backlog: BacklogMeter::new(),
            chains: ChainMeter::new(),
            resting: Resting::new(),
            gathering: Gathering::default(),
            meters: Meters::default(),
            published: Notify::new(),
            streams: Arc::default(),
            scheduled: Notify::new(),
            cancelled: Notify::new(),
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn id<T: From<Uuid>>(&self) -> T {
        T::from(self.clock.id())
    }

    /// Tell the workers, here and on other hosts, that jobs may be due. Called after a commit.
    pub(crate) fn wake_workers(&self) {
        self.bell.ring();
        self.published.notify_waiters();
        self.wake_others();
    }

    /// The same for new jobs of these groups alone, which are due.
    pub(crate) fn wake_workers_for(&self, groups: Vec<Group>) {
        self.bell.ring_for(groups);
        self.wake_others();
    }

    fn wake_others(&self) {
        if let Some(bus) = self.bus.clone() {
            tokio::spawn(async move {
                if let Err(error) = bus.wake().await {
                    tracing::debug!(%error, "a hint did not reach the bus");
                }
            });
        }
    }

    /// Tell whoever runs it, here or elsewhere, that a job is to be cancelled. Called after a commit.
    pub(crate) fn tell_cancelled(&self) {
        self.cancelled.notify_one();
        if let Some(bus) = self.bus.clone() {
            tokio::spawn(async move {
                if let Err(error) = bus.cancel().await {
                    tracing::debug!(%error, "a hint did not reach the bus");
                }
            });
        }
    }

    /// Whatever is remembered of who may do what in this tenant is stale, here and on other
    /// hosts. Called after a commit.
    pub(crate) fn forget_access(&self, tenant: TenantId) {
        self.access.forget(tenant);
        if let Some(bus) = self.bus.clone() {
            tokio::spawn(async move {
                if let Err(error) = bus.forget(tenant).await {
                    tracing::debug!(%error, "a hint did not reach the bus");
                }
            });
        }
    }

    /// A hint of another host came.
    pub fn hear(&self, hint: Hint) {
        match hint {
            Hint::Wake => {
                self.bell.ring();
                self.published.notify_waiters();
            }
            Hint::Cancel => self.cancelled.notify_one(),
            Hint::Forget(tenant) => {
                self.access.forget(tenant);
                // The tenant may have been suspended.
                self.suspended.notify_one();
            }
        }
    }

    pub(crate) fn keep_checkpoint(&self, tenant: TenantId, seq: i64, token: &str) {
        if let Err(error) = self.checkpoints.keep(tenant, seq, token) {
            tracing::error!(error, %tenant, "a checkpoint of the audit log could not be kept apart");
        }
    }

    /// The public keys that verify this host's tokens, as a JWK Set.
    pub fn jwks(&self) -> purlin_domain::Json {
        self.keys.jwks()
    }
}
