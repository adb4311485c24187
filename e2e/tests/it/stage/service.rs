//! A service of somebody's, guarded by the library, on a socket of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use accredit::{Principal, Verifier};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::routing::get;

async fn who(Extension(principal): Extension<Principal>) -> String {
    principal.client_id().to_string()
}

/// A line every 20 ms, without an end.
async fn ticks() -> Body {
    Body::from_stream(futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"tick\n")), ()))
    }))
}

/// Starts it; it ends with the runtime.
pub(crate) async fn start(verifier: &Verifier) -> SocketAddr {
    let guarded = axum::Router::new()
        .route("/who", get(who))
        .route("/ticks", get(ticks))
        .layer(verifier.guard().require("crm:read"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, guarded).await });
    address
}
