//! Clients at a server, who keep every token that they were given and count every no.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::stage::cast::{Client, text};
use crate::stage::{Answer, Ask, Server};

/// The id of a token.
pub(super) fn jti(token: &str) -> String {
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    text(&serde_json::from_slice(&bytes).expect("JSON"), "jti")
}

/// What a token request must be answered with where it is not granted for want of means.
#[track_caller]
pub(super) fn check_shed(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["error"], "temporarily_unavailable", "{body}");
    let after = answer.header("retry-after").expect("says when to come back");
    assert!(after.parse::<u64>().is_ok_and(|seconds| (1..=60).contains(&seconds)), "{after}");
}

/// A token request.
pub(super) fn request(server: &Server, client: &Client) -> Ask {
    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    Ask::form(&server.at("/oauth/token"), &form).basic(&client.agent, &client.secret)
}

/// Clients who ask again as soon as they were answered.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    /// Tokens received.
    pub(super) given: Arc<AtomicU64>,
    /// Times that they were told to come back.
    pub(super) shed: Arc<AtomicU64>,
    clients: Vec<JoinHandle<BTreeSet<String>>>,
}

impl Load {
    pub(super) fn start(server: &Server, client: &Client, clients: usize) -> Self {
        let (stop, given, shed) = (Arc::default(), Arc::default(), Arc::default());
        let mut load = Self { stop, given, shed, clients: Vec::new() };
        let ask = request(server, client);
        for _ in 0..clients {
            let run = load.run(ask.clone(), server.address);
            load.clients.push(tokio::spawn(run));
        }
        load
    }

    fn run(&self, ask: Ask, to: SocketAddr) -> impl Future<Output = BTreeSet<String>> + use<> {
        let stop = Arc::clone(&self.stop);
        let (given, shed) = (Arc::clone(&self.given), Arc::clone(&self.shed));
        async move {
            let mut got = BTreeSet::new();
            while !stop.load(Ordering::Relaxed) {
                match ask.try_send(to).await {
                    Some(answer) if answer.status == 200 => {
                        got.insert(jti(&text(&answer.json(), "access_token")));
                        given.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(answer) => {
                        check_shed(&answer);
                        shed.fetch_add(1, Ordering::Relaxed);
                    }
                    // The server has died: nothing was given.
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
            got
        }
    }

    pub(super) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// Ends it; the ids of all tokens that were received.
    pub(super) async fn end(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeSet::new();
        for client in self.clients {
            all.extend(client.await.expect("a client"));
        }
        all
    }
}
