//! What follows a restored backup: a new generation of the store, in which nothing works that was
//! issued before and nothing is issued until somebody has said what was ended since the backup was
//! made.
//!
//! A backup does not know of what came after it. So all tokens end, the lanes of the log are closed
//! and go on under a new origin, intermediates that sign certificates give their places to others, and
//! issuing is closed: either the old log's export is read again
//! ([`reconcile`]), or a person takes it upon themselves that nothing was ended ([`waive`]).

mod parting;
pub mod reconcile;

use accredit_wire::ids::{OrganizationId, RevocationId};
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::revocations::feed::LANES_MAX;
use accredit_wire::time::Time;
use accredit_wire::tlog::checkpoint::Checkpoint;
use accredit_wire::tlog::claim::Claim;
use serde::{Deserialize, Serialize};

use crate::audit::event::{Actor, Body, Event, EventKind};
use crate::audit::integrate::integrate;
use crate::ca;
use crate::context::{Cx, World};
use crate::issuance::authenticate::ASSERTION_LIFETIME_MAX;
use crate::keys::{KeyState, SigningKey};
use crate::ports::{Audited, LaneHead, Lookup, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::registry::{DecideError, Organization, commit, decide, keep_for, text};
use crate::revocation::Revocation;
use crate::tenant::Tenant;

/// The highest generation: revocation counters stay integers that every JSON reader knows exactly.
pub const GENERATION_MAX: u64 = (1 << 13) - 1;

/// Whether an organization's tokens are issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Issuing {
    /// They are.
    #[default]
    Open,
    /// A backup was restored, and nobody has said what was ended since it was made.
    Closed,
}

impl Issuing {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    /// The one that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Closed].into_iter().find(|issuing| issuing.as_str() == text)
    }
}

/// Why all tokens end where a backup was restored.
const RESTORED: &str = "a backup was restored";
/// The member of the first event's `changes` that says why a generation began.
const CAUSE: &str = "cause";
/// What stands there after a declared loss.
const DECLARED_LOSS: &str = "declared-loss";

/// Why a generation begins.
#[derive(Clone, Copy, Debug)]
pub enum Because<'a> {
    /// A backup was restored.
    Restored,
    /// A person declared that the store has lost what it had answered, and says what happened.
    LossDeclared(&'a str),
}

impl Because<'_> {
    /// Why all tokens of before end.
    const fn reason(&self) -> &str {
        match self {
            Self::Restored => RESTORED,
            Self::LossDeclared(reason) => reason,
        }
    }

    /// As the event says it.
    const fn cause(self) -> &'static str {
        match self {
            Self::Restored => "restore",
            Self::LossDeclared(_) => DECLARED_LOSS,
        }
    }
}

/// The revocation counter at which a generation begins, above any that was seen before.
pub const fn first_rev(generation: u64) -> u64 {
    generation << 40
}

/// A generation that begins.
#[derive(Clone, Debug)]
pub struct NewGeneration {
    /// In which organization.
    pub org: OrganizationId,
    /// Its number.
    pub generation: u64,
    /// The entry that ends all tokens of the organization; its counter is [`first_rev`].
    pub revocation: Revocation,
    /// Single-use values that end before this may be used up.
    pub spent_before: Time,
    /// Signing keys that change: intermediates of before, which are revoked, and those that follow.
    pub keys: Vec<SigningKey>,
}

/// Prepares a generation of an organization's store, to be written by the store: `at_least` is the
/// lowest number that it may have. The tree of each lane is completed and signed first, since the
/// lanes are closed by it; their last checkpoints stand in the event.
pub async fn begin(
    world: &World,
    tenant: &Tenant,
    (at_least, because): (u64, Because<'_>),
    now: Time,
) -> Result<Audited<NewGeneration>, Error> {
    let lanes = integrate(world, tenant).await?;
    let generation = at_least.max(tenant.generation + 1);
    if generation > GENERATION_MAX || lanes.len() >= LANES_MAX {
        return Err(Refusal::new(
            Rule::StateForbids,
            format!("{} has had as many generations as there can be", tenant.name),
            "begin a new installation",
        )
        .into());
    }
    if tenant.rev() >= first_rev(generation) {
        return Err(Fault::new("restore", "the revocation counter is beyond its generation").into());
    }
    let org = tenant.id;
    let revocation = Revocation {
        id: RevocationId::new(now.millis(), world.random()),
        target: org.any(),
        rev: 0,
        reason: text("reason", because.reason())?,
        revoked_at: now,
        keep_until: now.plus(keep_for()),
        ends_at: None,
    };
    let mut body = Body {
        actor: Some(Actor { id: None, kind: "system" }),
        target: Some(org.any()),
        ..Body::default()
    };
    body.changes.insert("generation".into(), generation.to_string());
    body.changes.insert(CAUSE.into(), because.cause().to_owned());
    body.changes.insert("checkpoints".into(), checkpoints(&lanes)?);
    let keys = ca::anew(world, tenant, now).await?;
    let revoked = keys.iter().filter(|key| key.state == KeyState::Revoked);
    let revoked: Vec<String> = revoked.map(|key| key.sealed.id.to_string()).collect();
    if !revoked.is_empty() {
        body.changes.insert("intermediates".into(), revoked.join(" "));
    }
    let event = Event::new(EventKind::LogGenerationStarted, now, world.random(), body);
    let spent_before = now.plus(ASSERTION_LIFETIME_MAX + 2 * SKEW_MAX);
    let new = NewGeneration { org, generation, revocation, spent_before, keys };
    Ok(Audited::new(new, event))
}

/// The last checkpoints of lanes, a line each: origin, size, root.
fn checkpoints(lanes: &[LaneHead]) -> Result<String, Fault> {
    let mut claims = Vec::with_capacity(lanes.len());
    for note in lanes.iter().filter_map(|lane| lane.note.as_deref()) {
        let Checkpoint { origin, size, root } = signed(note)?;
        claims.push(Claim { origin, size, root });
    }
    Ok(Claim::lines(&claims))
}

/// What a stored note says, whose signature was checked when it was made.
fn signed(note: &str) -> Result<Checkpoint, Fault> {
    let text = note.split("\n\n").next().map(|text| format!("{text}\n")).unwrap_or_default();
    Checkpoint::parse(&text).map_err(|error| Fault::new("read a checkpoint", error))
}

/// The refusal of a token while issuing is closed.
pub(crate) fn closed() -> Refusal {
    Refusal::new(
        Rule::IssuingClosed,
        "no tokens are issued: a backup was restored, and what was ended since it was made is not \
         known yet",
        "the operator reads the old log again with `accredit backup reconcile`, or an owner takes \
         it upon themselves with `accredit backup waive`",
    )
}

/// A person's word that nothing was ended since the backup was made, or that it does not matter.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Waive {
    /// Why.
    pub reason: String,
}

/// Opens issuing on a person's word.
pub async fn waive(cx: &Cx, asked: &Waive) -> Result<Organization, Error> {
    cx.require(AdminPermission::Administrators)?;
    let reason = text("reason", &asked.reason)?;
    let body = Body { reason: Some(reason), ..Body::default() };
    decide(|| async {
        let org = organization(cx).await?;
        cx.terms.expected.check(org.version)?;
        if org.issuing == Issuing::Open {
            return Err(Refusal::new(
                Rule::StateForbids,
                "issuing is open already",
                "only after a backup was restored is there something to be opened",
            )
            .into());
        }
        open(cx, org, (EventKind::RestoreWaived, body.clone()), &[]).await
    })
    .await
}

async fn organization(cx: &Cx) -> Result<Organization, Fault> {
    let found = cx.world.store.organization(Lookup::Id(cx.tenant.id)).await?;
    found.ok_or_else(|| Fault::new("open issuing", "no such organization"))
}

/// Opens issuing, with the event that says why, and writes what goes with it.
async fn open(
    cx: &Cx,
    mut org: Organization,
    (kind, mut body): (EventKind, Body),
    more: &[Row],
) -> Result<Organization, DecideError> {
    if org.issuing == Issuing::Closed {
        org.issuing = Issuing::Open;
        body.changes.insert("issuing".into(), org.issuing.as_str().to_owned());
    }
    body.target = Some(org.id.any());
    let event = cx.event(kind, body);
    let rows = [&[Row::Organization(org.clone())], more].concat();
    commit(cx, rows, None, event).await?;
    org.version += 1;
    Ok(org)
}
