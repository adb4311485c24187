//! A new version comes while the one before it serves.
//!
//! What is shown: nodes go on under load while the next version's migration runs in their database,
//! and may be started again beside it; where that version says that they may not, they do not start.
//! A migration of this version lets others pass that use its table. There is one binary: the next
//! version is played by its statements. That a real version before this one serves on is what the
//! test of all migrations claims, that they only add; it is not run here.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::binary::{self, Ran};
use crate::stage::cast::text;
use crate::stage::postgres::{Machine, url_of};
use crate::stage::server::Folder;
use crate::stage::{Cast, Server, until};
use crate::story_failover::load::Load;
use crate::story_nodes::{init, logged, node};

const SOON: Duration = Duration::from_secs(20);

fn check(config: &str) -> (Ran, Value) {
    let ran =
        binary::run(binary::command(&["upgrade", "check", "--config", config, "--output", "json"]));
    let told = serde_json::from_str(ran.out.lines().next().expect("a line")).expect("JSON");
    (ran, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_serve_on_while_the_next_version_migrates_and_are_changed_one_by_one() {
    let database = Machine::primary().await;
    let (folder, store) = (Folder::new(), url_of(&[&database]));
    let founded = init(&folder, &store);
    let config = text(&founded, "config");
    let first = Server::serve(Folder::new(), &founded).await;
    let mut second = node(&founded, &store).await;
    let cast = Cast::at(first, 60).await;
    let (ran, told) = check(&config);
    assert_eq!((ran.code, &told["way"], &told["pending"]), (0, &json!("current"), &json!([])));
    assert!(told["connections"].as_u64() > Some(3), "two nodes run: {told}");
    let known = told["schema_known"].as_i64().expect("a number");

    let load = Load::start(&cast, &[cast.server.address, second.address]).await;
    until("there is load", SOON, async || load.given() > 50).await;
    // As the next version would: one statement, and beside which programs it is served.
    database.tell("ALTER TABLE agent ADD COLUMN later TEXT");
    database.tell("INSERT INTO schema_migration VALUES (9001, 'later', 'ff', '7.8.9')");
    database.tell(&format!("INSERT INTO schema_beside VALUES (9001, {known})"));
    let given = load.given();
    until("it goes on", SOON, async || load.given() > given + 50).await;
    let (ran, told) = check(&config);
    assert_eq!((ran.code, &told["way"], &told["schema"]), (0, &json!("beside"), &json!(9001)));
    second.kill();
    let second = node(&founded, &store).await;
    let log = std::fs::read_to_string(second.folder().file("log")).expect("its log");
    assert!(log.contains("beside which this one may serve") && log.contains("7.8.9"), "{log}");
    let given = load.given();
    until("it goes on", SOON, async || load.given() > given + 50).await;
    let (answered, longest) = load.end().await;
    let logged = logged(&cast.server);
    assert!(answered.tokens.is_subset(&logged));

    // The one after that may not be served by this version any more.
    database.tell("UPDATE schema_beside SET served_from = 9001 WHERE version = 9001");
    let (ran, told) = check(&config);
    assert_eq!((ran.code, &told["way"]), (6, &json!("too-old")), "{ran:?}");
    let refused =
        binary::run(binary::command(&["serve", "--config", &config, "--listen", "127.0.0.1:0"]));
    assert!(refused.code == 1 && refused.err.contains("version 7.8.9"), "{refused:?}");
    // Nor one that says nothing.
    database.tell("DELETE FROM schema_beside WHERE version = 9001");
    assert_eq!(check(&config).1["way"], json!("too-old"));
    println!("{} tokens held, {longest:?} without service", answered.tokens.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_lets_those_pass_who_use_its_table() {
    let database = Machine::primary().await;
    let (folder, store) = (Folder::new(), url_of(&[&database]));
    let founded = init(&folder, &store);
    let config = text(&founded, "config");
    // As the version before left it.
    database.tell("DELETE FROM schema_migration WHERE version > 33");
    for statement in [
        "DROP TABLE listener_root",
        "DROP TABLE foreign_domain",
        "DROP TABLE process",
        "DROP TABLE process_rule",
        "ALTER TABLE instance DROP COLUMN vouched_by",
        "DROP INDEX agent_owner_id, agent_state_id, agent_environment_id",
        "DROP INDEX person_state_id, resource_state_id, federation_state_id",
        "DROP TABLE workload",
        "DROP TABLE workload_rule",
        "ALTER TABLE credential DROP COLUMN workload",
        "ALTER TABLE agent DROP COLUMN certificate_lifetime",
        "ALTER TABLE agent DROP COLUMN dns_names",
        "DROP TABLE certificate",
        "ALTER TABLE lane DROP COLUMN slot",
        "DROP TABLE node_word",
        "DROP TABLE schema_beside",
        "ALTER TABLE change_head DROP COLUMN losses",
    ] {
        database.tell(statement);
    }
    let (ran, told) = check(&config);
    assert_eq!(
        (ran.code, &told["way"], &told["schema"]),
        (6, &json!("stopped"), &json!(33)),
        "{ran:?}"
    );
    assert_eq!(told["pending"][0], json!({"number": 34, "name": "losses"}));
    assert_eq!(told["schema"], json!(33), "it was only looked at");

    // Somebody uses the table for longer than a migration waits at a time.
    let mut user =
        database.command("BEGIN; SELECT place FROM change_head; SELECT pg_sleep(5); COMMIT");
    let mut user = user.stdout(Stdio::null()).spawn().expect("psql runs");
    until("it is used", SOON, async || {
        database.tell("SELECT count(*) FROM pg_locks WHERE relation = 'change_head'::regclass")
            == "1"
    })
    .await;
    let server = Server::serve(Folder::new(), &founded).await;
    assert!(user.wait().expect("ended").success());
    let log = std::fs::read_to_string(server.folder().file("log")).expect("its log");
    assert!(log.contains("a migration lets others pass"), "{log}");
    assert_eq!(check(&config).1["way"], json!("current"));
    let cast = Cast::at(server, 60).await;
    let agent = cast.agent("planner").await;
    cast.token(&agent).await;
}
