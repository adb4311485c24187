//! The second listener: `GET /metrics` over plain HTTP, and nothing else.
//!
//! It is apart from the first so that metrics are not reached by whoever reaches the API. Absent
//! on purpose: authentication and TLS; it listens on loopback, or where its owner put it.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::serve::HEADER_TIME_MAX;
use crate::{Server, jobs, metrics};

/// Connections at a time: a few scrapers.
pub const SCRAPERS_MAX: usize = 16;
/// The media type of OpenMetrics 1.0.
const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A socket that is bound.
pub struct MetricsListening {
    listener: TcpListener,
}

impl MetricsListening {
    /// Binds an address.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await? })
    }

    /// The address that was bound.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` becomes true. A scrape in flight is broken off.
    pub async fn serve(self, server: Arc<Server>, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(SCRAPERS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok((stream, _)) = accepted else {
                jobs::pause(jobs::ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let server = Arc::clone(&server);
            connections.spawn(async move {
                speak(stream, server).await;
                drop(place);
            });
        }
    }
}

async fn speak(stream: TcpStream, server: Arc<Server>) {
    let service = service_fn(move |request| answer(Arc::clone(&server), request));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME_MAX);
    // A scraper that breaks off is its own affair.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<String>, Infallible> {
    let mut response = Response::new(String::new());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if request.method() != Method::GET {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    } else {
        match metrics::render(&server).await {
            Ok(text) => *response.body_mut() = text,
            Err(fault) => {
                tracing::error!(%fault, "metrics not told");
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
        }
    }
    let media_type = http::HeaderValue::from_static(MEDIA_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}
