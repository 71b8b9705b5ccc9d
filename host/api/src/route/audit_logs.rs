//! `/audit-logs`.

use axum::{Json, extract::State};
use purlin_service::{audit, list::ListPage, store::audit::AuditRow};
use uuid::Uuid;

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
) -> Result<Json<ListPage<AuditRow>>, Problem> {
    Ok(Json(audit::list(&app, &caller, &query).await?))
}

pub(crate) async fn get(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(id): InPath<Uuid>,
) -> Result<Json<AuditRow>, Problem> {
    Ok(Json(audit::get(&app, &caller, id).await?))
}
