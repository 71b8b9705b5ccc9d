//! Giving rows their place in the chain, and signing how far it is.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation, decode, decode_header, encode};
use purlin_domain::{Timestamp, id::TenantId};
use purlin_store::{
    audit_chain::{self, Checkpoint, Head},
    tenants,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{hashes, mac};
use crate::{Platform, Result, ServiceError};

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
    let mut is_first = false;
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
        is_first |= head.seq == 0;
        for found in &mut links {
            head.seq += 1;
            // A row from before there was a chain gets its MAC now; later, one without was not
            // written by a host, and stays without.
            if is_first {
                found.mac.get_or_insert_with(|| mac(platform, tenant, &found.row));
            }
            let mac = found.mac.as_deref().unwrap_or_default();
            head.hash = hashes(platform, tenant, &head.hash, head.seq, mac).swap_remove(0);
            (found.seq, found.hash) = (Some(head.seq), Some(head.hash.clone()));
        }
        audit_chain::set_places(&mut tx, tenant, &links).await?;
        audit_chain::set_head(&mut tx, tenant, &head, now).await?;
        let signed = audit_chain::last_signed(&mut tx, tenant).await?;
        let is_due = signed.is_none_or(|(seq, at)| now - at >= SIGNED_EVERY || head.seq - seq >= SIGNED_ROWS);
        let checkpoint = is_due.then(|| sign(platform, tenant, &head, false, now)).transpose()?;
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

/// Sign the end of the chain, as after it was verified.
pub(super) async fn sign_end(platform: &Platform, tenant: TenantId, end: &Head) -> Result<()> {
    let checkpoint = sign(platform, tenant, end, false, platform.now())?;
    let mut tx = platform.db.platform().await?;
    audit_chain::insert_checkpoint(&mut tx, tenant, &checkpoint).await?;
    tx.commit().await?;
    keep_apart(platform, tenant, &checkpoint).await
}

/// Keep a checkpoint apart from the database instead of the one before it, unless that one
/// is not on the chain any more: then it is the evidence.
async fn keep_apart(platform: &Platform, tenant: TenantId, checkpoint: &Checkpoint) -> Result<()> {
    let kept = platform.checkpoints.newest(tenant).map_err(ServiceError::internal)?;
    if let Some(before) = kept.and_then(|token| read(platform, &token)) {
        let mut tx = platform.db.read(tenant).await?;
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

fn sign(platform: &Platform, tenant: TenantId, at: &Head, cut: bool, now: Timestamp) -> Result<Checkpoint> {
    let iss = platform.settings.issuer.clone();
    let claims = Claims { iss, tenant: tenant.0, seq: at.seq, hash: at.hash.clone(), cut, iat: now.timestamp() };
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
        let Some((last, _)) = plans.last() else { break };
        after = Some(*last);
        for (tenant, plan) in plans {
            let Some(days) = platform.settings.plans.get(&plan).audit_days else { continue };
            let cutoff = now - chrono::TimeDelta::days(i64::from(days));
            match expire_tenant(platform, tenant, cutoff).await {
                Ok(rows) => count += rows,
                // Others do not wait for this one; it is tried again in the next round.
                Err(error) => tracing::warn!(%error, %tenant, "old rows of the audit log could not be deleted"),
            }
        }
    }
    platform.db.drop_audit_partitions(now).await?;
    Ok(count)
}

/// Some thousand rows at a time, each time with a cut of its own.
async fn expire_tenant(platform: &Platform, tenant: TenantId, cutoff: Timestamp) -> Result<u64> {
    let mut count = 0;
    loop {
        let rows = expire_some(platform, tenant, cutoff).await?;
        if rows == 0 {
            return Ok(count);
        }
        count += rows;
    }
}

async fn expire_some(platform: &Platform, tenant: TenantId, cutoff: Timestamp) -> Result<u64> {
    let mut tx = platform.db.platform().await?;
    let Some(cut) = audit_chain::last_before(&mut tx, tenant, cutoff, EXPIRED_ROWS).await? else { return Ok(0) };
    let checkpoint = sign(platform, tenant, &cut, true, platform.now())?;
    audit_chain::insert_checkpoint(&mut tx, tenant, &checkpoint).await?;
    let count = audit_chain::delete_through(&mut tx, tenant, cut.seq).await?;
    tx.commit().await?;
    Ok(count)
}
