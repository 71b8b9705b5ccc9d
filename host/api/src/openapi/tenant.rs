//! The document of one tenant: the common one, with the collections and routes of its plugins
//! in the place of those that any plugin may have.

use std::sync::LazyLock;

use purlin_domain::descriptor::{Collection, Descriptor, Route};
use serde_json::{Map, Value, json};

use super::{document, example, list_parameters};

/// Paths that stand for those of any plugin.
const OF_ANY: &str = "/api/v1/apps/{plugin}/";
const OF_ANY_ROUTE: &str = "/api/v1/apps/{plugin}/-/{path}";
const OF_ANY_COLLECTION: &str = "/api/v1/apps/{plugin}/{collection}";

/// Keywords whose members are schemas under names of their own.
const NAMED: [&str; 5] = ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];
const SCHEMAS: &str = "/components/schemas";

static COMMON: LazyLock<Value> = LazyLock::new(document);

/// The document for a tenant that these plugins are enabled in.
pub(crate) fn of_tenant<'a>(plugins: impl Iterator<Item = &'a Descriptor>) -> Value {
    let mut document = COMMON.clone();
    let whole = &mut document;
    let (mut templates, mut schemas) = (Map::new(), Map::new());
    if let Some(paths) = whole["paths"].as_object_mut() {
        let of_any: Vec<String> = paths.keys().filter(|path| path.starts_with(OF_ANY)).cloned().collect();
        templates.extend(of_any.into_iter().filter_map(|path| paths.remove_entry(&path)));
    }
    if let Some(common) = whole.pointer(SCHEMAS).and_then(Value::as_object) {
        schemas.clone_from(common);
    }
    let mut added: Vec<(String, Value)> = Vec::new();
    for descriptor in plugins {
        for collection in &descriptor.collections {
            let resource = format!("{}.{}", descriptor.name, collection.name);
            add_schemas(&mut schemas, &resource, collection);
            for (path, item) in templates.iter().filter(|(path, _)| path.starts_with(OF_ANY_COLLECTION)) {
                added.push(of_collection(descriptor, collection, path, item));
            }
        }
        let any = templates.get(OF_ANY_ROUTE).cloned().unwrap_or_default();
        added.extend(descriptor.routes.iter().filter_map(|route| of_route(descriptor, route, &any)));
    }
    for (path, mut item) in added {
        for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
            example::add(operation, &schemas);
        }
        // Two routes of one path differ in their method.
        let paths = &mut whole["paths"];
        match paths.get_mut(&path).and_then(Value::as_object_mut) {
            Some(present) => present.extend(item.as_object().cloned().unwrap_or_default()),
            None => paths[path] = item,
        }
    }
    set(whole, SCHEMAS, Value::Object(schemas));
    document
}

/// Put a value in the place of the one that is there.
fn set(whole: &mut Value, pointer: &str, value: Value) {
    if let Some(place) = whole.pointer_mut(pointer) {
        *place = value;
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What a record of a collection is, its data, and a page of records.
fn add_schemas(schemas: &mut Map<String, Value>, resource: &str, collection: &Collection) {
    let data = format!("{resource}.data");
    let mut schema = collection.schema.clone();
    // One that names itself resolves what it refers to by itself.
    if schema.get("$id").is_none() {
        moved(&mut schema, &format!("#/components/schemas/{data}"));
    }
    let mut record = schemas.get("Record").cloned().unwrap_or_default();
    set(&mut record, "/properties/data", reference(&data));
    let page = json!({
        "type": "object",
        "required": ["data", "page"],
        "properties": {
            "data": { "type": "array", "items": reference(resource) },
            "page": reference("PageInfo"),
        },
    });
    schemas.insert(data, schema);
    schemas.insert(resource.to_owned(), record);
    schemas.insert(format!("{resource}.page"), page);
}

/// Have what refers into a schema refer to where it lies now.
fn moved(schema: &mut Value, to: &str) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match member {
                    Value::String(target) if name == "$ref" && (target == "#" || target.starts_with("#/")) => {
                        *target = format!("{to}{}", target.trim_start_matches('#'));
                    }
                    // Whatever these are called: a property may be named like a keyword.
                    Value::Object(named) if NAMED.contains(&name.as_str()) => {
                        named.values_mut().for_each(|schema| moved(schema, to));
                    }
                    // Values, not schemas.
                    _ if matches!(name.as_str(), "const" | "enum" | "default" | "examples") => {}
                    other => moved(other, to),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| moved(one, to)),
        _ => {}
    }
}

/// The operations at one path of a collection, made from those of any.
fn of_collection(descriptor: &Descriptor, collection: &Collection, path: &str, any: &Value) -> (String, Value) {
    let resource = format!("{}.{}", descriptor.name, collection.name);
    let own_path = path.replace("{plugin}", &descriptor.name).replace("{collection}", &collection.name);
    let mut item = any.clone();
    for (method, operation) in item.as_object_mut().into_iter().flatten() {
        let is_list = method == "get" && path == OF_ANY_COLLECTION;
        let mut parameters = own_parameters(operation);
        if is_list {
            let is_of_a_list = |p: &Value| p["in"] == "query";
            parameters.retain(|parameter| !is_of_a_list(parameter));
            parameters.extend(list_parameters(&collection.fields()));
        }
        operation["parameters"] = json!(parameters);
        name(operation, descriptor, &collection.title, &resource);
        let takes_data = matches!((method.as_str(), path), ("post", OF_ANY_COLLECTION));
        if takes_data {
            let data = reference(&format!("{resource}.data"));
            set(operation, "/requestBody/content/application~1json/schema", data);
        }
        let gives = if is_list || path.ends_with("/search") { format!("{resource}.page") } else { resource.clone() };
        for (status, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            if let Some(content) =
                response.pointer_mut("/content/application~1json").filter(|_| status.starts_with('2'))
            {
                content["schema"] = reference(&gives);
            }
        }
    }
    (own_path, item)
}

/// A route, made from the operation of its method of any.
fn of_route(descriptor: &Descriptor, route: &Route, any: &Value) -> Option<(String, Value)> {
    let method = route.method.to_lowercase();
    let mut operation = any.get(&method)?.clone();
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(own_parameters(&operation).into_iter().filter(|parameter| parameter["name"] != "path"));
    set(&mut operation, "/parameters", json!(parameters));
    let words: Vec<&str> = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    name(&mut operation, descriptor, &route.summary, &format!("-.{}", words.join(".")));
    set(&mut operation, "/x-needs", json!(route.permission.to_string()));
    let path = format!("/api/v1/apps/{}/-{}", descriptor.name, route.path);
    Some((path, json!({ method: operation })))
}

/// The parameters of an operation but those that are settled.
fn own_parameters(operation: &Value) -> Vec<Value> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    all.filter(|parameter| parameter["name"] != "plugin" && parameter["name"] != "collection").cloned().collect()
}

/// Whose an operation is, what it is called and what it needs.
fn name(operation: &mut Value, descriptor: &Descriptor, what: &str, resource: &str) {
    let words = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let id = operation["operationId"].as_str().unwrap_or_default();
    // The words of the path, with the names in the place of what stood for them.
    let tail = id.rsplit_once("collection").map_or("", |(_, tail)| tail);
    let method = id.split('_').next().unwrap_or_default();
    let own = resource.strip_prefix(&format!("{}.", descriptor.name)).unwrap_or(resource);
    operation["operationId"] = json!(format!("{method}_apps_{}_{}{tail}", words(&descriptor.name), words(own)));
    operation["tags"] = json!([descriptor.title]);
    if !what.is_empty() {
        let summary = operation["summary"].as_str().unwrap_or_default();
        operation["summary"] =
            json!(if resource.starts_with("-.") { what.to_owned() } else { format!("{what}: {summary}") });
    }
    if let Some(needs) = operation["x-needs"].as_str().and_then(|needs| needs.rsplit_once(':')) {
        operation["x-needs"] = json!(format!("{resource}:{}", needs.1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refers_into_a_schema_refers_to_where_it_lies_now() {
        let mut schema = json!({
            "properties": { "default": { "$ref": "#/$defs/a" }, "b": { "default": { "$ref": "#/a value" } } },
            "$defs": { "a": { "items": { "$ref": "#" } }, "c": { "$ref": "https://example.org/elsewhere" } },
        });
        moved(&mut schema, "#/components/schemas/x");
        assert_eq!(
            schema,
            json!({
                "properties": {
                    "default": { "$ref": "#/components/schemas/x/$defs/a" },
                    "b": { "default": { "$ref": "#/a value" } },
                },
                "$defs": {
                    "a": { "items": { "$ref": "#/components/schemas/x" } },
                    "c": { "$ref": "https://example.org/elsewhere" },
                },
            })
        );
    }
}
