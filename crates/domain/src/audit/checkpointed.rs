//! Each lane of a log tells of the others, so that one that is dropped is missed.
//!
//! A lane is a tree of its own, and whoever has the key can leave one out and sign the rest. So each node
//! writes into the lane of its slot, and the one that has the turn into the lane that all share, what the
//! newest checkpoints of the other lanes of the generation are: `log.checkpointed`, at most once a minute
//! and organization, where some other lane has grown by anything but such events. The lanes of the
//! generations before are told of once, by `log.generation_started`. What a lane says is compared by
//! `accredit fsck` with the store and by each verifier of an export with the export.
//!
//! A claim is a leaf only where its checkpoint is in the store in the same transaction: a node that read
//! from a database that another has taken the place of since says nothing that is not so.
//!
//! Absent on purpose: anything in a log of one lane, which is every log of a process that has its store
//! alone; and work for organizations in which nothing happens: what has grown is seen in memory, by what
//! the job that grows the tree has read anyway.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accredit_wire::ids::OrganizationId;
use accredit_wire::time::Time;
use accredit_wire::tlog::checkpoint;
use accredit_wire::tlog::claim::{CLAIMS_MAX, Claim};

use super::event::{Actor, Body, Event, EventKind};
use crate::context::World;
use crate::lease::{Fence, Slot};
use crate::ports::{Audited, LaneHead, LeafBody, Order};
use crate::refusal::Fault;
use crate::tenant::Tenant;

/// How often a lane tells of the others, at most.
pub const CHECKPOINTED_EVERY: Duration = Duration::from_mins(1);
/// Leaves read at a time to see whether a lane has grown by anything but events that tell of others:
/// mostly the first is such.
const GROWTH_LEAVES_MAX: usize = 8;

/// By which right a node writes to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pen {
    /// It has the slot whose lane it is.
    Slot(Slot),
    /// It is the lane that all share, and the node has the turn, under a lease where there are others.
    Turn(Option<Fence>),
}

impl Pen {
    fn writes_to(self, lane: &LaneHead) -> bool {
        match self {
            Self::Slot(slot) => lane.slot == Some(slot.number()),
            Self::Turn(_) => lane.slot.is_none(),
        }
    }
}

/// What one lane is to say of the others.
#[derive(Debug)]
pub struct OtherLanes {
    /// In which organization.
    pub org: OrganizationId,
    /// Which lane says it.
    pub lane: u16,
    /// By which right.
    pub pen: Pen,
    /// The number of each other lane, and what is said of it.
    pub claims: Vec<(u16, Claim)>,
}

/// What a process remembers of one organization's lanes, so that it asks the store only where one has
/// grown.
#[derive(Default)]
pub struct Noted(Mutex<State>);

#[derive(Default)]
struct State {
    /// Leaves that are signed, in all lanes: as last seen, and as they were when it was last looked.
    seen: u64,
    looked: u64,
    /// When that was, of the monotonic clock.
    at: Option<Duration>,
    /// Up to which size each lane has told of each other, by both numbers.
    told: HashMap<(u16, u16), u64>,
    /// The lanes of which it is known what they have told.
    known: Vec<u16>,
}

impl Noted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of the lanes as they stand.
    pub fn saw(&self, lanes: &[LaneHead]) {
        if of_this_generation(lanes).count() > 1 {
            self.state().seen = signed(lanes);
        }
    }

    /// Whether something has grown since it was last looked, and that was long enough ago.
    pub fn is_due(&self, up: Duration) -> bool {
        let state = self.state();
        let is_over = |at| up.saturating_sub(at) >= CHECKPOINTED_EVERY;
        state.seen > state.looked && state.at.is_none_or(is_over)
    }
}

/// Leaves that are signed, in all lanes.
fn signed(lanes: &[LaneHead]) -> u64 {
    lanes.iter().map(|lane| lane.integrated).sum()
}

/// The lanes that are written to.
fn of_this_generation(lanes: &[LaneHead]) -> impl Iterator<Item = &LaneHead> + Clone {
    let newest = lanes.iter().map(|lane| lane.generation).max();
    lanes.iter().filter(move |lane| Some(lane.generation) == newest)
}

/// One turn in an organization that is due: each lane that this node writes to tells of the others,
/// where they have grown. What could not be written because its batch went to another lane is written by
/// the next turn.
pub async fn tick(
    world: &World,
    tenant: &Tenant,
    pens: &[Pen],
    (now, up): (Time, Duration),
) -> Result<(), Fault> {
    let lanes = world.store.lanes(tenant.id).await?;
    let (mut is_told, mut outcome) = (true, Ok(()));
    for pen in pens {
        let own = of_this_generation(&lanes).find(|lane| pen.writes_to(lane));
        let Some(own) = own else { continue };
        match tell(world, tenant, (own, *pen), &lanes, now).await {
            Ok(told) => is_told &= told,
            Err(fault) => outcome = Err(fault),
        }
    }
    if is_told {
        let mut state = tenant.noted.state();
        state.at = Some(up);
        if outcome.is_ok() {
            state.looked = signed(&lanes);
        }
    }
    outcome
}

/// Whether one lane has told of all others that have grown.
async fn tell(
    world: &World,
    tenant: &Tenant,
    (own, pen): (&LaneHead, Pen),
    lanes: &[LaneHead],
    now: Time,
) -> Result<bool, Fault> {
    let others = of_this_generation(lanes).filter(|lane| lane.lane != own.lane);
    let others = others.filter(|lane| lane.note.is_some()).take(CLAIMS_MAX);
    learn(world, tenant, own, lanes).await?;
    let mut has_grown = false;
    for other in others.clone() {
        let told = tenant.noted.state().told.get(&(own.lane, other.lane)).copied();
        has_grown = has_grown_since(world, tenant, other, told.unwrap_or(0)).await?;
        if has_grown {
            break;
        }
    }
    if !has_grown {
        return Ok(true);
    }
    let claims = others.map(|other| Ok((other.lane, claim(tenant, other)?)));
    let claims = claims.collect::<Result<Vec<_>, Fault>>()?;
    let event = event(&claims, now, world.random());
    let told: Vec<_> = claims.iter().map(|(lane, claim)| (*lane, claim.size)).collect();
    let said = OtherLanes { org: tenant.id, lane: own.lane, pen, claims };
    let is_written = world.store.record_checkpoints(Audited::new(said, event)).await?;
    if is_written {
        let mut state = tenant.noted.state();
        state.told.extend(told.into_iter().map(|(lane, size)| ((own.lane, lane), size)));
    }
    Ok(is_written)
}

/// Reads what a lane has told last, where this process does not know: its newest event says all of it.
async fn learn(
    world: &World,
    tenant: &Tenant,
    own: &LaneHead,
    lanes: &[LaneHead],
) -> Result<(), Fault> {
    if tenant.noted.state().known.contains(&own.lane) {
        return Ok(());
    }
    let kind = EventKind::LogCheckpointed.as_str();
    let (kinds, newest) = (vec![kind.to_owned()], (Order::Newest, 1));
    let found = world.store.leaves_of(tenant.id, own.lane, kinds, 0..own.sequenced, newest).await?;
    let claims = found.first().and_then(|leaf| match &leaf.body {
        LeafBody::Kept { payload, .. } => Claim::read(kind, payload),
        LeafBody::Pruned { .. } => None,
    });
    let mut state = tenant.noted.state();
    for claim in claims.unwrap_or_default() {
        if let Some(other) = lanes.iter().find(|lane| tenant.origin(lane) == claim.origin) {
            state.told.insert((own.lane, other.lane), claim.size);
        }
    }
    state.known.push(own.lane);
    Ok(())
}

/// Whether there is an event in a lane that is signed, was not told of, and does not tell of others:
/// those alone would have lanes tell of each other for ever.
async fn has_grown_since(
    world: &World,
    tenant: &Tenant,
    lane: &LaneHead,
    mut from: u64,
) -> Result<bool, Fault> {
    let kind = EventKind::LogCheckpointed.as_str();
    while from < lane.integrated {
        let leaves = world.store.leaves(tenant.id, lane.lane, from, GROWTH_LEAVES_MAX).await?;
        let mut signed = leaves.iter().filter(|leaf| leaf.sequence < lane.integrated);
        if signed.any(|leaf| leaf.kind != kind) {
            return Ok(true);
        }
        let Some(last) = leaves.last() else { break };
        from = last.sequence + 1;
    }
    Ok(false)
}

/// What is said of a lane: its newest checkpoint, if a key of the log signed it.
fn claim(tenant: &Tenant, lane: &LaneHead) -> Result<Claim, Fault> {
    let note = lane.note.as_deref().unwrap_or_default();
    let signed = checkpoint::open(note.as_bytes(), &tenant.log_vkeys_ever(lane)?);
    let signed = signed.map_err(|error| Fault::new("tell of a lane's checkpoint", error))?;
    let checkpoint::Checkpoint { origin, size, root } = signed;
    Ok(Claim { origin, size, root })
}

fn event(claims: &[(u16, Claim)], now: Time, salt: [u8; 16]) -> Event {
    let lines: Vec<_> = claims.iter().map(|(_, claim)| claim.clone()).collect();
    let body = Body {
        actor: Some(Actor { id: None, kind: "system" }),
        changes: [("checkpoints".into(), Claim::lines(&lines))].into(),
        ..Body::default()
    };
    Event::new(EventKind::LogCheckpointed, now, salt, body)
}
