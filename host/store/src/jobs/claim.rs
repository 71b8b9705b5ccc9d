//! Claiming: who waits, and who gets how many.

use std::{sync::Arc, time::Duration};

use purlin_domain::{
    Json, Timestamp,
    event::Event,
    id::{JobId, TenantId},
    job::Queue,
    trace::Trace,
};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{enqueue::Enqueue, finish::Fence};
use crate::{
    PlatformTx, Result,
    value::{is_small, params},
};

/// Jobs of one kind of one tenant that wait for a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Their queue.
    pub queue: Queue,
    /// Their tenant.
    pub tenant_id: TenantId,
    /// Who runs them.
    pub plugin: String,
    /// Their kind.
    pub kind: String,
    /// The plan of the tenant.
    pub plan: String,
    /// Whether they may run: the tenant is active, the plugin enabled, nothing is paused.
    pub is_runnable: bool,
}

/// Whether jobs of this queue, tenant, plugin and kind may run now: the tenant is active, the
/// plugin enabled, nothing is paused.
macro_rules! may_run {
    ($queue:literal, $tenant:literal, $plugin:literal, $kind:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM tenants t WHERE t.status = 'active' AND t.id = ",
            $tenant,
            ")
            AND (",
            $plugin,
            " = 'core' OR EXISTS (SELECT 1 FROM installations i
                WHERE i.tenant_id = ",
            $tenant,
            " AND i.plugin = ",
            $plugin,
            " AND i.state = 'enabled'))
            AND NOT EXISTS (SELECT 1 FROM job_pauses p WHERE p.tenant_id = ",
            $tenant,
            "
                AND p.queue IN ('*', ",
            $queue,
            ") AND p.kind IN ('*', ",
            $kind,
            "))
            AND NOT EXISTS (SELECT 1 FROM platform_job_pauses p
                WHERE p.queue IN ('*', ",
            $queue,
            ") AND p.kind IN ('*', ",
            $kind,
            "))"
        )
    };
}

pub(super) use may_run;

macro_rules! runnable {
    () => {
        concat!(
            "SELECT g.queue, g.tenant_id, g.plugin, g.kind, t.plan, ",
            may_run!("g.queue", "g.tenant_id", "g.plugin", "g.kind"),
            " AS is_runnable, 0 AS leases
             FROM g JOIN tenants t ON t.id = g.tenant_id
             UNION ALL
             SELECT queue, tenant_id, '', kind, NULL, NULL, count(*) FROM jobs WHERE state = 'running' GROUP BY queue, tenant_id, kind
             ORDER BY 1, 2, 3, 4"
        )
    };
}

/// Jumps from one group to the next in the index, in each queue from where `$1` says; and
/// what runs, counted from the rows themselves.
const GROUPS_POSTGRES: &str = concat!(
    "WITH RECURSIVE g AS (
        SELECT n.queue, n.tenant_id, n.plugin, n.kind, 1 AS step
        FROM jsonb_to_recordset($1) AS f(q text, t uuid, p text, k text) CROSS JOIN LATERAL (
            SELECT j.queue, j.tenant_id, j.plugin, j.kind FROM jobs j
            WHERE j.state = 'ready' AND j.queue = f.q AND (j.tenant_id, j.plugin, j.kind) > (f.t, f.p, f.k)
            ORDER BY j.queue, j.tenant_id, j.plugin, j.kind LIMIT 1) n
        UNION ALL
        SELECT n.queue, n.tenant_id, n.plugin, n.kind, g.step + 1 FROM g CROSS JOIN LATERAL (
            SELECT j.queue, j.tenant_id, j.plugin, j.kind FROM jobs j
            WHERE j.state = 'ready' AND j.queue = g.queue AND (j.tenant_id, j.plugin, j.kind) > (g.tenant_id, g.plugin, g.kind)
            ORDER BY j.queue, j.tenant_id, j.plugin, j.kind LIMIT 1) n
        WHERE g.step < $2
    ) ",
    runnable!()
);
/// SQLite seeks to the first row that is not before the row value, and goes on from there one by
/// one; so it is given one that no row of the group reaches. It takes as many columns of it as
/// have no affinity (`+`) or the same.
const GROUPS_SQLITE: &str = concat!(
    "WITH RECURSIVE f AS (
        SELECT value->>'q' AS q, unhex(value->>'t') AS t, value->>'p' AS p, value->>'k' AS k FROM json_each($1)
    ), s AS (
        SELECT (SELECT j.seq FROM jobs j
            WHERE j.state = 'ready' AND j.queue = f.q AND (j.tenant_id, j.plugin, j.kind, j.priority) > (f.t, f.p, f.k, 9223372036854775807)
            ORDER BY j.tenant_id, j.plugin, j.kind LIMIT 1) AS seq, 1 AS step FROM f
        UNION ALL
        SELECT (SELECT j.seq FROM jobs j
            WHERE j.state = 'ready' AND j.queue = c.queue AND (j.tenant_id, j.plugin, j.kind, j.priority) > (c.tenant_id, +c.plugin, +c.kind, 9223372036854775807)
            ORDER BY j.tenant_id, j.plugin, j.kind LIMIT 1), s.step + 1
        FROM s JOIN jobs c ON c.seq = s.seq WHERE s.step < $2
    ), g AS (SELECT c.queue, c.tenant_id, c.plugin, c.kind FROM s JOIN jobs c ON c.seq = s.seq) ",
    runnable!()
);

/// What there is to divide among free workers.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Who waits, by queue, tenant, plugin and kind.
    pub waiting: Vec<Group>,
    /// Who runs.
    pub in_use: Vec<InUse>,
}

/// A row of either: what waits has a plan.
#[derive(FromRow)]
struct Row {
    #[sqlx(try_from = "String")]
    queue: Queue,
    #[sqlx(try_from = "Uuid")]
    tenant_id: TenantId,
    plugin: String,
    kind: String,
    plan: Option<String>,
    is_runnable: Option<bool>,
    leases: i64,
}

/// The groups that wait, up to `most` in each queue, beginning after the group given for it;
/// and the leases that are held now.
pub async fn look(tx: &mut PlatformTx, after: &[(Queue, Option<Group>)], most: u32) -> Result<Look> {
    let from: Json = after
        .iter()
        .map(|(queue, last)| {
            let (tenant, plugin, kind) =
                last.as_ref().map_or((Uuid::nil(), "", ""), |g| (g.tenant_id.0, g.plugin.as_str(), g.kind.as_str()));
            json!({ "q": queue.as_str(), "t": tenant.simple().to_string(), "p": plugin, "k": kind })
        })
        .collect();
    let sql = if tx.conn.is_postgres() { GROUPS_POSTGRES } else { GROUPS_SQLITE };
    let rows: Vec<Row> = tx.fetch_all(sql, params![from, most]).await?;
    let mut look = Look::default();
    for Row { queue, tenant_id, plugin, kind, plan, is_runnable, leases } in rows {
        match (plan, is_runnable) {
            (Some(plan), Some(is_runnable)) => {
                look.waiting.push(Group { queue, tenant_id, plugin, kind, plan, is_runnable });
            }
            _ => look.in_use.push(InUse { queue, tenant_id, kind, leases }),
        }
    }
    Ok(look)
}

/// Leases that are held now, on all hosts.
#[derive(Clone, Debug, FromRow)]
pub struct InUse {
    /// The queue of the jobs.
    #[sqlx(try_from = "String")]
    pub queue: Queue,
    /// Their tenant.
    #[sqlx(try_from = "Uuid")]
    pub tenant_id: TenantId,
    /// Their kind.
    pub kind: String,
    /// How many.
    pub leases: i64,
}

/// Leases that are held now, counted from the rows themselves.
pub async fn in_use(tx: &mut PlatformTx) -> Result<Vec<InUse>> {
    tx.fetch_all(
        "SELECT queue, tenant_id, kind, count(*) AS leases FROM jobs WHERE state = 'running' GROUP BY queue, tenant_id, kind",
        Vec::new(),
    )
    .await
}

/// A job in the hands of a worker.
#[derive(Clone, Debug, FromRow)]
pub struct Claimed {
    /// Its tenant.
    #[sqlx(try_from = "Uuid")]
    pub tenant_id: TenantId,
    /// Its id.
    #[sqlx(try_from = "Uuid")]
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The plugin that runs it.
    pub plugin: String,
    /// What it is about; one that is large is left out of a claim, and read when it is run.
    #[sqlx(try_from = "crate::document::MaybeDocument")]
    pub payload: Option<Json>,
    /// Its share of the workers.
    #[sqlx(try_from = "String")]
    pub queue: Queue,
    /// Since when it could run.
    pub run_at: Timestamp,
    /// This run, 1 for the first.
    pub attempt: i64,
    /// Runs at most.
    pub attempts_max: i64,
    /// Runs whose worker died.
    pub crashes: i64,
    /// The fence: what this claim's writes must still find.
    pub run_lease: i64,
    /// Who claimed.
    pub worker: Uuid,
    /// Where its row lies, for whoever ends it.
    pub place: String,
    /// The event it delivers.
    pub event_id: Option<Uuid>,
    /// Its lane.
    pub ordering_key: Option<String>,
    /// The webhook it delivers to.
    pub webhook_id: Option<Uuid>,
    /// The user whose request led to it.
    pub caused_by: Option<Uuid>,
    /// The first event or job of its chain.
    pub root_id: Uuid,
    /// Steps from the request that began the chain.
    pub depth: i64,
    /// The span that caused it; jobs from before there were any have none.
    pub traceparent: Option<String>,
    /// The event it delivers, where that is small; whoever claims fills it in.
    #[sqlx(skip)]
    pub event: Option<Arc<Event>>,
    /// The plan of its tenant; whoever claims fills it in.
    #[sqlx(skip)]
    pub plan: String,
}

impl Claimed {
    /// A new job that was added as leased, and where its row lies.
    pub fn of(tenant: TenantId, new: &Enqueue<'_>, lease: Lease, place: String) -> Self {
        let Enqueue { job, plugin, event, cause, .. } = new;
        Self {
            tenant_id: tenant,
            id: job.id,
            kind: job.kind.clone(),
            plugin: (*plugin).to_owned(),
            payload: Some(job.payload.clone()),
            queue: job.queue,
            run_at: job.run_at,
            attempt: 1,
            attempts_max: i64::from(job.attempts_max),
            crashes: 0,
            run_lease: 1,
            worker: lease.worker,
            place,
            event_id: event.map(|event| event.0),
            ordering_key: job.ordering_key.clone(),
            webhook_id: job.webhook,
            caused_by: cause.user.map(|user| user.0),
            root_id: cause.root,
            depth: i64::from(cause.depth),
            traceparent: Some(cause.trace.to_string()),
            event: None,
            plan: String::new(),
        }
    }

    /// The span that caused it; the begin of a trace of its chain where none is known.
    pub fn trace(&self) -> Trace {
        let told = self.traceparent.as_deref().and_then(|text| text.parse().ok());
        told.unwrap_or_else(|| Trace::begin(self.root_id, self.id.0, false))
    }

    /// What this claim's writes must still find.
    pub fn fence(&self) -> Fence {
        Fence { job: self.id, run_lease: self.run_lease, worker: self.worker }
    }
}

/// How many jobs of which groups of a tenant and queue are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The queue.
    pub queue: Queue,
    /// The tenant.
    pub tenant: TenantId,
    /// Who runs them, and their kind.
    pub groups: Vec<(String, String)>,
    /// How many at most.
    pub count: u32,
}

/// Who claims, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// This boot of this process.
    pub worker: Uuid,
    /// How long it holds without a beat.
    pub length: Duration,
}

macro_rules! claimed {
    () => {
        concat!(
            " RETURNING j.tenant_id, j.id, j.kind, j.plugin, CASE WHEN ",
            is_small!("j.payload"),
            " THEN j.payload END AS payload,
            j.queue, j.run_at, j.attempt, j.attempts_max, j.crashes, j.run_lease, j.worker, CAST(j.ctid AS text) AS place, j.event_id, j.ordering_key,
            j.webhook_id, j.caused_by, j.root_id, j.depth, j.traceparent"
        )
    };
}

macro_rules! claim_sqlite {
    ($which:literal) => {
        concat!(
            "UPDATE jobs AS j SET state = 'running', run_lease = run_lease + 1, attempt = attempt + 1, worker = $2, leased_until = $3,
                started_at = $4, updated_at = $4
             WHERE ",
            $which,
            " RETURNING tenant_id, id, kind, plugin, CASE WHEN length(payload) <= 4096 THEN payload END AS payload, queue, run_at,
                attempt, attempts_max, crashes, run_lease, worker, CAST(seq AS text) AS place, event_id, ordering_key, webhook_id,
                caused_by, root_id, depth, traceparent"
        )
    };
}

/// The first of each group in the order of the index, then the first of these for the
/// tenant. Without the offset PostgreSQL would ask for each job whether its group may run. The plan does not depend on statistics: see `Db::engine`; and rows that were
/// locked are updated by where they lie, so that no index can be taken for a better one.
///
/// Nobody waits until it is on disk: a claim that PostgreSQL forgets when it crashes leaves
/// a job that is claimed again, and [`Fence`] tells the two apart.
const CLAIM_POSTGRES: &str = concat!(
    "WITH picked AS MATERIALIZED (
        SELECT p.place FROM jsonb_to_recordset($1) AS w(q text, t uuid, n bigint, g jsonb) CROSS JOIN LATERAL (
            SELECT c.place FROM (SELECT k.p, k.k FROM jsonb_to_recordset(w.g) AS k(p text, k text) WHERE ",
    may_run!("w.q", "w.t", "k.p", "k.k"),
    " OFFSET 0) g CROSS JOIN LATERAL (
                SELECT j.ctid AS place, j.priority, j.run_at, j.seq FROM jobs j
                WHERE j.state = 'ready' AND j.queue = w.q AND j.tenant_id = w.t AND j.plugin = g.p AND j.kind = g.k
                ORDER BY j.queue, j.tenant_id, j.plugin, j.kind, j.priority, j.run_at, j.seq
                LIMIT w.n FOR NO KEY UPDATE OF j SKIP LOCKED) c
            ORDER BY c.priority, c.run_at, c.seq LIMIT w.n) p
        WHERE set_config('synchronous_commit', 'off', true) = 'off'
    )
    UPDATE jobs j SET state = 'running', run_lease = j.run_lease + 1, attempt = j.attempt + 1, worker = $2,
        leased_until = statement_timestamp() + $3 * interval '1 second',
        started_at = $4, updated_at = $4
    WHERE j.ctid = ANY (ARRAY(SELECT p.place FROM picked p))",
    claimed!()
);

/// Lease jobs for this worker.
pub async fn claim(tx: &mut PlatformTx, lease: Lease, wanted: &[Want], now: Timestamp) -> Result<Vec<Claimed>> {
    if tx.conn.is_postgres() {
        let list: Json = wanted
            .iter()
            .map(|w| {
                let groups: Json = w.groups.iter().map(|(plugin, kind)| json!({ "p": plugin, "k": kind })).collect();
                json!({ "q": w.queue.as_str(), "t": w.tenant.0.to_string(), "n": w.count, "g": groups })
            })
            .collect();
        return tx.fetch_all(CLAIM_POSTGRES, params![list, lease.worker, lease.length.as_secs_f64(), now]).await;
    }
    let mut all = Vec::new();
    for w in wanted {
        let mut found: Vec<(i64, Timestamp, i64)> = Vec::new();
        for (plugin, kind) in &w.groups {
            let first: Vec<(i64, Timestamp, i64)> = tx
                .fetch_all(
                    concat!(
                        "SELECT priority, run_at, seq FROM jobs
                         WHERE state = 'ready' AND queue = $1 AND tenant_id = $2 AND plugin = $3 AND kind = $4 AND ",
                        may_run!("$1", "$2", "$3", "$4"),
                        " ORDER BY priority, run_at, seq LIMIT $5"
                    ),
                    params![w.queue.as_str(), w.tenant, plugin, kind, w.count],
                )
                .await?;
            found.extend(first);
        }
        found.sort_unstable();
        all.extend(found.into_iter().take(w.count as usize).map(|(_, _, seq)| seq));
    }
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let sql = claim_sqlite!("seq IN (SELECT value FROM json_each($1))");
    tx.fetch_all(sql, params![json!(all), lease.worker, now + lease.length, now]).await
}

macro_rules! first_suspect {
    ($place:literal, $lock:literal) => {
        concat!(
            "SELECT ",
            $place,
            " FROM jobs s WHERE s.state = 'scheduled' AND s.is_suspect AND s.run_at <= $1 AND ",
            may_run!("s.queue", "s.tenant_id", "s.plugin", "s.kind"),
            " ORDER BY s.crashes_alone, s.run_at, s.seq LIMIT 1",
            $lock
        )
    };
}

/// Lease the next job that is suspected of taking workers down, those that were blamed least
/// first; none where none is due.
pub async fn claim_suspect(tx: &mut PlatformTx, lease: Lease, now: Timestamp) -> Result<Option<Claimed>> {
    if tx.conn.is_postgres() {
        let sql = concat!(
            "UPDATE jobs j SET state = 'running', run_lease = j.run_lease + 1, attempt = j.attempt + 1, worker = $2,
                leased_until = statement_timestamp() + $3 * interval '1 second', started_at = $1, updated_at = $1
             WHERE j.ctid = ANY (ARRAY(",
            first_suspect!("s.ctid", " FOR NO KEY UPDATE OF s SKIP LOCKED"),
            "))",
            claimed!()
        );
        return tx.fetch_optional(sql, params![now, lease.worker, lease.length.as_secs_f64()]).await;
    }
    let sql = concat!(first_suspect!("s.seq", ""));
    let first: Option<(i64,)> = tx.fetch_optional(sql, params![now]).await?;
    let Some((seq,)) = first else { return Ok(None) };
    let sql = claim_sqlite!("seq = $1");
    tx.fetch_optional(sql, params![seq, lease.worker, now + lease.length, now]).await
}

/// Whether a suspect is due; asked without leasing it.
pub async fn has_suspect(tx: &mut PlatformTx, now: Timestamp) -> Result<bool> {
    let row: Option<(i64,)> = tx.fetch_optional(first_suspect!("s.seq", ""), params![now]).await?;
    Ok(row.is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use sqlx::{Connection, SqliteConnection};

    use super::GROUPS_SQLITE;
    use crate::migrate;

    /// Steps of SQLite's machine counted as one.
    const STEP: i32 = 20;

    /// What a look costs while so many jobs of each of two groups wait.
    async fn steps_of_a_look(jobs: u32) -> u64 {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate::sqlite().run(&mut conn).await.unwrap();
        let tenant = "INSERT INTO tenants (id, name, slug, status, plan, settings, created_at, updated_at)
             VALUES (x'01', 'a', 'a', 'active', 'standard', '{}', '', '')";
        sqlx::query(tenant).execute(&mut conn).await.unwrap();
        for kind in ["one", "two"] {
            let waiting = "WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < $1)
                 INSERT INTO jobs (tenant_id, id, kind, plugin, payload, state, run_at, attempt, attempts_max, crashes, run_lease,
                     root_id, depth, created_at, updated_at)
                 SELECT x'01', randomblob(16), $2, 'core', '{}', 'ready', '', 0, 1, 0, 0, x'02', 0, '', '' FROM n";
            sqlx::query(waiting).bind(jobs).bind(kind).execute(&mut conn).await.unwrap();
        }
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        conn.lock_handle().await.unwrap().set_progress_handler(STEP, move || {
            counted.fetch_add(1, Ordering::Relaxed);
            true
        });
        let from = r#"[{"q":"default","t":"00","p":"","k":""}]"#;
        let groups = sqlx::query(GROUPS_SQLITE).bind(from).bind(300).fetch_all(&mut conn).await.unwrap();
        assert_eq!(groups.len(), 2);
        steps.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_look_on_the_embedded_database_costs_the_same_however_many_jobs_wait_in_a_group() {
        let (few, many) = (steps_of_a_look(10).await, steps_of_a_look(5_000).await);
        assert!(few > 0 && many <= few + 1, "{few} steps with ten jobs of a group, {many} with 5,000");
    }
}
