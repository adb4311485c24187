//! SPIFFE X509-SVID: certificates of instances as rows. One is written with its event, and gone once
//! no verifier takes the certificate.

use accredit_domain::Fault;
use accredit_domain::issuance::certificate::CERTIFICATES_OF_INSTANCE_MAX;
use accredit_domain::ports::{
    BoxFuture, Certificates, IssuedCertificate, Page, Room, RoomOf, SignedCertificate,
};
use accredit_domain::registry::Listed;
use accredit_wire::ids::{InstanceId, KeyId, Kind, OrganizationId, TokenId};
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::SERIAL_BYTES;
use accredit_wire::x509::dns_name::DnsName;

use crate::driver::{Conn, DriverError, Row, Value};
use crate::failure::Failure;
use crate::ledger::Expired;
use crate::page::{self, Ends, Given, Key, READ_ROWS_MAX};
use crate::{SqlStore, holdings, lineage};

const OPERATION: &str = "write a certificate";

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT id, agent, instance, key, spiffe_id, number, digest, rev, lineage, \
             created_at, expires_at, dns_names FROM certificate ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<IssuedCertificate, DriverError> {
    Ok(IssuedCertificate {
        id: row.parsed(0)?,
        agent: row.parsed(1)?,
        instance: row.parsed(2)?,
        key: row.parsed(3)?,
        spiffe_id: row.text(4)?.to_owned(),
        serial: row.bytes(5)?,
        digest: row.bytes(6)?,
        rev: row.count(7)?,
        lineage: lineage::read(row, 8)?,
        created_at: row.time(9)?,
        expires_at: row.time(10)?,
        dns_names: DnsName::parse_all(row.text(11)?)
            .map_err(|error| DriverError::unreadable(11, error))?,
    })
}

/// Refuses a certificate whose instance has as many as it may.
pub(crate) fn has_room(
    conn: &mut dyn Conn,
    org: &str,
    row: &IssuedCertificate,
) -> Result<(), Failure> {
    let (of, max) = (RoomOf::CertificatesOf(row.instance), CERTIFICATES_OF_INSTANCE_MAX);
    let held = holdings::held_of(conn, org, Room { of, at: row.created_at, max });
    let held = held.map_err(|error| Failure::of(OPERATION, error))?;
    if held < max { Ok(()) } else { Err(Failure::NoRoom) }
}

/// Writes the row of a certificate.
pub(crate) fn write(
    conn: &mut dyn Conn,
    org: &str,
    row: &IssuedCertificate,
) -> Result<(), Failure> {
    let (id, agent) = (row.id.to_string(), row.agent.to_string());
    let (instance, key) = (row.instance.to_string(), row.key.to_string());
    let hangs_on = lineage::bytes(&row.lineage);
    conn.execute(
        "INSERT INTO certificate (org, id, agent, instance, key, spiffe_id, number, digest, rev, \
         lineage, created_at, expires_at, dns_names) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        &[
            org.into(),
            id.as_str().into(),
            agent.as_str().into(),
            instance.as_str().into(),
            key.as_str().into(),
            (&row.spiffe_id).into(),
            row.serial.as_slice().into(),
            row.digest.as_slice().into(),
            row.rev.into(),
            hangs_on.as_slice().into(),
            row.created_at.into(),
            row.expires_at.into(),
            (&DnsName::join(&row.dns_names)).into(),
        ],
    )
    .map(drop)
    .map_err(|error| Failure::of(OPERATION, error))
}

fn find(
    conn: &mut dyn Conn,
    org: &str,
    id: TokenId,
) -> Result<Option<IssuedCertificate>, DriverError> {
    let id = id.to_string();
    conn.first(select!("WHERE org = $1 AND id = $2"), &[org.into(), id.as_str().into()], read)
}

/// One of the few that an instance has.
fn find_of(
    conn: &mut dyn Conn,
    org: &str,
    instance: InstanceId,
    digest: &[u8; 32],
) -> Result<Option<IssuedCertificate>, DriverError> {
    let instance = instance.to_string();
    let params = [org.into(), instance.as_str().into(), digest.as_slice().into()];
    conn.first(select!("WHERE org = $1 AND instance = $2 AND digest = $3"), &params, read)
}

/// A page of certificates. One filter leads, so that an index answers it in the order of the page: the
/// instance, or the agent.
fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<IssuedCertificate>, DriverError> {
    macro_rules! by {
        ($lead:literal, $direction:literal) => {
            page::by_text!(
                select!("WHERE org = $1 AND "),
                "FROM certificate WHERE org = $1 AND ",
                $lead,
                "id" $direction,
                ["$3" "$4" "$5"],
                " AND expires_at >= $5 AND expires_at < $6 AND created_at >= $7 \
                 AND created_at < $8 AND ($9 = '' OR agent = $9)",
                "$10"
            )
        };
    }
    let order = page.order.without_name().without_due();
    macro_rules! led {
        ($lead:literal) => {
            if order.is_backwards() { by!($lead, " DESC") } else { by!($lead, "") }
        };
    }
    let agent = page.agent.map_or_else(String::new, |agent| agent.to_string());
    let instance = page.instance.map_or_else(String::new, |instance| instance.to_string());
    let (statements, lead, filters) = if !instance.is_empty() {
        (led!("instance = $2"), instance.as_str(), usize::from(!agent.is_empty()))
    } else if !agent.is_empty() {
        (led!("agent = $2"), agent.as_str(), 0)
    } else {
        (led!("$2 = ''"), "", 0)
    };
    let times = page::created(page);
    let tail = [times.as_slice(), &[agent.as_str().into()]].concat();
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Token, page.due),
        head: &[org.into(), lead.into()],
        tail: &tail,
        filters,
    };
    page::read(conn, given, &statements, read, |row| Key::at(order, row.id.to_string(), "", 0))
}

fn read_signed(row: &dyn Row) -> Result<SignedCertificate, DriverError> {
    Ok(SignedCertificate {
        serial: row.bytes(0)?,
        rev: row.count(1)?,
        lineage: lineage::read(row, 2)?,
    })
}

fn signed(
    conn: &mut dyn Conn,
    (org, key): (&str, &str),
    after: &[u8],
    limit: usize,
) -> Result<Vec<SignedCertificate>, DriverError> {
    conn.all(
        "SELECT number, rev, lineage FROM certificate \
         WHERE org = $1 AND key = $2 AND number > $3 ORDER BY number LIMIT $4",
        &[org.into(), key.into(), after.into(), page::rows(limit)],
        read_signed,
    )
}

fn numbered(
    conn: &mut dyn Conn,
    (org, key): (&str, &str),
    serial: &[u8],
) -> Result<Option<SignedCertificate>, DriverError> {
    // As a span of one: of an equality an engine that has not looked at the table thinks too little.
    conn.first(
        "SELECT number, rev, lineage FROM certificate \
         WHERE org = $1 AND key = $2 AND number >= $3 AND number <= $3 ORDER BY number LIMIT 1",
        &[org.into(), key.into(), serial.into()],
        read_signed,
    )
}

/// Some certificates that are over at a time.
pub(crate) fn over(conn: &mut dyn Conn, now: Time) -> Result<Vec<Expired>, DriverError> {
    conn.all(
        "SELECT org, id FROM certificate WHERE expires_at < $1 LIMIT $2",
        &[now.into(), Value::Int(READ_ROWS_MAX as i64)],
        |row| {
            Ok(Expired::Certificate { org: row.text(0)?.to_owned(), id: row.text(1)?.to_owned() })
        },
    )
}

/// Forgets one certificate that is over.
pub(crate) fn forget(
    conn: &mut dyn Conn,
    (org, id): (&str, &str),
    now: Time,
) -> Result<usize, DriverError> {
    conn.execute(
        "DELETE FROM certificate WHERE org = $1 AND id = $2 AND expires_at < $3",
        &[org.into(), id.into(), now.into()],
    )
}

impl Certificates for SqlStore {
    fn certificate(
        &self,
        org: OrganizationId,
        id: TokenId,
    ) -> BoxFuture<'_, Result<Option<IssuedCertificate>, Fault>> {
        self.read_in("find a certificate", org, move |conn, org| find(conn, org, id))
    }

    fn certificate_of(
        &self,
        org: OrganizationId,
        instance: InstanceId,
        digest: [u8; 32],
    ) -> BoxFuture<'_, Result<Option<IssuedCertificate>, Fault>> {
        self.read_in("find an instance's certificate", org, move |conn, org| {
            find_of(conn, org, instance, &digest)
        })
    }

    fn certificates(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<IssuedCertificate>, Fault>> {
        self.read_in("list certificates", org, move |conn, org| list(conn, org, &page))
    }

    fn certificates_signed(
        &self,
        org: OrganizationId,
        by: KeyId,
        after: Option<[u8; SERIAL_BYTES]>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SignedCertificate>, Fault>> {
        let by = by.to_string();
        self.read_in("list certificates of an intermediate", org, move |conn, org| {
            // Nothing is before every number.
            signed(conn, (org, &by), after.as_ref().map_or(&[], |after| &after[..]), limit)
        })
    }

    fn certificate_numbered(
        &self,
        org: OrganizationId,
        by: KeyId,
        serial: [u8; SERIAL_BYTES],
    ) -> BoxFuture<'_, Result<Option<SignedCertificate>, Fault>> {
        let by = by.to_string();
        self.read_in("find a certificate by its number", org, move |conn, org| {
            numbered(conn, (org, &by), &serial)
        })
    }
}
