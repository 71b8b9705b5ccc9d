//! Records: the rows of collections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Json, Timestamp, id::RecordId};

/// A row of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// Its id.
    pub id: RecordId,
    /// 1 when created, one more with each update.
    pub version: i64,
    /// The data, valid under the collection's JSON Schema.
    pub data: Json,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Which collection, of which plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionRef {
    /// The plugin that owns it.
    pub plugin: String,
    /// Its name within the plugin.
    pub collection: String,
}

impl CollectionRef {
    /// As permissions and events call it: `plugin.collection`.
    pub fn resource(&self) -> String {
        format!("{}.{}", self.plugin, self.collection)
    }
}

/// A page of records.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// The records, in the order asked for.
    pub rows: Vec<Record>,
    /// Where the next page begins; none on the last.
    pub next: Option<String>,
}
