//! Workloads without a secret, over the real binary: a pod and a workflow run get tokens with what their
//! platform signed for them, once each, on whichever node; and what ends them.

use std::net::SocketAddr;

use accredit_wire::crypto::Algorithm;
use axum::routing::get;
use serde_json::{Value, json};

use crate::stage::cast::{Cast, text};
use crate::stage::http::{Answer, Ask};
use crate::stage::keys::ClientKey;
use crate::stage::postgres::{Machine, url_of};
use crate::stage::server::{Folder, Server};
use crate::stage::{binary, now, unique};
use crate::story_nodes::{init, node};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A platform on loopback, with metadata and keys.
struct Platform {
    address: SocketAddr,
    key: ClientKey,
}

impl Platform {
    async fn start() -> Self {
        let key = ClientKey::new(Algorithm::Es256, Some("k1"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let document = |text: String| {
            get(move || async move { ([("content-type", "application/json")], text) })
        };
        let metadata = json!({"issuer": format!("http://{address}"),
            "jwks_uri": format!("http://{address}/keys")});
        let routes = axum::Router::new()
            .route("/.well-known/openid-configuration", document(metadata.to_string()))
            .route("/keys", document(json!({"keys": [key.jwk()]}).to_string()));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, key }
    }

    fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What an API server writes into a projected volume.
    fn pod(&self, audience: &str, uid: &str) -> String {
        let claims = json!({
            "aud": [audience], "iss": self.issuer(), "iat": now(), "nbf": now(),
            "exp": now() + 3600, "jti": unique(),
            "sub": "system:serviceaccount:prod:planner",
            "kubernetes.io": {"namespace": "prod", "pod": {"name": "planner-0", "uid": uid},
                "serviceaccount": {"name": "planner", "uid": "account-1"}},
        });
        self.key.sign_under(r#"{"alg":"ES256","kid":"k1"}"#, &claims.to_string())
    }

    /// What a workflow run is given.
    fn run(&self, audience: &str, repository_id: &str) -> String {
        let claims = json!({
            "aud": audience, "iss": self.issuer(), "iat": now(), "nbf": now() - 300,
            "exp": now() + 300, "jti": unique(), "repository": "acme/app",
            "repository_id": repository_id, "run_id": "19", "run_attempt": "1",
            "environment": "prod", "sub": "repo:acme/app:environment:prod",
        });
        self.key.sign_as("JWT", claims.to_string().as_bytes())
    }
}

async fn granted(server: &Server, token: &str) -> Answer {
    let form = [("grant_type", JWT_BEARER), ("assertion", token), ("scope", "crm:read")];
    server.send(Ask::form(&format!("/o/{}/oauth/token", server.org), &form)).await
}

fn instance_in(token: &str) -> String {
    let part = token.split('.').nth(1).expect("a payload");
    let bytes = accredit_wire::jose::b64url_decode(part).expect("base64url");
    let payload: Value = serde_json::from_slice(&bytes).expect("JSON");
    text(&payload["accredit"], "ins")
}

/// Registers the platform and the rules of the guide, by its commands.
fn register(server: &Server, platform: &Platform) -> Value {
    let add = ["federation", "add", "prod-cluster", "--no-users", "--discover", "--issuer"];
    server.cli_json(&[&add[..], &[&platform.issuer()]].concat());
    let rule = ["attest", "rule", "add", "--agent", "planner", "--federation", "prod-cluster"];
    let runs = ["--github", "--repository-id", "74", "--environment", "prod"];
    server.cli_json(&[&rule[..], &runs].concat());
    let pods = ["--kubernetes", "--namespace", "prod", "--service-account", "planner"];
    server.cli_json(&[&rule[..], &pods].concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_and_a_workflow_get_tokens_without_a_secret() {
    let platform = Platform::start().await;
    let folder = Folder::new();
    let mut command = Server::dev_command(&folder, 0);
    command.env("ACCREDIT_OUTBOUND_LOOPBACK", platform.address.to_string());
    let cast = Cast::at(Server::started(command, folder).await, 60).await;
    let server = &cast.server;
    cast.bare_agent("planner").await;
    let rule = text(&register(server, &platform), "id");
    let listed = server.cli_json(&["attest", "rule", "list", "--agent", "planner"]);
    assert_eq!(listed["items"].as_array().expect("items").len(), 2);

    let token = platform.pod(&server.issuer, "pod-1");
    let first = text(&granted(server, &token).await.good(), "access_token");
    assert!(server.is_active(&first).await);
    let again = granted(server, &token).await;
    assert_eq!(
        (again.status, text(&again.json(), "rule")),
        (400, "grant-assertion-replayed".into())
    );
    let sibling = platform.pod(&server.issuer, "pod-2");
    let sibling = text(&granted(server, &sibling).await.good(), "access_token");
    let run = granted(server, &platform.run(&server.issuer, "74")).await.good();
    let run = text(&run, "access_token");
    let other = granted(server, &platform.run(&server.issuer, "75")).await;
    assert_eq!(text(&other.json(), "rule"), "workload-agent");
    let elsewhere = granted(server, &platform.pod("https://kubernetes.default.svc", "pod-1")).await;
    assert_eq!(text(&elsewhere.json(), "error"), "invalid_grant");

    // A token of another Accredit is no platform's, even where that is registered.
    let other = Cast::new().await;
    let client = other.agent("planner").await;
    let foreign = other.token(&client).await;
    assert_eq!(granted(server, &foreign).await.status, 400);

    // One copy, one rule, one platform.
    server.revoke(&instance_in(&first)).await;
    assert!(!server.is_active(&first).await && server.is_active(&sibling).await);
    let ended = granted(server, &platform.pod(&server.issuer, "pod-1")).await;
    assert_eq!(text(&ended.json(), "rule"), "instance-not-active");
    server.cli_json(&["attest", "rule", "remove", &rule, "--reason", "a story"]);
    assert!(!server.is_active(&sibling).await && server.is_active(&run).await);
    server.cli_json(&["kill", "federation", "prod-cluster", "--reason", "a story"]);
    assert!(!server.is_active(&run).await);
    // No token of the platform is kept in clear, nor told.
    let log = std::fs::read_to_string(server.folder().file("log")).unwrap_or_default();
    assert!(!log.contains(token.split('.').nth(1).expect("a payload")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_taken_once_by_all_nodes_together() {
    let platform = Platform::start().await;
    let database = Machine::primary().await;
    let (folder, store) = (Folder::new(), url_of(&[&database]));
    let founded = init(&folder, &store);
    let mut command = binary::command(&["serve", "--config", &text(&founded, "config")]);
    command.env("ACCREDIT_OUTBOUND_LOOPBACK", platform.address.to_string());
    let first = Server::serve_by(command, Folder::new(), &founded).await;
    let second = node(&founded, &store).await;
    let cast = Cast::at(first, 60).await;
    cast.bare_agent("planner").await;
    register(&cast.server, &platform);
    let token = platform.pod(&cast.server.issuer, "pod-1");
    let here = text(&granted(&cast.server, &token).await.good(), "access_token");
    let there = granted(&second, &token).await;
    assert_eq!(text(&there.json(), "rule"), "grant-assertion-replayed", "{:?}", there.json());
    // The copy is the same instance at each of them, also where both are asked at once.
    let tokens = [(); 2].map(|()| platform.pod(&cast.server.issuer, "pod-2"));
    let [one, other] = &tokens;
    let both = tokio::join!(granted(&cast.server, one), granted(&second, other));
    let [one, other] = [both.0, both.1].map(|answer| text(&answer.good(), "access_token"));
    assert_eq!(instance_in(&one), instance_in(&other));
    assert_ne!(instance_in(&one), instance_in(&here));
}
