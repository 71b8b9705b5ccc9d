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

use super::{link, mac};
use crate::{Platform, Result, ServiceError};

/// Between two rounds of chaining.
pub const CHAIN_EVERY: Duration = Duration::from_millis(500);
/// Rows of one transaction.
const ROWS: u32 = 500;
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
        count += chain_tenant(platform, tenant).await?;
    }
    Ok(count)
}

/// The same for one tenant, until none waits or another host is at it.
pub(super) async fn chain_tenant(platform: &Platform, tenant: TenantId) -> Result<u64> {
    let mut count = 0;
    loop {
        let now = platform.now();
        let mut tx = platform.db.platform().await?;
        let Some(mut head) = audit_chain::hold_head(&mut tx, tenant, now).await? else { return Ok(count) };
        let mut links = audit_chain::unchained(&mut tx, tenant, ROWS).await?;
        let rows = links.len();
        if rows == 0 {
            return Ok(count);
        }
        for found in &mut links {
            head.seq += 1;
            // A row from before there was a chain gets its MAC now.
            let mac = found.mac.get_or_insert_with(|| mac(platform, tenant, &found.row));
            head.hash = link(platform, tenant, &head.hash, head.seq, mac);
            (found.seq, found.hash) = (Some(head.seq), Some(head.hash.clone()));
            audit_chain::set_place(&mut tx, tenant, found).await?;
        }
        audit_chain::set_head(&mut tx, tenant, &head, now).await?;
        let checkpoint = sign(platform, tenant, &head, false, now)?;
        audit_chain::insert_checkpoint(&mut tx, tenant, &checkpoint).await?;
        tx.commit().await?;
        platform.keep_checkpoint(tenant, &checkpoint.token);
        count += rows as u64;
        if rows < ROWS as usize {
            return Ok(count);
        }
    }
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
            count += expire_tenant(platform, tenant, now - chrono::TimeDelta::days(i64::from(days))).await?;
        }
    }
    platform.db.drop_audit_partitions(now).await?;
    Ok(count)
}

async fn expire_tenant(platform: &Platform, tenant: TenantId, cutoff: Timestamp) -> Result<u64> {
    let mut tx = platform.db.platform().await?;
    let Some(cut) = audit_chain::last_before(&mut tx, tenant, cutoff).await? else { return Ok(0) };
    let checkpoint = sign(platform, tenant, &cut, true, platform.now())?;
    audit_chain::insert_checkpoint(&mut tx, tenant, &checkpoint).await?;
    let count = audit_chain::delete_through(&mut tx, tenant, cut.seq).await?;
    tx.commit().await?;
    platform.keep_checkpoint(tenant, &checkpoint.token);
    Ok(count)
}
