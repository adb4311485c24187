//! Workloads as rows: the rules of a platform or of nodes, each of which is a credential, and the instance
//! that each workload is by what whoever vouches for it calls it.

use std::sync::Arc;

use accredit_domain::Fault;
use accredit_domain::attestation::rule::RULES_MAX;
use accredit_domain::attestation::{
    Born, ProcessRuleFacts, RuleFacts, Voucher, Workload, Workloads,
};
use accredit_domain::ports::BoxFuture;
use accredit_domain::registry::instance::InstanceState;
use accredit_wire::ids::{AgentId, AnyId, CredentialId, FederationId, InstanceId, OrganizationId};
use accredit_wire::time::Time;

use crate::SqlStore;
use crate::driver::{Conn, DriverError, Row};
use crate::failure::Failure;
use crate::page;

/// Notes that a credential is a rule of a platform.
pub(crate) fn add_rule(
    conn: &mut dyn Conn,
    org: &str,
    federation: FederationId,
    credential: CredentialId,
) -> Result<(), Failure> {
    let (federation, credential) = (federation.to_string(), credential.to_string());
    conn.execute(
        "INSERT INTO workload_rule (org, federation, credential) VALUES ($1, $2, $3)",
        &[org.into(), federation.as_str().into(), credential.as_str().into()],
    )
    .map_err(|error| Failure::of("write a workload rule", error))?;
    Ok(())
}

/// Notes that a credential is a rule on the processes of an agent's nodes.
pub(crate) fn add_process_rule(
    conn: &mut dyn Conn,
    org: &str,
    edge: AgentId,
    credential: CredentialId,
) -> Result<(), Failure> {
    let (edge, credential) = (edge.to_string(), credential.to_string());
    conn.execute(
        "INSERT INTO process_rule (org, edge, credential) VALUES ($1, $2, $3)",
        &[org.into(), edge.as_str().into(), credential.as_str().into()],
    )
    .map_err(|error| Failure::of("write a process rule", error))?;
    Ok(())
}

/// The rules on the processes of an agent's nodes that are live, those that live longest first.
fn process_rules(
    conn: &mut dyn Conn,
    org: &str,
    edge: AgentId,
    now: Time,
) -> Result<Vec<ProcessRuleFacts>, DriverError> {
    let edge = edge.to_string();
    conn.all(
        "SELECT c.id, c.agent, c.expires_at, c.workload FROM process_rule w \
         JOIN credential c ON c.org = w.org AND c.id = w.credential \
         WHERE w.org = $1 AND w.edge = $2 AND c.state = 'active' AND c.expires_at > $3 \
         ORDER BY c.expires_at DESC, c.id LIMIT $4",
        &[org.into(), edge.as_str().into(), now.into(), page::rows(RULES_MAX)],
        |row| {
            Ok(ProcessRuleFacts {
                credential: row.parsed(0)?,
                agent: row.parsed(1)?,
                expires_at: row.time(2)?,
                rule: serde_json::from_str(row.text(3)?)
                    .map_err(|error| DriverError::unreadable(3, error))?,
            })
        },
    )
}

/// The rules of a platform that were not revoked, those that live longest first.
pub(crate) fn rules(
    conn: &mut dyn Conn,
    org: &str,
    federation: FederationId,
) -> Result<Vec<Arc<RuleFacts>>, DriverError> {
    let federation = federation.to_string();
    conn.all(
        "SELECT c.id, c.agent, c.workload FROM workload_rule w \
         JOIN credential c ON c.org = w.org AND c.id = w.credential \
         WHERE w.org = $1 AND w.federation = $2 AND c.state = 'active' \
         ORDER BY c.expires_at DESC, c.id LIMIT $3",
        &[org.into(), federation.as_str().into(), page::rows(RULES_MAX)],
        |row| {
            Ok(Arc::new(RuleFacts {
                credential: row.parsed(0)?,
                agent: row.parsed(1)?,
                rule: serde_json::from_str(row.text(2)?)
                    .map_err(|error| DriverError::unreadable(2, error))?,
            }))
        },
    )
}

/// Writes which instance a workload is; stale where it is another one than was seen.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Workload) -> Result<(), Failure> {
    macro_rules! upsert {
        ($table:literal, $by:literal) => {
            concat!(
                "INSERT INTO ",
                $table,
                " (org, ",
                $by,
                ", agent, name, instance, credential, \
                 born_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (org, ",
                $by,
                ", agent, \
                 name) DO UPDATE SET instance = excluded.instance, \
                 credential = excluded.credential, born_at = excluded.born_at WHERE ",
                $table,
                ".instance = $8"
            )
        };
    }
    let (statement, by): (_, AnyId) = match row.by {
        Voucher::Platform(federation) => (upsert!("workload", "federation"), federation.any()),
        Voucher::Node(node) => (upsert!("process", "node"), node.any()),
    };
    let [by, agent] = [by.to_string(), row.agent.to_string()];
    let [instance, credential] = [row.instance.to_string(), row.credential.to_string()];
    let before = row.before.map_or_else(String::new, |before| before.to_string());
    let written = conn.execute(
        statement,
        &[
            org.into(),
            by.as_str().into(),
            agent.as_str().into(),
            (&row.name).into(),
            instance.as_str().into(),
            credential.as_str().into(),
            row.born_at.into(),
            before.as_str().into(),
        ],
    );
    Failure::unless_one(written.map_err(|error| Failure::of("write a workload", error))?)
}

fn born(row: &dyn Row) -> Result<Born, DriverError> {
    Ok(Born {
        instance: row.parsed(0)?,
        state: row.word(1, InstanceState::parse)?,
        expires_at: row.opt_time(2)?,
        rule: row.parsed(3)?,
    })
}

impl Workloads for SqlStore {
    fn workload<'a>(
        &'a self,
        org: OrganizationId,
        (federation, agent): (FederationId, AgentId),
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Born>, Fault>> {
        let name = name.to_owned();
        Box::pin(self.read_short("read a workload", move |conn| {
            let [org, federation] = [org.to_string(), federation.to_string()];
            let agent = agent.to_string();
            conn.first(
                "SELECT w.instance, i.state, i.expires_at, w.credential FROM workload w \
                 JOIN instance i ON i.org = w.org AND i.id = w.instance \
                 WHERE w.org = $1 AND w.federation = $2 AND w.agent = $3 AND w.name = $4",
                &[
                    org.as_str().into(),
                    federation.as_str().into(),
                    agent.as_str().into(),
                    name.as_str().into(),
                ],
                born,
            )
        }))
    }

    fn process<'a>(
        &'a self,
        org: OrganizationId,
        (node, agent): (InstanceId, AgentId),
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Born>, Fault>> {
        let name = name.to_owned();
        Box::pin(self.read_short("read a process", move |conn| {
            let [org, node, agent] = [org.to_string(), node.to_string(), agent.to_string()];
            conn.first(
                "SELECT p.instance, i.state, i.expires_at, p.credential FROM process p \
                 JOIN instance i ON i.org = p.org AND i.id = p.instance \
                 WHERE p.org = $1 AND p.node = $2 AND p.agent = $3 AND p.name = $4",
                &[
                    org.as_str().into(),
                    node.as_str().into(),
                    agent.as_str().into(),
                    name.as_str().into(),
                ],
                born,
            )
        }))
    }

    fn process_rules(
        &self,
        org: OrganizationId,
        edge: AgentId,
        now: Time,
    ) -> BoxFuture<'_, Result<Vec<ProcessRuleFacts>, Fault>> {
        self.read_in("read process rules", org, move |conn, org| {
            process_rules(conn, org, edge, now)
        })
    }
}
