//! Sealing anew, under the newest master key, what was sealed under one before it.

use purlin_domain::id::{TenantId, UserId};
use purlin_store::{Db, sealed, tenants};

use super::Secrets;
use crate::{Result, audit, auth, installations, keys, webhooks};

/// What became of the secrets in a database.
#[derive(Debug, Default)]
pub struct Resealed {
    /// How many are sealed anew.
    pub count: u64,
    /// Those that open under none of the keys, and stay as they are.
    pub broken: Vec<String>,
}

impl Resealed {
    /// What is to be written in the place of this, if anything is.
    fn anew(&mut self, secrets: &Secrets, context: String, sealed: &[u8]) -> Option<Vec<u8>> {
        match secrets.reseal(&context, sealed) {
            Ok(anew) => {
                self.count += u64::from(anew.is_some());
                anew
            }
            Err(_) => {
                self.broken.push(context);
                None
            }
        }
    }
}

/// Seal everything in the database anew that is not under the newest key. Answers that are
/// kept for a day for an `Idempotency-Key` stay as they are.
pub async fn reseal(db: &Db, secrets: &Secrets) -> Result<Resealed> {
    let mut done = Resealed { count: keys::reseal(db, secrets).await?, broken: Vec::new() };
    let mut after = None;
    loop {
        let page = tenants::plans(&mut db.platform_read().await?, after).await?;
        let Some(last) = page.last() else { return Ok(done) };
        after = Some(last.id);
        for on_plan in &page {
            audit::vouch_anew(db, secrets, on_plan).await?;
            of_tenant(db, secrets, on_plan.id, &mut done).await?;
        }
    }
}

async fn of_tenant(db: &Db, secrets: &Secrets, tenant: TenantId, done: &mut Resealed) -> Result<()> {
    let mut tx = db.write(tenant).await?;
    for found in sealed::second_factors(&mut tx).await? {
        let context = auth::second_factor_context(tenant, UserId(found.id));
        if let Some(anew) = done.anew(secrets, context, &found.sealed) {
            sealed::set_second_factor(&mut tx, &found, anew).await?;
        }
    }
    for found in sealed::webhooks(&mut tx).await? {
        if let Some(anew) = done.anew(secrets, webhooks::context(tenant, found.id), &found.sealed) {
            sealed::set_webhook(&mut tx, &found, anew).await?;
        }
    }
    for found in sealed::old_webhooks(&mut tx).await? {
        if let Some(anew) = done.anew(secrets, webhooks::context(tenant, found.id), &found.sealed) {
            sealed::set_old_webhook(&mut tx, &found, anew).await?;
        }
    }
    for found in sealed::plugin_secrets(&mut tx).await? {
        let context = installations::secret_context(tenant, &found.plugin, &found.name);
        if let Some(anew) = done.anew(secrets, context, &found.sealed) {
            sealed::set_plugin_secret(&mut tx, &found, anew).await?;
        }
    }
    Ok(tx.commit().await?)
}
