//! Everything rotates while it is used: credentials, signing keys under load, the root key.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use accredit_wire::jose::jwk::JwkSet;
use accredit_wire::revocations::feed::FeedError;
use accredit_wire::revocations::{Follower, Nonce, SignedMessage};
use accredit_wire::time::Time;
use serde_json::{Value, json};

use crate::stage::cast::{Client, text};
use crate::stage::server::{Folder, free_port};
use crate::stage::{self, Answer, Ask, Cast, Server, binary};

/// How often the keys are rotated under load.
const ROTATIONS: usize = 4;
/// Between two rotations: as long as it takes to use the key, which is less than the two seconds for
/// which a verifier does not ask again because of a token alone.
const BETWEEN: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signing_keys_rotate_under_load_without_one_failed_verification() {
    let cast = Arc::new(Cast::new().await);
    let agent = cast.agent("planner").await;
    let verifiers = [cast.connected().await, cast.connected().await];
    let (stop, verified) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = verifiers
        .into_iter()
        .map(|verifier| {
            let (cast, agent) = (Arc::clone(&cast), agent.clone());
            let (stop, verified) = (Arc::clone(&stop), Arc::clone(&verified));
            tokio::spawn(async move {
                let mut kids = Vec::new();
                let mut kept: Vec<String> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let token = cast.token(&agent).await;
                    verifier.verify_token(&token).await.expect("a fresh token");
                    verified.fetch_add(1, Ordering::Relaxed);
                    let kid = token.split('.').next().expect("a header").to_owned();
                    if !kids.contains(&kid) {
                        kids.push(kid);
                        kept.push(token);
                    }
                    // What an earlier key signed is believed until it expires.
                    for old in &kept {
                        verifier.verify_token(old).await.expect("an older token");
                    }
                }
                kids.len()
            })
        })
        .collect();

    // Not yet published for long: only at once, and because one says so.
    let early = cast.server.api("POST", "/v1/signing-keys/rotate", json!({})).await;
    early.problem(409, "state-forbids");
    for _ in 0..ROTATIONS {
        tokio::time::sleep(BETWEEN).await;
        let rotated = cast.server.cli_json(&["signing-key", "rotate", "--now"]);
        assert_eq!(rotated["active"]["state"], "active", "{rotated}");
        assert_eq!(rotated["retiring"]["state"], "retiring", "{rotated}");
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        let seen = task.await.expect("no verification failed");
        assert_eq!(seen, ROTATIONS + 1, "each key signed");
    }
    assert!(verified.load(Ordering::Relaxed) > 50, "there was load");

    // The noun ends one too, and says what copies of the key set still believe.
    let keys = cast.server.get("/v1/signing-keys").await;
    let retiring =
        keys["items"].as_array().expect("keys").iter().find(|k| k["state"] == "retiring");
    let id = text(retiring.expect("a retiring key"), "id");
    let ended = cast.server.cli_json(&["signing-key", "revoke", &id, "--reason", "leaked"]);
    assert_eq!(ended["elsewhere"]["key_set_max_age"], 60, "{ended}");
    let other = cast.server.cli(&["signing-key", "revoke", &agent.agent, "--reason", "no key"]);
    assert_eq!(other.code, 2, "{other:?}");
}

/// Reads snapshots over and over, with the keys that it looks up where it does not know one; the way
/// of a follower that is not our Verifier. Returns how many keys signed.
async fn follow(cast: Arc<Cast>, stop: Arc<AtomicBool>) -> usize {
    let now = || Time::from_seconds(stage::now());
    let issuer = cast.server.issuer.clone();
    let keys = async || {
        let set = cast.server.send(Ask::get(&cast.server.at("/.well-known/feed-jwks.json"))).await;
        JwkSet::parse(&set.body).expect("feed keys")
    };
    let mut known = keys().await;
    let mut follower = Follower::new(issuer.clone(), None);
    let mut signers = Vec::new();
    let (mut stops, mut asked) = (false, 0u128);
    while !stops {
        // Once more after the last rotation.
        stops = stop.load(Ordering::Relaxed);
        // Another question each time: what answers an earlier one does not answer this one.
        asked += 1;
        let nonce = Nonce::new(asked.to_be_bytes());
        follower.ask(nonce, now());
        let ask = Ask::get(&cast.server.at(&format!("/revocations?nonce={nonce}")));
        let text = cast.server.send(ask.bearer(&cast.resource_secret)).await.text();
        let signed = match SignedMessage::verify(&text, &known, &issuer) {
            Err(FeedError::UnknownKey) => {
                known = keys().await;
                SignedMessage::verify(&text, &known, &issuer)
            }
            signed => signed,
        };
        let signed = signed.expect("signed by a key that is published");
        assert_eq!(signed.message().nonce, Some(nonce), "it answers this question");
        follower.apply(&signed, &[], now()).expect("it continues");
        let signer = signed.signer().expect("a key");
        if !signers.contains(&signer) {
            signers.push(signer);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    signers.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feed_keys_rotate_under_load_and_no_follower_loses_its_state() {
    let cast = Arc::new(Cast::at(Server::dev().await, 3).await);
    let agent = cast.agent("planner").await;
    let age = Duration::from_secs(3);
    let verifiers = [
        cast.verifier().age_max(age).connect().await.expect("a verifier"),
        cast.verifier().age_max(age).connect().await.expect("a verifier"),
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let followed = tokio::spawn(follow(Arc::clone(&cast), Arc::clone(&stop)));
    let load: Vec<_> = verifiers
        .into_iter()
        .map(|verifier| {
            let (cast, agent, stop) = (Arc::clone(&cast), agent.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut verified = 0;
                while !stop.load(Ordering::Relaxed) {
                    let token = cast.token(&agent).await;
                    verifier.verify_token(&token).await.expect("a fresh token");
                    verified += 1;
                }
                (verifier, verified)
            })
        })
        .collect();
    for round in 0..3 {
        tokio::time::sleep(BETWEEN).await;
        let rotated =
            cast.server.cli_json(&["signing-key", "rotate", "--purpose", "feed", "--now"]);
        assert_eq!(rotated["active"]["purpose"], "feed", "{rotated}");
        // What is ended under the new key ends.
        let copy = cast.instance_of(&agent.agent).await;
        let token = cast.token(&copy).await;
        let reason = format!("round {round}");
        cast.server.cli_json(&["revoke", &copy.id, "--reason", &reason]);
        assert!(!cast.server.is_active(&token).await);
    }
    // A key that leaked ends, and its successor tells it.
    let keys = cast.server.get("/v1/signing-keys").await;
    let is_active = |key: &&Value| key["purpose"] == "feed" && key["state"] == "active";
    let id =
        text(keys["items"].as_array().expect("keys").iter().find(is_active).expect("one"), "id");
    let ended = cast.server.cli_json(&["signing-key", "revoke", &id, "--reason", "leaked"]);
    // Longer than any of them believes a state that nothing makes younger.
    tokio::time::sleep(age + BETWEEN).await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        let (verifier, verified) = task.await.expect("no verification failed");
        assert!(verified > 10, "there was load");
        assert_eq!(verifier.alarms(), []);
        assert!(verifier.status().map(|status| status.rev) >= ended["rev"].as_u64());
    }
    let signers = followed.await.expect("no message failed");
    assert_eq!(signers, 5, "each key signed: the first, three rotations, and the last one's end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_keys_rotate_under_load_and_the_first_key_verifies_the_whole_log() {
    let cast = Arc::new(Cast::at(Server::dev().await, 3).await);
    let agent = cast.agent("planner").await;
    let age = Duration::from_secs(3);
    let folder = tempfile::tempdir().expect("a folder");
    // One that follows throughout, and one that is off meanwhile.
    let following = cast.verifier().age_max(age).connect().await.expect("a verifier");
    let off = || cast.verifier().age_max(age).state_dir(folder.path());
    let first = off().connect().await.expect("a verifier");
    let state = || folder.path().join("revocations").exists();
    while !state() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(first);
    let key = cast.server.folder().file("first.pub");
    cast.server.cli(&["audit", "key", "-o", &key]).good();
    let oldest = std::fs::read_to_string(&key).expect("keys");
    let oldest = oldest.lines().next().expect("the first key").to_owned();
    std::fs::write(&key, format!("{oldest}\n")).expect("written");

    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (cast, agent, stop) = (Arc::clone(&cast), agent.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut verified = 0;
            while !stop.load(Ordering::Relaxed) {
                let token = cast.token(&agent).await;
                following.verify_token(&token).await.expect("a fresh token");
                verified += 1;
            }
            (following, verified)
        })
    };
    for _ in 0..3 {
        tokio::time::sleep(BETWEEN).await;
        let rotated = cast.server.cli_json(&["signing-key", "rotate", "--purpose", "log", "--now"]);
        assert_eq!(rotated["active"]["purpose"], "log", "{rotated}");
    }
    // Longer than it believes a state that nothing makes younger.
    tokio::time::sleep(age + BETWEEN).await;
    let back = off().connect().await.expect("a verifier");
    let token = cast.token(&agent).await;
    back.verify_token(&token).await.expect("a fresh token");
    let began = back.status().expect("a state").signed_at;
    while back.status().expect("a state").signed_at == began {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let (following, verified) = load.await.expect("no verification failed");
    assert!(verified > 10, "there was load");
    for verifier in [following, back] {
        assert_eq!(verifier.alarms(), []);
    }

    let (all, export) = (cast.server.folder().file("all.pub"), cast.server.folder().file("log.nd"));
    cast.server.cli(&["audit", "key", "-o", &all]).good();
    assert_eq!(std::fs::read_to_string(&all).expect("keys").lines().count(), 5);
    cast.server.cli(&["audit", "export", "-o", &export]).good();
    for key in [&key, &all] {
        cast.server.cli(&["audit", "verify", &export, "--key", key]).good();
    }
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
}

async fn asks(cast: &Cast, client: &Client) -> Answer {
    cast.server.token(&client.agent, &client.secret, "crm:read").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_rotates_without_a_failed_call_and_the_old_one_ends_by_itself() {
    let cast = Cast::new().await;
    for old in [cast.agent("planner").await, {
        let agent = cast.bare_agent("worker").await;
        cast.instance_of(&agent).await
    }] {
        asks(&cast, &old).await.good();
        let rotate = ["credential", "rotate", &old.credential, "--overlap", "3s"];
        let rotated = cast.server.cli_json(&rotate);
        let began = Instant::now();
        assert_eq!(rotated["replaces"], old.credential.as_str());
        let secret = text(&rotated, "client_secret");
        let new = Client { credential: text(&rotated, "id"), secret, ..old.clone() };
        asks(&cast, &new).await.good();
        if began.elapsed() < Duration::from_secs(2) {
            asks(&cast, &old).await.good();
        }
        tokio::time::sleep(Duration::from_millis(3200).saturating_sub(began.elapsed())).await;
        asks(&cast, &old).await.refused(401, "invalid_client", "credential-expired");
        asks(&cast, &new).await.good();
        let again = cast.server.cli(&["credential", "rotate", &old.credential]);
        assert_eq!(again.code, 6, "{again:?}");
    }
    let far = cast.server.cli(&["credential", "rotate", "crd_x", "--overlap", "8d"]);
    assert_eq!(far.code, 2, "{far:?}");
}

/// `accredit key-check` with a text on standard input.
fn key_check(server: &Server, args: &[&str], found: &str) -> binary::Ran {
    let mut command = server.command(&[&["key-check", "--output", "json"], args].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child.stdin.take().expect("a pipe").write_all(found.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    binary::Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_found_secret_is_recognized_and_told_to_its_own_administrators_only() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    cast.token(&agent).await;
    let offline: Value = key_check(&cast.server, &["--offline"], &agent.secret).json();
    assert_eq!(offline, json!({"kind": "agent", "id": agent.credential}));
    let told = key_check(&cast.server, &[], &format!("{}\n", agent.secret)).json();
    assert_eq!(told["credential"]["agent"], agent.agent.as_str());
    assert_eq!(told["events"][0]["type"], "credential.created");

    // A changed letter, another system's, nothing at all.
    let mut changed = agent.secret.clone();
    let letter = if changed.ends_with('0') { "1" } else { "0" };
    changed.replace_range(changed.len() - 1.., letter);
    for found in [changed.as_str(), "ghp_0123456789abcdef"] {
        for args in [&[][..], &["--offline"]] {
            let ran = key_check(&cast.server, args, found);
            assert_eq!((ran.code, ran.out.as_str()), (9, ""), "{ran:?}");
            assert!(!ran.err.contains(found), "it is repeated: {ran:?}");
        }
    }
    assert_eq!(key_check(&cast.server, &[], "").code, 2);

    // Another organization's administrator learns nothing.
    let other = cast.server.post("/v1/orgs", json!({"name": "other"})).await;
    let identify = json!({"secret": agent.secret});
    let ask = Ask::json("POST", "/v1/credentials/identify", &identify);
    let answer = cast.server.send(ask.bearer(&text(&other, "admin_token"))).await;
    answer.problem(404, "not-found");
    assert!(!answer.text().contains(&agent.agent) && !answer.text().contains(&agent.secret));
    let log = std::fs::read_to_string(cast.server.folder().file("log")).expect("a log");
    assert!(!log.contains(&agent.secret), "it stands in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_key_rotates_while_the_server_is_stopped_and_everything_goes_on() {
    let folder = Folder::new();
    let (data, address) = (folder.file("data"), format!("127.0.0.1:{}", free_port()));
    let url = format!("http://{address}");
    let init = ["init", "--data", &data, "--org", "main", "--public-url", &url];
    let init = [&init[..], &["--listen", &address, "--output", "json"]].concat();
    let founded = binary::run(binary::command(&init)).json();
    let config = text(&founded, "config");
    let rotate = || binary::run(binary::command(&["root", "rotate", "--config", &config]));

    let mut cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    let refused = rotate();
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.err.contains("in use by another process"), "{refused:?}");
    assert_eq!(cast.server.stop(), Some(0));

    let root_key = folder.data().join("root.key");
    let before = std::fs::read(&root_key).expect("a key");
    assert_eq!(rotate().code, 0);
    assert_ne!(std::fs::read(&root_key).expect("a key"), before);
    let previous = folder.data().join("root.key.previous");
    assert_eq!(std::fs::read(&previous).expect("kept"), before);

    cast.server = Server::serve(folder.clone(), &founded).await;
    assert!(cast.server.is_active(&token).await, "what was signed before is alive");
    cast.token(&agent).await;
    let events = cast.server.get("/v1/events?type=root_key.rotated").await;
    assert_eq!(events["items"].as_array().map(Vec::len), Some(1), "{events}");
    assert_eq!(cast.server.stop(), Some(0));

    // The old key opens nothing any more.
    std::fs::copy(&previous, &root_key).expect("copied");
    let refused = rotate();
    assert!(refused.code > 0 && refused.err.contains("opens this"), "{refused:?}");
}
