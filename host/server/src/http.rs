//! Serving HTTP: connections that say nothing, or say it too slowly, are closed, and there
//! is an end to how many there are.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_io_timeout::TimeoutStream;

/// From the first byte of a request, or the last answer, to the end of the next headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(8);
/// A client that takes nothing of its answer for this long has gone, or means harm.
const WRITES_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of a request's line and headers.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 100;
/// After accepting failed, as when there are no file descriptors left.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

type Connection = http1::Connection<TokioIo<Pin<Box<TimeoutStream<TcpStream>>>>, TowerToHyperService<Router>>;

/// Serve until told to stop, then let requests end for as long as `grace`.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    connections: usize,
    mut stopping: watch::Receiver<bool>,
    grace: Duration,
) {
    let slots = Arc::new(Semaphore::new(connections));
    let graceful = GracefulShutdown::new();
    while !*stopping.borrow() {
        // A connection that has no room waits in the listener's queue.
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>((slot, listener.accept().await?))
        };
        let accepted = tokio::select! {
            accepted = accept => accepted,
            _ = stopping.changed() => continue,
        };
        match accepted {
            Ok((slot, (stream, peer))) => {
                let connection = graceful.watch(connection(stream, app.clone(), peer));
                tokio::spawn(async move {
                    // The client went away, or was too slow: nobody is left to tell.
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, %peer, "a connection ended early");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(grace) => tracing::warn!("requests did not end in time; their connections are dropped"),
    }
}

fn connection(stream: TcpStream, app: Router, peer: SocketAddr) -> Connection {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small answers may wait for an acknowledgement");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITES_WITHIN));
    let app = app.layer(Extension(ConnectInfo(peer)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(app))
}
