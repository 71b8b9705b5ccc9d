//! An answer that comes before the request was read to its end would be lost with the
//! connection, which is reset while the client still sends. So the rest is read and
//! thrown away first, within bounds.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use purlin_domain::limits::COMPONENT_BYTES_MAX;

const BYTES_MAX: usize = 2 * COMPONENT_BYTES_MAX;
const TIME_MAX: Duration = Duration::from_secs(2);

/// A request's body, of which something stays here when a handler takes it.
pub(crate) struct Rest(Arc<Mutex<Body>>);

/// The body for the handler, and what will be left of it.
pub(crate) fn split(body: Body) -> (Body, Rest) {
    let shared = Arc::new(Mutex::new(body));
    (Body::new(Handed(Arc::clone(&shared))), Rest(shared))
}

impl Rest {
    /// Read what nobody read, and throw it away.
    pub(crate) async fn discard(self) {
        let mut body = Handed(self.0);
        let mut bytes = 0;
        let read = async {
            while bytes < BYTES_MAX {
                match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                    // The end, or a client that went away: either way there is no more.
                    Some(Err(_)) | None => break,
                }
            }
        };
        if tokio::time::timeout(TIME_MAX, read).await.is_err() {
            tracing::debug!("a client went on sending after it was answered");
        }
    }
}

struct Handed(Arc<Mutex<Body>>);

impl HttpBody for Handed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
