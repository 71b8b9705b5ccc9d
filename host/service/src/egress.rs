//! The one way out: HTTP requests to where a tenant says, sent by whatever the host was given,
//! which looks at every address before it connects.

use std::{pin::Pin, time::Duration};

use purlin_domain::fetch::{FetchRequest, Fetched};

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where to.
    pub url: String,
    /// Headers beside `content-length` and `host`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// How long the receiver asked to wait.
    pub retry_after: Option<Duration>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It may not be sent there.
    #[error("{0}")]
    Refused(String),
    /// It could not be sent, or the answer did not come in time.
    #[error("{0}")]
    Failed(String),
}

impl PostError {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why a request of a plugin brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It may not be sent: where in it, and why.
    #[error("{0}: {1}")]
    Refused(&'static str, String),
    /// The answer was larger than was allowed.
    #[error("the answer was too large")]
    TooLarge,
    /// It could not be sent, or the answer did not come in time.
    #[error("{0}")]
    Failed(String),
}

impl FetchError {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Refused(..) => "refused",
            Self::TooLarge => "too large",
            Self::Failed(_) => "failed",
        }
    }
}

/// Sends requests.
pub trait SendHttp: Send + Sync {
    /// Whether a URL may be sent to at all, as far as it tells: the name of its host; why not
    /// otherwise.
    fn check(&self, url: &str) -> Result<String, String>;

    /// The same, and whether the name of a plain http URL leads to a network that the operator allows.
    fn resolve<'a>(&'a self, url: &'a str) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

    /// Send this one, and read an answer of so many bytes at most.
    fn fetch(
        &self,
        request: FetchRequest,
        bytes_max: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + '_>>;

    /// Send this one. Redirects are not followed.
    fn post(&self, post: Post) -> Pin<Box<dyn Future<Output = Result<Answered, PostError>> + Send + '_>>;
}
