//! What stands before several nodes and brings each new connection to the next of them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A front at a port of its own. What is connected stays where it is until it is told to move.
pub(crate) struct Front {
    to: Arc<Mutex<Vec<SocketAddr>>>,
    moves: watch::Sender<()>,
}

impl Front {
    /// At the address of a URL.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a socket");
        let to = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let (moves, moved) = watch::channel(());
        let targets = Arc::clone(&to);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let next = {
                    let mut targets = targets.lock().expect("the nodes");
                    if !targets.is_empty() {
                        targets.rotate_left(1);
                    }
                    targets.last().copied()
                };
                let mut moved = moved.clone();
                tokio::spawn(async move {
                    let Some(next) = next else { return };
                    let Ok(mut node) = TcpStream::connect(next).await else { return };
                    moved.mark_unchanged();
                    tokio::select! {
                        _ = copy_bidirectional(&mut stream, &mut node) => {}
                        _ = moved.changed() => {}
                    }
                });
            }
        });
        Self { to, moves }
    }

    /// Brings what connects from now on to one of these after the other.
    pub(crate) fn leads_to(&self, nodes: &[SocketAddr]) {
        *self.to.lock().expect("the nodes") = nodes.to_vec();
    }

    /// Closes whatever is connected: it connects again, and may come elsewhere.
    pub(crate) fn move_all(&self) {
        self.moves.send_replace(());
    }
}
