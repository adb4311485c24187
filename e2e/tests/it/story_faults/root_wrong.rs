//! A root key that is not the store's, is missing or cannot be used: the server says so and issues
//! nothing, and goes on by itself when the right one is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::load::{check_shed, request};
use crate::stage::cast::text;
use crate::stage::server::{Folder, init};
use crate::stage::{Ask, Cast, Server, binary, until};

/// How long a change of the file may take to be noticed: it is looked at once a second.
const NOTICED: Duration = Duration::from_secs(20);

/// The states that `/readyz` names, with its status.
async fn states(address: std::net::SocketAddr) -> Option<(u16, Vec<String>)> {
    let answer = Ask::get("/readyz?verbose").try_send(address).await?;
    let checks = answer.json()["checks"].as_array().expect("checks").clone();
    let states = checks.iter().filter_map(|check| check["states"].as_array().cloned());
    let names = states.flatten().map(|state| {
        assert!(!text(&state, "hint").is_empty() && state["blocks"] == true, "{state}");
        text(&state, "state")
    });
    Some((answer.status, names.collect()))
}

async fn becomes(server: &Server, status: u16, state: &[&str]) {
    until(&format!("{status}, {state:?}"), NOTICED, async || {
        states(server.address).await.is_some_and(|told| told.0 == status && told.1 == state)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_root_key_nothing_is_issued_until_it_is_there() {
    let folder = Folder::new();
    let founded = init(&folder, "http");
    let (config, root_key) = (text(&founded, "config"), text(&founded, "root_key_file"));
    let mut cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    let size = async |server: &Server| {
        let told = server.get("/v1/log").await;
        told["lanes"][0]["size"].as_u64().expect("a size")
    };
    until("the log is integrated", NOTICED, async || {
        let events = cast.server.get("/v1/events?type=token.issued").await;
        events["items"].as_array().map(Vec::len) == Some(1) && size(&cast.server).await > 4
    })
    .await;
    assert_eq!(cast.server.stop(), Some(0));
    let right = fs::read(&root_key).expect("a key");

    // It was there when the server was stopped; it is another one when it starts.
    fs::write(&root_key, "00".repeat(32)).expect("written");
    cast.server = Server::serve_unready(folder.clone(), &founded);
    becomes(&cast.server, 503, &["root-key-wrong"]).await;
    let ask = Ask::get("/livez");
    assert_eq!(cast.server.send(ask).await.status, 200);
    let refused = cast.server.send(request(&cast.server, &agent)).await;
    check_shed(&refused);
    assert_eq!(refused.json()["rule"], "root-key-wrong");
    for (method, path) in [("GET", "/v1/agents"), ("POST", "/v1/root/rotate"), ("GET", "/nothing")]
    {
        let refused = cast.server.api(method, path, Value::Null).await;
        refused.problem(503, "root-key-wrong");
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(!refused.text().contains("root.key"), "it names a file: {}", refused.text());
    }
    // The other commands say what is wrong, with the names of files.
    let doctor = binary::run(binary::command(&["doctor", "--config", &config]));
    assert!(doctor.code == 1 && doctor.out.contains("does not open this store"), "{doctor:?}");

    // Each kind of wrong is noticed, and told apart.
    fs::write(&root_key, "short").expect("written");
    becomes(&cast.server, 503, &["root-key-unusable"]).await;
    let checked = binary::run(binary::command(&["config", "check", "--config", &config]));
    assert!(checked.code > 0 && checked.err.contains("64 hexadecimal"), "{checked:?}");
    fs::remove_file(&root_key).expect("removed");
    becomes(&cast.server, 503, &["root-key-missing"]).await;
    fs::write(&root_key, &right).expect("written");
    fs::set_permissions(&root_key, PermissionsExt::from_mode(0o644)).expect("a mode");
    becomes(&cast.server, 503, &["root-key-unusable"]).await;
    let checked = binary::run(binary::command(&["config", "check", "--config", &config]));
    assert!(checked.code > 0 && checked.err.contains("others can read it"), "{checked:?}");

    // The right one: on the same socket, by itself.
    fs::set_permissions(&root_key, PermissionsExt::from_mode(0o600)).expect("a mode");
    becomes(&cast.server, 200, &[]).await;
    let issued = cast.server.get("/v1/events?type=token.issued").await;
    assert_eq!(issued["items"].as_array().map(Vec::len), Some(1), "nothing was issued: {issued}");
    let refused = cast.server.get("/v1/events?type=token.refused").await;
    assert_eq!(refused["items"].as_array().map(Vec::len), Some(0), "{refused}");
    assert!(cast.server.is_active(&token).await);
    cast.token(&agent).await;
    let log = fs::read_to_string(folder.file("log")).expect("a log");
    for says in ["root-key-wrong", "root-key-missing", "put back the root key", "chmod 600"] {
        assert!(log.contains(says), "`{says}` is not in the log");
    }
    assert_eq!(cast.server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_stops_when_it_is_told_and_holds_its_store() {
    let folder = Folder::new();
    let founded = init(&folder, "http");
    fs::write(text(&founded, "root_key_file"), "00".repeat(32)).expect("written");
    let mut server = Server::serve_unready(folder.clone(), &founded);
    becomes(&server, 503, &["root-key-wrong"]).await;
    let mut second = binary::command(&["serve", "--config", &text(&founded, "config")]);
    second.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::null());
    let second = binary::run(second);
    assert!(second.code > 0 && second.err.contains("in use by another process"), "{second:?}");
    assert_eq!(server.stop(), Some(0));
}
