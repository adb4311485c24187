//! Credentials as rows: a MAC, a public key or a rule, never a secret.
//!
//! What is neither a secret nor a key of its holder says in the column `workload` what it is: a rule, or
//! with a MAC what whoever shows the join token will be.

use accredit_domain::ports::{KeysWanted, Order, Page};
use accredit_domain::registry::admin_key::{AdminRole, Administrator};
use accredit_domain::registry::credential::{
    AdminPermission, CredentialState, Holder, Proof, RuleView,
};
use accredit_domain::registry::credential_use::UseName;
use accredit_domain::registry::{Credential, Listed};
use accredit_wire::ids::{AgentId, AnyId, CredentialId, InstanceId, Kind, OrganizationId};
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Row, Value};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key, Statements};
use crate::workloads;

const OPERATION: &str = "write a credential";

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT c.id, c.agent, c.instance, c.resource, c.permissions, c.pepper, c.mac, \
             c.jwk, c.state, c.created_at, c.expires_at, u.at, c.version, c.successor, \
             c.role, c.purpose, c.created_by, u.source, c.used_for, c.followed, c.workload \
             FROM credential c LEFT JOIN use_time u ON u.org = c.org AND u.id = c.id ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Credential, DriverError> {
    Ok(Credential {
        id: row.parsed(0)?,
        holder: holder(row)?,
        r#use: row.word(18, UseName::parse)?,
        proof: proof(row)?,
        followed: row.int(19)? != 0,
        state: row.word(8, CredentialState::parse)?,
        created_at: row.time(9)?,
        expires_at: row.time(10)?,
        last_used_at: row.opt_time(11)?,
        last_used_from: row.opt_parsed(17)?,
        version: row.int(12)?,
        successor: row.opt_parsed(13)?,
    })
}

fn holder(row: &dyn Row) -> Result<Holder, DriverError> {
    let agent = row.opt_parsed(1)?;
    let instance = row.opt_parsed(2)?;
    match (agent, instance, row.opt_parsed(3)?, row.opt_text(4)?) {
        (Some(agent), None, None, None) => Ok(Holder::Agent(agent)),
        (Some(agent), Some(instance), None, None) => Ok(Holder::Instance(instance, agent)),
        (None, None, Some(resource), None) => Ok(Holder::Resource(resource)),
        (None, None, None, Some(words)) => {
            let permissions =
                words.split_ascii_whitespace().map(AdminPermission::parse).collect::<Option<_>>();
            let permissions =
                permissions.ok_or_else(|| DriverError::unreadable(4, "an unknown permission"))?;
            Ok(Holder::Admin(Administrator {
                role: row.word(14, AdminRole::parse)?,
                permissions,
                purpose: row.text(15)?.to_owned(),
                created_by: row.opt_parsed(16)?,
            }))
        }
        _ => Err(DriverError::unreadable(1, "a credential has one holder")),
    }
}

fn proof(row: &dyn Row) -> Result<Proof, DriverError> {
    match (row.opt_int(5)?, row.opt_text(7)?, row.opt_text(20)?) {
        (Some(_), None, None) => Ok(Proof::Secret { pepper: row.small(5)?, mac: row.bytes(6)? }),
        (Some(_), None, Some(node)) => Ok(Proof::Join {
            pepper: row.small(5)?,
            mac: row.bytes(6)?,
            node: serde_json::from_str(node).map_err(|error| DriverError::unreadable(20, error))?,
        }),
        (None, None, Some(rule)) => match serde_json::from_str(rule) {
            Ok(RuleView::Platform(rule)) => Ok(Proof::Workload(rule)),
            Ok(RuleView::Process(rule)) => Ok(Proof::Process(rule)),
            Err(error) => Err(DriverError::unreadable(20, error)),
        },
        (None, Some(jwk), None) => Jwk::parse(jwk.as_bytes())
            .map(|jwk| Proof::Key(Box::new(jwk)))
            .map_err(|error| DriverError::unreadable(7, error)),
        _ => Err(DriverError::unreadable(5, "a credential has one proof")),
    }
}

/// One credential.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    id: CredentialId,
) -> Result<Option<Credential>, DriverError> {
    let id = id.to_string();
    conn.first(select!("WHERE c.org = $1 AND c.id = $2"), &[org.into(), id.as_str().into()], read)
}

/// How a page of credentials is read in an order, by a filter that leads.
macro_rules! led {
    ($order:expr, $lead:literal) => {
        match $order {
            Order::Oldest | Order::Name => led!(text $lead, ""),
            Order::Newest | Order::NameBackwards => led!(text $lead, " DESC"),
            Order::Due => led!(due $lead, ""),
            Order::DueBackwards => led!(due $lead, " DESC"),
        }
    };
    (text $lead:literal, $direction:literal) => {
        page::by_text!(
            select!("WHERE c.org = $1 AND "),
            "FROM credential c WHERE c.org = $1 AND ",
            $lead,
            "c.id" $direction,
            ["$3" "$4" "$5"],
            concat!(" AND +c.expires_at >= $5 AND +c.expires_at < $6", led!(filters)),
            "$12"
        )
    };
    (due $lead:literal, $direction:literal) => {
        page::by_due!(
            select!("WHERE c.org = $1 AND "),
            "FROM credential c WHERE c.org = $1 AND ",
            $lead,
            "c.expires_at",
            "c.id",
            $direction,
            ["$3" "$4" "$5" "$6" "$7"],
            led!(filters),
            "$12"
        )
    };
    (filters) => {
        " AND c.created_at >= $7 AND c.created_at < $8 AND coalesce(u.at, -1) >= $9 \
         AND coalesce(u.at, -1) < $10 AND ($11 = '' OR c.state = $11)"
    };
}

/// A page of credentials. One filter leads, so that an index answers it in the order of the page:
/// the holder, or the state.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<Credential>, DriverError> {
    let holder = match (page.agent, page.resource) {
        (Some(agent), _) => agent.to_string(),
        (None, Some(resource)) => resource.to_string(),
        (None, None) => String::new(),
    };
    let order = page.order.without_name();
    let (state, _) = page::expiring(page);
    if page.agent.is_some() {
        read_page(conn, (org, &holder), page, &led!(order, "c.agent = $2"))
    } else if page.resource.is_some() {
        read_page(conn, (org, &holder), page, &led!(order, "c.resource = $2"))
    } else if state.is_empty() {
        read_page(conn, (org, ""), page, &led!(order, "$2 = ''"))
    } else {
        read_page(conn, (org, state), page, &led!(order, "c.state = $2"))
    }
}

/// A page of administrators' keys.
pub(crate) fn admin_keys(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<Credential>, DriverError> {
    let order = page.order.without_name();
    read_page(conn, (org, ""), page, &led!(order, "c.permissions IS NOT NULL AND $2 = ''"))
}

/// Reads a page with the value of the filter that leads.
fn read_page(
    conn: &mut dyn Conn,
    (org, lead): (&str, &str),
    page: &Page,
    statements: &Statements,
) -> Result<Listed<Credential>, DriverError> {
    let order = page.order.without_name();
    let (state, due) = page::expiring(page);
    let times = [page::created(page), page::used(page)].concat();
    let tail = [times.as_slice(), &[state.into()]].concat();
    let given = Given {
        page,
        ends: Ends::of(page, order, Kind::Credential, due),
        head: &[org.into(), lead.into()],
        tail: &tail,
        filters: usize::from(state != lead && !state.is_empty()),
    };
    page::read(conn, given, statements, read, |row| {
        Key::at(order, row.id.to_string(), "", row.expires_at.micros())
    })
}

/// Public keys of an agent, its instances' too, or of a resource: the newest live ones, then the
/// ended ones that would have lived longest.
pub(crate) fn keys_of(
    conn: &mut dyn Conn,
    org: &str,
    holder: AnyId,
    wanted: &KeysWanted<'_>,
) -> Result<Vec<Credential>, DriverError> {
    /// Whether the credential would be taken at `$3`.
    macro_rules! live {
        () => {
            "(c.state = 'active' AND c.expires_at > $3 AND NOT EXISTS (SELECT 1 FROM instance i \
             WHERE i.org = c.org AND i.id = c.instance \
             AND (i.state <> 'active' OR i.expires_at <= $3)))"
        };
    }
    macro_rules! statements {
        ($of:literal) => {
            (
                select!(concat!($of, "AND ", live!(), " ORDER BY c.id DESC LIMIT $4")),
                select!(concat!($of, "AND NOT ", live!(), " ORDER BY c.expires_at DESC LIMIT $4")),
            )
        };
        ($of:literal, $kid:literal) => {
            (
                select!(concat!($of, "AND ", live!(), $kid, " ORDER BY c.id DESC LIMIT $5")),
                select!(concat!(
                    $of,
                    "AND NOT ",
                    live!(),
                    $kid,
                    " ORDER BY c.expires_at DESC LIMIT $5"
                )),
            )
        };
    }
    let of_agent = holder.kind() == Kind::Agent;
    let (live, ended) = match (wanted.kid, of_agent) {
        (Some(_), true) => {
            statements!("WHERE c.org = $1 AND c.agent = $2 ", " AND c.kid = $4")
        }
        (Some(_), false) => {
            statements!("WHERE c.org = $1 AND c.resource = $2 ", " AND c.kid = $4")
        }
        (None, true) => {
            statements!("WHERE c.org = $1 AND c.agent = $2 AND c.kid IS NOT NULL ")
        }
        (None, false) => {
            statements!("WHERE c.org = $1 AND c.resource = $2 AND c.kid IS NOT NULL ")
        }
    };
    let holder = holder.to_string();
    let mut values = vec![org.into(), holder.as_str().into(), wanted.now.into()];
    values.extend(wanted.kid.map(Value::from));
    let mut some = |sql, limit| {
        let limit = [page::rows(limit)];
        conn.all(sql, &[values.as_slice(), &limit].concat(), read)
    };
    let mut found = some(live, wanted.live)?;
    found.extend(some(ended, wanted.ended)?);
    Ok(found)
}

/// When the last live owner's key but one ends.
pub(crate) fn owners_until(
    conn: &mut dyn Conn,
    org: &str,
    apart: CredentialId,
) -> Result<Option<Time>, DriverError> {
    let (apart, word) = (apart.to_string(), AdminPermission::Administrators.as_str());
    let found = conn.first(
        "SELECT max(expires_at) FROM credential WHERE org = $1 AND permissions IS NOT NULL \
         AND state = 'active' AND id <> $2 \
         AND ' ' || permissions || ' ' LIKE '% ' || $3 || ' %'",
        &[org.into(), apart.as_str().into(), word.into()],
        |row| row.opt_time(0),
    )?;
    Ok(found.flatten())
}

/// The organization of an administrator's key.
pub(crate) fn admin_organization(
    conn: &mut dyn Conn,
    id: CredentialId,
) -> Result<Option<OrganizationId>, DriverError> {
    let id = id.to_string();
    conn.first("SELECT org FROM admin_key WHERE id = $1", &[id.as_str().into()], |row| {
        row.parsed(0)
    })
}

/// Ends all live credentials of an agent, its instances' too, and says how many there were.
pub(crate) fn end_of_agent(conn: &mut dyn Conn, org: &str, agent: AgentId) -> Result<u64, Failure> {
    let agent = agent.to_string();
    let ended = conn
        .execute(
            "UPDATE credential SET state = 'revoked', version = version + 1 \
             WHERE org = $1 AND agent = $2 AND agent > '' AND state = 'active'",
            &[org.into(), agent.as_str().into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(ended as u64)
}

/// Ends all live credentials of an instance, and says how many there were.
pub(crate) fn end_of_instance(
    conn: &mut dyn Conn,
    org: &str,
    instance: InstanceId,
) -> Result<u64, Failure> {
    let instance = instance.to_string();
    let ended = conn
        .execute(
            "UPDATE credential SET state = 'revoked', version = version + 1 \
             WHERE org = $1 AND instance = $2 AND state = 'active'",
            &[org.into(), instance.as_str().into()],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(ended as u64)
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Credential) -> Result<(), Failure> {
    if row.version == 0 {
        return insert(conn, org, row);
    }
    let id = row.id.to_string();
    let successor = row.successor.map(|id| id.to_string());
    let changed = conn
        .execute(
            "UPDATE credential SET state = $1, expires_at = $2, successor = $3, \
             version = version + 1 WHERE org = $4 AND id = $5 AND version = $6",
            &[
                row.state.as_str().into(),
                row.expires_at.into(),
                successor.as_deref().into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    Failure::unless_one(changed)
}

fn insert(conn: &mut dyn Conn, org: &str, row: &Credential) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let id = row.id.to_string();
    let (mut agent, mut instance, mut resource, mut words) = (None, None, None, None);
    let (mut role, mut purpose, mut created_by) = (None, None, None);
    match &row.holder {
        Holder::Agent(id) => agent = Some(id.to_string()),
        Holder::Instance(id, of) => {
            agent = Some(of.to_string());
            instance = Some(id.to_string());
        }
        Holder::Resource(id) => resource = Some(id.to_string()),
        Holder::Admin(admin) => {
            let names: Vec<_> = admin.permissions.iter().map(|one| one.as_str()).collect();
            words = Some(names.join(" "));
            role = Some(admin.role.as_str());
            purpose = Some(admin.purpose.as_str());
            created_by = admin.created_by.map(|id| id.to_string());
        }
    }
    let holder = instance.as_ref().or(agent.as_ref()).or(resource.as_ref()).cloned();
    let (mut pepper, mut secret_mac, mut kid, mut jwk) = (None, None, None, None);
    let mut workload = None;
    let json = |text: Result<String, serde_json::Error>| {
        text.map_err(|error| failed(DriverError::Failed(error.to_string())))
    };
    match &row.proof {
        Proof::Secret { pepper: version, mac } => {
            pepper = Some(*version);
            secret_mac = Some(mac.as_slice());
            if let Some(holder) = &holder {
                hold_use(conn, (org, holder), row)?;
            }
        }
        Proof::Key(key) => {
            let thumbprint = key.thumbprint();
            hold_key(conn, org, &thumbprint, &id).map_err(failed)?;
            kid = Some(key.kid().map_or(thumbprint, str::to_owned));
            jwk = Some(json(serde_json::to_string(key))?);
        }
        Proof::Workload(rule) => workload = Some(json(serde_json::to_string(rule))?),
        Proof::Process(rule) => workload = Some(json(serde_json::to_string(rule))?),
        Proof::Join { pepper: version, mac, node } => {
            pepper = Some(*version);
            secret_mac = Some(mac.as_slice());
            workload = Some(json(serde_json::to_string(node))?);
        }
    }
    conn.execute(
        "INSERT INTO credential (org, id, agent, instance, resource, permissions, pepper, mac, \
         kid, jwk, state, created_at, expires_at, version, role, purpose, created_by, used_for, \
         followed, workload) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14, $15, $16, $17, \
         $18, $19)",
        &[
            org.into(),
            id.as_str().into(),
            agent.as_deref().into(),
            instance.as_deref().into(),
            resource.as_deref().into(),
            words.as_deref().into(),
            pepper.into(),
            secret_mac.into(),
            kid.as_deref().into(),
            jwk.as_deref().into(),
            row.state.as_str().into(),
            row.created_at.into(),
            row.expires_at.into(),
            role.into(),
            purpose.into(),
            created_by.as_deref().into(),
            row.r#use.as_str().into(),
            row.followed.into(),
            workload.as_deref().into(),
        ],
    )
    .map_err(failed)?;
    match &row.proof {
        Proof::Workload(rule) => workloads::add_rule(conn, org, rule.federation, row.id)?,
        Proof::Process(rule) => workloads::add_process_rule(conn, org, rule.edge, row.id)?,
        Proof::Secret { .. } | Proof::Key(_) | Proof::Join { .. } => {}
    }
    if words.is_some() {
        conn.execute(
            "INSERT INTO admin_key (id, org) VALUES ($1, $2)",
            &[id.as_str().into(), org.into()],
        )
        .map_err(failed)?;
    }
    Ok(())
}

/// Takes a public key for its holder, for ever. The row outlives the credential.
fn hold_key(
    conn: &mut dyn Conn,
    org: &str,
    thumbprint: &str,
    credential: &str,
) -> Result<(), DriverError> {
    conn.execute(
        "INSERT INTO key_holder (org, thumbprint, credential) VALUES ($1, $2, $3)",
        &[org.into(), thumbprint.into(), credential.into()],
    )?;
    Ok(())
}

/// Takes a use for a holder's new secret, where the one that had it is over or has a successor.
fn hold_use(
    conn: &mut dyn Conn,
    (org, holder): (&str, &str),
    secret: &Credential,
) -> Result<(), Failure> {
    let id = secret.id.to_string();
    let taken = conn
        .execute(
            "INSERT INTO credential_use (org, holder, used_for, credential) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (org, holder, used_for) \
             DO UPDATE SET credential = excluded.credential WHERE NOT EXISTS (\
             SELECT 1 FROM credential c WHERE c.org = credential_use.org \
             AND c.id = credential_use.credential AND c.state = 'active' \
             AND c.expires_at > $5 AND c.successor IS NULL)",
            &[
                org.into(),
                holder.into(),
                secret.r#use.as_str().into(),
                id.as_str().into(),
                secret.created_at.into(),
            ],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    if taken == 1 { Ok(()) } else { Err(Failure::Taken("use")) }
}

/// The uses for which a holder has a secret that is live and has no successor, with the secret.
pub(crate) fn uses_of(
    conn: &mut dyn Conn,
    (org, holder): (&str, &str),
    now: Time,
    limit: usize,
) -> Result<Vec<(UseName, CredentialId)>, DriverError> {
    conn.all(
        "SELECT u.used_for, u.credential FROM credential_use u \
         JOIN credential c ON c.org = u.org AND c.id = u.credential \
         WHERE u.org = $1 AND u.holder = $2 AND c.state = 'active' AND c.expires_at > $3 \
         AND c.successor IS NULL ORDER BY u.used_for LIMIT $4",
        &[org.into(), holder.into(), now.into(), page::rows(limit)],
        |row| Ok((row.word(0, UseName::parse)?, row.parsed(1)?)),
    )
}

/// Public keys of an instance for a use that are live, the oldest first.
pub(crate) fn keys_of_instance(
    conn: &mut dyn Conn,
    org: &str,
    (instance, r#use): (InstanceId, &UseName),
    now: Time,
    limit: usize,
) -> Result<Vec<Credential>, DriverError> {
    let instance = instance.to_string();
    conn.all(
        select!(
            "WHERE c.org = $1 AND c.instance = $2 AND c.kid IS NOT NULL AND c.used_for = $3 \
             AND c.state = 'active' AND c.expires_at > $4 ORDER BY c.id LIMIT $5"
        ),
        &[
            org.into(),
            instance.as_str().into(),
            r#use.as_str().into(),
            now.into(),
            page::rows(limit),
        ],
        read,
    )
}

/// An agent's keys that came from where they are followed and are live.
pub(crate) fn followed_keys(
    conn: &mut dyn Conn,
    org: &str,
    agent: AgentId,
    now: Time,
    limit: usize,
) -> Result<Vec<Credential>, DriverError> {
    let agent = agent.to_string();
    conn.all(
        select!(
            "WHERE c.org = $1 AND c.agent = $2 AND c.kid IS NOT NULL AND c.expires_at > $3 \
             AND c.state = 'active' AND c.followed = 1 ORDER BY c.id LIMIT $4"
        ),
        &[org.into(), agent.as_str().into(), now.into(), page::rows(limit)],
        read,
    )
}
