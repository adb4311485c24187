//! Three nodes on one PostgreSQL: one is killed, one stands still and comes back, one is cut off. No
//! token is held by a client without its event, and none is alive after its end was answered.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::binary;
use crate::stage::cast::{Client, text};
use crate::stage::postgres::{self, Way};
use crate::stage::server::{Folder, free_port};
use crate::stage::{Ask, Cast, FOLLOWS_WITHIN, Server, until};

/// Longer than a node may go without having heard from the store (2 s), and than a transaction may
/// stand still.
const LONG: Duration = Duration::from_secs(4);
/// How soon a node that was cut off serves again.
const BACK_WITHIN: Duration = Duration::from_secs(15);
/// How long it may be that no node gives a token: what a node holds when it is stopped for good is let
/// go after two seconds, and whoever waited for it asks again.
const WITHOUT_SERVICE_MAX: Duration = Duration::from_secs(12);
const LOADS: usize = 4;

pub(crate) fn jti(token: &str) -> String {
    let payload = token.split('.').nth(1).expect("a payload");
    let bytes = accredit_wire::jose::b64url_decode(payload).expect("base64url");
    text(&serde_json::from_slice(&bytes).expect("JSON"), "jti")
}

/// Sets an installation up on a database.
pub(crate) fn init(folder: &Folder, store: &str) -> Value {
    init_at(folder, store, "http")
}

/// The same, with this scheme in its URL.
pub(crate) fn init_at(folder: &Folder, store: &str, scheme: &str) -> Value {
    let address = format!("127.0.0.1:{}", free_port());
    let (data, url) = (folder.file("data"), format!("{scheme}://{address}"));
    let place = ["init", "--data", &data, "--org", "acme", "--store", store];
    let reached = ["--public-url", &url, "--listen", &address, "--output", "json"];
    binary::run(binary::command(&[&place[..], &reached].concat())).json()
}

/// One more node of an installation, at a port of its own.
pub(crate) async fn node(founded: &Value, store: &str) -> Server {
    let address = format!("127.0.0.1:{}", free_port());
    let config = founded["config"].as_str().expect("a path");
    let args = ["serve", "--config", config, "--listen", &address, "--store", store];
    let mut here = founded.clone();
    let scheme = text(founded, "url");
    let (scheme, _) = scheme.split_once("://").expect("a URL");
    here["url"] = format!("{scheme}://{address}").into();
    Server::serve_by(binary::command(&args), Folder::new(), &here).await
}

pub(crate) fn signal(node: &Server, name: &str) {
    let sent = Command::new("kill").args([name, &node.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Clients who ask one node after the other and keep every token that they were given.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<(BTreeSet<String>, Duration)>>,
}

impl Load {
    fn start(cast: &Cast, client: &Client, nodes: &[SocketAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
        let ask = Ask::form(&cast.server.at("/oauth/token"), &form);
        let ask = ask.basic(&client.agent, &client.secret);
        let run = |place: usize| {
            let (stop, ask, nodes) = (Arc::clone(&stop), ask.clone(), nodes.to_vec());
            tokio::spawn(async move {
                let (mut got, mut last, mut longest) =
                    (BTreeSet::new(), Instant::now(), Duration::ZERO);
                for to in nodes.iter().cycle().skip(place) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // A node that stands still is not waited for.
                    let asked = tokio::time::timeout(Duration::from_secs(1), ask.try_send(*to));
                    match asked.await {
                        Ok(Some(answer)) if answer.status == 200 => {
                            longest = longest.max(last.elapsed());
                            last = Instant::now();
                            got.insert(jti(&text(&answer.json(), "access_token")));
                        }
                        Ok(Some(answer)) => {
                            assert!(answer.status >= 500, "{}", answer.text());
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        Ok(None) => tokio::time::sleep(Duration::from_millis(20)).await,
                        Err(_) => {}
                    }
                }
                (got, longest)
            })
        };
        let clients = (0..LOADS).map(run).collect();
        Self { stop, clients }
    }

    /// Ends it: the ids of all tokens that were received, and the longest time without one.
    async fn end(self) -> (BTreeSet<String>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut all, mut longest) = (BTreeSet::new(), Duration::ZERO);
        for client in self.clients {
            let (got, without) = client.await.expect("a client");
            all.extend(got);
            longest = longest.max(without);
        }
        (all, longest)
    }
}

/// The ids of all tokens whose issuance stands in the log, which verifies.
pub(crate) fn logged(server: &Server) -> BTreeSet<String> {
    let (file, key) = (server.folder().file("log.ndjson"), server.folder().file("log.pub"));
    server.cli(&["audit", "export", "-o", &file]).good();
    server.cli(&["audit", "key", "-o", &key]).good();
    let verified = server.cli(&["audit", "verify", &file, "--key", &key]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let export = std::fs::read_to_string(&file).expect("an export");
    let events = export.lines().filter(|line| line.contains("\"type\":\"token.issued\""));
    let parsed = events.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    parsed.map(|line| text(&line["event"]["payload"], "token")).collect()
}

/// What a node says of a token: nothing where it does not answer.
pub(crate) async fn says(node: &Server, token: &str) -> Option<bool> {
    let ask = Ask::form(&node.at("/oauth/introspect"), &[("token", token)]).bearer(&node.admin);
    let answer = ask.try_send(node.address).await?;
    if answer.status == 503 {
        return None;
    }
    Some(answer.good()["active"] == true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_nodes_one_is_killed_one_stands_still_and_what_was_ended_stays_ended() {
    let database = postgres::start().await;
    let (folder, store) = (Folder::new(), postgres::url_at(database));
    let founded = init(&folder, &store);
    let first = node(&founded, &store).await;
    let (second, mut third) = (node(&founded, &store).await, node(&founded, &store).await);
    let cast = Cast::at(first, 60).await;
    let (worker, planner) = (cast.agent("worker").await, cast.agent("planner").await);
    let nodes = [cast.server.address, second.address, third.address];
    let load = Load::start(&cast, &worker, &nodes);

    // What one node ends another one knows within moments, and nobody gives anew.
    let mut slowest = Duration::ZERO;
    for (n, (giver, ender)) in
        [(&cast.server, &second), (&second, &third), (&third, &cast.server)].into_iter().enumerate()
    {
        let agent = cast.agent(&format!("short-{n}")).await;
        let mut token = None;
        until("a token of a new agent", FOLLOWS_WITHIN, async || {
            let answer = giver.token(&agent.agent, &agent.secret, "crm:read").await;
            token = (answer.status == 200).then(|| text(&answer.json(), "access_token"));
            token.is_some()
        })
        .await;
        let token = token.expect("a token");
        ender.revoke(&agent.agent).await;
        assert_eq!(says(ender, &token).await, Some(false), "answered: it is known there");
        slowest = slowest.max(
            until("the other knows", FOLLOWS_WITHIN, async || {
                says(giver, &token).await == Some(false)
            })
            .await,
        );
    }

    third.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;

    // A node that stands still while an agent is ended knows nothing when it goes on, and says so.
    let token = second.token(&planner.agent, &planner.secret, "crm:read").await.good();
    let token = text(&token, "access_token");
    signal(&second, "-STOP");
    cast.server.revoke(&planner.agent).await;
    tokio::time::sleep(LONG).await;
    signal(&second, "-CONT");
    let mut answers = 0;
    until("the node that stood still knows", BACK_WITHIN, async || {
        let told = says(&second, &token).await;
        assert_ne!(told, Some(true), "it was ended, and that was answered");
        let asked = second.token(&planner.agent, &planner.secret, "crm:read").await;
        assert_ne!(asked.status, 200, "{}", asked.text());
        answers += usize::from(told == Some(false));
        answers > 20
    })
    .await;

    let (held, longest) = load.end().await;
    assert!(held.len() > 50, "{}", held.len());
    let logged = logged(&cast.server);
    let without: Vec<_> = held.difference(&logged).collect();
    assert!(without.is_empty(), "held without an event: {without:?}");
    assert!(longest < WITHOUT_SERVICE_MAX, "{longest:?}");
    println!(
        "{} tokens held, {} logged; the longest without service {longest:?}; another node knew \
         within {slowest:?}",
        held.len(),
        logged.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_cut_off_from_the_database_answers_nobody_and_comes_back() {
    let database = postgres::start().await;
    let way = Way::to(database).await;
    let (folder, store) = (Folder::new(), postgres::url_at(database));
    let founded = init(&folder, &store);
    let first = node(&founded, &store).await;
    let second = node(&founded, &postgres::url_at(way.port)).await;
    let cast = Cast::at(first, 60).await;
    let agent = cast.agent("worker").await;
    let answer = second.token(&agent.agent, &agent.secret, "crm:read").await.good();
    let token = text(&answer, "access_token");
    assert_eq!(says(&second, &token).await, Some(true));

    way.cut();
    let ready = async || Ask::get("/readyz").send(second.address).await;
    until("it says that it is cut off", LONG, async || {
        let answer = ready().await;
        answer.status == 503 && answer.text().contains("view-stale")
    })
    .await;
    let asked = second.token(&agent.agent, &agent.secret, "crm:read").await;
    asked.refused(503, "temporarily_unavailable", "view-stale");
    assert_eq!(asked.header("retry-after"), Some("1"));
    // Meanwhile the other goes on, and ends what the one that is cut off had given.
    cast.server.revoke(&agent.agent).await;
    assert_eq!(says(&second, &token).await, None, "it does not know");
    assert_eq!(says(&cast.server, &token).await, Some(false));

    way.mend();
    until("it serves again", BACK_WITHIN, async || {
        assert_ne!(says(&second, &token).await, Some(true), "it was ended");
        ready().await.status == 200
    })
    .await;
    assert_eq!(says(&second, &token).await, Some(false));
}
