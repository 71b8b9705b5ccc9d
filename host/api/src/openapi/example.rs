//! Examples for the document: one of each schema, with values that look like what they are.

use serde_json::{Map, Value, json};

/// How deep an example goes: schemas may contain themselves.
const DEPTH_MAX: usize = 6;

/// Put an example beside every schema of a body.
pub(super) fn add(description: &mut Value, schemas: &Map<String, Value>) {
    let bodies = ["/requestBody/content"].into_iter().map(str::to_owned);
    let responses: Vec<String> =
        description["responses"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
    let places: Vec<String> =
        bodies.chain(responses.iter().map(|status| format!("/responses/{status}/content"))).collect();
    for place in places {
        for (media_type, content) in
            description.pointer_mut(&place).and_then(Value::as_object_mut).into_iter().flatten()
        {
            if media_type.ends_with("json") && media_type != "application/x-ndjson" {
                let example = of(&content["schema"], "", schemas, 0);
                content["example"] = example;
            }
        }
    }
}

fn of(schema: &Value, name: &str, schemas: &Map<String, Value>, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        return schemas.get(target).map_or(Value::Null, |schema| of(schema, name, schemas, depth + 1));
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()).or_else(|| schema.get("const")) {
        return first.clone();
    }
    for alternatives in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[alternatives].as_array().and_then(|all| all.iter().find(|s| s["type"] != "null")) {
            return of(first, name, schemas, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    };
    match kind {
        "object" => {
            let members = schema["properties"].as_object().into_iter().flatten();
            members.map(|(name, schema)| (name.clone(), of(schema, name, schemas, depth + 1))).collect()
        }
        "array" => json!([of(&schema["items"], name.trim_end_matches('s'), schemas, depth + 1)]),
        "integer" => schema.get("default").cloned().unwrap_or(json!(1)),
        "number" => json!(1.5),
        "boolean" => json!(true),
        "string" => text(name, schema["format"].as_str().unwrap_or_default()),
        _ => anything(name),
    }
}

/// What a field of this name usually says.
fn text(name: &str, format: &str) -> Value {
    json!(match (format, name) {
        ("uuid", _) => "01930000-0000-7000-8000-000000000000",
        ("date-time", _) => "2026-01-31T12:00:00Z",
        ("uri", _) => "urn:purlin:problem:invalid",
        (_, "email") => "ada@acme.example",
        (_, "password" | "new_password" | "current_password") => "correct horse battery",
        (_, "first_name") => "Ada",
        (_, "last_name") => "Lovelace",
        (_, "name" | "title") => "Acme",
        (_, "slug" | "tenant") => "acme",
        (_, "code") => "123456",
        (_, "permission" | "scope") => "jobs:read",
        (_, "grant" | "asks_for") => "inventory.items:*",
        (_, "resource") => "jobs",
        (_, "action") => "read",
        (_, "plan") => "standard",
        (_, "plugin") => "inventory",
        (_, "kind") => "inventory.valuation",
        (_, "version") => "0.1.0",
        (_, "sort") => "-created_at",
        (_, "domain") => "acme.example",
        (_, "ip") => "192.0.2.1",
        (_, "instance") => "/api/v1/users",
        (_, "access_token" | "refresh_token" | "token" | "key") => "eyJhbGciOi…",
        _ => "text",
    })
}

fn anything(name: &str) -> Value {
    match name {
        "filter" => json!({ "field": "created_at", "op": "gte", "value": "2026-01-01T00:00:00Z" }),
        "scopes" => json!(["jobs:read"]),
        "role_ids" => json!([]),
        _ => json!({}),
    }
}
