//! Requests to hosts that the tenant granted. They cannot be undone, so each carries a key
//! that is the same whenever this invocation sends it, and a run after a conflict is given the
//! answers that came before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use purlin_domain::{
    access::{Authority, Decision},
    descriptor,
    error::HostError,
    fetch::{FetchRequest, Fetched},
    limits::Limit,
};

use super::{HostResult, Unit, aside};
use crate::{
    egress::FetchError,
    secrets::Use,
    trace::{Span, SpanKind},
};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 << 10;
const KEY: &str = "idempotency-key";
const TRACEPARENT: &str = "traceparent";
/// What concerns the connection or the trace, which are the host's.
const OF_HOST: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
    TRACEPARENT,
    "tracestate",
];

/// What was sent by the runs of one invocation, by key, with the answers.
#[derive(Clone, Default)]
pub struct Sent(Arc<Mutex<HashMap<String, Fetched>>>);

impl Sent {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Fetched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unit {
    /// Send a request.
    pub async fn fetch(&mut self, mut request: FetchRequest) -> HostResult<Fetched> {
        self.writable()?;
        check(&request, self.limits.payload_bytes)?;
        let host = self.platform.http.check(&request.url);
        let host = host.map_err(|why| HostError::invalid("/url", "url", why))?;
        self.require_host(&host)?;
        if self.fetches.len() >= self.limits.fetches {
            return Err(HostError::Limit(Limit::Fetches));
        }
        let key = self.key_of(&request)?;
        if let Some(answer) = self.sent.lock().get(&key) {
            return Ok(answer.clone());
        }
        if request.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case(KEY)) {
            request.headers.push((KEY.to_owned(), key.clone()));
        }
        let call = self.cause.trace.child(self.platform.id());
        request.headers.push((TRACEPARENT.to_owned(), call.to_string()));
        let (method, began) = (request.method.clone(), Instant::now());
        let answer = aside(self.platform.http.fetch(request, self.limits.payload_bytes)).await;
        self.platform.span_ended(call, began.elapsed(), || {
            Span::new(&method, SpanKind::Client)
                .failed(answer.as_ref().err().map(FetchError::name))
                .with("http.request.method", method)
                .with("server.address", host)
                .with("http.response.status_code", answer.as_ref().ok().map(|answer| answer.status))
        });
        let answer = answer.map_err(|error| match error {
            FetchError::Refused(pointer, why) => HostError::invalid(pointer, "request", why),
            FetchError::TooLarge => HostError::Limit(Limit::ResponseBytes),
            FetchError::Failed(why) => HostError::Failed(why),
        })?;
        self.sent.lock().insert(key, answer.clone());
        Ok(answer)
    }

    /// Refuse unless the descriptor names the host and the tenant granted it. That is between
    /// the tenant and the plugin; whoever's request led here needs no permission for it.
    fn require_host(&self, host: &str) -> HostResult<()> {
        let plugin = self.acting()?;
        let named: Vec<&String> =
            plugin.loaded.descriptor.egress.iter().filter(|pattern| covers(pattern, host)).collect();
        if named.is_empty() {
            let detail = format!("`{host}` is not among the hosts the descriptor declares");
            return Err(HostError::invalid("/url", "undeclared", detail));
        }
        let authority = Authority { user: None, scopes: None, ..Authority::clone(&self.principal.authority) };
        let mut refused = HostError::NotGranted(descriptor::egress(host).to_string());
        for pattern in named {
            match authority.decide(&descriptor::egress(pattern)) {
                Decision::Allowed => return Ok(()),
                Decision::Denied => refused = HostError::Denied(descriptor::egress(pattern).to_string()),
                Decision::NotGranted => {}
            }
        }
        Err(refused)
    }

    /// The same for the same request of the same job, or of a repetition of the same request:
    /// also when it is run again, and told apart from an equal one before it.
    fn key_of(&mut self, request: &FetchRequest) -> HostResult<String> {
        let plugin = self.acting()?;
        let mut hasher = blake3::Hasher::new();
        for part in [request.method.as_bytes(), request.url.as_bytes(), &request.body] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        let before = self.fetches.iter().filter(|sent| **sent == digest).count() as u64;
        self.fetches.push(digest);
        let repeated = self.principal.idempotency.as_ref().map(|key| key.key.as_bytes());
        let origin = repeated.unwrap_or(self.principal.origin.request_id.as_bytes());
        // A caller's key is the caller's own.
        let actor = format!("{}:{}", self.principal.actor.kind(), self.principal.actor.name());
        let tenant = self.principal.tenant.0;
        let plugin = plugin.installation.plugin.as_bytes();
        let parts = [tenant.as_bytes(), plugin, actor.as_bytes(), origin, &digest, &before.to_le_bytes()];
        // Under the oldest key: a retry after a new one came is the same request.
        let mac = self.platform.secrets.macs(Use::Request, &parts).pop().unwrap_or_default();
        Ok(mac[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Whether `*.example.com` or `api.example.com` means this host.
fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == host,
    }
}

fn check(request: &FetchRequest, body_max: usize) -> HostResult<()> {
    if !METHODS.contains(&request.method.as_str()) {
        return Err(HostError::invalid("/method", "method", format!("one of {METHODS:?}")));
    }
    if request.body.len() > body_max {
        return Err(HostError::Limit(Limit::PayloadBytes));
    }
    let bytes: usize = request.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if request.headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err(HostError::invalid("/headers", "length", "at most 64 headers, of 16 KiB together"));
    }
    match request.headers.iter().find(|(name, _)| OF_HOST.iter().any(|own| name.eq_ignore_ascii_case(own))) {
        Some((name, _)) => Err(HostError::invalid("/headers", "header", format!("`{name}` is the host's to set"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_domain_covers_the_hosts_in_it_and_no_others() {
        assert!(covers("*.example.com", "api.example.com") && covers("*.example.com", "a.b.example.com"));
        assert!(covers("api.example.com", "api.example.com"));
        for other in ["example.com", ".example.com", "badexample.com", "example.com.evil.org", "api.example.org"] {
            assert!(!covers("*.example.com", other), "{other}");
        }
        assert!(!covers("example.com", "api.example.com"));
    }
}
