//! All nodes are lost with the primary, and the standby that takes its place was behind: a new node
//! knows of nothing that is missing and goes on. Then two histories go on from what the standby had,
//! each signed. Once a person has declared the loss, the export of the lost one is read behind the place
//! where the two part, and what the new node wrote stays.

use serde_json::{Value, json};

use super::BACK_WITHIN;
use crate::stage::binary::{self, Ran};
use crate::stage::cast::text;
use crate::stage::postgres::{Machine, Way, url_of};
use crate::stage::server::Folder;
use crate::stage::{Cast, Server, until};
use crate::story_nodes::{init, node};

fn reconcile(founded: &Value, export: &str) -> Ran {
    let config = text(founded, "config");
    let again = ["backup", "reconcile", "--config", &config, "--org", "acme"];
    binary::run(binary::command(
        &[&again[..], &["--audit-export", export, "--output", "json"]].concat(),
    ))
}

fn refused(ran: &Ran, says: &str) {
    assert!(ran.code != 0 && ran.err.contains(says), "`{says}` is not in {ran:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_is_ended_again_where_a_new_node_went_on_before_anybody_noticed() {
    let primary = Machine::primary().await;
    let way = Way::to(primary.port).await;
    let standby = Machine::standby_of(way.port).await;
    let (folder, store) = (Folder::new(), url_of(&[&primary, &standby]));
    let founded = init(&folder, &store);
    let mut cast = Cast::at(Server::serve(Folder::new(), &founded).await, 60).await;
    let (worker, victim) = (cast.agent("worker").await, cast.agent("victim").await);
    let own = cast.agent("own").await;
    let older = folder.file("older.ndjson");
    cast.server.cli(&["audit", "export", "-o", &older]).good();
    let last = primary.tell("SELECT pg_current_wal_flush_lsn()");
    until("the standby has all of it", BACK_WITHIN, async || {
        standby.tell(&format!("SELECT pg_last_wal_replay_lsn() >= '{last}'")) == "t"
    })
    .await;

    way.cut();
    cast.token(&worker).await;
    cast.server.revoke(&victim.agent).await;
    let export = folder.file("last.ndjson");
    cast.server.cli(&["audit", "export", "-o", &export]).good();
    cast.server.kill();
    primary.kill();
    standby.promote();

    // Nobody is left who knows: what was ended is alive, and the log goes on under a signature.
    let late = node(&founded, &store).await;
    late.token(&victim.agent, &victim.secret, "crm:read").await.good();
    late.revoke(&own.agent).await;
    let of_own = folder.file("own.ndjson");
    late.cli(&["audit", "export", "-o", &of_own]).good();
    refused(&reconcile(&founded, &export), "not restored");
    let config = text(&founded, "config");
    let declare = ["store", "declare-loss", "--config", &config, "--reason", "a story"];
    binary::run(binary::command(&declare)).good();

    for older in [&older, &of_own] {
        refused(&reconcile(&founded, older), "no event that the backup does not have");
    }
    let told = reconcile(&founded, &export).json();
    assert_eq!((&told["ended"], &told["parted"][0]["lane"]), (&json!(1), &json!(0)), "{told}");
    let at = told["parted"][0]["at"].as_u64().expect("a place");
    assert!(at > 10 && told["parted"][0]["own"].as_u64() >= Some(2), "{told}");
    until("tokens are given again", BACK_WITHIN, async || {
        late.token(&worker.agent, &worker.secret, "crm:read").await.status == 200
    })
    .await;
    // Ended in either history.
    for client in [&victim, &own] {
        let again = late.token(&client.agent, &client.secret, "crm:read").await;
        assert!((400..500).contains(&again.status), "{}", again.text());
    }
    let listed = late.get("/v1/events?type=restore.reconciled").await;
    let place = listed["items"][0]["payload"]["changes"]["parted"].as_str().expect("a place");
    assert!(place.ends_with(&format!("log/g1l0 {at}")), "{place}");
    assert_eq!(late.cli_json(&["fsck"])["ok"], true);
}
