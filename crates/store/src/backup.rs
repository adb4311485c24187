//! A consistent copy of a store, taken while another process serves it, and what a copy holds.
//!
//! The copy is one read snapshot: the writer goes on meanwhile, and its journal grows until the
//! copy is done. Nothing of the original is written, no migration is run and no lock is taken: both
//! may be older than this program, so that only columns of the first schema are read.
//! Absent on purpose: encryption and the file that leaves the machine, which are the caller's.

use std::path::Path;

use accredit_domain::Fault;
use accredit_wire::ids::OrganizationId;

use crate::driver::sqlite::SqliteDriver;
use crate::driver::{Conn, DriverError};
use crate::installation::Founded;
use crate::{installation, log, migrations};

const OPERATION: &str = "copy the store";

/// What a store holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The newest migration that was run.
    pub schema: i64,
    /// The version of the program that ran it.
    pub written_by: String,
    /// What it was founded with.
    pub installation: Founded,
    /// Its organizations.
    pub organizations: Vec<ContentsOrganization>,
    /// Agents of all of them.
    pub agents: u64,
    /// Events of all of them.
    pub events: u64,
}

/// An organization in a store.
#[derive(Clone, Debug)]
pub struct ContentsOrganization {
    /// Its id.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// The generation of the store.
    pub generation: u64,
    /// Its revocation counter.
    pub rev: u64,
    /// The lanes of its log.
    pub lanes: Vec<ContentsLane>,
}

/// A lane of its log.
#[derive(Clone, Debug)]
pub struct ContentsLane {
    /// Which lane.
    pub lane: u16,
    /// Leaves sequenced.
    pub sequenced: u64,
    /// The newest checkpoint, a signed note.
    pub note: Option<String>,
}

/// Writes a copy of the store at `path` into the empty file `to`. Blocks for as long as it takes.
pub fn copy(path: &Path, to: &Path) -> Result<(), Fault> {
    SqliteDriver::copy(path, to).map_err(|error| error.fault(OPERATION))
}

/// Whether the engine finds the file at `path` whole: nothing, or what it says.
pub fn defects(path: &Path) -> Result<Option<String>, Fault> {
    let failed = |error: DriverError| error.fault("check the copy");
    let mut conn = SqliteDriver::look(path).map_err(failed)?;
    let said = conn.all("PRAGMA integrity_check(1)", &[], |row| Ok(row.text(0)?.to_owned()));
    let said = said.map_err(failed)?.join("; ");
    Ok((said != "ok").then_some(said))
}

/// What the store at `path` holds. Fails where it was never founded.
pub fn contents(path: &Path) -> Result<Contents, Fault> {
    let mut conn = SqliteDriver::look(path).map_err(|error| error.fault(OPERATION))?;
    let read = read(&mut *conn).map_err(|error| error.fault(OPERATION))?;
    read.ok_or_else(|| Fault::new(OPERATION, "the store was never founded"))
}

fn read(conn: &mut dyn Conn) -> Result<Option<Contents>, DriverError> {
    conn.begin_read()?;
    let (schema, written_by) = migrations::newest(conn)?;
    let Some(installation) = installation::founded(conn)? else { return Ok(None) };
    let mut organizations =
        conn.all("SELECT org, name, generation, rev FROM organization ORDER BY org", &[], |row| {
            Ok(ContentsOrganization {
                id: row.parsed(0)?,
                name: row.text(1)?.to_owned(),
                generation: row.count(2)?,
                rev: row.count(3)?,
                lanes: Vec::new(),
            })
        })?;
    for organization in &mut organizations {
        organization.lanes = lanes(conn, &organization.id.to_string())?;
    }
    let agents = conn.number("SELECT count(*) FROM agent", &[])?;
    let events = organizations.iter().flat_map(|org| &org.lanes).map(|lane| lane.sequenced).sum();
    conn.rollback()?;
    Ok(Some(Contents { schema, written_by, installation, organizations, agents, events }))
}

fn lanes(conn: &mut dyn Conn, org: &str) -> Result<Vec<ContentsLane>, DriverError> {
    let mut lanes = conn.all(
        "SELECT lane, next FROM lane WHERE org = $1 ORDER BY lane",
        &[org.into()],
        |row| {
            Ok(ContentsLane { lane: log::lane_of(row, 0)?, sequenced: row.count(1)?, note: None })
        },
    )?;
    for lane in &mut lanes {
        lane.note = log::newest_checkpoint(conn, org, lane.lane)?.map(|(_, note)| note);
    }
    Ok(lanes)
}
