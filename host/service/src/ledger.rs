//! What plugins use: added up here, written every second for all tenants at once. A host that
//! dies takes its last second of it along.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DurationRound, TimeDelta};
use moka::sync::Cache;
use purlin_domain::{
    Json, Timestamp,
    guest::{Ended, Usage},
    id::{JobId, TenantId},
    limits::Limit,
    principal::Principal,
    trace::Trace,
};
use purlin_store::{
    installations::{self, Installation},
    plugin_usage::{self, HourOfUse, Invocation},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError,
    list::{ListPage, ListQuery, Prepared},
    trace::{Span, SpanKind},
    unit::Unit,
};

/// How often it is written.
pub const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// Invocations of one plugin of one tenant that are kept one by one, of those that end within a
/// second: so many that went well, and so many that did not.
const WELL_KEPT: usize = 20;
const ILL_KEPT: usize = 100;
/// The same of all plugins together.
const KEPT_MAX: usize = 2_000;
/// How far back usage is told and kept.
const TOLD: TimeDelta = TimeDelta::days(31);
pub(crate) const HOURS_KEPT: TimeDelta = TimeDelta::days(400);
/// How long what a tenant used today is remembered; what this host adds meanwhile is counted.
const MEASURED_EVERY: Duration = Duration::from_secs(60);
const TENANTS_MAX: u64 = 100_000;
const SUBJECT_CHARS_MAX: usize = 200;

/// What was called, and about what.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// `event`, `job`, `route`, `check` or `step`.
    pub kind: &'static str,
    /// An event type, a job kind, a route, a collection, a step.
    pub subject: String,
    /// The job or delivery.
    pub job: Option<JobId>,
    /// Its span.
    pub trace: Trace,
}

/// How an invocation went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// Well.
    Well,
    /// The plugin said that it failed.
    Failed,
    /// The host ended it over a limit.
    Limit(Limit),
    /// It trapped.
    Trapped,
    /// The platform did not do its part.
    LetDown,
}

impl Went {
    /// Of what the host ended.
    pub fn of(ended: &Ended) -> Self {
        match ended {
            Ended::Limit(limit) => Self::Limit(*limit),
            Ended::Trap(_) => Self::Trapped,
            Ended::Unavailable(_) => Self::LetDown,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Failed => "failed",
            Self::Limit(_) => "limit",
            Self::Trapped => "trap",
            Self::LetDown => "unavailable",
        }
    }
}

/// An invocation that ended.
pub struct Invoked {
    /// What was called.
    pub trigger: Trigger,
    /// How it went.
    pub went: Went,
    /// What it took.
    pub usage: Usage,
    /// What it gathered: effects, requests sent, bytes written.
    pub gathered: [usize; 3],
}

impl Invoked {
    /// What this unit gathered.
    pub fn gathered(unit: Option<&Unit>) -> [usize; 3] {
        unit.map(|unit| [unit.effects(), unit.fetched(), unit.written_bytes()]).unwrap_or_default()
    }
}

#[derive(Default)]
struct Hour {
    invocations: i64,
    failures: i64,
    wall_us: i64,
    cpu_us: i64,
    host_calls: i64,
    fetches: i64,
    write_bytes: i64,
}

impl Hour {
    fn add(&mut self, other: &Self) {
        self.invocations += other.invocations;
        self.failures += other.failures;
        self.wall_us = self.wall_us.saturating_add(other.wall_us);
        self.cpu_us = self.cpu_us.saturating_add(other.cpu_us);
        self.host_calls += other.host_calls;
        self.fetches += other.fetches;
        self.write_bytes = self.write_bytes.saturating_add(other.write_bytes);
    }
}

#[derive(Default)]
struct Pending {
    hours: BTreeMap<(TenantId, String, Timestamp), Hour>,
    rows: Vec<Json>,
    /// Rows of each plugin that went well, and that did not.
    kept: HashMap<(TenantId, String), [usize; 2]>,
}

/// What was not written yet, and what tenants used today.
pub(crate) struct Ledger {
    pending: Mutex<Pending>,
    today: Cache<(TenantId, Timestamp), Arc<AtomicI64>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        let today = Cache::builder().max_capacity(TENANTS_MAX).time_to_live(MEASURED_EVERY).build();
        Self { pending: Mutex::default(), today }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn day_of(now: Timestamp) -> Timestamp {
    now.duration_trunc(TimeDelta::days(1)).unwrap_or(now)
}

/// Add an invocation of this plugin that ended.
pub(crate) fn record(platform: &Platform, tenant: TenantId, of: &Installation, invoked: Invoked) {
    let now = platform.now();
    platform.span_ended(invoked.trigger.trace, invoked.usage.wall, || span_of(tenant, of, &invoked));
    let Invoked { trigger, went, usage, gathered: [effects, fetches, write_bytes] } = invoked;
    let (plugin, version) = (&of.plugin, &of.version);
    if let Some(today) = platform.ledger.today.get(&(tenant, day_of(now))) {
        today.fetch_add(micros(usage.cpu), Ordering::Relaxed);
    }
    let hour = now.duration_trunc(TimeDelta::hours(1)).unwrap_or(now);
    let mut pending = platform.ledger.lock();
    pending.hours.entry((tenant, plugin.to_owned(), hour)).or_default().add(&Hour {
        invocations: 1,
        failures: i64::from(went != Went::Well),
        wall_us: micros(usage.wall),
        cpu_us: micros(usage.cpu),
        host_calls: i64::from(usage.host_calls),
        fetches: number(fetches),
        write_bytes: if went == Went::Well { number(write_bytes) } else { 0 },
    });
    let is_ill = usize::from(went != Went::Well);
    let kept = pending.kept.entry((tenant, plugin.to_owned())).or_default();
    let most = [WELL_KEPT, ILL_KEPT];
    let (Some(count), Some(most)) = (kept.get_mut(is_ill), most.get(is_ill)) else { return };
    *count += 1;
    if *count > *most || pending.rows.len() >= KEPT_MAX {
        return;
    }
    let id: Uuid = platform.id();
    let subject: String = trigger.subject.chars().take(SUBJECT_CHARS_MAX).collect();
    let limit = if let Went::Limit(limit) = went { Some(limit.to_string()) } else { None };
    pending.rows.push(json!({
        "t": tenant.0.simple().to_string(), "i": id.simple().to_string(), "p": plugin, "version": version,
        "trigger": trigger.kind, "subject": subject, "outcome": went.name(), "limit_met": limit,
        "wall_us": micros(usage.wall), "cpu_us": micros(usage.cpu), "memory_bytes": number(usage.memory_bytes),
        "host_calls": usage.host_calls, "effects": number(effects), "j": trigger.job.map(|id| id.0.simple().to_string()),
        "trace_id": trigger.trace.id(), "created_at": now.to_rfc3339(),
    }));
}

/// The span of an invocation.
fn span_of(tenant: TenantId, of: &Installation, Invoked { trigger, went, usage, .. }: &Invoked) -> Span {
    let (verb, kind) = match trigger.kind {
        "event" => ("deliver", SpanKind::Consumer),
        "job" => ("run-job", SpanKind::Consumer),
        "step" => ("step", SpanKind::Consumer),
        other => (other, SpanKind::Internal),
    };
    let limit = if let Went::Limit(limit) = went { Some(limit.to_string()) } else { None };
    Span::new(format!("{verb} {}", trigger.subject), kind)
        .failed((*went != Went::Well).then(|| went.name()))
        .with("purlin.tenant", tenant.to_string())
        .with("purlin.plugin", of.plugin.as_str())
        .with("purlin.plugin.version", of.version.as_str())
        .with("purlin.job", trigger.job.map(|job| job.to_string()))
        .with("purlin.limit", limit)
        .with("purlin.cpu_us", micros(usage.cpu))
        .with("purlin.host_calls", usage.host_calls)
}

/// Write what was added since the last time; what cannot be written is, the next time.
pub async fn write(platform: &Platform) -> Result<()> {
    let Pending { hours, rows, .. } = std::mem::take(&mut *platform.ledger.lock());
    if hours.is_empty() {
        return Ok(());
    }
    let written = write_down(platform, &hours, rows).await;
    if written.is_err() {
        let mut pending = platform.ledger.lock();
        for (of, hour) in hours {
            pending.hours.entry(of).or_default().add(&hour);
        }
    }
    written
}

async fn write_down(
    platform: &Platform,
    hours: &BTreeMap<(TenantId, String, Timestamp), Hour>,
    rows: Vec<Json>,
) -> Result<()> {
    let entries: Json = hours
        .iter()
        .map(|((tenant, plugin, hour), sum)| {
            json!({
                "t": tenant.0.simple().to_string(), "p": plugin, "h": hour.to_rfc3339(),
                "invocations": sum.invocations, "failures": sum.failures, "wall_us": sum.wall_us, "cpu_us": sum.cpu_us,
                "host_calls": sum.host_calls, "fetches": sum.fetches, "write_bytes": sum.write_bytes,
            })
        })
        .collect();
    let mut tx = platform.db.platform().await?;
    plugin_usage::add(&mut tx, entries, platform.now()).await?;
    if !rows.is_empty() {
        plugin_usage::add_invocations(&mut tx, Json::Array(rows)).await?;
    }
    Ok(tx.commit().await?)
}

/// When the tenant may run plugins again, where it used up its CPU time of the day (UTC).
pub(crate) async fn spent_until(
    platform: &Platform,
    tenant: TenantId,
    seconds_max: Option<u64>,
) -> Result<Option<Duration>> {
    let Some(seconds_max) = seconds_max else { return Ok(None) };
    let now = platform.now();
    let day = day_of(now);
    let used = match platform.ledger.today.get(&(tenant, day)) {
        Some(used) => used,
        None => {
            let used = plugin_usage::cpu_us(&mut platform.db.read(tenant).await?, day).await?;
            let used = Arc::new(AtomicI64::new(used));
            platform.ledger.today.insert((tenant, day), Arc::clone(&used));
            used
        }
    };
    let is_spent = used.load(Ordering::Relaxed) / 1_000_000 >= i64::try_from(seconds_max).unwrap_or(i64::MAX);
    Ok(is_spent.then(|| (day + TimeDelta::days(1) - now).to_std().unwrap_or_default()))
}

/// What a plugin used in the last 31 days, hour by hour, the latest first.
pub async fn usage(platform: &Platform, principal: &Principal, plugin: &str) -> Result<Vec<HourOfUse>> {
    let mut tx = platform.db.read(principal.tenant).await?;
    installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    Ok(plugin_usage::of_plugin(&mut tx, plugin, platform.now() - TOLD).await?)
}

/// A page of a plugin's latest invocations.
pub async fn invocations(
    platform: &Platform,
    principal: &Principal,
    plugin: &str,
    query: &ListQuery,
) -> Result<ListPage<Invocation>> {
    let resource = format!("installations/{plugin}/invocations");
    let prepared = Prepared::new(platform, principal.tenant, &resource, &plugin_usage::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let page = plugin_usage::page(&mut tx, plugin, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}
