//! Continuous load on several nodes: tokens are issued and exchanged, agents are made and ended, and
//! assertions are shown to two nodes at once. Everything that was answered is remembered, to be
//! compared with what the store knows after a failure.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::stage::cast::{Client, text};
use crate::stage::keys::ClientKey;
use crate::stage::{Answer, Ask, Cast, unique};
use crate::story_nodes::jti;

/// How long a node is waited for.
const PATIENCE: Duration = Duration::from_secs(8);
/// Clients who only want tokens.
const CLIENTS: usize = 3;
/// Tokens of each client that are kept whole, the newest.
const KEPT: usize = 40;

/// What was answered.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// The ids of all tokens that were received.
    pub(crate) tokens: BTreeSet<String>,
    /// Some of them whole, each client's newest.
    pub(crate) whole: Vec<String>,
    /// How many of them came by exchange.
    pub(crate) exchanged: usize,
    /// Tokens whose agents were revoked, which was answered; with those agents' credentials.
    pub(crate) ended: Vec<(String, Client)>,
    /// Requests whose assertion was good for a token.
    pub(crate) used: Vec<Ask>,
}

impl Answered {
    fn take(&mut self, answer: &Answer) -> String {
        let token = text(&answer.json(), "access_token");
        self.tokens.insert(jti(&token));
        if self.whole.len() >= KEPT {
            self.whole.remove(0);
        }
        self.whole.push(token.clone());
        token
    }

    fn add(&mut self, other: Self) {
        self.tokens.extend(other.tokens);
        self.whole.extend(other.whole);
        self.exchanged += other.exchanged;
        self.ended.extend(other.ended);
        self.used.extend(other.used);
    }
}

/// Whom all clients ask, and what they have seen of the service.
struct Shared {
    nodes: Vec<SocketAddr>,
    token: String,
    admin: String,
    introspect: String,
    issuer: String,
    stop: AtomicBool,
    given: AtomicU64,
    /// When a token was received last by anybody, and the longest time without one.
    service: Mutex<(Instant, Duration)>,
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Asks a node; nothing where it does not answer or is not able to.
    async fn ask(&self, place: usize, ask: Ask) -> Option<Answer> {
        let to = self.nodes[place % self.nodes.len()];
        let answer = tokio::time::timeout(PATIENCE, ask.try_send(to)).await.ok()??;
        if answer.status >= 500 {
            assert_eq!(answer.status, 503, "{}", answer.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
            return None;
        }
        Some(answer)
    }

    /// Asks for a token; nothing where none was given for want of means.
    async fn token(&self, place: usize, ask: Ask) -> Option<Answer> {
        let answer = self.ask(place, ask).await?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.served();
        Some(answer)
    }

    fn served(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
        let mut service = self.service.lock().expect("the service");
        service.1 = service.1.max(service.0.elapsed());
        service.0 = Instant::now();
    }

    async fn post(&self, place: usize, path: &str, body: Value) -> Option<Value> {
        let ask = Ask::json("POST", path, &body).bearer(&self.admin);
        Some(self.ask(place, ask).await?.good())
    }

    fn client_ask(&self, client: &Client) -> Ask {
        let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
        Ask::form(&self.token, &form).basic(&client.id, &client.secret)
    }

    /// Somebody who wants a token again and again, and exchanges every third for one more.
    async fn wants_tokens(self: Arc<Self>, client: Client, first: usize) -> Answered {
        let mut answered = Answered::default();
        for place in first.. {
            if !self.goes_on() {
                break;
            }
            let Some(answer) = self.token(place, self.client_ask(&client)).await else { continue };
            let token = answered.take(&answer);
            if place % 3 == 0 {
                let form = [
                    ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                    ("subject_token", token.as_str()),
                    ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
                    ("scope", "crm:read"),
                ];
                let ask = Ask::form(&self.token, &form).basic(&client.id, &client.secret);
                if let Some(answer) = self.token(place + 1, ask).await {
                    answered.take(&answer);
                    answered.exchanged += 1;
                }
            }
        }
        answered
    }

    /// Somebody who makes agents and ends them. What one node has answered it obeys from then on.
    async fn ends_agents(self: Arc<Self>) -> Answered {
        let mut answered = Answered::default();
        let mut place = 0;
        while self.goes_on() {
            place += 1;
            if let Some(ended) = self.end_one(place, &mut answered).await {
                answered.ended.push(ended);
            }
        }
        answered
    }

    async fn end_one(&self, place: usize, answered: &mut Answered) -> Option<(String, Client)> {
        let body = json!({"name": unique(), "owner_email": "short@example.com",
            "purpose": "to be ended", "allow": ["crm:read"], "activate": true});
        let agent = text(&self.post(place, "/v1/agents", body).await?, "id");
        let body = json!({"agent": agent, "type": "client-secret"});
        let made = self.post(place, "/v1/credentials", body).await?;
        let (credential, secret) = (text(&made, "id"), text(&made, "client_secret"));
        let client = Client { id: agent.clone(), agent, credential, secret };
        let token = answered.take(&self.token(place, self.client_ask(&client)).await?);
        let body = json!({"target": client.agent, "reason": "a story"});
        self.post(place + 1, "/v1/revocations", body).await?;
        let ask = Ask::form(&self.introspect, &[("token", &token)]).bearer(&self.admin);
        if let Some(answer) = self.ask(place + 1, ask).await {
            assert_eq!(answer.good()["active"], false, "its end was answered by this node");
        }
        Some((token, client))
    }

    /// Somebody who shows each assertion to two nodes at once.
    async fn shows_assertions(self: Arc<Self>, agent: String, key: ClientKey) -> Answered {
        let mut answered = Answered::default();
        for place in 0.. {
            if !self.goes_on() {
                break;
            }
            let ask = key.asks(&self.token, &agent, &self.issuer);
            let both = tokio::join!(self.ask(place, ask.clone()), self.ask(place + 1, ask.clone()));
            let mut good = 0;
            for answer in [both.0, both.1].into_iter().flatten() {
                if answer.status == 200 {
                    good += 1;
                    answered.take(&answer);
                    self.served();
                } else {
                    answer.refused(401, "invalid_client", "assertion-replayed");
                }
            }
            assert!(good < 2, "one assertion was good for two tokens");
            if good == 1 {
                answered.used.push(ask);
            }
        }
        answered
    }
}

/// The load while it lasts.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Answered>>,
}

impl Load {
    /// Begins it.
    pub(crate) async fn start(cast: &Cast, nodes: &[SocketAddr]) -> Self {
        let server = &cast.server;
        let shared = Arc::new(Shared {
            nodes: nodes.to_vec(),
            token: server.at("/oauth/token"),
            admin: server.admin.clone(),
            introspect: server.at("/oauth/introspect"),
            issuer: server.issuer.clone(),
            stop: AtomicBool::new(false),
            given: AtomicU64::new(0),
            service: Mutex::new((Instant::now(), Duration::ZERO)),
        });
        let body = json!({"name": "passer", "owner_email": "passer@example.com",
            "purpose": "to be in a story", "allow": ["crm:read"], "may_delegate": true,
            "activate": true});
        let passer = cast.secret_of(&text(&server.post("/v1/agents", body).await, "id")).await;
        let (prover, key) =
            (cast.bare_agent("prover").await, ClientKey::new(Algorithm::Es256, None));
        let body = json!({"agent": prover, "type": "public-key", "jwk": key.jwk()});
        server.post("/v1/credentials", body).await;
        let mut clients = Vec::new();
        for first in 0..CLIENTS {
            clients.push(tokio::spawn(Arc::clone(&shared).wants_tokens(passer.clone(), first)));
        }
        clients.push(tokio::spawn(Arc::clone(&shared).ends_agents()));
        clients.push(tokio::spawn(Arc::clone(&shared).shows_assertions(prover, key)));
        Self { shared, clients }
    }

    /// How many tokens were received.
    pub(crate) fn given(&self) -> u64 {
        self.shared.given.load(Ordering::Relaxed)
    }

    /// Ends it: what was answered, and the longest time in which nobody received a token.
    pub(crate) async fn end(self) -> (Answered, Duration) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Answered::default();
        for client in self.clients {
            all.add(client.await.expect("a client"));
        }
        let longest = self.shared.service.lock().expect("the service").1;
        (all, longest)
    }
}
