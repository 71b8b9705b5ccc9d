//! `/jobs`.

use axum::{
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use purlin_domain::id::JobId;
use purlin_service::jobs::{self, JobBatch, JobRequest, JobStatus, NewPause, RetryMany};
use purlin_service::reports;
use serde_json::json;

use crate::{
    App,
    caller::Caller,
    download,
    extract::{Body, InPath, InQuery, Searched},
    problem::Problem,
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller, InQuery(query): InQuery) -> Answer {
    Reply::ok(jobs::list(&app, &caller, &query).await?)
}

pub(crate) async fn search(State(app): State<App>, Caller(caller): Caller, Searched(query): Searched) -> Answer {
    Reply::ok(jobs::list(&app, &caller, &query).await?)
}

pub(crate) async fn enqueue(State(app): State<App>, Caller(caller): Caller, Body(request): Body<JobRequest>) -> Answer {
    Reply::accepted(jobs::enqueue(&app, &caller, &request).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    Reply::ok(jobs::get(&app, &caller, id).await?)
}

pub(crate) async fn status(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    Reply::ok(JobStatus::from(jobs::get(&app, &caller, id).await?))
}

pub(crate) async fn enqueue_many(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(batch): Body<JobBatch>,
) -> Answer {
    Reply::accepted(jobs::enqueue_many(&app, &caller, &batch).await?)
}

pub(crate) async fn why(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    Reply::ok(jobs::why(&app, caller.tenant, id).await?)
}

pub(crate) async fn cancel(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    Reply::ok(jobs::cancel(&app, &caller, id).await?)
}

pub(crate) async fn retry(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    Reply::ok(jobs::retry(&app, &caller, id).await?)
}

pub(crate) async fn retry_many(State(app): State<App>, Caller(caller): Caller, Body(which): Body<RetryMany>) -> Answer {
    Reply::ok(jobs::retry_many(&app, &caller, &which).await?)
}

pub(crate) async fn discard(State(app): State<App>, Caller(caller): Caller, InPath(id): InPath<JobId>) -> Answer {
    jobs::discard(&app, &caller, id).await?;
    Reply::none()
}

pub(crate) async fn paused(State(app): State<App>, Caller(caller): Caller) -> Answer {
    Reply::ok(json!({ "data": jobs::paused(&app, &caller).await? }))
}

pub(crate) async fn pause(State(app): State<App>, Caller(caller): Caller, Body(pause): Body<NewPause>) -> Answer {
    Reply::created(jobs::pause(&app, &caller, &pause).await?)
}

pub(crate) async fn resume(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((queue, kind)): InPath<(String, String)>,
) -> Answer {
    jobs::resume(&app, &caller, &queue, &kind).await?;
    Reply::none()
}

/// The file that a job made, read while the client takes it.
pub(crate) async fn file(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<JobId>,
) -> Result<Response, Problem> {
    let report = reports::open(&app, &caller, id).await?;
    let headers = [
        (CONTENT_TYPE, report.media_type.to_owned()),
        (CONTENT_LENGTH, report.length.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", report.name)),
    ];
    Ok((headers, download::body(report.bytes)).into_response())
}
