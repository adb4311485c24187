//! `accredit kill`: what is called by its name ends, and the command tells where that is enforced by
//! now, in milliseconds, and who did not say so.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::cast::text;
use crate::stage::{Cast, FOLLOWS_WITHIN, until};

fn count(told: &Value, name: &str) -> u64 {
    told["acknowledgements"][name].as_u64().unwrap_or_else(|| panic!("no `{name}` in {told}"))
}

/// Waits until so many points follow and hold all there is.
async fn following(cast: &Cast, points: u64) {
    until("they follow", FOLLOWS_WITHIN, async || {
        let told = cast.server.get("/v1/revocations/acknowledgements").await;
        told["acknowledged"] == points
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_prints_the_milliseconds_of_each_enforcement_point_and_names_who_is_silent() {
    let cast = Cast::new().await;
    let mut verifiers = Vec::new();
    for name in ["crm-1", "crm-2"] {
        verifiers.push(cast.verifier().name(name).connect().await.expect("a verifier"));
    }
    let (agent, sibling) = (cast.agent("planner").await, cast.agent("worker").await);
    let (dead, alive) = (cast.token(&agent).await, cast.token(&sibling).await);
    for verifier in &verifiers {
        verifier.verify_token(&dead).await.expect("alive");
    }
    following(&cast, 2).await;
    let kill = ["kill", "agent", "planner", "--reason", "a story"];
    let told = cast.server.cli_json(&kill);
    let revocation = &told["revocation"];
    assert_eq!(
        (&revocation["target"], &revocation["blast"]["agents"]),
        (&agent.agent.as_str().into(), &1.into())
    );
    assert_eq!(
        ["acknowledged", "waiting", "silent", "gone"].map(|name| count(&told, name)),
        [2, 0, 0, 0]
    );
    let points = told["acknowledgements"]["points"].as_array().expect("points");
    let mut names: Vec<String> = points.iter().map(|point| text(point, "name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["crm-1", "crm-2"]);
    for point in points {
        assert_eq!(point["resource"], "crm");
        let micros = point["microseconds"].as_u64().expect("a time");
        assert!(micros > 0 && micros < FOLLOWS_WITHIN.as_micros() as u64, "{micros}");
    }
    // Whoever acknowledged refuses, without a moment more.
    for verifier in &verifiers {
        verifier.verify_token(&dead).await.expect_err("dead");
        verifier.verify_token(&alive).await.expect("its sibling lives");
    }

    // A follower that does not acknowledge is named, with the bound that holds.
    let old = silent_follower(&cast).await;
    let kill = ["kill", "agent", "worker", "--reason", "a story"];
    let told = cast.server.cli(&kill).good();
    let line = told.lines().find(|line| line.contains("silent")).expect("its line");
    assert!(line.starts_with("crm ") && line.contains("60 s"), "{told}");
    assert!(told.contains("crm/crm-1") && told.contains("crm/crm-2"), "{told}");
    drop(old);
}

/// A stream of the feed that has begun, of somebody who says nothing of themselves.
async fn silent_follower(cast: &Cast) -> TcpStream {
    let mut stream = TcpStream::connect(cast.server.address).await.expect("connected");
    let (path, key) = (cast.server.at("/revocations/feed"), &cast.resource_secret);
    let ask = format!("GET {path} HTTP/1.1\r\nHost: id\r\nAuthorization: Bearer {key}\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("written");
    let mut read = String::new();
    while !read.contains("event: revocations") {
        let mut some = [0; 1024];
        let length = stream.read(&mut some).await.expect("read");
        assert!(length > 0, "{read}");
        read.push_str(&String::from_utf8_lossy(&some[..length]));
    }
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_named_wrongly_is_not_ended() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let instance = cast.instance_of(&agent.agent).await;
    for (args, exit) in [
        (["agent", "nobody"], 3),
        (["agent", instance.id.as_str()], 2),
        (["instance", "planner"], 2),
        (["instance", agent.agent.as_str()], 2),
        (["chain", agent.agent.as_str()], 2),
        (["planner", "agent"], 2),
    ] {
        let ran = cast.server.cli(&[&["kill"], &args[..], &["--reason", "a story"]].concat());
        assert_eq!(ran.code, exit, "{args:?}: {}", ran.err);
    }
    // Nor what is only looked at.
    let args = ["kill", "agent", "planner", "--reason", "a story", "--dry-run"];
    assert!(cast.server.cli(&args).good().contains("blast.instances"));
    cast.token(&agent).await;
    cast.token(&instance).await;
    let token = cast.token(&instance).await;
    let args = ["kill", "instance", &instance.id, "--reason", "a story", "--wait", "0s"];
    let told = cast.server.cli(&args).good();
    assert!(told.contains("blast.instances"), "{told}");
    assert!(!cast.server.is_active(&token).await);
    cast.token(&agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_passes_an_agent_is_stripped_and_of_one_that_is_gone_nothing_is_left() {
    let cast = Cast::new().await;
    let verifier = cast.verifier().name("crm-1").connect().await.expect("a verifier");
    following(&cast, 1).await;
    let drilled = cast.server.cli_json(&["drill"]);
    assert_eq!((&drilled["passed"], &drilled["resource"]), (&true.into(), &"crm".into()));
    let told = cast.server.cli(&["drill", "list"]).good();
    assert!(told.contains("passed"), "{told}");
    let left = cast.server.cli(&["agent", "ghosts", &text(&drilled, "agent")]);
    assert_eq!(left.code, 0, "{left:?}");

    let agent = cast.agent("planner").await;
    let wide = cast.token(&agent).await;
    verifier.verify_token(&wide).await.expect("alive");
    let strip = ["agent", "strip", "planner", "--allow", "crm:update", "--reason", "a story"];
    let told = cast.server.cli_json(&strip);
    assert_eq!(count(&told, "acknowledged"), 1, "{told}");
    verifier.verify_token(&wide).await.expect_err("it is wider than its agent");
    let asked = cast.server.token(&agent.agent, &agent.secret, "crm:read").await;
    asked.refused(400, "invalid_scope", "scope-not-held");
    cast.server.token(&agent.agent, &agent.secret, "crm:update").await.good();

    let alive = cast.server.cli(&["agent", "ghosts", "planner"]);
    assert_eq!(alive.code, 1, "{alive:?}");
    let end = ["agent", "decommission", "planner", "--reason", "a story", "--yes"];
    cast.server.cli(&end).good();
    assert!(cast.server.cli(&["agent", "ghosts", "planner"]).good().contains("credential-revoked"));
}
