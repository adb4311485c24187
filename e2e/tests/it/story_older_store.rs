//! A store that an earlier version left behind: before it is brought up to date it can be looked at
//! and backed up, and its backups are checked and restored.

use std::fs;

use rusqlite::Connection;

use crate::stage::cast::text;
use crate::stage::server::{Folder, init};
use crate::stage::{Ask, Cast, FOLLOWS_WITHIN, Server, binary, until};

/// The last migration of the earlier version.
const SCHEMA: i64 = 14;

/// Puts a store of the earlier schema, with what is in it, in the place of the one in `folder`.
fn made_older(folder: &Folder) {
    let (store, made) = (folder.file("data/accredit.db"), folder.file("older.db"));
    let older = Connection::open(&made).expect("a store");
    older.execute_batch(
        "CREATE TABLE schema_migration (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
         hash TEXT NOT NULL, written_by TEXT NOT NULL)",
    )
    .expect("a table");
    let migrations = binary::workspace().join("crates/store/migrations/sqlite");
    let mut files: Vec<_> = fs::read_dir(migrations)
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    for file in &files[..SCHEMA as usize] {
        older.execute_batch(&fs::read_to_string(file).expect("a migration")).expect("run");
    }
    older.execute_batch("PRAGMA foreign_keys = off").expect("set");
    older.execute("ATTACH ?1 AS newer", [&store]).expect("opened");
    older
        .execute(
            "INSERT INTO main.schema_migration SELECT * FROM newer.schema_migration
             WHERE version <= ?1",
            [SCHEMA],
        )
        .expect("noted");
    for table in texts(
        &older,
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
         AND name <> 'schema_migration'",
    ) {
        let columns = texts(&older, &format!("SELECT name FROM pragma_table_info('{table}')"));
        let columns = columns.join(", ");
        older
            .execute_batch(&format!(
                "DELETE FROM main.{table};
                 INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table};"
            ))
            .expect(&table);
    }
    // There were no attenuable tokens, certificates and JWT-SVIDs, and no keys for them.
    let newer =
        "DELETE FROM main.signing_key WHERE purpose IN ('biscuit', 'ca', 'ca-root', 'jwt-svid')";
    older.execute_batch(newer).expect("gone");
    drop(older);
    fs::rename(made, &store).expect("moved");
    for beside in ["-wal", "-shm"] {
        // Where the server has left one behind, it belongs to the other file.
        drop(fs::remove_file(format!("{store}{beside}")));
    }
}

fn texts(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).expect("a statement");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_an_earlier_version_is_backed_up_before_it_is_brought_up_to_date() {
    let folder = Folder::new();
    let founded = init(&folder, "http");
    let mut cast = Cast::at(Server::serve(folder.clone(), &founded).await, 60).await;
    let agent = cast.agent("planner").await;
    cast.token(&agent).await;
    assert_eq!(cast.server.stop(), Some(0));
    made_older(&folder);

    let (config, root_key) = (text(&founded, "config"), text(&founded, "root_key_file"));
    let accredit =
        |args: &[&str]| binary::run(binary::command(&[args, &["--output", "json"]].concat()));
    let told = accredit(&["doctor", "--config", &config]).out;
    assert!(told.contains(&format!("schema {SCHEMA}; this program brings it to")), "{told}");
    assert!(told.contains("back the store up") && told.contains("it opens the store"), "{told}");
    let backup = folder.file("older.backup");
    let made = accredit(&["backup", "create", "--config", &config, "-o", &backup]).json();
    assert_eq!((&made["organizations"], &made["agents"]), (&1.into(), &1.into()), "{made}");
    let report = accredit(&["backup", "verify", &backup, "--root-key", &root_key]).json();
    assert_eq!((&report["ok"], &report["schema"]), (&true.into(), &SCHEMA.into()), "{report}");
    assert_eq!(report["events"], made["events"], "{report}");

    // The store is brought up to date where it is served, and goes on.
    cast.server = Server::serve(folder.clone(), &founded).await;
    cast.token(&agent).await;
    until("keys for attenuable tokens are made", FOLLOWS_WITHIN, async || {
        let set = Ask::get(&cast.server.at("/.well-known/biscuit-jwks.json"));
        let set = cast.server.send(set).await.good();
        set["keys"].as_array().is_some_and(|keys| keys.len() == 2)
    })
    .await;
    until("keys of JWT-SVIDs are made", FOLLOWS_WITHIN, async || {
        let bundle = cast.server.send(Ask::get(&cast.server.at("/spiffe/bundle"))).await.good();
        let keys = bundle["keys"].as_array().expect("keys").iter();
        keys.filter(|key| key["use"] == "jwt-svid").count() == 2
    })
    .await;
    let kind = "urn:accredit:params:oauth:token-type:biscuit";
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "crm:read"),
        ("requested_token_type", kind),
    ];
    let ask = Ask::form(&cast.server.at("/oauth/token"), &form).basic(&agent.agent, &agent.secret);
    assert_eq!(cast.server.send(ask).await.good()["issued_token_type"], kind);
    assert_eq!(cast.server.stop(), Some(0));
    let told = accredit(&["doctor", "--config", &config]).out;
    assert!(!told.contains("this program brings it to"), "{told}");

    // And so is the backup, where it is restored.
    let restored = Folder::new();
    fs::create_dir_all(restored.data()).expect("a folder");
    for name in ["accredit.toml", "root.key"] {
        fs::copy(folder.data().join(name), restored.data().join(name)).expect("copied");
    }
    let data = restored.file("data");
    let args = ["backup", "restore", &backup, "--data", &data, "--root-key", &root_key];
    let told = accredit(&args).json();
    assert_eq!(told["organizations"][0]["generation"], 2, "{told}");
    let mut there = founded.clone();
    there["config"] = restored.file("data/accredit.toml").into();
    cast.server = Server::serve(restored, &there).await;
    let answer = cast.server.token(&agent.agent, &agent.secret, "crm:read").await;
    answer.refused(503, "temporarily_unavailable", "issuing-closed");
    let body = serde_json::json!({"reason": "nothing was lost"});
    let ask = Ask::json("POST", "/v1/restore/waive", &body).bearer(&cast.server.admin);
    cast.server.send(ask).await.good();
    cast.token(&agent).await;
    assert_eq!(cast.server.cli_json(&["fsck"])["ok"], true);
}
