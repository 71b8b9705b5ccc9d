//! `/plugins`.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
};
use purlin_domain::limits::COMPONENT_BYTES_MAX;
use purlin_service::{
    plugins::{self, VersionView},
    publishers::{self, PublisherKey},
};
use serde_json::json;

use crate::{
    App,
    caller::Caller,
    extract::{Body as JsonBody, InPath},
    problem::Problem,
    reply::{Answer, Reply},
};

/// Sending 32 MiB, waiting for another compilation, compiling: more than a request usually gets.
pub(crate) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);

const WASM: &str = "application/wasm";
/// The publisher's signature of the body: Ed25519, in base64.
const SIGNATURE: &str = "plugin-signature";

/// The body is the component itself. 201 for a new version, 200 for one that is known.
pub(crate) async fn upload(
    State(app): State<App>,
    Caller(caller): Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != WASM) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type",
            "send the component as `Content-Type: application/wasm`",
        ));
    }
    let too_large = |_| {
        Problem::from_body_status(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a component takes at most {COMPONENT_BYTES_MAX} bytes, sent whole"),
        )
    };
    let component = to_bytes(body, COMPONENT_BYTES_MAX).await.map_err(too_large)?;
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
    let (version, new) = plugins::upload(&app, &caller, component.to_vec(), signature).await?;
    let location = format!("/api/v1/plugins/{}/versions/{}", version.plugin, version.version);
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(([(LOCATION, location)], Reply::new(status, VersionView::of(version)?)?).into_response())
}

pub(crate) async fn list(State(app): State<App>) -> Answer {
    Reply::ok(json!({ "data": plugins::list(&app).await? }))
}

pub(crate) async fn get(State(app): State<App>, InPath(name): InPath<String>) -> Answer {
    Reply::ok(plugins::get(&app, &name).await?)
}

pub(crate) async fn version(State(app): State<App>, InPath((name, version)): InPath<(String, String)>) -> Answer {
    Reply::ok(VersionView::of(plugins::version(&app, &name, &version).await?)?)
}

pub(crate) async fn publisher(State(app): State<App>, InPath(name): InPath<String>) -> Answer {
    Reply::ok(publishers::get(&app, &name).await?)
}

pub(crate) async fn set_publisher(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
    JsonBody(key): JsonBody<PublisherKey>,
) -> Answer {
    Reply::ok(publishers::set(&app, &caller, &name, &key).await?)
}

pub(crate) async fn delete_publisher(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath(name): InPath<String>,
) -> Answer {
    publishers::delete(&app, &caller, &name).await?;
    Reply::none()
}
