//! Requests to where tenants say: to the open internet alone, and never through a redirect.
//!
//! A name is resolved here, once, and the connection goes to an address that was looked at;
//! what a name resolves to later does not matter.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use purlin_domain::{
    Timestamp,
    address::is_public,
    clock::{Clock, SystemClock},
    fetch::{FetchRequest, Fetched},
};
use purlin_service::egress::{Answered, FetchError, Post, PostError, SendHttp};
use reqwest::{
    Client, Method, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect::Policy,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(15);
/// Headers of an answer that a plugin is told of.
const ANSWER_HEADERS_MAX: usize = 100;

/// Sends requests.
pub(crate) struct Egress {
    client: Client,
    /// For plain http, which goes to the networks that the operator allows and to no other.
    plain: Client,
    allowed: Arc<[IpNet]>,
}

impl Egress {
    /// To the open internet, and to these networks.
    pub(crate) fn new(allowed: Vec<IpNet>) -> Result<Self, String> {
        let allowed: Arc<[IpNet]> = allowed.into();
        let client = |is_plain| {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(TIMEOUT)
                .user_agent(concat!("purlin/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Arc::new(Guarded { allowed: Arc::clone(&allowed), is_plain }))
                .build()
                .map_err(|error| error.to_string())
        };
        Ok(Self { client: client(false)?, plain: client(true)?, allowed })
    }

    fn client(&self, url: &Url) -> &Client {
        if url.scheme() == "http" { &self.plain } else { &self.client }
    }

    /// Whether the name of a plain http URL leads to a network that is allowed.
    async fn look_up(&self, url: &str) -> Result<(), String> {
        let url = self.parse(url)?;
        let Some(url::Host::Domain(name)) = url.host().filter(|_| url.scheme() == "http") else { return Ok(()) };
        match addresses(name, &self.allowed, true).await {
            Ok(_) => Ok(()),
            Err(_) => Err("an https URL is needed: its name leads to no network that the operator allows".to_owned()),
        }
    }

    /// A URL that may be sent to, as far as it tells: where its host is a name, the address
    /// is looked at when it is resolved.
    fn parse(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        let literal = match url.host() {
            Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(url::Host::Domain(_)) => None,
            None => return Err("a host is needed".to_owned()),
        };
        let is_allowed = |address| is_among(address, &self.allowed);
        match (url.scheme(), literal) {
            ("https", _) => {}
            // Where the operator allows networks of its own, those in them need no certificate.
            ("http", Some(address)) if is_allowed(address) => {}
            ("http", None) if !self.allowed.is_empty() => {}
            _ => return Err("an https URL is needed".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL with a user or a password in it is not taken".to_owned());
        }
        match literal {
            Some(address) if !may(address, &self.allowed) => {
                Err(format!("{address} does not lie in the open internet"))
            }
            _ => Ok(url),
        }
    }

    async fn send(&self, post: Post) -> Result<Answered, PostError> {
        let url = self.parse(&post.url).map_err(PostError::Refused)?;
        let mut request = self.client(&url).post(url).body(post.body);
        for (name, value) in post.headers {
            request = request.header(name, value);
        }
        // The body of the answer is not read: the connection is closed over it.
        let answer = request.send().await.map_err(|error| refused_or_failed(&error))?;
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(Answered { status: answer.status().as_u16(), retry_after: asked.and_then(retry_after) })
    }
}

/// A pause in seconds, or until a date (RFC 9110, 10.2.3); one that is over is none.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = Timestamp::from(httpdate::parse_http_date(text.trim()).ok()?);
    (until - SystemClock.now()).to_std().ok()
}

impl Egress {
    /// Send a request and read its answer, as long as it is not too long.
    async fn exchange(&self, wanted: FetchRequest, bytes_max: usize) -> Result<Fetched, FetchError> {
        let refused = |pointer| move |why: String| FetchError::Refused(pointer, why);
        let url = self.parse(&wanted.url).map_err(refused("/url"))?;
        let method = Method::from_bytes(wanted.method.as_bytes()).map_err(|e| refused("/method")(e.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &wanted.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| refused("/headers")(e.to_string()))?;
            let value = HeaderValue::from_str(value).map_err(|e| refused("/headers")(e.to_string()))?;
            headers.append(name, value);
        }
        let timeout = wanted.timeout.map_or(TIMEOUT, |timeout| timeout.min(TIMEOUT));
        let request = self.client(&url).request(method, url).headers(headers).body(wanted.body).timeout(timeout);
        let mut answer = request.send().await.map_err(|error| match refused_or_failed(&error) {
            PostError::Refused(why) => FetchError::Refused("/url", why),
            PostError::Failed(why) => FetchError::Failed(why),
        })?;
        let status = answer.status().as_u16();
        let told =
            |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
        let headers: Vec<(String, String)> =
            answer.headers().iter().filter_map(told).take(ANSWER_HEADERS_MAX).collect();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| FetchError::Failed(cause(&e).to_string()))? {
            if body.len() + chunk.len() > bytes_max {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { status, headers, body })
    }
}

impl SendHttp for Egress {
    fn check(&self, url: &str) -> Result<String, String> {
        Ok(self.parse(url)?.host_str().unwrap_or_default().to_owned())
    }

    fn resolve<'a>(&'a self, url: &'a str) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(self.look_up(url))
    }

    fn fetch(
        &self,
        request: FetchRequest,
        bytes_max: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + '_>> {
        Box::pin(self.exchange(request, bytes_max))
    }

    fn post(&self, post: Post) -> Pin<Box<dyn Future<Output = Result<Answered, PostError>> + Send + '_>> {
        Box::pin(self.send(post))
    }
}

fn may(address: IpAddr, allowed: &[IpNet]) -> bool {
    is_public(address) || is_among(address, allowed)
}

fn is_among(address: IpAddr, allowed: &[IpNet]) -> bool {
    allowed.iter().any(|net| net.contains(&address))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The addresses of a name that may be connected to.
async fn addresses(name: &str, allowed: &[IpNet], is_plain: bool) -> Result<Vec<SocketAddr>, BoxError> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    let is_good = |address: &SocketAddr| {
        if is_plain { is_among(address.ip(), allowed) } else { may(address.ip(), allowed) }
    };
    let good: Vec<SocketAddr> = found.filter(is_good).collect();
    if good.is_empty() { Err(NotPublic(name.to_owned()).into()) } else { Ok(good) }
}

/// What lies at the bottom of what went wrong.
fn cause(error: &reqwest::Error) -> &(dyn std::error::Error + 'static) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

/// A refusal of the resolver lies at the bottom of what went wrong; else what lies there is
/// told without the URL.
fn refused_or_failed(error: &reqwest::Error) -> PostError {
    let cause = cause(error);
    match cause.downcast_ref::<NotPublic>() {
        Some(refused) => PostError::Refused(refused.to_string()),
        None if error.is_timeout() => PostError::Failed("the receiver did not answer in time".to_owned()),
        None => PostError::Failed(cause.to_string()),
    }
}

/// Every address of a name lies where nothing may be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0} does not resolve to an address of the open internet, or of a network that the operator allows")]
struct NotPublic(String);

/// Resolves names to addresses that may be connected to.
struct Guarded {
    allowed: Arc<[IpNet]>,
    is_plain: bool,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, is_plain) = (Arc::clone(&self.allowed), self.is_plain);
        Box::pin(async move {
            let good = addresses(name.as_str(), &allowed, is_plain).await?;
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_for_a_pause_in_seconds_or_until_a_date() {
        assert_eq!(retry_after(" 120 "), Some(Duration::from_secs(120)));
        let in_an_hour = httpdate::fmt_http_date((SystemClock.now() + Duration::from_secs(3_600)).into());
        assert!(retry_after(&in_an_hour).is_some_and(|pause| (3_590..=3_600).contains(&pause.as_secs())));
        assert_eq!(["Sun, 06 Nov 1994 08:49:37 GMT", "soon", "-1"].map(retry_after), [None; 3]);
    }

    #[test]
    fn what_may_be_sent_to_is_told_by_the_url() {
        let open = Egress::new(Vec::new()).unwrap();
        for good in ["https://example.org/hook", "https://1.1.1.1:8443/x", "https://[2606:4700::1111]/"] {
            assert!(open.check(good).is_ok(), "{good}");
        }
        for bad in [
            "http://example.org/",
            "ftp://example.org/",
            "https://user@example.org/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://127.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://169.254.169.254/latest/meta-data",
            "not a url",
            "https:///",
        ] {
            assert!(open.check(bad).is_err(), "{bad}");
        }
        let local = Egress::new(vec!["127.0.0.0/8".parse().unwrap()]).unwrap();
        assert_eq!(local.check("http://127.0.0.1:9/").as_deref(), Ok("127.0.0.1"));
        assert!(local.check("http://10.0.0.1/").is_err());
    }

    /// The spellings of an IPv4 address that resolvers and libraries take.
    fn spellings(address: [u8; 4]) -> Vec<String> {
        let [a, b, c, d] = address;
        let all = u32::from_be_bytes(address);
        let (low24, low16) = (all & 0x00ff_ffff, all & 0xffff);
        let (high, low) = (all >> 16, all & 0xffff);
        vec![
            format!("{a}.{b}.{c}.{d}"),
            format!("{a}.{b}.{low16}"),
            format!("{a}.{low24}"),
            format!("{all}"),
            format!("{all:#x}"),
            format!("{all:#010X}").replace("0X", "0x"),
            format!("0{all:o}"),
            format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
            format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
            format!("000{a:o}.0{b:o}.{c}.{d:#x}"),
            format!("{a}.{b}.{c}.{d}."),
            format!("{a}%2e{b}%2E{c}%2e{d}"),
            format!("{a}。{b}。{c}。{d}"),
            format!("{a}．{b}｡{c}.{d}"),
            format!("[::ffff:{a}.{b}.{c}.{d}]"),
            format!("[::ffff:{high:x}:{low:x}]"),
            format!("[0:0:0:0:0:ffff:{high:x}:{low:x}]"),
            format!("[::{a}.{b}.{c}.{d}]"),
            format!("[64:ff9b::{a}.{b}.{c}.{d}]"),
            format!("[2002:{high:x}:{low:x}::1]"),
            format!("user@{a}.{b}.{c}.{d}"),
            format!("example.com@{a}.{b}.{c}.{d}"),
        ]
    }

    #[tokio::test]
    async fn no_spelling_of_an_inner_address_is_connected_to() {
        let sentinel = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = sentinel.local_addr().unwrap().port();
        let open = Egress::new(Vec::new()).unwrap();
        let inner = [
            [127, 0, 0, 1],
            [127, 255, 0, 3],
            [0, 0, 0, 0],
            [10, 0, 0, 1],
            [172, 16, 0, 1],
            [172, 31, 255, 254],
            [192, 168, 1, 1],
            [169, 254, 169, 254],
            [100, 64, 0, 1],
            [192, 0, 0, 8],
            [198, 18, 0, 1],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
        ];
        let mut hosts: Vec<String> = inner.into_iter().flat_map(spellings).collect();
        let others = [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "%6cocalhost",
            "ⓛocalhost",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[ff02::1]",
            "[::ffff:0:7f00:1]",
            "0",
            "0x0",
        ];
        hosts.extend(others.map(str::to_owned));
        for host in &hosts {
            for scheme in ["https", "http"] {
                let url = format!("{scheme}://{host}:{port}/");
                let request = FetchRequest {
                    method: "GET".to_owned(),
                    url: url.clone(),
                    headers: Vec::new(),
                    body: Vec::new(),
                    timeout: None,
                };
                let refused = open.fetch(request, 1_000).await;
                // What no resolver here knows leads nowhere either.
                let is_refused = match &refused {
                    Err(FetchError::Refused("/url", _)) => true,
                    Err(FetchError::Failed(why)) => why.contains("failed to lookup"),
                    _ => false,
                };
                assert!(is_refused, "{url}: {refused:?}");
                let posted = open.post(Post { url: url.clone(), headers: Vec::new(), body: Vec::new() }).await;
                let is_refused = match &posted {
                    Err(PostError::Refused(_)) => true,
                    Err(PostError::Failed(why)) => why.contains("failed to lookup"),
                    Ok(_) => false,
                };
                assert!(is_refused, "{url}: {posted:?}");
            }
        }
        let came = tokio::time::timeout(Duration::from_millis(200), sentinel.accept()).await;
        assert!(came.is_err() && hosts.len() >= 200, "{} spellings, {came:?}", hosts.len());
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_here_is_refused() {
        let open = Egress::new(Vec::new()).unwrap();
        let post = |url: &str| Post { url: url.to_owned(), headers: Vec::new(), body: Vec::new() };
        let refused = open.post(post("https://localhost:9/")).await;
        assert!(matches!(refused, Err(PostError::Refused(_))), "{refused:?}");
    }
}
