//! The log proves what happened, to people who do not trust us: what is edited, dropped, reordered,
//! cut off or written anew is found, with a public key or by whoever was there.

use std::path::Path;
use std::time::Duration;

use accredit::verifier::Contradiction;
use accredit_wire::revocations::feed::Alarm;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::leaf::{leaf_hash, payload_digest};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::stage::binary::{self, Ran};
use crate::stage::server::Folder;
use crate::stage::{Ask, Cast, FOLLOWS_WITHIN, Server, until};

/// An export with its key, and the lines of the events in it.
struct Exported {
    folder: Folder,
    lines: Vec<String>,
}

impl Exported {
    fn of(server: &Server) -> Self {
        let folder = server.folder().clone();
        let file = folder.file("log.ndjson");
        server.cli(&["audit", "export", "-o", &file]).good();
        server.cli(&["audit", "key", "-o", &folder.file("log.pub")]).good();
        let text = std::fs::read_to_string(file).expect("an export");
        Self { folder, lines: text.lines().map(str::to_owned).collect() }
    }

    /// The places of its events among the lines.
    fn events(&self) -> Vec<usize> {
        let lines = self.lines.iter().enumerate();
        lines.filter(|(_, line)| line.starts_with("{\"event\"")).map(|(place, _)| place).collect()
    }

    /// Verifies other lines with its key.
    fn verify(&self, lines: &[String], more: &[&str]) -> Ran {
        let file = self.folder.file("other.ndjson");
        std::fs::write(&file, lines.join("\n") + "\n").expect("a file");
        let key = self.folder.file("log.pub");
        let args = ["audit", "verify", &file, "--key", &key, "--output", "json"];
        // No server and no key of ours: only the file and the public key.
        binary::run(binary::command(&[&args[..], more].concat()))
    }

    /// The altered lines are found, and the first finding names the leaf.
    fn check_found(&self, lines: &[String], kind: &str, leaf: usize) {
        let ran = self.verify(lines, &[]);
        assert_eq!(ran.code, 9, "{ran:?}");
        let report: Value = serde_json::from_str(&ran.out).expect("a report");
        assert_eq!(report["ok"], false);
        let findings = report["findings"].as_array().expect("findings");
        let first = findings.first().expect("a finding");
        assert_eq!((&first["kind"], &first["seq"]), (&json!(kind), &json!(leaf)), "{first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_was_altered_is_found_with_the_public_key_alone() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    for _ in 0..3 {
        cast.token(&agent).await;
    }
    let older = Exported::of(&cast.server);
    for _ in 0..3 {
        cast.token(&agent).await;
    }
    let export = Exported::of(&cast.server);
    let events = export.events();
    assert!(events.len() > 9, "{}", events.len());
    assert_eq!(export.verify(&export.lines, &[]).code, 0);

    let edited = |from: &str, to: &str| {
        let mut lines = export.lines.clone();
        let found = lines.iter().position(|line| line.contains(from)).expect("to be edited");
        lines[found] = lines[found].replace(from, to);
        (lines, events.iter().position(|place| *place == found).expect("an event"))
    };
    for (from, to) in [
        ("\"name\":\"planner\"", "\"name\":\"blanner\""),
        ("\"type\":\"token.issued\"", "\"type\":\"token.revoked\""),
        ("\"type\":\"credential.created\",\"at\":1", "\"type\":\"credential.created\",\"at\":2"),
    ] {
        let (lines, leaf) = edited(from, to);
        export.check_found(&lines, "edited", leaf);
    }
    let (mut dropped, mut swapped) = (export.lines.clone(), export.lines.clone());
    dropped.remove(events[4]);
    export.check_found(&dropped, "dropped", 4);
    swapped.swap(events[5], events[6]);
    export.check_found(&swapped, "reordered", 5);

    // Cut off at the end: not one file any more; and where the end line is made to fit, what
    // remains is a good log, only not the one whose checkpoint somebody kept.
    let last_note = export.lines.iter().rfind(|line| line.starts_with("{\"checkpoint\""));
    let note: Value = serde_json::from_str(last_note.expect("a checkpoint")).expect("JSON");
    let kept = export.folder.file("kept.note");
    std::fs::write(&kept, note["checkpoint"].as_str().expect("a note")).expect("a file");
    let kept = ["--checkpoint", kept.as_str()];
    assert_eq!(export.verify(&export.lines, &kept).code, 0);
    let cut: Vec<String> = export.lines[..events[7]].to_vec();
    assert_eq!(export.verify(&cut, &[]).code, 9, "the end is missing");
    assert_eq!(older.verify(&older.lines, &[]).code, 0, "an older export is good in itself");
    assert_eq!(older.verify(&older.lines, &kept).code, 9, "but it lacks what the checkpoint has");

    // Another key proves nothing.
    let stranger = Cast::new().await;
    let strange = Exported::of(&stranger.server);
    assert_ne!(strange.verify(&export.lines, &[]).code, 0);
}

/// Copies a data folder, as a backup of a stopped server would.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for file in std::fs::read_dir(from).expect("a folder") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

/// A server that was rolled back and goes on otherwise is noticed by a verifier that was there,
/// though everything is signed with the real keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_rolled_back_is_noticed_by_a_verifier() {
    let mut cast = Cast::at(Server::dev().await, 3).await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    assert_eq!(cast.server.stop(), Some(0));
    let (data, backup) = (cast.server.folder().data(), cast.server.folder().path().join("backup"));
    copy(&data, &backup);

    cast.server = cast.server.again().await;
    let state = |name: &str| cast.server.folder().file(name);
    let (running_dir, restarted) = (state("running"), state("restarted"));
    let bound = Duration::from_secs(3);
    let running = cast.verifier().age_max(bound).state_dir(&running_dir).connect().await;
    let running = running.expect("a verifier");
    let away = cast.verifier().age_max(bound).state_dir(&restarted).connect().await;
    let away = away.expect("a verifier");
    // What will be lost: a revocation and more events, which both verifiers see.
    let doomed = cast.instance_of(&agent.agent).await;
    let dead = cast.token(&doomed).await;
    for _ in 0..5 {
        cast.token(&agent).await;
    }
    let rev = cast.server.revoke(&doomed.id).await["rev"].as_u64().expect("a counter");
    until("both follow", FOLLOWS_WITHIN, async || {
        let knows = |verifier: &accredit::Verifier| verifier.status().map(|status| status.rev);
        knows(&running) == Some(rev) && knows(&away) == Some(rev)
    })
    .await;
    cast.kept(&running_dir).await;
    cast.kept(&restarted).await;
    running.verify_token(&token).await.expect("alive");
    drop(away);

    cast.server.kill();
    std::fs::remove_dir_all(&data).expect("removed");
    copy(&backup, &data);
    cast.server = cast.server.again().await;
    for _ in 0..20 {
        cast.token(&agent).await;
    }
    until("the running verifier raises an alarm", Duration::from_secs(10), async || {
        !running.alarms().is_empty()
    })
    .await;
    until("and trusts nothing it is told", Duration::from_secs(8), async || {
        running.verify_token(&token).await.is_err()
    })
    .await;
    let refusal = running.verify_token(&token).await.expect_err("stale");
    assert_eq!(refusal.body().rule(), Some("revocations-stale"), "{refusal}");
    let refusal = running.verify_token(&dead).await.expect_err("dead");
    assert_eq!(refusal.body().rule(), Some("token-revoked"), "it forgets nothing: {refusal}");

    // So does one that was away meanwhile, though the counter has caught up: it holds the log's
    // checkpoint, and the real key signs another log for it now.
    let other = cast.instance_of(&agent.agent).await;
    assert_eq!(cast.server.revoke(&other.id).await["rev"], rev);
    let back = cast.verifier().age_max(bound).state_dir(&restarted).connect().await;
    let back = back.expect("it starts from what it kept");
    until("the restarted verifier raises an alarm", Duration::from_secs(10), async || {
        let mut alarms = back.alarms().into_iter();
        alarms.any(|alarm| matches!(alarm.what, Contradiction::Feed(Alarm::LogForked { .. })))
    })
    .await;
    until("and goes stale", Duration::from_secs(8), async || {
        back.verify_token(&token).await.is_err()
    })
    .await;
}

/// What somebody does who has the database and the keys, so that everything fits again: changes what
/// an event says, chains all leaves anew, and lets the server build and sign the tree from nothing.
fn rewrite(store: &Connection, more: &[&str]) {
    let edit = "UPDATE event SET payload = replace(payload, 'planner', 'blanner')";
    assert!(store.execute(edit, []).expect("edited") > 0, "{edit} changes nothing");
    let mut events = store
        .prepare("SELECT org, seq, kind, at, salt, payload FROM event ORDER BY org, seq")
        .expect("a statement");
    let mut rows = events.query([]).expect("events");
    let (mut previous, mut last) = (Hash::ZERO, String::new());
    while let Some(row) = rows.next().expect("an event") {
        let org: String = row.get(0).expect("an organization");
        let (sequence, kind): (i64, String) = (row.get(1).expect("seq"), row.get(2).expect("kind"));
        let at = Time::from_micros(row.get(3).expect("a time"));
        let (salt, payload): ([u8; 16], String) =
            (row.get(4).expect("salt"), row.get(5).expect("payload"));
        if org != last {
            (previous, last) = (Hash::ZERO, org.clone());
        }
        let digest = payload_digest(&salt, payload.as_bytes());
        previous = leaf_hash(sequence as u64, &previous, &kind, at, &digest);
        let change = "UPDATE event SET hash = ?1 WHERE org = ?2 AND seq = ?3";
        store.execute(change, (previous.bytes(), &org, sequence)).expect("chained");
        let change = "UPDATE lane SET previous = ?1 WHERE org = ?2";
        store.execute(change, (previous.bytes(), &org)).expect("the head");
    }
    for change in [&["DELETE FROM tile", "DELETE FROM checkpoint"][..], more].concat() {
        assert!(store.execute(change, []).expect("changed") > 0, "{change} changes nothing");
    }
}

/// A verifier that runs while the server stops, the log is written anew, and the server goes on.
async fn check_rewritten(more: &[&str], expected: impl Fn(&Alarm) -> bool) {
    let mut cast = Cast::at(Server::dev().await, 3).await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    let bound = Duration::from_secs(3);
    let kept = cast.server.folder().file("verifier");
    let running = cast.verifier().age_max(bound).state_dir(&kept).connect().await;
    let running = running.expect("a verifier");
    for _ in 0..5 {
        cast.token(&agent).await;
    }
    cast.kept(&kept).await;
    running.verify_token(&token).await.expect("alive");
    assert_eq!(running.alarms(), []);

    assert_eq!(cast.server.stop(), Some(0));
    let file = cast.server.folder().data().join("accredit.db");
    rewrite(&Connection::open(file).expect("a store"), more);
    cast.server = cast.server.again().await;
    // In itself the log is good: nobody else could tell.
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
    let export = Exported::of(&cast.server);
    assert_eq!(export.verify(&export.lines, &[]).code, 0);
    until("the verifier raises the alarm", Duration::from_secs(10), async || {
        let is_expected = |alarm: accredit::verifier::Alarm| match alarm.what {
            Contradiction::Feed(alarm) => expected(&alarm),
            Contradiction::LogKeyChanged { .. } | Contradiction::FeedKeysReplaced => false,
        };
        running.alarms().into_iter().any(is_expected)
    })
    .await;
    until("and goes stale", Duration::from_secs(8), async || {
        running.verify_token(&token).await.is_err()
    })
    .await;
    let refusal = running.verify_token(&token).await.expect_err("stale");
    assert_eq!(refusal.body().rule(), Some("revocations-stale"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_written_anew_is_noticed_by_a_running_verifier() {
    check_rewritten(&[], |alarm| matches!(alarm, Alarm::LogForked { lane: 0, .. })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_written_anew_under_a_raised_generation_is_noticed_as_well() {
    let raised = ["UPDATE organization SET generation = 2", "UPDATE lane SET generation = 2"];
    check_rewritten(&raised, |alarm| *alarm == Alarm::LogForeign { lane: 0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_finds_a_row_that_was_edited() {
    let folder = Folder::new();
    let url = format!("http://127.0.0.1:{}", crate::stage::server::free_port());
    let listen = url.trim_start_matches("http://");
    let data = folder.file("data");
    let init = ["init", "--data", &data, "--org", "main", "--public-url", &url, "--listen", listen];
    let founded = binary::run(binary::command(&[&init[..], &["--output", "json"]].concat())).json();
    let mut cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    for _ in 0..5 {
        cast.token(&agent).await;
    }
    let report = cast.server.cli_json(&["fsck"]);
    assert_eq!(report["ok"], true, "while it runs: {report}");
    assert_eq!(cast.server.stop(), Some(0));
    let config = founded["config"].as_str().expect("a configuration");
    let fsck = || binary::run(binary::command(&["fsck", "--config", config]));
    let clean = fsck();
    assert_eq!(clean.code, 0, "{clean:?}");
    assert!(clean.out.contains("main: ok"), "{clean:?}");

    let pristine = folder.path().join("pristine");
    copy(&folder.data(), &pristine);
    for edit in [
        "UPDATE event SET payload = replace(payload, 'planner', 'blanner') WHERE seq = 3",
        "UPDATE event SET at = at + 1 WHERE seq = 4",
        "UPDATE event SET kind = 'token.refused' WHERE seq = 5",
        "DELETE FROM event WHERE seq = 2",
        "DELETE FROM event WHERE seq = (SELECT max(seq) FROM event)",
        "UPDATE tile SET hashes = zeroblob(length(hashes))",
    ] {
        std::fs::remove_dir_all(folder.data()).expect("removed");
        copy(&pristine, &folder.data());
        let store = Connection::open(folder.data().join("accredit.db")).expect("a store");
        assert!(store.execute(edit, []).expect("edited") > 0, "{edit} changes nothing");
        drop(store);
        let found = fsck();
        assert_eq!(found.code, 9, "{edit}: {found:?}");
        assert!(found.out.contains("BROKEN"), "{edit}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_has_its_event_and_who_did_it() {
    let cast = Cast::new().await;
    let agent = cast.agent("planner").await;
    let token = cast.token(&agent).await;
    cast.server.token(&agent.id, &agent.secret, "crm:delete").await;
    cast.server.revoke(&agent.agent).await;
    let listed = cast.server.cli_json(&["audit", "list"]);
    let types: Vec<&str> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|e| e["type"].as_str())
        .collect();
    let expected = [
        "organization.created",
        "resource.created",
        "credential.created",
        "person.created",
        "agent.created",
        "credential.created",
        "token.issued",
        "token.refused",
        "agent.suspended",
    ];
    assert_eq!(types, expected);
    let issued = cast.server.cli_json(&["audit", "list", "--type", "token.issued"]);
    let payload = &issued["items"][0]["payload"];
    assert_eq!(payload["actor"], json!({"id": agent.agent, "kind": "agent"}), "{payload}");
    assert_eq!(payload["credential"], json!(agent.credential), "{payload}");
    assert_eq!(payload["decision"], "allow", "{payload}");
    assert!(!payload.to_string().contains(&token), "the token itself is nowhere");
    let shown =
        cast.server.cli_json(&["audit", "show", issued["items"][0]["id"].as_str().expect("id")]);
    assert_eq!(&shown["payload"], payload);

    // The log is its organization's: not for agents, not for strangers.
    let path = cast.server.at("/log/g1l0/checkpoint");
    let mut asked = Vec::new();
    for ask in [Ask::get(&path), Ask::get(&path).basic(&agent.id, &agent.secret)] {
        asked.push(cast.server.send(ask).await.status);
    }
    assert!(asked.iter().all(|status| [401, 403].contains(status)), "{asked:?}");
    let resource = Ask::get(&path).bearer(&cast.resource_secret);
    assert_eq!(cast.server.send(resource).await.status, 200);
}

#[test]
fn the_sample_exports_get_the_verdicts_that_are_written_down() {
    let samples = binary::workspace().join("crates/wire/vectors/tlog");
    let path = |name: &str| samples.join(name).to_str().expect("a path").to_owned();
    let expected = std::fs::read_to_string(path("expected.ndjson")).expect("verdicts");
    for line in expected.lines() {
        let line: Value = serde_json::from_str(line).expect("a verdict");
        let (name, verdict) = (line["file"].as_str().expect("a name"), &line["verdict"]);
        let (file, keys) = (path(name), path("keys.txt"));
        let older = line["older"].as_str().map(path);
        let mut args = vec!["audit", "verify", &file, "--key", &keys, "--partial"];
        args.extend(older.iter().flat_map(|older| ["--checkpoint", older.as_str()]));
        let ran = binary::run(binary::command(&args));
        let code = if verdict["ok"] == true { 0 } else { 9 };
        assert_eq!(ran.code, code, "{name}: {ran:?}");
        if name == "all-hashes-recomputed.ndjson" {
            // Not which event, which nobody can tell, but between which signed roots.
            assert!(ran.out.contains("something in 3..6 was changed"), "{ran:?}");
        }
    }
}
