//! Pages of lists: between which keys of its order a page lies, and how it is read.
//!
//! A list is read from an index in the order of its page (keyset pagination): the statement begins
//! behind the last key of the page before, so that no page costs more than another and rows that
//! come and go meanwhile move nothing. One filter leads the index; where others are left to sieve
//! its rows, the page is cut after as many as it may look at, and says that there is a next one.

use accredit_domain::ports::{LOOKED_ROWS_MAX, Order, Page, Span};
use accredit_domain::registry::Listed;
use accredit_wire::ids::{AgentId, Kind};
use accredit_wire::time::Time;

use crate::driver::{Conn, DriverError, Row, Value};

/// Rows that one read answers at most, whatever is asked for.
pub const READ_ROWS_MAX: usize = 10_000;

/// After every name and id.
const LAST: &str = "\u{10ffff}";
/// Characters of an id that are its kind and its millisecond: the prefix, two bits that are always
/// 0 and the 48 of the time, five to a character.
const ID_TIME_CHARS: usize = 4 + (2 + 48) / 5;
/// The last millisecond that an id holds.
const ID_MILLIS_MAX: u64 = (1 << 48) - 1;

/// A place in the order of a list. Names and ids have no two rows alike; of times the id decides.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    due: i64,
    text: String,
}

impl Key {
    fn of(text: impl Into<String>) -> Self {
        Self { due: 0, text: text.into() }
    }

    /// Where a row stands in this order.
    pub(crate) fn at(order: Order, id: String, name: &str, due: i64) -> Self {
        match order {
            Order::Oldest | Order::Newest => Self::of(id),
            Order::Name | Order::NameBackwards => Self::of(name),
            Order::Due | Order::DueBackwards => Self { due, text: id },
        }
    }

    /// The next place there is: no name and no id has a control character in it.
    fn next(&self) -> Self {
        Self { due: self.due, text: format!("{}\u{1}", self.text) }
    }

    fn cursor(&self, order: Order) -> String {
        if order.is_by_due() { format!("{}:{}", self.due, self.text) } else { self.text.clone() }
    }

    fn parse(cursor: &str, order: Order) -> Option<Self> {
        if !order.is_by_due() {
            return Some(Self::of(cursor));
        }
        let (due, text) = cursor.split_once(':')?;
        Some(Self { due: due.parse().ok()?, text: text.to_owned() })
    }
}

/// Between which keys a page lies: the first one, and the first behind it.
pub(crate) struct Ends {
    order: Order,
    first: Key,
    end: Key,
    due: (i64, i64),
}

impl Ends {
    /// Of a page in an order of rows whose ids are of a kind, with the due times that are wanted.
    pub(crate) fn of(page: &Page, order: Order, kind: Kind, due: Span) -> Self {
        let due = span(due, i64::MIN);
        let (first, end) = match order {
            Order::Oldest | Order::Newest => made(kind, page.created),
            Order::Name | Order::NameBackwards => {
                let prefix = page.prefix.as_deref().unwrap_or("");
                (Key::of(prefix), Key::of(format!("{prefix}{LAST}")))
            }
            Order::Due | Order::DueBackwards => {
                let at = |due| Key { due, text: String::new() };
                (at(due.0), at(due.1))
            }
        };
        let mut ends = Self { order, first, end, due };
        if let Some(cursor) = &page.cursor {
            match Key::parse(cursor, order) {
                Some(key) => ends.go_on(key),
                // A cursor that we did not write is after everything.
                None => ends.first = ends.end.clone(),
            }
        }
        ends
    }

    /// Begins behind a row.
    fn go_on(&mut self, behind: Key) {
        if self.order.is_backwards() {
            self.end = behind.min(self.end.clone());
        } else {
            self.first = behind.next().max(self.first.clone());
        }
    }

    /// Ends with a row.
    fn cut(&mut self, last: &Key) {
        if self.order.is_backwards() {
            self.first = last.clone();
        } else {
            self.end = last.next();
        }
    }

    /// As parameters: of an order by due times the time and the id of both keys, else both keys
    /// and between which due times.
    fn values(&self) -> [Value<'_>; 4] {
        let (first, end) = (&self.first, &self.end);
        if self.order.is_by_due() {
            [first.due.into(), (&first.text).into(), end.due.into(), (&end.text).into()]
        } else {
            [(&first.text).into(), (&end.text).into(), self.due.0.into(), self.due.1.into()]
        }
    }

    /// Whether times sieve what the index gives.
    fn are_sieved(&self, page: &Page) -> bool {
        let by_id = matches!(self.order, Order::Oldest | Order::Newest);
        !(by_id || page.created.is_all())
            || !(self.order.is_by_due() || self.due == (i64::MIN, i64::MAX))
            || !page.used.is_all()
    }

    /// How many of the parameters a cut takes.
    const fn keys(&self) -> usize {
        if self.order.is_by_due() { 4 } else { 2 }
    }
}

/// Between which ids the rows lie that were made then: an id begins with the millisecond.
fn made(kind: Kind, created: Span) -> (Key, Key) {
    let id = |millis: u64| {
        let id = AgentId::new(millis.min(ID_MILLIS_MAX), [0; 10]).to_string();
        Key::of(format!("{}{}", kind.prefix(), &id[kind.prefix().len()..ID_TIME_CHARS]))
    };
    let first = created.from.map_or_else(|| Key::of(""), |from| id(from.millis()));
    let end = created.before.filter(|end| end.millis() < ID_MILLIS_MAX);
    (first, end.map_or_else(|| Key::of(LAST), |end| id(end.millis() + 1)))
}

/// A span as two numbers, the first of them `least` where it has no beginning.
fn span(span: Span, least: i64) -> (i64, i64) {
    (span.from.map_or(least, Time::micros), span.before.map_or(i64::MAX, Time::micros))
}

/// When rows were made, as two parameters.
pub(crate) fn created(page: &Page) -> [Value<'static>; 2] {
    let (from, before) = span(page.created, i64::MIN);
    [from.into(), before.into()]
}

/// When rows were last used, as two parameters; -1 is never.
pub(crate) fn used(page: &Page) -> [Value<'static>; 2] {
    let used = page.used;
    let first = Time::from_micros(0);
    let (from, before) = span(
        Span {
            from: used.from.map(|from| from.max(first)),
            before: used.before.map(|end| end.max(first)),
        },
        -1,
    );
    [from.into(), before.into()]
}

/// The state that is stored and the ends that are wanted, of rows that expire: whether one has is
/// a matter of the time.
pub(crate) fn expiring(page: &Page) -> (&str, Span) {
    let now = Time::from_micros(page.at.micros().saturating_add(1));
    let due = page.due;
    match page.state.as_deref() {
        None => ("", due),
        Some("active") => {
            ("active", Span { from: Some(due.from.map_or(now, |from| from.max(now))), ..due })
        }
        Some("expired") => {
            let before = Some(due.before.map_or(now, |before| before.min(now)));
            ("active", Span { before, ..due })
        }
        Some(state) => (state, due),
    }
}

/// How a page is read: its rows, and after which row it is cut.
pub(crate) struct Statements {
    /// The rows.
    pub(crate) rows: &'static str,
    /// The key of the last row that may be looked at.
    pub(crate) cut: &'static str,
}

/// Between two keys, the second of them outside; the column in brackets where it is two.
macro_rules! between {
    ($column:expr, $first:expr, $end:expr) => {
        concat!(" AND ", $column, " >= ", $first, " AND ", $column, " < ", $end)
    };
}
pub(crate) use between;

/// In the order of a column of texts of which no two are alike. What is given: how the statement of
/// rows and the one of the cut begin, the filter that leads, the column, its direction, the
/// parameters of both keys and the one behind them, the filters that sieve, the parameter of the
/// limit.
macro_rules! by_text {
    ($rows:expr, $from:expr, $lead:literal, $column:literal $direction:literal,
     [$first:literal $end:literal $looked:literal], $filters:expr, $limit:literal) => {
        $crate::page::Statements {
            rows: concat!(
                $rows,
                $lead,
                $crate::page::between!($column, $first, $end),
                $filters,
                " ORDER BY ",
                $column,
                $direction,
                " LIMIT ",
                $limit
            ),
            cut: concat!(
                "SELECT ",
                $column,
                " ",
                $from,
                $lead,
                $crate::page::between!($column, $first, $end),
                " ORDER BY ",
                $column,
                $direction,
                " LIMIT 1 OFFSET ",
                $looked
            ),
        }
    };
}
pub(crate) use by_text;

/// In the order of a column of times, and of ids where times are alike; as [`by_text`].
macro_rules! by_due {
    ($rows:expr, $from:expr, $lead:literal, $due:literal, $id:literal, $direction:literal,
     [$a:literal $b:literal $c:literal $d:literal $looked:literal], $filters:expr,
     $limit:literal) => {
        $crate::page::Statements {
            rows: concat!(
                $rows,
                $lead,
                $crate::page::by_due!(between $due, $id, [$a $b $c $d]),
                $filters,
                $crate::page::by_due!(order $due, $id, $direction),
                " LIMIT ",
                $limit
            ),
            cut: concat!(
                "SELECT ",
                $id,
                ", ",
                $due,
                " ",
                $from,
                $lead,
                $crate::page::by_due!(between $due, $id, [$a $b $c $d]),
                $crate::page::by_due!(order $due, $id, $direction),
                " LIMIT 1 OFFSET ",
                $looked
            ),
        }
    };
    (between $due:literal, $id:literal, [$a:literal $b:literal $c:literal $d:literal]) => {
        $crate::page::between!(
            concat!("(", $due, ", ", $id, ")"),
            concat!("(", $a, ", ", $b, ")"),
            concat!("(", $c, ", ", $d, ")")
        )
    };
    (order $due:literal, $id:literal, $direction:literal) => {
        concat!(" ORDER BY ", $due, $direction, ", ", $id, $direction)
    };
}
pub(crate) use by_due;

/// How a page is read of rows of a table that have an id, a unique name and a state. A state that
/// is asked for leads, so that an index answers it in the order of the page.
macro_rules! by_id_or_name {
    ($page:expr, $order:expr, $select:ident, $table:literal, $name:literal) => {
        if $page.state.is_some() {
            $crate::page::by_id_or_name!(led $order, $select, $table, $name, "state = $2")
        } else {
            $crate::page::by_id_or_name!(led $order, $select, $table, $name, "$2 = ''")
        }
    };
    (led $order:expr, $select:ident, $table:literal, $name:literal, $lead:literal) => {
        match $order {
            Order::Oldest | Order::Due => {
                $crate::page::by_id_or_name!(by $select, $table, $lead, "id" "")
            }
            Order::Newest | Order::DueBackwards => {
                $crate::page::by_id_or_name!(by $select, $table, $lead, "id" " DESC")
            }
            Order::Name => $crate::page::by_id_or_name!(by $select, $table, $lead, $name ""),
            Order::NameBackwards => {
                $crate::page::by_id_or_name!(by $select, $table, $lead, $name " DESC")
            }
        }
    };
    (by $select:ident, $table:literal, $lead:literal, $column:literal $direction:literal) => {
        $crate::page::by_text!(
            $select!("WHERE org = $1 AND "),
            concat!("FROM ", $table, " WHERE org = $1 AND "),
            $lead,
            $column $direction,
            ["$3" "$4" "$5"],
            " AND CAST($5 AS BIGINT) IS NOT NULL AND CAST($6 AS BIGINT) IS NOT NULL \
             AND created_at >= $7 AND created_at < $8",
            "$9"
        )
    };
}
pub(crate) use by_id_or_name;

/// What a page is read with: parameters before and behind those of its ends, and how many filters
/// besides times there are that do not lead the index.
pub(crate) struct Given<'a> {
    pub(crate) page: &'a Page,
    pub(crate) ends: Ends,
    pub(crate) head: &'a [Value<'a>],
    pub(crate) tail: &'a [Value<'a>],
    pub(crate) filters: usize,
}

/// Reads a page. One row more is read, to know whether there is a next one.
pub(crate) fn read<T>(
    conn: &mut dyn Conn,
    given: Given<'_>,
    statements: &Statements,
    read: impl Fn(&dyn Row) -> Result<T, DriverError>,
    key: impl Fn(&T) -> Key,
) -> Result<Listed<T>, DriverError> {
    let Given { page, mut ends, head, tail, filters } = given;
    let order = ends.order;
    let mut cut = None;
    if filters > 0 || ends.are_sieved(page) {
        let values = [head, &ends.values()[..ends.keys()], &[looked(page)]].concat();
        cut = conn.first(statements.cut, &values, |row| {
            let due = if order.is_by_due() { row.int(1)? } else { 0 };
            Ok(Key { due, text: row.text(0)?.to_owned() })
        })?;
        if let Some(last) = &cut {
            ends.cut(last);
        }
    }
    let values = [head, &ends.values(), tail, &[rows(page.limit + 1)]].concat();
    let mut items = conn.all(statements.rows, &values, read)?;
    if items.len() > page.limit {
        items.truncate(page.limit);
        cut = items.last().map(key);
    }
    Ok(Listed { items, next: cut.map(|key| key.cursor(order)) })
}

/// How many rows a cut passes over to find the last one that is looked at.
pub(crate) fn looked(page: &Page) -> Value<'static> {
    Value::Int(page.looked_max.unwrap_or(LOOKED_ROWS_MAX).max(1) as i64 - 1)
}

/// How many rows, within [`READ_ROWS_MAX`].
pub(crate) fn rows(limit: usize) -> Value<'static> {
    Value::Int(limit.min(READ_ROWS_MAX) as i64)
}
