//! How a run ends: fenced by its lease, together with what it did.

use purlin_domain::{Json, Timestamp, id::JobId, id::TenantId};
use serde_json::json;
use uuid::Uuid;

use crate::{PlatformTx, Result, TenantTx, postgres, value::params};

/// Which job, under which claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub run_lease: i64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is done.
    Succeeded {
        /// What it returned.
        result: Option<Json>,
        /// What it last said of its progress.
        progress: Option<(i64, Option<String>)>,
    },
    /// It was cancelled while it ran.
    Cancelled,
    /// It failed and is to run again.
    Retry {
        /// When.
        run_at: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// It could not run now; this was no attempt.
    Released {
        /// When to look again.
        run_at: Timestamp,
    },
    /// It failed for good.
    Dead {
        /// Why.
        error: String,
    },
}

/// What history keeps of a job; what its end says is `$4` to `$9`.
macro_rules! ended {
    ($from:literal) => {
        concat!(
            "INSERT INTO job_history (tenant_id, id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max,
                crashes, run_lease, last_error, result, progress, progress_message, event_id, unique_key, ordering_key,
                schedule_id, webhook_id, caused_by, root_id, depth, started_at, finished_at, created_at, updated_at)
             SELECT tenant_id, id, kind, plugin, payload, $4, queue, priority, run_at, attempt, attempts_max, crashes, run_lease,
                $5, $6, coalesce($7, progress), coalesce($8, progress_message), event_id, unique_key, ordering_key, schedule_id,
                webhook_id, caused_by, root_id, depth, started_at, $9, created_at, $9
             FROM ",
            $from
        )
    };
}

/// Write how a run ended, if the claim still holds; whether it does. Without it the
/// caller must let its transaction go: somebody else has the job now.
///
/// `lane` is the job's ordering key: once the job is out of the way, whoever is next there
/// may run.
pub async fn finish(
    tx: &mut TenantTx,
    fence: Fence,
    lane: Option<&str>,
    outcome: &Outcome,
    now: Timestamp,
) -> Result<bool> {
    #[cfg(feature = "mutants")]
    if crate::mutants::is_unfenced() {
        return unfenced(tx, fence, now).await;
    }
    let moves_on = matches!(outcome, Outcome::Succeeded { .. } | Outcome::Cancelled | Outcome::Dead { .. });
    let lane = lane.filter(|_| moves_on);
    if let Some(key) = lane {
        postgres::hold_lanes(tx, &[key], true).await?;
    }
    let held = match outcome {
        Outcome::Succeeded { result, progress } => {
            let (percent, message) = progress.clone().map_or((None, None), |(percent, message)| (Some(percent), message));
            end(tx, fence, "succeeded", None, result.clone(), (percent, message), now).await?
        }
        Outcome::Cancelled => {
            end(tx, fence, "cancelled", Some("cancelled while it ran"), None, (None, None), now).await?
        }
        Outcome::Retry { run_at, error } => {
            tx.execute(
                "UPDATE jobs SET state = CASE WHEN $5 <= $4 THEN 'ready' ELSE 'scheduled' END, run_at = $5, updated_at = $4,
                    leased_until = NULL, worker = NULL, last_error = $6
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
                params![fence.job, fence.run_lease, now, *run_at, error],
            )
            .await?
                == 1
        }
        Outcome::Released { run_at } => {
            tx.execute(
                "UPDATE jobs SET state = CASE WHEN $5 <= $4 THEN 'ready' ELSE 'scheduled' END, attempt = attempt - 1,
                    run_at = $5, updated_at = $4, leased_until = NULL, worker = NULL
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
                params![fence.job, fence.run_lease, now, *run_at],
            )
            .await?
                == 1
        }
        Outcome::Dead { error } => {
            tx.execute(
                "UPDATE jobs SET state = 'dead', finished_at = $4, updated_at = $4, leased_until = NULL, worker = NULL, last_error = $5
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
                params![fence.job, fence.run_lease, now, error],
            )
            .await?
                == 1
        }
    };
    if let Some(key) = lane.filter(|_| held) {
        open_lane(tx, key, now).await?;
    }
    Ok(held)
}

/// For tests of the tests: as it would be without the fence.
#[cfg(feature = "mutants")]
async fn unfenced(tx: &mut TenantTx, fence: Fence, now: Timestamp) -> Result<bool> {
    let (lease,): (i64,) = tx
        .fetch_one("SELECT coalesce(max(run_lease), 0) FROM jobs WHERE tenant_id = $1 AND id = $2", params![fence.job])
        .await?;
    let current = Fence { run_lease: lease, ..fence };
    end(tx, current, "succeeded", None, None, (None, None), now).await?;
    Ok(true)
}

async fn end(
    tx: &mut TenantTx,
    fence: Fence,
    state: &str,
    error: Option<&str>,
    result: Option<Json>,
    (percent, message): (Option<i64>, Option<String>),
    now: Timestamp,
) -> Result<bool> {
    let values = params![fence.job, fence.run_lease, state, error.map(str::to_owned), result, percent, message, now];
    if tx.conn.is_postgres() {
        let sql = concat!(
            "WITH done AS (
                DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running' RETURNING *
            ) ",
            ended!("done")
        );
        return Ok(tx.execute(sql, values).await? == 1);
    }
    let sql = ended!("jobs WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'");
    if tx.execute(sql, values).await? == 0 {
        return Ok(false);
    }
    let gone = tx
        .execute(
            "DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
            params![fence.job, fence.run_lease],
        )
        .await?;
    Ok(gone == 1)
}

/// Let the next job of a lane run, unless one that is before it is still there.
pub(super) async fn open_lane(tx: &mut TenantTx, key: &str, now: Timestamp) -> Result<()> {
    tx.execute(OPEN_LANE, params![key, now]).await?;
    Ok(())
}

/// The same for a lane whose head was taken away in another transaction.
pub async fn reopen_lane(tx: &mut TenantTx, key: &str, now: Timestamp) -> Result<()> {
    postgres::hold_lanes(tx, &[key], true).await?;
    open_lane(tx, key, now).await
}

const OPEN_LANE: &str = "UPDATE jobs SET state = CASE WHEN run_at <= $3 THEN 'ready' ELSE 'scheduled' END, updated_at = $3
     WHERE tenant_id = $1 AND state = 'waiting' AND id = (
        SELECT n.id FROM jobs n WHERE n.tenant_id = $1 AND n.ordering_key = $2 AND n.state = 'waiting' ORDER BY n.seq LIMIT 1)
     AND NOT EXISTS (
        SELECT 1 FROM jobs h WHERE h.tenant_id = $1 AND h.ordering_key = $2
          AND (h.state IN ('scheduled', 'ready', 'running') OR (h.state = 'dead' AND h.blocks_lane)))";

/// A run that did nothing but end well.
#[derive(Clone, Debug)]
pub struct Done {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its claim.
    pub fence: Fence,
    /// What it returned.
    pub result: Option<Json>,
}

/// Write the end of many runs at once, of whichever tenants; those whose claim still held.
/// None of them may have an ordering key.
pub async fn finish_many(tx: &mut PlatformTx, done: &[Done], now: Timestamp) -> Result<Vec<JobId>> {
    let ids: Vec<(Uuid,)> = if tx.conn.is_postgres() {
        let leases = super::claim::leases(done.iter().map(|d| &d.fence));
        let returned = done.iter().filter_map(|d| Some((d.fence.job.to_string(), d.result.clone()?)));
        tx.fetch_all(FINISH_MANY_POSTGRES, params![leases, now, Json::Object(returned.collect())]).await?
    } else {
        let list: Json = done
            .iter()
            .map(|d| {
                json!({ "t": d.tenant.0.simple().to_string(), "j": d.fence.job.0.simple().to_string(), "l": d.fence.run_lease, "r": d.result })
            })
            .collect();
        tx.execute(ARCHIVE_MANY_SQLITE, params![&list, now]).await?;
        tx.fetch_all(DELETE_MANY_SQLITE, params![list]).await?
    };
    Ok(ids.into_iter().map(|(id,)| JobId(id)).collect())
}

macro_rules! archive_many {
    ($result:literal, $from:literal) => {
        concat!(
            "INSERT INTO job_history (tenant_id, id, kind, plugin, payload, state, queue, priority, run_at, attempt, attempts_max,
                crashes, run_lease, last_error, result, progress, progress_message, event_id, unique_key, ordering_key,
                schedule_id, webhook_id, caused_by, root_id, depth, started_at, finished_at, created_at, updated_at)
             SELECT d.tenant_id, d.id, d.kind, d.plugin, d.payload, 'succeeded', d.queue, d.priority, d.run_at, d.attempt,
                d.attempts_max, d.crashes, d.run_lease, NULL, ",
            $result,
            ", d.progress, d.progress_message, d.event_id, d.unique_key, NULL, d.schedule_id, d.webhook_id, d.caused_by, d.root_id,
                d.depth, d.started_at, $2, d.created_at, $2
             FROM ",
            $from
        )
    };
}

const FINISH_MANY_POSTGRES: &str = concat!(
    "WITH done AS (
        DELETE FROM jobs j WHERE j.id = ANY (ARRAY(SELECT CAST(k.id AS uuid) FROM jsonb_object_keys($1) AS k(id)))
            AND j.run_lease = CAST($1->>CAST(j.id AS text) AS bigint) AND j.state = 'running' AND j.ordering_key IS NULL
        RETURNING j.*
    ) ",
    archive_many!("$3->CAST(d.id AS text)", "done d"),
    " RETURNING id"
);
const ARCHIVE_MANY_SQLITE: &str = archive_many!(
    "CASE WHEN json_type(w.value, '$.r') = 'null' THEN NULL ELSE w.value->'r' END",
    "json_each($1) w CROSS JOIN jobs d ON d.tenant_id = unhex(w.value->>'t') AND d.id = unhex(w.value->>'j')
        AND d.run_lease = w.value->>'l' AND d.state = 'running' AND d.ordering_key IS NULL"
);
const DELETE_MANY_SQLITE: &str = "DELETE FROM jobs WHERE seq IN (
        SELECT d.seq FROM json_each($1) w CROSS JOIN jobs d ON d.tenant_id = unhex(w.value->>'t') AND d.id = unhex(w.value->>'j')
            AND d.run_lease = w.value->>'l' AND d.state = 'running' AND d.ordering_key IS NULL)
     RETURNING id";

/// Tell how far a running job is; whether the claim still holds.
pub async fn tell_progress(
    tx: &mut TenantTx,
    fence: Fence,
    percent: i64,
    message: Option<String>,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .execute(
            "UPDATE jobs SET progress = $4, progress_message = $5, updated_at = $6
             WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND state = 'running'",
            params![fence.job, fence.run_lease, percent, message, now],
        )
        .await?;
    Ok(changed == 1)
}
