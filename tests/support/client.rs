//! A client of a host, signed in or not.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use tokio::time::sleep;

#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    pub token: Option<String>,
    /// What signing in answered.
    pub me: Value,
}

/// An answer, kept whole.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Client {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { http, base: base.to_owned(), token: None, me: Value::Null }
    }

    pub async fn signed_in(mut self, path: &str, body: &Value, status: u16) -> Self {
        self.me = self.post(path, body).await.expect(status);
        self.token = self.me["access_token"].as_str().map(str::to_owned);
        self
    }

    /// The same caller at a host that listens elsewhere now.
    pub fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// The same caller over connections of its own, for another runtime.
    pub fn apart(&self) -> Self {
        Self { http: Self::new("").http, ..self.clone() }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn upload(&self, component: Vec<u8>) -> Answer {
        let request = self.request(Method::POST, "/api/v1/plugins").header("content-type", "application/wasm");
        self.send(request.body(component)).await
    }

    pub async fn enable(&self, plugin: &str) {
        self.post("/api/v1/installations", &json!({ "plugin": plugin, "grants": "all" })).await.expect(201);
    }

    /// Create a record; its id.
    pub async fn create(&self, collection: &str, data: Value) -> String {
        let record = self.post(&format!("/api/v1/apps/{collection}"), &data).await.expect(201);
        record["id"].as_str().unwrap().to_owned()
    }

    /// Enqueue a job and wait for its end.
    pub async fn run(&self, kind: &str, payload: Value) -> Value {
        let job = self.post("/api/v1/jobs", &json!({ "kind": kind, "payload": payload })).await.expect(202);
        self.wait_for_job(job["id"].as_str().unwrap()).await
    }

    pub async fn wait_for_job(&self, id: &str) -> Value {
        for _ in 0..600 {
            let job = self.get(&format!("/api/v1/jobs/{id}")).await.expect(200);
            if job["finished_at"].is_string() {
                return job;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("job {id} does not end: {:#}", self.get(&format!("/api/v1/jobs/{id}")).await.body);
    }

    /// Wait until no job waits or runs.
    pub async fn settle(&self) {
        for _ in 0..600 {
            let open = self.get("/api/v1/jobs?filter[state][in]=scheduled,waiting,ready,running").await.expect(200);
            if open["data"].as_array().unwrap().is_empty() {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "jobs do not end: {:#}",
            self.get("/api/v1/jobs?filter[state][in]=scheduled,waiting,ready,running").await.body
        );
    }

    /// The rows of a list.
    pub async fn rows(&self, path: &str) -> Vec<Value> {
        self.get(path).await.expect(200)["data"].as_array().unwrap().clone()
    }

    /// The messages in a plugin's log.
    pub async fn log_of(&self, plugin: &str) -> Vec<String> {
        let rows = self.rows(&format!("/api/v1/installations/{plugin}/logs?sort=created_at&page[size]=200")).await;
        rows.iter().map(|row| row["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The code of a problem of this status.
    #[track_caller]
    pub fn problem(self, status: u16) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{:#}", self.body);
        self.expect(status)["code"].as_str().unwrap().to_owned()
    }
}
