//! What a page of a list asks for, as parameters of a statement.

use accredit_domain::ports::Page;

use crate::driver::Value;

/// Rows that one read answers at most, whatever is asked for.
pub const READ_ROWS_MAX: usize = 10_000;

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
