//! A SPIFFE client that knows nothing of us (the crate `spiffe`), as a process under `accredit run` and as one
//! of a whole host; and two organizations on two servers whose instances know one another.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use spiffe::{JwtBundleSet, JwtSvid, SpiffeId, WorkloadApiClient, WorkloadApiError, X509BundleSet};

use crate::stage::cast::text;
use crate::stage::server::{Folder, free_port};
use crate::stage::{Cast, Server, binary, until};
use crate::story_edge::Machine;

/// How long something of another process may take on a loaded machine.
const SOON: Duration = Duration::from_secs(30);
/// What the workload's answers begin with, among what the test harness prints.
const ANSWER: &str = "answer ";

/// The roots of each trust domain that a client was told of, in base64.
fn roots(bundles: &X509BundleSet) -> BTreeMap<String, Vec<String>> {
    let each = bundles.iter().map(|(domain, bundle)| {
        let roots = bundle.authorities().iter().map(|root| STANDARD.encode(root.as_bytes()));
        (domain.to_string(), roots.collect())
    });
    each.collect()
}

/// The names of the keys for JWT-SVIDs of each.
fn names(bundles: &JwtBundleSet) -> BTreeMap<String, Vec<String>> {
    let each = bundles.iter().map(|(domain, bundle)| {
        let keys = bundle.jwt_authorities().map(|key| key.key_id().to_owned());
        (domain.to_string(), keys.collect())
    });
    each.collect()
}

/// One question of the crate's client, and what came of it.
async fn asked(client: &WorkloadApiClient, question: &Value) -> Result<Value, WorkloadApiError> {
    let said = |name: &str| question[name].as_str().unwrap_or_default().to_owned();
    Ok(match &*said("ask") {
        "x509" => {
            let svid = client.fetch_x509_svid().await?;
            let context = client.fetch_x509_context().await?;
            let same = context.default_svid().map(|svid| svid.spiffe_id().to_string());
            let chain = svid.cert_chain().iter().map(|one| STANDARD.encode(one.as_bytes()));
            json!({
                "spiffe_id": svid.spiffe_id().to_string(),
                "same": same,
                "chain": chain.collect::<Vec<_>>(),
                "has_key": !svid.private_key().as_bytes().is_empty(),
                "in_context": roots(context.bundle_set()),
                "bundles": roots(&client.fetch_x509_bundles().await?),
                "jwt_bundles": names(&client.fetch_jwt_bundles().await?),
            })
        }
        "jwt" => {
            let own: Option<SpiffeId> = question["as"].as_str().and_then(|id| id.try_into().ok());
            let svid = client.fetch_jwt_svid([said("audience")], own.as_ref()).await?;
            json!({"spiffe_id": svid.spiffe_id().to_string(), "token": svid.token()})
        }
        "validate" => {
            let svid = client.validate_jwt_token(&said("audience"), &said("token")).await?;
            // The library's own judgement, by the bundles that it was told.
            let bundles = client.fetch_jwt_bundles().await?;
            let alone = JwtSvid::parse_and_validate(&said("token"), &bundles, &[said("audience")]);
            json!({
                "spiffe_id": svid.spiffe_id().to_string(),
                "alone": alone.map(|svid| svid.spiffe_id().to_string()).ok(),
            })
        }
        other => panic!("no question: {other:?}"),
    })
}

fn told(answer: Result<Value, WorkloadApiError>) -> Value {
    answer.unwrap_or_else(|error| json!({"error": format!("{error:?}")}))
}

/// What runs under `accredit run`: it answers each line of its input with one of its output.
#[tokio::test]
#[ignore = "is started by the stories here, under `accredit run`"]
async fn as_a_workload() {
    let client = WorkloadApiClient::connect_env().await.expect("a socket");
    for line in std::io::stdin().lines() {
        let question = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let answer = told(asked(&client, &question).await);
        writeln!(std::io::stdout(), "\n{ANSWER}{answer}").expect("written");
    }
}

/// This program as a workload, under `accredit run`.
struct Workload {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Workload {
    fn new(server: &Server) -> Self {
        let own = std::env::current_exe().expect("this test's own path");
        let own = own.to_str().expect("a path in UTF-8");
        let harness = ["--exact", "story_spiffe::as_a_workload", "--ignored", "--nocapture"];
        let run = [&["run", "--agent", "planner", "--", own], &harness[..]].concat();
        let mut command = server.command(&run);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().expect("the binary runs");
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let from = BufReader::new(from.expect("its output"));
        Self { child, to: to.expect("its input"), from }
    }

    fn asks(&mut self, question: &Value) -> Value {
        writeln!(self.to, "{question}").expect("written");
        let mut line = String::new();
        while !line.starts_with(ANSWER) {
            line.clear();
            assert_ne!(self.from.read_line(&mut line).expect("a line"), 0, "it ended");
        }
        serde_json::from_str(&line[ANSWER.len()..]).expect("JSON")
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ids(map: &Value) -> Vec<&str> {
    map.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// Whether OpenSSL believes a chain by these roots and no others.
fn openssl_believes(chain: &Value, roots: &Value) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, all: &[Value]| {
        let blocks = all.iter().map(|der| {
            let der = STANDARD.decode(der.as_str().expect("text")).expect("base64");
            accredit_wire::x509::pem("CERTIFICATE", &der)
        });
        let path = folder.path().join(name);
        std::fs::write(&path, blocks.collect::<String>()).expect("written");
        path
    };
    let chain = chain.as_array().expect("a chain");
    let roots = write("roots.pem", roots.as_array().map_or(&[][..], Vec::as_slice));
    let (leaf, between) = (write("leaf.pem", &chain[..1]), write("between.pem", &chain[1..]));
    let mut openssl = Command::new("openssl");
    openssl.args(["verify", "-no-CApath", "-no-CAstore", "-purpose", "sslserver", "-CAfile"]);
    openssl.arg(roots).arg("-untrusted").arg(between).arg(leaf);
    openssl.output().expect("openssl runs").status.success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_knows_nothing_of_us_finds_all_that_the_standard_says() {
    let cast = Cast::new().await;
    cast.bare_agent("planner").await;
    let mut one = Workload::new(&cast.server);
    let got = one.asks(&json!({"ask": "x509"}));
    let (id, own) = (text(&got, "spiffe_id"), "dev.127.0.0.1");
    assert!(id.starts_with(&format!("spiffe://{own}/agent/planner/instance/ins_")), "{got}");
    assert_eq!((&got["same"], &got["has_key"]), (&json!(id), &json!(true)));
    assert_eq!(ids(&got["bundles"]), [own], "{got}");
    assert_eq!(got["in_context"], got["bundles"]);
    assert!(openssl_believes(&got["chain"], &got["bundles"][own]), "{got}");
    assert_eq!(ids(&got["jwt_bundles"]), [own]);

    let svid = one.asks(&json!({"ask": "jwt", "audience": "billing"}));
    assert_eq!(svid["spiffe_id"], id, "{svid}");
    let check = |audience: &str, token: &str| json!({"ask": "validate", "audience": audience, "token": token});
    let token = text(&svid, "token");
    let checked = one.asks(&check("billing", &token));
    assert_eq!((&checked["spiffe_id"], &checked["alone"]), (&json!(id), &json!(id)), "{checked}");
    for wrong in [check("crm", &token), check("billing", &token[..token.len() - 4])] {
        let refused = one.asks(&wrong);
        assert!(text(&refused, "error").contains("InvalidArgument"), "{refused}");
    }
    let other = json!({"ask": "jwt", "audience": "b", "as": format!("spiffe://{own}/agent/x")});
    let refused = one.asks(&other);
    assert!(text(&refused, "error").contains("PermissionDenied"), "{refused}");
}

/// Two servers that may fetch from one another, each with an organization of its own.
async fn two_servers() -> [Cast; 2] {
    let ports = [free_port(), free_port()];
    let [here, there] = ports.map(|port| format!("127.0.0.1:{port}"));
    let folders = [Folder::new(), Folder::new()];
    let mut dev = Server::dev_command(&folders[0], ports[0]);
    dev.env("ACCREDIT_OUTBOUND_LOOPBACK", &there);
    let dev = Server::started(dev, folders[0].clone()).await;
    let (data, url) = (folders[1].file("data"), format!("http://{there}"));
    let init = ["init", "--data", &data, "--org", "partner", "--public-url", &url, "--listen"];
    let init = [&init[..], &[&there, "--output", "json"]].concat();
    let founded = binary::run(binary::command(&init)).json();
    let config = text(&founded, "config");
    let mut serve = binary::command(&["serve", "--config", &config]);
    serve.env("ACCREDIT_OUTBOUND_LOOPBACK", &here);
    let partner = Server::serve_by(serve, folders[1].clone(), &founded).await;
    [Cast::at(dev, 60).await, Cast::at(partner, 60).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_two_servers_know_one_another_by_their_trust_domains() {
    let [dev, partner] = two_servers().await;
    let names = ["dev.127.0.0.1", "partner.127.0.0.1"];
    for cast in [&dev, &partner] {
        cast.bare_agent("planner").await;
        cast.bare_agent("other").await;
    }
    let url = |cast: &Cast| format!("{}/spiffe/bundle", cast.server.issuer);
    // For one agent alone here, and for all there.
    let add = ["trust-domain", "add", names[1], "--agent", "planner", "--bundle-url"];
    let added = dev.server.cli_json(&[&add[..], &[&url(&partner)]].concat());
    assert_eq!((&added["profile"], &added["agents"]), (&json!("https_web"), &json!(["planner"])));
    let add = ["trust-domain", "add", names[0], "--bundle-url"];
    partner.server.cli(&[&add[..], &[&url(&dev)]].concat()).good();
    let own = ["trust-domain", "add", names[0], "--bundle-url"];
    let own = dev.server.cli(&[&own[..], &[&url(&dev)]].concat());
    assert!(own.code != 0 && own.err.contains("own trust domain"), "{own:?}");

    let (mut here, mut there) = (Workload::new(&dev.server), Workload::new(&partner.server));
    let (ours, theirs) = (here.asks(&json!({"ask": "x509"})), there.asks(&json!({"ask": "x509"})));
    for got in [&ours, &theirs] {
        assert_eq!(ids(&got["bundles"]), names, "{got}");
        assert_eq!(ids(&got["in_context"]), names, "{got}");
        assert_eq!(ids(&got["jwt_bundles"]), names, "{got}");
    }
    // Each one's certificate by the bundle that the other holds of its trust domain, and by that alone.
    for (got, name, other) in [(&ours, names[0], &theirs), (&theirs, names[1], &ours)] {
        assert!(openssl_believes(&got["chain"], &other["bundles"][name]), "{name}");
        let wrong = if name == names[0] { names[1] } else { names[0] };
        assert!(!openssl_believes(&got["chain"], &other["bundles"][wrong]), "{name}");
    }
    // And its token, for whom it is and no other.
    let svid = here.asks(&json!({"ask": "jwt", "audience": "billing"}));
    let token = text(&svid, "token");
    let check = |audience: &str| json!({"ask": "validate", "audience": audience, "token": token});
    let checked = there.asks(&check("billing"));
    let id = &ours["spiffe_id"];
    assert_eq!((&checked["spiffe_id"], &checked["alone"]), (id, id), "{checked}");
    let refused = there.asks(&check("crm"));
    assert!(text(&refused, "error").contains("InvalidArgument"), "{refused}");

    // A stranger's trust domain is none that anybody knows.
    dev.server.cli(&["trust-domain", "remove", names[1]]).good();
    let mut later = Workload::new(&dev.server);
    assert_eq!(ids(&later.asks(&json!({"ask": "x509"}))["bundles"]), [names[0]]);
    let theirs = there.asks(&json!({"ask": "jwt", "audience": "billing"}));
    let unknown = json!({"ask": "validate", "audience": "billing", "token": theirs["token"]});
    let refused = later.asks(&unknown);
    assert!(text(&refused, "error").contains("not known here"), "{refused}");

    // The other server is gone: what is held of it is kept, and its age is told.
    let mut dev = dev;
    dev.server.kill();
    let refreshed = partner.server.cli(&["trust-domain", "refresh", names[0]]);
    assert!(refreshed.code != 0 && refreshed.err.contains("believed on"), "{refreshed:?}");
    let shown = partner.server.cli_json(&["trust-domain", "show", names[0]]);
    assert!(shown["bundle_failing_since"].is_string() && shown["bundle_age"].is_u64(), "{shown}");
    let checked = there.asks(&check("billing"));
    assert_eq!(&checked["spiffe_id"], id, "{checked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_an_instance_of_a_whole_host_by_what_it_is() {
    let mut machine = Machine::new().await;
    let own = std::env::current_exe().expect("this test's own path");
    machine.rule("planner", &own);
    let empty = machine.file("empty.json");
    std::fs::write(&empty, r#"{"keys":[]}"#).expect("written");
    let given = given_bundle(&empty, &machine.cast.server);
    machine.join();
    let endpoint = format!("unix://{}", machine.socket().display());
    let client = Arc::new(WorkloadApiClient::connect_to(&endpoint).await.expect("a socket"));
    until("it is known", SOON, async || {
        asked(&client, &json!({"ask": "jwt", "audience": "b"})).await.is_ok()
    })
    .await;
    let got = told(asked(&client, &json!({"ask": "x509"})).await);
    assert!(text(&got, "spiffe_id").contains("/agent/planner/instance/"), "{got}");
    assert!(openssl_believes(&got["chain"], &got["bundles"]["dev.127.0.0.1"]), "{got}");
    // One whose bundle is empty is one of whom nobody is believed.
    assert_eq!(ids(&got["bundles"]), ["dev.127.0.0.1"], "{given}");
    let svid = told(asked(&client, &json!({"ask": "jwt", "audience": "b"})).await);
    let check = json!({"ask": "validate", "audience": "b", "token": svid["token"]});
    let checked = told(asked(&client, &check).await);
    assert_eq!(checked["spiffe_id"], got["spiffe_id"], "{checked}");
}

/// Takes in a trust domain by hand.
fn given_bundle(file: &Path, server: &Server) -> Value {
    let file = file.display().to_string();
    server.cli_json(&["trust-domain", "add", "lab.example", "--bundle", &file])
}
