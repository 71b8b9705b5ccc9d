//! `/apps/{plugin}`: the collections of enabled plugins, and below `-` their routes.

use axum::{
    RequestExt,
    body::Bytes,
    extract::{FromRequest, OriginalUri, Query, Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode, Uri,
        header::{self, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use purlin_domain::{descriptor::is_of_proxies, id::RecordId, record::CollectionRef, route::GuestResponse};
use purlin_service::{
    ServiceError, personal, records,
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
/// Headers that plugins see, beside those that begin with one of [`SHOWN`], of which those with `x-`
/// only where the route names them: neither credentials nor what concerns the connection or a proxy before the host.
const SHOWN_WHOLE: [HeaderName; 2] = [header::USER_AGENT, header::ORIGIN];
const SHOWN: [&str; 4] = ["accept", "content-", "if-", "x-"];
/// Headers that plugins may set beside those that begin with `x-`.
const LEFT_TO_PLUGINS: [HeaderName; 8] = [
    header::CONTENT_TYPE,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
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

pub(crate) async fn erase(
    State(app): State<App>,
    Caller(caller): Caller,
    InPath((plugin, name, id)): OfRecord,
) -> Answer {
    Reply::ok(personal::erase(&app, &caller, &collection(plugin, name), id).await?)
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

/// The plugin that a path names, and what lies below the plugin's own, as it was sent: what a
/// parameter holds may contain a slash.
pub(crate) fn named(uri: &Uri) -> Option<(&str, &str)> {
    let (plugin, rest) = uri.path().strip_prefix("/api/v1/apps/")?.split_once('/')?;
    Some((plugin, rest.strip_prefix('-')?))
}

/// The method of a route. Of an answer to HEAD the body is left out, whoever made it.
pub(crate) fn method(asked: &Method) -> &str {
    if asked == Method::HEAD { Method::GET.as_str() } else { asked.as_str() }
}

/// A request to a route of a plugin, as the plugin may see it.
pub(crate) struct ForPlugin(Asked);

impl<S: Send + Sync> FromRequest<S> for ForPlugin {
    type Rejection = Problem;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        let OriginalUri(uri) = request.extract_parts().await.unwrap_or_else(|never| match never {});
        let path = named(&uri).ok_or(ServiceError::NotFound)?.1.to_owned();
        let Query(query) =
            Query::try_from_uri(&uri).map_err(|rejection| Problem::bad_parameter("", rejection.body_text()))?;
        let shown = request.headers().iter().filter(|(name, _)| is_shown(name));
        let headers =
            shown.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect();
        let method = method(request.method()).to_owned();
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::unread_body(rejection.status(), rejection.body_text()))?;
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

fn begins_with_one(name: &HeaderName, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| name.as_str().starts_with(beginning))
}

fn is_shown(name: &HeaderName) -> bool {
    (SHOWN_WHOLE.contains(name) || begins_with_one(name, &SHOWN)) && !is_of_proxies(name.as_str())
}

/// What a plugin answered. Whatever it is, no page of it runs as one of the platform's, and no
/// cache that several callers share keeps it.
pub(crate) fn response(answer: GuestResponse) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, answer.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    for (name, value) in answer.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else { continue };
        let is_own = name.as_str().starts_with("x-") && !is_of_proxies(name.as_str());
        if name == header::VARY {
            headers.append(name, value);
        } else if is_own || LEFT_TO_PLUGINS.contains(&name) {
            headers.insert(name, value);
        } else if name == header::CACHE_CONTROL
            && let Some(value) = private(&value)
        {
            headers.insert(name, value);
        }
    }
    headers.append(header::VARY, HeaderValue::from_static("authorization"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    response
}

/// How a cache may keep an answer: for its caller alone, whatever the plugin said.
fn private(asked: &HeaderValue) -> Option<HeaderValue> {
    let asked = asked.to_str().ok()?.to_ascii_lowercase();
    let directives = asked.split(',').map(str::trim);
    let own: Vec<&str> = directives
        .filter(|d| !d.is_empty() && *d != "public" && !d.starts_with("private") && !d.starts_with("s-maxage"))
        .collect();
    HeaderValue::try_from(["private"].into_iter().chain(own).collect::<Vec<_>>().join(", ")).ok()
}
