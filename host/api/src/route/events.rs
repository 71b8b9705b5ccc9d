//! `/events`.

use axum::extract::State;
use purlin_domain::id::EventId;
use purlin_service::events;

use crate::{
    App,
    caller::Caller,
    extract::{InPath, InQuery, Searched},
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(events::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(events::list(&app, &caller, &query).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<EventId>) -> Answer {
    Reply::ok(events::get(&app, &caller, id).await?)
}
