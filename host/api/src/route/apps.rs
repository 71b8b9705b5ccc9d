//! `/apps/{plugin}`: the collections of enabled plugins, and below `-` their routes.

use axum::{
    RequestExt,
    body::Bytes,
    extract::{FromRequest, OriginalUri, Query, Request, State},
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{self, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use purlin_domain::{id::RecordId, record::CollectionRef, route::GuestResponse};
use purlin_service::{
    ServiceError, records,
    routes::{self, Asked},
};
use serde_json::Value;

use crate::{
    App,
    caller::Caller,
    extract::{Body, IfMatch, InPath, InQuery, Searched},
    problem::Problem,
    reply::{Answer, Reply},
};

/// The media type of what a plugin takes and answers, as far as the document can tell.
pub(crate) const ANYTHING: &str = "application/octet-stream";
/// Headers that concern the connection, the credentials or the platform: no plugin sees them.
const KEPT_FROM_PLUGINS: [HeaderName; 13] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONNECTION,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("idempotency-key"),
];
/// Headers that plugins may set beside those that begin with `x-`.
const LEFT_TO_PLUGINS: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::CACHE_CONTROL,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::RETRY_AFTER,
    header::VARY,
];

type OfCollection = InPath<(String, String)>;
type OfRecord = InPath<(String, String, RecordId)>;

fn collection(plugin: String, collection: String) -> CollectionRef {
    CollectionRef { plugin, collection }
}

pub(crate) async fn list(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): OfCollection,
    InQuery(query): InQuery,
) -> Answer {
    Reply::ok(records::list(&app, &caller, &collection(plugin, name), &query).await?)
}

pub(crate) async fn search(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): OfCollection,
    Searched(query): Searched,
) -> Answer {
    Reply::ok(records::list(&app, &caller, &collection(plugin, name), &query).await?)
}

pub(crate) async fn create(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name)): OfCollection,
    Body(data): Body<Value>,
) -> Answer {
    Reply::created(records::create(&app, &caller, &collection(plugin, name), data).await?)
}

pub(crate) async fn get(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
) -> Answer {
    Reply::ok(records::get(&app, &caller, &collection(plugin, name), id).await?)
}

/// The body is a JSON Merge Patch of the record's data.
pub(crate) async fn patch(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
    IfMatch(expected): IfMatch,
    Body(patch): Body<Value>,
) -> Answer {
    Reply::ok(records::patch(&app, &caller, &collection(plugin, name), id, patch, expected).await?)
}

pub(crate) async fn delete(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
    IfMatch(expected): IfMatch,
) -> Answer {
    records::delete(&app, &caller, &collection(plugin, name), id, expected).await?;
    Reply::none()
}

/// A request to a route of a plugin, as the plugin may see it.
pub(crate) struct ForPlugin(Asked);

impl<S: Send + Sync> FromRequest<S> for ForPlugin {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        let OriginalUri(uri) = request.extract_parts().await.unwrap_or_else(|never| match never {});
        // As it was sent: what a parameter holds may contain a slash.
        let below = uri.path().strip_prefix("/api/v1/apps/").and_then(|rest| rest.split_once('/'));
        let path = below.and_then(|(_, rest)| rest.strip_prefix('-')).ok_or(ServiceError::NotFound)?.to_owned();
        let Query(query) =
            Query::try_from_uri(&uri).map_err(|rejection| Problem::bad_parameter("", rejection.body_text()))?;
        let shown = request.headers().iter().filter(|(name, _)| !KEPT_FROM_PLUGINS.contains(name));
        let headers =
            shown.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect();
        let method = request.method().to_string();
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::from_body_status(rejection.status(), rejection.body_text()))?;
        Ok(Self(Asked { method, path, query, headers, body: body.into() }))
    }
}

/// A request to a route of a plugin.
pub(crate) async fn route(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, _)): InPath<(String, String)>,
    ForPlugin(asked): ForPlugin,
) -> Result<Response, Problem> {
    Ok(response(routes::answer(&app, &caller, &plugin, asked).await?))
}

/// What a plugin answered. Whatever it is, no page of it runs as one of the platform's.
pub(crate) fn response(answer: GuestResponse) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in answer.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else { continue };
        let is_own = name.as_str().starts_with("x-") && !name.as_str().starts_with("x-request-id");
        if is_own || LEFT_TO_PLUGINS.contains(&name) {
            headers.append(name, value);
        }
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}
