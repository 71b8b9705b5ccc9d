//! What every service call shares.

use std::{sync::Arc, time::Duration};

use purlin_domain::{Timestamp, clock::Clock, limits::UnitLimits};
use purlin_store::{Db, bus::Bus};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{catalog::Catalog, keys::Keys, password::Hasher, plugins::Inspect};

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
    /// What bounds a unit of work.
    pub limits: UnitLimits,
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
    /// Rings when jobs were enqueued by this process.
    pub jobs_enqueued: Notify,
    /// Looks into uploaded components.
    pub inspector: Arc<dyn Inspect>,
    pub(crate) keys: Keys,
    pub(crate) hasher: Hasher,
    pub(crate) catalog: Catalog,
}

impl Platform {
    /// The platform over an open database.
    pub fn new(
        db: Db,
        bus: Option<Bus>,
        clock: Arc<dyn Clock>,
        keys: Keys,
        inspector: Arc<dyn Inspect>,
        settings: Settings,
    ) -> crate::Result<Self> {
        let hasher = Hasher::new()?;
        Ok(Self {
            db,
            clock,
            settings,
            bus,
            jobs_enqueued: Notify::new(),
            inspector,
            keys,
            hasher,
            catalog: Catalog::default(),
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
        self.jobs_enqueued.notify_one();
        if let Some(bus) = self.bus.clone() {
            tokio::spawn(async move {
                if let Err(error) = bus.wake().await {
                    tracing::debug!(%error, "a hint did not reach the bus");
                }
            });
        }
    }

    /// The public keys that verify this host's tokens, as a JWK Set.
    pub fn jwks(&self) -> purlin_domain::Json {
        self.keys.jwks()
    }
}
