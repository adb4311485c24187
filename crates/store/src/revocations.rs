//! The revocation graph as rows: the counter, its entries, and what an entry would end.

use accredit_domain::Fault;
use accredit_domain::ports::{BoxFuture, Page, Revocations};
use accredit_domain::registry::Listed;
use accredit_domain::revocation::{Blast, Revocation};
use accredit_wire::ids::{AnyId, Kind, OrganizationId};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Row, Value};
use crate::failure::Failure;
use crate::{SqlStore, descent, log, page};

/// Events that are looked into to count the tokens of one target; of more, all are counted.
pub const EVENTS_SEARCHED_MAX: u64 = 20_000;

macro_rules! select {
    ($rest:expr) => {
        concat!(
            "SELECT id, target, rev, reason, revoked_at, keep_until, ends_at FROM revocation ",
            $rest
        )
    };
}

fn read(row: &dyn Row) -> Result<Revocation, DriverError> {
    Ok(Revocation {
        id: row.parsed(0)?,
        target: row.parsed(1)?,
        rev: row.count(2)?,
        reason: row.text(3)?.to_owned(),
        revoked_at: row.time(4)?,
        keep_until: row.time(5)?,
        ends_at: row.opt_time(6)?,
    })
}

/// Counts one up, writes the entry under the new count and fences all lanes with it.
pub(crate) fn write(
    conn: &mut dyn Conn,
    org: &str,
    entry: &Revocation,
    last_at: Time,
) -> Result<Revocation, Failure> {
    const OPERATION: &str = "write a revocation";
    let failed = |error| Failure::of(OPERATION, error);
    let rev = conn
        .first(
            "UPDATE organization SET rev = rev + 1 WHERE org = $1 RETURNING rev",
            &[org.into()],
            |row| row.count(0),
        )
        .map_err(failed)?
        .ok_or_else(|| Failure::wrong(OPERATION, "there is no such organization"))?;
    let (id, target) = (entry.id.to_string(), entry.target.to_string());
    // Every token has its event, whose time is not before the token's: where the clock is back, or
    // was ahead, tokens live until later than the entry says. Of a lane that this transaction adds to,
    // the row is behind.
    let last_at = last_at.max(log::last_at(conn, org).map_err(failed)?);
    let keep_until = entry.keep_until.plus(last_at.since(entry.revoked_at));
    conn.execute(
        "INSERT INTO revocation (org, rev, id, target, reason, revoked_at, keep_until, ends_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        &[
            org.into(),
            rev.into(),
            id.as_str().into(),
            target.as_str().into(),
            (&entry.reason).into(),
            entry.revoked_at.into(),
            keep_until.into(),
            entry.ends_at.into(),
        ],
    )
    .map_err(failed)?;
    log::fence(conn, org, rev).map_err(failed)?;
    Ok(Revocation { rev, keep_until, ..entry.clone() })
}

/// The entry with this count; nothing where it is over and was forgotten.
pub(crate) fn at(
    conn: &mut dyn Conn,
    org: &str,
    rev: u64,
) -> Result<Option<Revocation>, DriverError> {
    conn.first(select!("WHERE org = $1 AND rev = $2"), &[org.into(), rev.into()], read)
}

/// The targets revoked after `rev`, with the count of each.
pub(crate) fn targets_after(
    conn: &mut dyn Conn,
    org: &str,
    rev: u64,
) -> Result<Vec<(u64, AnyId)>, DriverError> {
    conn.all(
        "SELECT rev, target FROM revocation WHERE org = $1 AND rev > $2 ORDER BY rev",
        &[org.into(), rev.into()],
        |row| Ok((row.count(0)?, row.parsed(1)?)),
    )
}

fn after(
    conn: &mut dyn Conn,
    org: &str,
    after: u64,
    now: Time,
) -> Result<Vec<Revocation>, DriverError> {
    conn.all(
        select!("WHERE org = $1 AND rev > $2 AND keep_until > $3 ORDER BY rev"),
        &[org.into(), after.into(), now.into()],
        read,
    )
}

/// A page of entries in the order of their counts. A target leads; times sieve, and then as many
/// counts are looked at as one page may.
fn list(conn: &mut dyn Conn, org: &str, page: &Page) -> Result<Listed<Revocation>, DriverError> {
    macro_rules! by {
        ($lead:literal, $direction:literal) => {
            (
                select!(concat!(
                    "WHERE org = $1 AND ",
                    $lead,
                    " AND rev >= $3 AND rev < $4 \
                     AND revoked_at >= $5 AND revoked_at < $6 ORDER BY rev",
                    $direction,
                    " LIMIT $7"
                )),
                concat!(
                    "SELECT rev FROM revocation WHERE org = $1 AND ",
                    $lead,
                    " AND rev >= $3 AND rev < $4 ORDER BY rev",
                    $direction,
                    " LIMIT 1 OFFSET $5"
                ),
            )
        };
    }
    let backwards = page.order.is_backwards();
    let target = page.target.map_or_else(String::new, |target| target.to_string());
    let (rows, cut) = match (target.is_empty(), backwards) {
        (true, false) => by!("$2 = ''", ""),
        (true, true) => by!("$2 = ''", " DESC"),
        (false, false) => by!("target = $2", ""),
        (false, true) => by!("target = $2", " DESC"),
    };
    let (mut first, mut end) = (0, i64::MAX);
    match page.cursor.as_ref().map(|cursor| cursor.parse()) {
        None => {}
        Some(Ok(rev)) if backwards => end = rev,
        Some(Ok(rev)) => first = i64::saturating_add(rev, 1),
        // A cursor that we did not write is after everything.
        Some(Err(_)) => end = 0,
    }
    let head: [Value<'_>; 2] = [org.into(), (&target).into()];
    let mut next = None;
    if !page.created.is_all() {
        let looked = [first.into(), end.into(), page::looked(page)];
        next = conn.first(cut, &[&head, looked.as_slice()].concat(), |row| row.int(0))?;
        match next {
            Some(last) if backwards => first = last,
            Some(last) => end = last.saturating_add(1),
            None => {}
        }
    }
    let ends = [first.into(), end.into()];
    let values = [head.as_slice(), &ends, &page::created(page), &[page::rows(page.limit + 1)]];
    let mut items = conn.all(rows, &values.concat(), read)?;
    if items.len() > page.limit {
        items.truncate(page.limit);
        next = items.last().and_then(|row| i64::try_from(row.rev).ok());
    }
    Ok(Listed { items, next: next.map(|rev| rev.to_string()) })
}

fn newest_of(
    conn: &mut dyn Conn,
    org: &str,
    target: AnyId,
) -> Result<Option<Revocation>, DriverError> {
    conn.first(
        select!("WHERE org = $1 AND target = $2 ORDER BY rev DESC LIMIT 1"),
        &[org.into(), target.to_string().as_str().into()],
        read,
    )
}

fn first_after(
    conn: &mut dyn Conn,
    org: &str,
    (target, after): (AnyId, u64),
) -> Result<Option<Revocation>, DriverError> {
    conn.first(
        select!("WHERE org = $1 AND target = $2 AND rev > $3 ORDER BY rev LIMIT 1"),
        &[org.into(), target.to_string().as_str().into(), after.into()],
        read,
    )
}

/// The entries that end by themselves, and are still kept.
fn time_boxed(conn: &mut dyn Conn, org: &str) -> Result<Vec<Revocation>, DriverError> {
    conn.all(
        select!("WHERE org = $1 AND ends_at IS NOT NULL ORDER BY ends_at"),
        &[org.into()],
        read,
    )
}

/// The rows that are active and hang on `target`. Those of an agent are very many, and are counted in
/// an index of their own, to which `agent > ''` leads.
fn rows_below(conn: &mut dyn Conn, org: &str, target: AnyId) -> Result<Blast, DriverError> {
    let text = target.to_string();
    let id = text.as_str();
    let (agents, instances, credentials) = match target.kind() {
        Kind::Organization => (
            conn.number(
                "SELECT count(*) FROM agent WHERE org = $1 AND state <> 'decommissioned'",
                &[org.into()],
            )?,
            conn.number(
                "SELECT count(*) FROM instance WHERE org = $1 AND state = 'active'",
                &[org.into()],
            )?,
            conn.number(
                "SELECT count(*) FROM credential WHERE org = $1 AND state = 'active'",
                &[org.into()],
            )?,
        ),
        Kind::Person => (
            conn.number(
                "SELECT count(*) FROM agent WHERE org = $1 AND owner = $2 \
                 AND state <> 'decommissioned'",
                &[org.into(), id.into()],
            )?,
            conn.number(
                "SELECT count(*) FROM agent a JOIN instance i \
                 ON i.org = a.org AND i.agent = a.id AND i.agent > '' AND i.state = 'active' \
                 WHERE a.org = $1 AND a.owner = $2",
                &[org.into(), id.into()],
            )?,
            conn.number(
                "SELECT count(*) FROM agent a JOIN credential c \
                 ON c.org = a.org AND c.agent = a.id AND c.agent > '' AND c.state = 'active' \
                 WHERE a.org = $1 AND a.owner = $2",
                &[org.into(), id.into()],
            )?,
        ),
        Kind::Agent => (
            conn.number(
                "SELECT count(*) FROM agent WHERE org = $1 AND id = $2 \
                 AND state <> 'decommissioned'",
                &[org.into(), id.into()],
            )?,
            conn.number(
                "SELECT count(*) FROM instance WHERE org = $1 AND agent = $2 \
                 AND agent > '' AND state = 'active'",
                &[org.into(), id.into()],
            )?,
            conn.number(
                "SELECT count(*) FROM credential WHERE org = $1 AND agent = $2 \
                 AND agent > '' AND state = 'active'",
                &[org.into(), id.into()],
            )?,
        ),
        Kind::Instance => {
            let (instances, credentials) = descent::below(conn, org, target)?;
            let own = conn.number(
                "SELECT count(*) FROM instance WHERE org = $1 AND id = $2 \
                 AND state = 'active'",
                &[org.into(), id.into()],
            )?;
            let proved_by = conn.number(
                "SELECT count(*) FROM credential WHERE org = $1 AND instance = $2 \
                 AND state = 'active'",
                &[org.into(), id.into()],
            )?;
            (0, own + instances, proved_by + credentials)
        }
        Kind::Resource => (
            0,
            0,
            conn.number(
                "SELECT count(*) FROM credential WHERE org = $1 AND resource = $2 \
                 AND state = 'active'",
                &[org.into(), id.into()],
            )?,
        ),
        Kind::Credential => (
            0,
            0,
            conn.number(
                "SELECT count(*) FROM credential WHERE org = $1 AND id = $2 \
                 AND state = 'active'",
                &[org.into(), id.into()],
            )?,
        ),
        Kind::Task => {
            let (instances, credentials) = descent::below(conn, org, target)?;
            (0, instances, credentials)
        }
        Kind::Token
        | Kind::Revocation
        | Kind::Event
        | Kind::Key
        | Kind::Request
        | Kind::Federation
        | Kind::Block => (0, 0, 0),
    };
    Ok(Blast { agents, instances, credentials, tokens_at_most: 0 })
}

/// Tokens and certificates issued since then that hang on `target`, at most.
fn tokens(conn: &mut dyn Conn, org: &str, target: AnyId, since: Time) -> Result<u64, DriverError> {
    // A token is one itself; what was derived from it names it.
    let least = u64::from(matches!(target.kind(), Kind::Token | Kind::Block));
    let windows = log::windows(conn, org, since)?;
    let events = windows.iter().map(|(_, places)| places.end - places.start).sum();
    if events > EVENTS_SEARCHED_MAX {
        return Ok(events);
    }
    // The organization stands in no payload: all of its tokens hang on it. `_` in a pattern is
    // any character, so an id matches at least itself: the number stays an upper bound.
    let pattern = match target.kind() {
        Kind::Organization => "%".to_owned(),
        _ => format!("%{target}%"),
    };
    let mut counted = 0;
    for (lane, places) in windows {
        counted += conn.number(
            "SELECT count(*) FROM event WHERE org = $1 AND lane = $2 AND seq >= $3 \
             AND kind IN ('token.issued', 'certificate.issued') AND (payload LIKE $4 OR payload IS NULL)",
            &[org.into(), lane.into(), places.start.into(), pattern.as_str().into()],
        )?;
    }
    Ok(counted.max(least))
}

impl Revocations for SqlStore {
    fn revocations_after(
        &self,
        org: OrganizationId,
        rev: u64,
        now: Time,
    ) -> BoxFuture<'_, Result<Vec<Revocation>, Fault>> {
        self.read_in("read revocations", org, move |conn, org| after(conn, org, rev, now))
    }

    fn revocations(
        &self,
        org: OrganizationId,
        page: Page,
    ) -> BoxFuture<'_, Result<Listed<Revocation>, Fault>> {
        self.read_in("list revocations", org, move |conn, org| list(conn, org, &page))
    }

    fn newest_revocation(
        &self,
        org: OrganizationId,
        target: AnyId,
    ) -> BoxFuture<'_, Result<Option<Revocation>, Fault>> {
        self.read_in("find a revocation", org, move |conn, org| newest_of(conn, org, target))
    }

    fn first_revocation_after(
        &self,
        org: OrganizationId,
        target: AnyId,
        after: u64,
    ) -> BoxFuture<'_, Result<Option<Revocation>, Fault>> {
        self.read_in("read a target's first revocation", org, move |conn, org| {
            first_after(conn, org, (target, after))
        })
    }

    fn time_boxed(&self, org: OrganizationId) -> BoxFuture<'_, Result<Vec<Revocation>, Fault>> {
        self.read_in("read what ends by itself", org, move |conn, org| time_boxed(conn, org))
    }

    fn rows_below(
        &self,
        org: OrganizationId,
        target: AnyId,
    ) -> BoxFuture<'_, Result<Blast, Fault>> {
        self.read_in("count rows", org, move |conn, org| rows_below(conn, org, target))
    }

    fn tokens_below(
        &self,
        org: OrganizationId,
        target: AnyId,
        since: Time,
    ) -> BoxFuture<'_, Result<u64, Fault>> {
        self.read_in("count tokens", org, move |conn, org| tokens(conn, org, target, since))
    }
}
