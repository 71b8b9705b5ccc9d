//! A small HTTP client of the API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Client {
    pub fn new(address: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(180)));
        Self { agent: config.build().into(), base: format!("http://{address}"), token: None }
    }

    pub fn sign_in(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        let request = self.agent.get(format!("{}{path}", self.base));
        answer(request.header("authorization", self.authorization()).call().with_context(|| path.to_owned())?)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let request = self.agent.post(format!("{}{path}", self.base));
        answer(request.header("authorization", self.authorization()).send_json(body).with_context(|| path.to_owned())?)
    }

    pub fn delete(&self, path: &str) -> Result<Answer> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        answer(request.header("authorization", self.authorization()).call().with_context(|| path.to_owned())?)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        let request = self.agent.patch(format!("{}{path}", self.base));
        answer(request.header("authorization", self.authorization()).send_json(body).with_context(|| path.to_owned())?)
    }

    pub fn upload(&self, path: &str, component: &[u8]) -> Result<Answer> {
        let request = self.agent.post(format!("{}{path}", self.base)).content_type("application/wasm");
        answer(request.header("authorization", self.authorization()).send(component).with_context(|| path.to_owned())?)
    }

    fn authorization(&self) -> String {
        self.token.as_ref().map_or_else(String::new, |token| format!("Bearer {token}"))
    }
}

fn answer(mut response: Response<Body>) -> Result<Answer> {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string()?;
    Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}

impl Answer {
    /// The body, if the status is this one.
    pub fn expect(self, status: u16) -> Result<Value> {
        if self.status != status {
            bail!("expected {status}, got {}: {:#}", self.status, self.body);
        }
        Ok(self.body)
    }
}

/// The text at a JSON pointer.
pub fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.map(str::to_owned).with_context(|| format!("no {pointer} in {value:#}"))
}
