//! What something hangs on as a column: the keys of its ids, 16 bytes each.

use accredit_wire::ids::AnyId;

use crate::driver::{DriverError, Row};

/// Bytes of an id's key.
const KEY_BYTES: usize = 16;

/// The column of a lineage.
pub(crate) fn bytes(lineage: &[AnyId]) -> Vec<u8> {
    lineage.iter().flat_map(|id| id.key().to_be_bytes()).collect()
}

/// The lineage in a column.
pub(crate) fn read(row: &dyn Row, column: usize) -> Result<Vec<AnyId>, DriverError> {
    let (keys, rest) = row.blob(column)?.as_chunks::<KEY_BYTES>();
    let id = |key: &[u8; KEY_BYTES]| AnyId::from_key(u128::from_be_bytes(*key));
    let lineage: Option<Vec<AnyId>> = keys.iter().map(id).collect();
    let lineage = lineage.filter(|_| rest.is_empty());
    lineage.ok_or_else(|| DriverError::unreadable(column, "holds what is no id"))
}
