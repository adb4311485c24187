//! A primary with a synchronous standby is killed, the standby is promoted, and nobody notices more
//! than a pause: every token that was received has its event, whatever ended is ended, and no
//! assertion is good for two tokens.

use std::time::{Duration, Instant};

use super::BACK_WITHIN;
use super::load::Load;
use crate::stage::postgres::{Machine, url_of};
use crate::stage::server::Folder;
use crate::stage::{Cast, FOLLOWS_WITHIN, Server, until};
use crate::story_nodes::{init, logged, node, says};

/// How long it may be that nobody is given a token, beyond the time until there is a primary again.
const WITHOUT_SERVICE_MAX: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_lost_and_its_synchronous_standby_goes_on_with_all_that_was_answered() {
    let primary = Machine::primary().await;
    let standby = Machine::standby_of(primary.port).await;
    primary.wait_for_standbys();
    until("the standby is waited for", BACK_WITHIN, async || {
        primary.tell("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
    })
    .await;
    let (folder, store) = (Folder::new(), url_of(&[&primary, &standby]));
    let founded = init(&folder, &store);
    // At the address that tokens and followers name.
    let first = Server::serve(Folder::new(), &founded).await;
    let (second, third) = (node(&founded, &store).await, node(&founded, &store).await);
    let cast = Cast::at(first, 60).await;
    let verifier = cast.connected().await;
    let said = |node: &Server| std::fs::read_to_string(node.folder().file("log")).expect("its log");
    assert!(said(&cast.server).contains("nothing: a synchronous standby"), "it is waited for");
    let nodes = [&cast.server, &second, &third];
    let load = Load::start(&cast, &nodes.map(|node| node.address)).await;
    until("there is load", BACK_WITHIN, async || load.given() > 300).await;

    let killed = Instant::now();
    primary.kill();
    standby.promote();
    let promoted = killed.elapsed();
    let given = load.given();
    until("all nodes are ready", BACK_WITHIN, async || {
        for node in nodes {
            if crate::stage::Ask::get("/readyz").send(node.address).await.status != 200 {
                return false;
            }
        }
        true
    })
    .await;
    until("tokens are given again", BACK_WITHIN, async || load.given() > given + 300).await;
    let (answered, longest) = load.end().await;

    assert!(answered.exchanged > 10 && answered.ended.len() > 10 && answered.used.len() > 30);
    let logged = logged(&cast.server);
    let without: Vec<_> = answered.tokens.difference(&logged).collect();
    assert!(without.is_empty(), "held without an event: {without:?}");
    for node in nodes {
        for (token, client) in &answered.ended {
            until("the end is known", FOLLOWS_WITHIN, async || {
                says(node, token).await == Some(false)
            })
            .await;
            let again = node.token(&client.id, &client.secret, "crm:read").await;
            assert!((400..500).contains(&again.status), "{}", again.text());
        }
        for used in &answered.used {
            node.send(used.clone()).await.refused(401, "invalid_client", "assertion-replayed");
        }
    }
    for (token, _) in &answered.ended {
        until("the verifier knows", FOLLOWS_WITHIN, async || {
            verifier.verify_token(token).await.is_err()
        })
        .await;
    }
    until("the verifier goes on", FOLLOWS_WITHIN, async || {
        verifier.verify_token(answered.whole.last().expect("a token")).await.is_ok()
    })
    .await;
    assert_eq!(verifier.alarms(), []);
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
    // The new primary has no standby: whoever starts now is told so.
    let late = node(&founded, &store).await;
    assert!(said(&late).contains("what no standby has yet"), "{}", said(&late));
    assert!(longest < promoted + WITHOUT_SERVICE_MAX, "{longest:?}");
    println!(
        "{} tokens held ({} by exchange), {} logged, {} agents ended, {} assertions used; promoted \
         after {promoted:?}, {longest:?} without service",
        answered.tokens.len(),
        answered.exchanged,
        logged.len(),
        answered.ended.len(),
        answered.used.len()
    );
}
