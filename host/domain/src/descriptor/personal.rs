//! Personal data in collections: which properties are, and whose.

use serde::{Deserialize, Serialize};

use super::Collection;
use crate::{Json, error::Violation};

/// Which properties of a collection are personal data, and whose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalData {
    /// The properties; none of them required, since to erase them takes them away.
    pub properties: Vec<String>,
    /// The filterable property that holds the id of the user whom a record is about. Without
    /// one, records are about somebody else, and are erased one by one.
    #[serde(default)]
    pub subject: Option<String>,
}

/// What stands in the audit log in the place of personal data.
pub const MASKED: &str = "***";

impl PersonalData {
    pub(super) fn violations(&self, at: &str, of: &Collection) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |holds: bool, pointer: &str, detail: String| {
            if !holds {
                found.push(Violation::new(format!("{at}/{pointer}"), "descriptor", detail));
            }
        };
        check(!self.properties.is_empty(), "properties", "name at least one property".to_owned());
        for name in &self.properties {
            let is_property = of.schema.get("properties").is_some_and(|all| all.get(name).is_some());
            check(is_property, "properties", format!("`{name}` is not a property of the collection"));
            let refers = of.references.iter().any(|reference| reference.property == *name);
            check(!refers, "properties", format!("`{name}` refers to another record; erase that one"));
            let can_go = !of.requires(name);
            check(can_go, "properties", format!("`{name}` cannot be erased where it is required"));
        }
        if let Some(subject) = &self.subject {
            let holds = of.is_text(subject) && of.filterable.contains(subject) && !self.properties.contains(subject);
            check(holds, "subject", format!("`{subject}` needs to be a filterable property of type string"));
        }
        found
    }

    /// The same data without what is personal in it; none where nothing is.
    pub fn erased(&self, data: &Json) -> Option<Json> {
        let mut rest = data.as_object()?.clone();
        let before = rest.len();
        rest.retain(|name, _| !self.properties.contains(name));
        (rest.len() < before).then_some(Json::Object(rest))
    }

    /// Only what is personal in data.
    pub fn personal(&self, data: &Json) -> Json {
        let own = data.as_object().into_iter().flatten().filter(|(name, _)| self.properties.contains(name));
        Json::Object(own.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Changes for the audit log, which outlives what is erased: that personal data changed,
    /// not to what.
    pub fn mask(&self, changes: &mut Json) {
        for (name, change) in changes.as_object_mut().into_iter().flatten() {
            if self.properties.contains(name) {
                for value in change.as_object_mut().into_iter().flat_map(|change| change.values_mut()) {
                    if !value.is_null() {
                        *value = Json::from(MASKED);
                    }
                }
            }
        }
    }
}
