//! What a guest gets of WASI: coarse clocks, randomness, an empty environment, standard
//! streams that end in the plugin's log. No directory, no address: wasi:filesystem and
//! wasi:sockets are there because language runtimes import them, and refuse every call.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use purlin_domain::{Json, log::LogLevel};
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::log::Log;

/// Finer than this, a clock helps nobody but an attacker who measures.
const RESOLUTION: Duration = Duration::from_millis(1);
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Bytes of an unfinished line that are held back.
const PENDING_BYTES_MAX: usize = 8 << 10;

pub(crate) fn context(log: &Log) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Stream { log: log.clone(), level: LogLevel::Info })
        .stderr(Stream { log: log.clone(), level: LogLevel::Warn })
        .wall_clock(CoarseWall)
        .monotonic_clock(CoarseMonotonic(Instant::now()))
        .max_random_size(RANDOM_BYTES_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .socket_addr_check(|_, _| Box::pin(async { false }))
        .build()
}

fn coarse(exact: Duration) -> Duration {
    Duration::from_millis(u64::try_from(exact.as_millis()).unwrap_or(u64::MAX))
}

struct CoarseWall;

impl HostWallClock for CoarseWall {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "the guest's clock is the machine's")]
        let now = SystemTime::now();
        coarse(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

struct CoarseMonotonic(Instant);

impl HostMonotonicClock for CoarseMonotonic {
    fn resolution(&self) -> u64 {
        u64::try_from(RESOLUTION.as_nanos()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> u64 {
        u64::try_from(coarse(self.0.elapsed()).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A standard stream, as the guest opens it.
struct Stream {
    log: Log,
    level: LogLevel,
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.lines())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.lines())
    }
}

impl Stream {
    fn lines(&self) -> Lines {
        Lines { log: self.log.clone(), level: self.level, pending: Vec::new() }
    }
}

/// Cuts what is written into lines.
struct Lines {
    log: Log,
    level: LogLevel,
    pending: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if piece.ends_with(b"\n") || self.pending.len() >= PENDING_BYTES_MAX {
                self.emit();
            }
        }
    }

    fn emit(&mut self) {
        let line = String::from_utf8_lossy(&self.pending).into_owned();
        self.log.write(self.level, &line, Json::Null);
        self.pending.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if !self.pending.is_empty() {
            self.emit();
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PENDING_BYTES_MAX)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
