//! The types of events there are, and checking the platform's own against theirs.

use std::{collections::HashMap, sync::LazyLock};

use purlin_domain::{
    Json,
    core_event::{SOURCE, TYPES},
    error::summary,
    event::NewEvent,
    principal::Principal,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Platform, Result, ServiceError, catalog, schema::Schema};

static SCHEMAS: LazyLock<HashMap<&str, Schema>> =
    LazyLock::new(|| TYPES.iter().filter_map(|t| Some((t.event_type, Schema::compile(&t.schema()).ok()?))).collect());

/// What the platform itself publishes must be what it says it publishes.
pub(super) fn check(event: &NewEvent) -> Result<()> {
    if event.source != SOURCE {
        return Ok(());
    }
    let Some(schema) = SCHEMAS.get(event.event_type.as_str()) else {
        return Err(ServiceError::Internal(format!("there is no core event `{}`", event.event_type)));
    };
    let wrong = schema.violations(&event.data);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(ServiceError::Internal(format!("{}: {}", event.event_type, summary(&wrong))))
    }
}

/// A type of event.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EventTypeView {
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Who publishes it: `/core`, or `/plugins/{name}`.
    pub source: String,
    /// The version of its payload; of a plugin's event, the version of the plugin.
    pub version: String,
    /// When it is published, where that is told.
    pub description: Option<String>,
    /// The JSON Schema of its data; null takes anything.
    pub schema: Option<Json>,
}

/// The types that are published in the tenant: the platform's, and those that its enabled
/// plugins declare. Records have theirs beside them: `{plugin}.{collection}.created`,
/// `.updated` and `.deleted`.
pub async fn types(platform: &Platform, principal: &Principal) -> Result<Vec<EventTypeView>> {
    let own = TYPES.iter().map(|t| EventTypeView {
        event_type: t.event_type.to_owned(),
        source: SOURCE.to_owned(),
        version: t.version.to_string(),
        description: Some(t.about.to_owned()),
        schema: Some(t.schema()),
    });
    let mut all: Vec<EventTypeView> = own.collect();
    let mut tx = platform.db.read(principal.tenant).await?;
    for plugin in catalog::enabled(platform, &mut tx).await? {
        all.extend(plugin.loaded.descriptor.events.iter().map(|e| EventTypeView {
            event_type: e.event_type.clone(),
            source: format!("/plugins/{}", plugin.installation.plugin),
            version: plugin.installation.version.clone(),
            description: None,
            schema: e.schema.clone(),
        }));
    }
    Ok(all)
}

/// The type of this name, in this version.
pub async fn event_type(
    platform: &Platform,
    principal: &Principal,
    name: &str,
    version: &str,
) -> Result<EventTypeView> {
    let all = types(platform, principal).await?;
    all.into_iter().find(|t| t.event_type == name && t.version == version).ok_or(ServiceError::NotFound)
}
