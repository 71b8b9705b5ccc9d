//! Events: facts that were committed, and what caused them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Json, Timestamp,
    id::{EventId, UserId},
    trace::Trace,
};

/// What led here, handed down from a request through every event and job it causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The user whose request began it.
    pub user: Option<UserId>,
    /// The event being handled, where one is.
    pub event: Option<EventId>,
    /// The first event or job of the chain; a fresh id for a request. What bounds a chain is
    /// counted by it: unlike the trace, nobody outside can choose it.
    pub root: Uuid,
    /// 0 for what a request causes, one more for each step after it.
    pub depth: u32,
    /// The span that causes it.
    pub trace: Trace,
}

impl Event {
    /// Make it what whoever is outside reads: `dataschema` is an absolute URI, as CloudEvents asks for.
    pub fn show_outside(&mut self, public_url: &str) {
        if let Some(path) = &mut self.dataschema {
            path.insert_str(0, public_url.trim_end_matches('/'));
        }
    }
}

impl Cause {
    /// What begins a chain, under a fresh id.
    pub fn first(user: Option<UserId>, root: Uuid, trace: Trace) -> Self {
        Self { user, event: None, root, depth: 0, trace }
    }
}

/// An event about to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// Who publishes it: `/core`, or `/plugins/{name}`.
    pub source: String,
    /// For example `inventory.movements.created`.
    pub event_type: String,
    /// What it is about, usually an id.
    pub subject: Option<String>,
    /// The payload.
    pub data: Json,
}

/// A published event, in the words of CloudEvents 1.0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Who published it: `/core`, or `/plugins/{name}`.
    pub source: String,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When it was committed, as the publisher's clock had it.
    pub time: Timestamp,
    /// Where the schema of the payload is told, for the platform's own events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataschema: Option<String>,
    /// The payload.
    pub data: Json,
    /// The user whose request caused it.
    pub actor: Option<UserId>,
    /// The event whose handling published this one.
    pub caused_by: Option<EventId>,
    /// Steps from the request that began the chain.
    pub depth: u32,
    /// The span that published it, as W3C Trace Context writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}
