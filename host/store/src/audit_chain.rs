//! The chain over the audit log: rows get their place after their transaction, in the
//! order in which they are found, under a head that one host holds at a time.

use purlin_domain::{Json, Timestamp, id::TenantId};
use serde_json::json;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{PlatformTx, Result, TenantTx, audit::AuditRow, value::params};

/// How far the chain of a tenant is.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Head {
    /// The place of its last row; 0 when there is none.
    pub seq: i64,
    /// The hash of its last row.
    pub hash: String,
}

/// A row with its place in the chain.
#[derive(Clone, Debug, FromRow)]
pub struct Link {
    /// The row.
    #[sqlx(flatten)]
    pub row: AuditRow,
    /// The MAC it was written with; none for rows older than the chain.
    pub mac: Option<String>,
    /// Its place.
    pub seq: Option<i64>,
    /// The hash over everything up to it.
    pub hash: Option<String>,
}

/// What was signed.
#[derive(Clone, Debug, FromRow)]
pub struct Checkpoint {
    /// The place.
    pub seq: i64,
    /// The hash of the row there.
    pub hash: String,
    /// Whether everything up to it was deleted on purpose.
    pub is_cut: bool,
    /// The signature: a JWS.
    pub token: String,
    /// When.
    pub created_at: Timestamp,
}

/// Tenants with rows that have no place yet.
pub async fn waiting(tx: &mut PlatformTx) -> Result<Vec<TenantId>> {
    let rows: Vec<(Uuid,)> =
        tx.fetch_all("SELECT DISTINCT tenant_id FROM audit_log WHERE seq IS NULL LIMIT 1000", Vec::new()).await?;
    Ok(rows.into_iter().map(|(id,)| TenantId(id)).collect())
}

/// The head of a tenant's chain, held until the transaction ends; none when another host
/// holds it. A tenant without one gets one.
pub async fn hold_head(tx: &mut PlatformTx, tenant: TenantId, now: Timestamp) -> Result<Option<Head>> {
    tx.execute(
        "INSERT INTO audit_heads (tenant_id, seq, hash, updated_at) VALUES ($1, 0, '', $2) ON CONFLICT DO NOTHING",
        params![tenant, now],
    )
    .await?;
    let sql = if tx.conn.is_postgres() {
        "SELECT seq, hash FROM audit_heads WHERE tenant_id = $1 FOR UPDATE SKIP LOCKED"
    } else {
        "SELECT seq, hash FROM audit_heads WHERE tenant_id = $1"
    };
    tx.fetch_optional(sql, params![tenant]).await
}

/// Rows that have no place yet, the oldest first.
pub async fn unchained(tx: &mut PlatformTx, tenant: TenantId, count: u32) -> Result<Vec<Link>> {
    tx.fetch_all(
        "SELECT id, actor_kind, actor, on_behalf_of, action, resource_type, resource_id, changes, ip, user_agent,
            request_id, created_at, mac, seq, hash
         FROM audit_log WHERE tenant_id = $1 AND seq IS NULL ORDER BY created_at, id LIMIT $2",
        params![tenant, count],
    )
    .await
}

/// The newest row that tells of this.
pub async fn newest(tx: &mut PlatformTx, tenant: TenantId, action: &str) -> Result<Option<Link>> {
    tx.fetch_optional(
        "SELECT id, actor_kind, actor, on_behalf_of, action, resource_type, resource_id, changes, ip, user_agent,
            request_id, created_at, mac, seq, hash
         FROM audit_log WHERE tenant_id = $1 AND action = $2 ORDER BY created_at DESC, id DESC LIMIT 1",
        params![tenant, action],
    )
    .await
}

/// Give rows their places, where they have none.
pub async fn set_places(tx: &mut PlatformTx, tenant: TenantId, links: &[Link]) -> Result<()> {
    if !tx.conn.is_postgres() {
        // To ask an embedded database often costs little.
        for link in links {
            tx.execute(
                "UPDATE audit_log SET mac = $3, seq = $4, hash = $5 WHERE tenant_id = $1 AND id = $2 AND seq IS NULL",
                params![tenant, link.row.id, link.mac.clone(), link.seq, link.hash.clone()],
            )
            .await?;
        }
        return Ok(());
    }
    let places: Json = links
        .iter()
        .map(|link| json!({ "i": link.row.id.simple().to_string(), "m": link.mac, "s": link.seq, "h": link.hash }))
        .collect();
    let times = || links.iter().map(|link| link.row.created_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
    tx.execute(
        "UPDATE audit_log a SET mac = p.m, seq = p.s, hash = p.h
         FROM jsonb_to_recordset($2) AS p(i uuid, m text, s bigint, h text)
         WHERE a.tenant_id = $1 AND a.id = p.i AND a.created_at BETWEEN $3 AND $4 AND a.seq IS NULL",
        params![tenant, places, first, last],
    )
    .await?;
    Ok(())
}

/// Move the head.
pub async fn set_head(tx: &mut PlatformTx, tenant: TenantId, head: &Head, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE audit_heads SET seq = $2, hash = $3, updated_at = $4 WHERE tenant_id = $1",
        params![tenant, head.seq, &head.hash, now],
    )
    .await?;
    Ok(())
}

/// Add a checkpoint; one that is there already stays.
pub async fn insert_checkpoint(tx: &mut PlatformTx, tenant: TenantId, checkpoint: &Checkpoint) -> Result<()> {
    tx.execute(
        "INSERT INTO audit_checkpoints (tenant_id, seq, hash, is_cut, token, created_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT DO NOTHING",
        params![
            tenant,
            checkpoint.seq,
            &checkpoint.hash,
            checkpoint.is_cut,
            &checkpoint.token,
            checkpoint.created_at
        ],
    )
    .await?;
    Ok(())
}

/// The last row of the chain that is older than this, among its first `rows`.
pub async fn last_before(tx: &mut PlatformTx, tenant: TenantId, cutoff: Timestamp, rows: i64) -> Result<Option<Head>> {
    tx.fetch_optional(
        // Up to the first row that is young enough, whatever time a row beyond it claims.
        "SELECT seq, hash FROM audit_log
         WHERE tenant_id = $1 AND created_at < $2 AND seq IS NOT NULL
           AND seq < $3 + (SELECT min(z.seq) FROM audit_log z WHERE z.tenant_id = $1 AND z.seq IS NOT NULL)
           AND seq < coalesce((SELECT min(y.seq) FROM audit_log y WHERE y.tenant_id = $1 AND y.created_at >= $2 AND y.seq IS NOT NULL), 9223372036854775807)
         ORDER BY seq DESC LIMIT 1",
        params![tenant, cutoff, rows],
    )
    .await
}

/// When the chain was signed last, and where; cuts aside.
pub async fn last_signed(tx: &mut PlatformTx, tenant: TenantId) -> Result<Option<(i64, Timestamp)>> {
    tx.fetch_optional(
        "SELECT seq, created_at FROM audit_checkpoints WHERE tenant_id = $1 AND NOT is_cut ORDER BY seq DESC LIMIT 1",
        params![tenant],
    )
    .await
}

/// Delete what a cut covers, with the checkpoints on it; how many rows went.
pub async fn delete_through(tx: &mut PlatformTx, tenant: TenantId, seq: i64) -> Result<u64> {
    tx.execute(
        "DELETE FROM audit_checkpoints WHERE tenant_id = $1 AND (seq < $2 OR (seq = $2 AND NOT is_cut))",
        params![tenant, seq],
    )
    .await?;
    tx.execute("DELETE FROM audit_log WHERE tenant_id = $1 AND seq <= $2", params![tenant, seq]).await
}

/// The head of the tenant's chain.
pub async fn head(tx: &mut TenantTx) -> Result<Option<Head>> {
    tx.fetch_optional("SELECT seq, hash FROM audit_heads WHERE tenant_id = $1", params![]).await
}

/// The tenant's checkpoints in order.
pub async fn checkpoints(tx: &mut TenantTx, after: i64, count: u32) -> Result<Vec<Checkpoint>> {
    tx.fetch_all(
        "SELECT seq, hash, is_cut, token, created_at FROM audit_checkpoints WHERE tenant_id = $1 AND seq > $2
         ORDER BY seq, is_cut LIMIT $3",
        params![after, count],
    )
    .await
}

/// The last cut.
pub async fn last_cut(tx: &mut TenantTx) -> Result<Option<Checkpoint>> {
    tx.fetch_optional(
        "SELECT seq, hash, is_cut, token, created_at FROM audit_checkpoints WHERE tenant_id = $1 AND is_cut
         ORDER BY seq DESC LIMIT 1",
        params![],
    )
    .await
}

/// Rows of the chain in order, after this place.
pub async fn links(tx: &mut TenantTx, after: i64, count: u32) -> Result<Vec<Link>> {
    tx.fetch_all(
        "SELECT id, actor_kind, actor, on_behalf_of, action, resource_type, resource_id, changes, ip, user_agent,
            request_id, created_at, mac, seq, hash
         FROM audit_log WHERE tenant_id = $1 AND seq > $2 ORDER BY seq, id LIMIT $3",
        params![after, count],
    )
    .await
}

/// The last cut of a tenant's chain.
pub async fn last_cut_of(tx: &mut PlatformTx, tenant: TenantId) -> Result<Option<Checkpoint>> {
    tx.fetch_optional(
        "SELECT seq, hash, is_cut, token, created_at FROM audit_checkpoints WHERE tenant_id = $1 AND is_cut
         ORDER BY seq DESC LIMIT 1",
        params![tenant],
    )
    .await
}

/// Rows of a tenant's chain in order, after this place, held until the transaction ends.
pub async fn links_of(tx: &mut PlatformTx, tenant: TenantId, after: i64, count: u32) -> Result<Vec<Link>> {
    macro_rules! links {
        ($lock:literal) => {
            concat!(
                "SELECT id, actor_kind, actor, on_behalf_of, action, resource_type, resource_id, changes, ip, user_agent,
                    request_id, created_at, mac, seq, hash
                 FROM audit_log WHERE tenant_id = $1 AND seq > $2 ORDER BY seq, id LIMIT $3",
                $lock
            )
        };
    }
    let sql = if tx.conn.is_postgres() { links!(" FOR UPDATE") } else { links!("") };
    tx.fetch_all(sql, params![tenant, after, count]).await
}

/// How many rows claim a place that the chain does not have: before its beginning, or beyond
/// its head.
pub async fn count_outside(tx: &mut TenantTx, first_seq: i64) -> Result<i64> {
    let (count,): (i64,) = tx
        .fetch_one(
            "SELECT count(*) FROM audit_log WHERE tenant_id = $1
               AND (seq < $2 OR seq > coalesce((SELECT h.seq FROM audit_heads h WHERE h.tenant_id = $1), 0))",
            params![first_seq],
        )
        .await?;
    Ok(count)
}

/// How many rows wait for their place.
pub async fn count_unchained(tx: &mut TenantTx) -> Result<i64> {
    let (count,): (i64,) =
        tx.fetch_one("SELECT count(*) FROM audit_log WHERE tenant_id = $1 AND seq IS NULL", params![]).await?;
    Ok(count)
}
