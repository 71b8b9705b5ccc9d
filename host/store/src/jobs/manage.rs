//! What people do with jobs: cancel, run again, discard; and what time does.

use purlin_domain::{Json, Timestamp, id::JobId, job::Queue};
use sqlx::FromRow;
use uuid::Uuid;

use super::{finish::open_lane, history::history};
use crate::{PlatformTx, Result, TenantTx, postgres, value::params};

/// Take back a job that waits, if it is of this plugin, where one is given; whether it did.
/// Whoever waits behind it may run.
pub async fn cancel(tx: &mut TenantTx, id: JobId, plugin: Option<&str>, now: Timestamp) -> Result<bool> {
    let lane = hold_lane_of(tx, id).await?;
    let plugin = plugin.map(str::to_owned);
    let gone = if tx.conn.is_postgres() {
        let sql = concat!(
            "WITH d AS (DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND state IN ('scheduled', 'waiting', 'ready')
                AND ($4 IS NULL OR plugin = $4) RETURNING *) ",
            history!("'cancelled'", "d.last_error", "NULL", "d.progress", "d.progress_message", "$3"),
            "d"
        );
        tx.execute(sql, params![id, now, plugin]).await? == 1
    } else {
        let sql = concat!(
            history!("'cancelled'", "d.last_error", "NULL", "d.progress", "d.progress_message", "$3"),
            "jobs d WHERE d.tenant_id = $1 AND d.id = $2 AND d.state IN ('scheduled', 'waiting', 'ready')
                AND ($4 IS NULL OR d.plugin = $4)"
        );
        tx.execute(sql, params![id, now, plugin]).await? == 1
            && tx
                .execute(
                    "DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND state IN ('scheduled', 'waiting', 'ready')",
                    params![id],
                )
                .await?
                == 1
    };
    if let Some(key) = lane.filter(|_| gone) {
        open_lane(tx, &key, now).await?;
    }
    Ok(gone)
}

/// Ask that a running job be stopped; whether it runs.
pub async fn request_cancel(tx: &mut TenantTx, id: JobId, now: Timestamp) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE jobs SET cancel_at = $3, updated_at = $3 WHERE tenant_id = $1 AND id = $2 AND state = 'running'",
            params![id, now],
        )
        .await?;
    Ok(changed == 1)
}

/// Run a dead letter again, with all its attempts before it; whether it was one.
pub async fn retry(tx: &mut TenantTx, id: JobId, now: Timestamp) -> Result<bool> {
    Ok(revive(tx, &[id], now).await? == 1)
}

/// Which dead letters.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Of this kind.
    pub kind: Option<String>,
    /// Of this plugin.
    pub plugin: Option<String>,
    /// For this webhook.
    pub webhook: Option<Uuid>,
    /// That ended at this instant or later.
    pub since: Option<Timestamp>,
}

/// Run dead letters again, the oldest first, so many at most; how many.
pub async fn retry_many(tx: &mut TenantTx, which: &Selection, most: u32, now: Timestamp) -> Result<u64> {
    let ids: Vec<(Uuid,)> = tx
        .fetch_all(
            "SELECT id FROM jobs WHERE tenant_id = $1 AND state = 'dead'
                AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR plugin = $3) AND ($4 IS NULL OR webhook_id = $4)
                AND ($5 IS NULL OR finished_at >= $5)
             ORDER BY finished_at, id LIMIT $6",
            params![which.kind.clone(), which.plugin.clone(), which.webhook, which.since, most],
        )
        .await?;
    let ids: Vec<JobId> = ids.into_iter().map(|(id,)| JobId(id)).collect();
    revive(tx, &ids, now).await
}

/// One by one: a job whose unique key is taken by now stays where it is, and does not keep
/// the others from running.
async fn revive(tx: &mut TenantTx, ids: &[JobId], now: Timestamp) -> Result<u64> {
    let mut revived = 0;
    for id in ids {
        let lane = hold_lane_of(tx, *id).await?;
        revived += tx
            .execute(
                "UPDATE jobs SET run_at = $3, attempt = 0, crashes = 0, crashes_alone = 0, is_suspect = false, finished_at = NULL, updated_at = $3, cancel_at = NULL,
                    state = CASE WHEN ordering_key IS NULL OR blocks_lane THEN 'ready' ELSE 'waiting' END
                 WHERE tenant_id = $1 AND id = $2 AND state = 'dead' AND (unique_key IS NULL OR NOT EXISTS (
                    SELECT 1 FROM jobs o WHERE o.tenant_id = $1 AND o.kind = jobs.kind AND o.unique_key = jobs.unique_key
                        AND o.state <> 'dead'))",
                params![*id, now],
            )
            .await?;
        if let Some(key) = lane {
            open_lane(tx, &key, now).await?;
        }
    }
    Ok(revived)
}

/// Throw a dead letter away; whether it was one. Those it blocked may run.
pub async fn discard(tx: &mut TenantTx, id: JobId, now: Timestamp) -> Result<bool> {
    let lane = hold_lane_of(tx, id).await?;
    let gone =
        tx.execute("DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND state = 'dead'", params![id]).await? == 1;
    if let Some(key) = lane.filter(|_| gone) {
        open_lane(tx, &key, now).await?;
    }
    Ok(gone)
}

/// The lane of a job, held against whoever adds to it.
async fn hold_lane_of(tx: &mut TenantTx, id: JobId) -> Result<Option<String>> {
    let row: Option<(Option<String>,)> =
        tx.fetch_optional("SELECT ordering_key FROM jobs WHERE tenant_id = $1 AND id = $2", params![id]).await?;
    let lane = row.and_then(|(key,)| key);
    if let Some(key) = &lane {
        postgres::hold_lanes(tx, &[key], true).await?;
    }
    Ok(lane)
}

/// Forget jobs that ended well, or were taken back, before this; how many went.
pub async fn delete_finished_before(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM job_history WHERE finished_at < $1", params![cutoff]).await
}

/// Forget dead letters that nobody looked after since; those that others wait for stay.
pub async fn delete_dead_before(tx: &mut PlatformTx, cutoff: Timestamp) -> Result<u64> {
    tx.execute(
        "DELETE FROM jobs WHERE state = 'dead' AND finished_at < $1 AND NOT (blocks_lane AND ordering_key IS NOT NULL)",
        params![cutoff],
    )
    .await
}

/// The job at the head of a lane, and its state.
pub async fn head_of_lane(tx: &mut TenantTx, key: &str) -> Result<Option<(Uuid, String)>> {
    tx.fetch_optional(
        "SELECT id, state FROM jobs WHERE tenant_id = $1 AND ordering_key = $2 AND state <> 'waiting' ORDER BY seq LIMIT 1",
        params![key],
    )
    .await
}

/// How many ready jobs of the tenant come before one with this priority, time and id in its
/// queue, counted up to 10,000.
pub async fn ahead(tx: &mut TenantTx, queue: Queue, priority: i64, run_at: Timestamp, id: JobId) -> Result<i64> {
    let (count,): (i64,) = tx
        .fetch_one(
            "SELECT count(*) FROM (SELECT 1 FROM jobs WHERE tenant_id = $1 AND state = 'ready' AND queue = $2
                AND (priority, run_at, id) < ($3, $4, $5) LIMIT 10000) a",
            params![queue.as_str(), priority, run_at, id],
        )
        .await?;
    Ok(count)
}

/// How many jobs there are of a sort.
#[derive(Clone, Debug, FromRow)]
pub struct Census {
    /// Their queue.
    pub queue: String,
    /// Their kind.
    pub kind: String,
    /// The plan of their tenants.
    pub plan: String,
    /// Their state.
    pub state: String,
    /// How many.
    pub jobs: i64,
    /// Since when the first of them is due.
    pub oldest: Timestamp,
}

/// How many jobs are to be done, of which sort.
pub async fn census(tx: &mut PlatformTx) -> Result<Vec<Census>> {
    if tx.conn.is_postgres() {
        // All of the table, in the order it lies in: it may be taken for empty, and looked
        // through in another one and sorted.
        let plan = "SELECT set_config('enable_indexscan', 'off', true), set_config('enable_sort', 'off', true)";
        tx.execute(plan, Vec::new()).await?;
    }
    tx.fetch_all(
        "SELECT j.queue, j.kind, t.plan, j.state, CAST(sum(j.jobs) AS bigint) AS jobs, min(j.oldest) AS oldest
         FROM (SELECT tenant_id, queue, kind, state, count(*) AS jobs, min(run_at) AS oldest FROM jobs
             GROUP BY tenant_id, queue, kind, state) j
         JOIN tenants t ON t.id = j.tenant_id GROUP BY j.queue, j.kind, t.plan, j.state",
        Vec::new(),
    )
    .await
}

/// Empty what is kept of jobs of this kind about this subject; the rest of them stays.
pub async fn erase_payloads(tx: &mut TenantTx, kind: &str, subject: &str, payload: &Json) -> Result<()> {
    for sql in [
        "UPDATE jobs SET payload = $4 WHERE tenant_id = $1 AND kind = $2 AND payload->>'subject' = $3 AND state = 'dead'",
        "UPDATE job_history SET payload = $4 WHERE tenant_id = $1 AND kind = $2 AND payload->>'subject' = $3",
    ] {
        tx.execute(sql, params![kind, subject, payload]).await?;
    }
    Ok(())
}
