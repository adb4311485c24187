//! All rows of a store, from one engine to another: moving an installation, and what a backup of a
//! database is made from.
//!
//! The tables are asked of the schema itself, so that none is forgotten. The source is read in one
//! snapshot, and its newest migration must be this program's own: rows are carried over as they are,
//! except that the places of used values are made as the target makes them. A target that holds
//! anything is refused. At the end both are read again, in the order of their keys, and every table
//! must have the same digest. Only then is the row written by which a store is an installation's: a copy that was
//! broken off, or is not all there is, is none that a server goes on from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use accredit_domain::Fault;
use accredit_wire::crypto::sha256_of;

use crate::driver::numbered;
use crate::driver::sqlite::SqliteDriver;
use crate::driver::{Conn, Driver, DriverError, Row, Value};
use crate::migrations;
use crate::place::Place;
use crate::spent::Spent;

const OPERATION: &str = "copy the store";
/// Rows of one transaction: engines that are spread over machines take a thousand.
pub const ROWS_IN_TRANSACTION_MAX: usize = 500;
/// Rows from which on an engine is to look at a table: one that it has not looked at it takes for larger
/// than a small one is, which does no harm when it grows.
const ANALYZED_FROM: u64 = 1_000;
/// The table whose rows triggers make while others are written: last, so that what they made is
/// overwritten.
const COUNTED: &str = "holding";
/// Tables that are of the schema, or of the nodes that run on it, and of no installation.
const NOT_COPIED: [&str; 6] =
    ["schema_migration", "schema_beside", "change", "change_head", "job_lease", "node_word"];
/// Tables in which a migration writes a row.
const NEVER_EMPTY: [&str; 4] = ["schema_migration", "schema_beside", "change_head", "heartbeat"];
/// The table by whose row a store is an installation's: last of all.
const FOUNDED: &str = "installation";
/// The table whose places each engine makes itself.
const SPENT: &str = "spent";

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Each table with its rows.
    pub tables: BTreeMap<String, u64>,
}

impl Copied {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.values().sum()
    }

    /// Rows of one table.
    pub fn rows_of(&self, table: &str) -> u64 {
        self.tables.get(table).copied().unwrap_or_default()
    }
}

/// A table with the statements that carry it over.
#[derive(Debug)]
struct Table {
    name: String,
    kinds: Vec<Kind>,
    /// All rows, in the order of their key.
    select: String,
    insert: String,
    /// Whether there is any.
    any: String,
    /// Where `org`, `seq`, `client` and `hash` are, in the table of used values.
    seq: Option<usize>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Int,
    Text,
    Blob,
}

/// A value on its way from one engine to the other.
enum Cell {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Cell {
    fn read(row: &dyn Row, column: usize, kind: Kind) -> Result<Self, DriverError> {
        Ok(match kind {
            Kind::Int => row.opt_int(column)?.map_or(Self::Null, Self::Int),
            Kind::Text => row.opt_text(column)?.map_or(Self::Null, |it| Self::Text(it.to_owned())),
            Kind::Blob => row.opt_blob(column)?.map_or(Self::Null, |it| Self::Blob(it.to_vec())),
        })
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(*number),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }

    /// Bytes that no other value of its column has.
    fn digested(&self) -> Vec<u8> {
        let (tag, bytes) = match self {
            Self::Null => (0_u8, Vec::new()),
            Self::Int(number) => (1, number.to_be_bytes().to_vec()),
            Self::Text(text) => (2, text.clone().into_bytes()),
            Self::Blob(bytes) => (3, bytes.clone()),
        };
        let mut whole = vec![tag];
        whole.extend((bytes.len() as u64).to_be_bytes());
        whole.extend(bytes);
        whole
    }
}

/// The tables of the newest schema, those that others refer to first.
static TABLES: LazyLock<Result<Vec<Table>, DriverError>> = LazyLock::new(tables);

fn known_tables() -> Result<&'static [Table], DriverError> {
    TABLES.as_ref().map(Vec::as_slice).map_err(Clone::clone)
}

/// Asks an empty store, which both engines' schemas are held to by a test.
fn tables() -> Result<Vec<Table>, DriverError> {
    let mut conn = SqliteDriver::in_memory()?;
    for (_, _, sql) in numbered::SQLITE {
        conn.script(sql)?;
    }
    let names = conn.all(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
         ORDER BY name = $1, name",
        &[COUNTED.into()],
        |row| Ok(row.text(0)?.to_owned()),
    )?;
    let mut left = Vec::new();
    for name in names {
        let of = conn.all(
            "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list($1)",
            &[name.as_str().into()],
            |row| Ok(row.text(0)?.to_owned()),
        )?;
        left.push((table(&mut *conn, &name)?, of));
    }
    let (mut ordered, mut done) = (Vec::new(), BTreeSet::new());
    while !left.is_empty() {
        let ready = |(_, of): &(Table, Vec<String>)| of.iter().all(|it| done.contains(it));
        let Some(place) = left.iter().position(ready) else {
            return Err(DriverError::Failed("tables refer to each other in a circle".to_owned()));
        };
        let (table, _) = left.remove(place);
        done.insert(table.name.clone());
        ordered.push(table);
    }
    // Whatever refers to what.
    ordered.sort_by_key(|table| table.name == COUNTED);
    Ok(ordered)
}

fn table(conn: &mut dyn Conn, name: &str) -> Result<Table, DriverError> {
    let columns = conn.all(
        "SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid",
        &[name.into()],
        |row| {
            let kind = match row.text(1)? {
                "INTEGER" | "BIGINT" => Kind::Int,
                "TEXT" => Kind::Text,
                "BLOB" => Kind::Blob,
                _ => return Err(DriverError::unreadable(1, "is a type that is not copied")),
            };
            Ok((row.text(0)?.to_owned(), kind, row.int(2)?))
        },
    )?;
    let quoted = |name: &String| format!("\"{name}\"");
    let all: Vec<_> = columns.iter().map(|(name, ..)| quoted(name)).collect();
    let mut key: Vec<_> = columns.iter().filter(|(.., place)| *place > 0).collect();
    key.sort_by_key(|(.., place)| *place);
    let key: Vec<_> = key.into_iter().map(|(name, ..)| quoted(name)).collect();
    let rest = columns.iter().filter(|(.., place)| *place == 0);
    let rest: Vec<_> = rest.map(|(name, ..)| format!("{0} = excluded.{0}", quoted(name))).collect();
    let params: Vec<_> = (1..=all.len()).map(|number| format!("${number}")).collect();
    let found = if rest.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!("UPDATE SET {}", rest.join(", "))
    };
    let (all, key) = (all.join(", "), key.join(", "));
    Ok(Table {
        name: name.to_owned(),
        kinds: columns.iter().map(|(_, kind, _)| *kind).collect(),
        select: format!("SELECT {all} FROM \"{name}\" ORDER BY {key}"),
        insert: format!(
            "INSERT INTO \"{name}\" ({all}) VALUES ({}) ON CONFLICT ({key}) DO {found}",
            params.join(", ")
        ),
        any: format!("SELECT count(*) FROM (SELECT 1 FROM \"{name}\" LIMIT 1) AS one"),
        seq: columns.iter().position(|(column, ..)| name == SPENT && column == "seq"),
    })
}

/// How far a store had come: whatever is written moves one of the two on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    /// Events of all lanes.
    sequenced: u64,
    /// Changes that nodes were told.
    place: u64,
}

impl Moment {
    fn of(conn: &mut dyn Conn) -> Result<Self, DriverError> {
        let sequenced =
            conn.number("SELECT CAST(COALESCE(SUM(next), 0) AS BIGINT) FROM lane", &[])?;
        let place = conn.number("SELECT place FROM change_head WHERE id = 1", &[])?;
        Ok(Self { sequenced, place })
    }
}

/// Copies the store at `from` to `to`, which must hold nothing, and compares them: as it was at one
/// moment, also while it is served. Blocks for as long as it takes. A file nobody may have open.
pub fn copy_all(from: &Place, to: &Place) -> Result<Copied, Fault> {
    copy(from, to, |_, _| Ok(()))
}

/// The same of a store that is to be served no more. Fails where something was written to it meanwhile:
/// that would be missing. What was copied by then is no installation's.
pub fn copy_still(from: &Place, to: &Place) -> Result<Copied, Fault> {
    copy(from, to, |source, before| {
        let failed = |error: DriverError| error.fault(OPERATION);
        let mut conn = source.reader().map_err(failed)?;
        let now = Moment::of(&mut *conn).map_err(failed)?;
        if now == before {
            return Ok(());
        }
        let events = now.sequenced.saturating_sub(before.sequenced);
        let why = format!(
            "the source was written to meanwhile ({events} events that the copy does not have): stop \
             every server on it first"
        );
        Err(Fault::new(OPERATION, why))
    })
}

fn copy(
    from: &Place,
    to: &Place,
    is_all: impl FnOnce(&dyn Driver, Moment) -> Result<(), Fault>,
) -> Result<Copied, Fault> {
    let failed = |error: DriverError| error.fault(OPERATION);
    let source_driver = from.driver().map_err(failed)?;
    let target_driver = to.driver().map_err(failed)?;
    let mut target = target_driver.writer().map_err(failed)?;
    let mut source = source_driver.reader().map_err(failed)?;
    let newest = source_driver.migrations().last().map_or(0, |(version, ..)| *version);
    source.begin_read().map_err(failed)?;
    let (schema, written_by) = migrations::newest(&mut *source).map_err(failed)?;
    if schema != newest {
        let why = format!(
            "the store has schema {schema} of version {written_by}, and this program {newest}: \
             serve it once with this version, or use that one"
        );
        return Err(Fault::new(OPERATION, why));
    }
    let before = Moment::of(&mut *source).map_err(failed)?;
    migrations::apply(&*target_driver, &mut *target)?;
    let tables = known_tables().map_err(failed)?;
    refuse_full(&mut *target, tables)?;
    let mut copied = Copied { tables: BTreeMap::new() };
    let is_copied = |table: &&Table| !NOT_COPIED.contains(&table.name.as_str());
    let (last, first): (Vec<_>, Vec<_>) =
        tables.iter().filter(is_copied).partition(|table| table.name == FOUNDED);
    for table in &first {
        let rows = carry(&mut *source, &mut *target, table).map_err(failed)?;
        copied.tables.insert(table.name.clone(), rows);
    }
    for table in first {
        compare(&mut *source, &mut *target, table)?;
    }
    is_all(&*source_driver, before)?;
    for table in last {
        let rows = carry(&mut *source, &mut *target, table).map_err(failed)?;
        copied.tables.insert(table.name.clone(), rows);
        compare(&mut *source, &mut *target, table)?;
    }
    source.rollback().map_err(failed)?;
    Ok(copied)
}

/// Fails where a table of the copy is not what it was copied from.
fn compare(
    source: &mut dyn Conn,
    target: &mut dyn Conn,
    table: &'static Table,
) -> Result<(), Fault> {
    let failed = |error: DriverError| error.fault(OPERATION);
    let was = digest(source, table).map_err(failed)?;
    let is = digest(target, table).map_err(failed)?;
    if was == is {
        return Ok(());
    }
    let why = format!("the copy of `{}` is not what it was copied from", table.name);
    Err(Fault::new(OPERATION, why))
}

/// A target in which anything was ever written is left alone.
fn refuse_full(target: &mut dyn Conn, tables: &'static [Table]) -> Result<(), Fault> {
    for table in tables.iter().filter(|table| !NEVER_EMPTY.contains(&table.name.as_str())) {
        let any = target.number(&table.any, &[]).map_err(|error| error.fault(OPERATION))?;
        if any > 0 {
            let why =
                format!("the target holds rows of `{}` already; it must be empty", table.name);
            return Err(Fault::new(OPERATION, why));
        }
    }
    Ok(())
}

/// Carries one table over. A key is in the source once, so that no two rows of a statement have one.
fn carry(
    source: &mut dyn Conn,
    target: &mut dyn Conn,
    table: &'static Table,
) -> Result<u64, DriverError> {
    let (mut rows, mut waiting) = (0, 0);
    target.begin_write()?;
    source.query(&table.select, &[], &mut |row| {
        let mut cells = cells(row, table)?;
        if let Some(seq) = table.seq {
            place_again(&mut cells, seq, rows, target.is_shared());
        }
        let values: Vec<_> = cells.iter().map(Cell::value).collect();
        target.add(&table.insert, &values)?;
        rows += 1;
        waiting += 1;
        if waiting == ROWS_IN_TRANSACTION_MAX {
            waiting = 0;
            target.commit()?;
            target.begin_write()?;
        }
        Ok(())
    })?;
    target.commit()?;
    if rows >= ANALYZED_FROM {
        target.analyze(&table.name)?;
    }
    Ok(rows)
}

fn cells(row: &dyn Row, table: &Table) -> Result<Vec<Cell>, DriverError> {
    let kinds = table.kinds.iter().enumerate();
    kinds.map(|(column, kind)| Cell::read(row, column, *kind)).collect()
}

/// A used value where the target looks for it: (org, seq, client, hash, until).
fn place_again(cells: &mut [Cell], seq: usize, rows: u64, shared: bool) {
    let place = match (&*cells, shared) {
        ([Cell::Text(org), _, Cell::Text(client), Cell::Blob(hash), ..], true) => {
            Spent::place_of(org, client, hash)
        }
        // In the order in which they are read; the next one comes after the last.
        _ => Some(rows),
    };
    if let (Some(cell), Some(place)) = (cells.get_mut(seq), place) {
        *cell = Cell::Int(place as i64);
    }
}

/// What a table holds, whichever engine holds it. Used values count without their places and their
/// order.
fn digest(conn: &mut dyn Conn, table: &'static Table) -> Result<(u64, [u8; 32]), DriverError> {
    let (mut rows, mut digest) = (0_u64, [0_u8; 32]);
    conn.query(&table.select, &[], &mut |row| {
        rows += 1;
        let cells = cells(row, table)?;
        let seq = table.seq;
        let parts = cells.iter().enumerate().filter(|(column, _)| Some(*column) != seq);
        let whole: Vec<u8> = parts.flat_map(|(_, cell)| cell.digested()).collect();
        if seq.is_some() {
            let one = sha256_of(&[&whole]);
            digest.iter_mut().zip(one).for_each(|(all, byte)| *all ^= byte);
        } else {
            digest = sha256_of(&[&digest, &whole]);
        }
        Ok(())
    })?;
    Ok((rows, digest))
}
