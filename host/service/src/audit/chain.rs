//! Giving rows their place in the chain, and signing how far it is.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, encode};
use purlin_domain::{Json, Timestamp, id::TenantId};
use purlin_store::{
    PlatformTx,
    audit_chain::{self, Checkpoint, Head},
    tenants::{self, OnPlan},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{hashes, macs, plan_macs};
use crate::{Platform, Result, ServiceError, tenants::PLAN_CHANGED};

/// Between two rounds of chaining.
pub const CHAIN_EVERY: Duration = Duration::from_millis(500);
/// Rows of one transaction; where there is one writer, it is not kept for long.
const ROWS: u32 = 500;
const ROWS_EMBEDDED: u32 = 100;
/// A chain that grows is signed this often, or after so many rows.
const SIGNED_EVERY: chrono::TimeDelta = chrono::TimeDelta::seconds(60);
const SIGNED_ROWS: i64 = 1_000;
/// Rows that one cut covers at most.
const EXPIRED_ROWS: i64 = 5_000;
/// The `typ` of a checkpoint.
const TYPE: &str = "audit-checkpoint+jwt";

/// What a checkpoint says, signed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    iss: String,
    pub(super) tenant: Uuid,
    pub(super) seq: i64,
    pub(super) hash: String,
    /// Whether everything up to it was deleted on purpose.
    pub(super) cut: bool,
    /// Of a cut: how many days the plan of the tenant had its rows kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<u32>,
    iat: i64,
}

/// Give every row that has none its place; how many got one. Safe on every host at once.
pub async fn chain(platform: &Platform) -> Result<u64> {
    let waiting = audit_chain::waiting(&mut platform.db.platform_read().await?).await?;
    let mut count = 0;
    for tenant in waiting {
        match chain_tenant(platform, tenant).await {
            Ok(rows) => count += rows,
            // Others do not wait for this one; it is tried again in the next round.
            Err(error) => tracing::warn!(%error, %tenant, "rows of the audit log could not be chained"),
        }
    }
    Ok(count)
}

/// The same for one tenant, until none waits or another host is at it.
pub(super) async fn chain_tenant(platform: &Platform, tenant: TenantId) -> Result<u64> {
    let mut count = 0;
    let most = if platform.db.is_embedded() { ROWS_EMBEDDED } else { ROWS };
    loop {
        let now = platform.now();
        let mut tx = platform.db.platform().await?;
        let Some(mut head) = audit_chain::hold_head(&mut tx, tenant, now).await? else { return Ok(count) };
        let mut links = audit_chain::unchained(&mut tx, tenant, most).await?;
        let rows = links.len();
        if rows == 0 {
            return Ok(count);
        }
        if head.seq == 0 && has_begun(platform, tenant).await? {
            // Begun anew it would vouch for whatever is there now.
            return Err(ServiceError::internal("the audit log has a chain, and its head is gone; verify it"));
        }
        for found in &mut links {
            head.seq += 1;
            // A row without a MAC was not written by a host, and stays without.
            let mac = found.mac.as_deref().unwrap_or_default();
            head.hash = hashes(platform, tenant, &head.hash, head.seq, mac).swap_remove(0);
            (found.seq, found.hash) = (Some(head.seq), Some(head.hash.clone()));
        }
        audit_chain::set_places(&mut tx, tenant, &links).await?;
        audit_chain::set_head(&mut tx, tenant, &head, now).await?;
        let signed = audit_chain::last_signed(&mut tx, tenant).await?;
        let is_due = signed.is_none_or(|(seq, at)| now - at >= SIGNED_EVERY || head.seq - seq >= SIGNED_ROWS);
        let checkpoint = is_due.then(|| sign(platform, tenant, &head, None, now)).transpose()?;
        if let Some(checkpoint) = &checkpoint {
            audit_chain::insert_checkpoint(&mut tx, tenant, checkpoint).await?;
        }
        tx.commit().await?;
        if let Some(checkpoint) = checkpoint {
            keep_apart(platform, tenant, &checkpoint).await?;
        }
        count += rows as u64;
        if rows < most as usize {
            return Ok(count);
        }
    }
}

/// Whether a tenant has, or had, a chain.
async fn has_begun(platform: &Platform, tenant: TenantId) -> Result<bool> {
    let mut tx = platform.db.read(tenant).await?;
    let is_signed = audit_chain::last_cut(&mut tx).await?.is_some()
        || !audit_chain::checkpoints(&mut tx, 0, 1).await?.is_empty()
        || !audit_chain::links(&mut tx, 0, 1).await?.is_empty();
    Ok(is_signed || platform.checkpoints.newest(tenant).map_err(ServiceError::internal)?.is_some())
}

/// Sign the end of the chain, as after it was verified.
pub(super) async fn sign_end(platform: &Platform, tenant: TenantId, end: &Head) -> Result<()> {
    let checkpoint = sign(platform, tenant, end, None, platform.now())?;
    let mut tx = platform.db.platform().await?;
    audit_chain::insert_checkpoint(&mut tx, tenant, &checkpoint).await?;
    tx.commit().await?;
    keep_apart(platform, tenant, &checkpoint).await
}

/// Keep a checkpoint apart from the database instead of the one before it, unless that one
/// is not on the chain any more, or is gone: then that is the evidence.
async fn keep_apart(platform: &Platform, tenant: TenantId, checkpoint: &Checkpoint) -> Result<()> {
    let kept = platform.checkpoints.newest(tenant).map_err(ServiceError::internal)?;
    let mut tx = platform.db.read(tenant).await?;
    let Some(kept) = kept else {
        let first = audit_chain::checkpoints(&mut tx, 0, 2).await?.into_iter().find(|c| c.seq != checkpoint.seq);
        if first.is_some() {
            tracing::error!(%tenant, "the checkpoint of the audit log that was kept apart is gone; verify the log");
            return Ok(());
        }
        platform.keep_checkpoint(tenant, checkpoint.seq, &checkpoint.token);
        return Ok(());
    };
    if let Some(before) = read(platform, &kept) {
        let cut = audit_chain::last_cut(&mut tx).await?.map_or(0, |cut| cut.seq);
        let there = audit_chain::links(&mut tx, before.seq - 1, 1).await?.into_iter().next();
        let holds = before.seq <= cut || there.is_some_and(|link| link.hash.as_ref() == Some(&before.hash));
        if !holds {
            tracing::error!(%tenant, seq = before.seq, "the audit log is not what was signed; verify it");
            return Ok(());
        }
    }
    platform.keep_checkpoint(tenant, checkpoint.seq, &checkpoint.token);
    Ok(())
}

/// Sign a place of the chain; as a cut, where the plan of the tenant keeps what is before it no more.
fn sign(platform: &Platform, tenant: TenantId, at: &Head, days: Option<u32>, now: Timestamp) -> Result<Checkpoint> {
    let iss = platform.settings.issuer.clone();
    let cut = days.is_some();
    let claims = Claims { iss, tenant: tenant.0, seq: at.seq, hash: at.hash.clone(), cut, days, iat: now.timestamp() };
    let (kid, key) = platform.keys.signing(now)?;
    let mut header = Header::new(Algorithm::RS256);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(kid);
    let token = encode(&header, &claims, &key).map_err(ServiceError::internal)?;
    Ok(Checkpoint { seq: at.seq, hash: at.hash.clone(), is_cut: cut, token, created_at: now })
}

/// What a checkpoint says, if this host's keys signed it.
pub(super) fn read(platform: &Platform, token: &str) -> Option<Claims> {
    let header = decode_header(token).ok()?;
    if header.alg != Algorithm::RS256 || header.typ.as_deref() != Some(TYPE) {
        return None;
    }
    let key: DecodingKey = platform.keys.verifying_ever(&header.kid?)?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.set_issuer(&[&platform.settings.issuer]);
    validation.set_required_spec_claims(&["iss"]);
    decode::<Claims>(token, &key, &validation).ok().map(|data| data.claims)
}

/// Delete what the plan of its tenant no longer keeps, after signing where the chain goes
/// on; how many rows went. Months that are empty then are dropped.
pub async fn expire(platform: &Platform) -> Result<u64> {
    let (mut count, mut after, now) = (0, None, platform.now());
    loop {
        let plans = tenants::plans(&mut platform.db.platform_read().await?, after).await?;
        let Some(last) = plans.last() else { break };
        after = Some(last.id);
        for OnPlan { id: tenant, plan, plan_mac } in plans {
            let Some(days) = platform.settings.plans.get(&plan).audit_days else { continue };
            if !plan_mac.is_some_and(|mac| plan_macs(&platform.secrets, tenant, &plan).contains(&mac)) {
                tracing::error!(%tenant, plan, "no host put this tenant on its plan; its audit log is kept");
                continue;
            }
            if !is_told(platform, tenant, &plan).await? {
                tracing::error!(%tenant, plan, "the audit log does not tell of the plan of this tenant; it is kept");
                continue;
            }
            match expire_tenant(platform, tenant, days, now).await {
                Ok(rows) => count += rows,
                // Others do not wait for this one; it is tried again in the next round.
                Err(error) => tracing::error!(%error, %tenant, "old rows of the audit log could not be deleted"),
            }
        }
    }
    platform.db.drop_audit_partitions(now).await?;
    Ok(count)
}

/// Whether the plan is the one that the log tells of last, where it tells of any: a plan that a host
/// vouched for once may be another one's by now.
async fn is_told(platform: &Platform, tenant: TenantId, plan: &str) -> Result<bool> {
    let mut tx = platform.db.platform().await?;
    let Some(told) = audit_chain::newest(&mut tx, tenant, PLAN_CHANGED).await? else { return Ok(true) };
    let is_ours = told.mac.as_ref().is_some_and(|mac| macs(platform, tenant, &told.row).contains(mac));
    Ok(is_ours && told.row.changes.pointer("/plan/after").and_then(Json::as_str) == Some(plan))
}

/// Some thousand rows at a time, each time with a cut of its own.
async fn expire_tenant(platform: &Platform, tenant: TenantId, days: u32, now: Timestamp) -> Result<u64> {
    let mut count = 0;
    loop {
        let rows = expire_some(platform, tenant, days, now).await?;
        if rows == 0 {
            return Ok(count);
        }
        count += rows;
    }
}

async fn expire_some(platform: &Platform, tenant: TenantId, days: u32, now: Timestamp) -> Result<u64> {
    let cutoff = now - chrono::TimeDelta::days(i64::from(days));
    let mut tx = platform.db.platform().await?;
    let Some(cut) = audit_chain::last_before(&mut tx, tenant, cutoff, EXPIRED_ROWS).await? else { return Ok(0) };
    // Read in the transaction that deletes: what is signed for is what goes.
    verify_until(platform, &mut tx, tenant, &cut, cutoff).await?;
    let checkpoint = sign(platform, tenant, &cut, Some(days), now)?;
    audit_chain::insert_checkpoint(&mut tx, tenant, &checkpoint).await?;
    let count = audit_chain::delete_through(&mut tx, tenant, cut.seq).await?;
    tx.commit().await?;
    Ok(count)
}

/// Refuse to cut what is not as hosts wrote it: every row since the last cut must have its MAC, be
/// old enough by what that covers, and follow the one before it; and the checkpoint kept apart must
/// be there, and on the chain.
async fn verify_until(
    platform: &Platform,
    tx: &mut PlatformTx,
    tenant: TenantId,
    cut: &Head,
    cutoff: Timestamp,
) -> Result<()> {
    let wrong =
        |seq: i64, why: &str| Err(ServiceError::Internal(format!("row {seq} of the audit log {why}; verify it")));
    let before = audit_chain::last_cut_of(tx, tenant).await?;
    let (mut seq, mut hash) = match before {
        Some(before) => {
            let claims = read(platform, &before.token);
            if !claims.is_some_and(|c| c.tenant == tenant.0 && c.cut && c.seq == before.seq && c.hash == before.hash) {
                return wrong(before.seq, "was cut, and nobody signed for that");
            }
            (before.seq, before.hash)
        }
        None => (0, String::new()),
    };
    let kept = platform.checkpoints.newest(tenant).map_err(ServiceError::internal)?;
    let kept = kept.and_then(|token| read(platform, &token)).filter(|claims| claims.tenant == tenant.0);
    let Some(kept) = kept else { return wrong(cut.seq, "is old enough to go, but no checkpoint is kept apart") };
    while seq < cut.seq {
        let links = audit_chain::links_of(tx, tenant, seq, ROWS).await?;
        if links.is_empty() {
            return wrong(seq + 1, "is missing");
        }
        for link in links.into_iter().take_while(|link| link.seq <= Some(cut.seq)) {
            let at = seq + 1;
            let is_good = link.mac.as_ref().is_some_and(|mac| macs(platform, tenant, &link.row).contains(mac));
            if link.seq != Some(at) || !is_good || link.row.created_at >= cutoff {
                return wrong(at, "is not what was written");
            }
            let mac = link.mac.unwrap_or_default();
            let follows = link.hash.as_ref().is_some_and(|own| hashes(platform, tenant, &hash, at, &mac).contains(own));
            if !follows {
                return wrong(at, "does not follow the one before it");
            }
            (seq, hash) = (at, link.hash.unwrap_or_default());
            if kept.seq == seq && kept.hash != hash {
                return wrong(at, "is not the one whose checkpoint is kept apart");
            }
        }
    }
    Ok(())
}
