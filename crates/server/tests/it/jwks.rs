//! An agent's keys, followed at its URL: what is taken, what stays, and what nobody can make us do.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use accredit_domain::registry::jwks::FOLLOWED_KEYS_MAX;
use accredit_server::jobs;
use accredit_testkit::fixture::Scene;
use accredit_testkit::{Answer, Org, Signer, TestWorld};
use accredit_wire::crypto::Algorithm;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::events;

const READ: (&str, &str) = ("scope", "crm:read");

/// A server of one document on loopback.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    /// Held, it keeps answers back.
    gate: Arc<tokio::sync::Mutex<()>>,
}

impl Served {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new(String::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        let (told, counted, held) = (Arc::clone(&answer), Arc::clone(&asked), Arc::clone(&gate));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (told, counted) = (Arc::clone(&told), Arc::clone(&counted));
                let held = Arc::clone(&held);
                tokio::spawn(async move {
                    let mut head = [0u8; 4096];
                    if matches!(stream.read(&mut head).await, Ok(1..)) {
                        counted.fetch_add(1, Ordering::SeqCst);
                        drop(held.lock().await);
                        let answer = told.lock().expect("not poisoned").clone();
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        Self { address, answer, asked, gate }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks", self.address)
    }

    fn says(&self, status: &str, kind: &str, body: &str) {
        *self.answer.lock().expect("not poisoned") = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        );
    }

    pub(crate) fn has(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| jwk(key)).collect();
        self.says("200 OK", "application/jwk-set+json", &json!({"keys": keys}).to_string());
    }

    fn count(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn jwk(key: &Signer) -> Value {
    serde_json::from_str(&key.public_jwk()).expect("JSON")
}

struct Case {
    world: TestWorld,
    scene: Scene,
    served: Served,
}

impl Case {
    /// A world whose `planner` follows a set that has nothing yet.
    async fn begin(seed: u64) -> Self {
        let world = TestWorld::new(seed).await;
        let scene = world.scene().await;
        let served = Served::start().await;
        world.outside.0.allow(&[served.address]).expect("allowed");
        let case = Self { world, scene, served };
        case.update(json!({"jwks_url": case.served.url()})).await.expect(200);
        case
    }

    fn org(&self) -> &Org {
        &self.scene.org
    }

    fn key(&self, kid: &str) -> Signer {
        let mut key = Signer::new(Algorithm::EdDsa, kid, self.world.world.random());
        key.client.clone_from(&self.scene.client.id);
        key.issuer.clone_from(&self.scene.org.issuer);
        key
    }

    async fn update(&self, body: Value) -> Answer {
        self.world.admin(self.org(), "PATCH", "/v1/agents/planner", Some(body)).await
    }

    async fn agent(&self) -> Value {
        let path = "/v1/agents/planner";
        self.world.admin(self.org(), "GET", path, None).await.expect(200).json()
    }

    async fn keys(&self) -> Vec<Value> {
        let path = "/v1/credentials?agent=planner&limit=200";
        let listed = self.world.admin(self.org(), "GET", path, None).await.expect(200).json();
        let items = listed["items"].as_array().expect("items").iter();
        items.filter(|item| item["followed"] == true).cloned().collect()
    }

    async fn token(&self, key: &Signer) -> Answer {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nonce = format!("n{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let assertion = key.assertion(self.world.now(), &nonce);
        self.world.token_by(self.org(), &assertion, &[READ]).await
    }

    async fn turn(&self) {
        jobs::follow_all(&self.world.server).await;
    }
}

#[tokio::test]
async fn keys_of_the_set_are_the_agents() {
    let case = Case::begin(80).await;
    let (first, second) = (case.key("k1"), case.key("k2"));
    case.served.has(&[&first, &second]);
    case.turn().await;
    assert_eq!(case.served.count(), 1);
    for key in [&first, &second] {
        case.token(key).await.expect(200);
    }
    let keys = case.keys().await;
    assert_eq!(keys.len(), 2);
    let agent = case.agent().await;
    assert_eq!(agent["jwks_url"], case.served.url());
    assert_eq!(agent["jwks_fetched_at"], case.world.now().to_string());
    assert_eq!(
        (&agent["jwks_failing_since"], &agent["jwks_failure"]),
        (&Value::Null, &Value::Null)
    );
    let made = events(&case.world, case.org(), "credential.created").await;
    let of_key = made.iter().find(|event| event["payload"]["credential"] == keys[0]["id"]);
    let payload = &of_key.expect("its event")["payload"];
    assert_eq!(
        (&payload["actor"]["kind"], &payload["changes"]["followed"]),
        (&json!("system"), &json!("true"))
    );
    // Not due again for an hour.
    case.turn().await;
    case.world.advance(3599);
    case.turn().await;
    assert_eq!(case.served.count(), 1);
    case.world.advance(1);
    case.turn().await;
    assert_eq!(case.served.count(), 2);
    assert!(events(&case.world, case.org(), "agent.jwks_followed").await.is_empty());
}

#[tokio::test]
async fn a_key_that_has_left_the_set_ends_after_the_overlap_and_one_that_stays_lives_on() {
    let case = Case::begin(81).await;
    let (old, new) = (case.key("old"), case.key("new"));
    case.served.has(&[&old]);
    case.turn().await;
    let first_end = case.keys().await[0]["expires_at"].clone();
    case.served.has(&[&new, &old]);
    case.world.advance(3600);
    case.turn().await;
    case.served.has(&[&new]);
    case.world.advance(3600);
    case.turn().await;
    for key in [&old, &new] {
        case.token(key).await.expect(200);
    }
    let told = events(&case.world, case.org(), "agent.jwks_followed").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["payload"]["changes"]["ending"], case.keys().await[0]["id"]);
    case.world.advance(24 * 3600);
    case.token(&old).await.refused(401, "invalid_client", "credential-expired");
    case.token(&new).await.expect(200);
    // What stays is renewed when half of its life is over, and told in one event.
    case.world.advance(15 * 24 * 3600);
    case.turn().await;
    let keys = case.keys().await;
    assert!(keys[1]["expires_at"].as_str() > first_end.as_str(), "{keys:?}");
    let told = events(&case.world, case.org(), "agent.jwks_followed").await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[1]["payload"]["changes"]["renewed"], keys[1]["id"]);
    // Back within its overlap, a key lives on as well.
    case.served.has(&[&case.key("third")]);
    case.world.advance(3600);
    case.turn().await;
    case.served.has(&[&new]);
    case.world.advance(3600);
    case.turn().await;
    case.world.advance(25 * 3600);
    case.token(&new).await.expect(200);
}

#[tokio::test]
async fn a_set_that_cannot_be_had_keeps_the_old_keys_and_is_told_once() {
    let case = Case::begin(82).await;
    let key = case.key("k");
    case.served.has(&[&key]);
    case.turn().await;
    case.world.advance(3600);
    let since = case.world.now().to_string();
    let too_many: Vec<Signer> = (0..=FOLLOWED_KEYS_MAX).map(|n| case.key(&n.to_string())).collect();
    let too_many: Vec<&Signer> = too_many.iter().collect();
    let private = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA", "d": "AA"}]});
    let deep = "[".repeat(200) + &"]".repeat(200);
    let bad: [(&str, &str, &str); 9] = [
        ("500 Internal Server Error", "application/json", "{}"),
        ("302 Found", "application/json", "{}"),
        ("200 OK", "text/html", "<html>"),
        ("200 OK", "application/json", "{"),
        ("200 OK", "application/json", "{\"keys\":[]}"),
        ("200 OK", "application/json", "{\"keys\":[],\"keys\":[]}"),
        ("200 OK", "application/json", &deep),
        ("200 OK", "application/json", &private.to_string()),
        ("200 OK", "application/json", &"x".repeat(70_000)),
    ];
    for (status, kind, body) in bad {
        case.served.says(status, kind, body);
        case.turn().await;
        let agent = case.agent().await;
        assert_eq!(agent["jwks_failing_since"], since, "{status} {body:.40}: {agent}");
        assert!(agent["jwks_failure"].is_string());
        case.token(&key).await.expect(200);
        case.world.advance(600);
    }
    case.served.has(&too_many);
    case.turn().await;
    case.token(&key).await.expect(200);
    assert_eq!(case.keys().await.len(), 1);
    let told = events(&case.world, case.org(), "agent.jwks_failing").await;
    assert_eq!(told.len(), 1, "once for the change");
    assert!(told[0]["payload"]["reason"].as_str().is_some_and(|why| why.contains("500")));
    case.world.advance(600);
    case.served.has(&[&key]);
    case.turn().await;
    assert!(case.agent().await["jwks_failing_since"].is_null());
    let told = events(&case.world, case.org(), "agent.jwks_followed").await;
    assert_eq!(told[0]["payload"]["changes"]["recovered"], "true");
    let metrics = accredit_server::metrics::render(&case.world.server).await.expect("metrics");
    assert!(
        metrics.contains("accredit_key_sets_fetched_total{outcome=\"failed\"} 10"),
        "{metrics}"
    );
    // For ever failing, the old key ends at last.
    case.served.says("500 Internal Server Error", "application/json", "{}");
    case.world.advance(31 * 24 * 3600);
    case.turn().await;
    case.token(&key).await.refused(401, "invalid_client", "credential-expired");
}

#[tokio::test]
async fn a_key_of_another_or_one_that_was_revoked_is_not_taken() {
    let case = Case::begin(83).await;
    case.world.agent(case.org(), "worker", &["crm:read"]).await;
    let theirs = case.world.agent_key(case.org(), "worker", "theirs", Algorithm::EdDsa).await;
    let own = case.key("own");
    case.served.has(&[&theirs, &own]);
    case.turn().await;
    assert_eq!(case.keys().await.len(), 1, "the good one is taken all the same");
    case.token(&own).await.expect(200);
    // Nobody can claim to be `planner` with it, and it still is `worker`'s.
    let mut stolen = theirs.claims(case.world.now(), "x");
    stolen["iss"] = json!(own.client);
    stolen["sub"] = json!(own.client);
    let forged = theirs.sign(&theirs.header(), &stolen);
    let answer = case.world.token_by(case.org(), &forged, &[READ]).await;
    answer.refused(401, "invalid_client", "client-authentication");
    case.token(&theirs).await.expect(200);
    let agent = case.agent().await;
    assert!(agent["jwks_failure"].as_str().is_some_and(|why| why.starts_with("1 key")), "{agent}");
    // A leaked key is revoked, and does not come back with the set.
    let id = case.keys().await[0]["id"].as_str().expect("an id").to_owned();
    case.world.revoke(case.org(), &id).await.expect("revoked");
    case.world.advance(3600);
    case.turn().await;
    case.token(&own).await.refused(401, "invalid_client", "credential-revoked");
    assert_eq!(events(&case.world, case.org(), "agent.jwks_failing").await.len(), 1);
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_a_minute_and_no_more() {
    let case = Case::begin(84).await;
    let (first, second, third) = (case.key("k1"), case.key("k2"), case.key("k3"));
    case.served.has(&[&first]);
    // Also the first time: nobody has to wait for the job.
    case.token(&first).await.expect(200);
    assert_eq!(case.served.count(), 1);
    case.served.has(&[&first, &second]);
    case.token(&second).await.refused(401, "invalid_client", "client-authentication");
    case.world.advance(60);
    case.token(&second).await.expect(200);
    assert_eq!(case.served.count(), 2);
    // A flood of unknown names makes one request a minute, whoever sends them.
    let mut stranger = case.key("nobody");
    for n in 0..100 {
        stranger.kid = format!("kid-{n}");
        case.token(&stranger).await.refused(401, "invalid_client", "client-authentication");
        case.world.advance(3);
    }
    assert_eq!(case.served.count(), 2 + 4, "in 300 seconds, the first of them just after another");
    // A known name, no name at all, and clients that follow nothing make none.
    case.world.advance(60);
    let count = case.served.count();
    let mut forged = case.key("k1");
    case.token(&forged).await.expect(401);
    let nameless = third.assertion_headed(case.world.now(), "nameless", "kid", Value::Null);
    case.world.token_by(case.org(), &nameless, &[READ]).await.expect(401);
    case.world.agent(case.org(), "worker", &["crm:read"]).await;
    forged.client = case.world.agent_id(case.org(), "worker").await.to_string();
    forged.kid = "unknown".to_owned();
    case.token(&forged).await.expect(401);
    forged.client = accredit_wire::ids::AgentId::new(9, [9; 10]).to_string();
    case.token(&forged).await.expect(401);
    assert_eq!(case.served.count(), count);
    // One whose turn it is, at the same time as many others, is asked for once.
    let many = futures_util::future::join_all((0..8).map(|_| case.token(&third))).await;
    assert!(many.iter().all(|answer| answer.status == 401));
    assert_eq!(case.served.count(), count + 1);
}

#[tokio::test]
async fn our_own_network_is_no_place_for_keys() {
    let world = TestWorld::new(85).await;
    let scene = world.scene().await;
    let served = Served::start().await;
    let set = async |url: &str| {
        let body = json!({"jwks_url": url});
        world.admin(&scene.org, "PATCH", "/v1/agents/planner", Some(body)).await
    };
    // What says it itself is refused at once.
    for url in [
        &*served.url(),
        "https://127.0.0.1/",
        "https://169.254.169.254/latest",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fd00::1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://0.0.0.0/",
        "https://100.64.0.1/",
        "https://10.1.2.3/",
        "http://keys.example/",
        "file:///etc/passwd",
        "https://user:pw@keys.example/",
        "keys.example",
        "https://",
        "https://keys.example/#x",
        "https://keys.example/\u{e9}",
    ] {
        let answer = set(url).await;
        answer.problem(400, "field-invalid");
        assert!(!answer.text().contains("user:pw"), "{}", answer.text());
    }
    assert!(
        world.admin(&scene.org, "GET", "/v1/agents/planner", None).await.json()["jwks_url"]
            .is_null()
    );
    // What resolves to it is refused when it is fetched; nothing is connected to.
    for host in ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1"] {
        set(&format!("https://{host}:{}/", served.address.port())).await.expect(200);
        jobs::follow_all(&world.server).await;
        let agent = world.admin(&scene.org, "GET", "/v1/agents/planner", None).await.json();
        let why = agent["jwks_failure"].as_str().expect("a reason");
        assert!(why.contains("may not connect") || why.contains("no address"), "{host}: {why}");
    }
    assert_eq!(served.count(), 0);
    let body = json!({"name": "other", "owner_email": "a@example.com", "jwks_url": served.url()});
    let made = world.admin(&scene.org, "POST", "/v1/agents", Some(body)).await;
    made.problem(400, "field-invalid");
}

#[tokio::test]
async fn a_host_that_does_not_answer_holds_up_no_other_organization() {
    let case = Case::begin(87).await;
    let quick = Served::start().await;
    let both = [case.served.address, quick.address];
    case.world.outside.0.allow(&both).expect("allowed");
    let mut others = Vec::new();
    for name in ["eta", "iota", "theta", "zeta"] {
        let other = case.world.found(name).await;
        case.world.resource(&other, "crm", &["read"]).await;
        case.world.agent(&other, "planner", &["crm:read"]).await;
        let body = Some(json!({"jwks_url": quick.url()}));
        case.world.admin(&other, "PATCH", "/v1/agents/planner", body).await.expect(200);
        others.push(other);
    }
    quick.has(&[&case.key("k2")]);
    case.served.has(&[&case.key("k1")]);
    let silence = case.served.gate.lock().await;
    let (mut turn, path) = (Box::pin(case.turn()), "/v1/agents/planner");
    let fetched = async |other| {
        case.world.admin(other, "GET", path, None).await.json()["jwks_fetched_at"].is_string()
    };
    let all_fetched = async {
        for other in &others {
            while !fetched(other).await {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        () = &mut turn => panic!("the turn ended, and a host has not answered"),
        () = all_fetched => {}
    }
    // The next turn passes by whom the last one waits for.
    let asked = case.served.count();
    case.turn().await;
    assert_eq!((asked, case.served.count()), (1, 1));
    drop(silence);
    turn.await;
    assert_eq!(case.keys().await.len(), 1);
}

#[tokio::test]
async fn without_the_url_its_keys_end_after_the_overlap() {
    let case = Case::begin(86).await;
    let (followed, own) =
        (case.key("k"), case.world.agent_key(case.org(), "planner", "own", Algorithm::EdDsa).await);
    case.served.has(&[&followed]);
    case.turn().await;
    case.update(json!({"jwks_url": ""})).await.expect(200);
    assert!(case.agent().await["jwks_url"].is_null());
    case.token(&followed).await.expect(200);
    case.world.advance(24 * 3600);
    case.turn().await;
    case.token(&followed).await.refused(401, "invalid_client", "credential-expired");
    case.token(&own).await.expect(200);
    assert_eq!(case.served.count(), 1);
    // Nothing is fetched for who is decommissioned.
    case.update(json!({"jwks_url": case.served.url()})).await.expect(200);
    let gone = json!({"reason": "over"});
    let path = "/v1/agents/planner/decommission";
    case.world.admin(case.org(), "POST", path, Some(gone)).await.expect(200);
    case.turn().await;
    case.token(&case.key("unknown")).await.expect(401);
    assert_eq!(case.served.count(), 1);
}

#[tokio::test]
async fn what_comes_from_a_url_that_is_no_longer_followed_is_left_alone() {
    let case = Case::begin(89).await;
    let key = case.key("k");
    case.served.has(&[&key]);
    let held = case.served.gate.lock().await;
    let meanwhile = async {
        while case.served.count() == 0 {
            tokio::task::yield_now().await;
        }
        case.update(json!({"jwks_url": ""})).await.expect(200);
        drop(held);
    };
    tokio::join!(case.turn(), meanwhile);
    assert_eq!(case.served.count(), 1);
    assert!(case.keys().await.is_empty(), "keys of a URL that was taken away");
    case.token(&key).await.expect(401);
    assert!(case.agent().await["jwks_url"].is_null());
    case.world.advance(3600);
    case.turn().await;
    assert_eq!(case.served.count(), 1, "it is not followed again");
}

/// What was fetched for an agent as it was is not taken for what it has become; the next turn sees
/// it anew.
#[tokio::test]
async fn what_is_fetched_while_the_agent_changes_is_fetched_again() {
    let case = Case::begin(90).await;
    let key = case.key("k");
    case.served.has(&[&key]);
    let held = case.served.gate.lock().await;
    let meanwhile = async {
        while case.served.count() == 0 {
            tokio::task::yield_now().await;
        }
        case.update(json!({"purpose": "another"})).await.expect(200);
        drop(held);
    };
    tokio::join!(case.turn(), meanwhile);
    assert!(case.keys().await.is_empty(), "the agent has changed since it was looked at");
    case.turn().await;
    assert_eq!((case.served.count(), case.keys().await.len()), (2, 1));
    case.token(&key).await.expect(200);
}

#[tokio::test]
async fn a_key_that_somebody_rotated_ends_as_they_said() {
    let case = Case::begin(87).await;
    let (old, new) = (case.key("old"), case.key("new"));
    case.served.has(&[&old]);
    case.turn().await;
    let id = case.keys().await[0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/credentials/{id}/rotate");
    let body = json!({"overlap": 2 * 3600, "jwk": jwk(&new)});
    case.world.admin(case.org(), "POST", &path, Some(body)).await.expect(201);
    case.world.advance(3600);
    case.turn().await;
    assert_eq!(case.served.count(), 2);
    case.token(&old).await.expect(200);
    case.world.advance(3600);
    case.token(&old).await.refused(401, "invalid_client", "credential-expired");
    case.token(&new).await.expect(200);
}
