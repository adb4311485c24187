//! A store that an earlier version wrote is looked at and copied as it is, and brought up to date
//! only where it is opened.

use accredit_domain::ports::{Log as _, Store as _};
use accredit_store::driver::Driver as _;
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::inspect::inspect;
use accredit_store::{Options, SqlStore, backup};
use accredit_wire::crypto::sha256;
use accredit_wire::ids::OrganizationId;
use accredit_wire::tlog::Hash;
use rusqlite::Connection;

use crate::given::open;
use crate::holdings::counts;

/// The name of a store's file in its folder.
const FILE: &str = "accredit.db";

/// A file of the schema `newest`, as the program that had no further migration left it.
pub(crate) fn of_schema(folder: &tempfile::TempDir, newest: i64) -> Connection {
    let path = folder.path().join(FILE);
    let known = SqliteDriver::open(&path).expect("a file").migrations();
    let conn = Connection::open(&path).expect("the file");
    conn.execute_batch(
        "CREATE TABLE schema_migration (version BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL,
         hash TEXT NOT NULL, written_by TEXT NOT NULL)",
    )
    .expect("a table");
    for (version, name, sql) in known.iter().filter(|(version, ..)| *version <= newest) {
        conn.execute_batch(sql).expect("a migration");
        let hash = Hash::new(sha256(sql.as_bytes())).to_string();
        let row = (version, name, hash, "0.0.1");
        conn.execute("INSERT INTO schema_migration VALUES (?1, ?2, ?3, ?4)", row).expect("noted");
    }
    conn
}

#[tokio::test]
async fn a_store_of_any_earlier_schema_is_looked_at_copied_and_brought_up_to_date() {
    let probe = tempfile::tempdir().expect("a folder");
    let driver = SqliteDriver::open(&probe.path().join(FILE)).expect("a file");
    let known = driver.migrations().last().expect("a migration").0;
    for schema in 1..=known {
        check(schema, known).await;
    }
}

async fn check(schema: i64, known: i64) {
    let folder = tempfile::tempdir().expect("a folder");
    let org = OrganizationId::new(1, [1; 10]);
    let conn = of_schema(&folder, schema);
    conn.execute_batch(&format!(
        "INSERT INTO installation (id, public_url) VALUES (1, 'https://id.example');
         INSERT INTO pepper VALUES (1, x'0102');
         INSERT INTO organization (org, name, issuer, state, rev, generation, created_at, version)
         VALUES ('{org}', 'dev', 'https://id.example/o/dev', 'active', 3, 2, 0, 1);
         INSERT INTO lane (org, lane, generation, next, previous, last_at, fence)
         VALUES ('{org}', 0, 1, 1, x'{zero}', 0, 3), ('{org}', 1, 2, 0, x'{zero}', 0, 3);
         INSERT INTO event (org, lane, seq, kind, at, hash, salt, payload)
         VALUES ('{org}', 0, 0, 'organization.created', 0, x'{zero}', x'{zero}', '{{}}');
         INSERT INTO checkpoint VALUES ('{org}', 0, 1, 'note');",
        zero = "00".repeat(32)
    ))
    .expect("as it was");
    drop(conn);
    let file = folder.path().join(FILE);

    let seen = inspect(&file.clone().into()).expect("looked at");
    assert_eq!((seen.schema, seen.schema_known), (schema, known));
    assert_eq!((seen.sequenced, seen.integrated), (1, 1));
    assert_eq!((seen.organizations, seen.closed), (vec!["dev".to_owned()], Vec::new()));
    let founded = seen.installation.expect("founded");
    assert_eq!((&*founded.public_url, founded.peppers.len()), ("https://id.example", 1));

    let copy = folder.path().join("copy.db");
    std::fs::File::create_new(&copy).expect("a file");
    backup::copy(&file, &copy).expect("copied");
    assert_eq!(backup::defects(&copy).expect("checked"), None);
    for file in [&file, &copy] {
        let held = backup::contents(file).expect("read");
        assert_eq!((held.schema, held.agents, held.events), (schema, 0, 1));
        assert_eq!(held.installation.peppers[0].wrapped, [1, 2]);
        let dev = &held.organizations[0];
        assert_eq!((dev.id, &*dev.name, dev.generation, dev.rev), (org, "dev", 2, 3));
        let lanes: Vec<_> = dev
            .lanes
            .iter()
            .map(|lane| (lane.lane, lane.sequenced, lane.note.as_deref()))
            .collect();
        assert_eq!(lanes, [(0, 1, Some("note")), (1, 0, None)]);
    }

    // What was looked at is as it was; whoever opens it brings it up to date.
    assert_eq!(inspect(&copy.clone().into()).expect("looked at").schema, schema);
    let store = SqlStore::open(&copy, &Options::default()).expect("brought up to date");
    let founded = store.installation().await.expect("read").expect("founded");
    assert_eq!((founded.root, &*founded.public_url), (1, "https://id.example"));
    let lanes = store.lanes(org).await.expect("read");
    let lanes: Vec<_> = lanes.iter().map(|it| (it.lane, it.sequenced, it.pruned)).collect();
    assert!(lanes.starts_with(&[(0, 1, 0), (1, 0, 0)]), "{lanes:?}");
    store.close();
    assert_eq!(inspect(&copy.clone().into()).expect("looked at").schema, known);
}

#[test]
fn a_store_from_before_there_were_counts_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let org = OrganizationId::new(1, [1; 10]);
    let conn = of_schema(&folder, 1);
    conn.execute_batch(&format!(
        "INSERT INTO organization VALUES ('{org}', 'dev', NULL, 'i', 'active', 0, 1, 0, 1);
         INSERT INTO person VALUES ('{org}', 'p1', 'a@b.example', NULL, 'active', 0, 1);
         INSERT INTO resource VALUES ('{org}', 'r1', 'crm', 'a', '[]', 'active', 60, 0, 1);
         INSERT INTO agent (org, id, name, environment, state, permissions, may_delegate,
         token_lifetime, review_due_at, created_at, version)
         SELECT '{org}', 'a' || value, 'bot-' || value, 'dev', 'active', '[]', 0, 300, 0, 0, 1
         FROM json_each('[1, 2]');
         INSERT INTO instance (org, id, agent, state, credential, created_at, version)
         VALUES ('{org}', 'i1', 'a1', 'active', 'c', 0, 1),
         ('{org}', 'i2', 'a1', 'revoked', 'c', 0, 1);
         INSERT INTO credential (org, id, agent, permissions, pepper, mac, state, created_at,
         expires_at, version) VALUES ('{org}', 'c1', 'a1', NULL, 1, x'00', 'active', 0, 9, 1),
         ('{org}', 'c2', 'a1', NULL, 1, x'01', 'revoked', 0, 9, 1),
         ('{org}', 'c3', 'a2', NULL, 1, x'02', 'active', 0, 9, 1),
         ('{org}', 'c4', NULL, 'read', 1, x'03', 'active', 0, 9, 1);"
    ))
    .expect("as it was");
    drop(conn);
    open(&folder).close();
    assert_eq!(counts(&folder, org), [2, 1, 1, 1, 2, 1, 0, 0]);
}
