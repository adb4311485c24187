//! Agents as rows: the permissions stand in the row, the owner's address and the times of use are
//! joined in when read.

use accredit_domain::ports::{Lookup, Order, Page};
use accredit_domain::registry::environment::Environment;
use accredit_domain::registry::jwks::FollowedView;
use accredit_domain::registry::rotation_schedule::{Looked, WARN_AHEAD};
use accredit_domain::registry::{Agent, Listed, agent::AgentState};
use accredit_wire::ids::{AgentId, Kind};
use accredit_wire::time::Time;
use accredit_wire::x509::dns_name::DnsName;

use crate::driver::{Conn, DriverError, Row, Value};
use crate::failure::Failure;
use crate::page::{self, Ends, Given, Key};

const OPERATION: &str = "write an agent";

/// An own credential of the agent that is to be rotated: it is live at `$1`, or it lived until it was
/// due. One that was made to end before that has ended, and nothing follows.
macro_rules! counts {
    ($name:literal) => {
        concat!(
            $name,
            ".org = a.org AND ",
            $name,
            ".agent = a.id AND ",
            $name,
            ".instance IS NULL AND ",
            $name,
            ".workload IS NULL AND ",
            $name,
            ".state = 'active' AND (",
            $name,
            ".expires_at > $1 OR ",
            $name,
            ".expires_at >= ",
            $name,
            ".created_at + a.rotation_days * 86400000000)"
        )
    };
}

/// A statement on agents. `$1` is the time, `$2` the organization.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT a.id, a.name, a.owner, p.email, a.purpose, a.environment, a.state, \
             a.permissions, a.default_scope, a.may_delegate, a.token_lifetime, a.review_due_at, \
             a.created_at, u.at, \
             (SELECT c.created_at FROM credential c WHERE c.org = a.org AND c.agent = a.id \
             AND c.instance IS NULL AND c.workload IS NULL ORDER BY c.id DESC LIMIT 1), \
             a.last_reviewed_at, a.version, a.rotation_days, a.rotation_warned_for, \
             coalesce((SELECT min(c.created_at) FROM credential c WHERE ",
            counts!("c"),
            " AND NOT EXISTS (SELECT 1 FROM credential n WHERE ",
            counts!("n"),
            " AND n.used_for = c.used_for AND (n.kid IS NULL) = (c.kid IS NULL) \
             AND n.id > c.id)), \
             (SELECT c.created_at FROM credential c WHERE c.org = a.org AND c.agent = a.id \
             AND c.instance IS NULL AND c.workload IS NULL AND c.state = 'active' \
             ORDER BY c.id DESC LIMIT 1)), a.across, \
             a.rotation_asked_at, a.rotation_asked_because, \
             f.url, f.fetched_at, f.failing_since, f.failure, a.look_at, a.bound_only, \
             a.impersonates, a.drill, a.certificate_lifetime, a.dns_names \
             FROM agent a \
             LEFT JOIN use_time u ON u.org = a.org AND u.id = a.id \
             LEFT JOIN followed f ON f.org = a.org AND f.agent = a.id \
             LEFT JOIN person p ON p.org = a.org AND p.id = a.owner ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Agent, DriverError> {
    let id = row.parsed(0)?;
    // A person without an address has the id in its place.
    let owner_email = row.opt_string(3)?;
    let owner_email = match row.opt_text(2)? {
        Some(owner) => owner_email.filter(|email| email != owner),
        None => None,
    };
    Ok(Agent {
        id,
        client_id: id,
        name: row.text(1)?.to_owned(),
        owner: row.opt_parsed(2)?,
        owner_email,
        purpose: row.opt_string(4)?,
        environment: row.word(5, Environment::parse)?,
        across_environments: serde_json::from_str(row.text(20)?)
            .map_err(|error| DriverError::unreadable(20, error))?,
        state: row.word(6, AgentState::parse)?,
        permissions: serde_json::from_str(row.text(7)?)
            .map_err(|error| DriverError::unreadable(7, error))?,
        default_scope: row.opt_parsed(8)?,
        may_delegate: row.int(9)? != 0,
        bound_only: row.int(28)? != 0,
        impersonates: serde_json::from_str(row.text(29)?)
            .map_err(|error| DriverError::unreadable(29, error))?,
        drill: row.int(30)? != 0,
        token_lifetime: row.small(10)?,
        certificate_lifetime: row.small(31)?,
        dns_names: DnsName::parse_all(row.text(32)?)
            .map_err(|error| DriverError::unreadable(32, error))?,
        review_due_at: row.time(11)?,
        created_at: row.time(12)?,
        last_seen_at: row.opt_time(13)?,
        last_rotated_at: row.opt_time(14)?,
        last_reviewed_at: row.opt_time(15)?,
        rotation_days: row.small(17)?,
        rotation_warned_for: row.opt_time(18)?,
        rotation_asked_at: row.opt_time(21)?,
        rotation_asked_because: row.opt_string(22)?,
        credential_made_at: row.opt_time(19)?,
        rotation_due_at: None,
        rotation_due: false,
        look_at: row.opt_time(27)?,
        jwks: Box::new(FollowedView {
            jwks_url: row.opt_string(23)?,
            jwks_fetched_at: row.opt_time(24)?,
            jwks_failing_since: row.opt_time(25)?,
            jwks_failure: row.opt_string(26)?,
        }),
        version: row.int(16)?,
    })
}

/// One agent.
pub(crate) fn find(
    conn: &mut dyn Conn,
    org: &str,
    key: &Lookup<AgentId>,
    now: Time,
) -> Result<Option<Agent>, DriverError> {
    match key {
        Lookup::Id(id) => {
            let id = id.to_string();
            conn.first(
                select!("WHERE a.org = $2 AND a.id = $3"),
                &[now.into(), org.into(), id.as_str().into()],
                read,
            )
        }
        Lookup::Name(name) => conn.first(
            select!("WHERE a.org = $2 AND a.name = $3"),
            &[now.into(), org.into(), name.into()],
            read,
        ),
    }
}

/// A page of agents. One filter leads, so that an index answers it in the order of the page: the
/// owner, who has few; a state in which few are; the environment; or the state.
pub(crate) fn list(
    conn: &mut dyn Conn,
    org: &str,
    page: &Page,
) -> Result<Listed<Agent>, DriverError> {
    macro_rules! rows {
        () => {
            select!("WHERE a.org = $2 AND ")
        };
    }
    macro_rules! from {
        () => {
            "FROM agent a WHERE CAST($1 AS BIGINT) IS NOT NULL AND a.org = $2 AND "
        };
    }
    macro_rules! filters {
        () => {
            " AND a.created_at >= $8 AND a.created_at < $9 AND coalesce(u.at, -1) >= $10 \
             AND coalesce(u.at, -1) < $11 AND ($12 = '' OR a.state = $12) \
             AND ($13 = '' OR a.environment = $13) AND ($14 = '' OR a.owner = $14)"
        };
    }
    macro_rules! text {
        ($lead:literal, $column:literal $direction:literal) => {
            page::by_text!(
                rows!(),
                from!(),
                $lead,
                $column $direction,
                ["$4" "$5" "$6"],
                concat!(" AND +a.review_due_at >= $6 AND +a.review_due_at < $7", filters!()),
                "$15"
            )
        };
    }
    macro_rules! due {
        ($lead:literal, $direction:literal) => {
            page::by_due!(
                rows!(),
                from!(),
                $lead,
                "a.review_due_at",
                "a.id",
                $direction,
                ["$4" "$5" "$6" "$7" "$8"],
                filters!(),
                "$15"
            )
        };
    }
    macro_rules! led {
        ($lead:literal) => {
            match page.order {
                Order::Oldest => text!($lead, "a.id" ""),
                Order::Newest => text!($lead, "a.id" " DESC"),
                Order::Name => text!($lead, "a.name" ""),
                Order::NameBackwards => text!($lead, "a.name" " DESC"),
                Order::Due => due!($lead, ""),
                Order::DueBackwards => due!($lead, " DESC"),
            }
        };
    }
    let state = page.state.as_deref().unwrap_or("");
    let environment = page.environment.map_or("", Environment::as_str);
    let owner = page.owner.map_or_else(String::new, |owner| owner.to_string());
    // No index goes by environment and review.
    let by_environment = !environment.is_empty() && !page.order.is_by_due();
    let (statements, lead) = if !owner.is_empty() {
        (led!("a.owner = $3"), owner.as_str())
    } else if !state.is_empty() && (state != AgentState::Active.as_str() || !by_environment) {
        (led!("a.state = $3"), state)
    } else if by_environment {
        (led!("a.environment = $3"), environment)
    } else {
        (led!("$3 = ''"), "")
    };
    let filters = [state, environment, owner.as_str()];
    let given = filters.iter().filter(|filter| !filter.is_empty()).count();
    let [state, environment, owner] = filters.map(Value::from);
    let times = [page::created(page), page::used(page)].concat();
    let tail = [times.as_slice(), &[state, environment, owner]].concat();
    let given = Given {
        page,
        ends: Ends::of(page, page.order, Kind::Agent, page.due),
        head: &[page.at.into(), org.into(), lead.into()],
        tail: &tail,
        filters: given - usize::from(!lead.is_empty()),
    };
    page::read(conn, given, &statements, read, |row| {
        Key::at(page.order, row.id.to_string(), &row.name, row.review_due_at.micros())
    })
}

/// Agents at which the job of rotation is to look, the longest due first.
pub(crate) fn due(
    conn: &mut dyn Conn,
    org: &str,
    now: Time,
    limit: usize,
) -> Result<Vec<Agent>, DriverError> {
    conn.all(
        select!("WHERE a.org = $2 AND a.look_at <= $1 ORDER BY a.look_at LIMIT $3"),
        &[now.into(), org.into(), page::rows(limit)],
        read,
    )
}

/// Notes when agents are to be looked at next, where they are as they were seen.
pub(crate) fn looked_at(conn: &mut dyn Conn, org: &str, looked: &[Looked]) -> Result<(), Failure> {
    for one in looked {
        let id = one.agent.to_string();
        conn.execute(
            "UPDATE agent SET look_at = $1 \
             WHERE org = $2 AND id = $3 AND version = $4 AND look_at = $5",
            &[
                one.next.into(),
                org.into(),
                id.as_str().into(),
                one.version.into(),
                one.was_due.into(),
            ],
        )
        .map_err(|error| Failure::of(OPERATION, error))?;
    }
    Ok(())
}

/// A credential of an agent's own was made: it is looked at when that is due to be rotated, where
/// not before.
pub(crate) fn look_when_due(
    conn: &mut dyn Conn,
    org: &str,
    agent: AgentId,
    made_at: Time,
) -> Result<(), Failure> {
    let id = agent.to_string();
    conn.execute(
        "UPDATE agent SET look_at = CASE WHEN look_at < $1 + rotation_days * 86400000000 - $2 \
         THEN look_at ELSE $1 + rotation_days * 86400000000 - $2 END WHERE org = $3 AND id = $4",
        &[made_at.into(), (WARN_AHEAD.as_micros() as i64).into(), org.into(), id.as_str().into()],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}

/// A credential of an agent's own was changed: it is looked at at once.
pub(crate) fn look_now(conn: &mut dyn Conn, org: &str, agent: AgentId) -> Result<(), Failure> {
    let id = agent.to_string();
    conn.execute(
        "UPDATE agent SET look_at = 0 WHERE org = $1 AND id = $2",
        &[org.into(), id.as_str().into()],
    )
    .map_err(|error| Failure::of(OPERATION, error))?;
    Ok(())
}

/// Writes one row.
pub(crate) fn write(conn: &mut dyn Conn, org: &str, row: &Agent) -> Result<(), Failure> {
    let failed = |error| Failure::of(OPERATION, error);
    let id = row.id.to_string();
    let owner = row.owner.map(|owner| owner.to_string());
    let scope = row.default_scope.as_ref().map(ToString::to_string);
    let permissions = serde_json::to_string(&row.permissions)
        .map_err(|error| failed(DriverError::Failed(error.to_string())))?;
    let across = serde_json::to_string(&row.across_environments)
        .map_err(|error| failed(DriverError::Failed(error.to_string())))?;
    let impersonates = serde_json::to_string(&row.impersonates)
        .map_err(|error| failed(DriverError::Failed(error.to_string())))?;
    let dns_names = DnsName::join(&row.dns_names);
    if row.version == 0 {
        conn.execute(
            "INSERT INTO agent (org, id, name, owner, purpose, environment, state, permissions, \
             default_scope, may_delegate, token_lifetime, review_due_at, created_at, \
             last_reviewed_at, rotation_days, across, bound_only, impersonates, drill, \
             certificate_lifetime, dns_names, version) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
             $18, $19, $20, $21, 1)",
            &[
                org.into(),
                id.as_str().into(),
                (&row.name).into(),
                owner.as_deref().into(),
                row.purpose.as_deref().into(),
                row.environment.as_str().into(),
                row.state.as_str().into(),
                (&permissions).into(),
                scope.as_deref().into(),
                row.may_delegate.into(),
                row.token_lifetime.into(),
                row.review_due_at.into(),
                row.created_at.into(),
                row.last_reviewed_at.into(),
                row.rotation_days.into(),
                (&across).into(),
                row.bound_only.into(),
                (&impersonates).into(),
                row.drill.into(),
                row.certificate_lifetime.into(),
                (&dns_names).into(),
            ],
        )
        .map_err(failed)?;
        return Ok(());
    }
    let changed = conn
        .execute(
            "UPDATE agent SET owner = $1, purpose = $2, environment = $3, state = $4, \
             permissions = $5, default_scope = $6, may_delegate = $7, token_lifetime = $8, \
             review_due_at = $9, last_reviewed_at = $10, rotation_days = $11, \
             rotation_warned_for = $12, across = $13, rotation_asked_at = $14, \
             rotation_asked_because = $15, bound_only = $16, impersonates = $17, \
             certificate_lifetime = $18, dns_names = $19, look_at = 0, version = version + 1 \
             WHERE org = $20 AND id = $21 AND version = $22",
            &[
                owner.as_deref().into(),
                row.purpose.as_deref().into(),
                row.environment.as_str().into(),
                row.state.as_str().into(),
                (&permissions).into(),
                scope.as_deref().into(),
                row.may_delegate.into(),
                row.token_lifetime.into(),
                row.review_due_at.into(),
                row.last_reviewed_at.into(),
                row.rotation_days.into(),
                row.rotation_warned_for.into(),
                (&across).into(),
                row.rotation_asked_at.into(),
                row.rotation_asked_because.as_deref().into(),
                row.bound_only.into(),
                (&impersonates).into(),
                row.certificate_lifetime.into(),
                (&dns_names).into(),
                org.into(),
                id.as_str().into(),
                row.version.into(),
            ],
        )
        .map_err(failed)?;
    Failure::unless_one(changed)
}
