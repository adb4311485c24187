//! When things were last used: kept in memory, flushed at most once a minute, never in the
//! issuance transaction.

use std::sync::Mutex;

use accredit_wire::ids::AnyId;
use std::collections::HashMap;

use crate::ports::Use;

/// Uses remembered between two flushes; beyond, the newest are not noted.
pub const USES_MAX: usize = 100_000;

/// The last use of each thing since the last flush.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<AnyId, Use>>);

impl Uses {
    /// Notes a use.
    pub fn note(&self, used: Use) {
        let Ok(mut uses) = self.0.lock() else { return };
        if let Some(held) = uses.get_mut(&used.id) {
            held.at = held.at.max(used.at);
        } else if uses.len() < USES_MAX {
            uses.insert(used.id, used);
        }
    }

    /// Takes what was noted since the last call.
    pub fn take(&self) -> Vec<Use> {
        let Ok(mut uses) = self.0.lock() else { return Vec::new() };
        std::mem::take(&mut *uses).into_values().collect()
    }
}
