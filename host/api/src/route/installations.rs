//! `/installations`.

use axum::{
    extract::State,
    http::header::{
        CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS,
    },
    response::{IntoResponse, Response},
};
use purlin_service::{
    installations::{self, ConfirmPurge, Consent, NewSecret},
    ledger,
    plugin_files::{self, Download},
    plugin_logs,
};
use serde_json::{Value, json};

use crate::{
    App,
    caller::Caller,
    download,
    extract::{Body, InPath, InQuery},
    problem::Problem,
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

pub(crate) async fn configure(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
    Body(settings): Body<Value>,
) -> Answer {
    Reply::ok(installations::configure(&app, &caller, &plugin, settings).await?)
}

pub(crate) async fn set_secret(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): InPath<(String, String)>,
    Body(secret): Body<NewSecret>,
) -> Answer {
    installations::set_secret(&app, &caller, &plugin, &name, secret).await?;
    Reply::none()
}

pub(crate) async fn delete_secret(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): InPath<(String, String)>,
) -> Answer {
    installations::delete_secret(&app, &caller, &plugin, &name).await?;
    Reply::none()
}

pub(crate) async fn files(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
    InQuery(query): InQuery,
) -> Answer {
    Reply::ok(plugin_files::list(&app, &caller, &plugin, &query).await?)
}

/// A file that a plugin keeps. Whatever it says that it is, no browser runs it here.
pub(crate) async fn file(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, key)): InPath<(String, String)>,
) -> Result<Response, Problem> {
    let Download { file, bytes } = plugin_files::open(&app, &caller, &plugin, &key).await?;
    let name = file.key.rsplit('/').next().unwrap_or(&file.key);
    let headers = [
        (CONTENT_TYPE, file.content_type.clone()),
        (CONTENT_LENGTH, file.bytes.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (CONTENT_SECURITY_POLICY, "sandbox".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, download::body(bytes)).into_response())
}

pub(crate) async fn roll_back_preview(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
) -> Answer {
    Reply::ok(installations::roll_back_preview(&app, &caller, &plugin).await?)
}

pub(crate) async fn roll_back(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
) -> Answer {
    Reply::ok(installations::roll_back(&app, &caller, &plugin).await?)
}

pub(crate) async fn resume(State(app): State<App>, Caller(caller): Caller, InPath(plugin): InPath<String>) -> Answer {
    Reply::ok(installations::resume(&app, &caller, &plugin).await?)
}

pub(crate) async fn uninstall(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
) -> Answer {
    installations::uninstall(&app, &caller, &plugin).await?;
    Reply::none()
}

pub(crate) async fn purge_preview(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
) -> Answer {
    Reply::ok(installations::purge_preview(&app, &caller, &plugin).await?)
}

pub(crate) async fn purge(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
    Body(confirm): Body<ConfirmPurge>,
) -> Result<Response, Problem> {
    let job = installations::purge(&app, &caller, &plugin, &confirm).await?;
    let location = format!("/api/v1/jobs/{}", job.id);
    Ok(([(LOCATION, location)], Reply::accepted(job)?).into_response())
}

pub(crate) async fn usage(State(app): State<App>, Caller(caller): Caller, InPath(plugin): InPath<String>) -> Answer {
    Reply::ok(json!({ "data": ledger::usage(&app, &caller, &plugin).await? }))
}

pub(crate) async fn invocations(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(plugin): InPath<String>,
    InQuery(query): InQuery,
) -> Answer {
    Reply::ok(ledger::invocations(&app, &caller, &plugin, &query).await?)
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
