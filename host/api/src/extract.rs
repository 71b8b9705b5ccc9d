//! What handlers take from a request, refused as problems.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header::IF_MATCH, request::Parts},
};
use purlin_domain::text::{NUL, has_nul};
use purlin_service::{
    ServiceError,
    list::{ListQuery, Parameter},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::problem::Problem;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Json(value) = Json::<Value>::from_request(request, state).await?;
        if has_nul(&value) {
            return Err(ServiceError::invalid("", "value", NUL).into());
        }
        let value = T::deserialize(value).map_err(|error| ServiceError::invalid("", "shape", error.to_string()))?;
        Ok(Self(value))
    }
}

/// Path parameters. One that does not parse names nothing.
pub(crate) struct InPath<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(value) = Path::<T>::from_request_parts(parts, state).await.map_err(|_| ServiceError::NotFound)?;
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
        let mut query = ListQuery::default();
        for (name, value) in pairs.0 {
            match name.as_str() {
                "sort" => query.sort = value.split(',').filter(|key| !key.is_empty()).map(str::to_owned).collect(),
                "page[size]" => {
                    let size =
                        value.parse().map_err(|_| Problem::bad_parameter(&name, "this is not a number of rows"))?;
                    query.size = Some(size);
                }
                "page[after]" => query.after = Some(value),
                _ => query.parameters.push(filter(name, value)?),
            }
        }
        Ok(Self(query))
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
                "use filter[field]=…, filter[field][op]=…, sort, page[size] or page[after]",
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
        // A tag that is none of ours matches nothing.
        version.map(|v| Self(Some(v))).ok_or_else(|| {
            Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                "this If-Match names no version of this resource",
            )
        })
    }
}

/// The tag of a version.
pub(crate) fn etag(version: i64) -> String {
    format!("\"v{version}\"")
}
