//! `/installations`.

use axum::{Json, extract::State, http::StatusCode};
use purlin_service::{
    installations::{self, Consent, InstallationView},
    list::ListPage,
    plugin_logs,
    store::plugin_logs::PluginLog,
};
use serde_json::{Value, json};

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery},
    problem::Problem,
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller) -> Result<Json<Value>, Problem> {
    let views = installations::list(&app, &caller).await?;
    Ok(Json(json!({ "data": views })))
}

pub(crate) async fn enable(
    State(app): State<App>,
    Caller(caller): Caller,
    Body(consent): Body<Consent>,
) -> Result<(StatusCode, Json<InstallationView>), Problem> {
    Ok((StatusCode::CREATED, Json(installations::enable(&app, &caller, consent).await?)))
}

pub(crate) async fn get(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
) -> Result<Json<InstallationView>, Problem> {
    Ok(Json(installations::get(&app, &caller, &plugin).await?))
}

pub(crate) async fn disable(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
) -> Result<StatusCode, Problem> {
    installations::disable(&app, &caller, &plugin).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn logs(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
    InQuery(query): InQuery,
) -> Result<Json<ListPage<PluginLog>>, Problem> {
    Ok(Json(plugin_logs::list(&app, &caller, &plugin, &query).await?))
}
