//! The OpenAPI 3.1 document, made from the table of operations and the types that handlers
//! take and give. A JSON Schema 2020-12 is an OpenAPI schema as it stands.

mod example;
mod tenant;

use axum::http::{Method, StatusCode};
use purlin_domain::filter::{Field, FieldType, Form};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    Needs, Operation,
    operation::{Gives, Takes},
    operations,
    route::apps::ANYTHING,
};

pub(crate) use tenant::of_tenant;

/// The whole document.
pub(crate) fn document() -> Value {
    let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut taken = settings().into_generator();
    let mut given = settings().for_serialize().into_generator();
    let mut paths = Map::new();
    let operations = operations();
    let shown: Vec<&Operation> = operations.iter().filter(|operation| !operation.is_hidden).collect();
    let mut described: Vec<(&Operation, Value)> = Vec::new();
    for operation in shown {
        described.push((operation, describe(operation, &mut taken, &mut given)));
    }
    let mut schemas = taken.take_definitions(true);
    schemas.extend(given.take_definitions(true));
    schemas.insert("Problem".to_owned(), problem_schema());
    for (operation, mut description) in described {
        example::add(&mut description, &schemas);
        let path = paths.entry(operation.path.replace("{*", "{")).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_lowercase()] = description;
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Purlin",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A WebAssembly-extensible, multi-tenant platform host",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "An access token (JWT, RS256), or an API key" },
            },
        },
    });
    plain(&mut document);
    document
}

/// `true` as a schema becomes `{}`, which says the same and which every tool reads.
fn plain(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                let is_schema = matches!(name.as_str(), "items" | "schema" | "additionalProperties");
                if is_schema && *member == Value::Bool(true) {
                    *member = json!({});
                }
                if name == "properties" {
                    for property in member.as_object_mut().into_iter().flat_map(Map::values_mut) {
                        if *property == Value::Bool(true) {
                            *property = json!({});
                        }
                    }
                }
                plain(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

fn describe(operation: &Operation, taken: &mut SchemaGenerator, given: &mut SchemaGenerator) -> Value {
    let needs = match operation.needs {
        Needs::Nothing => "nothing".to_owned(),
        Needs::SignedIn => "to be signed in".to_owned(),
        Needs::Permission(resource, action) => format!("{resource}:{action}"),
        Needs::Files => "{plugin}.files:read".to_owned(),
        Needs::Collection(action) => format!("{{plugin}}.{{collection}}:{action}"),
        Needs::PluginRoute => "what the route declares".to_owned(),
        Needs::Operator => "to run the platform".to_owned(),
    };
    let mut description = Map::from_iter([
        ("operationId".to_owned(), json!(operation_id(operation))),
        ("summary".to_owned(), json!(operation.summary)),
        ("tags".to_owned(), json!([tag(operation.path)])),
        ("parameters".to_owned(), json!(parameters(operation))),
        ("responses".to_owned(), responses(operation, given)),
        ("x-needs".to_owned(), json!(needs)),
    ]);
    if operation.needs == Needs::Nothing {
        description.insert("security".to_owned(), json!([]));
    }
    let body = match operation.takes {
        Takes::Nothing => None,
        Takes::Json(schema) => Some(("application/json", json!(schema(taken)))),
        Takes::Anything => Some((ANYTHING, json!({ "type": "string", "contentMediaType": ANYTHING }))),
        Takes::Wasm => Some(("application/wasm", json!({ "type": "string", "contentMediaType": "application/wasm" }))),
    };
    if let Some((media_type, schema)) = body {
        let content = json!({ media_type: { "schema": schema } });
        let is_required = !matches!(operation.takes, Takes::Anything);
        description.insert("requestBody".to_owned(), json!({ "required": is_required, "content": content }));
    }
    Value::Object(description)
}

/// `GET /api/v1/users/{id}` is `get_users_id`.
fn operation_id(operation: &Operation) -> String {
    let path = operation.path.trim_start_matches("/api/v1");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(operation.method.as_str().to_lowercase())
        .chain(words.map(str::to_owned))
        .collect::<Vec<_>>()
        .join("_")
}

fn tag(path: &str) -> &str {
    path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next()).unwrap_or("host")
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = in_path
        .map(|name| name.trim_start_matches('*'))
        .map(|name| {
            let schema = if name == "id" || name.ends_with("_id") {
                json!({ "type": "string", "format": "uuid" })
            } else {
                json!({ "type": "string" })
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let header = |name: &str, description: &str| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": { "type": "string" } });
    if let Gives::Page(_, fields) = operation.gives {
        all.extend(list_parameters(&fields()));
        all.push(header("Prefer", "`count=exact` counts all rows that pass, as `page.total`"));
    }
    if operation.is_mutation() {
        all.push(header("Idempotency-Key", "1 to 255 visible characters; the same request with the same key within 24 hours has no second effect and the same answer"));
    }
    if operation.is_conditional {
        all.push(header("If-Match", "the `ETag` that was read; 412 when it is no longer the current one"));
    }
    if has_tag(operation) {
        all.push(header("If-None-Match", "an `ETag`; 304 when it is still the current one"));
    }
    all
}

/// Whether an operation answers `If-None-Match`.
fn has_tag(operation: &Operation) -> bool {
    operation.method == Method::GET && operation.needs != Needs::Nothing && matches!(operation.gives, Gives::Json(_))
}

fn list_parameters(fields: &[Field]) -> Vec<Value> {
    let query = |name: String, description: String, schema: Value| json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema });
    let mut all = Vec::new();
    for field in fields.iter().filter(|field| field.filterable) {
        let (schema, ops): (Value, &[&str]) = match field.field_type {
            FieldType::Text if let Form::Listed(values) = &field.form => {
                (json!({ "type": "string", "enum": values }), &["ne"])
            }
            FieldType::Text => (json!({ "type": "string" }), &["ne", "gt", "gte", "lt", "lte", "like", "ilike"]),
            FieldType::Number => (json!({ "type": "number" }), &["ne", "gt", "gte", "lt", "lte"]),
            FieldType::Boolean => (json!({ "type": "boolean" }), &["ne"]),
            FieldType::Timestamp => {
                (json!({ "type": "string", "format": "date-time" }), &["ne", "gt", "gte", "lt", "lte"])
            }
            FieldType::Uuid => (json!({ "type": "string", "format": "uuid" }), &["ne"]),
        };
        let name = &field.name;
        all.push(query(format!("filter[{name}]"), "equal".to_owned(), schema.clone()));
        for op in ops {
            all.push(query(format!("filter[{name}][{op}]"), meaning(op).to_owned(), schema.clone()));
        }
        for op in ["in", "nin"].iter().filter(|_| field.field_type != FieldType::Boolean) {
            all.push(query(format!("filter[{name}][{op}]"), meaning(op).to_owned(), json!({ "type": "string" })));
        }
        all.push(query(format!("filter[{name}][null]"), meaning("null").to_owned(), json!({ "type": "boolean" })));
    }
    let sortable: Vec<&str> = fields.iter().filter(|f| f.sortable).map(|f| f.name.as_str()).collect();
    all.push(query(
        "sort".to_owned(),
        format!("at most 4 of {}, separated by commas, a `-` before those that descend", sortable.join(", ")),
        json!({ "type": "string" }),
    ));
    let searchable: Vec<&str> = fields.iter().filter(|f| f.searchable).map(|f| f.name.as_str()).collect();
    if !searchable.is_empty() {
        let what = format!("words that must all be in one of {}", searchable.join(", "));
        all.push(query("q".to_owned(), what, json!({ "type": "string" })));
    }
    all.push(query(
        "page[size]".to_owned(),
        "rows of a page; more is cut to 200".to_owned(),
        json!({ "type": "integer", "minimum": 1, "default": 50 }),
    ));
    all.push(query(
        "page[after]".to_owned(),
        "the `page.next` of the page before".to_owned(),
        json!({ "type": "string" }),
    ));
    all.push(query(
        "page[before]".to_owned(),
        "the `page.prev` of the page after".to_owned(),
        json!({ "type": "string" }),
    ));
    all
}

fn meaning(op: &str) -> &'static str {
    match op {
        "ne" => "not equal",
        "gt" => "greater",
        "gte" => "greater or equal",
        "lt" => "less",
        "lte" => "less or equal",
        "in" => "one of these, separated by commas; at most 100",
        "nin" => "none of these, separated by commas; at most 100",
        "like" => "matches, `*` for any text",
        "ilike" => "matches without regard to the case of ASCII letters, `*` for any text",
        _ => "`true`: missing; `false`: present",
    }
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    let content = match operation.gives {
        Gives::Nothing => None,
        Gives::Json(schema) | Gives::Page(schema, _) => {
            Some(json!({ "application/json": { "schema": schema(generator) } }))
        }
        Gives::Other(media_type) => Some(json!({ media_type: { "schema": { "type": "string" } } })),
    };
    let success = match content {
        Some(content) => json!({ "description": operation.summary, "content": content }),
        None => json!({ "description": operation.summary }),
    };
    let status = if matches!(operation.gives, Gives::Nothing) { StatusCode::NO_CONTENT } else { operation.status };
    all.insert(status.as_u16().to_string(), success.clone());
    if matches!(operation.takes, Takes::Wasm) {
        all.insert("200".to_owned(), success);
    }
    if has_tag(operation) {
        all.insert("304".to_owned(), json!({ "description": "what `If-None-Match` names is still current" }));
    }
    for (status, why) in problems(operation) {
        all.insert(
            status.to_owned(),
            json!({
                "description": why,
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            }),
        );
    }
    Value::Object(all)
}

/// How an operation may fail: the status, and why.
fn problems(operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let takes = !matches!(operation.takes, Takes::Nothing);
    let is_open = operation.needs == Needs::Nothing;
    let is_auth = is_open && operation.method == Method::POST;
    let in_path = operation.path.contains('{');
    let pages = matches!(operation.gives, Gives::Page(..) | Gives::Other(_)) || operation.path.ends_with("/search");
    let writes = operation.is_mutation() || is_auth;
    [
        (pages || takes || operation.is_mutation(), "400", "the request is malformed; `errors` says where"),
        (!is_open || is_auth, "401", "no valid credentials"),
        (!is_open || is_auth, "403", "a permission is missing, or this host or plan does not offer it"),
        (in_path, "404", "there is no such thing in the caller's tenant"),
        (writes, "409", "it is taken, or in a state that does not allow this"),
        (operation.is_conditional, "412", "`If-Match` names another version"),
        (takes, "413", "the body is too large"),
        (takes, "415", "the body has another media type"),
        (takes || operation.is_mutation() || pages, "422", "the content is not acceptable; `errors` says where"),
        (
            is_auth || operation.path.contains("/auth/"),
            "429",
            "too many requests; `Retry-After` says when to come again",
        ),
        (true, "503", "the host is busy or its database is away; `Retry-After` says when to come again"),
    ]
    .into_iter()
    .filter_map(|(applies, status, why)| applies.then_some((status, why)))
    .collect()
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "RFC 9457",
        "required": ["type", "title", "status", "detail", "instance", "code", "request_id", "errors"],
        "properties": {
            "type": { "type": "string", "format": "uri" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "instance": { "type": "string" },
            "code": { "type": "string", "description": "stable" },
            "request_id": { "type": "string" },
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["detail"],
                    "properties": {
                        "pointer": { "type": "string", "description": "a JSON Pointer into the body" },
                        "parameter": { "type": "string", "description": "a parameter's name" },
                        "code": { "type": "string" },
                        "detail": { "type": "string" },
                    },
                },
            },
        },
    })
}
