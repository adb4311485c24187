//! A PostgreSQL server on a port of its own, and a way to it that can be cut.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::server::free_port;
use crate::cluster;

/// Starts a server that lives as long as this process; its port.
pub(crate) async fn start() -> u16 {
    let port = free_port();
    let started = tokio::task::spawn_blocking(move || {
        let options = ["-c", "listen_addresses=127.0.0.1", "-p", &port.to_string()];
        cluster::start_with(&options, &|_| {})
    });
    started.await.expect("a server");
    port
}

/// The database of a server, reached at a port of this machine.
pub(crate) fn url_at(port: u16) -> String {
    format!("postgres://accredit@127.0.0.1:{port}/postgres?sslmode=disable")
}

/// A way to a server on this machine. While it is cut it carries nothing and closes nothing; what was
/// open then is closed when it is mended.
pub(crate) struct Way {
    pub(crate) port: u16,
    cut: watch::Sender<bool>,
}

impl Way {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (cut, is_cut) = watch::channel(false);
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, to, is_cut.clone()));
            }
        });
        Self { port: address.port(), cut }
    }

    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn carry(mut from: TcpStream, to: SocketAddr, mut is_cut: watch::Receiver<bool>) {
    let mended = |is_cut: &bool| !is_cut;
    if is_cut.wait_for(mended).await.is_err() {
        return;
    }
    let Ok(mut to) = TcpStream::connect(to).await else { return };
    let is_over = tokio::select! {
        _ = copy_bidirectional(&mut from, &mut to) => true,
        cut = is_cut.wait_for(|is_cut| *is_cut) => cut.is_err(),
    };
    if !is_over {
        drop(is_cut.wait_for(mended).await);
    }
}
