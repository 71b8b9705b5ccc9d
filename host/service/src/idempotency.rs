//! Requests that name an `Idempotency-Key`: what they were answered is kept in the
//! transaction that did what they asked, and given again to a repetition.

use chrono::TimeDelta;
use purlin_domain::{
    Json, Timestamp,
    principal::{Idempotency, Principal},
};
use purlin_store::{
    StoreError, TenantTx,
    idempotency::{self, Answered},
};
use serde::{Deserialize, Serialize};

use crate::{Platform, Result, ServiceError, secrets::Use};

/// How long an answer is kept.
pub const KEPT: TimeDelta = TimeDelta::hours(24);
/// Characters of a key at most.
pub const KEY_CHARACTERS_MAX: usize = 255;

/// An answer that was given before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The status.
    pub status: u16,
    /// The body; null for none.
    pub body: Json,
}

fn actor(principal: &Principal) -> String {
    format!("{}:{}", principal.actor.kind(), principal.actor.name())
}

/// Digests that only this host can make: the request may hold a password. That of the newest
/// key comes first.
fn digests(platform: &Platform, key: &Idempotency) -> Vec<String> {
    let macs = platform.secrets.macs(Use::Request, &[key.request_hash.as_bytes()]);
    macs.into_iter().map(|mac| blake3::Hash::from_bytes(mac).to_hex().to_string()).collect()
}

fn context(principal: &Principal, key: &str) -> String {
    format!("answer to {} of {} in {}", key, actor(principal), principal.tenant)
}

/// What this principal was answered under this key; refused when it was for another request.
pub async fn find(platform: &Platform, principal: &Principal, key: &Idempotency) -> Result<Option<Replay>> {
    let since = platform.now() - KEPT;
    let mut tx = platform.db.read(principal.tenant).await?;
    let Some(answered) = idempotency::find(&mut tx, &actor(principal), &key.key, since).await? else {
        return Ok(None);
    };
    if !digests(platform, key).contains(&answered.request_hash) {
        return Err(ServiceError::KeyReused);
    }
    let plain = platform.secrets.open(&context(principal, &key.key), &answered.response)?;
    serde_json::from_slice(&plain).map(Some).map_err(ServiceError::internal)
}

/// Keep an answer with what it answers.
pub(crate) async fn keep(
    platform: &Platform,
    tx: &mut TenantTx,
    principal: &Principal,
    key: &Idempotency,
    body: &Json,
    now: Timestamp,
) -> Result<()> {
    let replay = Replay { status: key.status, body: body.clone() };
    let plain = serde_json::to_vec(&replay).map_err(ServiceError::internal)?;
    let response = platform.secrets.seal(&context(principal, &key.key), &plain)?;
    let answered = Answered { request_hash: digests(platform, key).swap_remove(0), response };
    match idempotency::insert(tx, &actor(principal), &key.key, &answered, now, now - KEPT).await {
        Err(StoreError::Taken(_)) => Err(ServiceError::Repeated),
        done => Ok(done?),
    }
}
