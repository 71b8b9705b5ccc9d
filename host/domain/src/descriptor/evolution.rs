//! Whether records that one version of a plugin wrote are good under another.

use super::{Collection, Descriptor};
use crate::{Json, error::Violation};

/// Keywords that say nothing about which values are good.
const ANNOTATIONS: [&str; 10] = [
    "$comment",
    "$id",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];
const AT_MOST: [&str; 5] = ["exclusiveMaximum", "maxItems", "maxLength", "maxProperties", "maximum"];
const AT_LEAST: [&str; 5] = ["exclusiveMinimum", "minItems", "minLength", "minProperties", "minimum"];

impl Descriptor {
    /// Where records that `older` wrote may not be good under this version. It errs on the
    /// side of caution: what it cannot tell it names.
    pub fn breaks(&self, older: &Self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (i, new) in self.collections.iter().enumerate() {
            if let Some(old) = older.collection(&new.name) {
                new.breaks(old, &format!("/collections/{i}"), &mut found);
            }
        }
        found
    }
}

impl Collection {
    fn breaks(&self, older: &Self, at: &str, found: &mut Vec<Violation>) {
        narrower(&older.schema, &self.schema, &format!("{at}/schema"), found);
        for key in self.unique.iter().filter(|key| !older.unique.contains(key)) {
            found.push(Violation::new(
                format!("{at}/unique"),
                "incompatible",
                format!("records of the version before have no key {key:?}"),
            ));
        }
    }
}

/// Where `new` may refuse what `old` took.
fn narrower(old: &Json, new: &Json, at: &str, found: &mut Vec<Violation>) {
    if old == new || *new == Json::Bool(true) {
        return;
    }
    let (Json::Object(before), Json::Object(after)) = (old, new) else {
        let of = if old.is_object() && *new == Json::Bool(false) { "nothing is good any more" } else { "it changed" };
        return found.push(Violation::new(at, "incompatible", of));
    };
    for (keyword, wanted) in after.iter().filter(|(keyword, _)| !ANNOTATIONS.contains(&keyword.as_str())) {
        let had = before.get(keyword);
        let at = format!("{at}/{keyword}");
        if had == Some(wanted) || *wanted == Json::Bool(true) {
            continue;
        }
        match (keyword.as_str(), had) {
            ("properties", had) => properties(had, wanted, &at, found),
            ("items" | "additionalProperties", Some(had)) => narrower(had, wanted, &at, found),
            _ if is_wider(keyword, had, wanted) => {}
            _ => found.push(Violation::new(at, "incompatible", "it may refuse what the version before took")),
        }
    }
}

fn properties(had: Option<&Json>, wanted: &Json, at: &str, found: &mut Vec<Violation>) {
    for (name, schema) in wanted.as_object().into_iter().flatten() {
        // One that is new is taken to be in no record: nobody was told of it.
        if let Some(before) = had.and_then(|had| had.get(name)) {
            narrower(before, schema, &format!("{at}/{name}"), found);
        }
    }
}

/// Whether a keyword takes at least what it took.
fn is_wider(keyword: &str, had: Option<&Json>, wanted: &Json) -> bool {
    let Some(had) = had else { return false };
    let number = |value: &Json| value.as_f64();
    let list = |value: &Json| match value {
        Json::Array(all) => all.clone(),
        one => vec![one.clone()],
    };
    match keyword {
        _ if AT_MOST.contains(&keyword) => number(wanted) >= number(had),
        _ if AT_LEAST.contains(&keyword) => number(wanted) <= number(had),
        "required" => list(wanted).iter().all(|name| list(had).contains(name)),
        "enum" => list(had).iter().all(|value| list(wanted).contains(value)),
        "type" => {
            let wanted = list(wanted);
            let takes = |one: &Json| wanted.contains(one) || (one == "integer" && wanted.iter().any(|t| t == "number"));
            list(had).iter().all(takes)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn broken(old: &Json, new: &Json) -> Vec<String> {
        let mut found = Vec::new();
        narrower(old, new, "", &mut found);
        found.into_iter().map(|violation| violation.pointer).collect()
    }

    #[test]
    fn what_only_loosens_or_adds_is_compatible() {
        let old = json!({ "type": "object", "properties": {
            "sku": { "type": "string", "maxLength": 10 }, "n": { "type": "integer", "minimum": 1 }, "kind": { "enum": ["a"] },
        }, "required": ["sku", "n"], "additionalProperties": false });
        let new = json!({ "type": "object", "title": "Items", "properties": {
            "sku": { "type": ["string", "null"], "maxLength": 20, "description": "…" }, "n": { "type": "number" },
            "kind": { "enum": ["b", "a"] }, "color": { "type": "string" },
        }, "required": ["sku"], "additionalProperties": false });
        assert_eq!(broken(&old, &new), [""; 0]);
        assert_eq!(broken(&old, &old), [""; 0]);
    }

    #[test]
    fn what_may_refuse_a_record_is_named() {
        let old = json!({ "type": "object", "properties": { "sku": { "type": "string", "maxLength": 10 } } });
        let with = |pointer: &str, value: Json| {
            let mut new = old.clone();
            *new.pointer_mut(pointer).unwrap() = value;
            broken(&old, &new)
        };
        assert_eq!(with("/properties/sku/type", json!("integer")), ["/properties/sku/type"]);
        assert_eq!(with("/properties/sku/maxLength", json!(5)), ["/properties/sku/maxLength"]);
        let pattern = json!({ "type": "string", "maxLength": 10, "pattern": "^a" });
        assert_eq!(with("/properties/sku", pattern), ["/properties/sku/pattern"]);
        let closed = json!({ "type": "object", "properties": {}, "additionalProperties": false, "required": ["n"] });
        assert_eq!(broken(&old, &closed), ["/additionalProperties", "/required"]);
    }
}
