//! `http`: requests to the hosts that were granted.

use std::time::Duration;

use purlin_domain::{
    error::HostError,
    fetch::{FetchRequest, Fetched},
};

use super::Host;
use crate::{
    bindings::purlin::platform::{http as wit, types},
    state::State,
};

/// What the platform answers.
pub trait Http {
    /// Send a request.
    fn fetch(&mut self, request: FetchRequest) -> impl Future<Output = Result<Fetched, HostError>> + Send;
}

fn request_bytes(request: &wit::Request) -> usize {
    let headers = request.headers.iter().map(|(name, value)| name.len() + value.len());
    request.method.len() + request.url.len() + headers.sum::<usize>() + request.body.len()
}

impl<H: Host> wit::Host for State<H> {
    async fn fetch(&mut self, request: wit::Request) -> wasmtime::Result<Result<wit::Response, types::Error>> {
        let host = self.call(request_bytes(&request))?;
        let wit::Request { method, url, headers, body, timeout_ms } = request;
        let timeout = timeout_ms.map(|ms| Duration::from_millis(ms.into()));
        let answer = host.fetch(FetchRequest { method, url, headers, body, timeout }).await;
        let response = |Fetched { status, headers, body }| wit::Response { status, headers, body };
        Ok(answer.map(response).map_err(types::Error::from))
    }
}
