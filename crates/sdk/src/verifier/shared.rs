//! What the verifier's tasks and the requests it serves have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use accredit_wire::revocations::{Follower, State};
use accredit_wire::tlog::Hash;
use accredit_wire::verify::{self, KeyRing, Standing};
use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, Notify, Semaphore, watch};

use super::Status;
use super::acknowledge::AppliedState;
use super::alarm::{Alarms, Contradiction};
use super::keys::Keys;
use super::state_dir::{self, StateDir};
use crate::ambient;
use crate::issuer::{Endpoints, IssuerClient, IssuerError};

/// How long after the keys were fetched an unknown `kid` is simply unknown: whoever sends made-up
/// tokens makes this verifier ask the issuer this often and no more.
const KEYS_INTERVAL_MIN: Duration = Duration::from_secs(2);

/// How long a request with an unknown `kid` waits for the keys.
const KEYS_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long a request with an unknown `kid` waits for the feed to tell of it, where the keys were
/// fetched just now.
const KEYS_GRACE: Duration = Duration::from_millis(250);

/// Requests that wait so at a time; further ones are judged by what is known. Whoever sends made-up
/// tokens fills these places and nothing else.
const OVERTAKEN_MAX: usize = 1024;

/// How long a request whose token is ahead of the state waits for the state.
const BEHIND_WAIT_MAX: Duration = Duration::from_secs(2);

/// How long of that is left to the feed before a snapshot is asked for.
const BEHIND_GRACE: Duration = Duration::from_millis(50);

pub(super) struct Shared {
    pub(super) client: IssuerClient,
    pub(super) verifier: verify::Verifier,
    pub(super) age_max: Duration,
    pub(super) alarms: Alarms,
    /// The newest state that came by a stream and that requests are judged by.
    pub(super) applied: watch::Sender<Option<AppliedState>>,
    /// Asks the follower for a snapshot.
    pub(super) snapshot_wanted: Notify,
    /// Counts the changes of state and keys.
    changes: watch::Sender<u64>,
    /// The counter of the state.
    rev: AtomicU64,
    /// The highest counter at which a token with a good signature was decided.
    rev_wanted: AtomicU64,
    status: ArcSwapOption<Status>,
    keys: ArcSwap<Keys>,
    endpoints: ArcSwapOption<Endpoints>,
    dir: Option<StateDir>,
    /// The state that requests are judged by, for which keys are dropped.
    revoked: ArcSwap<State>,
    /// Asks the keys' task for the keys, for a token that anybody may have made up.
    pub(super) keys_wanted: Notify,
    /// The same because the issuer signed that they changed.
    pub(super) keys_changed: Notify,
    /// Which keys the feed says are published; nothing before its first message.
    announced: watch::Sender<Option<Hash>>,
    /// Places for requests that wait for the feed to tell of a key.
    overtaken: Semaphore,
    /// Makes it one change at a time.
    changing_keys: std::sync::Mutex<()>,
    /// Makes it one write at a time, so that the newest keys are written last.
    keeping_keys: Mutex<()>,
    /// When the last attempt to fetch the keys ended.
    keys_asked_at: watch::Sender<Option<Instant>>,
    /// Makes it one attempt at a time.
    fetching_keys: Mutex<()>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("issuer", &self.client.issuer.as_str())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// With the keys as they are known so far.
    pub(super) fn new(
        client: IssuerClient,
        config: verify::Config,
        keys: Keys,
        dir: Option<StateDir>,
    ) -> Self {
        Self {
            age_max: config.revocations_age_max,
            verifier: verify::Verifier::new(
                config,
                KeyRing::new(&keys.tokens).with_biscuit(&keys.biscuit),
            ),
            client,
            alarms: Alarms::default(),
            applied: watch::Sender::new(None),
            snapshot_wanted: Notify::new(),
            changes: watch::Sender::new(0),
            rev: AtomicU64::new(0),
            rev_wanted: AtomicU64::new(0),
            status: ArcSwapOption::empty(),
            keys: ArcSwap::from_pointee(keys),
            endpoints: ArcSwapOption::empty(),
            dir,
            revoked: ArcSwap::from_pointee(State::unknown()),
            keys_wanted: Notify::new(),
            keys_changed: Notify::new(),
            announced: watch::Sender::new(None),
            overtaken: Semaphore::new(OVERTAKEN_MAX),
            changing_keys: std::sync::Mutex::new(()),
            keeping_keys: Mutex::new(()),
            keys_asked_at: watch::Sender::new(None),
            fetching_keys: Mutex::new(()),
        }
    }

    /// The issuer's keys.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// Tells of each change of state or keys.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes what the follower holds the state that requests are judged by, and drops the keys that
    /// it says are revoked; says whether there were any. Call [`Shared::keep_keys`] then.
    #[must_use]
    pub(super) fn publish(&self, follower: &Follower) -> bool {
        let Some(standing) = Standing::of(follower) else { return false };
        let state = standing.state().clone();
        self.status.store(Some(Arc::new(Status {
            generation: state.generation(),
            rev: state.rev(),
            entries: state.len(),
            signed_at: state.server_time(),
        })));
        self.rev.store(state.rev(), Ordering::Release);
        self.revoked.store(Arc::new(state.clone()));
        self.verifier.set_standing(standing);
        let dropped = self.keys().names_revoked(|kid| state.has_key(kid));
        if dropped {
            self.change_keys(|_| ());
            self.keys_changed.notify_one();
        }
        self.changes.send_modify(|version| *version += 1);
        dropped
    }

    /// Changes the keys, without those that are revoked.
    fn change_keys<T>(&self, change: impl FnOnce(&mut Keys) -> T) -> T {
        let _changing = self.changing_keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = Keys::clone(&self.keys());
        let outcome = change(&mut keys);
        let state = self.revoked.load();
        keys.drop_revoked(|kid| state.has_key(kid));
        self.verifier.set_keys(KeyRing::new(&keys.tokens).with_biscuit(&keys.biscuit));
        self.keys.store(Arc::new(keys));
        outcome
    }

    /// What is known of revocations now.
    pub(super) fn status(&self) -> Option<Status> {
        self.status.load().as_deref().copied()
    }

    /// Keeps and logs a contradiction.
    pub(super) fn raise(&self, what: Contradiction) {
        self.alarms.raise(self.client.issuer.as_str(), what, ambient::now());
    }

    /// Where the issuer's endpoints are.
    pub(super) async fn endpoints(&self) -> Result<Arc<Endpoints>, IssuerError> {
        match self.endpoints.load_full() {
            Some(endpoints) => Ok(endpoints),
            None => self.fetch_endpoints().await,
        }
    }

    async fn fetch_endpoints(&self) -> Result<Arc<Endpoints>, IssuerError> {
        let endpoints = Arc::new(self.client.endpoints().await?);
        self.endpoints.store(Some(Arc::clone(&endpoints)));
        Ok(endpoints)
    }

    /// Asks for the issuer's metadata and keys and uses them.
    pub(super) async fn refresh_keys(&self) -> Result<(), IssuerError> {
        let _fetching = self.fetching_keys.lock().await;
        let outcome = self.fetch_keys().await;
        self.keys_asked_at.send_replace(Some(ambient::instant()));
        outcome
    }

    /// Whether the keys were asked for so recently that an unknown `kid` is simply unknown.
    pub(super) fn knows_keys(&self) -> bool {
        self.keys_asked_at.borrow().is_some_and(|at| at.elapsed() < KEYS_INTERVAL_MIN)
    }

    async fn fetch_keys(&self) -> Result<(), IssuerError> {
        let endpoints = self.fetch_endpoints().await?;
        let new = Keys::fetch(&self.client, &endpoints).await?;
        let issuer = self.client.issuer.as_str();
        for contradiction in self.change_keys(|keys| keys.update(new, issuer)) {
            self.raise(contradiction);
        }
        self.changes.send_modify(|version| *version += 1);
        self.keep_keys().await;
        Ok(())
    }

    /// Writes the keys to the state folder.
    pub(super) async fn keep_keys(&self) {
        let Some(dir) = self.dir.clone() else { return };
        let _keeping = self.keeping_keys.lock().await;
        let file = self.keys().to_bytes(self.client.issuer.as_str());
        let written = tokio::task::spawn_blocking(move || dir.write(state_dir::KEYS, &file)).await;
        if let Ok(Err(error)) = written {
            tracing::error!(%error, "the issuer's keys cannot be kept");
        }
    }

    /// Takes note of which keys the issuer signed that it publishes.
    pub(super) fn announce(&self, hash: Hash) {
        let announced = self.announced.send_if_modified(|known| known.replace(hash) != Some(hash));
        if announced && self.are_keys_behind() {
            self.keys_changed.notify_one();
        }
    }

    /// Whether other keys are published than were fetched last.
    pub(super) fn are_keys_behind(&self) -> bool {
        self.keys.load().are_behind(*self.announced.borrow())
    }

    /// For a token with an unknown key: waits for the keys, unless they came just now and the feed
    /// does not say that others are published. The request only asks and waits: a caller who hangs
    /// up must not stop what others wait for.
    pub(super) async fn learn_key(&self) {
        let mut asked = self.keys_asked_at.subscribe();
        let mut announced = self.announced.subscribe();
        if !self.knows_keys() {
            self.keys_wanted.notify_one();
        } else if !self.are_keys_behind() {
            // The token may have overtaken the message that tells of its key.
            let Ok(_place) = self.overtaken.try_acquire() else { return };
            let told = tokio::time::timeout(KEYS_GRACE, announced.changed()).await;
            if told.is_err() || !self.are_keys_behind() {
                return;
            }
        }
        let current = async { while asked.changed().await.is_ok() && self.are_keys_behind() {} };
        // Whether they came in time or not, the token is judged by what is known then.
        let _ = tokio::time::timeout(KEYS_WAIT_MAX, current).await;
    }

    /// Takes note that requests are judged by what came by a stream up to here.
    pub(super) fn note_applied(&self, generation: u64, rev: u64) {
        let is_newer = |known: &AppliedState| (known.generation, known.rev) < (generation, rev);
        self.applied.send_if_modified(|known| {
            let newer = known.as_ref().is_none_or(is_newer);
            if newer {
                *known = Some(AppliedState { generation, rev, at: ambient::instant() });
            }
            newer
        });
    }

    /// Whether a token was seen that the state does not know enough for.
    pub(super) fn is_behind(&self) -> bool {
        self.rev.load(Ordering::Acquire) < self.rev_wanted.load(Ordering::Acquire)
    }

    /// For a token that was decided at `rev`: waits for the state to get there.
    pub(super) async fn catch_up(&self, rev: u64) {
        let mut changes = self.changes();
        self.rev_wanted.fetch_max(rev, Ordering::AcqRel);
        let there = async {
            while self.rev.load(Ordering::Acquire) < rev && changes.changed().await.is_ok() {}
        };
        tokio::pin!(there);
        if tokio::time::timeout(BEHIND_GRACE, &mut there).await.is_err() {
            self.snapshot_wanted.notify_one();
            // Whether it came in time or not, the token is judged by what is known then.
            let _ = tokio::time::timeout(BEHIND_WAIT_MAX, there).await;
        }
    }
}
