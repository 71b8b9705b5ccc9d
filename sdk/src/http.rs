//! Requests to the hosts that the descriptor names and the tenant granted.
//!
//! ```no_run
//! use purlin_sdk::http;
//!
//! # fn f() -> Result<(), purlin_sdk::Error> {
//! let rate: f64 = http::get("https://api.example.com/rates/eur").send()?.json()?;
//! # Ok(())
//! # }
//! ```
//!
//! What a request does out there cannot be undone when the invocation fails. So each carries
//! an `Idempotency-Key` that is the same whenever the same invocation sends the same request
//! again, and a run after a conflict is answered from memory.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, bindings::purlin::platform::http as wit};

/// A request to be sent. 1 MiB of body at most.
#[derive(Clone, Debug)]
#[must_use = "a request that is not sent does nothing"]
pub struct Fetch {
    request: wit::Request,
}

/// A request of this method (GET, HEAD, POST, PUT, PATCH or DELETE) to this `https` URL.
pub fn request(method: &str, url: &str) -> Fetch {
    let (method, url) = (method.to_owned(), url.to_owned());
    Fetch { request: wit::Request { method, url, headers: Vec::new(), body: Vec::new(), timeout_ms: None } }
}

/// A GET request.
pub fn get(url: &str) -> Fetch {
    request("GET", url)
}

/// A POST request.
pub fn post(url: &str) -> Fetch {
    request("POST", url)
}

impl Fetch {
    /// Add a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = body.into();
        self
    }

    /// The same with this as JSON.
    pub fn json(self, body: &impl Serialize) -> Result<Self, Error> {
        let text = serde_json::to_vec(body).map_err(|error| Error::shape(&error))?;
        Ok(self.header("content-type", "application/json").body(text))
    }

    /// Wait for the whole answer no longer than this; 15 s at most, also when it is not said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout_ms = Some(u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Send it. Redirects are answers like any other. `NotGranted` for a host that was not
    /// granted, `Unavailable` when no answer came, `Limit` when it is larger than 1 MiB or
    /// eight were sent before.
    pub fn send(self) -> Result<Fetched, Error> {
        let wit::Response { status, headers, body } = wit::fetch(&self.request)?;
        Ok(Fetched { status, headers, body })
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// Headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as it was sent.
    pub body: Vec<u8>,
}

impl Fetched {
    /// Whether the status is 200 to 299.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::shape(&error))
    }
}
