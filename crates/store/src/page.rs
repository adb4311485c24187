//! What a page of a list asks for, as parameters of a statement.

use accredit_domain::ports::{Order, Page};

use crate::driver::Value;

/// Rows that one read answers at most, whatever is asked for.
pub const READ_ROWS_MAX: usize = 10_000;

/// After every name and id.
const LAST: &str = "\u{10ffff}";

/// The first text that a page may hold and the first after it, for the column that its order goes
/// by.
pub(crate) fn bounds(page: &Page) -> (String, String) {
    let prefix = page.prefix.as_deref().unwrap_or("");
    let (first, end) = (prefix.to_owned(), format!("{prefix}{LAST}"));
    match (&page.cursor, page.order) {
        // The next text there is: no name and no id has a control character in it.
        (Some(cursor), Order::Oldest | Order::Name) => (format!("{cursor}\u{1}").max(first), end),
        (Some(cursor), Order::Newest | Order::NameBackwards) => (first, cursor.clone().min(end)),
        (None, _) => (first, end),
    }
}

/// After which id; the empty text is before all.
pub(crate) fn cursor(page: &Page) -> Value<'_> {
    page.cursor.as_deref().unwrap_or("").into()
}

/// In which state; the empty text is any.
pub(crate) fn state(page: &Page) -> Value<'_> {
    page.state.as_deref().unwrap_or("").into()
}

/// How many rows.
pub(crate) fn limit(page: &Page) -> Value<'static> {
    rows(page.limit)
}

/// How many rows, within [`READ_ROWS_MAX`].
pub(crate) fn rows(limit: usize) -> Value<'static> {
    Value::Int(limit.min(READ_ROWS_MAX) as i64)
}
