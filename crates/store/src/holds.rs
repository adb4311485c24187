//! What a batch holds before it writes, where others may write to the same store.
//!
//! Whatever changes something holds its organization's row, and so all changes of one organization are in
//! one order, in the lane that all share. What is only issued or recorded holds nothing of that kind where
//! this process has a slot: it goes to a lane of the slot's own, whose row is held, and the slot's lease
//! with it. So nodes that issue do not wait for each other. What ends something holds the rows of all
//! lanes of its organization as well, because it writes its number into each: an issuance that is under
//! way is waited for, and one that comes later reads that number after its own wait.
//!
//! Nobody waits in a circle: organizations' rows come first, then lanes, each in the order of their keys,
//! then the slot's lease, and last what a batch tells ([`crate::changes`]).

use std::collections::{BTreeMap, BTreeSet};

use accredit_domain::audit::checkpointed::Pen;
use accredit_domain::ports::OwnSlot;
use accredit_wire::ids::OrganizationId;
use hashbrown::HashMap;

use crate::driver::{Conn, DriverError, Hold};
use crate::failure::Failure;
use crate::log::{self, Head};
use crate::member::{Member, Work};
use crate::{leases, rewrap};

/// Lanes of own that are remembered between batches.
const OWN_LANES_MAX: usize = 16_384;

type Random = foldhash::fast::RandomState;

/// The lanes of the slot that this process has.
#[derive(Default)]
pub(crate) struct OwnLanes {
    slot: Option<OwnSlot>,
    /// By organization; nothing for one that has as many lanes as it may.
    lanes: HashMap<OrganizationId, Option<u16>, Random>,
}

impl OwnLanes {
    /// Forgets which lanes there are: they are looked for again.
    pub(crate) fn forget(&mut self) {
        self.lanes.clear();
    }

    fn under(&mut self, slot: Option<OwnSlot>) {
        if self.slot != slot || self.lanes.len() > OWN_LANES_MAX {
            self.slot = slot;
            self.lanes.clear();
        }
    }
}

/// The organizations of a batch by what is held of them.
#[derive(Default)]
struct Held {
    /// Whose rows are.
    rows: BTreeSet<String>,
    /// In which something is ended.
    ending: BTreeSet<String>,
    /// In which something is only issued or recorded.
    adding: BTreeMap<String, OrganizationId>,
}

impl Held {
    fn of(batch: &[Member], has_slot: bool) -> Self {
        let mut held = Self::default();
        for Member { work, .. } in batch {
            match work {
                Work::Issue(..) | Work::Event(..) if has_slot => {
                    held.adding.extend(work.org().map(|org| (org.to_string(), org)));
                }
                Work::Checkpoints(both) if has_slot && matches!(both.0.pen, Pen::Slot(_)) => {
                    held.adding.insert(both.0.org.to_string(), both.0.org);
                }
                // The place of a value is the same whoever uses it up.
                Work::Consume(..) if has_slot => {}
                other => other.organizations(&mut held.rows),
            }
            held.ending.extend(work.ends_in().map(|org| org.to_string()));
        }
        held.adding.retain(|org, _| !held.rows.contains(org));
        held
    }
}

/// Why nothing is held.
pub(crate) enum NotHeld {
    /// The slot is another node's by now.
    Lost(OwnSlot),
    /// The generation of a lane is over.
    Closed,
    /// The engine failed.
    Driver(DriverError),
}

impl From<DriverError> for NotHeld {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

/// Holds what a batch writes, and gives the heads of the lanes of own that it adds to, each with its
/// organization and that one's id as text.
pub(crate) fn hold(
    conn: &mut dyn Conn,
    batch: &[Member],
    slot: Option<OwnSlot>,
    own: &mut OwnLanes,
) -> Result<Vec<(OrganizationId, String, Head)>, NotHeld> {
    own.under(slot);
    let mut held = Held::of(batch, slot.is_some());
    if batch.iter().any(|member| matches!(member.work, Work::Rewrap(_))) {
        held.rows.extend(rewrap::organizations(conn)?);
        held.adding.retain(|org, _| !held.rows.contains(org));
    }
    let (mut lanes, mut first) = (BTreeMap::new(), Vec::new());
    if let Some(slot) = slot {
        for (text, org) in &held.adding {
            let known = match own.lanes.get(org) {
                Some(known) => *known,
                None => log::lane_of_slot(conn, text, slot.slot.number())?,
            };
            if let Some(lane) = known {
                own.lanes.insert(*org, Some(lane));
                lanes.insert(text.clone(), lane);
                continue;
            }
            held.rows.insert(text.clone());
            if !own.lanes.contains_key(org) {
                first.push((text, *org, slot.slot.number()));
            }
        }
    }
    for org in &held.rows {
        conn.hold(Hold::Organization(org))?;
    }
    for (text, org, slot) in first {
        // This batch goes to the lane that all share; those after it to the new one.
        if !log::begin_lane_of_slot(conn, text, slot)? {
            own.lanes.insert(org, None);
        }
    }
    let with_lanes: BTreeSet<&String> = held.ending.iter().chain(lanes.keys()).collect();
    for org in with_lanes {
        match lanes.get(org) {
            Some(lane) => conn.hold(Hold::Lane(org, *lane))?,
            None => conn.hold(Hold::Lanes(org))?,
        }
    }
    let mut heads = Vec::with_capacity(lanes.len());
    let Some(slot) = slot.filter(|_| !lanes.is_empty()) else { return Ok(heads) };
    match leases::still(conn, slot.fence()) {
        Ok(()) => {}
        Err(Failure::Engine(_, error)) => return Err(error.into()),
        Err(_) => return Err(NotHeld::Lost(slot)),
    }
    for (text, lane) in lanes {
        let Some(org) = held.adding.get(&text) else { continue };
        let head = log::open_head(conn, &text, lane)?.ok_or(NotHeld::Closed)?;
        heads.push((*org, text, head));
    }
    Ok(heads)
}
