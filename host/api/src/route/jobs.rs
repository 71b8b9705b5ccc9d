//! `/jobs`.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use purlin_domain::id::JobId;
use purlin_service::{
    jobs::{self, JobRequest},
    list::ListPage,
    store::jobs::{Job, JobSummary},
};
use serde_json::{Value, json};

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery},
    problem::Problem,
};

pub(crate) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    InQuery(query): InQuery,
) -> Result<Json<ListPage<JobSummary>>, Problem> {
    Ok(Json(jobs::list(&app, &caller, &query).await?))
}

pub(crate) async fn enqueue(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(request): Body<JobRequest>,
) -> Result<Response, Problem> {
    let job = jobs::enqueue(&app, &caller, request).await?;
    let location = format!("/api/v1/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(job)).into_response())
}

pub(crate) async fn get(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<JobId>,
) -> Result<Json<Job>, Problem> {
    Ok(Json(jobs::get(&app, &caller, id).await?))
}

pub(crate) async fn status(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<JobId>,
) -> Result<Json<Value>, Problem> {
    let job = jobs::get(&app, &caller, id).await?;
    Ok(Json(json!({
        "id": job.id, "state": job.state, "attempt": job.attempt, "attempts_max": job.attempts_max, "run_at": job.run_at,
        "progress": job.progress, "progress_message": job.progress_message, "last_error": job.last_error,
    })))
}
