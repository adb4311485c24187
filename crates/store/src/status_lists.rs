//! Token Status List: the places of tokens in lists, as rows. One is written with its token's event,
//! and gone once no verifier takes the token; that no place is given twice is the table's key.

use accredit_domain::Fault;
use accredit_domain::ports::{BoxFuture, Issuance, StatusLists, StatusPlace};
use accredit_domain::status_list::{ListId, ListedToken};
use accredit_wire::ids::OrganizationId;
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Row, Value};
use crate::failure::Failure;
use crate::ledger::Expired;
use crate::page::{self, READ_ROWS_MAX};
use crate::{SqlStore, lineage};

/// Writes the place of an issued token.
pub(crate) fn write(
    conn: &mut dyn Conn,
    org: &str,
    issuance: &Issuance,
    place: &StatusPlace,
) -> Result<(), Failure> {
    let list = place.list.to_string();
    let lineage = lineage::bytes(&issuance.lineage);
    conn.execute(
        "INSERT INTO status_place (org, list, idx, rev, until, lineage) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        &[
            org.into(),
            list.as_str().into(),
            place.index.into(),
            issuance.rev.into(),
            place.until.into(),
            lineage.as_slice().into(),
        ],
    )
    .map(drop)
    .map_err(|error| Failure::of("give a token its place in a status list", error))
}

fn read(row: &dyn Row) -> Result<ListedToken, DriverError> {
    Ok(ListedToken { index: row.small(0)?, rev: row.count(1)?, lineage: lineage::read(row, 2)? })
}

fn listed(
    conn: &mut dyn Conn,
    (org, list): (&str, &str),
    from: u32,
    limit: usize,
) -> Result<Vec<ListedToken>, DriverError> {
    conn.all(
        "SELECT idx, rev, lineage FROM status_place \
         WHERE org = $1 AND list = $2 AND idx >= $3 ORDER BY idx LIMIT $4",
        &[org.into(), list.into(), from.into(), page::rows(limit)],
        read,
    )
}

/// Each list is looked for behind the one before: there are few, with many rows each.
fn lists(conn: &mut dyn Conn, org: &str, limit: usize) -> Result<Vec<ListId>, DriverError> {
    let (mut found, mut after) = (Vec::new(), String::new());
    while found.len() < limit {
        let next = conn.first(
            "SELECT list FROM status_place WHERE org = $1 AND list > $2 ORDER BY list LIMIT 1",
            &[org.into(), after.as_str().into()],
            |row| Ok((row.parsed(0)?, row.text(0)?.to_owned())),
        )?;
        let Some((list, text)) = next else { break };
        found.push(list);
        after = text;
    }
    Ok(found)
}

/// Some places that are over at a time.
pub(crate) fn over(conn: &mut dyn Conn, now: Time) -> Result<Vec<Expired>, DriverError> {
    conn.all(
        "SELECT org, list, idx FROM status_place WHERE until < $1 LIMIT $2",
        &[now.into(), Value::Int(READ_ROWS_MAX as i64)],
        |row| {
            let (org, list) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            Ok(Expired::Place { org, list, index: row.small(2)? })
        },
    )
}

/// Forgets one place that is over.
pub(crate) fn forget(
    conn: &mut dyn Conn,
    (org, list, index): (&str, &str, u32),
    now: Time,
) -> Result<usize, DriverError> {
    conn.execute(
        "DELETE FROM status_place WHERE org = $1 AND list = $2 AND idx = $3 AND until < $4",
        &[org.into(), list.into(), index.into(), now.into()],
    )
}

impl StatusLists for SqlStore {
    fn listed_tokens(
        &self,
        org: OrganizationId,
        list: ListId,
        from: u32,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ListedToken>, Fault>> {
        let list = list.to_string();
        self.read_in("read a status list", org, move |conn, org| {
            listed(conn, (org, &list), from, limit)
        })
    }

    fn status_lists(
        &self,
        org: OrganizationId,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ListId>, Fault>> {
        self.read_in("read status lists", org, move |conn, org| lists(conn, org, limit))
    }
}
