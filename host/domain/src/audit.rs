//! What an audit row tells.

use std::net::IpAddr;

use crate::Json;

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The request's id, echoed to the client; a job's id for background work.
    pub request_id: String,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
}

/// A mutation to be recorded; who did it comes from the principal.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// `<resource>.<verb>`, for example `user.updated`.
    pub action: String,
    /// What kind of thing changed.
    pub resource_type: String,
    /// Which one.
    pub resource_id: Option<String>,
    /// What changed: `{"field": {"before": …, "after": …}}`, or a plugin's own object.
    pub changes: Json,
}

/// The fields that differ between two objects, each with both values. Secrets never
/// get here: callers pass what may be shown.
pub fn difference(before: &Json, after: &Json) -> Json {
    let empty = serde_json::Map::new();
    let (old, new) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut changes = serde_json::Map::new();
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        let (was, is) = (old.get(key), new.get(key));
        if was != is {
            changes.insert(key.clone(), serde_json::json!({ "before": was, "after": is }));
        }
    }
    Json::Object(changes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let changes = difference(&json!({"a": 1, "b": 2, "c": 3}), &json!({"a": 1, "b": 5, "d": 4}));
        assert_eq!(
            changes,
            json!({
                "b": {"before": 2, "after": 5},
                "c": {"before": 3, "after": null},
                "d": {"before": null, "after": 4},
            })
        );
    }
}
