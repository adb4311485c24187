//! Both engines have the same schema: every table, column and index of one is one of the other's.

use std::collections::BTreeSet;

use accredit_store::driver::Driver as _;
use accredit_store::driver::postgres::PostgresDriver;
use accredit_store::driver::sqlite::SqliteDriver;
use accredit_store::{Options, SqlStore};

use crate::given::open;
use crate::server;

/// What a statement answers, each row as one text.
fn rows(conn: &mut dyn accredit_store::driver::Conn, sql: &'static str) -> BTreeSet<String> {
    let rows = conn.all(sql, &[], |row| Ok(row.text(0)?.to_owned())).expect("an answer");
    rows.into_iter().collect()
}

#[test]
fn both_engines_have_the_same_tables_columns_and_indexes() {
    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let path = here.path().join("accredit.db");
    SqlStore::open(&path, &Options::default()).expect("a store").close();
    let sqlite = SqliteDriver::open(&path).expect("the store");
    open(&there).close();
    let postgres = PostgresDriver::new(server::database_of(&there)).expect("a driver");

    let newest = |known: &[(i64, &str, &str)]| known.last().map(|(version, ..)| *version);
    assert_eq!(newest(sqlite.migrations()), newest(postgres.migrations()));

    let mut embedded = sqlite.reader().expect("a connection");
    let mut distant = postgres.reader().expect("a connection");
    let columns = rows(
        &mut *embedded,
        "SELECT t.name || '.' || c.name || CASE c.\"notnull\" WHEN 0 THEN '' ELSE ' NOT NULL' END \
         FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
    );
    assert!(columns.len() > 100, "{columns:?}");
    let of_postgres = rows(
        &mut *distant,
        "SELECT table_name || '.' || column_name \
         || CASE is_nullable WHEN 'YES' THEN '' ELSE ' NOT NULL' END \
         FROM information_schema.columns WHERE table_schema = 'public'",
    );
    assert_eq!(columns, of_postgres);

    let indexes = rows(
        &mut *embedded,
        "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL",
    );
    assert!(indexes.len() > 30, "{indexes:?}");
    let of_postgres =
        rows(&mut *distant, "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'");
    let missing: Vec<_> = indexes.difference(&of_postgres).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The server would rather sort what lies between bounds that are always there, once it knows its tables:
/// a second for a page of a million agents. Sessions tell it not to.
#[test]
fn a_page_of_a_list_is_read_from_an_index() {
    let there = tempfile::tempdir().expect("a folder");
    open(&there).close();
    let postgres = PostgresDriver::new(server::database_of(&there)).expect("a driver");
    let page = "EXPLAIN SELECT id, name FROM agent WHERE org = 'org' AND state = 'active' \
                AND id >= 'agt_0' AND id < 'agt_z' AND name >= '' AND name < 'z' \
                ORDER BY id LIMIT 50";
    let mut reader = postgres.reader().expect("a connection");
    let mut writer = postgres.writer().expect("a connection");
    for conn in [&mut *reader, &mut *writer] {
        let plan = rows(conn, page);
        let has = |what: &str| plan.iter().any(|line| line.contains(what));
        assert!(has("agent_state_id"), "{plan:?}");
        assert!(!has("Sort") && !has("Seq Scan"), "{plan:?}");
    }
}
