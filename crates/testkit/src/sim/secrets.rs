//! The checker over secrets: those of clients and administrators stand in nothing that is kept.

use super::model::Side;
use super::{Broke, Invariant, must};

/// Looks for the secret part of every secret of an organization.
pub(super) fn check(side: &Side, place: &str, text: &str) -> Result<(), Broke> {
    let clients = side.clients.iter().map(|client| client.secret.as_str());
    for secret in clients.chain([side.org.admin.as_str()]) {
        let part = secret.split('_').nth(3).unwrap_or(secret);
        must(!text.contains(part), Invariant::NoSecretInClear, || {
            format!("a secret of {} stands in {place}", side.org.name)
        })?;
    }
    Ok(())
}
