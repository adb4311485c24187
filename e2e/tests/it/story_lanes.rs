//! Two nodes on one PostgreSQL write to lanes of their own, which tell of each other: whoever leaves one
//! out of an export is found, by a verifier that shares no code with us, too.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::stage::binary;
use crate::stage::cast::text;
use crate::stage::postgres;
use crate::stage::server::Folder;
use crate::stage::{Ask, Cast, Server, until};
use crate::story_nodes::{init, node};

/// A lane tells of the others once a minute; before that it must be signed, which is done each second.
const TOLD_WITHIN: Duration = Duration::from_secs(90);

/// What the two verifiers say of an export: how they end, and what they found first. Nothing of the second
/// where there is no Python; the test in `interop` has one.
fn verdicts(server: &Server, lines: &[String]) -> Vec<(i32, Value)> {
    let (file, key) = (server.folder().file("other.ndjson"), server.folder().file("log.pub"));
    std::fs::write(&file, lines.join("\n") + "\n").expect("a file");
    let args = ["audit", "verify", &file, "--key", &key, "--output", "json"];
    let ours = binary::run(binary::command(&args));
    let report: Value = serde_json::from_str(&ours.out).expect("a report");
    let mut all = vec![(ours.code, report["findings"][0].clone())];
    let script = binary::workspace().join("docs/verify_log.py");
    if let Ok(ran) = Command::new("python3").arg(script).args([&file, &key]).output() {
        let said: Value = serde_json::from_slice(&ran.stdout).expect("a verdict");
        assert!(said["ok"] == false || said["complete"] == true, "{said}");
        all.push((ran.status.code().expect("a code"), said["finding"].clone()));
    }
    all
}

/// The export without one lane, as if the log had never had it.
fn without(lines: &[String], lane: &Value) -> Vec<String> {
    let mut header: Value = serde_json::from_str(&lines[0]).expect("a header");
    header["lanes"].as_array_mut().expect("lanes").retain(|it| it["lane"] != lane["lane"]);
    let event = format!("{{\"event\":{{\"lane\":{},", lane["lane"]);
    let note = format!("{{\"checkpoint\":\"{}\\n", text(lane, "origin"));
    let mut left = vec![header.to_string()];
    let all = lines[1..lines.len() - 1].iter();
    left.extend(all.filter(|it| !it.starts_with(&event) && !it.starts_with(&note)).cloned());
    let events = left.iter().filter(|line| line.starts_with("{\"event\"")).count();
    left.push(format!("{{\"end\":{{\"events\":{events}}}}}"));
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_left_out_of_an_export_is_missed_by_the_others() {
    let database = postgres::start().await;
    let (folder, store) = (Folder::new(), postgres::url_at(database));
    let founded = init(&folder, &store);
    let first = node(&founded, &store).await;
    let second = node(&founded, &store).await;
    let cast = Cast::at(first, 60).await;
    let agent = cast.agent("worker").await;
    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    let ask = Ask::form(&cast.server.at("/oauth/token"), &form).basic(&agent.agent, &agent.secret);
    let nodes = [cast.server.address, second.address];
    let server = &cast.server;

    // Tokens from each node, until each of the three lanes has told of the two others.
    let mut lanes = Vec::new();
    until("each lane has told of each other", TOLD_WITHIN, async || {
        for to in nodes {
            let answer = ask.try_send(to).await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        lanes = server.get("/v1/log").await["lanes"].as_array().expect("lanes").clone();
        let told = server.get("/v1/events?type=log.checkpointed&limit=200").await;
        let told = told["items"].as_array().expect("events").clone();
        lanes.len() == 3
            && lanes.iter().all(|lane| {
                let of_it = told.iter().filter(|event| event["lane"] == lane["lane"]);
                let claims = of_it.filter_map(|event| {
                    event["payload"]["changes"]["checkpoints"].as_str().map(|it| it.lines().count())
                });
                claims.max() == Some(2)
            })
    })
    .await;

    let (file, key) = (server.folder().file("log.ndjson"), server.folder().file("log.pub"));
    server.cli(&["audit", "export", "-o", &file]).good();
    server.cli(&["audit", "key", "-o", &key]).good();
    let export = std::fs::read_to_string(&file).expect("an export");
    let lines: Vec<String> = export.lines().map(str::to_owned).collect();
    for (code, finding) in verdicts(server, &lines) {
        assert_eq!((code, &finding), (0, &Value::Null));
    }
    let said = server.cli(&["audit", "verify", &file, "--key", &key]).good();
    assert!(said.contains("claims of lanes about each other compared"), "{said}");
    for lane in &lanes {
        for (code, finding) in verdicts(server, &without(&lines, lane)) {
            assert_eq!((code, text(&finding, "kind")), (9, "lane_missing".to_owned()), "{finding}");
            assert_eq!(finding["origin"], lane["origin"], "the one that is missing");
            assert_ne!(finding["lane"], lane["lane"], "and one that misses it");
        }
    }
    assert_eq!(server.cli_json(&["fsck"])["ok"], true);
}
