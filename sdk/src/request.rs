//! Requests to the plugin's routes, and its answers.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, bindings::exports::purlin::platform::guest as wit};

/// A request to a route that the descriptor declares.
#[derive(Clone, Debug)]
pub struct Request {
    /// The id that the caller's answer and the audit log carry.
    pub id: String,
    /// Its method.
    pub method: String,
    /// The route as declared, for example `/items/{id}/label`.
    pub route: String,
    /// The path as called, below the plugin's own.
    pub path: String,
    /// The query, decoded, in its order.
    pub query: Vec<(String, String)>,
    /// Headers, their names in lower case; without credentials.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    params: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn from_wit(request: wit::Request) -> Self {
        let wit::Request { id, method, route, path, params, query, headers, body } = request;
        Self { id, method, route, path, query, headers, body, params }
    }

    /// The value of a parameter of the route; empty for one that it does not have.
    pub fn param(&self, name: &str) -> &str {
        find(&self.params, name).unwrap_or_default()
    }

    /// The first value of a query parameter.
    pub fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// The first value of a header; its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body, read as JSON; [`Error::Invalid`] says what is wrong with it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::shape(&error))
    }
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// An answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// An answer of this status (200 to 599) without a body.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// 200, with this as JSON.
    pub fn json<T: Serialize>(value: &T) -> Result<Self, Error> {
        let body = serde_json::to_vec(value).map_err(|error| Error::shape(&error))?;
        Ok(Self::new(200).header("content-type", "application/json").body(body))
    }

    /// 200, with this text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(200).header("content-type", "text/plain; charset=utf-8").body(text.into().into_bytes())
    }

    /// The same with another status.
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// Add a header: one of content (`content-type`, `content-disposition`, `content-language`),
    /// caching (`cache-control`, `etag`, `last-modified`, `vary`), `location`, `retry-after`, or
    /// one that begins with `x-`. The host leaves out others.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with this body, 1 MiB at most.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) fn into_wit(self) -> wit::Response {
        wit::Response { status: self.status, headers: self.headers, body: self.body }
    }
}
