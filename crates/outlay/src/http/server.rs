//! The accept loops: connections in, requests to a router, and a clean end.

use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::Peer;

/// Serves a router until it is told to stop, then until the last request is answered.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    connection(stream, router.clone(), Peer::Address(address), &graceful);
                }
                Err(error) => pause(&error).await,
            },
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// The same for the socket in the data folder: whoever may open it is the owner.
pub async fn serve_owner(listener: UnixListener, router: Router, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connection(stream, router.clone(), Peer::Owner, &graceful),
                Err(error) => pause(&error).await,
            },
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// Until the sender says so, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[expect(clippy::disallowed_methods, reason = "the graceful end waits for each connection's task")]
fn connection<S>(stream: S, router: Router, peer: Peer, graceful: &GracefulShutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
    let watched = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            tracing::debug!("a connection broke: {error}");
        }
    });
}

/// Out of file handles, mostly: waiting is all that helps.
async fn pause(error: &std::io::Error) {
    tracing::warn!("failed to accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
