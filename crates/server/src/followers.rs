//! Who follows the feed, and what ends a stream: whoever may not begin one does not go on with one.
//!
//! A stream hangs on what its caller proved: on the credential, on the resource that it belongs to
//! and on the organization. When one of them is revoked or suspended, the frame that says so is the
//! stream's last. When the credential expires, or is rotated and its overlap is over, the stream
//! ends at the hub's next tick.
//!
//! A resource server that is suspended, or whose organization is, must still learn of it wherever
//! it stands: it is sent what it lacks, and then the stream ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accredit_domain::Fault;
use accredit_domain::issuance::admission::{CredentialFacts, HolderFacts};
use accredit_domain::registry::State;
use accredit_domain::tenant::Tenant;
use accredit_wire::ids::{AnyId, CredentialId};
use accredit_wire::revocations::{Nonce, Pieces};
use accredit_wire::time::Time;
use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use crate::hub::{Answer, Frame, Hub};
use crate::points::Present;

/// Followers of this process.
pub const FOLLOWERS_MAX: usize = 10_000;

/// What a follower holds its place by.
#[derive(Clone, Debug)]
pub struct Held {
    /// The credential.
    pub credential: CredentialId,
    /// What must stand for it to go on.
    pub lineage: Vec<AnyId>,
    /// The organization's revocation counter before all this was looked at.
    pub rev: u64,
    /// When the credential ends by itself.
    pub expires_at: Time,
    /// Whether it is a resource server's that is suspended, or whose organization is.
    pub suspended: bool,
}

impl Held {
    /// By a credential whose facts were read after the organization's counter `rev`.
    pub fn by(facts: &CredentialFacts, tenant: &Tenant, rev: u64) -> Self {
        let mut lineage = vec![facts.id.any(), facts.org.any()];
        let mut suspended = false;
        if let HolderFacts::Resource(resource) = &facts.holder {
            lineage.push(resource.id.any());
            suspended = [tenant.state(), resource.state].contains(&State::Suspended);
        }
        Self { credential: facts.id, lineage, rev, expires_at: facts.expires_at, suspended }
    }
}

/// When a credential with which somebody follows ends. Dropped, it ends their streams.
struct Expiry {
    at: Time,
    streams: watch::Sender<()>,
}

/// The followers of this process.
#[derive(Default)]
pub(crate) struct Followers {
    taken: Arc<AtomicUsize>,
    expiries: Mutex<HashMap<CredentialId, Expiry>>,
}

impl Followers {
    fn expiries(&self) -> MutexGuard<'_, HashMap<CredentialId, Expiry>> {
        self.expiries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many follow now.
    pub(crate) fn count(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a place, where there is one.
    pub(crate) fn enter(&self, held: &Held) -> Option<Place> {
        if self.taken.fetch_add(1, Ordering::AcqRel) >= FOLLOWERS_MAX {
            self.taken.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let mut expiries = self.expiries();
        let expiry = expiries
            .entry(held.credential)
            .or_insert_with(|| Expiry { at: held.expires_at, streams: watch::Sender::new(()) });
        let expired = expiry.streams.subscribe();
        Some(Place { taken: Arc::clone(&self.taken), expired })
    }

    /// A credential ends at `at` from now on, never later than it would have.
    pub(crate) fn ends(&self, credential: CredentialId, at: Time) {
        if let Some(expiry) = self.expiries().get_mut(&credential) {
            expiry.at = expiry.at.min(at);
        }
    }

    /// Ends the streams of what has expired, and forgets what nobody follows with.
    pub(crate) fn end_expired(&self, now: Time) {
        let goes_on = |expiry: &Expiry| expiry.at > now && expiry.streams.receiver_count() > 0;
        self.expiries().retain(|_, expiry| goes_on(expiry));
    }
}

/// One of the places for followers, given back when dropped.
pub(crate) struct Place {
    taken: Arc<AtomicUsize>,
    /// Closed once the credential has expired.
    expired: watch::Receiver<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One follower's stream.
pub struct Following {
    hub: Arc<Hub>,
    tenant: Arc<Tenant>,
    frames: broadcast::Receiver<Frame>,
    /// What the follower holds, where that is known.
    rev: Option<u64>,
    /// What its first message shows.
    nonce: Option<Nonce>,
    begun: bool,
    /// What is left to send of a snapshot in pieces.
    pieces: Option<Pieces>,
    held: Held,
    place: Place,
    /// Tells, when dropped, that the stream has ended.
    #[expect(dead_code, reason = "held for its drop")]
    present: Option<Present>,
}

impl Following {
    pub(crate) fn new(
        hub: Arc<Hub>,
        tenant: Arc<Tenant>,
        frames: broadcast::Receiver<Frame>,
        (rev, nonce): (Option<u64>, Option<Nonce>),
        (held, place, present): (Held, Place, Option<Present>),
    ) -> Self {
        Self { hub, tenant, frames, rev, nonce, begun: false, pieces: None, held, place, present }
    }

    /// The next frame for this follower; `None` ends the stream.
    pub async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        // First of all: without them, what was sent last says nothing.
        if let Some(piece) = self.pieces.as_mut().and_then(Iterator::next) {
            return Some(Ok(format!("event: piece\ndata: {}\n\n", piece.text()).into()));
        }
        self.pieces = None;
        if self.is_over() {
            return None;
        }
        if !self.begun {
            self.begun = true;
            return Some(self.catch_up().await);
        }
        loop {
            let frame = tokio::select! {
                biased;
                // Nothing is ever sent: this is the end.
                _ = self.place.expired.changed() => return None,
                frame = self.frames.recv() => frame,
            };
            match frame {
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

    /// Whether what is held has ended, and the follower knows.
    pub fn is_over(&self) -> bool {
        let ended_at = if self.held.suspended {
            Some(self.tenant.rev())
        } else {
            let lineage = self.held.lineage.iter().copied();
            self.tenant.revoked().ended_at(lineage, self.held.rev)
        };
        ended_at.is_some_and(|at| self.rev.is_some_and(|rev| rev >= at))
    }

    /// Brings the follower to what the tenant holds, with one message of its own and its pieces.
    async fn catch_up(&mut self) -> Result<Bytes, Fault> {
        let nonce = self.nonce.take();
        let Answer { frame, pieces } = self.hub.catch_up(&self.tenant, self.rev, nonce).await?;
        (self.rev, self.pieces) = (Some(frame.to), pieces);
        Ok(frame.bytes)
    }
}
