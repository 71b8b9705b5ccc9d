//! Files that are read while the client takes them.

use std::io::Read;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::task::spawn_blocking;

const CHUNK_BYTES: usize = 64 << 10;

/// A body of what this reads.
pub(crate) fn body(bytes: Box<dyn Read + Send>) -> Body {
    Body::from_stream(stream::try_unfold(bytes, |mut bytes| async move {
        let read = move || {
            let mut chunk = Vec::new();
            bytes.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk).map(|_| (chunk, bytes))
        };
        let (chunk, bytes) = spawn_blocking(read).await.map_err(std::io::Error::other)??;
        Ok::<_, std::io::Error>((!chunk.is_empty()).then(|| (Bytes::from(chunk), bytes)))
    }))
}
