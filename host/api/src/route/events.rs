//! `/events`.

use axum::{Json, extract::State};
use purlin_domain::{event::Event, id::EventId};
use purlin_service::{events, list::ListPage};

use crate::{
    App,
    caller::Caller,
    extract::{InPath, InQuery},
    problem::Problem,
};

pub(crate) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    InQuery(query): InQuery,
) -> Result<Json<ListPage<Event>>, Problem> {
    Ok(Json(events::list(&app, &caller, &query).await?))
}

pub(crate) async fn get(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<EventId>,
) -> Result<Json<Event>, Problem> {
    Ok(Json(events::get(&app, &caller, id).await?))
}
