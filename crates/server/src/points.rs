//! The enforcement points: who follows the feed, and up to where each says that it has applied it.
//!
//! A follower that says who it is ([`accredit_wire::revocations::acknowledgement`]) is one point for
//! as long as it runs, over however many streams; one that does not is a point for each stream, and
//! is named as one that does not acknowledge. A point whose stream ended may go on accepting what it
//! accepted until its state is too old, so it is kept, and named, for that long.
//!
//! All of it is in memory and is lost with the process: a follower comes back within seconds and
//! says what it holds. Where several nodes serve one store, each tells the others ([`crate::nodes`]). An acknowledgement is a follower's word, for people to read; nothing is
//! decided by it. It costs one look-up; a follower that applies many messages in a row says only the
//! last, and how long ago that was, so that what it says late is not taken for late.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accredit_domain::World;
use accredit_domain::issuance::TOKEN_LIFETIME_MAX_SECONDS;
use accredit_domain::issuance::admission::{CredentialFacts, HolderFacts};
use accredit_domain::ports::Notice;
use accredit_domain::refusal::{Refusal, Rule};
use accredit_domain::registry::resource::REVOCATIONS_AGE_DEFAULT_SECONDS;
use accredit_wire::authority::ResourceName;
use accredit_wire::ids::{CredentialId, OrganizationId, ResourceId};
use accredit_wire::revocations::{Acknowledgement, FollowerId, FollowerName};
use accredit_wire::time::Time;
use tokio::sync::Notify;

use crate::followers::FOLLOWERS_MAX;
use crate::metrics::Metrics;
use crate::propagation::{PointStatus, PointView, Propagation};

/// Points of this process that are remembered: those that are connected, and as many that left
/// lately. Of more, the rest are counted as followers and not told apart.
pub const POINTS_MAX: usize = 2 * FOLLOWERS_MAX;
/// Acknowledgements of one follower that are taken in a second: each costs a look-up of its
/// credential, and a follower that says more says nothing new.
pub const ACKNOWLEDGEMENTS_PER_SECOND_MAX: u32 = 16;
/// Acknowledgements of all followers that are taken in a second: more than this would take from
/// those who ask for tokens. The rest are told to come again, and say then how long they waited.
pub const ACKNOWLEDGEMENTS_OF_ALL_PER_SECOND_MAX: u32 = 2000;
/// The longest wait that is believed.
pub const WAITED_MAX: Duration = Duration::from_mins(1);
/// Acknowledgements of one follower that are remembered, the newest: enough for whoever asks within
/// seconds of a revocation.
pub const ACKNOWLEDGEMENTS_HELD_MAX: usize = 64;
/// Revocations of one organization whose time is remembered, the newest.
pub const REVOCATIONS_HELD_MAX: usize = 1024;
/// The longest age bound that a follower is believed to keep: what it says beyond is taken for this.
pub const AGE_TOLD_MAX: Duration = Duration::from_hours(1);
/// Acknowledgements of a point that other nodes are told of, the newest.
pub const TOOK_TOLD_MAX: usize = 4;
/// Points that one answer names; beyond, they are counted.
pub const POINTS_SHOWN_MAX: usize = 1000;

/// Who begins to follow, as far as it says and as its credential shows.
#[derive(Clone, Debug, Default)]
pub struct Introduced {
    /// What tells it from others of its credential; nothing where it does not acknowledge.
    pub follower: Option<FollowerId>,
    /// What a person calls it.
    pub name: Option<FollowerName>,
    /// How old its state may be before it refuses everything, where it says so.
    pub age_max: Option<Duration>,
    /// Whose resource server it is; nothing for an administrator.
    pub resource: Option<(ResourceId, ResourceName)>,
}

impl Introduced {
    /// With the resource that the credential is of.
    #[must_use]
    pub fn by(self, facts: &CredentialFacts) -> Self {
        let resource = match &facts.holder {
            HolderFacts::Resource(resource) => Some((resource.id, resource.name.clone())),
            HolderFacts::Agent(_) | HolderFacts::Instance { .. } | HolderFacts::Admin(_) => None,
        };
        Self { resource, ..self }
    }
}

/// What tells points apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    /// One that says who it is.
    Told(CredentialId, FollowerId),
    /// One stream of one that does not.
    Silent(CredentialId, u64),
}

/// One enforcement point.
struct Point {
    who: Introduced,
    /// Streams that it has now: two for a moment, where it begins one before the other was seen to
    /// end.
    streams: usize,
    /// Since when it has none, or has not said anything here where it follows another node.
    gone: Option<Duration>,
    /// Whether it follows another node, and speaks to this one.
    is_elsewhere: bool,
    /// Up to where it has applied, by its word, and when it said so first.
    applied: Option<(u64, Time)>,
    /// The newest acknowledgements with the time of the monotonic clock, oldest first.
    said: VecDeque<(u64, Duration)>,
    /// How often it said something.
    spoke: Second,
}

/// How often something happened in the second in which it last did.
#[derive(Clone, Copy, Default)]
struct Second {
    second: u64,
    times: u32,
}

impl Second {
    /// Once more, at `up`; whether that is within `most` in this second.
    fn once_more(&mut self, up: Duration, most: u32) -> Result<(), Refusal> {
        let second = up.as_secs();
        if self.second != second {
            *self = Self { second, times: 0 };
        }
        if self.times >= most {
            return Err(Refusal {
                retry_after: Some(1),
                ..Refusal::new(
                    Rule::RateLimited,
                    format!("more than {most} acknowledgements in a second"),
                    "come again in a second, and say only the last of what was applied meanwhile",
                )
            });
        }
        self.times += 1;
        Ok(())
    }
}

impl Point {
    fn new() -> Self {
        Self {
            who: Introduced::default(),
            streams: 0,
            gone: None,
            is_elsewhere: false,
            applied: None,
            said: VecDeque::new(),
            spoke: Second::default(),
        }
    }

    fn age_max(&self) -> Duration {
        let usual = Duration::from_secs(u64::from(REVOCATIONS_AGE_DEFAULT_SECONDS));
        self.who.age_max.unwrap_or(usual).min(AGE_TOLD_MAX)
    }

    /// Whether it can no longer accept what it should not: it left, and its state is too old.
    fn is_over(&self, up: Duration) -> bool {
        self.gone.is_some_and(|gone| up.saturating_sub(gone) > self.age_max())
    }

    /// When it said first that it has applied `rev`, as far as that is remembered.
    fn acknowledged(&self, rev: u64) -> Option<Duration> {
        self.said.iter().find(|(said, _)| *said >= rev).map(|(_, at)| *at)
    }

    fn status(&self, key: Key, rev: u64) -> PointStatus {
        match key {
            _ if self.applied.is_some_and(|(applied, _)| applied >= rev) => {
                PointStatus::Acknowledged
            }
            _ if self.gone.is_some() => PointStatus::Gone,
            Key::Told(..) => PointStatus::Waiting,
            Key::Silent(..) => PointStatus::Silent,
        }
    }
}

/// When a revocation was asked for and written.
#[derive(Clone, Copy)]
struct Written {
    rev: u64,
    asked: Option<Duration>,
    committed: Duration,
}

#[derive(Default)]
struct OfOrganization {
    points: HashMap<Key, Point>,
    written: VecDeque<Written>,
}

#[derive(Default)]
struct Held {
    organizations: HashMap<OrganizationId, OfOrganization>,
    points: usize,
    /// How often anybody said something.
    spoke: Second,
    /// The number of the next stream that does not say who it is.
    next: u64,
    /// The newest revocations of all organizations, each with its place in what all nodes commit.
    places: VecDeque<(OrganizationId, u64, u64)>,
    /// What other nodes have not been told yet.
    untold: BTreeSet<OrganizationId>,
}

/// The enforcement points that this process knows.
pub struct Points {
    world: Arc<World>,
    metrics: std::sync::OnceLock<Arc<Metrics>>,
    held: Mutex<Held>,
    /// Whether other processes write to the store.
    is_shared: bool,
    /// Rung where there is something to tell other nodes.
    stirred: Notify,
}

impl Points {
    pub(crate) fn new(world: Arc<World>) -> Self {
        let is_shared = world.store.is_shared();
        let (metrics, held) = (std::sync::OnceLock::new(), Mutex::default());
        Self { world, metrics, held, is_shared, stirred: Notify::new() }
    }

    /// Other nodes are to be told of an organization.
    fn stir(&self, held: &mut Held, org: OrganizationId) {
        if self.is_shared {
            held.untold.insert(org);
            self.stirred.notify_one();
        }
    }

    /// Waits until there is something to tell other nodes.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// Where propagation is counted.
    pub(crate) fn count_in(&self, metrics: &Arc<Metrics>) {
        // Set once, by whoever puts the server together.
        let _ = self.metrics.set(Arc::clone(metrics));
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Duration {
        self.world.clock.elapsed()
    }

    /// A stream begins, of a follower that says that it holds the state up to `holds`. Dropped, what
    /// is returned ends it. Nothing where there are too many to tell apart.
    pub(crate) fn enter(
        self: &Arc<Self>,
        org: OrganizationId,
        credential: CredentialId,
        who: Introduced,
        holds: Option<u64>,
    ) -> Option<Present> {
        let (now, up) = (self.world.clock.now(), self.up());
        let mut held = self.held();
        let held = &mut *held;
        let key = if let Some(follower) = who.follower {
            Key::Told(credential, follower)
        } else {
            held.next += 1;
            Key::Silent(credential, held.next)
        };
        let of_org = held.organizations.entry(org).or_default();
        let known = of_org.points.contains_key(&key);
        if !known && held.points >= POINTS_MAX {
            return None;
        }
        held.points += usize::from(!known);
        let point = of_org.points.entry(key).or_insert_with(Point::new);
        point.who = who;
        point.streams += 1;
        (point.gone, point.is_elsewhere) = (None, false);
        if let Some(rev) = holds {
            take(point, rev, now, up);
        }
        self.stir(held, org);
        Some(Present { points: Arc::clone(self), org, key })
    }

    /// What a follower says that it has applied. Whether it is taken: not of one that is not
    /// connected with this credential.
    pub(crate) fn acknowledge(
        &self,
        org: OrganizationId,
        credential: CredentialId,
        said: &Acknowledgement,
    ) -> Result<bool, Refusal> {
        let (now, up) = (self.world.clock.now(), self.up());
        let mut held = self.held();
        let spoken = held.spoke.once_more(up, ACKNOWLEDGEMENTS_OF_ALL_PER_SECOND_MAX);
        let of_org = held.organizations.get_mut(&org);
        let key = Key::Told(credential, said.follower);
        spoken?;
        let Some(of_org) = of_org else { return Ok(false) };
        let is_known =
            |point: &&mut Point| point.streams > 0 || point.is_elsewhere && !point.is_over(up);
        let Some(point) = of_org.points.get_mut(&key).filter(is_known) else { return Ok(false) };
        if point.is_elsewhere {
            point.gone = Some(up);
        }
        point.spoke.once_more(up, ACKNOWLEDGEMENTS_PER_SECOND_MAX)?;
        let waited = Duration::from_micros(said.waited).min(WAITED_MAX);
        let applied = up.saturating_sub(waited);
        let before = point.applied.map_or(0, |(applied, _)| applied);
        if take(point, said.rev, now, applied) {
            if let Some(metrics) = self.metrics.get() {
                let newly =
                    of_org.written.iter().filter(|one| before < one.rev && one.rev <= said.rev);
                for one in newly {
                    metrics.propagated(applied.saturating_sub(one.committed));
                }
            }
            self.stir(&mut held, org);
        }
        Ok(true)
    }

    /// Takes note of a follower of another node, so that what it says here is taken. Nothing where there
    /// are too many to tell apart.
    pub(crate) fn is_elsewhere(
        &self,
        org: OrganizationId,
        credential: CredentialId,
        follower: FollowerId,
        who: Introduced,
    ) {
        let up = self.up();
        let mut held = self.held();
        let held = &mut *held;
        let of_org = held.organizations.entry(org).or_default();
        let key = Key::Told(credential, follower);
        if !of_org.points.contains_key(&key) {
            if held.points >= POINTS_MAX {
                return;
            }
            held.points += 1;
        }
        let point = of_org.points.entry(key).or_insert_with(Point::new);
        if point.streams == 0 {
            (point.who, point.gone, point.is_elsewhere) = (who, Some(up), true);
        }
    }

    /// A revocation was written. Where another node did it, it was after this one last knew all there
    /// was.
    pub(crate) fn written(&self, notice: &Notice) {
        let (org, rev) = (notice.org, notice.rev);
        let known = self.world.view.known_at().filter(|_| notice.is_elsewhere);
        let committed = known.unwrap_or_else(|| self.up());
        let mut held = self.held();
        if self.is_shared {
            if held.places.len() == REVOCATIONS_HELD_MAX {
                held.places.pop_front();
            }
            held.places.push_back((org, rev, notice.place));
            self.stirred.notify_one();
        }
        let Some(of_org) = held.organizations.get_mut(&org) else { return };
        if of_org.written.len() == REVOCATIONS_HELD_MAX {
            of_org.written.pop_front();
        }
        of_org.written.push_back(Written { rev, asked: None, committed });
    }

    /// The revocation `rev` was asked for by a request that came at `asked`, of the monotonic clock.
    pub(crate) fn asked(&self, org: OrganizationId, rev: u64, asked: Duration) {
        let mut held = self.held();
        let of_org = held.organizations.get_mut(&org);
        let written = of_org.and_then(|of| of.written.iter_mut().find(|one| one.rev == rev));
        if let Some(written) = written {
            written.asked = Some(asked);
        }
    }

    /// Forgets points that left and can no longer accept what they should not, and organizations
    /// that have none.
    pub(crate) fn forget(&self) {
        let up = self.up();
        let mut held = self.held();
        let held = &mut *held;
        for (org, of_org) in &mut held.organizations {
            let before = of_org.points.len();
            of_org.points.retain(|_, point| !point.is_over(up));
            if of_org.points.len() < before && self.is_shared {
                held.untold.insert(*org);
            }
        }
        held.organizations.retain(|_, of_org| !of_org.points.is_empty());
        held.points = held.organizations.values().map(|of_org| of_org.points.len()).sum();
    }

    /// The resources that somebody follows for, or did lately.
    pub fn followed(&self, org: OrganizationId) -> BTreeSet<ResourceId> {
        let up = self.up();
        let held = self.held();
        let points = held.organizations.get(&org).into_iter().flat_map(|of| of.points.values());
        let here = points.filter(|point| !point.is_over(up));
        here.filter_map(|point| point.who.resource.as_ref().map(|(id, _)| *id)).collect()
    }

    /// The points of this process, and how far the state up to `rev` has come at each.
    pub(crate) fn report(&self, org: OrganizationId, rev: u64) -> Vec<(Key, PointView)> {
        let up = self.up();
        let held = self.held();
        let Some(of_org) = held.organizations.get(&org) else { return Vec::new() };
        let written = of_org.written.iter().find(|written| written.rev == rev);
        let since = written.map(|written| written.asked.unwrap_or(written.committed));
        let points = of_org.points.iter().filter(|(_, point)| !point.is_over(up));
        points.map(|(key, point)| (*key, view(*key, point, rev, since))).collect()
    }

    /// The place of a revocation in what all nodes commit, or one after it.
    pub(crate) fn place_of(&self, org: OrganizationId, rev: u64) -> u64 {
        // Before the lock, which is taken by those who are told under the store's own.
        let newest = self.world.store.place();
        let held = self.held();
        let found = held.places.iter().find(|(of, at, _)| *of == org && *at >= rev);
        // What is not remembered came before all that is.
        let first = || held.places.front().map(|(.., place)| *place);
        found.map(|(.., place)| *place).or_else(first).unwrap_or(newest)
    }

    /// The organizations of which other nodes have not been told all, each with its points and how long
    /// after the newest revocations each acknowledged them.
    pub(crate) fn untold(&self) -> Vec<(OrganizationId, Vec<Untold>)> {
        let up = self.up();
        let mut held = self.held();
        let orgs = std::mem::take(&mut held.untold);
        let points = |org: &OrganizationId| -> Vec<Untold> {
            let Some(of_org) = held.organizations.get(org) else { return Vec::new() };
            let points = of_org.points.iter().filter(|(_, point)| !point.is_over(up));
            points.map(|(key, point)| untold(*key, point, of_org)).collect()
        };
        orgs.iter().map(|org| (*org, points(org))).collect()
    }

    /// What there was is another store by now: places are counted anew.
    pub(crate) fn lost(&self) {
        self.held().places.clear();
    }

    /// They could not be told.
    pub(crate) fn still_untold(&self, orgs: impl Iterator<Item = OrganizationId>) {
        self.held().untold.extend(orgs);
    }
}

/// A point, as other nodes are told of it.
pub(crate) struct Untold {
    pub(crate) key: Key,
    pub(crate) view: PointView,
    /// How long it keeps what it holds, seconds.
    pub(crate) age_max: u64,
    pub(crate) gone: bool,
    /// The newest revocations that it acknowledged, each with how long that took, microseconds.
    pub(crate) took: Vec<(u64, u64)>,
}

fn untold(key: Key, point: &Point, of_org: &OfOrganization) -> Untold {
    let newest = of_org.written.iter().rev().filter_map(|written| {
        let at = point.acknowledged(written.rev)?;
        Some((written.rev, micros(at.saturating_sub(written.asked.unwrap_or(written.committed)))))
    });
    Untold {
        key,
        view: view(key, point, u64::MAX, None),
        age_max: point.age_max().as_secs(),
        gone: point.gone.is_some(),
        took: newest.take(TOOK_TOLD_MAX).collect(),
    }
}

/// What is told of points: those that have not answered first, then the slowest; at most `limit` are
/// named.
pub(crate) fn summary(rev: u64, mut points: Vec<(Key, PointView)>, limit: usize) -> Propagation {
    points.sort_by(|(a, one), (b, other)| {
        let place = |view: &PointView| (view.status, view.microseconds);
        place(other).cmp(&place(one)).then(a.cmp(b))
    });
    let count = |status| points.iter().filter(|(_, view)| view.status == status).count() as u64;
    let mut times: Vec<u64> = points.iter().filter_map(|(_, view)| view.microseconds).collect();
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1));
    let unanswered = points.iter().filter_map(|(_, view)| view.bound_seconds).max();
    Propagation {
        rev,
        acknowledged: count(PointStatus::Acknowledged),
        waiting: count(PointStatus::Waiting),
        silent: count(PointStatus::Silent),
        gone: count(PointStatus::Gone),
        unheard: count(PointStatus::Unheard),
        nodes_waiting: 0,
        nodes_unheard: 0,
        microseconds_p50: at(50).copied(),
        microseconds_p99: at(99).copied(),
        microseconds_max: times.last().copied(),
        bound_seconds: unanswered,
        points: points.into_iter().take(limit).map(|(_, view)| view).collect(),
        unfollowed: None,
    }
}

/// Takes over what a follower says; whether it is more than it said before.
fn take(point: &mut Point, rev: u64, now: Time, applied: Duration) -> bool {
    if point.applied.is_some_and(|(applied, _)| rev <= applied) {
        return false;
    }
    point.applied = Some((rev, now));
    if point.said.len() == ACKNOWLEDGEMENTS_HELD_MAX {
        point.said.pop_front();
    }
    point.said.push_back((rev, applied));
    true
}

fn view(key: Key, point: &Point, rev: u64, since: Option<Duration>) -> PointView {
    let (Key::Told(credential, _) | Key::Silent(credential, _)) = key;
    let status = point.status(key, rev);
    let took = since.zip(point.acknowledged(rev)).map(|(since, at)| at.saturating_sub(since));
    let acknowledged = status == PointStatus::Acknowledged;
    PointView {
        resource: point.who.resource.as_ref().map(|(_, name)| name.to_string()),
        resource_id: point.who.resource.as_ref().map(|(id, _)| *id),
        credential,
        follower: point.who.follower.map(|id| id.to_string()),
        name: point.who.name.as_ref().map(|name| name.as_str().to_owned()),
        status,
        applied: point.applied.map(|(applied, _)| applied),
        applied_at: point.applied.map(|(_, at)| at),
        microseconds: if acknowledged { took.map(micros) } else { None },
        bound_seconds: (!acknowledged).then(|| bound(point.age_max().as_secs())),
    }
}

/// For how long a point that keeps what it holds for so many seconds may accept what has ended.
pub(crate) fn bound(age_max: u64) -> u64 {
    age_max.min(u64::from(TOKEN_LIFETIME_MAX_SECONDS))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// A stream of a point; dropped, it has ended.
pub(crate) struct Present {
    points: Arc<Points>,
    org: OrganizationId,
    key: Key,
}

impl Drop for Present {
    fn drop(&mut self) {
        let up = self.points.up();
        let mut held = self.points.held();
        let of_org = held.organizations.get_mut(&self.org);
        if let Some(point) = of_org.and_then(|of_org| of_org.points.get_mut(&self.key)) {
            point.streams = point.streams.saturating_sub(1);
            point.gone = (point.streams == 0).then_some(up);
        }
        self.points.stir(&mut held, self.org);
    }
}
