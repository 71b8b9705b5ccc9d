//! `/openapi.json` and `/docs`: the document, and pages to browse it that need nothing
//! from elsewhere.

use std::sync::{Arc, LazyLock};

use axum::{
    body::Bytes,
    extract::State,
    http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    response::{IntoResponse, Redirect, Response},
};
use purlin_service::{ServiceError, installations};
use utoipa_swagger_ui::{Config, serve};

use crate::{
    App,
    caller::Caller,
    extract::InPath,
    openapi,
    problem::Problem,
    reply::{Answer, Reply},
};

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(openapi::document().to_string()));

/// The page loads what this host serves, and nothing else.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:";

pub(crate) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

pub(crate) async fn of_tenant(State(app): State<App>, Caller(caller): Caller) -> Answer {
    let enabled = installations::enabled(&app, &caller).await?;
    Reply::ok(openapi::of_tenant(enabled.iter().map(|plugin| &plugin.loaded.descriptor)))
}

pub(crate) async fn page() -> Redirect {
    Redirect::permanent("/docs/")
}

pub(crate) async fn index(State(_): State<App>) -> Result<Response, Problem> {
    file("index.html")
}

pub(crate) async fn asset(InPath(path): InPath<String>) -> Result<Response, Problem> {
    file(&path)
}

fn file(path: &str) -> Result<Response, Problem> {
    let config = Arc::new(Config::from("/openapi.json"));
    match serve(path, config).map_err(ServiceError::internal)? {
        Some(file) => {
            let headers = [(CONTENT_TYPE, file.content_type), (CONTENT_SECURITY_POLICY, POLICY.to_owned())];
            Ok((headers, file.bytes.into_owned()).into_response())
        }
        None => Err(ServiceError::NotFound.into()),
    }
}
