//! Rows on their way into a table, several with one statement: over a network the way there and back
//! costs more than the row.
//!
//! Statements take a power of two of rows, so that a server prepares few of them.

use hashbrown::HashMap;

use super::{DriverError, Value};

/// Rows that one statement takes at most.
pub(crate) const ROWS_MAX: usize = 256;
/// What stands between the table and its first row.
const VALUES: &str = "VALUES (";
/// What may stand after its last.
const ON_CONFLICT: &str = " ON CONFLICT ";

/// A value that outlives whoever gave it.
enum Kept {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Kept {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Int(number) => Self::Int(number),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Blob(bytes) => Self::Blob(bytes.to_owned()),
        }
    }

    fn given(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => Value::Int(*number),
            Self::Text(text) => Value::Text(text),
            Self::Blob(bytes) => Value::Blob(bytes),
        }
    }
}

/// The rows that wait, all of one statement.
#[derive(Default)]
pub(crate) struct Added {
    sql: &'static str,
    width: usize,
    values: Vec<Kept>,
}

impl Added {
    /// Whether a row of this statement may wait beside those that do.
    pub(crate) fn takes(&self, sql: &'static str, width: usize) -> bool {
        self.is_empty() || (self.sql == sql && self.width == width)
    }

    /// Adds a row that it [takes](Self::takes).
    pub(crate) fn push(&mut self, sql: &'static str, params: &[Value<'_>]) {
        (self.sql, self.width) = (sql, params.len());
        self.values.extend(params.iter().copied().map(Kept::of));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// None of them is to be written.
    pub(crate) fn clear(&mut self) {
        self.values.clear();
    }

    /// The statement of one row.
    pub(crate) fn sql(&self) -> &'static str {
        self.sql
    }

    /// The rows in their order, in parts that one statement takes each: how many, and their values.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, Vec<Value<'_>>)> {
        let width = self.width.max(1);
        let mut rest = self.values.as_slice();
        std::iter::from_fn(move || {
            let rows = match rest.len() / width {
                0 => return None,
                left => (1 << left.ilog2()).min(ROWS_MAX),
            };
            let (part, others) = rest.split_at(rows * width);
            rest = others;
            Some((rows, part.iter().map(Kept::given).collect()))
        })
    }
}

/// Texts of statements that add several rows, each made once.
#[derive(Default)]
pub(crate) struct Texts(HashMap<(&'static str, usize), String, foldhash::fast::RandomState>);

impl Texts {
    /// The text that adds `rows` rows, from the one that adds one: `INSERT INTO … VALUES ($1, …, $n)`
    /// with each parameter once, in order, and nothing after it but what is done about rows that are
    /// there already.
    pub(crate) fn of(&mut self, sql: &'static str, rows: usize) -> Result<&str, DriverError> {
        let text = match self.0.entry((sql, rows)) {
            hashbrown::hash_map::Entry::Occupied(known) => known.into_mut(),
            hashbrown::hash_map::Entry::Vacant(place) => place.insert(text(sql, rows)?),
        };
        Ok(text)
    }
}

fn text(sql: &str, rows: usize) -> Result<String, DriverError> {
    let wrong = || DriverError::Failed(format!("rows cannot be added by `{sql}`"));
    let (table, row) = sql.split_once(VALUES).ok_or_else(wrong)?;
    let (row, tail) = row.split_once(')').ok_or_else(wrong)?;
    if !(tail.is_empty() || tail.starts_with(ON_CONFLICT)) || tail.contains('$') {
        return Err(wrong());
    }
    let width = row.split(", ").count();
    if !row.split(", ").enumerate().all(|(place, name)| name == format!("${}", place + 1)) {
        return Err(wrong());
    }
    let row = |row: usize| {
        let names: Vec<_> =
            (1..=width).map(|column| format!("${}", row * width + column)).collect();
        format!("({})", names.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    Ok(format!("{table}VALUES {}{tail}", rows.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "INSERT INTO event (org, seq) VALUES ($1, $2)";

    #[test]
    fn a_statement_for_several_rows_numbers_its_parameters_on() {
        let mut texts = Texts::default();
        let two = "INSERT INTO event (org, seq) VALUES ($1, $2), ($3, $4)";
        assert_eq!(texts.of(SQL, 1), Ok(SQL));
        assert_eq!(texts.of(SQL, 2), Ok(two));
        let over = "INSERT INTO event (org, seq) VALUES ($1, $2) \
                    ON CONFLICT (org) DO UPDATE SET seq = excluded.seq";
        let two_over = "INSERT INTO event (org, seq) VALUES ($1, $2), ($3, $4) \
                        ON CONFLICT (org) DO UPDATE SET seq = excluded.seq";
        assert_eq!(texts.of(over, 2), Ok(two_over));
        for wrong in [
            "UPDATE event SET seq = $1",
            "INSERT INTO event (org, seq) VALUES ($2, $1)",
            "INSERT INTO event (org, seq) VALUES ($1, 0)",
            "INSERT INTO event (org, seq) VALUES ($1, $2) RETURNING seq",
            "INSERT INTO event (org, seq) VALUES ($1, $2) ON CONFLICT (org) DO UPDATE SET seq = $2",
        ] {
            assert!(texts.of(wrong, 2).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_row_is_in_one_part_and_in_its_order() {
        let mut added = Added::default();
        for count in [0, 1, 2, 3, 27, 64, 65, 200, 700] {
            added.clear();
            for seq in 0..count {
                assert!(added.takes(SQL, 2) && !(seq > 0 && added.takes("another", 2)));
                added.push(SQL, &["org".into(), Value::Int(seq)]);
            }
            let (mut next, mut parts) = (0, 0);
            for (rows, values) in added.parts() {
                assert!(rows.is_power_of_two() && rows <= ROWS_MAX && values.len() == 2 * rows);
                for row in values.chunks(2) {
                    assert!(matches!(row, [Value::Text("org"), Value::Int(seq)] if *seq == next));
                    next += 1;
                }
                parts += 1;
            }
            assert_eq!(next, count);
            assert!(parts <= 9 + count / 256, "{count}: {parts}");
        }
    }
}
