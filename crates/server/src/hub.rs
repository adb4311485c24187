//! Revocations out to every follower: a delta is signed and framed once, and its bytes are shared.
//!
//! The store tells of each commit; one task signs the delta and hands the frame to all followers
//! of the organization. A follower that missed a frame is given what it lacks by itself. Signed
//! heartbeats come at least every third of the smallest age bound, so that silence means
//! something. Each frame carries the log's newest checkpoint: every follower is a witness.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use accredit_domain::audit::integrate;
use accredit_domain::ports::{Notice, Observer};
use accredit_domain::tenant::{Tenant, entry};
use accredit_domain::{Fault, Refusal, Rule, World};
use accredit_wire::ids::OrganizationId;
use accredit_wire::revocations::feed::LaneCheckpoint;
use accredit_wire::revocations::{Entry, Message};
use accredit_wire::time::Time;
use bytes::Bytes;
use tokio::sync::{broadcast, mpsc};

/// Followers of this process.
pub const FOLLOWERS_MAX: usize = 10_000;
/// Frames a slow follower may be behind before it is given what it lacks in one.
pub const FRAMES_WAITING_MAX: usize = 256;
/// Commits waiting to be signed. Beyond, followers notice a gap at the next frame.
pub const NOTICES_WAITING_MAX: usize = 4096;

/// A signed message, framed as a server-sent event.
#[derive(Clone)]
struct Frame {
    from: u64,
    to: u64,
    bytes: Bytes,
}

/// The followers of one organization.
struct Channel {
    tenant: Arc<Tenant>,
    frames: broadcast::Sender<Frame>,
    log: Mutex<Vec<LaneCheckpoint>>,
    next_heartbeat: Mutex<Time>,
}

/// The feed of every organization.
pub struct Hub {
    world: Arc<World>,
    channels: Mutex<HashMap<OrganizationId, Arc<Channel>>>,
    notices: mpsc::Sender<Notice>,
    waiting: Mutex<Option<mpsc::Receiver<Notice>>>,
    followers: Arc<AtomicUsize>,
}

impl Observer for Hub {
    fn committed(&self, notice: &Notice) {
        if notice.revocation.is_some() && self.channel(notice.org).is_some() {
            // Full: the next frame's `from` shows followers that they lack something.
            let _ = self.notices.try_send(notice.clone());
        }
    }
}

impl Hub {
    /// A hub without followers. [`Hub::run`] signs for them.
    pub fn new(world: Arc<World>) -> Self {
        let (notices, waiting) = mpsc::channel(NOTICES_WAITING_MAX);
        Self {
            world,
            channels: Mutex::new(HashMap::new()),
            notices,
            waiting: Mutex::new(Some(waiting)),
            followers: Arc::new(AtomicUsize::new(0)),
        }
    }

    fn channels(&self) -> std::sync::MutexGuard<'_, HashMap<OrganizationId, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channel(&self, org: OrganizationId) -> Option<Arc<Channel>> {
        self.channels().get(&org).cloned()
    }

    /// Signs what is committed, until the hub is dropped. Runs once.
    pub async fn run(&self) {
        let taken = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = taken else { return };
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
        let (Some(first), Some(last)) = (notices.first(), notices.last()) else { return };
        let (from, to, at) = (first.rev - 1, last.rev, self.world.clock.now());
        let entries = notices.iter().filter_map(|n| n.revocation.as_ref()).map(entry).collect();
        let log = channel.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The proof in it leads from the checkpoint of the frame before: sent once.
        for lane in channel.log.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            (lane.from, lane.proof) = (0, Vec::new());
        }
        let delta = Delta { from, to, at, entries, log };
        self.send(&channel, delta).await;
    }

    async fn send(&self, channel: &Channel, delta: Delta) {
        match delta.frame(&self.world, &channel.tenant).await {
            // An error means that nobody follows just now.
            Ok(frame) => drop(channel.frames.send(frame)),
            Err(fault) => tracing::error!(%fault, "revocations not published"),
        }
    }

    /// Sends heartbeats that are due, and forgets organizations that nobody follows.
    pub async fn tick(&self, now: Time) {
        let channels: Vec<Arc<Channel>> = self.channels().values().cloned().collect();
        for channel in channels {
            let due = {
                let mut next =
                    channel.next_heartbeat.lock().unwrap_or_else(PoisonError::into_inner);
                let due = *next <= now;
                if due {
                    // A second early, so that what is late on the way still comes in time.
                    let period = channel.tenant.heartbeat();
                    *next = now.plus(period.saturating_sub(period / 4));
                }
                due
            };
            if due {
                let rev = channel.tenant.rev();
                let log = channel.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let beat = Delta { from: rev, to: rev, at: now, entries: Vec::new(), log };
                self.send(&channel, beat).await;
            }
        }
        self.channels().retain(|_, channel| channel.frames.receiver_count() > 0);
    }

    /// Ends every stream: followers go on from what they hold, elsewhere or later.
    pub fn close(&self) {
        self.channels().clear();
    }

    /// Takes over the newest checkpoints of an organization's log, with proofs that they extend
    /// those of the last frame.
    pub async fn checkpoints(
        &self,
        tenant: &Tenant,
        lanes: &[accredit_domain::ports::LaneHead],
    ) -> Result<(), Fault> {
        let Some(channel) = self.channel(tenant.id) else { return Ok(()) };
        for lane in lanes {
            let Some(note) = &lane.note else { continue };
            let held = {
                let log = channel.log.lock().unwrap_or_else(PoisonError::into_inner);
                log.iter().find(|held| held.lane == lane.lane).cloned()
            };
            if held.as_ref().is_some_and(|held| held.note == *note) {
                continue;
            }
            let from = held.map_or(0, |held| size_of(&held.note));
            let mut next =
                LaneCheckpoint { lane: lane.lane, note: note.clone(), from: 0, proof: Vec::new() };
            if from > 0 && from < lane.integrated {
                let proof =
                    integrate::consistency(&self.world, tenant, lane.lane, from, lane.integrated);
                (next.from, next.proof) = (from, proof.await?.hashes);
            }
            let mut log = channel.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.retain(|held| held.lane != lane.lane);
            log.push(next);
        }
        Ok(())
    }

    /// The whole state, signed.
    pub async fn snapshot(&self, tenant: &Tenant, now: Time) -> Result<String, Fault> {
        Delta::snapshot(tenant, now, self.log_of(tenant).await?).sign(&self.world, tenant).await
    }

    /// The newest checkpoints of an organization, without proofs.
    async fn log_of(&self, tenant: &Tenant) -> Result<Vec<LaneCheckpoint>, Fault> {
        let lanes = self.world.store.lanes(tenant.id).await?;
        Ok(lanes
            .into_iter()
            .filter_map(|lane| {
                let note = lane.note?;
                Some(LaneCheckpoint { lane: lane.lane, note, from: 0, proof: Vec::new() })
            })
            .collect())
    }

    /// Begins to follow from `held`, generation and `rev`, or from nothing.
    pub fn follow(
        self: &Arc<Self>,
        tenant: Arc<Tenant>,
        held: Option<(u64, u64)>,
    ) -> Result<Following, Refusal> {
        let place = Place::take(&self.followers).ok_or_else(|| {
            Refusal::new(
                Rule::StateForbids,
                "too many followers are connected",
                "fetch snapshots, or follow another node",
            )
        })?;
        // Subscribed under the lock, so that the channel is not forgotten as one without followers,
        // and before the state is read, so that nothing falls between.
        let frames = self
            .channels()
            .entry(tenant.id)
            .or_insert_with(|| {
                Arc::new(Channel {
                    tenant: Arc::clone(&tenant),
                    frames: broadcast::channel(FRAMES_WAITING_MAX).0,
                    log: Mutex::new(Vec::new()),
                    next_heartbeat: Mutex::new(Time::default()),
                })
            })
            .frames
            .subscribe();
        let rev = held.filter(|(generation, _)| *generation == tenant.generation).map(|(_, r)| r);
        Ok(Following { hub: Arc::clone(self), tenant, frames, rev, begun: false, _place: place })
    }
}

fn size_of(note: &str) -> u64 {
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// What one frame says.
struct Delta {
    from: u64,
    to: u64,
    at: Time,
    entries: Vec<Entry>,
    log: Vec<LaneCheckpoint>,
}

impl Delta {
    /// Everything the tenant holds.
    fn snapshot(tenant: &Tenant, at: Time, log: Vec<LaneCheckpoint>) -> Self {
        let state = tenant.revoked();
        Self { from: 0, to: state.rev(), at, entries: state.entries(), log }
    }

    async fn sign(self, world: &World, tenant: &Tenant) -> Result<String, Fault> {
        let key = tenant.feed_key();
        let message = Message {
            issuer: tenant.issuer.clone(),
            generation: tenant.generation,
            from: self.from,
            to: self.to,
            at: self.at,
            entries: self.entries,
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

/// One of the places for followers, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>) -> Option<Self> {
        if taken.fetch_add(1, Ordering::AcqRel) >= FOLLOWERS_MAX {
            taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One follower's stream.
pub struct Following {
    hub: Arc<Hub>,
    tenant: Arc<Tenant>,
    frames: broadcast::Receiver<Frame>,
    /// What the follower holds, where that is known.
    rev: Option<u64>,
    begun: bool,
    _place: Place,
}

impl Following {
    /// The next frame for this follower; `None` ends the stream.
    pub async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        if !self.begun {
            self.begun = true;
            return Some(self.catch_up().await);
        }
        loop {
            match self.frames.recv().await {
                Ok(frame) if Some(frame.from) == self.rev => {
                    self.rev = Some(frame.to);
                    return Some(Ok(frame.bytes));
                }
                // It was caught up past this frame already.
                Ok(frame) if self.rev.is_some_and(|rev| frame.to < rev) => {}
                Ok(frame) if self.rev == Some(frame.to) => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(self.catch_up().await);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Brings the follower from what it holds to what the tenant holds, with one message of its
    /// own.
    async fn catch_up(&mut self) -> Result<Bytes, Fault> {
        let world = &self.hub.world;
        let (now, to) = (world.clock.now(), self.tenant.rev());
        let log = self.hub.log_of(&self.tenant).await?;
        let message = match self.rev {
            Some(from) if from > 0 && from <= to => {
                let missed = world.store.revocations_after(self.tenant.id, from, now).await?;
                let entries = missed.iter().filter(|r| r.rev <= to).map(entry).collect();
                Delta { from, to, at: now, entries, log }
            }
            _ => Delta::snapshot(&self.tenant, now, log),
        };
        let frame = message.frame(world, &self.tenant).await?;
        self.rev = Some(frame.to);
        Ok(frame.bytes)
    }
}
