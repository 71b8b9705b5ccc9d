//! The collections a plugin declares.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{Descriptor, PersonalData, Reference};
use crate::{
    Json,
    error::Violation,
    filter::{Field, FieldType, Form, Source, instant},
    mark::mark,
    name::is_word,
};

/// A collection of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// Its name within the plugin.
    pub name: String,
    /// Its name for people.
    #[serde(default)]
    pub title: String,
    /// The JSON Schema (2020-12) of a record's data; an object with `properties`.
    pub schema: Json,
    /// Keys of which no two records share the values; each a list of required top-level properties.
    #[serde(default)]
    pub unique: Vec<Vec<String>>,
    /// Properties that lists may filter by; text, number or boolean.
    #[serde(default)]
    pub filterable: Vec<String>,
    /// Properties that lists may sort by; text, number or boolean.
    #[serde(default)]
    pub sortable: Vec<String>,
    /// Filterable properties by which lists find records without reading all of them.
    #[serde(default)]
    pub indexed: Vec<String>,
    /// Properties of type string that a search for words looks through.
    #[serde(default)]
    pub searchable: Vec<String>,
    /// Properties that hold the id of another record.
    #[serde(default)]
    pub references: Vec<Reference>,
    /// Which properties are personal data, and whose.
    #[serde(default)]
    pub personal_data: Option<PersonalData>,
}

/// What can be done to the records of a collection.
pub const COLLECTION_ACTIONS: [&str; 4] = ["create", "read", "update", "delete"];

impl Collection {
    pub(super) fn violations(&self, at: &str, of: &Descriptor) -> Vec<Violation> {
        let mut found = self.shape_violations(at);
        found.extend(self.list_violations(at));
        for (i, reference) in self.references.iter().enumerate() {
            found.extend(reference.violations(&format!("{at}/references/{i}"), self, of));
        }
        found.extend(self.personal_data.iter().flat_map(|data| data.violations(&format!("{at}/personal_data"), self)));
        found
    }

    /// What is wrong with how lists are to find its records.
    fn list_violations(&self, at: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |holds: bool, pointer: &str, detail: String| {
            if !holds {
                found.push(Violation::new(format!("{at}{pointer}"), "descriptor", detail));
            }
        };
        check(self.searchable.len() <= SEARCHABLE_MAX, "/searchable", format!("at most {SEARCHABLE_MAX} properties"));
        for name in &self.searchable {
            let holds = is_word(name) && self.field_type(name) == Some(FieldType::Text);
            check(holds, "/searchable", format!("`{name}` needs to be a property of type string"));
        }
        check(self.indexed.len() <= INDEXED_MAX, "/indexed", format!("at most {INDEXED_MAX} properties"));
        for name in &self.indexed {
            check(self.filterable.contains(name), "/indexed", format!("`{name}` needs to be filterable"));
        }
        check(self.references.len() <= REFERENCES_MAX, "/references", format!("at most {REFERENCES_MAX} references"));
        found
    }

    fn shape_violations(&self, at: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |holds: bool, pointer: &str, detail: String| {
            if !holds {
                found.push(Violation::new(format!("{at}{pointer}"), "descriptor", detail));
            }
        };
        check(
            is_word(&self.name),
            "/name",
            format!("`{}` is not a name: use lower-case letters, digits, `_`, `-`", self.name),
        );
        check(
            self.schema.get("properties").is_some_and(Json::is_object),
            "/schema",
            "an object schema with `properties` is needed".to_owned(),
        );
        for name in self.filterable.iter().chain(&self.sortable) {
            check(
                is_word(name) && BASE_FIELDS.iter().all(|(base, _)| base != name) && self.field_type(name).is_some(),
                "/schema",
                format!(
                    "`{name}` is listed as filterable or sortable, so `properties` must give it type string, number, integer or boolean"
                ),
            );
        }
        check(self.unique.len() <= 10, "/unique", "at most 10 unique keys".to_owned());
        let required = |name: &String| self.requires(name);
        for key in &self.unique {
            check(
                !key.is_empty() && key.iter().all(|name| self.field_type(name).is_some() && required(name)),
                "/unique",
                format!("{key:?} needs required properties of type string, number, integer or boolean"),
            );
        }
        found
    }

    /// Whether a property may hold text.
    pub(super) fn is_text(&self, name: &str) -> bool {
        let allowed = self.schema.get("properties").and_then(|all| all.get(name)?.get("type"));
        allowed.is_some_and(|t| t == "string" || t.as_array().is_some_and(|any| any.iter().any(|t| t == "string")))
    }

    /// Whether every record must have a property.
    pub(super) fn requires(&self, name: &str) -> bool {
        self.schema.get("required").and_then(Json::as_array).is_some_and(|r| r.iter().any(|v| v == name))
    }

    fn property(&self, name: &str) -> Option<&Json> {
        self.schema.get("properties")?.get(name)
    }

    fn format(&self, name: &str) -> Option<&str> {
        self.property(name)?.get("format")?.as_str()
    }

    /// What the text of a property may be.
    fn form(&self, name: &str) -> Form {
        let names_user = self.personal_data.as_ref().is_some_and(|data| data.subject.as_deref() == Some(name));
        let is_reference = names_user || self.references.iter().any(|reference| reference.property == name);
        let listed = self.property(name).and_then(|property| property.get("enum")).and_then(Json::as_array);
        let listed = listed.and_then(|all| all.iter().map(|value| value.as_str().map(str::to_owned)).collect());
        match (listed, self.format(name)) {
            (Some(all), _) => Form::Listed(all),
            (None, _) if is_reference => Form::Uuid,
            (None, Some("uuid")) => Form::Uuid,
            (None, Some("date")) => Form::Date,
            (None, _) => Form::Free,
        }
    }

    /// Write each id in the one way in which it is stored: in lower case, with hyphens.
    pub fn settle(&self, data: &mut Json) {
        for (name, value) in data.as_object_mut().into_iter().flatten() {
            if let Json::String(text) = value
                && let Ok(id) = Uuid::try_parse(text)
                && self.form(name) == Form::Uuid
            {
                *text = id.to_string();
            }
        }
    }

    fn field_type(&self, name: &str) -> Option<FieldType> {
        match self.property(name)?.get("type")?.as_str()? {
            "string" if self.format(name) == Some("date-time") => Some(FieldType::Timestamp),
            "string" => Some(FieldType::Text),
            "number" | "integer" => Some(FieldType::Number),
            "boolean" => Some(FieldType::Boolean),
            _ => None,
        }
    }

    /// Every field that lists know: those of every record, and those the plugin named.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields: Vec<Field> =
            BASE_FIELDS.iter().map(|(name, field_type)| Field::column(name, *field_type)).collect();
        let mut names: Vec<&String> = Vec::new();
        for name in self.filterable.iter().chain(&self.sortable).chain(&self.searchable) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            if let Some(field_type) = self.field_type(name) {
                fields.push(Field {
                    name: name.clone(),
                    field_type,
                    source: Source::Data,
                    filterable: self.filterable.contains(name),
                    sortable: self.sortable.contains(name),
                    nullable: true,
                    searchable: self.searchable.contains(name),
                    folded: true,
                    form: self.form(name),
                });
            }
        }
        fields
    }

    /// What the index of each property has of this data.
    pub fn marks(&self, data: &Json) -> Vec<(&str, String)> {
        let names: BTreeSet<&String> = self.indexed.iter().collect();
        names
            .into_iter()
            .filter_map(|name| Some((name.as_str(), mark(data.get(name)?, self.field_type(name)?)?)))
            .collect()
    }

    /// Each unique key of this data: its name, and a BLAKE3 digest of its values, so that
    /// it takes the same room however long they are.
    pub fn unique_values(&self, data: &Json) -> Vec<(String, String)> {
        let value = |name: &String| match (data.get(name), self.field_type(name)) {
            // One instant has many texts.
            (Some(Json::String(text)), Some(FieldType::Timestamp)) => {
                instant(text).map_or_else(|| json!(text), |time| json!(time.timestamp_micros()))
            }
            (value, _) => value.cloned().unwrap_or(Json::Null),
        };
        let digest = |values: Json| blake3::hash(values.to_string().as_bytes()).to_hex().to_string();
        self.unique.iter().map(|key| (key.join("+"), digest(key.iter().map(value).collect()))).collect()
    }
}

const INDEXED_MAX: usize = 10;
const SEARCHABLE_MAX: usize = 10;
const REFERENCES_MAX: usize = 20;

/// The fields of every record, whatever its collection.
pub const BASE_FIELDS: [(&str, FieldType); 3] =
    [("id", FieldType::Uuid), ("created_at", FieldType::Timestamp), ("updated_at", FieldType::Timestamp)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_instant_is_one_unique_value_however_it_is_written() {
        let collection: Collection = serde_json::from_value(json!({
            "name": "c",
            "schema": { "properties": { "at": { "type": "string", "format": "date-time" }, "t": { "type": "string" } } },
            "unique": [["at"], ["t"]],
        }))
        .unwrap();
        let keys = |at: &str| collection.unique_values(&json!({ "at": at, "t": at }));
        let (utc, berlin) = (keys("2026-01-01T11:00:00Z"), keys("2026-01-01T12:00:00.000+01:00"));
        assert_eq!(utc[0], berlin[0]);
        assert_ne!(utc[1], berlin[1], "a text is its letters");
        assert_ne!(utc[0], keys("2026-01-01T12:00:00Z")[0]);
    }

    #[test]
    fn whoever_a_record_is_about_is_named_in_one_form() {
        let collection: Collection = serde_json::from_value(json!({
            "name": "c",
            "schema": { "properties": { "user": { "type": "string" } } },
            "personal_data": { "properties": ["name"], "subject": "user" },
        }))
        .unwrap();
        let mut data = json!({ "user": "0193ABCD-0000-7000-8000-00000000000A" });
        collection.settle(&mut data);
        assert_eq!(data["user"], "0193abcd-0000-7000-8000-00000000000a");
    }
}
