//! `/installations`.

use axum::extract::State;
use purlin_service::{
    installations::{self, Consent},
    plugin_logs,
};
use serde_json::json;

use crate::{
    App,
    caller::Caller,
    extract::{Body, InPath, InQuery},
    reply::{Answer, Reply},
};

pub(crate) async fn list(State(app): State<App>, Caller(caller): Caller) -> Answer {
    Reply::ok(json!({ "data": installations::list(&app, &caller).await? }))
}

pub(crate) async fn enable(State(app): State<App>, Caller(caller): Caller, Body(consent): Body<Consent>) -> Answer {
    Reply::created(installations::enable(&app, &caller, consent).await?)
}

pub(crate) async fn get(State(app): State<App>, Caller(caller): Caller, InPath(plugin): InPath<String>) -> Answer {
    Reply::ok(installations::get(&app, &caller, &plugin).await?)
}

pub(crate) async fn disable(State(app): State<App>, Caller(caller): Caller, InPath(plugin): InPath<String>) -> Answer {
    installations::disable(&app, &caller, &plugin).await?;
    Reply::none()
}

pub(crate) async fn logs(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
    InQuery(query): InQuery,
) -> Answer {
    Reply::ok(plugin_logs::list(&app, &caller, &plugin, &query).await?)
}
