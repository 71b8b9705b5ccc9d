//! `events`: publishing.

use purlin_domain::{Json, error::HostError, event::Event, id::EventId};

use super::Host;
use crate::{
    bindings::purlin::platform::{events as wit, types},
    state::{State, json, len, plain},
};

/// What the platform answers.
pub trait Events {
    /// Publish an event, to be committed with the invocation.
    fn publish(
        &mut self,
        event_type: &str,
        subject: Option<String>,
        data: Json,
    ) -> impl Future<Output = Result<EventId, HostError>> + Send;
}

impl<H: Host> wit::Host for State<H> {
    async fn publish(
        &mut self,
        event_type: String,
        subject: Option<String>,
        data: String,
    ) -> wasmtime::Result<Result<String, types::Error>> {
        let host = self.call(event_type.len() + len(subject.as_ref()) + data.len())?;
        let published =
            async { host.publish(&event_type, plain("/subject", subject)?, json("/data", &data)?).await }.await;
        Ok(published.map(|id| id.to_string()).map_err(types::Error::from))
    }
}

impl From<&Event> for wit::Event {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id.to_string(),
            source: event.source.clone(),
            type_: event.event_type.clone(),
            subject: event.subject.clone(),
            time: super::records::timestamp(event.time),
            data_schema: event.dataschema.clone(),
            data: event.data.to_string(),
            actor: event.actor.map(|id| id.to_string()),
            caused_by: event.caused_by.map(|id| id.to_string()),
            depth: event.depth,
        }
    }
}
