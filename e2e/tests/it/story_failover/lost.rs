//! A primary is lost, and the standby that takes its place does not have all that was answered: tokens
//! and a revocation are missing. The nodes notice and answer nobody, a node that comes new neither,
//! until the loss is declared: a new generation, in which nothing of before works. A Verifier that
//! was there is never talked out of what it knew.

use std::time::{Duration, Instant};

use accredit::verifier::Contradiction;
use accredit_wire::revocations::feed::Alarm;
use serde_json::json;

use super::BACK_WITHIN;
use super::load::Load;
use crate::stage::binary;
use crate::stage::cast::text;
use crate::stage::postgres::{Machine, Way, url_of};
use crate::stage::server::{Folder, free_port};
use crate::stage::{Ask, Cast, FOLLOWS_WITHIN, Server, until};
use crate::story_nodes::{init, logged, node, says};

/// How soon nodes notice, once there is a primary again.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
/// How long nodes that have noticed are watched answering nobody.
const WATCHED: Duration = Duration::from_secs(3);

/// The rule by which a node refuses a token request, and whether it is ready.
async fn refusal(node: &Server, ask: &Ask) -> (String, bool) {
    let Some(answer) = ask.try_send(node.address).await else { return ("none".to_owned(), false) };
    let rule = if answer.status == 200 { "given".to_owned() } else { answer.rule() };
    let ready = Ask::get("/readyz").try_send(node.address).await;
    let ready = ready.filter(|ready| {
        let says_so = ready.text().contains("store-lost");
        rule != "store-lost" || (says_so && ready.status == 503)
    });
    (rule, ready.is_some())
}

/// How issuing is opened again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// By the last export of the log, from which is ended again what was ended in what was lost.
    Reconciled,
    /// By an owner's word.
    Waived,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_asynchronous_standby_had_not_is_noticed_and_declared_before_anything_is_answered()
{
    println!("{}", story(Opened::Waived).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_ended_in_what_was_lost_is_ended_again_from_the_last_export() {
    println!("{}", story(Opened::Reconciled).await);
}

/// What happened, in a sentence.
async fn story(opened: Opened) -> String {
    let primary = Machine::primary().await;
    let way = Way::to(primary.port).await;
    let standby = Machine::standby_of(way.port).await;
    let (folder, store) = (Folder::new(), url_of(&[&primary, &standby]));
    let founded = init(&folder, &store);
    let first = Server::serve(Folder::new(), &founded).await;
    let second = node(&founded, &store).await;
    let cast = Cast::at(first, 3).await;
    let said = |node: &Server| std::fs::read_to_string(node.folder().file("log")).expect("its log");
    assert!(said(&cast.server).contains("what no standby has yet"), "it is said from the first");
    let kept = folder.file("verifier");
    let verifier = cast.verifier().state_dir(&kept).connect().await.expect("a verifier");
    let (worker, victim) = (cast.agent("worker").await, cast.agent("victim").await);
    let dead = cast.token(&victim).await;
    verifier.verify_token(&dead).await.expect("alive");
    let nodes = [&cast.server, &second];
    let load = Load::start(&cast, &nodes.map(|node| node.address)).await;
    until("there is load", BACK_WITHIN, async || load.given() > 100).await;

    // From here on the standby gets nothing, and nobody waits for it.
    way.cut();
    let before = load.given();
    second.revoke(&victim.agent).await;
    until("more is answered", BACK_WITHIN, async || load.given() > before + 100).await;
    until("the verifier knows", FOLLOWS_WITHIN, async || {
        verifier.verify_token(&dead).await.is_err()
    })
    .await;
    // It has seen a checkpoint over what is going to be lost, and so is a witness of it.
    cast.kept(&kept).await;
    let export = folder.file("last.ndjson");
    cast.server.cli(&["audit", "export", "-o", &export]).good();
    let lost = Instant::now();
    primary.kill();
    standby.promote();
    let given = load.given();

    let form = [("grant_type", "client_credentials"), ("scope", "crm:read")];
    let ask = Ask::form(&cast.server.at("/oauth/token"), &form);
    let ask = ask.basic(&worker.agent, &worker.secret);
    for node in nodes {
        until("it notices", NOTICED_WITHIN, async || {
            assert_ne!(says(node, &dead).await, Some(true), "its end was answered");
            let (rule, ready) = refusal(node, &ask).await;
            assert_ne!(rule, "given");
            rule == "store-lost" && ready
        })
        .await;
    }
    let noticed = lost.elapsed();
    // One that knows nothing of before believes those that do, once they have said so.
    until("it stands in the database", NOTICED_WITHIN, async || {
        standby.tell("SELECT losses FROM change_head") == "1"
    })
    .await;
    let address = format!("127.0.0.1:{}", free_port());
    let config = text(&founded, "config");
    let mut there = founded.clone();
    there["url"] = format!("http://{address}").into();
    let serve = binary::command(&["serve", "--config", &config, "--listen", &address]);
    let late = Server::spawned(serve, Folder::new(), &there);
    until("a new node says so", NOTICED_WITHIN, async || {
        let (rule, ready) = refusal(&late, &ask).await;
        assert_ne!(rule, "given");
        rule == "store-lost" && ready
    })
    .await;
    tokio::time::sleep(WATCHED).await;
    assert_eq!(load.given(), given, "nobody is given anything");
    let (answered, _) = load.end().await;
    assert!(said(&cast.server).contains("has lost what it had answered"));
    assert!(said(&second).contains("took the place of the database's primary"));
    assert!(verifier.verify_token(&dead).await.is_err(), "it forgets nothing");

    // A person says so; the nodes go on by themselves, in a new generation.
    let declare = ["store", "declare-loss", "--config", &config, "--reason", "a story"];
    let told = binary::run(binary::command(&[&declare[..], &["--output", "json"]].concat())).json();
    assert_eq!(told["organizations"], json!([{"name": "acme", "generation": 2}]), "{told}");
    let all = [&cast.server, &second, &late];
    for node in all {
        until("it goes on", BACK_WITHIN, async || {
            let (rule, _) = refusal(node, &ask).await;
            assert_ne!(rule, "given");
            rule == "issuing-closed"
        })
        .await;
        for token in answered.whole.iter().chain([&dead]) {
            assert_eq!(says(node, token).await, Some(false), "nothing of before is alive");
        }
    }
    until("the verifier raises an alarm", BACK_WITHIN, async || {
        let mut alarms = verifier.alarms().into_iter();
        alarms.any(|alarm| matches!(alarm.what, Contradiction::Feed(Alarm::LogShrunk { .. })))
    })
    .await;
    match opened {
        Opened::Reconciled => {
            let again = ["backup", "reconcile", "--config", &config, "--org", "acme"];
            let from = ["--audit-export", &export, "--output", "json"];
            let told = binary::run(binary::command(&[&again[..], &from].concat())).json();
            assert!(told["ended"].as_u64() >= Some(1), "the victim: {told}");
        }
        Opened::Waived => {
            let told = cast.server.cli_json(&["backup", "waive", "--reason", "a story"]);
            assert_eq!(told["issuing"], "open", "{told}");
        }
    }
    let mut anew = std::collections::BTreeSet::new();
    for node in all {
        until("tokens are given again", BACK_WITHIN, async || {
            let answer = node.send(ask.clone()).await;
            if answer.status == 200 {
                let token = text(&answer.json(), "access_token");
                assert_eq!(says(node, &token).await, Some(true));
                anew.insert(crate::story_nodes::jti(&token));
            }
            answer.status == 200
        })
        .await;
        if opened == Opened::Reconciled {
            let again = node.token(&victim.agent, &victim.secret, "crm:read").await;
            assert!((400..500).contains(&again.status), "{}", again.text());
        }
        for used in &answered.used {
            let answer = node.send(used.clone()).await;
            assert_ne!(answer.status, 200, "an assertion was good twice");
        }
    }
    let logged = logged(&cast.server);
    assert!(anew.is_subset(&logged));
    let missing = answered.tokens.difference(&logged).count();
    assert!(missing > 50, "the story is of tokens without an event: {missing}");
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
    format!(
        "{} tokens held, {missing} of them without an event and declared dead; noticed {noticed:?} \
         after the loss",
        answered.tokens.len()
    )
}
