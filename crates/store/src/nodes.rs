//! What nodes tell each other, as rows: one of each node, under the organization that none is called,
//! with how far it has come, and one of each node for an organization of which it has something to say.

use accredit_domain::Fault;
use accredit_domain::nodes::{NODES_MAX, Nodes, Telling, Told};
use accredit_domain::ports::BoxFuture;
use accredit_wire::ids::OrganizationId;

use crate::SqlStore;
use crate::driver::{Conn, DriverError};
use crate::failure::Failure;
use crate::member::Work;

const OPERATION: &str = "tell other nodes";

/// Writes what a node tells.
pub(crate) fn write(conn: &mut dyn Conn, telling: &Telling) -> Result<(), Failure> {
    write_rows(conn, telling).map_err(|error| Failure::of(OPERATION, error))
}

fn write_rows(
    conn: &mut dyn Conn,
    Telling { node, place, words }: &Telling,
) -> Result<(), DriverError> {
    for (org, word) in words {
        let org = org.to_string();
        if word.is_empty() {
            conn.execute(
                "DELETE FROM node_word WHERE org = $1 AND node = $2",
                &[(&org).into(), node.into()],
            )?;
            continue;
        }
        conn.execute(
            "INSERT INTO node_word (org, node, beat, place, word) VALUES ($1, $2, 0, $3, $4) \
             ON CONFLICT (org, node) DO UPDATE SET place = excluded.place, word = excluded.word",
            &[(&org).into(), node.into(), (*place).into(), word.into()],
        )?;
    }
    conn.execute(
        "INSERT INTO node_word (org, node, beat, place, word) VALUES ('', $1, 1, $2, '') \
         ON CONFLICT (org, node) DO UPDATE SET beat = node_word.beat + 1, place = excluded.place",
        &[node.into(), (*place).into()],
    )
    .map(drop)
}

/// Forgets a node.
pub(crate) fn forget(conn: &mut dyn Conn, node: &str) -> Result<(), Failure> {
    conn.execute("DELETE FROM node_word WHERE node = $1", &[node.into()])
        .map(drop)
        .map_err(|error| Failure::of("forget a node", error))
}

fn all(conn: &mut dyn Conn, org: &str) -> Result<Vec<Told>, DriverError> {
    let found = conn.all(
        "SELECT n.node, n.beat, n.place, w.word FROM node_word n \
         LEFT JOIN node_word w ON w.org = $1 AND w.node = n.node \
         WHERE n.org = '' ORDER BY n.node LIMIT $2",
        &[org.into(), (NODES_MAX as u64 + 1).into()],
        |row| {
            Ok(Told {
                node: row.text(0)?.to_owned(),
                beat: row.count(1)?,
                place: row.count(2)?,
                word: row.opt_string(3)?.unwrap_or_default(),
            })
        },
    )?;
    if found.len() > NODES_MAX {
        return Err(DriverError::Failed(format!("there are more than {NODES_MAX} nodes")));
    }
    Ok(found)
}

impl Nodes for SqlStore {
    fn place(&self) -> u64 {
        self.shared.changes.as_ref().map_or(0, |changes| changes.told().place)
    }

    fn tell(&self, telling: Telling) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move {
            let done = self.write(OPERATION, Work::Tell(Box::new(telling))).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }

    fn told(&self, org: Option<OrganizationId>) -> BoxFuture<'_, Result<Vec<Told>, Fault>> {
        let org = org.map(|org| org.to_string()).unwrap_or_default();
        Box::pin(self.read("read what nodes tell", move |conn| all(conn, &org)))
    }

    fn forget_node(&self, node: String) -> BoxFuture<'_, Result<(), Fault>> {
        const OPERATION: &str = "forget a node";
        Box::pin(async move {
            let done = self.write(OPERATION, Work::ForgetNode(node)).await;
            done.map(drop).map_err(|failure| failure.into_fault(OPERATION))
        })
    }
}
