//! What an audit row tells.

use std::net::IpAddr;

use crate::{Json, trace::Trace};

/// Where a request came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The request's id, echoed to the client; a job's id for background work.
    pub request_id: String,
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// The span of the request, or of the run.
    pub trace: Option<Trace>,
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

/// A document in the one form that is hashed: keys sorted, numbers as both databases give
/// them back.
pub fn canonical(value: &Json) -> Json {
    match value {
        Json::Object(members) => {
            let mut sorted: Vec<(&String, Json)> = members.iter().map(|(k, v)| (k, canonical(v))).collect();
            sorted.sort_by_key(|(name, _)| *name);
            Json::Object(sorted.into_iter().map(|(k, v)| (k.clone(), v)).collect())
        }
        Json::Array(items) => items.iter().map(canonical).collect(),
        // A database may write 100.0 as 100, and has no negative zero.
        Json::Number(number) if number.is_f64() => match number.as_f64() {
            Some(whole) if whole.fract() == 0.0 && (-9.2e18..0.0).contains(&whole) => Json::from(whole as i64),
            Some(whole) if whole.fract() == 0.0 && (0.0..1.8e19).contains(&whole) => Json::from(whole as u64),
            _ => value.clone(),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_has_one_canonical_form() {
        let a: Json = serde_json::from_str(r#"{"b": [1.0, -0.0, 1.5, 1e16, -1e17], "a": {"y": 1, "x": 2}}"#).unwrap();
        let b: Json = serde_json::from_str(
            r#"{"a": {"x": 2, "y": 1}, "b": [1, 0, 1.5, 10000000000000000, -100000000000000000]}"#,
        )
        .unwrap();
        assert_eq!(canonical(&a).to_string(), canonical(&b).to_string());
    }

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
