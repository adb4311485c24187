//! The one writer: a thread that commits all waiting members together and answers them together.
//!
//! A member that refuses before it writes needs no savepoint; any other runs in one, for which the engine
//! keeps a copy of each page. A member that fails is undone and answered alone, a commit that fails answers
//! all; where the engine fails a member that has no savepoint, the batch is run again without it. The heads of
//! lanes are kept in memory between batches and held to their rows by the conditional update that
//! ends each batch; where one has moved, the batch is undone and run again on fresh heads.
//!
//! After a commit, in this order: caches forget what has changed, observers are told, members are
//! answered. So whoever has seen a new revocation counter finds facts at least as new.
//!
//! Where other processes write to the same store, each batch holds what it writes first, in one order, and
//! reads heads then ([`crate::holds`]): what is newer than a decision is read after the wait. It tells what
//! it changed in the same transaction ([`crate::changes`]).
//!
//! A session that is lost before its COMMIT was sent has done nothing: the batch is run again on another.
//! A commit that fails may have happened. Its members are told that it failed, which is the safe
//! side for whoever waits for a token; what is in memory is not: so it is looked, at once and if
//! need be before the next batch, whether the rows are there, and then caches and observers are
//! told like after any commit. Until that is known nothing else is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use accredit_domain::Fault;
use accredit_domain::ports::{Committed, StoreHealth, StoreTrouble, UsedUp};
use accredit_domain::root::Rewrapping;
use accredit_wire::ids::{AnyId, OrganizationId};
use hashbrown::HashMap;
use tokio::runtime::Handle;

use crate::cache::Tag;
use crate::changes::{self, Telling};
use crate::driver::{Conn, DiskTrouble, DriverError};
use crate::failure::Failure;
use crate::holds::{self, NotHeld, OwnLanes};
use crate::log::{self, Head};
use crate::maintenance::Journal;
use crate::member::{self, Done, Member, Work};
use crate::shared::Shared;
use crate::spent::Spent;
use crate::{federations, installation, revocations, rewrap};

/// Members of one batch: work that takes a few milliseconds at most.
pub const BATCH_MAX: usize = 256;
/// How long the writer waits for company, where it has lately had some.
pub const LINGER: Duration = Duration::from_micros(400);
/// Members that are company enough: one more than these saves less than a thirtieth of a sync, and
/// those who come while a batch is written fill the next.
pub(crate) const COMPANY_MAX: usize = 32;
/// Heads of lanes that are kept in memory: about a kilobyte for four.
pub const HEADS_MAX: usize = 4096;
/// How often a batch is run: once, again where a head had moved, and again without a member whose
/// failure could not be undone alone.
const RUNS_MAX: usize = 3;
/// How long a batch may have taken to be run once more after the engine was not there.
const RETRY_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a batch may take before nothing more is queued behind it.
const STALL_TIME_MAX: Duration = Duration::from_secs(2);

type Random = foldhash::fast::RandomState;

/// A lane that is written to, with its organization's id as text.
#[derive(Clone)]
struct Lane {
    org: String,
    head: Head,
}

/// What was revoked after `after`, as read once for a batch.
struct Newer {
    after: u64,
    targets: Vec<(u64, AnyId)>,
}

/// A commit that failed, of which nobody knows whether it happened.
struct Doubt {
    witness: Option<Witness>,
    outcomes: Outcomes,
}

/// What came of a batch's members, and what there is to tell where others must hear of it.
struct Outcomes {
    members: Vec<Result<Done, Failure>>,
    telling: Option<Telling>,
}

/// What is there if a batch was committed, and not if it was not.
enum Witness {
    /// The head of a lane that the batch moved on, with its organization's id.
    Lane(String, Head),
    /// A single-use value, where no lane moved.
    Spent(OrganizationId, u64),
    /// Under which of its root keys the store came, where there is no organization yet.
    Root(u32),
}

impl Doubt {
    fn was_committed(&self, conn: &mut dyn Conn) -> Result<bool, DriverError> {
        if conn.in_transaction() {
            return Ok(false);
        }
        match &self.witness {
            Some(Witness::Lane(org, head)) => log::is_written(conn, org, head),
            Some(Witness::Spent(org, seq)) => Spent::is_written(conn, *org, *seq),
            Some(Witness::Root(root)) => Ok(installation::root(conn)? == *root),
            // Nothing of it is kept in memory.
            None => Ok(false),
        }
    }
}

/// Why a whole batch was not committed.
enum BatchError {
    /// A lane's row is not as it was last seen.
    HeadMoved,
    /// This member failed without a savepoint. An engine that says so did nothing; one that did
    /// it nevertheless would leave a leaf behind that no head knows, and so all of it is undone.
    Unguarded(usize, Failure),
    /// The engine failed where no single member could be blamed.
    Driver(DriverError),
}

impl From<DriverError> for BatchError {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl BatchError {
    fn trouble(&self) -> StoreTrouble {
        match self {
            Self::Driver(DriverError::Disk(DiskTrouble::Full, _)) => StoreTrouble::Full,
            Self::Driver(DriverError::Disk(DiskTrouble::ReadOnly, _)) => StoreTrouble::ReadOnly,
            Self::Driver(
                DriverError::Unique(_)
                | DriverError::Conflict(_)
                | DriverError::Unavailable(_)
                | DriverError::Failed(_),
            )
            | Self::Unguarded(..)
            | Self::HeadMoved => StoreTrouble::Failing,
        }
    }
}

/// The writer's side of the store.
pub(crate) struct Writer {
    conn: Box<dyn Conn>,
    shared: Arc<Shared>,
    journal: Journal,
    lanes: HashMap<OrganizationId, Lane, Random>,
    newer: HashMap<OrganizationId, Newer, Random>,
    spent: Spent,
    /// The lanes that nobody else writes to.
    own: OwnLanes,
    /// The last commit, where it failed and may have happened.
    doubt: Option<Doubt>,
    company: Company,
    /// Which session of the connection was asked whether all is there that this node knows.
    checked: u64,
    /// Where callers wait, if that is one place.
    runtime: Option<Handle>,
}

/// How many members come together lately: the largest batch of late, slowly forgotten.
#[derive(Default)]
struct Company {
    /// In sixteenths of a member.
    sixteenths: usize,
}

impl Company {
    /// How many to wait for. One, where the last came alone: it waits for nobody.
    fn target(&self) -> usize {
        (self.sixteenths / 16).clamp(1, COMPANY_MAX)
    }

    fn seen(&mut self, members: usize) {
        let faded = self.sixteenths - self.sixteenths / 32;
        self.sixteenths = if members <= 1 { 0 } else { faded.max(members * 16) };
    }
}

/// Whatever ends the writer, nobody waits for it any longer.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        // Dropping a member tells its caller that there is no answer.
        drop(self.0.queue.abandon());
    }
}

impl Writer {
    /// A writer that knows what earlier ones have used up.
    pub(crate) fn new(
        conn: Box<dyn Conn>,
        shared: Arc<Shared>,
        journal: Journal,
        spent: Spent,
    ) -> Self {
        Self {
            checked: conn.session(),
            conn,
            shared,
            journal,
            lanes: HashMap::default(),
            newer: HashMap::default(),
            own: OwnLanes::default(),
            spent,
            doubt: None,
            company: Company::default(),
            runtime: Handle::try_current().ok(),
        }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let abandon = Abandon(Arc::clone(&self.shared));
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let linger = self.shared.linger;
        while abandon.0.queue.take(&mut batch, BATCH_MAX, self.company.target(), linger) {
            if batch.is_empty() {
                continue;
            }
            self.company.seen(batch.len());
            self.shared.stats.batch(&batch);
            let began = self.shared.stats.began();
            self.write(&mut batch, began);
            self.journal.written(&mut *self.conn, batch.len());
            batch.clear();
        }
    }

    /// Writes a batch and answers its members. It has ended before they are: whoever was answered does
    /// not find it under way.
    fn write(&mut self, batch: &mut Vec<Member>, began: u64) {
        let mut failed: Option<(usize, Failure)> = None;
        for run in 1..=RUNS_MAX {
            match self.attempt(batch, failed.as_ref().map(|(place, _)| *place)) {
                Ok(mut outcomes) => {
                    if let Some((place, failure)) = failed {
                        outcomes.members.insert(place, Err(failure));
                    }
                    self.shared.stats.trouble(None);
                    self.shared.stats.ended(began);
                    return self.publish(batch, outcomes);
                }
                Err(BatchError::HeadMoved) if run < RUNS_MAX => self.forget(),
                Err(BatchError::Unguarded(place, failure)) if run < RUNS_MAX => {
                    failed = Some((place, failure));
                    self.forget();
                }
                Err(BatchError::Driver(error)) if run < RUNS_MAX && self.may_retry(&error) => {
                    tracing::warn!(%error, members = batch.len(), "a batch is run again");
                    self.shared.stats.retried();
                    self.forget();
                }
                Err(error) => {
                    self.shared.stats.trouble(Some(error.trouble()));
                    if self.settle().is_err() {
                        // What may have been used up is.
                        self.spent.keep();
                    }
                    self.forget();
                    self.shared.stats.ended(began);
                    if let BatchError::Driver(DriverError::Unavailable(_)) = &error {
                        // They would each wait as long for the same answer. Before anybody is
                        // told: who asks again then is not refused for what was before.
                        self.shared.queue.take_waiting(batch);
                    }
                    refuse(batch, &error);
                    return;
                }
            }
        }
    }

    /// Whether a batch that failed of this is run again: nothing of it happened, and it may succeed.
    fn may_retry(&self, error: &DriverError) -> bool {
        self.doubt.is_none()
            && match error {
                DriverError::Conflict(_) => true,
                DriverError::Unavailable(_) => self.shared.stats.under_way() < RETRY_TIME_MAX,
                DriverError::Unique(_) | DriverError::Disk(..) | DriverError::Failed(_) => false,
            }
    }

    /// Finds out whether the last commit happened, where that is not known, and tells of it.
    fn settle(&mut self) -> Result<(), DriverError> {
        let Some(doubt) = self.doubt.take() else { return Ok(()) };
        match doubt.was_committed(&mut *self.conn) {
            Ok(true) => {
                tracing::warn!("a batch whose commit failed was committed");
                self.spent.keep();
                self.tell(&doubt.outcomes);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                self.doubt = Some(doubt);
                Err(error)
            }
        }
    }

    /// Undoes whatever is begun, and forgets what was learned from it.
    fn forget(&mut self) {
        self.lanes.clear();
        self.own.forget();
        self.spent.undo_to(0);
        if let Err(error) = self.conn.rollback() {
            // The next batch rolls back again before it begins.
            tracing::error!(%error, "a batch could not be rolled back");
        }
    }

    /// Writes a batch, perhaps without one of its members: then the others are guarded.
    fn attempt(
        &mut self,
        batch: &[Member],
        without: Option<usize>,
    ) -> Result<Outcomes, BatchError> {
        self.settle()?;
        if self.conn.in_transaction() {
            self.conn.rollback()?;
        }
        if self.lanes.len() > HEADS_MAX {
            self.lanes.clear();
        }
        self.newer.clear();
        self.conn.begin_write()?;
        if let Some(changes) = &self.shared.changes
            && self.checked != self.conn.session()
        {
            if let Err(error) = changes.check(&mut *self.conn) {
                if let Some(before) = changes.to_be_told() {
                    // Before anybody is answered: nodes that know nothing of it are to hear.
                    self.conn.rollback()?;
                    self.conn.begin_write()?;
                    changes::write_found(&mut *self.conn, before)?;
                    self.conn.commit()?;
                }
                return Err(error.into());
            }
            self.checked = self.conn.session();
        }
        self.hold(batch)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (place, member) in batch.iter().enumerate() {
            if without == Some(place) {
                continue;
            }
            let guarded = without.is_some() || !member.work.refuses_first();
            match self.member(&member.work, guarded)? {
                Err(failure @ Failure::Fault(_)) if !guarded => {
                    return Err(BatchError::Unguarded(place, failure));
                }
                outcome => outcomes.push(outcome),
            }
        }
        for lane in self.lanes.values() {
            if lane.head.next != lane.head.stored_next
                && !log::advance(&mut *self.conn, &lane.org, &lane.head)?
            {
                return Err(BatchError::HeadMoved);
            }
        }
        let telling = match &self.shared.changes {
            Some(changes) => changes.write(&mut *self.conn, &outcomes)?,
            None => None,
        };
        if let Err(error) = self.conn.commit() {
            if !self.conn.is_in_doubt() || matches!(error, DriverError::Conflict(_)) {
                return Err(error.into());
            }
            let moved = |lane: &&Lane| lane.head.next != lane.head.stored_next;
            let lane = self.lanes.values().find(moved);
            let lane = lane.map(|lane| Witness::Lane(lane.org.clone(), lane.head));
            let spent = || self.spent.last_used().map(|(org, seq)| Witness::Spent(org, seq));
            let root = || {
                let mut rewrapped =
                    outcomes.iter().flatten().filter_map(|it| it.rewrapped.as_ref());
                rewrapped.next_back().map(|rewrapped| Witness::Root(rewrapped.root))
            };
            let witness = lane.or_else(spent).or_else(root);
            let outcomes = Outcomes { members: outcomes, telling };
            self.doubt = Some(Doubt { witness, outcomes });
            return Err(error.into());
        }
        self.spent.keep();
        if let Some(changes) = &self.shared.changes {
            let moved = |lane: &&Lane| lane.head.next != lane.head.stored_next;
            self.lanes.values().filter(moved).for_each(|lane| changes.added(&lane.org, lane.head));
        }
        for lane in self.lanes.values_mut() {
            lane.head.stored_next = lane.head.next;
        }
        Ok(Outcomes { members: outcomes, telling })
    }

    /// Holds what a batch writes, where others may write there, too; what is known of heads is from
    /// before the wait.
    fn hold(&mut self, batch: &[Member]) -> Result<(), BatchError> {
        if self.shared.changes.is_none() {
            return Ok(());
        }
        self.lanes.clear();
        let slot = self.shared.slot();
        match holds::hold(&mut *self.conn, batch, slot, &mut self.own) {
            Ok(heads) => {
                let lanes = heads.into_iter().map(|(id, org, head)| (id, Lane { org, head }));
                self.lanes.extend(lanes);
                Ok(())
            }
            Err(NotHeld::Driver(error)) => Err(error.into()),
            Err(NotHeld::Lost(slot)) => {
                self.shared.left(slot);
                Err(BatchError::HeadMoved)
            }
            Err(NotHeld::Closed) => Err(BatchError::HeadMoved),
        }
    }

    /// Writes one member. An error of the outer kind is the whole batch's.
    fn member(&mut self, work: &Work, guarded: bool) -> Result<Result<Done, Failure>, DriverError> {
        let before = work.org().and_then(|org| Some((org, self.lanes.get(&org)?.head)));
        let mark = self.spent.mark();
        if guarded {
            self.conn.savepoint()?;
        }
        let outcome = self.run_work(work);
        match &outcome {
            Ok(_) if guarded => self.conn.release()?,
            Ok(_) => {}
            Err(Failure::Engine(_, error)) => return Err(error.clone()),
            Err(failure) => {
                if !self.conn.in_transaction() {
                    let why = format!("the engine ended the transaction: {failure:?}");
                    return Err(DriverError::Failed(why));
                }
                if guarded {
                    self.conn.undo()?;
                }
                self.spent.undo_to(mark);
                self.restore(work.org(), before);
            }
        }
        Ok(outcome)
    }

    /// The lane as it was before a member that failed.
    fn restore(&mut self, org: Option<OrganizationId>, before: Option<(OrganizationId, Head)>) {
        let Some(org) = org else { return };
        match (before, self.lanes.get_mut(&org)) {
            (Some((_, head)), Some(lane)) => lane.head = head,
            // It was read, or even begun, by the member itself.
            (None, Some(_)) => drop(self.lanes.remove(&org)),
            (_, None) => {}
        }
        self.newer.remove(&org);
    }

    fn run_work(&mut self, work: &Work) -> Result<Done, Failure> {
        match work {
            Work::Issue(issuance, event) => {
                self.need_lane(issuance.org)?;
                self.need_newer(issuance.org, issuance.rev)?;
                let newer = self.newer.get(&issuance.org).map_or(&[][..], |newer| &newer.targets);
                let lane = lane_of(&mut self.lanes, issuance.org)?;
                member::issue(&mut *self.conn, lane, (issuance, event), newer, &mut self.spent)
            }
            Work::Event(org, used_up, event) => {
                self.need_lane(*org)?;
                let lane = lane_of(&mut self.lanes, *org)?;
                member::event(&mut *self.conn, lane, (*org, used_up), event, &mut self.spent)
            }
            Work::Checkpoints(both) => {
                let (said, event) = (&both.0, &both.1);
                self.need_lane(said.org)?;
                let lane = lane_of(&mut self.lanes, said.org)?;
                member::checkpoints(&mut *self.conn, lane, (said, event))
            }
            Work::Change(both) => {
                let (change, event) = (&both.0, &both.1);
                // The rows come first: among them may be the organization itself.
                let done = member::rows(&mut *self.conn, &change.org.to_string(), change)?;
                self.need_lane(change.org)?;
                if change.revocation.is_some() {
                    self.newer.remove(&change.org);
                }
                let lane = lane_of(&mut self.lanes, change.org)?;
                member::complete(&mut *self.conn, lane, (change, event), done)
            }
            Work::Generation(both) => {
                member::run_aside(&mut *self.conn, &mut self.spent, work)?;
                // What is in memory is the end of a lane that is closed now.
                self.lanes.remove(&both.0.org);
                self.newer.remove(&both.0.org);
                Ok(Done { anew: self.shared.changes.is_some(), ..Done::quiet(0) })
            }
            Work::Rewrap(rewrapping) => {
                // It adds to many lanes: undone, it leaves all of them as they were.
                let before = self.lanes.clone();
                let done = self.rewrap(rewrapping);
                if done.is_err() {
                    self.lanes = before;
                }
                done
            }
            Work::FederationKeys(org, kept) => {
                federations::note_keys(&mut *self.conn, &org.to_string(), kept)?;
                let touched = vec![Tag::of(kept.federation.any())];
                Ok(Done { touched, ..Done::quiet(0) })
            }
            Work::Consume(..)
            | Work::Followed(..)
            | Work::ForeignDomain(..)
            | Work::Looked(..)
            | Work::Integrate(..)
            | Work::Prune(..)
            | Work::Uses(_)
            | Work::Forget(..)
            | Work::Found(_)
            | Work::Lease(_)
            | Work::Tell(_)
            | Work::ForgetNode(_)
            | Work::ListenerRoots(_)
            | Work::Beat => {
                member::run_aside(&mut *self.conn, &mut self.spent, work)?;
                Ok(Done::quiet(0))
            }
        }
    }

    /// Writes everything that is wrapped under another root key, with an event in every lane.
    fn rewrap(&mut self, rewrapping: &Rewrapping) -> Result<Done, Failure> {
        let written = rewrap::write(&mut *self.conn, rewrapping)?;
        for (org, event) in &written.events {
            self.need_lane(*org)?;
            let lane = lane_of(&mut self.lanes, *org)?;
            member::event(&mut *self.conn, lane, (*org, &UsedUp::NOTHING), event, &mut self.spent)?;
        }
        let mut done = Done::quiet(0);
        done.committed.ended = written.keys;
        done.rewrapped = Some(Box::new(written.rewrapped));
        Ok(done)
    }

    /// Reads the head of an organization's lane where it is not in memory.
    fn need_lane(&mut self, org: OrganizationId) -> Result<(), Failure> {
        const OPERATION: &str = "read the head of a lane";
        if self.lanes.contains_key(&org) {
            return Ok(());
        }
        let text = org.to_string();
        let head = log::head(&mut *self.conn, &text)
            .map_err(|error| Failure::of(OPERATION, error))?
            .ok_or_else(|| Failure::wrong(OPERATION, "there is no such organization"))?;
        self.lanes.insert(org, Lane { org: text, head });
        Ok(())
    }

    /// Reads what was revoked since a decision, once for a batch; mostly nothing was, and then
    /// the fence says so without a read.
    fn need_newer(&mut self, org: OrganizationId, rev: u64) -> Result<(), Failure> {
        let Some(lane) = self.lanes.get(&org) else { return Ok(()) };
        if rev >= lane.head.fence || self.newer.get(&org).is_some_and(|newer| newer.after <= rev) {
            return Ok(());
        }
        let targets = revocations::targets_after(&mut *self.conn, &lane.org, rev)
            .map_err(|error| Failure::of("read revocations", error))?;
        self.newer.insert(org, Newer { after: rev, targets });
        Ok(())
    }

    /// Tells what was committed: caches and observers, in this order.
    fn tell(&self, outcomes: &Outcomes) {
        let done = || outcomes.members.iter().flatten();
        match (&self.shared.changes, &outcomes.telling) {
            (Some(changes), Some(telling)) => {
                changes.tell_own(&self.shared, telling, done().filter(|done| done.tells()));
            }
            (Some(_), None) => {}
            (None, _) => {
                done()
                    .flat_map(|done| &done.touched)
                    .for_each(|tag| self.shared.stamps.touch(*tag));
                for notice in done().filter_map(|done| done.notice.as_deref()) {
                    self.shared.each_observer(|observer| observer.committed(notice));
                }
            }
        }
        // Last: a key that was written before it in this batch is among what it tells, and one
        // after it was refused.
        for rewrapped in done().filter_map(|done| done.rewrapped.as_deref()) {
            self.shared.each_observer(|observer| observer.rewrapped(rewrapped));
        }
    }

    /// What overtook a member may have been written by another node, and whoever decides again is to
    /// know of it.
    fn catch_up(&mut self) {
        let Some(changes) = &self.shared.changes else { return };
        match changes::next(&mut *self.conn, changes.told()) {
            Ok(next) => drop(changes.take(&self.shared, next)),
            Err(error) => tracing::warn!(%error, "what other nodes wrote could not be read"),
        }
    }

    /// Tells what was committed: caches, observers, members, in this order.
    fn publish(&mut self, batch: &mut Vec<Member>, outcomes: Outcomes) {
        self.tell(&outcomes);
        let Outcomes { members: outcomes, .. } = outcomes;
        if outcomes.iter().any(|outcome| matches!(outcome, Err(Failure::Overtaken(_)))) {
            self.catch_up();
        }
        let outcomes = outcomes.into_iter().map(|outcome| outcome.map(|done| done.committed));
        let answers: Vec<_> = batch.drain(..).zip(outcomes).collect();
        match &self.runtime {
            Some(runtime) => drop(runtime.spawn(async move { answer(answers) })),
            None => answer(answers),
        }
    }
}

/// Answers members. On the callers' own runtime one of its threads wakes them all, where this
/// thread would have to call across to it for each.
fn answer(answers: Vec<(Member, Result<Committed, Failure>)>) {
    for (member, outcome) in answers {
        // A caller that has gone away misses its answer; what was written stays.
        let _ = member.reply.send(outcome);
    }
}

fn lane_of(
    lanes: &mut HashMap<OrganizationId, Lane, Random>,
    org: OrganizationId,
) -> Result<(&str, &mut Head), Failure> {
    let lane = lanes
        .get_mut(&org)
        .ok_or_else(|| Failure::wrong("read the head of a lane", "it is not in memory"))?;
    Ok((&lane.org, &mut lane.head))
}

fn refuse(batch: &mut Vec<Member>, error: &BatchError) {
    let why = match error {
        BatchError::HeadMoved => "somebody else writes to this store".to_owned(),
        BatchError::Unguarded(_, failure) => format!("{failure:?}"),
        BatchError::Driver(error) => error.to_string(),
    };
    if batch.is_empty() {
        return;
    }
    tracing::error!(members = batch.len(), error = why, "a batch was not committed");
    for member in batch.drain(..) {
        let fault = Fault::new("commit a batch", &why);
        let _ = member.reply.send(Err(Failure::Fault(fault)));
    }
}

/// Counters for whoever measures.
pub(crate) struct Counters {
    batches: AtomicU64,
    members: AtomicU64,
    members_max: AtomicU64,
    /// Of which kinds members were, a bit for each.
    kinds: AtomicU32,
    /// What the times below are counted from. Only ever told as lengths of time.
    opened: Instant,
    /// When the batch under way was begun, microseconds; 0 where there is none.
    began: AtomicU64,
    /// How long the last batch took, microseconds.
    took: AtomicU64,
    /// How long all batches took, microseconds.
    took_all: AtomicU64,
    /// Batches that were run again because the engine was not there or undid them.
    retries: AtomicU64,
    /// Why the last batch was not committed; 0 where it was.
    trouble: AtomicU8,
}

impl Default for Counters {
    #[expect(clippy::disallowed_methods, reason = "the length of a write, for health and metrics")]
    fn default() -> Self {
        let none = AtomicU64::default;
        Self {
            batches: none(),
            members: none(),
            members_max: none(),
            kinds: AtomicU32::new(0),
            opened: Instant::now(),
            began: none(),
            took: none(),
            took_all: none(),
            retries: none(),
            trouble: AtomicU8::new(0),
        }
    }
}

impl Counters {
    fn batch(&self, batch: &[Member]) {
        let members = batch.len() as u64;
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.members.fetch_add(members, Ordering::Relaxed);
        self.members_max.fetch_max(members, Ordering::Relaxed);
        let kinds = batch.iter().fold(0, |kinds, member| kinds | 1 << member.work.kind());
        self.kinds.fetch_or(kinds, Ordering::Relaxed);
    }

    /// Microseconds since the store was opened, never 0.
    fn time(&self) -> u64 {
        self.opened.elapsed().as_micros() as u64 + 1
    }

    /// A batch begins.
    fn began(&self) -> u64 {
        let began = self.time();
        self.began.store(began, Ordering::Relaxed);
        began
    }

    /// The batch has ended.
    fn ended(&self, began: u64) {
        let took = self.time() - began;
        self.took.store(took, Ordering::Relaxed);
        self.took_all.fetch_add(took, Ordering::Relaxed);
        self.began.store(0, Ordering::Relaxed);
    }

    /// A batch is run again.
    fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// How long the batch under way has taken until now.
    fn under_way(&self) -> Duration {
        match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_micros(self.time().saturating_sub(began)),
        }
    }

    /// Whether the batch under way takes so long that whoever came now would wait in vain.
    pub(crate) fn is_stalled(&self) -> bool {
        self.under_way() > STALL_TIME_MAX
    }

    /// Whether batches are committed, and if not, why.
    fn trouble(&self, trouble: Option<StoreTrouble>) {
        let code = match trouble {
            None => 0,
            Some(StoreTrouble::Full) => 1,
            Some(StoreTrouble::ReadOnly) => 2,
            Some(StoreTrouble::Failing) => 3,
        };
        self.trouble.store(code, Ordering::Relaxed);
    }

    /// What the writer knows of its health.
    pub(crate) fn health(&self) -> StoreHealth {
        let last = Duration::from_micros(self.took.load(Ordering::Relaxed));
        StoreHealth {
            batches: self.batches.load(Ordering::Relaxed),
            members: self.members.load(Ordering::Relaxed),
            writing: Duration::from_micros(self.took_all.load(Ordering::Relaxed)),
            last_write: last.max(self.under_way()),
            retries: self.retries.load(Ordering::Relaxed),
            trouble: match self.trouble.load(Ordering::Relaxed) {
                0 => None,
                1 => Some(StoreTrouble::Full),
                2 => Some(StoreTrouble::ReadOnly),
                _ => Some(StoreTrouble::Failing),
            },
            ..StoreHealth::default()
        }
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            batches: self.batches.load(Ordering::Relaxed),
            members: self.members.load(Ordering::Relaxed),
            members_max: self.members_max.load(Ordering::Relaxed),
            kinds: self.kinds.load(Ordering::Relaxed),
        }
    }
}

/// What the writer has done since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches; each is one sync of the journal, or none where nothing of it was written.
    pub batches: u64,
    /// Members of all batches.
    pub members: u64,
    /// Members of the largest batch.
    pub members_max: u64,
    /// Of which kinds members were: a bit for each, of [`crate::KINDS`] bits.
    pub kinds: u32,
}
