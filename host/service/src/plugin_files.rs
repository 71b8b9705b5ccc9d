//! Files of plugins, for people; and what no file names, swept away.

use std::{collections::HashMap, io::Read, sync::Arc};

use chrono::TimeDelta;
use purlin_domain::{descriptor::FILES, id::TenantId, principal::Principal};
use purlin_store::{
    installations,
    plugin_files::{self, Stored},
};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::{
    Platform, Result, ServiceError,
    list::{ListPage, ListQuery, Prepared},
    unit::{content_key, forget_contents},
};

/// Content that no file names is left alone for so long: a commit may be about to name it.
const UNNAMED_KEPT: TimeDelta = TimeDelta::days(1);
/// Contents looked at in one round.
const SWEPT_MAX: usize = 10_000;

/// A file's content, and what is known of it.
pub struct Download {
    /// The file.
    pub file: Stored,
    /// Its content.
    pub bytes: Box<dyn Read + Send>,
}

/// A page of a plugin's files.
pub async fn list(
    platform: &Platform,
    principal: &Principal,
    plugin: &str,
    query: &ListQuery,
) -> Result<ListPage<Stored>> {
    let resource = format!("installations/{plugin}/files");
    let prepared = Prepared::new(platform, principal.tenant, &resource, &plugin_files::fields(), query)?;
    let mut tx = platform.db.read(principal.tenant).await?;
    installations::by_plugin(&mut tx, plugin).await?.ok_or(ServiceError::NotFound)?;
    let page = plugin_files::page(&mut tx, plugin, &prepared.slice()).await?;
    Ok(prepared.page(platform, page))
}

/// A file and its content.
pub async fn open(platform: &Arc<Platform>, principal: &Principal, plugin: &str, key: &str) -> Result<Download> {
    let tenant = principal.tenant;
    let mut tx = platform.db.read(tenant).await?;
    let file = plugin_files::by_key(&mut tx, plugin, key).await?.ok_or(ServiceError::NotFound)?;
    drop(tx);
    let (files, content) = (Arc::clone(&platform.files), content_key(file.id));
    let opened = spawn_blocking(move || files.open(tenant, &content)).await.map_err(ServiceError::internal)?;
    // It may have been replaced since it was looked up.
    let (bytes, _) = opened.map_err(|error| ServiceError::Unavailable(error.to_string()))?;
    Ok(Download { file, bytes })
}

/// Delete content that no file names: of commits that did not hold, or hosts that died; how much.
pub(crate) async fn sweep(platform: &Platform) -> Result<u64> {
    let before = platform.now() - UNNAMED_KEPT;
    let files = Arc::clone(&platform.files);
    let found = spawn_blocking(move || files.find_before(FILES, before.into(), SWEPT_MAX))
        .await
        .map_err(ServiceError::internal)?
        .map_err(|error| ServiceError::Internal(format!("files could not be looked through: {error}")))?;
    let mut of_tenants: HashMap<TenantId, Vec<Uuid>> = HashMap::new();
    for (tenant, name) in found {
        of_tenants.entry(tenant).or_default().extend(name.parse::<Uuid>().ok());
    }
    let mut count = 0;
    for (tenant, contents) in of_tenants {
        let named = plugin_files::named(&mut platform.db.platform_read().await?, tenant, &contents).await?;
        let unnamed: Vec<Uuid> = contents.into_iter().filter(|id| !named.contains(id)).collect();
        count += unnamed.len() as u64;
        forget_contents(platform, tenant, unnamed);
    }
    Ok(count)
}
