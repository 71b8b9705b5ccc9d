//! How a run ends: fenced by its lease, together with what it did.

use std::collections::HashSet;

use purlin_domain::{
    Json, Timestamp,
    id::{JobId, TenantId},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    history::history,
    lease::{claims, places},
};
use crate::{
    PlatformTx, Result, TenantTx, postgres,
    value::{array, params},
};

/// Which job, under which claim.
///
/// The number alone grows with every claim. PostgreSQL may forget the last claims when it
/// crashes, since nobody waits for those to be on disk, and then gives a number again; so
/// the fence names who holds it as well. The same worker may then run a job twice at once,
/// and the second to end finds it gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub run_lease: i64,
    /// Who claimed: a boot of a process.
    pub worker: Uuid,
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
                "UPDATE jobs SET state = CASE WHEN $6 <= $5 THEN 'ready' ELSE 'scheduled' END, run_at = $6, updated_at = $5,
                    leased_until = NULL, worker = NULL, is_suspect = false, last_error = $7
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND worker = $4 AND leased_until IS NOT NULL",
                params![fence.job, fence.run_lease, fence.worker, now, *run_at, error],
            )
            .await?
                == 1
        }
        Outcome::Released { run_at } => {
            tx.execute(
                "UPDATE jobs SET state = CASE WHEN $6 <= $5 AND NOT is_suspect THEN 'ready' ELSE 'scheduled' END, attempt = attempt - 1,
                    run_at = $6, updated_at = $5, leased_until = NULL, worker = NULL
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND worker = $4 AND leased_until IS NOT NULL",
                params![fence.job, fence.run_lease, fence.worker, now, *run_at],
            )
            .await?
                == 1
        }
        Outcome::Dead { error } => {
            tx.execute(
                "UPDATE jobs SET state = 'dead', finished_at = $5, updated_at = $5, leased_until = NULL, worker = NULL,
                    last_error = $6
                 WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND worker = $4 AND leased_until IS NOT NULL",
                params![fence.job, fence.run_lease, fence.worker, now, error],
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
    let current: Option<(i64, Uuid)> = tx
        .fetch_optional(
            "SELECT run_lease, worker FROM jobs WHERE tenant_id = $1 AND id = $2 AND worker IS NOT NULL",
            params![fence.job],
        )
        .await?;
    if let Some((run_lease, worker)) = current {
        let current = Fence { run_lease, worker, ..fence };
        end(tx, current, "succeeded", None, None, (None, None), now).await?;
    }
    Ok(true)
}

/// A run that ended well, with what it did.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Its claim.
    pub fence: Fence,
    /// Where its row lay when it was claimed.
    pub place: &'a str,
    /// Its lane.
    pub lane: Option<&'a str>,
    /// What it returned.
    pub result: Option<&'a Json>,
    /// What it last said of its progress.
    pub progress: Option<&'a (i64, Option<String>)>,
}

/// Write that runs ended well, if all their claims still hold; whether they do. Without it
/// the caller must let its transaction go; it may try again with each of many alone, since
/// a row that was touched meanwhile, as by a beat, lies elsewhere.
pub async fn finish_all(tx: &mut TenantTx, ended: &[Ended<'_>], now: Timestamp) -> Result<bool> {
    let is_alike = |e: &Ended<'_>| e.lane.is_none() && e.progress.is_none();
    #[cfg(feature = "mutants")]
    let is_alike = |e: &Ended<'_>| is_alike(e) && !crate::mutants::is_unfenced();
    if let [first, _, ..] = ended
        && ended.iter().all(|e| is_alike(e) && e.fence.worker == first.fence.worker)
    {
        return end_alike(tx, first.fence.worker, ended, now).await;
    }
    for e in ended {
        let outcome = Outcome::Succeeded { result: e.result.cloned(), progress: e.progress.cloned() };
        if !finish(tx, e.fence, e.lane, &outcome, now).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same for many that differ in what they returned alone.
async fn end_alike(tx: &mut TenantTx, worker: Uuid, ended: &[Ended<'_>], now: Timestamp) -> Result<bool> {
    let count = ended.len() as u64;
    if tx.conn.is_postgres() {
        let places = array(ended.iter().map(|e| e.place));
        let leases = ended.iter().map(|e| (e.fence.job.to_string(), e.fence.run_lease.into()));
        let returned = ended.iter().filter_map(|e| Some((e.fence.job.to_string(), e.result.cloned()?)));
        let (leases, returned) = (Json::Object(leases.collect()), Json::Object(returned.collect()));
        let sql = concat!(
            "WITH d AS (
                DELETE FROM jobs j WHERE j.ctid = ANY (CAST($2 AS tid[])) AND j.tenant_id = $1 AND j.worker = $3
                    AND j.run_lease = CAST($4->>CAST(j.id AS text) AS bigint) AND j.leased_until IS NOT NULL
                RETURNING j.*
            ) ",
            history!("'succeeded'", "NULL", "$5->CAST(d.id AS text)", "d.progress", "d.progress_message", "$6"),
            "d"
        );
        return Ok(tx.execute(sql, params![places, worker, leases, returned, now]).await? == count);
    }
    let claim =
        |e: &Ended<'_>| json!({ "j": e.fence.job.0.simple().to_string(), "l": e.fence.run_lease, "r": e.result });
    let list: Json = ended.iter().map(claim).collect();
    let sql = concat!(
        history!(
            "'succeeded'",
            "NULL",
            "CASE WHEN json_type(w.value, '$.r') = 'null' THEN NULL ELSE w.value->'r' END",
            "d.progress",
            "d.progress_message",
            "$4"
        ),
        "json_each($2) w CROSS JOIN jobs d ON d.tenant_id = $1 AND d.id = unhex(w.value->>'j') AND d.run_lease = w.value->>'l'
            AND d.worker = $3 AND d.leased_until IS NOT NULL"
    );
    if tx.execute(sql, params![&list, worker, now]).await? != count {
        return Ok(false);
    }
    let sql = "DELETE FROM jobs WHERE tenant_id = $1 AND id IN (SELECT unhex(value->>'j') FROM json_each($2))";
    Ok(tx.execute(sql, params![list]).await? == count)
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
    let error = error.map(str::to_owned);
    let values = params![fence.job, fence.run_lease, fence.worker, state, error, result, percent, message, now];
    if tx.conn.is_postgres() {
        let sql = concat!(
            "WITH d AS (DELETE FROM jobs WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND worker = $4
                AND leased_until IS NOT NULL RETURNING *) ",
            history!("$5", "$6", "$7", "coalesce($8, d.progress)", "coalesce($9, d.progress_message)", "$10"),
            "d"
        );
        return Ok(tx.execute(sql, values).await? == 1);
    }
    let sql = concat!(
        history!("$5", "$6", "$7", "coalesce($8, d.progress)", "coalesce($9, d.progress_message)", "$10"),
        "jobs d WHERE d.tenant_id = $1 AND d.id = $2 AND d.run_lease = $3 AND d.worker = $4 AND d.leased_until IS NOT NULL"
    );
    if tx.execute(sql, values).await? == 0 {
        return Ok(false);
    }
    let gone = tx.execute("DELETE FROM jobs WHERE tenant_id = $1 AND id = $2", params![fence.job]).await?;
    Ok(gone == 1)
}

macro_rules! headless {
    () => {
        "SELECT l.tenant_id, l.ordering_key FROM l WHERE NOT EXISTS (
            SELECT 1 FROM jobs h WHERE h.tenant_id = l.tenant_id AND h.ordering_key = l.ordering_key
              AND (h.state IN ('scheduled', 'ready', 'running') OR (h.state = 'dead' AND h.blocks_lane))) LIMIT 1000"
    };
}

/// Let the next job of a lane run, unless one that is before it is still there.
pub(super) async fn open_lane(tx: &mut TenantTx, key: &str, now: Timestamp) -> Result<()> {
    tx.execute(OPEN_LANE, params![key, now]).await?;
    Ok(())
}

/// Jumps from one lane to the next in the index; those of which every job waits for one that
/// is not there.
const HEADLESS_POSTGRES: &str = concat!(
    "WITH RECURSIVE l AS (
        (SELECT j.tenant_id, j.ordering_key FROM jobs j WHERE j.state = 'waiting' ORDER BY j.tenant_id, j.ordering_key LIMIT 1)
        UNION ALL
        SELECT n.tenant_id, n.ordering_key FROM l CROSS JOIN LATERAL (
            SELECT j.tenant_id, j.ordering_key FROM jobs j
            WHERE j.state = 'waiting' AND (j.tenant_id, j.ordering_key) > (l.tenant_id, l.ordering_key)
            ORDER BY j.tenant_id, j.ordering_key LIMIT 1) n
    ) ",
    headless!()
);
/// A row value that no row of the lane reaches, as where the groups that wait are looked for.
const HEADLESS_SQLITE: &str = concat!(
    "WITH RECURSIVE s AS (
        SELECT (SELECT j.seq FROM jobs j WHERE j.state = 'waiting' ORDER BY j.tenant_id, j.ordering_key LIMIT 1) AS seq
        UNION ALL
        SELECT (SELECT j.seq FROM jobs j
            WHERE j.state = 'waiting' AND (j.tenant_id, j.ordering_key, j.seq) > (c.tenant_id, +c.ordering_key, 9223372036854775807)
            ORDER BY j.tenant_id, j.ordering_key LIMIT 1)
        FROM s JOIN jobs c ON c.seq = s.seq
    ), l AS (SELECT c.tenant_id, c.ordering_key FROM s JOIN jobs c ON c.seq = s.seq) ",
    headless!()
);

/// Lanes in which all wait and none may run, since the head was taken away by a rescue; some
/// of them, for the caller to [open](reopen_lane), each under its lock.
pub async fn headless_lanes(tx: &mut PlatformTx) -> Result<Vec<(TenantId, String)>> {
    let sql = if tx.conn.is_postgres() { HEADLESS_POSTGRES } else { HEADLESS_SQLITE };
    let lanes: Vec<(Uuid, String)> = tx.fetch_all(sql, Vec::new()).await?;
    Ok(lanes.into_iter().map(|(tenant, key)| (TenantId(tenant), key)).collect())
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
#[derive(Clone, Copy, Debug)]
pub struct Done<'a> {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its claim.
    pub fence: Fence,
    /// Where its row lay when it was claimed.
    pub place: &'a str,
    /// What it returned.
    pub result: Option<&'a Json>,
}

/// Write the end of many runs of this worker at once, of whichever tenants; those whose
/// claim still held. None of them may have an ordering key.
pub async fn finish_many(
    tx: &mut PlatformTx,
    worker: Uuid,
    done: &[Done<'_>],
    now: Timestamp,
) -> Result<HashSet<JobId>> {
    if !tx.conn.is_postgres() {
        let list: Json = done.iter().map(|d| json!({ "p": d.place, "l": d.fence.run_lease, "r": d.result })).collect();
        tx.execute(ARCHIVE_MANY_SQLITE, params![&list, worker, now]).await?;
        return Ok(ids(tx.fetch_all(DELETE_MANY_SQLITE, params![list, worker]).await?).collect());
    }
    let leases = done.iter().map(|d| (d.fence.job.to_string(), d.fence.run_lease.into()));
    let leases = Json::Object(leases.collect());
    let returned = done.iter().filter_map(|d| Some((d.fence.job.to_string(), d.result?.clone())));
    let returned = Json::Object(returned.collect());
    let places = array(done.iter().map(|d| d.place));
    let rows = tx.fetch_all(FINISH_MANY_POSTGRES, params![places, worker, &leases, &returned, now]).await?;
    let mut ended: HashSet<JobId> = ids(rows).collect();
    // Rows that were touched meanwhile, as by a beat, lie elsewhere now.
    let left: Vec<(TenantId, Fence)> =
        done.iter().filter(|d| !ended.contains(&d.fence.job)).map(|d| (d.tenant, d.fence)).collect();
    if !left.is_empty() {
        let sql = concat!("SELECT CAST(m.place AS text) FROM (", places!("OFFSET 0"), ") m");
        let places: Vec<(String,)> = tx.fetch_all(sql, params![claims(&left), worker]).await?;
        let places = array(places.iter().map(|(place,)| place));
        ended.extend(ids(tx.fetch_all(FINISH_MANY_POSTGRES, params![places, worker, leases, returned, now]).await?));
    }
    Ok(ended)
}

fn ids(rows: Vec<(Uuid,)>) -> impl Iterator<Item = JobId> {
    rows.into_iter().map(|(id,)| JobId(id))
}

const FINISH_MANY_POSTGRES: &str = concat!(
    "WITH d AS (
        DELETE FROM jobs j WHERE j.ctid = ANY (CAST($1 AS tid[])) AND j.worker = $2
            AND j.run_lease = CAST($3->>CAST(j.id AS text) AS bigint)
            AND j.leased_until IS NOT NULL AND j.ordering_key IS NULL
        RETURNING j.*
    ) ",
    history!("'succeeded'", "NULL", "$4->CAST(d.id AS text)", "d.progress", "d.progress_message", "$5"),
    "d RETURNING id"
);
const ARCHIVE_MANY_SQLITE: &str = concat!(
    history!(
        "'succeeded'",
        "NULL",
        "CASE WHEN json_type(w.value, '$.r') = 'null' THEN NULL ELSE w.value->'r' END",
        "d.progress",
        "d.progress_message",
        "$3"
    ),
    "json_each($1) w CROSS JOIN jobs d ON d.seq = CAST(w.value->>'p' AS integer) AND d.run_lease = w.value->>'l'
        AND d.worker = $2 AND d.leased_until IS NOT NULL AND d.ordering_key IS NULL"
);
const DELETE_MANY_SQLITE: &str = "DELETE FROM jobs WHERE seq IN (
        SELECT d.seq FROM json_each($1) w CROSS JOIN jobs d ON d.seq = CAST(w.value->>'p' AS integer)
            AND d.run_lease = w.value->>'l' AND d.worker = $2 AND d.leased_until IS NOT NULL AND d.ordering_key IS NULL)
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
             WHERE tenant_id = $1 AND id = $2 AND run_lease = $3 AND worker = $7 AND leased_until IS NOT NULL",
            params![fence.job, fence.run_lease, percent, message, now, fence.worker],
        )
        .await?;
    Ok(changed == 1)
}
