//! Where a revocation has arrived at all nodes on one store: each tells the others which enforcement
//! points follow it and what they said, and the one that is asked puts it together.
//!
//! A node tells within [`TELL_PAUSE`] of whatever changed, one transaction for all of it, and more seldom
//! where it has much to tell. What it tells includes how far it had come in what all nodes commit before
//! it looked at its points: one that has not come as far as the revocation may have points of which
//! nobody knows yet, and is waited for. One that is not heard from is named, and nothing that it told is
//! counted as an acknowledgement. A point that went from one node to another is one point.
//!
//! Absent on purpose: clocks of other nodes. A time is a length that the node measured which the point
//! follows.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accredit_domain::nodes::{SILENT_KEPT, Silence, TELL_EVERY, Telling, Told};
use accredit_domain::{Error, Fault, Refusal, Rule};
use accredit_wire::ids::{CredentialId, OrganizationId, ResourceId};
use accredit_wire::revocations::{Acknowledgement, FollowerId};
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use crate::Server;
use crate::jobs::pause;
use crate::points::{self, AGE_TOLD_MAX, Introduced, Key, Untold};
use crate::propagation::{PointStatus, PointView, Propagation};

/// How soon a node tells the others something again.
pub const TELL_PAUSE: Duration = Duration::from_millis(50);
/// What that becomes longer by for each point that was told of: a long list is a long row.
const TELL_PAUSE_PER_POINT: Duration = Duration::from_micros(500);
/// Points of one organization that a node names to the others, those that are furthest behind; the rest
/// are counted, and stand where the furthest behind of them does.
pub const POINTS_TOLD_MAX: usize = 1000;
/// How long a node that is not heard from is named, where all who followed it are elsewhere or over: as
/// long as somebody who had just come to it goes by what it was sent, if nothing else was agreed on.
const NAMED_FOR: Duration = Duration::from_secs(65);

/// What a node says of an organization.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Word {
    points: Vec<PointWord>,
    /// Points that are not named.
    #[serde(default)]
    more: u64,
    /// What each of those has applied.
    #[serde(default)]
    more_applied: u64,
}

/// What a node says of a point.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PointWord {
    credential: CredentialId,
    /// Nothing where it does not acknowledge.
    follower: Option<String>,
    name: Option<String>,
    resource: Option<(ResourceId, String)>,
    age_max: u64,
    gone: bool,
    applied: Option<u64>,
    applied_at: Option<i64>,
    took: Vec<(u64, u64)>,
}

impl From<Untold> for PointWord {
    fn from(Untold { view, age_max, gone, took, .. }: Untold) -> Self {
        Self {
            credential: view.credential,
            follower: view.follower,
            name: view.name,
            resource: view.resource_id.zip(view.resource),
            age_max,
            gone,
            applied: view.applied,
            applied_at: view.applied_at.map(Time::micros),
            took,
        }
    }
}

impl PointWord {
    /// Who it is.
    fn introduced(&self, follower: FollowerId) -> Introduced {
        let resource = self.resource.as_ref();
        Introduced {
            follower: Some(follower),
            name: self.name.as_ref().and_then(|name| name.parse().ok()),
            age_max: Some(Duration::from_secs(self.age_max)),
            resource: resource.and_then(|(id, name)| Some((*id, name.parse().ok()?))),
        }
    }

    fn status(&self, rev: u64) -> PointStatus {
        match (self.applied, self.gone, &self.follower) {
            (Some(applied), ..) if applied >= rev => PointStatus::Acknowledged,
            (_, true, _) => PointStatus::Gone,
            (_, _, Some(_)) => PointStatus::Waiting,
            (_, _, None) => PointStatus::Silent,
        }
    }

    /// As it is shown; `silent` is for how long its node has not been heard from.
    fn view(self, rev: u64, silent: Option<Duration>) -> PointView {
        let status = if silent.is_some() { PointStatus::Unheard } else { self.status(rev) };
        let acknowledged = status == PointStatus::Acknowledged;
        let took = self.took.iter().find(|(at, _)| *at == rev).map(|(_, took)| *took);
        let (resource_id, resource) = self.resource.unzip();
        PointView {
            resource,
            resource_id,
            credential: self.credential,
            follower: self.follower,
            name: self.name,
            status,
            applied: self.applied,
            applied_at: self.applied_at.map(Time::from_micros),
            microseconds: took.filter(|_| acknowledged),
            bound_seconds: (!acknowledged).then(|| points::bound(self.age_max)),
        }
    }

    /// Whether its state is too old to go by, after its node has been silent for so long.
    fn is_over(&self, silent: Option<Duration>) -> bool {
        silent.is_some_and(|silent| silent > Duration::from_secs(self.age_max))
    }
}

/// The word about points; empty where there are none.
fn word(mut points: Vec<Untold>) -> Result<String, Fault> {
    if points.is_empty() {
        return Ok(String::new());
    }
    points.sort_by_key(|point| (point.view.applied, point.key));
    let rest = points.split_off(points.len().min(POINTS_TOLD_MAX));
    let word = Word {
        points: points.into_iter().map(PointWord::from).collect(),
        more: rest.len() as u64,
        more_applied: rest.first().and_then(|point| point.view.applied).unwrap_or_default(),
    };
    serde_json::to_string(&word).map_err(|error| Fault::new("tell other nodes", error))
}

/// What this node knows of the others.
#[derive(Debug)]
pub struct Others {
    /// What this process is called.
    name: String,
    silence: Mutex<Silence>,
}

impl Others {
    /// Of a process with this name.
    pub fn of(process: u64) -> Self {
        Self { name: name_of(process), silence: Mutex::default() }
    }

    fn silence(&self) -> MutexGuard<'_, Silence> {
        self.silence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a process is called among those on a store.
pub(crate) fn name_of(process: u64) -> String {
    format!("{process:016x}")
}

/// Tells the others for ever what has changed, and that this node lives.
pub(crate) async fn run(server: &Server) {
    loop {
        let told = match tell(server).await {
            Ok(told) => told,
            Err(fault) => {
                tracing::warn!(%fault, "other nodes do not hear who follows this one");
                0
            }
        };
        let longer = TELL_PAUSE_PER_POINT * u32::try_from(told).unwrap_or(u32::MAX);
        pause((TELL_PAUSE + longer).min(TELL_EVERY)).await;
        tokio::select! {
            () = server.hub.points.stirred() => {}
            () = pause(TELL_EVERY) => listen(server).await,
        }
    }
}

/// Tells the others what they have not been told yet; how many points that were.
pub async fn tell(server: &Server) -> Result<usize, Fault> {
    let store = &server.world.store;
    // First: who follows by then is among the points.
    let place = store.place();
    let untold = server.hub.points.untold();
    let told = untold.iter().map(|(_, points)| points.len().min(POINTS_TOLD_MAX)).sum();
    let orgs: Vec<OrganizationId> = untold.iter().map(|(org, _)| *org).collect();
    let words = untold.into_iter().map(|(org, points)| Ok((org, word(points)?)));
    let telling = words.collect::<Result<Vec<_>, Fault>>();
    let telling = telling.map(|words| Telling { node: server.others.name.clone(), place, words });
    let written = match telling {
        Ok(telling) => store.tell(telling).await,
        Err(fault) => Err(fault),
    };
    if written.is_err() {
        server.hub.points.still_untold(orgs.into_iter());
    }
    written.map(|()| told)
}

/// Looks which nodes live, and forgets those that have not for long, where that is this one's to do.
async fn listen(server: &Server) {
    match heard(server, None).await {
        Ok(told) => {
            let up = server.world.clock.elapsed();
            if !server.turns.is_own(up) {
                return;
            }
            for node in told.into_iter().map(|told| told.node) {
                let silent = server.others.silence().of(&node, up);
                if silent.is_some_and(|silent| silent > SILENT_KEPT)
                    && let Err(fault) = server.world.store.forget_node(node).await
                {
                    tracing::warn!(%fault, "a node that has ended was not forgotten");
                }
            }
        }
        Err(fault) => tracing::warn!(%fault, "it is not known which nodes live"),
    }
}

/// What nodes told, of which it is noted that they were heard.
async fn heard(server: &Server, org: Option<OrganizationId>) -> Result<Vec<Told>, Fault> {
    let told = server.world.store.told(org).await?;
    let beats = told.iter().map(|told| (told.node.as_str(), told.beat));
    server.others.silence().heard(beats, server.world.clock.elapsed());
    Ok(told)
}

/// Tells no more: what this node told is forgotten.
pub(crate) async fn end(server: &Server) -> Result<(), Fault> {
    if !server.world.store.is_shared() {
        return Ok(());
    }
    server.world.store.forget_node(server.others.name.clone()).await
}

/// The words of the other nodes about an organization, each with how far its node had come and for how
/// long it has not been heard from, where that is too long.
async fn others(
    server: &Server,
    org: OrganizationId,
) -> Result<Vec<(Word, u64, Option<Duration>)>, Fault> {
    if !server.world.store.is_shared() {
        return Ok(Vec::new());
    }
    let told = heard(server, Some(org)).await?;
    let up = server.world.clock.elapsed();
    let silence = server.others.silence();
    let others = told.into_iter().filter(|told| told.node != server.others.name);
    let each = others.map(|told| {
        let silent = silence.of(&told.node, up);
        let word = if told.word.is_empty() {
            Ok(Word::default())
        } else {
            serde_json::from_str(&told.word)
        };
        let unreadable = |error| Fault::new("read what nodes tell", error);
        let mut word: Word = word.map_err(unreadable)?;
        word.points.retain(|point| !point.is_over(silent));
        if silent.is_some_and(|silent| silent > AGE_TOLD_MAX) {
            word.more = 0;
        }
        Ok((word, told.place, silent))
    });
    each.collect()
}

/// Takes note of what a follower says that it has applied, also of one of another node: whatever
/// spreads requests may bring its word here. Whether it is taken: not of one that is not connected to
/// any node with this credential.
pub async fn acknowledge(
    server: &Server,
    org: OrganizationId,
    credential: CredentialId,
    said: &Acknowledgement,
) -> Result<bool, Error> {
    let points = &server.hub.points;
    if points.acknowledge(org, credential, said)? {
        return Ok(true);
    }
    let name = said.follower.to_string();
    for (word, _, silent) in others(server, org).await? {
        let is_it = |point: &&PointWord| {
            point.credential == credential && point.follower.as_ref() == Some(&name) && !point.gone
        };
        if silent.is_none()
            && let Some(point) = word.points.iter().find(is_it)
        {
            points.is_elsewhere(org, credential, said.follower, point.introduced(said.follower));
            return Ok(points.acknowledge(org, credential, said)?);
        }
    }
    if !server.world.store.is_shared() {
        return Ok(false);
    }
    let refusal = Refusal::new(
        Rule::ViewStale,
        "this node does not know this follower, which another one may not have told it of yet",
        "come again in a moment, and say only the last of what was applied meanwhile",
    );
    Err(Refusal { retry_after: Some(1), ..refusal }.into())
}

/// The resources that somebody follows for at any node, or did lately.
pub async fn followed(server: &Server, org: OrganizationId) -> Result<BTreeSet<ResourceId>, Fault> {
    let mut followed = server.hub.points.followed(org);
    for (word, _, silent) in others(server, org).await? {
        if silent.is_none() {
            let points = word.points.into_iter();
            followed.extend(points.filter_map(|point| point.resource.map(|(id, _)| id)));
        }
    }
    Ok(followed)
}

/// How far the state up to `rev` has come at all nodes, as the points say; at most `limit` are named,
/// those that did not answer first, then the slowest.
pub async fn report(
    server: &Server,
    org: OrganizationId,
    rev: u64,
    limit: usize,
) -> Result<Propagation, Fault> {
    let points = &server.hub.points;
    let wanted = points.place_of(org, rev);
    let mut merged = Merged::default();
    let (mut waiting, mut unheard) = (0, 0);
    let (mut more, mut nodes) = ([0; 3], Vec::new());
    for (word, place, silent) in others(server, org).await? {
        waiting += u64::from(silent.is_none() && place < wanted);
        let place = match silent {
            Some(_) => 2,
            None if word.more_applied >= rev => 0,
            None => 1,
        };
        more[place] += word.more;
        let node = nodes.len();
        nodes.push((silent, word.more > 0));
        for point in word.points {
            merged.add(point.view(rev, silent), Some(node));
        }
    }
    // Last, so that what was told here is at least as new.
    for (_, view) in points.report(org, rev) {
        merged.add(view, None);
    }
    let (views, left) = merged.end();
    for (node, (silent, has_more)) in nodes.iter().enumerate() {
        let is_named = silent.is_some_and(|silent| silent < NAMED_FOR);
        unheard += u64::from(is_named || silent.is_some() && (*has_more || left.contains(&node)));
    }
    let mut told = points::summary(rev, views, limit);
    told.acknowledged += more[0];
    told.waiting += more[1];
    told.unheard += more[2];
    if more[1] + more[2] > 0 {
        told.bound_seconds = told.bound_seconds.max(Some(points::bound(AGE_TOLD_MAX.as_secs())));
    }
    (told.nodes_waiting, told.nodes_unheard) = (waiting, unheard);
    Ok(told)
}

/// Points of all nodes, each once.
#[derive(Default)]
struct Merged {
    told: HashMap<(CredentialId, String), (PointView, Option<usize>)>,
    silent: Vec<(PointView, Option<usize>)>,
}

/// Which of two words about one point says more of it: that it has applied it, else where it is.
fn rank(status: PointStatus) -> u8 {
    match status {
        PointStatus::Acknowledged => 4,
        PointStatus::Waiting => 3,
        PointStatus::Silent => 2,
        PointStatus::Gone => 1,
        PointStatus::Unheard => 0,
    }
}

impl Merged {
    /// Adds what a node says of a point; nothing is this one.
    fn add(&mut self, view: PointView, node: Option<usize>) {
        let Some(follower) = view.follower.clone() else {
            self.silent.push((view, node));
            return;
        };
        let new = (view, node);
        let known = self.told.entry((new.0.credential, follower));
        known
            .and_modify(|known| {
                if rank(known.0.status) < rank(new.0.status) {
                    *known = new.clone();
                }
            })
            .or_insert(new);
    }

    /// All of them, in an order of their own, and the nodes that are not heard from and of whose points
    /// nobody else knows.
    fn end(self) -> (Vec<(Key, PointView)>, BTreeSet<usize>) {
        let (mut views, mut left) = (Vec::new(), BTreeSet::new());
        for (place, (view, node)) in self.told.into_values().chain(self.silent).enumerate() {
            if view.status == PointStatus::Unheard {
                left.extend(node);
            }
            let follower = view.follower.as_ref().and_then(|it| it.parse::<FollowerId>().ok());
            let key = match follower {
                Some(follower) => Key::Told(view.credential, follower),
                None => Key::Silent(view.credential, place as u64),
            };
            views.push((key, view));
        }
        (views, left)
    }
}
