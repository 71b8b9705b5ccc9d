//! Answers: a JSON value with the headers that follow from it, the same for a fresh answer
//! and for one that is given again.

use axum::{
    Json,
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_LOCATION, ETAG, EXPIRES, HeaderName, IF_NONE_MATCH, LOCATION, VARY},
    },
    response::{IntoResponse, Response},
};
use purlin_domain::Timestamp;
use purlin_service::ServiceError;
use serde::Serialize;
use serde_json::Value;

use crate::problem::Problem;

/// An answer.
pub(crate) struct Reply {
    status: StatusCode,
    body: Value,
}

/// What a handler answers.
pub(crate) type Answer = Result<Reply, Problem>;

impl Reply {
    pub(crate) fn new(status: StatusCode, view: impl Serialize) -> Answer {
        let body = serde_json::to_value(view).map_err(ServiceError::internal)?;
        Ok(Self { status, body })
    }

    pub(crate) fn ok(view: impl Serialize) -> Answer {
        Self::new(StatusCode::OK, view)
    }

    pub(crate) fn created(view: impl Serialize) -> Answer {
        Self::new(StatusCode::CREATED, view)
    }

    pub(crate) fn accepted(view: impl Serialize) -> Answer {
        Self::new(StatusCode::ACCEPTED, view)
    }

    /// Nothing to show.
    pub(crate) fn none() -> Answer {
        Ok(Self { status: StatusCode::NO_CONTENT, body: Value::Null })
    }
}

/// The id of what was created, for [`located`].
#[derive(Clone)]
struct NewId(String);

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        if self.body.is_null() {
            return if self.status == StatusCode::OK {
                StatusCode::NO_CONTENT.into_response()
            } else {
                self.status.into_response()
            };
        }
        let tag = tag_of(&self.body).and_then(|tag| HeaderValue::from_str(&tag).ok());
        let id = name_of(self.status, &self.body);
        let mut response = (self.status, Json(self.body)).into_response();
        response.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
        if let Some(id) = id {
            response.extensions_mut().insert(NewId(id));
        }
        response
    }
}

/// By what name what was made is found below the list it was added to.
fn name_of(status: StatusCode, body: &Value) -> Option<String> {
    // An installation goes by its plugin; a job is accepted rather than created.
    let name = match status {
        StatusCode::CREATED if body.get("asks_for").is_some() => "plugin",
        StatusCode::CREATED => "id",
        StatusCode::ACCEPTED if body.get("kind").is_some() => "id",
        _ => return None,
    };
    body.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Say where what was created is: below the list it was added to.
pub(crate) fn located(mut response: Response, uri: &Uri) -> Response {
    let id = response.extensions_mut().remove::<NewId>();
    let location = id.and_then(|NewId(id)| HeaderValue::from_str(&format!("{}/{id}", uri.path())).ok());
    if let Some(location) = location
        && !response.headers().contains_key(LOCATION)
    {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// What a 304 has of the answer in whose place it stands (RFC 9110, 15.4.5).
const KEPT: [HeaderName; 5] = [CACHE_CONTROL, CONTENT_LOCATION, ETAG, EXPIRES, VARY];

/// 304 for who has it already.
pub(crate) fn unless_known(asked: &HeaderMap, response: Response) -> Response {
    let (Some(tag), true) = (response.headers().get(ETAG), response.status() == StatusCode::OK) else {
        return response;
    };
    let same = |known: &str| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known).as_bytes() == tag.as_bytes()
    };
    let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    if !known.flat_map(|list| list.split(',')).any(same) {
        return response;
    }
    let kept: HeaderMap = KEPT
        .into_iter()
        .flat_map(|name| response.headers().get_all(&name).iter().map(move |value| (name.clone(), value.clone())))
        .collect();
    (StatusCode::NOT_MODIFIED, kept).into_response()
}

/// The tag of one thing: of its version, where it has one, else of when it last changed and
/// of how it looks. A list has none.
fn tag_of(body: &Value) -> Option<String> {
    if let (Some(version), Some(_)) = (body.get("version").and_then(Value::as_i64), body.get("data")) {
        return Some(format!("\"v{version}\""));
    }
    body.get("id").or_else(|| body.get("name"))?;
    let changed = body.get("updated_at").or_else(|| body.get("created_at")).or_else(|| body.get("time"))?;
    let changed: Timestamp = changed.as_str()?.parse().ok()?;
    let looks = blake3::hash(body.to_string().as_bytes()).to_hex();
    Some(format!("\"t{:x}-{}\"", changed.timestamp_micros(), looks.get(..16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_it_already_is_told_how_long_it_is_good_and_nothing_of_its_content() {
        let answer =
            [("etag", "\"a\""), ("cache-control", "max-age=60"), ("vary", "accept"), ("content-type", "text/css")];
        let asked = |tags: &'static str| HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(tags))]);
        let known = unless_known(&asked("\"b\", W/\"a\""), (answer, "body").into_response());
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        let names: Vec<&str> = known.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["cache-control", "etag", "vary"]);
        let unknown = unless_known(&asked("\"b\""), (answer, "body").into_response());
        assert_eq!((unknown.status(), unknown.headers().len()), (StatusCode::OK, 4));
    }
}
