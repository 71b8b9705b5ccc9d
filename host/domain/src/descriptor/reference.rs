//! Properties that hold the id of another record.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Collection, Descriptor};
use crate::{Json, access::Permission, error::Violation, id::RecordId, record::CollectionRef};

/// A property that holds the id of another record, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The property, of type string.
    pub property: String,
    /// The collection of the other record: one of the plugin's own by its name, another
    /// plugin's as `plugin.collection`, which it requests to read.
    pub to: String,
    /// What becomes of the other record's deletion. Another plugin's records are never held.
    #[serde(default)]
    pub on_delete: Option<OnDelete>,
}

/// What becomes of the deletion of a record that others refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDelete {
    /// It is refused while one does.
    Restrict,
    /// It is deleted; whoever refers to it keeps its id.
    Keep,
}

impl Reference {
    pub(super) fn violations(&self, at: &str, within: &Collection, of: &Descriptor) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut check = |holds: bool, pointer: &str, detail: String| {
            if !holds {
                found.push(Violation::new(format!("{at}/{pointer}"), "descriptor", detail));
            }
        };
        let is_once = within.references.iter().filter(|other| other.property == self.property).count() == 1;
        check(is_once, "property", format!("`{}` is there twice", self.property));
        check(
            within.is_text(&self.property),
            "property",
            format!("`{}` needs to be a property of type string", self.property),
        );
        let to = self.target(&of.name);
        if to.plugin == of.name {
            check(
                of.collection(&to.collection).is_some(),
                "to",
                format!("`{}` is not a collection of this plugin", self.to),
            );
        } else {
            let wanted = Permission::new(to.resource(), "read");
            let is_asked = of.requests.iter().any(|asked| asked.covers(&wanted));
            check(is_asked, "to", format!("ask for `{wanted}` in `requests`"));
            let restricts = self.on_delete == Some(OnDelete::Restrict);
            check(!restricts, "on_delete", "another plugin's records cannot be held".to_owned());
        }
        found
    }

    /// The collection it leads to, of a plugin of this name.
    pub fn target(&self, own: &str) -> CollectionRef {
        let (plugin, collection) = self.to.split_once('.').unwrap_or((own, &self.to));
        CollectionRef { plugin: plugin.to_owned(), collection: collection.to_owned() }
    }

    /// Whether the other record cannot be deleted meanwhile.
    pub fn restricts(&self, own: &str) -> bool {
        self.target(own).plugin == own && self.on_delete != Some(OnDelete::Keep)
    }

    /// The id that a record's data holds; none where it holds nothing.
    pub fn id(&self, data: &Json) -> Option<Result<RecordId, Violation>> {
        let value = data.get(&self.property).filter(|value| !value.is_null())?;
        let id = value.as_str().and_then(|text| Uuid::try_parse(text).ok()).map(RecordId);
        Some(id.ok_or_else(|| {
            let at = format!("/{}", self.property.replace('~', "~0").replace('/', "~1"));
            Violation::new(at, "reference", format!("give the id of a record of {}", self.to))
        }))
    }
}
