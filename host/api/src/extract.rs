//! What handlers take from a request, refused as problems.

use std::{
    any::TypeId,
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{
        HeaderMap, Method, StatusCode,
        header::{CONTENT_TYPE, HOST, IF_MATCH},
        request::Parts,
    },
};
use purlin_domain::{Timestamp, document, error::summary};
use purlin_service::{
    ServiceError,
    list::{ListQuery, Parameter, Search},
    schema::Schema,
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::problem::{MERGE_PATCH, Problem};

/// A JSON body, checked against the JSON Schema of its type, so that everything that is wrong with
/// it is told at once.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned + JsonSchema + 'static, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        media_type(request.method(), request.headers())?;
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::unread_body(rejection.status(), rejection.body_text()))?;
        let document = document::read(&bytes).map_err(|violation| match violation.code.as_str() {
            "json" => Problem::new(StatusCode::BAD_REQUEST, "json", violation.detail),
            _ => ServiceError::Invalid(vec![violation]).into(),
        })?;
        let wrong = shape::<T>()?.violations(&document);
        if !wrong.is_empty() {
            return Err(ServiceError::Invalid(wrong).into());
        }
        Ok(Self(serde_path_to_error::deserialize(document).map_err(|error| undecoded(&error))?))
    }
}

/// What a schema does not say of a value, as that a text is a pattern or a permission, its type
/// says in words of its own. serde's words are for the log.
fn undecoded(error: &serde_path_to_error::Error<serde_json::Error>) -> ServiceError {
    let pointer = error.path().iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } | Segment::Enum { variant: key } => {
            format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
        }
        Segment::Unknown => pointer,
    });
    let why = error.inner().to_string();
    if why.starts_with("invalid ") || why.starts_with("missing ") || why.starts_with("unknown ") {
        tracing::debug!(%error, "a body passed its schema and could not be decoded");
        return ServiceError::invalid(
            &pointer,
            "shape",
            "this value is not acceptable here; see the API's description",
        );
    }
    ServiceError::invalid(&pointer, "shape", why)
}

/// The schema of a type of body, compiled at its first use.
fn shape<T: JsonSchema + 'static>() -> Result<Arc<Schema>, ServiceError> {
    static SHAPES: LazyLock<Mutex<HashMap<TypeId, Arc<Schema>>>> = LazyLock::new(Mutex::default);
    let mut shapes = SHAPES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shape) = shapes.get(&TypeId::of::<T>()) {
        return Ok(Arc::clone(shape));
    }
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    let shape = Schema::compile(schema.as_value()).map_err(|wrong| ServiceError::internal(summary(&wrong)))?;
    Ok(Arc::clone(shapes.entry(TypeId::of::<T>()).or_insert(Arc::new(shape))))
}

/// What a JSON body may be called: `application/json`, and for a change also JSON Merge Patch.
fn media_type(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((key, value)) if key.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    let is_patch = *method == Method::PATCH && name == MERGE_PATCH;
    if is_utf8 && (name == JSON || is_patch) { Ok(()) } else { Err(Problem::media_type(method)) }
}

const JSON: &str = "application/json";

/// Path parameters. One that does not parse names nothing, and neither does text that no database
/// can hold.
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::<T>::from_request_parts(parts, state).await.map_err(|_| ServiceError::NotFound)?;
        if parts.uri.path().contains("%00") {
            return Err(ServiceError::NotFound.into());
        }
        Ok(Self(value))
    }
}

/// The query string of a list.
pub(crate) struct InQuery(pub(crate) ListQuery);

impl<S: Send + Sync> FromRequestParts<S> for InQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::bad_parameter("", rejection.body_text()))?;
        let mut query = ListQuery { count: wants_count(&parts.headers), ..ListQuery::default() };
        for (name, value) in pairs.0 {
            match name.as_str() {
                "sort" => query.sort = value.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect(),
                "page[size]" => {
                    let size =
                        value.parse().map_err(|_| Problem::bad_parameter(&name, "this is not a number of rows"))?;
                    query.size = Some(size);
                }
                "q" => query.words = Some(value),
                "page[after]" => query.after = Some(value),
                "page[before]" => query.before = Some(value),
                _ => query.parameters.push(filter(name, value)?),
            }
        }
        Ok(Self(query))
    }
}

/// The body of a search.
pub(crate) struct Searched(pub(crate) ListQuery);

impl<S: Send + Sync> FromRequest<S> for Searched {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let count = wants_count(request.headers());
        let Body(search) = Body::<Search>::from_request(request, state).await?;
        Ok(Self(ListQuery { count, ..search.into() }))
    }
}

/// `Prefer: count=exact` (RFC 7240).
fn wants_count(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences
        .flat_map(|list| list.split([',', ';']))
        .any(|preference| matches!(preference.trim(), "count=exact" | r#"count="exact""#))
}

/// The host name that a request was sent to, without its port.
pub(crate) struct HostName(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for HostName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let host = parts.headers.get(HOST).and_then(|value| value.to_str().ok());
        let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned());
        Ok(Self(name.filter(|name| name.len() <= 253)))
    }
}

/// `filter[field]=value` or `filter[field][op]=value`.
fn filter(name: String, value: String) -> Result<Parameter, Problem> {
    let inner = name.strip_prefix("filter[").and_then(|rest| rest.strip_suffix(']'));
    let parts = inner.map(|inner| inner.split("][").map(str::to_owned).collect::<Vec<_>>());
    let (field, op) = match parts.as_deref() {
        Some([field]) => (field.clone(), "eq".to_owned()),
        Some([field, op]) => (field.clone(), op.clone()),
        _ => {
            return Err(Problem::bad_parameter(
                &name,
                "use filter[field]=…, filter[field][op]=…, q, sort, page[size], page[after] or page[before]",
            ));
        }
    };
    Ok(Parameter { name, field, op, value })
}

/// The version an `If-Match` names; none without the header, or with `*`.
pub(crate) struct IfMatch(pub(crate) Option<i64>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version =
            text.strip_prefix("\"v").and_then(|rest| rest.strip_suffix('"')).and_then(|number| number.parse().ok());
        version.map(|v| Self(Some(v))).ok_or_else(no_version)
    }
}

/// When what an `If-Match` names last changed; none without the header, or with `*`.
pub(crate) struct Unchanged(pub(crate) Option<Timestamp>);

impl<S: Sync> FromRequestParts<S> for Unchanged {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let tag = text.strip_prefix("\"t").and_then(|rest| rest.strip_suffix('"')).and_then(|tag| tag.split_once('-'));
        let micros = tag.and_then(|(micros, _)| i64::from_str_radix(micros, 16).ok());
        micros.and_then(Timestamp::from_timestamp_micros).map(|at| Self(Some(at))).ok_or_else(no_version)
    }
}

/// A tag that is none of ours matches nothing.
fn no_version() -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "precondition_failed",
        "this If-Match names no version of this resource",
    )
}
