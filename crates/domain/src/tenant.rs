//! One organization in memory: what every decision needs at hand, kept current by the store.
//!
//! The store tells of every commit before its caller is answered, so that on this node nothing is
//! decided on an older state than the last answer. `rev` is published last: whoever reads it sees
//! the state, the keys and the facts that belong to it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::jose::jwk::{Jwk, JwkSet};
use accredit_wire::jose::jws::ProtectedHeader;
use accredit_wire::jwt_svid;
use accredit_wire::revocations::feed::FEED_TYPE;
use accredit_wire::revocations::witness::lane_origin;
use accredit_wire::revocations::{self, Entry, keys_hash};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::note::Vkey;
use accredit_wire::tlog::succession::STATEMENTS_MAX;
use accredit_wire::token::TOKEN_TYPE;
use accredit_wire::verify::{AudienceRule, Config, KeyRing, Standing, Verifier};
use arc_swap::ArcSwap;
use std::collections::HashMap;

use crate::audit::checkpointed::Noted;
use crate::audit::reads::Reads;
use crate::audit::refusals::Refusals;
use crate::audit::uses::Uses;
use crate::ca::Intermediate;
use crate::federation::Fetches;
use crate::keys::{self, KeyPurpose, KeyState, SealedKey, SigningKey};
use crate::ports::{LaneHead, Lookup, Notice, Observer, Page, Store};
use crate::refusal::Fault;
use crate::registry::jwks::Follows;
use crate::registry::resource::REVOCATIONS_AGE_DEFAULT_SECONDS;
use crate::registry::rotation_schedule::RotationPolicy;
use crate::registry::{Organization, PAGE_ROWS_MAX, State};
use crate::restoration::Issuing;
use crate::revocation::{KEPT_LONGER, Revocation};
use crate::root::Rewrapped;
use crate::status_list::OpenList;

/// How often loading an organization is begun again because something changed meanwhile.
const LOAD_TRIES_MAX: usize = 100;

/// The age bound of the server's own state: it is where revocations are made.
const OWN_AGE_MAX: Duration = Duration::from_secs(u32::MAX as u64);

/// A key that signs now.
pub struct ActiveKey {
    /// Its id, also the `kid`.
    pub id: KeyId,
    /// The key.
    pub sealed: SealedKey,
    /// The JWS header of what it signs, encoded once.
    pub header: ProtectedHeader,
}

/// The signing keys of an organization, as one consistent set.
pub struct Keys {
    all: Vec<SigningKey>,
    token: Arc<ActiveKey>,
    feed: Arc<ActiveKey>,
    log: Arc<ActiveKey>,
    /// None until the job of rotation has made one: in a store of a version that had none.
    biscuit: Option<Arc<ActiveKey>>,
    /// The same, of certificates.
    ca: Option<Arc<Intermediate>>,
    /// The same, of JWT-SVIDs.
    jwt_svid: Option<Arc<ActiveKey>>,
    /// The keys that sign the log's checkpoints: the active one first.
    log_signers: Vec<SealedKey>,
    token_jwks: JwkSet,
    feed_jwks: JwkSet,
    biscuit_jwks: JwkSet,
    jwt_svid_jwks: JwkSet,
    hash: Hash,
}

/// The keys that sign now, of each purpose that every store has, and of attenuable tokens and JWT-SVIDs.
type Signing = ([Arc<ActiveKey>; 3], [Option<Arc<ActiveKey>>; 2]);

impl Keys {
    fn new(all: Vec<SigningKey>) -> Result<Self, Fault> {
        let found = |purpose: KeyPurpose, typ: &str| {
            let key = keys::of(&all, purpose).rfind(|key| key.state == KeyState::Active);
            let Some(key) = key else { return Ok(None) };
            let kid = key.sealed.id.to_string();
            let header = ProtectedHeader::new(typ, key.sealed.algorithm, Some(&kid))
                .map_err(|error| Fault::new("signing keys", error))?;
            let (id, sealed) = (key.sealed.id, key.sealed.clone());
            Ok::<_, Fault>(Some(Arc::new(ActiveKey { id, sealed, header })))
        };
        let active = |purpose: KeyPurpose, typ: &str| {
            let none = || Fault::new("signing keys", "no active key for a purpose");
            found(purpose, typ)?.ok_or_else(none)
        };
        let token = active(KeyPurpose::Token, TOKEN_TYPE)?;
        let feed = active(KeyPurpose::Feed, FEED_TYPE)?;
        let log = active(KeyPurpose::Log, "")?;
        let biscuit = found(KeyPurpose::Biscuit, "")?;
        let jwt_svid = found(KeyPurpose::JwtSvid, jwt_svid::TYPE)?;
        Self::signed_by(([token, feed, log], [biscuit, jwt_svid]), all)
    }

    fn signed_by(
        ([token, feed, log], [biscuit, jwt_svid]): Signing,
        all: Vec<SigningKey>,
    ) -> Result<Self, Fault> {
        let token_jwks = published(&all, KeyPurpose::Token)?;
        let feed_jwks = published(&all, KeyPurpose::Feed)?;
        let biscuit_jwks = published(&all, KeyPurpose::Biscuit)?;
        let jwt_svid_jwks = published(&all, KeyPurpose::JwtSvid)?;
        let mut log_signers: Vec<SealedKey> =
            placed(&all, KeyPurpose::Log).map(|key| key.sealed.clone()).collect();
        if log_signers.is_empty() {
            log_signers.push(log.sealed.clone());
        }
        let log_keys = log_signers.iter().map(|key| &key.public);
        // What is wrong with it ends no more than the issuing of certificates.
        let ca = Intermediate::of(&all).unwrap_or_else(|fault| {
            tracing::error!(%fault, "an intermediate's certificate is not read");
            None
        });
        let hash = keys_hash(&token_jwks, &feed_jwks, &biscuit_jwks, log_keys);
        Ok(Self {
            all,
            token,
            feed,
            log,
            biscuit,
            ca: ca.map(Arc::new),
            jwt_svid,
            log_signers,
            token_jwks,
            feed_jwks,
            biscuit_jwks,
            jwt_svid_jwks,
            hash,
        })
    }

    /// These keys in the states of `all`, where nothing is left to sign with for a purpose: what was
    /// revoked is published no more, and whoever signed until now goes on.
    fn in_states_of(&self, all: Vec<SigningKey>) -> Result<Self, Fault> {
        let signing = [&self.token, &self.feed, &self.log].map(Arc::clone);
        Self::signed_by((signing, [self.biscuit.clone(), self.jwt_svid.clone()]), all)
    }

    /// The same keys as they are wrapped now.
    fn rewrapped(&self, keys: &[SealedKey]) -> Result<Self, Fault> {
        let now = |held: &SealedKey| {
            let found = keys.iter().find(|key| key.id == held.id);
            found.cloned().unwrap_or_else(|| held.clone())
        };
        let active = |held: &Arc<ActiveKey>| {
            let (sealed, header) = (now(&held.sealed), held.header.clone());
            Arc::new(ActiveKey { id: held.id, sealed, header })
        };
        let all = self.all.iter();
        let all = all.map(|key| SigningKey { sealed: now(&key.sealed), ..key.clone() }).collect();
        let signing = [&self.token, &self.feed, &self.log].map(active);
        let others = [&self.biscuit, &self.jwt_svid].map(|held| held.as_ref().map(active));
        Self::signed_by((signing, others), all)
    }

    /// Every key of the organization, whatever its state.
    pub fn all(&self) -> &[SigningKey] {
        &self.all
    }

    /// The keys that verify tokens, of either format.
    fn ring(&self) -> KeyRing {
        KeyRing::new(&self.token_jwks).with_biscuit(&self.biscuit_jwks)
    }

    /// The keys that verify access tokens (RFC 7517).
    pub fn token_jwks(&self) -> &JwkSet {
        &self.token_jwks
    }

    /// The keys that verify the revocation feed.
    pub fn feed_jwks(&self) -> &JwkSet {
        &self.feed_jwks
    }

    /// The keys that verify attenuable tokens.
    pub fn biscuit_jwks(&self) -> &JwkSet {
        &self.biscuit_jwks
    }

    /// The keys that verify JWT-SVIDs, and nothing else.
    pub fn jwt_svid_jwks(&self) -> &JwkSet {
        &self.jwt_svid_jwks
    }

    /// The keys that sign the log's checkpoints, all of them each: the active one first.
    pub fn log_signers(&self) -> &[SealedKey] {
        &self.log_signers
    }

    /// How the log's keys followed one another, oldest first: the newest [`STATEMENTS_MAX`].
    pub fn log_statements(&self) -> Vec<String> {
        let of_log = keys::of(&self.all, KeyPurpose::Log).filter_map(|key| key.statement.clone());
        let all: Vec<String> = of_log.collect();
        all[all.len().saturating_sub(STATEMENTS_MAX)..].to_vec()
    }

    /// Which keys are published, as the feed tells it.
    pub fn hash(&self) -> Hash {
        self.hash
    }
}

/// The keys of a purpose that are published: the one that signs first, then the one that will,
/// then those whose signatures are still believed.
pub(crate) fn placed(all: &[SigningKey], purpose: KeyPurpose) -> impl Iterator<Item = &SigningKey> {
    let place = |state: KeyState| match state {
        KeyState::Active => Some(0),
        KeyState::Next => Some(1),
        KeyState::Retiring => Some(2),
        KeyState::Retired | KeyState::Revoked => None,
    };
    let mut placed: Vec<_> = keys::of(all, purpose)
        .filter_map(|key| place(key.state).map(|place| (place, key)))
        .collect();
    placed.sort_by_key(|(place, key)| (*place, key.sealed.id));
    placed.into_iter().map(|(_, key)| key)
}

fn published(all: &[SigningKey], purpose: KeyPurpose) -> Result<JwkSet, Fault> {
    let keys = placed(all, purpose)
        .map(|key| {
            Jwk::new(key.sealed.public.clone(), Some(key.sealed.id.to_string()))
                .map(Jwk::into_verifying_key)
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Fault::new("signing keys", error))?;
    JwkSet::new(keys).map_err(|error| Fault::new("signing keys", error))
}

/// One organization.
pub struct Tenant {
    /// Its id.
    pub id: OrganizationId,
    /// Its name.
    pub name: String,
    /// The issuer of its tokens.
    pub issuer: String,
    /// The generation of the store.
    pub generation: u64,
    /// Checks its tokens, against the state that this node has committed.
    pub verifier: Verifier,
    /// What is counted rather than recorded one by one.
    pub refusals: Refusals,
    /// Who read the log, until it is recorded.
    pub reads: Reads,
    /// What is remembered of what the log's lanes tell of each other.
    pub noted: Noted,
    /// When things were last used, until it is flushed.
    pub uses: Uses,
    /// What is remembered of fetching agents' key sets.
    pub follows: Follows,
    /// What is remembered of fetching external issuers' keys.
    pub fetches: Fetches,
    /// The status list in which tokens of this process are given places.
    pub open_list: OpenList,
    state: RwLock<(State, RotationPolicy, Issuing, u8)>,
    keys: ArcSwap<Keys>,
    revoked: ArcSwap<revocations::State>,
    age_min: AtomicU32,
    rev: AtomicU64,
}

impl Tenant {
    /// An organization as it was read.
    pub fn new(
        organization: &Organization,
        keys: Vec<SigningKey>,
        revoked: &[Revocation],
        age_min: Option<u32>,
        now: Time,
    ) -> Result<Self, Fault> {
        let keys = Keys::new(keys)?;
        let mut config = Config::new(&organization.issuer, AudienceRule::Any);
        config.revocations_age_max = OWN_AGE_MAX;
        let verifier = Verifier::new(config, keys.ring());
        let entries: Vec<Entry> = revoked.iter().map(entry).collect();
        let state =
            revocations::State::new(organization.generation, organization.rev, now, &entries);
        verifier.set_standing(Standing::own(state.clone()));
        Ok(Self {
            id: organization.id,
            name: organization.name.clone(),
            issuer: organization.issuer.clone(),
            generation: organization.generation,
            verifier,
            refusals: Refusals::default(),
            reads: Reads::default(),
            noted: Noted::default(),
            uses: Uses::default(),
            follows: Follows::default(),
            fetches: Fetches::default(),
            open_list: OpenList::default(),
            state: RwLock::new(turned(organization)),
            keys: ArcSwap::from_pointee(keys),
            revoked: ArcSwap::from_pointee(state),
            age_min: AtomicU32::new(age_min.unwrap_or(REVOCATIONS_AGE_DEFAULT_SECONDS)),
            rev: AtomicU64::new(organization.rev),
        })
    }

    /// The revocation counter. Read it before any fact that a decision is made from.
    pub fn rev(&self) -> u64 {
        self.rev.load(Ordering::Acquire)
    }

    /// Whether anything is issued.
    pub fn state(&self) -> State {
        self.state.read().map_or(State::Suspended, |state| state.0)
    }

    /// What follows where an agent has changed and its credential is not rotated.
    pub fn rotation_policy(&self) -> RotationPolicy {
        self.state.read().map_or(RotationPolicy::Enforce, |state| state.1)
    }

    /// Whether tokens are issued at all.
    pub fn issuing(&self) -> Issuing {
        self.state.read().map_or(Issuing::Closed, |state| state.2)
    }

    /// The most parties of a chain.
    pub fn chain_depth_max(&self) -> usize {
        self.state.read().map_or(0, |state| usize::from(state.3))
    }

    /// The revocation state that this node has committed.
    pub fn revoked(&self) -> Arc<revocations::State> {
        self.revoked.load_full()
    }

    /// The signing keys.
    pub fn keys(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// The key that signs access tokens.
    pub fn token_key(&self) -> Arc<ActiveKey> {
        Arc::clone(&self.keys.load().token)
    }

    /// The key that signs attenuable tokens; none in the moments in which the first is made.
    pub fn biscuit_key(&self) -> Option<Arc<ActiveKey>> {
        self.keys.load().biscuit.clone()
    }

    /// The intermediate that signs certificates; none in the moments in which the first is made.
    pub fn ca(&self) -> Option<Arc<Intermediate>> {
        self.keys.load().ca.clone()
    }

    /// The key that signs JWT-SVIDs; none in the moments in which the first is made.
    pub fn jwt_svid_key(&self) -> Option<Arc<ActiveKey>> {
        self.keys.load().jwt_svid.clone()
    }

    /// The key that signs the revocation feed.
    pub fn feed_key(&self) -> Arc<ActiveKey> {
        Arc::clone(&self.keys.load().feed)
    }

    /// The key that signs the log's checkpoints.
    pub fn log_key(&self) -> Arc<ActiveKey> {
        Arc::clone(&self.keys.load().log)
    }

    /// The origin of a lane of the log: under the generation in which the lane began.
    pub fn origin(&self, lane: &LaneHead) -> String {
        lane_origin(&self.issuer, lane.generation, lane.lane)
    }

    /// The verifier key of a lane of the log (C2SP signed-note).
    pub fn log_vkey(&self, lane: &LaneHead) -> Result<Vkey, Fault> {
        Vkey::new(&self.origin(lane), &self.log_key().sealed.public)
            .map_err(|error| Fault::new("log key", error))
    }

    /// The verifier keys of those that sign a lane's checkpoints: the active one first.
    pub fn log_vkeys(&self, lane: &LaneHead) -> Result<Vec<Vkey>, Fault> {
        let keys = self.keys();
        self.vkeys(lane, keys.log_signers())
    }

    /// The verifier keys of all that ever signed a lane's checkpoints, oldest first.
    pub fn log_vkeys_ever(&self, lane: &LaneHead) -> Result<Vec<Vkey>, Fault> {
        let keys = self.keys();
        self.vkeys(lane, keys::of(keys.all(), KeyPurpose::Log).map(|key| &key.sealed))
    }

    fn vkeys<'k>(
        &self,
        lane: &LaneHead,
        keys: impl IntoIterator<Item = &'k SealedKey>,
    ) -> Result<Vec<Vkey>, Fault> {
        let origin = self.origin(lane);
        let vkey = |key: &SealedKey| Vkey::new(&origin, &key.public);
        let vkeys = keys.into_iter().map(vkey).collect::<Result<_, _>>();
        vkeys.map_err(|error| Fault::new("log key", error))
    }

    /// The time between two signed heartbeats: a third of the smallest age bound.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(u64::from(self.age_min.load(Ordering::Relaxed))) / 3
    }

    /// Lets what ended be forgotten where it is surely over at `surely`, see [`KEPT_LONGER`].
    pub fn forget(&self, surely: Time) {
        let over = surely.minus(KEPT_LONGER);
        self.revoked.rcu(|state| revocations::State::clone(state).forgetting(over));
    }

    /// Takes over a commit; `rev` is published last.
    fn committed(&self, notice: &Notice) {
        if let Some(organization) = &notice.organization
            && let Ok(mut state) = self.state.write()
        {
            *state = turned(organization);
        }
        if !notice.keys.is_empty() {
            self.take_keys(&notice.keys);
        }
        if let Some(age) = notice.revocations_age_min {
            self.age_min.store(age, Ordering::Relaxed);
        }
        // Whatever became of the set: a revoked key is believed no more.
        let target = notice.revocation.as_ref().map(|revocation| revocation.target);
        if let Some(Ok(kid)) = target.map(KeyId::try_from) {
            self.verifier.set_keys(self.verifier.keys().without(kid));
        }
        // One that was read when the organization was loaded may be told of once more.
        if notice.revocation.is_some() && notice.rev > self.rev() {
            let new = notice.revocation.as_ref().map(entry);
            let state = self.revoked.load().advanced(notice.rev, notice.at, new);
            self.verifier.set_standing(Standing::own(state.clone()));
            self.revoked.store(Arc::new(state));
            self.rev.store(notice.rev, Ordering::Release);
        }
    }

    fn take_keys(&self, changed: &[SigningKey]) {
        let mut all = self.keys.load().all.clone();
        for key in changed {
            match all.iter_mut().find(|held| held.sealed.id == key.sealed.id) {
                Some(held) => *held = key.clone(),
                None => all.push(key.clone()),
            }
        }
        let keys = Keys::new(all.clone()).or_else(|fault| {
            tracing::error!(%fault, org = %self.id, "a signing key has no successor");
            self.keys.load().in_states_of(all)
        });
        match keys {
            Ok(keys) => {
                self.verifier.set_keys(keys.ring());
                self.keys.store(Arc::new(keys));
            }
            Err(fault) => tracing::error!(%fault, org = %self.id, "signing keys not taken over"),
        }
    }
}

/// What of an organization's row is asked on every request.
fn turned(organization: &Organization) -> (State, RotationPolicy, Issuing, u8) {
    let Organization { state, rotation_policy, issuing, chain_depth_max, .. } = *organization;
    (state, rotation_policy, issuing, chain_depth_max)
}

/// An entry as verifiers hold it.
pub fn entry(revocation: &Revocation) -> Entry {
    Entry {
        target: revocation.target,
        below: revocation.rev,
        // Rounded up, so that nobody forgets it a fraction of a second early.
        keep_until: revocation.keep_until.seconds() + 1,
    }
}

/// The organizations in memory: loaded when first asked for, and all of them by
/// [`Tenants::load_all`]. There are at most [`ORGANIZATIONS_MAX`].
///
/// [`ORGANIZATIONS_MAX`]: crate::registry::organization::ORGANIZATIONS_MAX
pub struct Tenants {
    store: Arc<dyn Store>,
    loaded: RwLock<Loaded>,
    notices: AtomicU64,
}

#[derive(Default)]
struct Loaded {
    by_name: HashMap<String, Arc<Tenant>>,
    by_id: HashMap<OrganizationId, Arc<Tenant>>,
}

impl Tenants {
    /// None loaded yet. Register it with the store as an observer.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, loaded: RwLock::default(), notices: AtomicU64::new(0) }
    }

    /// The organization called `name`, or `None`.
    pub async fn get(&self, name: &str, now: Time) -> Result<Option<Arc<Tenant>>, Fault> {
        if let Some(tenant) = self.loaded().by_name.get(name) {
            return Ok(Some(Arc::clone(tenant)));
        }
        let found = self.store.organization(Lookup::Name(name.to_owned())).await?;
        match found {
            Some(organization) => self.load(organization.id, now).await,
            None => Ok(None),
        }
    }

    /// The organization with this id, or `None`.
    pub async fn by_id(&self, id: OrganizationId, now: Time) -> Result<Option<Arc<Tenant>>, Fault> {
        if let Some(tenant) = self.loaded().by_id.get(&id) {
            return Ok(Some(Arc::clone(tenant)));
        }
        self.load(id, now).await
    }

    /// Every organization in memory.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        self.loaded().by_id.values().cloned().collect()
    }

    /// Loads every organization that is not in memory yet, so that what is done by the clock is
    /// done for those that nobody asks for, too.
    pub async fn load_all(&self, now: Time) -> Result<(), Fault> {
        let mut page = Page { limit: PAGE_ROWS_MAX, ..Page::default() };
        loop {
            let found = self.store.organizations(page.clone()).await?;
            for organization in &found.items {
                self.by_id(organization.id, now).await?;
            }
            if found.next.is_none() {
                return Ok(());
            }
            page.cursor = found.next;
        }
    }

    fn loaded(&self) -> std::sync::RwLockReadGuard<'_, Loaded> {
        self.loaded.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Reads an organization. What was committed while it was read would be missed: then it is
    /// read again.
    async fn load(&self, id: OrganizationId, now: Time) -> Result<Option<Arc<Tenant>>, Fault> {
        for _ in 0..LOAD_TRIES_MAX {
            let before = self.notices.load(Ordering::Acquire);
            let Some(organization) = self.store.organization(Lookup::Id(id)).await? else {
                return Ok(None);
            };
            let keys = self.store.signing_keys(id).await?;
            // All of them: the time of day may be ahead.
            let revoked = self.store.revocations_after(id, 0, Time::default()).await?;
            let age = self.store.revocations_age_min(id).await?;
            let tenant = Arc::new(Tenant::new(&organization, keys, &revoked, age, now)?);
            let mut loaded = self.loaded.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            if self.notices.load(Ordering::Acquire) != before {
                continue;
            }
            let held = Arc::clone(loaded.by_id.entry(id).or_insert(tenant));
            loaded.by_name.insert(held.name.clone(), Arc::clone(&held));
            return Ok(Some(held));
        }
        Err(Fault::new("load organization", "it kept changing while it was read"))
    }
}

impl Observer for Tenants {
    fn committed(&self, notice: &Notice) {
        self.notices.fetch_add(1, Ordering::AcqRel);
        if let Some(tenant) = self.loaded().by_id.get(&notice.org) {
            tenant.committed(notice);
        }
    }

    fn lost(&self) {
        // Under the lock, so that nothing that was read before comes in after.
        let mut loaded = self.loaded.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.notices.fetch_add(1, Ordering::AcqRel);
        *loaded = Loaded::default();
    }

    fn rewrapped(&self, rewrapped: &Rewrapped) {
        self.notices.fetch_add(1, Ordering::AcqRel);
        let loaded = self.loaded();
        for keys in rewrapped.keys.chunk_by(|one, other| one.org == other.org) {
            let org = keys.first().and_then(|key| key.org);
            if let Some(tenant) = org.and_then(|org| loaded.by_id.get(&org)) {
                match tenant.keys.load().rewrapped(keys) {
                    Ok(keys) => tenant.keys.store(Arc::new(keys)),
                    Err(fault) => {
                        tracing::error!(%fault, org = %tenant.id, "signing keys not taken over");
                    }
                }
            }
        }
    }
}
