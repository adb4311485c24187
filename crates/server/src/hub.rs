//! Revocations out to every follower: a delta is signed and framed once, and its bytes are shared.
//!
//! The store tells of each commit; one task signs the delta and hands the frame to all followers
//! of the organization. A follower that missed a frame is given what it lacks by itself. Signed
//! heartbeats come at least every third of the smallest age bound, so that silence means
//! something. Each message carries the log's newest checkpoint: every follower is a witness. And
//! each says which keys are published; where they change, one is sent at once.
//!
//! When heartbeats are due and how old a message is are matters of the monotonic clock, which each
//! message shows under a name that this process drew when it started (`wire/revocations/age`): a
//! time of day that is set forwards or backwards makes no follower wait and no state young. What a
//! follower asks for by itself carries its nonce.
//!
//! A witness is strict: a smaller counter or checkpoint than it was shown, in a message that says
//! it is newer, is an alarm. So reading, counter and checkpoints of a message are taken together
//! ([`Hub::moment`]), and none of them ever goes back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use accredit_domain::audit::integrate;
use accredit_domain::ports::{LaneHead, Notice, Observer};
use accredit_domain::tenant::{Tenant, entry};
use accredit_domain::{Fault, World};
use accredit_wire::ids::{CredentialId, OrganizationId};
use accredit_wire::revocations::feed::{LaneCheckpoint, MESSAGE_ENTRIES_MAX, SNAPSHOT_PIECES_MAX};
use accredit_wire::revocations::{self, Entry, Message, Nonce, Pieces, Reading};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

use crate::followers::{Followers, Following, Held};
use crate::points::{Introduced, Points};

/// Frames a slow follower may be behind before it is given what it lacks in one.
pub const FRAMES_WAITING_MAX: usize = 256;
/// Commits waiting to be signed. Beyond, followers notice a gap at the next frame.
pub const NOTICES_WAITING_MAX: usize = 4096;

/// A signed message, framed as a server-sent event.
#[derive(Clone)]
pub(crate) struct Frame {
    /// The counter that it goes on from.
    pub(crate) from: u64,
    /// The counter that it leads to.
    pub(crate) to: u64,
    /// What is sent.
    pub(crate) bytes: Bytes,
}

/// A whole state, signed.
pub struct Snapshot {
    /// The signed message: all of it, or the head of the pieces.
    pub head: String,
    /// The pieces that follow, where there are any.
    pub pieces: Option<Pieces>,
}

/// A message of a follower's own, as it is sent.
pub(crate) struct Answer {
    pub(crate) frame: Frame,
    /// What follows where it is the head of a snapshot in pieces.
    pub(crate) pieces: Option<Pieces>,
}

/// What a state is cut into, remembered until the state is another.
#[derive(Clone)]
struct Cut {
    state: Arc<revocations::State>,
    pieces: Vec<Hash>,
}

/// From where a follower goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resume {
    /// The generation and the counter that it holds; nothing where it holds nothing.
    pub state: Option<(u64, u64)>,
    /// What its first message is to show, so that it knows when that was signed.
    pub nonce: Option<Nonce>,
}

/// The followers of one organization.
struct Channel {
    tenant: Arc<Tenant>,
    frames: broadcast::Sender<Frame>,
    /// When the last heartbeat was sent, by the monotonic clock; nothing before the first.
    heartbeat: Mutex<Option<Duration>>,
}

/// What messages of one organization say.
#[derive(Default)]
struct Shown {
    /// The newest checkpoints. A proof leads from the one that was last sent to all.
    log: Vec<LaneCheckpoint>,
    /// By lane, the size that was last sent to all.
    sent: HashMap<u16, u64>,
    /// The counter that was last sent to all.
    sent_rev: Option<u64>,
    /// What the newest message shows of the monotonic clock, microseconds.
    up: u64,
    /// What the newest state was cut into, where somebody asked for it.
    cut: Option<Cut>,
}

/// What one message is made of, taken at one moment.
struct Moment {
    at: Time,
    reading: Reading,
    /// The counter that was last sent to all.
    sent: u64,
    /// What has ended by now, and the counter at which that is complete.
    state: Arc<revocations::State>,
    log: Vec<LaneCheckpoint>,
}

/// The feed of every organization.
pub struct Hub {
    world: Arc<World>,
    /// The name of this process's clock.
    clock: u64,
    channels: Mutex<HashMap<OrganizationId, Arc<Channel>>>,
    shown: Mutex<HashMap<OrganizationId, Shown>>,
    notices: mpsc::Sender<Notice>,
    /// Taken by the job that signs, for as long as it runs.
    waiting: tokio::sync::Mutex<mpsc::Receiver<Notice>>,
    /// Held by who cuts a state: one at a time, and others find what it made.
    cutting: tokio::sync::Mutex<()>,
    followers: Followers,
    /// Who follows, and what each says that it has applied.
    pub points: Arc<Points>,
}

impl Observer for Hub {
    fn committed(&self, notice: &Notice) {
        for (credential, end) in &notice.credentials {
            self.ends(*credential, *end);
        }
        if notice.revocation.is_some() {
            self.points.written(notice);
        }
        let tells = notice.revocation.is_some() || !notice.keys.is_empty();
        if tells && self.channel(notice.org).is_some() {
            // Full: the next frame's `from` shows followers that they lack something.
            let _ = self.notices.try_send(notice.clone());
        }
    }

    fn lost(&self) {
        // Channels hold organizations as they were; followers go on from what they hold.
        self.points.lost();
        self.close();
    }

    fn reverted(&self) {
        // What was shown is not there any more.
        self.shown().clear();
        self.close();
    }
}

impl Hub {
    /// A hub without followers. [`Hub::run`] signs for them.
    pub fn new(world: Arc<World>) -> Self {
        let (notices, waiting) = mpsc::channel(NOTICES_WAITING_MAX);
        let clock = u64::from_be_bytes(world.random());
        let points = Arc::new(Points::new(Arc::clone(&world)));
        Self {
            world,
            clock,
            channels: Mutex::new(HashMap::new()),
            shown: Mutex::new(HashMap::new()),
            notices,
            waiting: tokio::sync::Mutex::new(waiting),
            cutting: tokio::sync::Mutex::default(),
            followers: Followers::default(),
            points,
        }
    }

    fn channels(&self) -> std::sync::MutexGuard<'_, HashMap<OrganizationId, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, org: OrganizationId) -> Option<Arc<Channel>> {
        self.channels().get(&org).cloned()
    }

    /// Signs what is committed, until the hub is dropped. One runs at a time.
    pub async fn run(&self) {
        let mut waiting = self.waiting.lock().await;
        while let Some(first) = waiting.recv().await {
            let mut batch = vec![first];
            while let Ok(more) = waiting.try_recv() {
                batch.push(more);
            }
            while !batch.is_empty() {
                let org = batch[0].org;
                let (own, rest) = batch.into_iter().partition(|notice| notice.org == org);
                batch = rest;
                self.publish(org, own).await;
            }
        }
    }

    /// One delta of one organization, from notices in the order of commits.
    async fn publish(&self, org: OrganizationId, notices: Vec<Notice>) {
        let Some(channel) = self.channel(org) else { return };
        if let Err(fault) = self.broadcast(&channel, &notices).await {
            tracing::error!(%fault, "revocations not published");
        }
    }

    /// Sends one message to all followers of an organization: what was committed since the last.
    /// `known` are the newest commits, in order; mostly all there is to say.
    async fn broadcast(&self, channel: &Channel, known: &[Notice]) -> Result<(), Fault> {
        let tenant = &channel.tenant;
        let Moment { at, reading, sent, state, log } = self.moment(tenant, true).await?;
        let rev = state.rev();
        let ends = known.iter().filter(|notice| notice.revocation.is_some());
        let whole = is_whole(ends.map(|notice| notice.rev), sent, rev);
        // More than a message holds: a heartbeat that goes on from there shows followers that they
        // lack something, and each is given a snapshot.
        let from = if fits(sent, rev) { sent } else { rev };
        let entries = if from == rev {
            Vec::new()
        } else if whole {
            known.iter().filter_map(|notice| notice.revocation.as_ref()).map(entry).collect()
        } else {
            self.entries_between(tenant, sent, &state).await?
        };
        let pieces = Vec::new();
        let delta = Delta { from, to: rev, at, reading, nonce: None, entries, pieces, log };
        let frame = delta.frame(&self.world, tenant).await?;
        // An error means that nobody follows just now.
        drop(channel.frames.send(frame));
        Ok(())
    }

    async fn entries_between(
        &self,
        tenant: &Tenant,
        after: u64,
        state: &revocations::State,
    ) -> Result<Vec<Entry>, Fault> {
        // Not by the time of day, which may be ahead.
        let rows = self.world.store.revocations_after(tenant.id, after, state.over()).await?;
        Ok(rows.iter().filter(|row| row.rev <= state.rev()).map(entry).collect())
    }

    /// What a message is made of. One that goes `to_all` carries proofs from the checkpoints that
    /// were last sent to all.
    async fn moment(&self, tenant: &Tenant, to_all: bool) -> Result<Moment, Fault> {
        if !self.shown().contains_key(&tenant.id) {
            let lanes = self.world.store.lanes(tenant.id).await?;
            self.show(tenant, &lanes).await?;
        }
        let mut shown = self.shown();
        let shown = shown.entry(tenant.id).or_default();
        let up = u64::try_from(self.world.clock.elapsed().as_micros()).unwrap_or(u64::MAX);
        shown.up = up.max(shown.up.saturating_add(1));
        let reading = Reading { clock: self.clock, up: shown.up };
        let at = self.world.clock.now();
        let state = tenant.revoked();
        let log = shown.log.clone();
        let sent = shown.sent_rev.unwrap_or(state.rev());
        if to_all {
            shown.sent_rev = Some(state.rev());
            for lane in &mut shown.log {
                shown.sent.insert(lane.lane, size_of(&lane.note));
                (lane.from, lane.proof) = (0, Vec::new());
            }
        }
        Ok(Moment { at, reading, sent, state, log })
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, HashMap<OrganizationId, Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends heartbeats that are due, ends the streams of credentials that have expired, and
    /// forgets organizations that nobody follows.
    pub async fn tick(&self, now: Time) {
        self.followers.end_expired(now);
        self.points.forget();
        let up = self.world.clock.elapsed();
        let channels: Vec<Arc<Channel>> = self.channels().values().cloned().collect();
        for channel in channels {
            let due = {
                let mut last = channel.heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
                // A quarter early, so that what is late on the way still comes in time. The period
                // is asked for each time: a resource may have come that wants a shorter one.
                let period = channel.tenant.heartbeat().mul_f32(0.75);
                let due = last.is_none_or(|last| up.saturating_sub(last) >= period);
                if due {
                    *last = Some(up);
                }
                due
            };
            if due && let Err(fault) = self.broadcast(&channel, &[]).await {
                tracing::error!(%fault, "heartbeat not sent");
            }
        }
        self.channels().retain(|_, channel| channel.frames.receiver_count() > 0);
        // What nobody is sent any more is not to be held.
        let is_current = |cut: &Cut, newest: Option<u64>| newest == Some(cut.state.rev());
        for shown in self.shown().values_mut() {
            shown.cut.take_if(|cut| !is_current(cut, shown.sent_rev));
        }
    }

    /// A name of this process that no other one has.
    pub fn process(&self) -> u64 {
        self.clock
    }

    /// How many follow now.
    pub fn followers(&self) -> usize {
        self.followers.count()
    }

    /// A credential ends at `at`, never later than it would have.
    pub(crate) fn ends(&self, credential: CredentialId, at: Time) {
        self.followers.ends(credential, at);
    }

    /// Ends every stream: followers go on from what they hold, elsewhere or later.
    pub fn close(&self) {
        self.channels().clear();
    }

    /// Takes over the newest checkpoints of an organization's log, with proofs that they extend
    /// what was last sent to all. What is older than what was shown is left out.
    pub async fn show(&self, tenant: &Tenant, lanes: &[LaneHead]) -> Result<(), Fault> {
        for lane in lanes {
            let Some(note) = lane.note.clone() else { continue };
            let sent = self.shown().entry(tenant.id).or_default().sent.get(&lane.lane).copied();
            let mut next = LaneCheckpoint { lane: lane.lane, note, from: 0, proof: Vec::new() };
            let size = size_of(&next.note);
            if let Some(from) = sent.filter(|from| (1..size).contains(from)) {
                let (world, lane) = (&self.world, lane.lane);
                let proof = integrate::consistency(world, tenant, lane, from, size).await?;
                (next.from, next.proof) = (from, proof.hashes);
            }
            let mut shown = self.shown();
            let shown = shown.entry(tenant.id).or_default();
            match shown.log.iter_mut().find(|held| held.lane == lane.lane) {
                Some(held) if size_of(&held.note) > size => {}
                // The same, signed by further keys; how it is proved stays.
                Some(held) if size_of(&held.note) == size => held.note = next.note,
                Some(held) => *held = next,
                None => {
                    shown.log.push(next);
                    // One that began later may have been integrated sooner.
                    shown.log.sort_unstable_by_key(|held| held.lane);
                }
            }
        }
        self.shown().entry(tenant.id).or_default();
        Ok(())
    }

    /// The whole state, signed, as the answer to a question with this nonce.
    pub async fn snapshot(&self, tenant: &Tenant, nonce: Option<Nonce>) -> Result<Snapshot, Fault> {
        let (snapshot, pieces) = self.snapshot_of(tenant, nonce).await?;
        Ok(Snapshot { head: snapshot.sign(&self.world, tenant).await?, pieces })
    }

    async fn snapshot_of(
        &self,
        tenant: &Tenant,
        nonce: Option<Nonce>,
    ) -> Result<(Delta, Option<Pieces>), Fault> {
        let Moment { at, reading, state, log, .. } = self.moment(tenant, false).await?;
        let (from, to) = (0, state.rev());
        if state.len() <= MESSAGE_ENTRIES_MAX {
            let (entries, pieces) = (state.entries().collect(), Vec::new());
            return Ok((Delta { from, to, at, reading, nonce, entries, pieces, log }, None));
        }
        let Cut { state, pieces } = self.cut(tenant, state).await?;
        let rest = (!pieces.is_empty()).then(|| Pieces::of(revocations::State::clone(&state)));
        let entries = Vec::new();
        Ok((Delta { from, to, at, reading, nonce, entries, pieces, log }, rest))
    }

    /// Cuts a state into pieces, or finds how it was cut.
    async fn cut(&self, tenant: &Tenant, state: Arc<revocations::State>) -> Result<Cut, Fault> {
        let _cutting = self.cutting.lock().await;
        let found = self.shown().get(&tenant.id).and_then(|shown| shown.cut.clone());
        if let Some(cut) = found.filter(|cut| cut.state.rev() == state.rev()) {
            return Ok(cut);
        }
        let of = revocations::State::clone(&state);
        let hashes = move || Pieces::of(of).map(|piece| piece.hash()).collect::<Vec<Hash>>();
        let pieces = tokio::task::spawn_blocking(hashes).await;
        let pieces = pieces.map_err(|error| Fault::new("cut a snapshot", error))?;
        if pieces.len() > SNAPSHOT_PIECES_MAX {
            return Err(Fault::new("cut a snapshot", "there are more entries than one can have"));
        }
        let cut = Cut { state, pieces };
        self.shown().entry(tenant.id).or_default().cut = Some(cut.clone());
        Ok(cut)
    }

    /// Begins to follow from what a follower holds, for as long as what is `held` stands. `None`
    /// where all places are taken.
    pub fn follow(
        self: &Arc<Self>,
        tenant: Arc<Tenant>,
        from: Resume,
        held: Held,
        who: Introduced,
    ) -> Option<Following> {
        let place = self.followers.enter(&held)?;
        // Subscribed under the lock, so that the channel is not forgotten as one without followers,
        // and before the state is read, so that nothing falls between.
        let frames = self
            .channels()
            .entry(tenant.id)
            .or_insert_with(|| {
                Arc::new(Channel {
                    tenant: Arc::clone(&tenant),
                    frames: broadcast::channel(FRAMES_WAITING_MAX).0,
                    heartbeat: Mutex::new(None),
                })
            })
            .frames
            .subscribe();
        let state = from.state.filter(|(generation, _)| *generation == tenant.generation);
        // Whoever holds more than there is holds another state.
        let holds = state.map(|(_, rev)| rev).filter(|rev| *rev <= tenant.rev());
        let present = self.points.enter(tenant.id, held.credential, who, holds);
        let from = (state.map(|(_, rev)| rev), from.nonce);
        Some(Following::new(Arc::clone(self), tenant, frames, from, (held, place, present)))
    }

    /// Brings a follower from `rev` to what the tenant holds, with a message of its own.
    pub(crate) async fn catch_up(
        &self,
        tenant: &Tenant,
        rev: Option<u64>,
        nonce: Option<Nonce>,
    ) -> Result<Answer, Fault> {
        let known = rev.filter(|from| *from > 0 && *from <= tenant.rev());
        let (message, pieces) = match known.filter(|from| fits(*from, tenant.rev())) {
            Some(from) => {
                let Moment { at, reading, state, log, .. } = self.moment(tenant, false).await?;
                let entries = self.entries_between(tenant, from, &state).await?;
                let (to, pieces) = (state.rev(), Vec::new());
                (Delta { from, to, at, reading, nonce, entries, pieces, log }, None)
            }
            None => self.snapshot_of(tenant, nonce).await?,
        };
        Ok(Answer { frame: message.frame(&self.world, tenant).await?, pieces })
    }
}

/// Whether a message has room for what ended after the counter `from` up to `to`.
fn fits(from: u64, to: u64) -> bool {
    to - from.min(to) <= MESSAGE_ENTRIES_MAX as u64
}

fn size_of(note: &str) -> u64 {
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// What one frame says.
struct Delta {
    from: u64,
    to: u64,
    at: Time,
    reading: Reading,
    nonce: Option<Nonce>,
    entries: Vec<Entry>,
    pieces: Vec<Hash>,
    log: Vec<LaneCheckpoint>,
}

impl Delta {
    async fn sign(self, world: &World, tenant: &Tenant) -> Result<String, Fault> {
        let (key, keys) = (tenant.feed_key(), tenant.keys().hash());
        let message = Message {
            issuer: tenant.issuer.clone(),
            generation: tenant.generation,
            from: self.from,
            to: self.to,
            at: self.at,
            reading: self.reading,
            nonce: self.nonce,
            keys,
            entries: self.entries,
            pieces: self.pieces,
            log: self.log,
        };
        let input = message.signing_input(&key.header);
        let signature = world.vault.sign(&key.sealed, input.bytes()).await?;
        Ok(input.finish(&signature))
    }

    async fn frame(self, world: &World, tenant: &Tenant) -> Result<Frame, Fault> {
        let (from, to) = (self.from, self.to);
        let text = self.sign(world, tenant).await?;
        let generation = tenant.generation;
        let bytes = format!("event: revocations\nid: {generation}.{to}\ndata: {text}\n\n");
        Ok(Frame { from, to, bytes: bytes.into() })
    }
}

/// Whether these counters are all that came after `sent` up to `rev`: none was dropped on the way,
/// not even one in the middle.
fn is_whole(ends: impl Iterator<Item = u64>, sent: u64, rev: u64) -> bool {
    sent < rev && ends.eq(sent + 1..=rev)
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn a_delta_is_made_from_notices_only_where_none_is_missing() {
        let whole = |ends: &[u64]| is_whole(ends.iter().copied(), 4, 7);
        assert!(whole(&[5, 6, 7]));
        for ends in [&[5, 7][..], &[6, 7], &[5, 6], &[], &[5, 6, 7, 8], &[5, 6, 6, 7], &[5, 7, 6]] {
            assert!(!whole(ends), "{ends:?}");
        }
    }
}
