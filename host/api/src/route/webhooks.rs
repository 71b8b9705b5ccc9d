//! `/webhooks`.

use axum::{
    extract::State,
    http::header::LOCATION,
    response::{IntoResponse, Response},
};
use purlin_service::webhooks::{self, ChangeWebhook, NewWebhook};
use uuid::Uuid;

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery, Searched, Unchanged},
    problem::Problem,
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(webhooks::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(webhooks::list(&app, &caller, &query).await?)
}

pub(crate) async fn create(State(app): State<App>, Caller(caller): Caller, Body(new): Body<NewWebhook>) -> Answer {
    Reply::created(webhooks::create(&app, &caller, new).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<Uuid>) -> Answer {
    Reply::ok(webhooks::get(&app, &caller, id).await?)
}

pub(crate) async fn change(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
    Unchanged(expected): Unchanged,
    Body(change): Body<ChangeWebhook>,
) -> Answer {
    Reply::ok(webhooks::change(&app, &caller, id, change, expected).await?)
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
    Unchanged(expected): Unchanged,
) -> Answer {
    webhooks::delete(&app, &caller, id, expected).await?;
    Reply::none()
}

pub(crate) async fn rotate_secret(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<Uuid>) -> Answer {
    Reply::ok(webhooks::rotate_secret(&app, &caller, id).await?)
}

pub(crate) async fn deliveries(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
    InQuery(query): InQuery,
) -> Answer {
    Reply::ok(webhooks::deliveries(&app, &caller, id, &query).await?)
}

pub(crate) async fn test(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
) -> Result<Response, Problem> {
    let enqueued = webhooks::test(&app, &caller, id).await?;
    let location = format!("/api/v1/jobs/{}", enqueued.id);
    Ok(([(LOCATION, location)], Reply::accepted(enqueued)?).into_response())
}
