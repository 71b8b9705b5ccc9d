//! Leases: prolonged by whoever runs a job, or taken from whoever died over it.
//!
//! A lease is measured by one clock: that of PostgreSQL, where there are several hosts,
//! and that of the host where there is one. A job runs exactly while `leased_until` is set;
//! statements that look for one job say that, since for its state the database might take
//! the index of all that run for the shorter way.

use std::{collections::HashMap, time::Duration};

use purlin_domain::{
    Json, Timestamp,
    id::{JobId, TenantId},
    job::Queue,
};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use super::{claim::Lease, finish::Fence};
use crate::{PlatformTx, Result, TenantTx, value::params};

/// Claims, for a statement: the tenant `t`, the job `j`, the lease `l`.
pub(super) fn claims(held: &[(TenantId, Fence)]) -> Json {
    held.iter()
        .map(|(tenant, fence)| {
            json!({ "t": tenant.0.simple().to_string(), "j": fence.job.0.simple().to_string(), "l": fence.run_lease })
        })
        .collect()
}

/// Where the rows of claims lie that still hold, one by one along the index of ids.
macro_rules! places {
    ($lock:literal) => {
        concat!(
            "SELECT p.id, p.place FROM jsonb_to_recordset($1) AS w(t uuid, j uuid, l bigint) CROSS JOIN LATERAL (
                SELECT j.id, j.ctid AS place FROM jobs j
                WHERE j.tenant_id = w.t AND j.id = w.j AND j.run_lease = w.l AND j.worker = $2
                    AND j.leased_until IS NOT NULL ",
            $lock,
            ") p"
        )
    };
}
pub(super) use places;

/// Move the end of these leases: those of jobs that really run, so that the lease of any
/// other ends. A lease that was lost is left alone.
pub async fn beat(tx: &mut PlatformTx, lease: Lease, held: &[(TenantId, Fence)], now: Timestamp) -> Result<()> {
    if tx.conn.is_postgres() {
        // One that is being finished at this moment needs no prolonging.
        let sql = concat!(
            "WITH mine AS MATERIALIZED (",
            places!("FOR NO KEY UPDATE OF j SKIP LOCKED"),
            ") UPDATE jobs j SET leased_until = statement_timestamp() + $3 * interval '1 second'
             WHERE j.ctid = ANY (ARRAY(SELECT m.place FROM mine m))"
        );
        tx.execute(sql, params![claims(held), lease.worker, lease.length.as_secs_f64()]).await?;
    } else {
        tx.execute(
            "UPDATE jobs SET leased_until = $3 WHERE seq IN (
                SELECT d.seq FROM json_each($1) w CROSS JOIN jobs d ON d.tenant_id = unhex(w.value->>'t')
                    AND d.id = unhex(w.value->>'j') AND d.run_lease = w.value->>'l' AND d.worker = $2
                    AND d.leased_until IS NOT NULL)",
            params![claims(held), lease.worker, now + lease.length],
        )
        .await?;
    }
    Ok(())
}

/// Jobs that this worker runs and somebody asked to cancel.
pub async fn cancelled_of(tx: &mut PlatformTx, worker: Uuid) -> Result<Vec<JobId>> {
    let ids: Vec<(Uuid,)> = tx
        .fetch_all(
            "SELECT id FROM jobs WHERE state = 'running' AND worker = $1 AND cancel_at IS NOT NULL",
            params![worker],
        )
        .await?;
    Ok(ids.into_iter().map(|(id,)| JobId(id)).collect())
}

/// A job that was taken away from a worker that stopped beating.
#[derive(Clone, Debug, FromRow)]
pub struct Rescued {
    /// Its tenant.
    #[sqlx(try_from = "Uuid")]
    pub tenant_id: TenantId,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    #[sqlx(try_from = "String")]
    pub queue: Queue,
    /// What it is now: `ready`, or `dead` after too many crashes.
    pub state: String,
}

/// The rescue, the same for both databases but for the clock, for how ids are listed, and
/// for the lock: a row that somebody holds is left for the next round rather than waited
/// for. The lease is looked at again in the statement that takes the job.
macro_rules! rescue {
    ($row:literal, $clock:literal, $lock:literal, $gone:literal, $listed:literal) => {
        concat!(
            "WITH gone AS MATERIALIZED (
                SELECT ",
            $row,
            " AS place FROM jobs j WHERE j.state = 'running' AND j.leased_until <= ",
            $clock,
            " AND (j.worker <> $3 OR j.id NOT IN (",
            $listed,
            "$4)))
                LIMIT 1000 ",
            $lock,
            ")
            UPDATE jobs SET
                crashes = crashes + CASE WHEN worker = $3 THEN 0 ELSE 1 END,
                crashes_alone = crashes_alone + CASE WHEN id IN (",
            $listed,
            "$5)) THEN 1 ELSE 0 END,
                is_suspect = is_suspect OR worker <> $3,
                attempt = attempt - 1, leased_until = NULL, worker = NULL, updated_at = $1,
                run_at = CASE WHEN id IN (",
            $listed,
            "$5)) THEN $6 ELSE $1 END,
                last_error = CASE WHEN worker = $3 THEN 'its end could not be written' ELSE 'the worker died while running it' END,
                state = CASE WHEN id IN (",
            $listed,
            "$5)) AND crashes_alone + 1 >= $2 THEN 'dead'
                    WHEN is_suspect OR worker <> $3 THEN 'scheduled' ELSE 'ready' END,
                finished_at = CASE WHEN id IN (",
            $listed,
            "$5)) AND crashes_alone + 1 >= $2 THEN $1 END
            WHERE ",
            $gone,
            " AND leased_until <= ",
            $clock,
            " RETURNING tenant_id, kind, queue, state"
        )
    };
}

/// How long a job that took a worker down alone rests, so that whoever kills the host again and
/// again, for reasons of their own, does not meet the same job each time.
const BLAMED_REST: Duration = Duration::from_secs(5);

/// Take jobs away from workers whose lease ended, 1,000 at a time. A crash does not use up an
/// attempt.
///
/// Whatever a worker had when it died is a suspect from then on: it waits until a worker
/// [claims it](super::claim_suspect) as the only suspect that it runs. A suspect is blamed for the
/// end of its worker only if no other one ran there, and is a dead letter after `crashes_max` such
/// crashes. A run that ends, well or not, clears it.
///
/// Jobs that this worker itself `holds` stay, whatever the clock says; those it let go of
/// without being able to say so are taken back, which is no crash. Lanes that lost their
/// [head](super::headless_lanes) to the dead letters are for the caller to open.
pub async fn rescue(
    tx: &mut PlatformTx,
    own: Uuid,
    holds: &[JobId],
    now: Timestamp,
    crashes_max: i64,
) -> Result<Vec<Rescued>> {
    let sql = if tx.conn.is_postgres() {
        rescue!(
            "j.ctid",
            "statement_timestamp()",
            "FOR NO KEY UPDATE OF j SKIP LOCKED",
            "ctid = ANY (ARRAY(SELECT place FROM gone))",
            "SELECT CAST(value AS uuid) FROM jsonb_array_elements_text("
        )
    } else {
        rescue!("j.seq", "$1", "", "seq IN (SELECT place FROM gone)", "SELECT unhex(value) FROM json_each(")
    };
    let list = |ids: &[JobId]| ids.iter().map(|job| job.0.simple().to_string()).collect::<Json>();
    let blamed = alone(tx, own).await?;
    tx.fetch_all(sql, params![now, crashes_max, own, list(holds), list(&blamed), now + BLAMED_REST]).await
}

/// Suspects that each are the only one that runs on its worker.
async fn alone(tx: &mut PlatformTx, own: Uuid) -> Result<Vec<JobId>> {
    let running: Vec<(Uuid, Uuid)> = tx
        .fetch_all("SELECT worker, id FROM jobs WHERE state = 'running' AND is_suspect AND worker <> $1", params![own])
        .await?;
    let mut of_worker: HashMap<Uuid, Vec<JobId>> = HashMap::new();
    for (worker, id) in running {
        of_worker.entry(worker).or_default().push(JobId(id));
    }
    Ok(of_worker.into_values().filter(|suspects| suspects.len() == 1).flatten().collect())
}

/// Whether a job is suspected of taking workers down.
pub async fn is_suspect(tx: &mut TenantTx, id: JobId) -> Result<bool> {
    let row: Option<(bool,)> =
        tx.fetch_optional("SELECT is_suspect FROM jobs WHERE tenant_id = $1 AND id = $2", params![id]).await?;
    Ok(row.is_some_and(|(is_suspect,)| is_suspect))
}

/// Let every lease run out: whoever held them is gone, since this process alone uses the database.
pub async fn end_all_leases(tx: &mut PlatformTx, now: Timestamp) -> Result<u64> {
    tx.execute("UPDATE jobs SET leased_until = $1 WHERE state = 'running' AND leased_until > $1", params![now]).await
}
