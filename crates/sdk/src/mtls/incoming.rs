//! Connections of peers at a listener, each with its handshake behind it.
//!
//! Handshakes go on beside one another, so that nobody who is slow or unknown keeps others waiting.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::config::{Mtls, MtlsError};
use super::stream::Stream;
use crate::ambient;

/// Handshakes that go on at a time; further ones wait in the system's queue.
pub const HANDSHAKES_MAX: usize = 256;

/// How long nothing is taken after the system had nothing to give, such as file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

type Shaken = Result<(Stream<TcpStream>, SocketAddr), (MtlsError, SocketAddr)>;

/// A listener that gives connections with peers. What `axum::serve` wants of a listener is two lines
/// around it (the example `two_agents`).
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    mtls: Mtls,
    handshakes: JoinSet<Shaken>,
}

impl Incoming {
    /// The connections that come to `listener` and are with the peers of `mtls`.
    pub fn new(listener: TcpListener, mtls: Mtls) -> Self {
        Self { listener, mtls, handshakes: JoinSet::new() }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, with whom it is known to be. Who is refused is logged.
    pub async fn accept(&mut self) -> (Stream<TcpStream>, SocketAddr) {
        loop {
            tokio::select! {
                taken = self.listener.accept(), if self.handshakes.len() < HANDSHAKES_MAX => {
                    match taken {
                        Ok((io, from)) => {
                            let mtls = self.mtls.clone();
                            self.handshakes.spawn(async move {
                                let shaken = Box::pin(mtls.accept(io)).await;
                                shaken.map(|stream| (stream, from)).map_err(|error| (error, from))
                            });
                        }
                        Err(error) => {
                            tracing::warn!(%error, "no connection can be taken");
                            ambient::sleep(PAUSE).await;
                        }
                    }
                }
                Some(shaken) = self.handshakes.join_next() => match shaken {
                    Ok(Ok(taken)) => return taken,
                    Ok(Err((error, from))) => {
                        tracing::info!(%error, %from, "a connection was refused");
                    }
                    Err(error) => tracing::error!(%error, "a handshake was given up"),
                },
            }
        }
    }
}
