//! When things were last used: kept in memory, flushed at most once a minute, never in the
//! issuance transaction.

use std::net::IpAddr;
use std::sync::Mutex;

use accredit_wire::ids::{AnyId, OrganizationId};
use accredit_wire::time::Time;
use std::collections::HashMap;

use crate::ports::Use;

/// Uses of one organization remembered between two flushes: those of 200,000 agents, each with a
/// credential and an instance, in some 60 MB. Beyond, the newest are not noted.
pub const USES_MAX: usize = 600_000;

/// The last use of each thing of an organization since the last flush.
#[derive(Default)]
pub struct Uses(Mutex<HashMap<AnyId, (Time, Option<IpAddr>)>>);

impl Uses {
    /// Notes a use.
    pub fn note(&self, id: AnyId, at: Time, source: Option<IpAddr>) {
        let Ok(mut uses) = self.0.lock() else { return };
        if let Some(held) = uses.get_mut(&id) {
            if at >= held.0 {
                *held = (at, source);
            }
        } else if uses.len() < USES_MAX {
            uses.insert(id, (at, source));
        }
    }

    /// Notes again what was taken and could not be written; a later use of the same thing stays.
    pub fn put_back(&self, uses: &[Use]) {
        for one in uses {
            self.note(one.id, one.at, one.source);
        }
    }

    /// Takes what was noted since the last call, as uses in `org`, in the order of their ids: so
    /// that neighbours are written together, to one page.
    pub fn take(&self, org: OrganizationId) -> Vec<Use> {
        let Ok(mut uses) = self.0.lock() else { return Vec::new() };
        let uses = std::mem::take(&mut *uses);
        let uses = uses.into_iter().map(|(id, (at, source))| Use { org, id, at, source });
        let mut uses: Vec<Use> = uses.collect();
        uses.sort_unstable_by_key(|one| one.id);
        uses
    }
}
