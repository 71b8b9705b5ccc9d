//! The circuit breaker of plugins: one that is ended again and again goes back to the version
//! before it, where it is new, or rests until an administrator looks after it.
//!
//! Each host counts by itself. What counts is that the host ended it, over a limit or a trap; a
//! plugin that says that it failed works.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::TimeDelta;
use moka::sync::Cache;
use purlin_domain::id::{TenantId, VersionId};

use crate::{
    Platform,
    catalog::Enabled,
    installations,
    ledger::{self, Invoked, Went},
};

/// Ended so often in a row, a version that is new goes back, and any other rests.
const ENDS_BEFORE_ROLLBACK: u32 = 5;
const ENDS_BEFORE_PAUSE: u32 = 20;
/// What lies further apart is no row.
const ROW_WITHIN: Duration = Duration::from_secs(600);
/// A version is new for so long.
const NEW: TimeDelta = TimeDelta::days(1);
const PLUGINS_MAX: u64 = 100_000;

/// A version, and how often it was ended in a row.
type Row = Arc<Mutex<(VersionId, u32)>>;

/// How often plugins were ended in a row.
pub(crate) struct Breaker(Cache<(TenantId, String), Row>);

impl Breaker {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(PLUGINS_MAX).time_to_idle(ROW_WITHIN).build())
    }

    /// Count; how often it was ended in a row.
    fn count(&self, tenant: TenantId, plugin: &Enabled, went: Went) -> u32 {
        let key = (tenant, plugin.installation.plugin.clone());
        match went {
            Went::Limit(_) | Went::Trapped => {}
            Went::Well | Went::Failed => {
                if self.0.contains_key(&key) {
                    self.0.invalidate(&key);
                }
                return 0;
            }
            Went::LetDown => return 0,
        }
        let version = plugin.installation.version_id;
        let row = self.0.get_with(key, || Arc::new(Mutex::new((version, 0))));
        let mut row = row.lock().unwrap_or_else(PoisonError::into_inner);
        // One that ended while another version began counts for none.
        *row = if row.0 == version { (version, row.1 + 1) } else { (version, 1) };
        row.1
    }
}

/// An invocation ended: enter it in the ledger, and do what there is to do about its plugin.
pub async fn ended(platform: &Platform, tenant: TenantId, plugin: &Enabled, invoked: Invoked) {
    let went = invoked.went;
    ledger::record(platform, tenant, &plugin.installation, invoked);
    let ends = platform.breaker.count(tenant, plugin, went);
    let installation = &plugin.installation;
    let is_new =
        installation.previous_version.is_some() && installation.upgraded_at.is_some_and(|at| platform.now() - at < NEW);
    let what = match went {
        Went::Limit(limit) => format!("the {limit} limit was met"),
        _ => "it trapped".to_owned(),
    };
    let done = if is_new && ends >= ENDS_BEFORE_ROLLBACK {
        let reason = format!("version {} was ended {ends} times in a row, lastly since {what}", installation.version);
        Box::pin(installations::roll_back_by_host(platform, tenant, installation, &reason)).await
    } else if ends >= ENDS_BEFORE_PAUSE {
        let reason = format!("ended {ends} times in a row, lastly since {what}");
        Box::pin(installations::pause_by_host(platform, tenant, installation, &reason)).await
    } else {
        return;
    };
    match done {
        Ok(()) => platform.breaker.0.invalidate(&(tenant, installation.plugin.clone())),
        // It is tried again at the next end.
        Err(error) => tracing::warn!(%error, plugin = installation.plugin, "a failing plugin could not be stopped"),
    }
}
