//! `/events`.

use std::{convert::Infallible, future::ready, time::Duration};

use axum::{
    extract::{OriginalUri, State},
    http::{HeaderMap, HeaderName, header::LOCATION},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt, stream};
use purlin_domain::{access::Permission, id::EventId, pattern::Pattern};
use purlin_service::{
    ServiceError,
    events::{self, NewEventRequest, Replay, ReplayMany, Stream},
    store::events::Placed,
    users::Enqueued,
};
use serde_json::json;

use crate::{
    App,
    caller::{Caller, Standing},
    extract::{Body, InPath, InQuery, Searched},
    problem::Problem,
    reply::{Answer, Reply},
};

/// The media type of server-sent events.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
/// Between two looks whether whoever listens still may.
const LOOK_EVERY: Duration = Duration::from_secs(4);

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(events::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(events::list(&app, &caller, &query).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<EventId>) -> Answer {
    Reply::ok(events::get(&app, &caller, id).await?)
}

pub(crate) async fn types(State(app): State<App>, Caller(caller): Caller) -> Answer {
    Reply::ok(json!({ "data": events::types(&app, &caller).await? }))
}

pub(crate) async fn event_type(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((name, version)): InPath<(String, String)>,
) -> Answer {
    Reply::ok(events::event_type(&app, &caller, &name, &version).await?)
}

pub(crate) async fn publish(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(new): Body<NewEventRequest>,
) -> Answer {
    Reply::created(events::publish_as(&app, &caller, new).await?)
}

pub(crate) async fn replay(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<EventId>,
    Body(to): Body<Replay>,
) -> Result<Response, Problem> {
    enqueued(events::replay(&app, &caller, id, &to).await?)
}

pub(crate) async fn replay_many(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(which): Body<ReplayMany>,
) -> Result<Response, Problem> {
    enqueued(events::replay_many(&app, &caller, &which).await?)
}

fn enqueued(job: Enqueued) -> Result<Response, Problem> {
    let location = format!("/api/v1/jobs/{}", job.id);
    Ok(([(LOCATION, location)], Reply::accepted(job)?).into_response())
}

/// Events as they are committed. `Last-Event-ID` says where to go on, `type` which (a
/// pattern). It ends when the token does, or whoever listens may not any more; what was
/// missed is made up for when the client comes back.
pub(crate) async fn stream(
    State(app): State<App>,
    Caller(caller): Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let bad = |name: &str, why: String| ServiceError::BadParameter(name.to_owned(), why);
    let mut pattern = None;
    for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "type" => pattern = Some(Pattern::try_from(value.into_owned()).map_err(|why| bad("type", why))?),
            other => return Err(bad(other, "an event stream takes `type` alone".to_owned()).into()),
        }
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let after = text("last-event-id").filter(|id| !id.is_empty());
    let standing = Standing::of(&headers, Permission::new("events", "read"));
    let stream = events::stream(&app, caller.tenant, pattern, after.as_deref()).await?;
    // A client that is cut off before the first event knows from this where to go on.
    let begin = stream::once(ready(Ok::<_, Infallible>(sse::Event::default().id(stream.place()))));
    let listener = Listener { app, standing, stream, ready: Vec::new().into_iter() };
    let told = stream::unfold(listener, |mut listener| async move {
        let placed = listener.next().await?;
        let id = listener.stream.id_of(&placed);
        Some((Ok::<_, Infallible>(told(&placed, id)), listener))
    });
    let stream = Sse::new(begin.chain(told)).keep_alive(KeepAlive::default());
    Ok(([(UNBUFFERED, "no")], stream).into_response())
}

/// Has nginx pass each event on at once.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

struct Listener {
    app: App,
    standing: Standing,
    stream: Stream,
    ready: std::vec::IntoIter<Placed>,
}

impl Listener {
    /// The next event; none when the stream ends.
    async fn next(&mut self) -> Option<Placed> {
        loop {
            if let Some(placed) = self.ready.next() {
                return Some(placed);
            }
            self.standing.check(&self.app).await.ok()?;
            self.ready = self.stream.next(LOOK_EVERY).await.ok()?.into_iter();
        }
    }
}

fn told(placed: &Placed, id: String) -> sse::Event {
    let event = sse::Event::default().id(id).event(&placed.event.event_type);
    // JSON has no line breaks of its own here, and what cannot be written as JSON is not published.
    event.json_data(&placed.event).unwrap_or_default()
}
