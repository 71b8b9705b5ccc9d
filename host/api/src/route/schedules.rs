//! `/schedules`.

use axum::{
    extract::State,
    http::header::LOCATION,
    response::{IntoResponse, Response},
};
use purlin_service::schedules::{self, ChangeSchedule};
use uuid::Uuid;

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery, Searched, Unchanged},
    problem::Problem,
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(schedules::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(schedules::list(&app, &caller, &query).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<Uuid>) -> Answer {
    Reply::ok(schedules::get(&app, &caller, id).await?)
}

pub(crate) async fn change(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
    Unchanged(expected): Unchanged,
    Body(change): Body<ChangeSchedule>,
) -> Answer {
    Reply::ok(schedules::change(&app, &caller, id, &change, expected).await?)
}

pub(crate) async fn run(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Problem> {
    let enqueued = schedules::run(&app, &caller, id).await?;
    let location = format!("/api/v1/jobs/{}", enqueued.id);
    Ok(([(LOCATION, location)], Reply::accepted(enqueued)?).into_response())
}
