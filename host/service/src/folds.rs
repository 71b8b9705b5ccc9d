//! Makes what a newer host stores beside texts for those that an older one stored: folded copies, by
//! which searches compare, and the one form of addresses.

use std::sync::Arc;

use purlin_domain::{id::UserId, text};
use purlin_store::{
    TenantTx, folds,
    jobs::{self, Claimed, Outcome},
    users,
};
use uuid::Uuid;

use crate::{Platform, Result};

/// The kind of the job that does it; migrations enqueue one for each tenant.
pub(crate) const KIND: &str = "fold_texts";
/// Rows of one transaction.
const AT_ONCE: u32 = 200;

/// Do it, bit by bit; whether the claim still held.
pub(crate) async fn run(platform: &Arc<Platform>, claimed: &Claimed) -> Result<bool> {
    let mut after = Some(UserId(Uuid::nil()));
    while let Some(user) = after {
        let mut tx = platform.db.write(claimed.tenant_id).await?;
        after = correct_addresses(platform, &mut tx, user).await?;
        if !go_on(platform, tx, claimed).await? {
            return Ok(false);
        }
    }
    for table in &folds::TABLES {
        let mut after = Some(Uuid::nil());
        while let Some(row) = after {
            let mut tx = platform.db.write(claimed.tenant_id).await?;
            after = folds::fill(&mut tx, table, row, AT_ONCE).await?;
            if !go_on(platform, tx, claimed).await? {
                return Ok(false);
            }
        }
    }
    let mut after = Some((String::new(), String::new(), Uuid::nil()));
    while let Some(place) = after {
        let mut tx = platform.db.write(claimed.tenant_id).await?;
        after = folds::fill_records(&mut tx, &place, AT_ONCE).await?;
        if !go_on(platform, tx, claimed).await? {
            return Ok(false);
        }
    }
    let mut tx = platform.db.write(claimed.tenant_id).await?;
    let done = Outcome::Succeeded { result: None, progress: None };
    let held = jobs::finish(&mut tx, claimed.fence(), claimed.ordering_key.as_deref(), &done, platform.now()).await?;
    tx.commit().await?;
    Ok(held)
}

/// Commit a part, if the claim still holds.
async fn go_on(platform: &Platform, mut tx: TenantTx, claimed: &Claimed) -> Result<bool> {
    let held = jobs::tell_progress(&mut tx, claimed.fence(), 0, None, platform.now()).await?;
    if held {
        tx.commit().await?;
    }
    Ok(held)
}

/// Give accounts after this one the address by which they are found now; the last that was looked at.
async fn correct_addresses(platform: &Platform, tx: &mut TenantTx, after: UserId) -> Result<Option<UserId>> {
    let found = users::addresses_beyond_ascii(tx, after, AT_ONCE).await?;
    for (id, address) in &found {
        let Some(form) = text::email(address).filter(|form| form != address) else { continue };
        if !users::correct_email(tx, *id, &form, platform.now()).await? {
            tracing::warn!(user = %id, "two accounts have one address, written in two ways");
        }
    }
    Ok(found.last().map(|(id, _)| *id))
}
