//! What changed of a document, so that only that is written back.

use serde_json::{Map, Value};

/// The document `read`, changed as `now` differs from `known`, which is what the code understood of it.
pub(crate) fn overlay(read: Value, known: &Value, now: &Value) -> Value {
    if known == now {
        return read;
    }
    let (Value::Object(mut read), Value::Object(known), Value::Object(now)) = (read, known, now) else {
        return now.clone();
    };
    for name in known.keys().filter(|name| !now.contains_key(*name)) {
        read.remove(name);
    }
    for (name, value) in now {
        match known.get(name) {
            Some(before) if before == value => {}
            before => {
                let present = read.remove(name).unwrap_or_default();
                read.insert(name.clone(), overlay(present, before.unwrap_or(&Value::Null), value));
            }
        }
    }
    Value::Object(read)
}

/// The JSON Merge Patch that makes `after` of `before`; none where there is none, as a patch cannot
/// set a member to null.
pub(crate) fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return (!has_null_member(after)).then(|| after.clone());
    };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after.iter().filter(|(name, value)| before.get(*name) != Some(value)) {
        let present = before.get(name).unwrap_or(&Value::Null);
        if value.is_null() {
            return None;
        }
        patch.insert(name.clone(), merge_patch(present, value)?);
    }
    Some(Value::Object(patch))
}

/// Whether a member of an object is null, which a patch would remove; those in lists stay.
fn has_null_member(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(|member| member.is_null() || has_null_member(member)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{merge_patch, overlay};

    /// What RFC 7396 makes of it.
    fn merged(target: Value, patch: &Value) -> Value {
        let Value::Object(changes) = patch else { return patch.clone() };
        let mut target = if let Value::Object(members) = target { members } else { Default::default() };
        for (name, change) in changes {
            let present = target.remove(name).unwrap_or_default();
            if !change.is_null() {
                target.insert(name.clone(), merged(present, change));
            }
        }
        Value::Object(target)
    }

    #[test]
    fn what_the_code_does_not_know_stays_and_what_it_changed_is_written() {
        let read = json!({ "name": "a", "note": "x", "new": { "deep": null }, "in": { "known": 1, "unknown": 2 } });
        let known = json!({ "name": "a", "note": "x", "gone": null, "in": { "known": 1 } });
        let now = json!({ "name": "b", "gone": null, "in": { "known": 3 } });
        let wanted = overlay(read.clone(), &known, &now);
        assert_eq!(wanted, json!({ "name": "b", "new": { "deep": null }, "in": { "known": 3, "unknown": 2 } }));
        let patch = merge_patch(&read, &wanted).unwrap();
        assert_eq!(patch, json!({ "name": "b", "note": null, "in": { "known": 3 } }));
        assert_eq!(merged(read, &patch), wanted);
    }

    #[test]
    fn a_patch_makes_the_one_of_the_other_or_there_is_none() {
        let documents = [
            json!({}),
            json!({ "a": 1 }),
            json!({ "a": null }),
            json!({ "a": { "b": null } }),
            json!({ "a": { "b": 1, "c": [null, { "d": null }] } }),
            json!({ "a": [1, 2], "b": "x" }),
            json!({ "a": { "b": {} } }),
        ];
        for before in &documents {
            for after in &documents {
                match merge_patch(before, after) {
                    Some(patch) => assert_eq!(&merged(before.clone(), &patch), after, "{before} {patch}"),
                    None => assert!(after.to_string().contains("null"), "{before} {after}"),
                }
            }
        }
    }
}
