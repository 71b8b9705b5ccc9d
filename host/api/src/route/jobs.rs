//! `/jobs`.

use axum::extract::State;
use purlin_domain::id::JobId;
use purlin_service::jobs::{self, JobRequest, JobStatus};

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery, Searched},
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(jobs::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(jobs::list(&app, &caller, &query).await?)
}

pub(crate) async fn enqueue(State(app): State<App>, Caller(caller): Caller, Body(request): Body<JobRequest>) -> Answer {
    Reply::accepted(jobs::enqueue(&app, &caller, request).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    Reply::ok(jobs::get(&app, &caller, id).await?)
}

pub(crate) async fn status(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    Reply::ok(JobStatus::from(jobs::get(&app, &caller, id).await?))
}
