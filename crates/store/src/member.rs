//! One member of a batch: what is to be written, and how it is.
//!
//! A variant for each kind of write instead of a closure: the hot one, an issuance, is then a
//! move of plain data between threads.

use std::collections::BTreeSet;

use accredit_domain::audit::checkpointed::{OtherLanes, Pen};
use accredit_domain::audit::event::{Event, SealedEvent};
use accredit_domain::federation::KeptKeys;
use accredit_domain::nodes::Telling;
use accredit_domain::ports::{Change, Committed, Installation, Issuance, Notice, Row};
use accredit_domain::ports::{Pruned, Replaced, SingleUse, Use, UsedUp};
use accredit_domain::registry::Credential;
use accredit_domain::registry::credential::{Holder, Proof};
use accredit_domain::registry::jwks::Followed;
use accredit_domain::registry::rotation_schedule::Looked;
use accredit_domain::registry::task::TaskState;
use accredit_domain::restoration::NewGeneration;
use accredit_domain::root::{Rewrapped, Rewrapping};
use accredit_domain::trust_domains::ForeignDomain;
use accredit_wire::ids::{AgentId, AnyId, InstanceId, OrganizationId};
use accredit_wire::time::Time;
use tokio::sync::oneshot;

use crate::cache::Tag;
use crate::driver::Conn;
use crate::failure::Failure;
use crate::ledger::{self, Expired};
use crate::log::{self, Head, Integration};
use crate::spent::Spent;
use crate::{
    agents, answers, certificates, credentials, descent, federations, followed, foreign_domains,
    generations, holdings, identities, installation, instances, keys, leases, listener, nodes,
    operators, organizations, persons, resources, revocations, status_lists, tasks, uses,
    workloads,
};

/// What is to be written.
pub(crate) enum Work {
    /// An issuance with its event, unless it was overtaken.
    Issue(Issuance, SealedEvent),
    /// An event, and what a proof used up.
    Event(OrganizationId, UsedUp, SealedEvent),
    /// What a lane says of others, if it is the one that is written to.
    Checkpoints(Box<(OtherLanes, SealedEvent)>),
    /// What a proof used up.
    Consume(OrganizationId, SingleUse),
    /// A change of the registry with its event.
    Change(Box<(Change, Event)>),
    /// A generation of an organization's store, with its event.
    Generation(Box<(NewGeneration, Event)>),
    /// Tiles and a checkpoint.
    Integrate(OrganizationId, Integration),
    /// Payloads of a lane that are deleted.
    Prune(OrganizationId, u16, Vec<Pruned>),
    /// Times of use.
    Uses(Vec<Use>),
    /// When agents are to be looked at next.
    Looked(OrganizationId, Vec<Looked>),
    /// How it goes with a key set that is followed.
    Followed(OrganizationId, Box<Followed>),
    /// How it goes with the bundle of another trust domain.
    ForeignDomain(OrganizationId, Box<ForeignDomain>),
    /// How it goes with the keys of a federation.
    FederationKeys(OrganizationId, Box<KeptKeys>),
    /// Rows whose time is over.
    Forget(Vec<Expired>, Time),
    /// The founding.
    Found(Installation),
    /// Everything that is wrapped under the root key, wrapped under another.
    Rewrap(Box<Rewrapping>),
    /// A lease of what one node does for all.
    Lease(Box<leases::Move>),
    /// What this node tells the others.
    Tell(Box<Telling>),
    /// A node that tells nothing any more.
    ForgetNode(String),
    /// The listener's roots.
    ListenerRoots(Box<Replaced>),
    /// Nothing: whether a write would succeed.
    Beat,
}

/// How many kinds of work there are: what a test of all of them holds itself to.
pub const KINDS: u32 = 21;

impl Work {
    /// Which kind it is, below [`KINDS`].
    pub(crate) const fn kind(&self) -> u32 {
        match self {
            Self::Issue(..) => 0,
            Self::Event(..) => 1,
            Self::Consume(..) => 2,
            Self::Change(_) => 3,
            Self::Generation(_) => 4,
            Self::Integrate(..) => 5,
            Self::Prune(..) => 6,
            Self::Uses(_) => 7,
            Self::Looked(..) => 8,
            Self::Followed(..) => 9,
            Self::Forget(..) => 10,
            Self::Found(_) => 11,
            Self::Rewrap(_) => 12,
            Self::Beat => 13,
            Self::FederationKeys(..) => 14,
            Self::Lease(_) => 15,
            Self::Tell(_) => 16,
            Self::ForgetNode(_) => 17,
            Self::Checkpoints(_) => 18,
            Self::ListenerRoots(_) => 19,
            Self::ForeignDomain(..) => 20,
        }
    }

    /// The organization whose lane it may add to.
    pub(crate) fn org(&self) -> Option<OrganizationId> {
        match self {
            Self::Issue(issuance, _) => Some(issuance.org),
            Self::Event(org, ..) => Some(*org),
            Self::Checkpoints(both) => Some(both.0.org),
            Self::Change(change) => Some(change.0.org),
            Self::Consume(..)
            | Self::Generation(_)
            | Self::Integrate(..)
            | Self::Prune(..)
            | Self::Uses(_)
            | Self::FederationKeys(..)
            | Self::Followed(..)
            | Self::ForeignDomain(..)
            | Self::Looked(..)
            | Self::Forget(..)
            | Self::Found(_)
            | Self::Rewrap(_)
            | Self::Lease(_)
            | Self::Tell(_)
            | Self::ForgetNode(_)
            | Self::ListenerRoots(_)
            | Self::Beat => None,
        }
    }

    /// The organization in which it ends something: an entry whose number goes into all of its lanes.
    pub(crate) fn ends_in(&self) -> Option<OrganizationId> {
        match self {
            Self::Change(both) => both.0.revocation.as_ref().map(|_| both.0.org),
            Self::Generation(both) => Some(both.0.org),
            Self::Issue(..)
            | Self::Event(..)
            | Self::Checkpoints(_)
            | Self::Consume(..)
            | Self::Integrate(..)
            | Self::Prune(..)
            | Self::Uses(_)
            | Self::FederationKeys(..)
            | Self::Followed(..)
            | Self::ForeignDomain(..)
            | Self::Looked(..)
            | Self::Forget(..)
            | Self::Found(_)
            | Self::Rewrap(_)
            | Self::Lease(_)
            | Self::Tell(_)
            | Self::ForgetNode(_)
            | Self::ListenerRoots(_)
            | Self::Beat => None,
        }
    }

    /// Adds the organizations whose rows it writes. [`Self::Rewrap`] writes those of all.
    pub(crate) fn organizations(&self, into: &mut BTreeSet<String>) {
        let one = match self {
            Self::Issue(issuance, _) => issuance.org,
            Self::Checkpoints(both) => both.0.org,
            Self::Change(both) => both.0.org,
            Self::Generation(both) => both.0.org,
            Self::Event(org, ..)
            | Self::Consume(org, _)
            | Self::Integrate(org, _)
            | Self::Prune(org, ..)
            | Self::Looked(org, _)
            | Self::Followed(org, _)
            | Self::ForeignDomain(org, _)
            | Self::FederationKeys(org, _) => *org,
            Self::Uses(uses) => return into.extend(uses.iter().map(|one| one.org.to_string())),
            Self::Forget(rows, _) => {
                return into.extend(rows.iter().map(|row| row.org().to_owned()));
            }
            Self::Found(_)
            | Self::Rewrap(_)
            | Self::Lease(_)
            | Self::Tell(_)
            | Self::ForgetNode(_)
            | Self::ListenerRoots(_)
            | Self::Beat => return,
        };
        into.insert(one.to_string());
    }

    /// Whether it refuses before it writes, so that it needs no savepoint: where it has begun to write, the
    /// engine alone can fail it.
    pub(crate) fn refuses_first(&self) -> bool {
        match self {
            Self::Issue(issuance, _) => issuance.used_up.is_nothing(),
            Self::Event(_, used_up, _) => used_up.is_nothing(),
            // Its lease is looked at before, which changes nothing.
            Self::Checkpoints(_)
            | Self::Consume(..)
            | Self::Followed(..)
            | Self::ForeignDomain(..)
            | Self::FederationKeys(..)
            | Self::Lease(_)
            | Self::ForgetNode(_)
            | Self::Beat => true,
            Self::Change(_)
            | Self::Generation(_)
            | Self::Integrate(..)
            | Self::Prune(..)
            | Self::Uses(_)
            | Self::Looked(..)
            | Self::Forget(..)
            | Self::Found(_)
            | Self::Tell(_)
            | Self::ListenerRoots(_)
            | Self::Rewrap(_) => false,
        }
    }
}

/// A member and whom to answer.
pub(crate) struct Member {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Result<Committed, Failure>>,
}

/// What a member came to, in case its batch is committed.
pub(crate) struct Done {
    /// For the caller.
    pub(crate) committed: Committed,
    /// For whoever keeps something in memory.
    pub(crate) notice: Option<Box<Notice>>,
    /// For whoever keeps something wrapped.
    pub(crate) rewrapped: Option<Box<Rewrapped>>,
    /// For the caches.
    pub(crate) touched: Vec<Tag>,
    /// Nothing that anybody has in memory holds any more.
    pub(crate) anew: bool,
}

impl Done {
    /// Nothing that anybody must be told.
    pub(crate) fn quiet(rev: u64) -> Self {
        let committed = Committed { rev, ended: 0 };
        Self { committed, notice: None, rewrapped: None, touched: Vec::new(), anew: false }
    }

    /// Whether there is anything that somebody must be told.
    pub(crate) fn tells(&self) -> bool {
        self.anew || self.notice.is_some() || self.rewrapped.is_some() || !self.touched.is_empty()
    }

    /// Adds rows that ended with another one.
    fn ended_below(&mut self, (ended, touched): (u64, Vec<Tag>)) {
        self.committed.ended += ended;
        self.touched.extend(touched);
    }
}

/// Writes what adds nothing to a lane.
pub(crate) fn run_aside(
    conn: &mut dyn Conn,
    spent: &mut Spent,
    work: &Work,
) -> Result<(), Failure> {
    match work {
        Work::Consume(org, value) => {
            let first = spent.spend(conn, (*org, &org.to_string()), value)?;
            if first { Ok(()) } else { Err(Failure::Replayed) }
        }
        Work::Generation(both) => generations::begin(conn, &both.0, &both.1),
        Work::Integrate(org, integration) => log::integrate(conn, &org.to_string(), integration),
        Work::Prune(org, lane, pruned) => log::prune(conn, &org.to_string(), *lane, pruned)
            .map_err(|error| Failure::of("prune the log", error)),
        Work::Uses(times) => uses::write(conn, times),
        Work::Looked(org, looked) => agents::looked_at(conn, &org.to_string(), looked),
        Work::Followed(org, row) => followed::note(conn, &org.to_string(), row),
        Work::ForeignDomain(org, row) => foreign_domains::note(conn, &org.to_string(), row),
        Work::Forget(rows, now) => {
            ledger::forget(conn, rows, *now)?;
            spent.forget_before(*now);
            Ok(())
        }
        Work::Found(founded) => installation::found(conn, founded),
        Work::Lease(to) => leases::write(conn, to),
        Work::Tell(telling) => nodes::write(conn, telling),
        Work::ForgetNode(node) => nodes::forget(conn, node),
        Work::ListenerRoots(replaced) => listener::write(conn, replaced),
        Work::Beat => installation::beat(conn),
        Work::Issue(..)
        | Work::Event(..)
        | Work::Checkpoints(_)
        | Work::Change(_)
        | Work::FederationKeys(..)
        | Work::Rewrap(_) => Err(Failure::wrong("write", "this member belongs into a lane")),
    }
}

/// Writes an issuance. `newer` is what was revoked since some count at or below the decision's.
pub(crate) fn issue(
    conn: &mut dyn Conn,
    (org, head): (&str, &mut Head),
    (issuance, event): (&Issuance, &SealedEvent),
    newer: &[(u64, AnyId)],
    spent: &mut Spent,
) -> Result<Done, Failure> {
    const OPERATION: &str = "record an issuance";
    if issuance.rev > head.fence {
        // It saw a revocation that this store does not have: another generation's.
        return Err(Failure::wrong(OPERATION, "the decision saw a later state than there is"));
    }
    let dead =
        |(rev, target): &&(u64, AnyId)| *rev > issuance.rev && issuance.lineage.contains(target);
    if let Some((_, target)) = newer.iter().find(dead) {
        return Err(Failure::Overtaken(*target));
    }
    let UsedUp { assertion, possession } = &issuance.used_up;
    for (value, replayed) in [(assertion, Failure::Replayed), (possession, Failure::ProofReplayed)]
    {
        if let Some(value) = value
            && !spent.spend(conn, (issuance.org, org), value)?
        {
            return Err(replayed);
        }
    }
    if let Some(row) = &issuance.certificate {
        certificates::has_room(conn, org, row)?;
        certificates::write(conn, org, row)?;
    }
    if let Some(place) = &issuance.status {
        status_lists::write(conn, org, issuance, place)?;
    }
    log::append(conn, org, head, event).map_err(|error| Failure::of(OPERATION, error))?;
    Ok(Done::quiet(head.fence))
}

/// Writes an event; what a proof used up may be used already.
pub(crate) fn event(
    conn: &mut dyn Conn,
    (org, head): (&str, &mut Head),
    (id, used_up): (OrganizationId, &UsedUp),
    event: &SealedEvent,
    spent: &mut Spent,
) -> Result<Done, Failure> {
    for value in used_up.each() {
        spent.spend(conn, (id, org), value)?;
    }
    log::append(conn, org, head, event).map_err(|error| Failure::of("record an event", error))?;
    Ok(Done::quiet(head.fence))
}

/// Writes what a lane says of others, if it is the one that this batch adds to, by right, and if each
/// checkpoint is there.
pub(crate) fn checkpoints(
    conn: &mut dyn Conn,
    (org, head): (&str, &mut Head),
    (said, event): (&OtherLanes, &SealedEvent),
) -> Result<Done, Failure> {
    let failed = |error| Failure::of("record checkpoints", error);
    if said.lane != head.lane {
        return Err(Failure::Stale);
    }
    if let Pen::Turn(Some(fence)) = said.pen {
        leases::still(conn, fence).map_err(|failure| match failure {
            Failure::Engine(..) => failure,
            _ => Failure::Stale,
        })?;
    }
    for (lane, claim) in &said.claims {
        if !log::is_signed(conn, (org, *lane), claim).map_err(failed)? {
            return Err(Failure::Stale);
        }
    }
    log::append(conn, org, head, event).map_err(failed)?;
    Ok(Done::quiet(head.fence))
}

/// Writes the rows of a change and says what they touch. The event and the revocation follow.
pub(crate) fn rows(conn: &mut dyn Conn, org: &str, change: &Change) -> Result<Done, Failure> {
    const OPERATION: &str = "commit a change";
    let notice = Notice {
        org: change.org,
        rev: 0,
        at: change.at,
        place: 0,
        is_elsewhere: false,
        revocation: None,
        organization: None,
        keys: Vec::new(),
        revocations_age_min: None,
        credentials: Vec::new(),
    };
    let mut done = Done { notice: Some(Box::new(notice)), ..Done::quiet(0) };
    for row in &change.rows {
        match row {
            Row::Organization(row) if row.id == change.org => organizations::write(conn, row)?,
            Row::Organization(_) => {
                return Err(Failure::wrong(OPERATION, "it names another organization"));
            }
            Row::Person(row) => persons::write(conn, org, row)?,
            Row::Resource(row) => resources::write(conn, org, row)?,
            Row::Federation(row) => federations::write(conn, org, row)?,
            Row::FederationKeys(row) => federations::write_keys(conn, org, row)?,
            Row::Identity(row) => identities::write(conn, org, row)?,
            Row::EndIdentity(row) => identities::remove(conn, org, row)?,
            Row::Agent(row) => agents::write(conn, org, row)?,
            Row::Instance(row) => instances::write(conn, org, row)?,
            Row::Workload(row) => workloads::write(conn, org, row)?,
            Row::Task(row) => {
                tasks::write(conn, org, row)?;
                if row.version > 0 && row.state == TaskState::Ended {
                    done.ended_below(descent::end_in(conn, org, row.id.any())?);
                }
            }
            Row::Credential(row) => {
                credentials::write(conn, org, row)?;
                match (&row.holder, row.version) {
                    // There is no secret to rotate.
                    _ if !row.proof.is_kept_by_holder() => {}
                    (Holder::Agent(agent), 0) => {
                        agents::look_when_due(conn, org, *agent, row.created_at)?;
                    }
                    (Holder::Agent(agent), _) => agents::look_now(conn, org, *agent)?,
                    _ => {}
                }
            }
            Row::Key(row) if row.sealed.org == Some(change.org) => keys::write(conn, org, row)?,
            Row::Key(_) => {
                return Err(Failure::wrong(OPERATION, "it names another organization's key"));
            }
            Row::Operator(row) => operators::write(conn, row)?,
            Row::EndOperators => done.committed.ended += operators::end(conn)?,
            Row::Answer(row) => answers::write(conn, row, change.at)?,
            Row::StillFollows(seen) => followed::still(conn, org, seen)?,
            Row::Leased(fence) => leases::still(conn, *fence)?,
            Row::Room(room) => holdings::has_room(conn, org, *room)?,
            Row::Follow(row) => followed::write(conn, org, row)?,
            Row::Unfollow(agent) => followed::remove(conn, org, *agent)?,
            Row::ForeignDomain(row) => foreign_domains::write(conn, org, row)?,
            Row::EndForeignDomain(row) => foreign_domains::remove(conn, org, row)?,
            // Appended with the change's own.
            Row::Event(_) => {}
            Row::EndAgent(agent) => {
                done.committed.ended += instances::end_of_agent(conn, org, *agent)?;
                done.committed.ended += credentials::end_of_agent(conn, org, *agent)?;
                done.committed.ended += tasks::end_of_agent(conn, org, *agent)?;
            }
            Row::EndInstance(instance) => {
                done.committed.ended += credentials::end_of_instance(conn, org, *instance)?;
                done.ended_below(descent::end_in(conn, org, instance.any())?);
                touch_agent_of(conn, org, *instance, &mut done.touched)?;
            }
        }
        touch(change.org, row, &mut done.touched);
    }
    holdings::check(conn, org, change)?;
    Ok(done)
}

/// Which cached facts a row ends.
fn touch(org: OrganizationId, row: &Row, touched: &mut Vec<Tag>) {
    match row {
        // Nothing cached says anything about them.
        Row::Organization(_)
        | Row::Key(_)
        | Row::Operator(_)
        | Row::EndOperators
        | Row::StillFollows(_)
        | Row::Leased(_)
        | Row::Room(_)
        | Row::Event(_)
        | Row::ForeignDomain(_)
        | Row::EndForeignDomain(_)
        | Row::Workload(_)
        | Row::Answer(_) => {}
        Row::Person(row) => {
            // A new person owns nothing yet.
            if row.version > 0 {
                touched.extend([Tag::of(org.any()), Tag::of(row.id.any())]);
            }
        }
        Row::Resource(row) => {
            let id = row.id.any();
            touched.extend([Tag::of(org.any()), Tag::of(id), Tag::keys_of(id)]);
        }
        Row::Federation(row) => touched.push(Tag::of(row.id.any())),
        Row::FederationKeys(row) => touched.push(Tag::of(row.federation.any())),
        Row::Identity(row) | Row::EndIdentity(row) => touched.push(Tag::of(row.person.any())),
        Row::Agent(row) => touched.push(Tag::of(row.id.any())),
        Row::Instance(row) => {
            if row.version > 0 {
                touched.extend([Tag::of(row.id.any()), Tag::keys_of(row.agent.any())]);
                touched.push(Tag::births_in(org));
            }
        }
        Row::Task(row) => {
            if row.version > 0 {
                touched.extend([Tag::of(row.id.any()), Tag::births_in(org)]);
            }
        }
        Row::Credential(row) => {
            touch_credential(row, touched);
            if row.version > 0 {
                touched.push(Tag::births_in(org));
            }
        }
        Row::EndAgent(agent) => {
            touched.extend([Tag::of(agent.any()), Tag::keys_of(agent.any())]);
            touched.push(Tag::births_in(org));
        }
        Row::Follow(row) => touched.push(Tag::keys_of(row.agent.any())),
        Row::Unfollow(agent) => touched.push(Tag::keys_of(agent.any())),
        Row::EndInstance(instance) => touched.push(Tag::of(instance.any())),
    }
}

/// A new secret is in no cache; a new key is missing from its holder's list, a rule from its platform's.
fn touch_credential(row: &Credential, touched: &mut Vec<Tag>) {
    if row.version > 0 {
        touched.push(Tag::of(row.id.any()));
    }
    if let Proof::Workload(rule) = &row.proof {
        touched.push(Tag::of(rule.federation.any()));
    }
    if matches!(row.proof, Proof::Key(_)) {
        match &row.holder {
            Holder::Agent(agent) | Holder::Instance(_, agent) => {
                touched.push(Tag::keys_of(agent.any()));
            }
            Holder::Resource(resource) => touched.push(Tag::keys_of(resource.any())),
            Holder::Admin(_) => {}
        }
    }
}

fn touch_agent_of(
    conn: &mut dyn Conn,
    org: &str,
    instance: InstanceId,
    touched: &mut Vec<Tag>,
) -> Result<(), Failure> {
    let found = instances::find(conn, org, instance)
        .map_err(|error| Failure::of("commit a change", error))?;
    let agent: Option<AgentId> = found.map(|row| row.agent);
    touched.extend(agent.map(|agent| Tag::keys_of(agent.any())));
    Ok(())
}

/// Completes a change whose rows are written: its revocation, its event, its notice.
pub(crate) fn complete(
    conn: &mut dyn Conn,
    (org, head): (&str, &mut Head),
    (change, event): (&Change, &Event),
    mut done: Done,
) -> Result<Done, Failure> {
    const OPERATION: &str = "commit a change";
    let failed = |error| Failure::of(OPERATION, error);
    let mut entry = None;
    if let Some(revocation) = &change.revocation {
        let written = revocations::write(conn, org, revocation, head.last_at)?;
        head.fence = written.rev;
        for row in &change.rows {
            if let Row::Answer(row) = row {
                answers::complete(conn, row, written.rev)?;
            }
        }
        entry = Some(written);
    }
    let further = change.rows.iter().filter_map(|row| match row {
        Row::Event(further) => Some((further.as_ref(), None)),
        _ => None,
    });
    let own = (event, entry.as_ref().map(|entry| entry.rev));
    for (event, rev) in further.chain([own]) {
        let sealed = event.clone().seal(rev);
        let sealed = sealed
            .map_err(|error| Failure::Fault(accredit_domain::Fault::new(OPERATION, error)))?;
        log::append(conn, org, head, &sealed).map_err(failed)?;
    }
    done.committed.rev = head.fence;
    if let Some(notice) = done.notice.as_deref_mut() {
        notice.rev = head.fence;
        notice.revocation = entry;
        notice_rows(conn, org, change, notice)?;
    }
    Ok(done)
}

/// What observers are told about rows, as they now stand.
fn notice_rows(
    conn: &mut dyn Conn,
    org: &str,
    change: &Change,
    notice: &mut Notice,
) -> Result<(), Failure> {
    for row in &change.rows {
        match row {
            Row::Organization(row) => {
                let mut row = row.clone();
                row.version += 1;
                row.rev = notice.rev;
                notice.organization = Some(row);
            }
            Row::Key(row) => {
                let mut row = row.clone();
                row.version += 1;
                notice.keys.push(row);
            }
            Row::Resource(_) => {
                notice.revocations_age_min = resources::revocations_age_min(conn, org)
                    .map_err(|error| Failure::of("commit a change", error))?;
            }
            // Nobody has heard of a new one.
            Row::Credential(row) if row.version > 0 => {
                notice.credentials.push((row.id, row.expires_at));
            }
            Row::Person(_)
            | Row::Federation(_)
            | Row::FederationKeys(_)
            | Row::Identity(_)
            | Row::EndIdentity(_)
            | Row::Agent(_)
            | Row::Instance(_)
            | Row::Workload(_)
            | Row::Task(_)
            | Row::Credential(_)
            | Row::Operator(_)
            | Row::EndOperators
            | Row::EndAgent(_)
            | Row::StillFollows(_)
            | Row::Leased(_)
            | Row::Room(_)
            | Row::Follow(_)
            | Row::Unfollow(_)
            | Row::ForeignDomain(_)
            | Row::EndForeignDomain(_)
            | Row::Event(_)
            | Row::Answer(_)
            | Row::EndInstance(_) => {}
        }
    }
    Ok(())
}
