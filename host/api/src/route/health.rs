//! `/health`.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use crate::App;

/// The process answers.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// The process can serve: its database, and the bus where there is one, answer. 503
/// without the database; a bus that is away only slows jobs down.
pub(crate) async fn health(State(app): State<App>) -> (StatusCode, Json<Value>) {
    let word = |holds: bool| if holds { "ok" } else { "unavailable" };
    let database =
        app.db.ping().await.inspect_err(|error| tracing::warn!(%error, "the database does not answer")).is_ok();
    let bus = match &app.bus {
        Some(bus) => json!(word(bus.ping().await.is_ok())),
        None => json!("not configured"),
    };
    let status = if database { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": word(database),
        "version": env!("CARGO_PKG_VERSION"),
        "checks": { "database": word(database), "database_kind": app.db.kind(), "bus": bus },
    });
    (status, Json(body))
}
