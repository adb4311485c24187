//! From whom an instance descends, and whether all of them are still there; and what descends from
//! one, which ends with it.

use std::sync::Arc;

use accredit_domain::issuance::admission::Descent;
use accredit_domain::registry::Instance;
use accredit_domain::registry::born::{Born, PARENTS_MAX};
use accredit_domain::registry::credential::CredentialState;
use accredit_domain::registry::instance::InstanceState;
use accredit_domain::registry::task::{Task, TaskState};
use accredit_wire::ids::{AgentId, AnyId, CredentialId, InstanceId, Kind};
use accredit_wire::time::Time;
use accredit_wire::token::Actor;

use crate::cache::Tag;
use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::{credentials, instances, tasks, vouched};

/// Climbs from an instance to the agent that began. What is not there is over.
pub(crate) fn of(
    conn: &mut dyn Conn,
    org: &str,
    instance: &Instance,
) -> Result<Option<Arc<Descent>>, DriverError> {
    let Some(born) = instance.born.as_deref() else { return Ok(None) };
    let task = tasks::find(conn, org, born.task)?;
    let mut descent = Descent {
        ancestors: Vec::with_capacity(1),
        task: born.task,
        authority: born.authority.clone(),
        credentials: Vec::new(),
        vouched: None,
        expires_at: task.as_ref().map_or(Time::from_micros(0), |task| task.deadline),
        over: task.is_none_or(|task: Task| task.state == TaskState::Ended),
    };
    let mut next = Some(born.clone());
    while let Some(born) = next.take() {
        if descent.ancestors.len() >= PARENTS_MAX || born.task != descent.task {
            descent.over = true;
            break;
        }
        next = step(conn, org, &born, &mut descent)?;
    }
    Ok(Some(Arc::new(descent)))
}

/// One step up: the parent, and how it was born itself.
fn step(
    conn: &mut dyn Conn,
    org: &str,
    born: &Born,
    descent: &mut Descent,
) -> Result<Option<Born>, DriverError> {
    if let Some(credential) = born.credential {
        descent.credentials.push(credential);
        descent.over |= is_revoked(conn, org, credential)?;
    }
    if let Ok(agent) = AgentId::try_from(born.parent) {
        descent.ancestors.push(Actor { agent, instance: None });
        return Ok(None);
    }
    let parent = match InstanceId::try_from(born.parent) {
        Ok(id) => instances::find(conn, org, id)?,
        Err(_) => None,
    };
    let Some(parent) = parent else {
        descent.over = true;
        return Ok(None);
    };
    descent.ancestors.push(Actor { agent: parent.agent, instance: Some(parent.id) });
    descent.over |= parent.state == InstanceState::Revoked;
    if let Some(vouched) = vouched::of(conn, org, &parent)? {
        descent.over |= vouched.over;
        descent.expires_at = descent.expires_at.min(vouched.expires_at);
        descent.vouched = Some(vouched);
    }
    descent.expires_at = parent.expires_at.unwrap_or(descent.expires_at).min(descent.expires_at);
    if let Some(born) = parent.born.as_deref() {
        descent.authority = descent.authority.meet(&born.authority);
    }
    Ok(parent.born.map(|born| *born))
}

fn is_revoked(
    conn: &mut dyn Conn,
    org: &str,
    credential: CredentialId,
) -> Result<bool, DriverError> {
    let found = credentials::find(conn, org, credential)?;
    Ok(found.is_none_or(|found| found.state == CredentialState::Revoked))
}

/// An instance that descends from something and is not over.
struct Below {
    id: InstanceId,
    agent: AgentId,
}

/// The live instances that were born into a task, or that descend from an instance. They are as few
/// as one task may have.
fn living(conn: &mut dyn Conn, org: &str, of: AnyId) -> Result<Vec<Below>, DriverError> {
    let read = |row: &dyn Row| Ok(Below { id: row.parsed(0)?, agent: row.parsed(1)? });
    let id = of.to_string();
    let values = [org.into(), id.as_str().into()];
    if of.kind() == Kind::Task {
        return conn.all(
            "SELECT id, agent FROM instance WHERE org = $1 AND task = $2 AND state = 'active'",
            &values,
            read,
        );
    }
    conn.all(
        "WITH RECURSIVE below (id, agent) AS (SELECT id, agent FROM instance \
         WHERE org = $1 AND parent = $2 AND state = 'active' \
         UNION SELECT i.id, i.agent FROM process p JOIN instance i \
         ON i.org = p.org AND i.parent = p.instance AND i.state = 'active' \
         WHERE p.org = $1 AND p.node = $2 \
         UNION SELECT i.id, i.agent FROM below b JOIN instance i \
         ON i.org = $1 AND i.parent = b.id AND i.state = 'active') SELECT id, agent FROM below",
        &values,
        read,
    )
}

/// How many there are, with the processes of a node, and how many live credentials they have.
pub(crate) fn below(conn: &mut dyn Conn, org: &str, of: AnyId) -> Result<(u64, u64), DriverError> {
    let (living, mut credentials) = (living(conn, org, of)?, 0);
    for one in &living {
        let id = one.id.to_string();
        credentials += conn.number(
            "SELECT count(*) FROM credential WHERE org = $1 AND instance = $2 \
             AND state = 'active'",
            &[org.into(), id.as_str().into()],
        )?;
    }
    let (processes, theirs) = vouched::below(conn, org, of)?;
    Ok((living.len() as u64 + processes, credentials + theirs))
}

/// Ends them with their credentials: how many rows that were, and what was known of them.
pub(crate) fn end_in(
    conn: &mut dyn Conn,
    org: &str,
    of: AnyId,
) -> Result<(u64, Vec<Tag>), Failure> {
    const OPERATION: &str = "end what was born";
    let (mut ended, mut touched) = (0, Vec::new());
    for one in living(conn, org, of).map_err(|error| Failure::of(OPERATION, error))? {
        instances::end(conn, org, one.id)?;
        ended += 1 + credentials::end_of_instance(conn, org, one.id)?;
        touched.extend([Tag::of(one.id.any()), Tag::keys_of(one.agent.any())]);
    }
    // Whoever has facts about these has them under the one tag of all that were born.
    ended += vouched::end_in(conn, org, of)?;
    Ok((ended, touched))
}
