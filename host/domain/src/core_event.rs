//! The platform's own events: their types, versions and payloads.
//!
//! A payload may gain fields under the same version; one that loses or changes a field gets
//! the next.

use serde_json::json;

use crate::Json;

/// The source of the platform's own events.
pub const SOURCE: &str = "/core";

/// A type of event that the platform itself publishes.
#[derive(Clone, Copy, Debug)]
pub struct CoreEvent {
    /// Its type.
    pub event_type: &'static str,
    /// The version of its payload.
    pub version: u32,
    /// When it is published.
    pub about: &'static str,
    fields: &'static [(&'static str, Kind)],
}

/// What a field of a payload holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Uuid,
    Text,
    Boolean,
}

use Kind::{Boolean, Text, Uuid};

const ID: &[(&str, Kind)] = &[("id", Uuid)];
const NAMED: &[(&str, Kind)] = &[("id", Uuid), ("name", Text)];
const ASSIGNMENT: &[(&str, Kind)] = &[("user_id", Uuid), ("role_id", Uuid), ("role", Text)];
const STANDING: &[(&str, Kind)] = &[("id", Uuid), ("status", Text), ("plan", Text)];
const PLUGIN: &[(&str, Kind)] = &[("plugin", Text), ("version", Text)];

const fn event(event_type: &'static str, about: &'static str, fields: &'static [(&'static str, Kind)]) -> CoreEvent {
    CoreEvent { event_type, version: 1, about, fields }
}

/// Every type, by name.
pub const TYPES: &[CoreEvent] = &[
    event("plugin.configured", "Settings or secrets of a plugin were set", PLUGIN),
    event("plugin.disabled", "A plugin was switched off", PLUGIN),
    event("plugin.enabled", "A plugin was switched on, or runs in another version or with other grants", PLUGIN),
    event("plugin.paused", "The host let a plugin rest that kept failing", PLUGIN),
    event("plugin.purged", "The data of a plugin was erased", &[("plugin", Text)]),
    event("plugin.resumed", "A plugin that was paused runs again", PLUGIN),
    event("plugin.rolled_back", "A plugin runs the version before again", PLUGIN),
    event("plugin.uninstalled", "A plugin was uninstalled; its data is still there", PLUGIN),
    event("role.assigned", "A role was given to somebody", ASSIGNMENT),
    event("role.created", "A role was made", NAMED),
    event("role.deleted", "A role was deleted", NAMED),
    event("role.unassigned", "A role was taken from somebody", ASSIGNMENT),
    event("role.updated", "A role, or what it permits, was changed", NAMED),
    event(
        "schedule.updated",
        "A schedule was paused, or goes on",
        &[("id", Uuid), ("kind", Text), ("is_paused", Boolean)],
    ),
    event("tenant.activated", "A suspended tenant is served again", STANDING),
    event("tenant.created", "A tenant was made", &[("id", Uuid), ("name", Text), ("slug", Text), ("plan", Text)]),
    event("tenant.domain_approved", "The host name that a tenant claims was approved", STANDING),
    event("tenant.plan_changed", "A tenant was put on another plan", STANDING),
    event("tenant.provisioned", "A tenant has its roles and settings", &[("id", Uuid), ("plan", Text)]),
    event("tenant.suspended", "A tenant was suspended: its people, keys, jobs and plugins stop", STANDING),
    event("tenant.updated", "A tenant's name, domain or settings were changed", NAMED),
    event("user.created", "Somebody came", &[("id", Uuid), ("email", Text)]),
    event("user.deleted", "Somebody was deleted", ID),
    event("user.password_changed", "Somebody changed their password", ID),
    event("user.password_reset", "Somebody set a new password by mail", ID),
    event("user.recovery_code_used", "Somebody signed in with a recovery code", ID),
    event("user.second_factor_disabled", "Somebody signs in without a second factor from now on", ID),
    event("user.second_factor_enabled", "Somebody signs in with a second factor from now on", ID),
    event("user.second_factor_enrolled", "Somebody began to add a second factor", ID),
    event("user.updated", "Somebody was changed; what changed is there beside the id", ID),
    event("webhook.created", "A webhook was made", ID),
    event("webhook.deleted", "A webhook was removed", ID),
    event("webhook.disabled", "The host disabled a webhook that took nothing, or wanted nothing", ID),
    event("webhook.orphaned", "Whoever answers for a webhook may not read events any more, or is gone", ID),
    event("webhook.secret_rotated", "A webhook's secret is another one", ID),
    event("webhook.test", "Somebody tests a webhook", &[("webhook", Uuid)]),
    event("webhook.updated", "A webhook was changed", ID),
];

/// The platform's event of this type.
pub fn find(event_type: &str) -> Option<&'static CoreEvent> {
    TYPES.iter().find(|t| t.event_type == event_type)
}

/// Where the schema of an event's payload is told, with its version.
pub fn schema_path(source: &str, event_type: &str) -> Option<String> {
    let known = find(event_type).filter(|_| source == SOURCE)?;
    Some(format!("/api/v1/event-types/{event_type}/{}", known.version))
}

impl CoreEvent {
    /// The JSON Schema (2020-12) of its payload. An event about somebody whose data was
    /// erased holds nothing but the id and `erased`.
    pub fn schema(&self) -> Json {
        let kind = |kind: Kind| match kind {
            Uuid => json!({ "type": "string", "format": "uuid" }),
            Text => json!({ "type": "string" }),
            Boolean => json!({ "type": "boolean" }),
        };
        let properties: serde_json::Map<String, Json> =
            self.fields.iter().map(|(name, of)| ((*name).to_owned(), kind(*of))).collect();
        let required: Vec<&str> = self.fields.iter().map(|(name, _)| *name).collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": required,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_once_and_in_order() {
        let names: Vec<&str> = TYPES.iter().map(|t| t.event_type).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }

    #[test]
    fn a_schema_is_told_for_the_platforms_own_events_alone() {
        let path = schema_path(SOURCE, "user.created").unwrap();
        assert_eq!(path, "/api/v1/event-types/user.created/1");
        assert_eq!(schema_path("/plugins/user", "user.created"), None);
        assert_eq!(schema_path(SOURCE, "user.flew"), None);
    }
}
