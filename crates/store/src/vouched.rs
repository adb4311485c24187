//! By whose word an instance is who it is, and whether all of them are still there; and the processes that
//! a node vouched for, which end with it.

use std::sync::Arc;

use accredit_domain::issuance::admission::Vouched;
use accredit_domain::ports::Lookup;
use accredit_domain::registry::Instance;
use accredit_domain::registry::credential::CredentialState;
use accredit_domain::registry::instance::InstanceState;
use accredit_wire::ids::{AnyId, CredentialId, FederationId, InstanceId, Kind};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError};
use crate::failure::Failure;
use crate::{credentials, federations, instances};

/// Goes from an instance to the node or the platform. What is not there is over, and so is what could not
/// have come about: a node that another one vouched for, or that was born into a task.
pub(crate) fn of(
    conn: &mut dyn Conn,
    org: &str,
    instance: &Instance,
) -> Result<Option<Arc<Vouched>>, DriverError> {
    let Some(by) = instance.vouched_by else { return Ok(None) };
    let mut vouched = Vouched {
        node: None,
        federation: None,
        rules: Vec::with_capacity(1),
        expires_at: instance.expires_at.unwrap_or(Time::from_micros(i64::MAX)),
        over: false,
    };
    rule(conn, org, instance.credential, &mut vouched)?;
    match InstanceId::try_from(by) {
        Ok(node) => match instances::find(conn, org, node)? {
            Some(node) => of_node(conn, org, &node, &mut vouched)?,
            None => vouched.over = true,
        },
        Err(_) => platform(conn, org, by, &mut vouched)?,
    }
    Ok(Some(Arc::new(vouched)))
}

fn of_node(
    conn: &mut dyn Conn,
    org: &str,
    node: &Instance,
    vouched: &mut Vouched,
) -> Result<(), DriverError> {
    vouched.node = Some((node.agent, node.id));
    vouched.over |= node.state == InstanceState::Revoked || node.born.is_some();
    vouched.expires_at = node.expires_at.unwrap_or(vouched.expires_at).min(vouched.expires_at);
    if let Some(by) = node.vouched_by {
        rule(conn, org, node.credential, vouched)?;
        platform(conn, org, by, vouched)?;
    }
    Ok(())
}

/// A rule by which somebody vouched: what the instance was born with.
fn rule(
    conn: &mut dyn Conn,
    org: &str,
    id: CredentialId,
    vouched: &mut Vouched,
) -> Result<(), DriverError> {
    vouched.rules.push(id);
    match credentials::find(conn, org, id)? {
        Some(found) => {
            vouched.over |= found.state == CredentialState::Revoked;
            vouched.expires_at = vouched.expires_at.min(found.expires_at);
        }
        None => vouched.over = true,
    }
    Ok(())
}

fn platform(
    conn: &mut dyn Conn,
    org: &str,
    by: AnyId,
    vouched: &mut Vouched,
) -> Result<(), DriverError> {
    let found = match FederationId::try_from(by) {
        Ok(id) => federations::find(conn, org, &Lookup::Id(id))?,
        Err(_) => None,
    };
    match found {
        Some(found) => vouched.federation = Some((found.id, found.issuer.into_boxed_str())),
        None => vouched.over = true,
    }
    Ok(())
}

/// How many processes of a node are live, and how many live credentials they have.
pub(crate) fn below(conn: &mut dyn Conn, org: &str, of: AnyId) -> Result<(u64, u64), DriverError> {
    if of.kind() != Kind::Instance {
        return Ok((0, 0));
    }
    let id = of.to_string();
    let values = [org.into(), id.as_str().into()];
    Ok((
        conn.number(
            "SELECT count(*) FROM process p JOIN instance i \
             ON i.org = p.org AND i.id = p.instance AND i.state = 'active' \
             WHERE p.org = $1 AND p.node = $2",
            &values,
        )?,
        conn.number(
            "SELECT count(*) FROM process p JOIN credential c \
             ON c.org = p.org AND c.instance = p.instance AND c.state = 'active' \
             WHERE p.org = $1 AND p.node = $2",
            &values,
        )?,
    ))
}

/// Ends the processes of a node with their credentials, in one statement each: there may be thousands.
pub(crate) fn end_in(conn: &mut dyn Conn, org: &str, of: AnyId) -> Result<u64, Failure> {
    if of.kind() != Kind::Instance {
        return Ok(0);
    }
    let id = of.to_string();
    let values = [org.into(), id.as_str().into()];
    let mut ended = 0;
    for statement in [
        "UPDATE credential SET state = 'revoked', version = version + 1 \
         WHERE org = $1 AND state = 'active' AND instance IN \
         (SELECT instance FROM process WHERE org = $1 AND node = $2)",
        "UPDATE instance SET state = 'revoked', version = version + 1 \
         WHERE org = $1 AND state = 'active' AND id IN \
         (SELECT instance FROM process WHERE org = $1 AND node = $2)",
    ] {
        let rows = conn.execute(statement, &values);
        ended += rows.map_err(|error| Failure::of("end what a node vouched for", error))? as u64;
    }
    Ok(ended)
}
