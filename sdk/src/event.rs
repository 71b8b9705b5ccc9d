//! Events, as a plugin receives them.

use serde::{Deserialize, de::DeserializeOwned};

use crate::bindings::purlin::platform::events as wit;

/// A published event: a CloudEvents 1.0 envelope.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its id, a UUIDv7.
    pub id: String,
    /// Who published it: `/core` or `/plugins/{name}`.
    pub source: String,
    /// What happened: the event's type, for example `inventory.movements.created`.
    pub kind: String,
    /// What it is about, usually a record's id.
    pub subject: Option<String>,
    /// When, in RFC 3339.
    pub time: String,
    /// Of the platform's own events: where the JSON Schema of the data is told.
    pub data_schema: Option<String>,
    /// The user whose request caused it.
    pub actor: Option<String>,
    /// The event whose handling published this one.
    pub caused_by: Option<String>,
    /// 0 for what a request caused, one more for each step after it.
    pub depth: u32,
    data: String,
}

impl Event {
    pub(crate) fn from_wit(event: wit::Event) -> Self {
        Self {
            id: event.id,
            source: event.source,
            kind: event.type_,
            subject: event.subject,
            time: event.time,
            data_schema: event.data_schema,
            actor: event.actor,
            caused_by: event.caused_by,
            depth: event.depth,
            data: event.data,
        }
    }

    /// The payload.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.data)
    }
}

/// The payload of the events the host publishes for every write to a collection.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordChange<T> {
    /// The record's id.
    pub id: String,
    /// Its version: after a create or an update the new one, after a delete the last.
    pub version: u64,
    /// The data now; none after a delete.
    pub data: Option<T>,
    /// The data before; none for a create.
    pub before: Option<T>,
}
