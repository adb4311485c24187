//! What nodes on one database do as one: the clock's work is done once and goes on when its node is
//! lost, a kill is answered for all of them, and whoever follows one may follow another.

use std::net::SocketAddr;
use std::time::Duration;

use accredit::Verifier;
use serde_json::{Value, json};

use crate::stage::binary;
use crate::stage::cast::{Cast, text};
use crate::stage::front::Front;
use crate::stage::postgres::{self, Way};
use crate::stage::server::{Folder, address_of, free_port};
use crate::stage::{Ask, FOLLOWS_WITHIN, Server, until};
use crate::story_nodes::{init, signal};

/// How soon another node must do what one does for all, after that one is lost: five seconds in which
/// its lease must have stood still, a second until that is looked at for the first time, and one until
/// the last.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(7);
/// The same where it was stopped in order, with time to spare for a loaded machine.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(4);
/// How soon there is a drill: its period, and the time to run it.
const DRILLED_WITHIN: Duration = Duration::from_secs(90);
/// How soon a node that is silent is named as one.
const NAMED_WITHIN: Duration = Duration::from_secs(12);

/// A node, with where it tells its metrics.
struct Node {
    server: Server,
    metrics: SocketAddr,
}

async fn node(founded: &Value, store: &str) -> Node {
    let address = format!("127.0.0.1:{}", free_port());
    let metrics = format!("127.0.0.1:{}", free_port());
    let config = founded["config"].as_str().expect("a path");
    let args = ["serve", "--config", config, "--listen", &address, "--store", store];
    let command = binary::command(&[&args[..], &["--metrics-listen", &metrics]].concat());
    let mut here = founded.clone();
    here["url"] = format!("http://{address}").into();
    let server = Server::serve_by(command, Folder::new(), &here).await;
    Node { server, metrics: metrics.parse().expect("an address") }
}

impl Node {
    /// Whether it does what one does for all; not where it does not answer.
    async fn has_turn(&self) -> bool {
        self.says("accredit_scheduled_jobs ").await
    }

    /// Whether it writes to lanes of its own; not where it does not answer.
    async fn has_lanes(&self) -> bool {
        self.says("accredit_own_lanes ").await
    }

    /// Whether a metric that is yes or no is yes.
    async fn says(&self, metric: &str) -> bool {
        let Some(answer) = Ask::get("/metrics").try_send(self.metrics).await else { return false };
        let text = answer.text();
        let line = text.lines().find_map(|line| line.strip_prefix(metric));
        line.expect("its line") == "1"
    }
}

/// The place of the one node that does what one does for all, once there is one.
async fn turn_of(nodes: &[Node], max: Duration) -> (usize, Duration) {
    let mut found = None;
    let took = until("one node does what one does for all", max, async || {
        let mut have = Vec::new();
        for (place, node) in nodes.iter().enumerate() {
            if node.has_turn().await {
                have.push(place);
            }
        }
        assert!(have.len() <= 1, "{have:?}");
        found = have.first().copied();
        found.is_some()
    })
    .await;
    (found.expect("one"), took)
}

/// An installation on a database of its own, and what stands before its nodes.
struct Stage {
    founded: Value,
    store: String,
    database: u16,
    front: Front,
    /// Its files.
    _folder: Folder,
}

impl Stage {
    async fn new() -> Self {
        let database = postgres::start().await;
        let (folder, store) = (Folder::new(), postgres::url_at(database));
        let founded = init(&folder, &store);
        let front = Front::at(address_of(&text(&founded, "url"))).await;
        Self { founded, store, database, front, _folder: folder }
    }

    async fn node(&self) -> Node {
        node(&self.founded, &self.store).await
    }

    /// A Verifier that follows this node, whatever else it asks of another.
    async fn verifier(&self, cast: &Cast, at: SocketAddr, name: &str) -> Verifier {
        self.front.leads_to(&[at]);
        cast.verifier().name(name).connect().await.expect("a verifier")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_does_what_the_clock_asks_for_and_when_it_is_lost_another_does() {
    let stage = Stage::new().await;
    let config = text(&stage.founded, "config");
    let written = std::fs::read_to_string(&config).expect("a file");
    // Longer than a node that was lost is named as one that nobody hears of.
    std::fs::write(&config, format!("drill.every = \"75s\"\n{written}")).expect("a file");
    let first = stage.node().await;
    let (metrics, cast) = (first.metrics, Cast::at(first.server, 60).await);
    let mut nodes = vec![stage.node().await, stage.node().await, stage.node().await];
    let mut verifiers = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        verifiers.push(stage.verifier(&cast, node.server.address, &format!("crm-{place}")).await);
    }
    nodes.push(Node { server: cast.server, metrics });

    let lead_to_all = |nodes: &[Node]| {
        let live: Vec<_> = nodes.iter().map(|node| node.server.address).collect();
        stage.front.leads_to(&live);
    };
    let (holder, _) = turn_of(&nodes, GIVEN_BACK_WITHIN).await;
    let mut stopped = nodes.remove(holder);
    lead_to_all(&nodes);
    assert_eq!(stopped.server.stop(), Some(0));
    let (holder, took) = turn_of(&nodes, GIVEN_BACK_WITHIN).await;
    println!("a node that was stopped gave its lease back: another one had it after {took:?}");

    let mut killed = nodes.remove(holder);
    lead_to_all(&nodes);
    killed.server.kill();
    let (next, took) = turn_of(&nodes, TAKEN_OVER_WITHIN).await;
    println!("the node that had the lease was killed: another one had it after {took:?}");

    // It grows the tree of the log, which the other one serves, too.
    let other = &nodes[1 - next].server;
    let size = async || {
        let log = other.get("/v1/log").await;
        let lanes = log["lanes"].as_array().expect("lanes").iter();
        lanes.map(|lane| lane["size"].as_u64().expect("a size")).sum::<u64>()
    };
    let before = size().await;
    let body = json!({"name": "late", "owner_email": "late@example.com", "purpose": "a story"});
    other.post("/v1/agents", body).await;
    until("the tree grows", FOLLOWS_WITHIN, async || size().await > before).await;

    // One of them drills, once in a period, and each Verifier acknowledges, whichever node it follows.
    let drills = async || {
        let told = other.get("/v1/events?type=drill.finished").await;
        told["items"].as_array().expect("events").clone()
    };
    assert_eq!(drills().await.len(), 0);
    until("a drill", DRILLED_WITHIN, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        !drills().await.is_empty()
    })
    .await;
    // By now each of them has been up for a whole period.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let all = drills().await;
    assert_eq!(all.len(), 1, "{all:?}");
    let payload = all[0].get("payload").unwrap_or(&all[0]);
    assert_eq!(payload["decision"], "passed", "{payload}");
    assert_eq!(payload["changes"]["acknowledged"], "3", "{payload}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stands_still_with_the_lease_loses_it_and_does_nothing_under_it_when_it_wakes()
{
    let stage = Stage::new().await;
    let mut nodes = vec![stage.node().await, stage.node().await, stage.node().await];
    for node in &nodes {
        until("each has lanes of its own", GIVEN_BACK_WITHIN, async || node.has_lanes().await)
            .await;
    }
    let (holder, _) = turn_of(&nodes, GIVEN_BACK_WITHIN).await;
    let stopped = nodes.remove(holder);
    signal(&stopped.server, "-STOP");
    let (next, took) = turn_of(&nodes, TAKEN_OVER_WITHIN).await;
    println!("the node that had the lease stands still: another one had it after {took:?}");

    signal(&stopped.server, "-CONT");
    // Longer than a holder believes its last beat, and than a lease must have stood still.
    for _ in 0..30 {
        assert!(!stopped.has_turn().await, "it knows at once that it is over");
        assert!(nodes[next].has_turn().await, "which is not taken back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let times = |node: &Node| {
        let told = std::fs::read_to_string(node.server.folder().file("log")).expect("its log");
        told.matches("this node does from now on what one does for all").count()
    };
    assert_eq!([times(&stopped), times(&nodes[next]), times(&nodes[1 - next])], [1, 1, 0]);
    // It is a node like any other, and the tree of the log grows by the other one's work.
    let size = async || {
        let log = stopped.server.get("/v1/log").await;
        let lanes = log["lanes"].as_array().expect("lanes").iter();
        lanes.map(|lane| lane["size"].as_u64().expect("a size")).sum::<u64>()
    };
    let before = size().await;
    let body = json!({"name": "late", "owner_email": "late@example.com", "purpose": "a story"});
    stopped.server.post("/v1/agents", body).await;
    until("the tree grows", FOLLOWS_WITHIN, async || size().await > before).await;
    assert_eq!(stopped.server.cli_json(&["fsck"])["ok"], true);
}

/// What `accredit kill` says of an agent that is made for it, asked at a node.
fn killed(node: &Server, agent: &str) -> Value {
    node.cli_json(&["kill", "agent", agent, "--reason", "a story", "--wait", "5s"])["acknowledgements"]
        .clone()
}

fn count(told: &Value, name: &str) -> u64 {
    told[name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {told}"))
}

/// The points that stand so, by name.
fn named(told: &Value, status: &str) -> Vec<String> {
    let points = told["points"].as_array().expect("points").iter();
    let mut names: Vec<_> =
        points.filter(|it| it["status"] == status).map(|it| text(it, "name")).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_is_answered_for_the_verifiers_of_all_nodes_and_names_a_node_that_is_cut_off() {
    let stage = Stage::new().await;
    let way = Way::to(stage.database).await;
    let first = stage.node().await;
    let second = node(&stage.founded, &postgres::url_at(way.port)).await;
    let cast = Cast::at(first.server, 60).await;
    let nodes = [cast.server.address, second.server.address];
    let here = stage.verifier(&cast, nodes[0], "here").await;
    let there = stage.verifier(&cast, nodes[1], "there").await;
    // From now on, what they say goes to either node, whichever they follow.
    stage.front.leads_to(&nodes);

    for (place, asked) in [&cast.server, &second.server, &cast.server].into_iter().enumerate() {
        let agent = cast.agent(&format!("worker-{place}")).await;
        let token = cast.token(&agent).await;
        let told = killed(asked, &agent.agent);
        assert_eq!(named(&told, "acknowledged"), ["here", "there"], "{told}");
        let others = ["waiting", "silent", "gone", "unheard", "nodes_waiting", "nodes_unheard"];
        assert!(others.iter().all(|name| count(&told, name) == 0), "{told}");
        println!("both Verifiers acknowledged within {} us", told["microseconds_max"]);
        for verifier in [&here, &there] {
            verifier.verify_token(&token).await.expect_err("whoever acknowledged refuses");
        }
    }
    let told = cast.server.cli_json(&["drill"]);
    assert_eq!(count(&told["acknowledgements"], "acknowledged"), 2, "{told}");
    assert_eq!(told["passed"], true, "{told}");

    // A node that is cut off says nothing: its Verifier is not among those that acknowledged.
    stage.front.leads_to(&[nodes[1]]);
    way.cut();
    let agent = cast.agent("late").await;
    let told = killed(&cast.server, &agent.agent);
    assert_eq!(named(&told, "acknowledged"), ["here"], "{told}");
    assert!(count(&told, "nodes_waiting") + count(&told, "nodes_unheard") > 0, "{told}");
    let rev = count(&told, "rev");
    let path = format!("/v1/revocations/acknowledgements?rev={rev}");
    let mut told = Value::Null;
    until("the node that is cut off is named", NAMED_WITHIN, async || {
        told = cast.server.get(&path).await;
        count(&told, "nodes_unheard") == 1
    })
    .await;
    assert_eq!(named(&told, "unheard"), ["there"], "{told}");
    assert_eq!(count(&told, "nodes_waiting"), 0);
    assert!(count(&told, "bound_seconds") > 0, "{told}");

    // When it is back, so is its word.
    way.mend();
    until("all have acknowledged", Duration::from_secs(30), async || {
        told = cast.server.get(&path).await;
        named(&told, "acknowledged") == ["here", "there"] && count(&told, "nodes_unheard") == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verifier_goes_from_node_to_node_and_is_shown_no_less_there() {
    let stage = Stage::new().await;
    let nodes = [stage.node().await, stage.node().await, stage.node().await];
    let cast = Cast::at(stage.node().await.server, 60).await;
    let addresses = nodes.each_ref().map(|node| node.server.address);
    let verifier = stage.verifier(&cast, addresses[0], "goes").await;
    let mut slowest = Duration::ZERO;
    for (round, to) in addresses.iter().cycle().skip(1).take(9).enumerate() {
        let agent = cast.agent(&format!("worker-{round}")).await;
        let token = cast.token(&agent).await;
        until("it is alive", FOLLOWS_WITHIN, async || verifier.verify_token(&token).await.is_ok())
            .await;
        // Ended at one node, while its Verifier is on the way to another, which may be behind.
        stage.front.leads_to(&[*to]);
        nodes[round % 3].server.revoke(&agent.agent).await;
        stage.front.move_all();
        let took = until("the Verifier knows", FOLLOWS_WITHIN, async || {
            verifier.verify_token(&token).await.is_err()
        })
        .await;
        slowest = slowest.max(took);
        assert!(verifier.alarms().is_empty(), "{:?}", verifier.alarms());
    }
    println!("nine moves, no alarm; a revocation in between was known within {slowest:?}");
    // One that stood still comes back with less than it had shown, and says nothing before it knows.
    stage.front.leads_to(&[addresses[0]]);
    stage.front.move_all();
    let agent = cast.agent("last").await;
    let token = cast.token(&agent).await;
    until("it is alive", FOLLOWS_WITHIN, async || verifier.verify_token(&token).await.is_ok())
        .await;
    signal(&nodes[1].server, "-STOP");
    nodes[2].server.revoke(&agent.agent).await;
    until("the Verifier knows", FOLLOWS_WITHIN, async || {
        verifier.verify_token(&token).await.is_err()
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.front.leads_to(&[addresses[1]]);
    stage.front.move_all();
    signal(&nodes[1].server, "-CONT");
    for _ in 0..100 {
        verifier.verify_token(&token).await.expect_err("it was ended");
        assert!(verifier.alarms().is_empty(), "{:?}", verifier.alarms());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
