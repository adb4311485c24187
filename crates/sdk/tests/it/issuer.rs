//! An issuer of one organization on loopback, which can be told to misbehave.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use accredit::Verifier;
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::authority::Authority;
use accredit_wire::binding::Confirmation;
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, OrganizationId, PersonId, ResourceId, TokenId,
};
use accredit_wire::jose::jwk::{JwkSet, VerifyingKey};
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::oauth::Metadata;
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::revocations::feed::{FEED_TYPE, LaneCheckpoint, MESSAGE_ENTRIES_MAX, Message};
use accredit_wire::revocations::witness::lane_origin;
use accredit_wire::revocations::{self, Acknowledgement, Entry, Nonce, Pieces, Reading, keys_hash};
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::checkpoint::Checkpoint;
use accredit_wire::tlog::note::{self, Vkey};
use accredit_wire::tlog::proof::ConsistencyProof;
use accredit_wire::tlog::succession::{self, log_name};
use accredit_wire::tlog::tree::{self, HashReader};
use accredit_wire::token::{AccessToken, Actor, SubjectKind, TOKEN_TYPE};
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt as _;
use tokio::sync::broadcast;

/// The audience of all tokens that are meant for the resource under test.
pub(crate) const AUDIENCE: &str = "https://crm.example";

/// How often the issuer says that nothing happened.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// The wall clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Time::from_micros(since.as_micros() as i64)
}

/// A handle on the issuer; it dies with its runtime.
#[derive(Clone)]
pub(crate) struct Issuer(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) url: String,
    world: Mutex<World>,
    feed: broadcast::Sender<Option<String>>,
    down: AtomicBool,
    silent: AtomicBool,
    keys_down: AtomicBool,
    keys_stale: AtomicBool,
    pub(crate) snapshots: AtomicUsize,
    pub(crate) key_fetches: AtomicUsize,
    pub(crate) proofs: AtomicUsize,
    /// What its followers said that they have applied, and what they say when they ask for a stream.
    pub(crate) said: Mutex<Vec<Acknowledgement>>,
    pub(crate) introduced: Mutex<Vec<String>>,
    deaf: AtomicBool,
    /// How it goes wrong with the pieces of a snapshot.
    pub(crate) pieces: Mutex<PiecesSent>,
    pub(crate) token_requests: Mutex<Vec<(HeaderMap, String)>>,
    token_answers: Mutex<TokenAnswers>,
    #[cfg(feature = "mtls")]
    pub(crate) ca: Mutex<crate::ca::Ca>,
}

/// Which pieces of a snapshot are sent.
#[derive(Clone, Copy, Default)]
pub(crate) enum PiecesSent {
    #[default]
    All,
    /// Only so many.
    First(usize),
    /// The first two in each other's place.
    Swapped,
}

/// What the token endpoint does.
pub(crate) struct TokenAnswers {
    pub(crate) status: u16,
    pub(crate) body: Option<String>,
    pub(crate) expires_in: u32,
    pub(crate) delay: Duration,
}

struct World {
    token_key: (KeyId, PrivateKey),
    /// They signed tokens before, and are published still.
    retiring: Vec<(KeyId, PrivateKey)>,
    /// A revoked key that a thief has.
    stolen: Option<(KeyId, PrivateKey)>,
    feed_key: (KeyId, PrivateKey),
    /// Further keys of the feed that are published.
    feed_others: Vec<(KeyId, PrivateKey)>,
    /// They sign attenuable tokens.
    biscuit_keys: Vec<(KeyId, PrivateKey)>,
    /// A revoked key of the feed that a thief has.
    feed_stolen: Option<(KeyId, PrivateKey)>,
    /// The keys that sign the log, all of them each checkpoint: the newest first.
    log_keys: Vec<Arc<PrivateKey>>,
    /// By which they named one another.
    log_statements: Vec<String>,
    generation: u64,
    rev: u64,
    entries: Vec<Entry>,
    /// The lanes of the log, by number; the last one grows.
    lanes: Vec<Lane>,
    next: u8,
    /// The name of its monotonic clock, what that showed last, and since when it runs.
    clock: u64,
    up: AtomicU64,
    started: Instant,
    /// By how much its time of day is ahead.
    ahead: Duration,
}

/// A lane of the log: the generation in which it began, and its leaves.
#[derive(Clone)]
struct Lane {
    generation: u64,
    leaves: Vec<Hash>,
}

fn key(number: u8, algorithm: Algorithm) -> (KeyId, PrivateKey) {
    let (key, _) = PrivateKey::generate(algorithm).expect("a key");
    (KeyId::new(now().millis(), [number; 10]), key)
}

fn set<'k>(keys: impl IntoIterator<Item = &'k (KeyId, PrivateKey)>) -> Vec<u8> {
    let public = |key: &(KeyId, PrivateKey)| VerifyingKey {
        kid: key.0.to_string(),
        key: key.1.public().expect("its public half"),
    };
    let set = JwkSet::new(keys.into_iter().map(public).collect());
    serde_json::to_vec(&set.expect("a set")).expect("JSON")
}

struct Leaves<'a>(&'a [Hash]);

impl HashReader for Leaves<'_> {
    fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        let width = 1usize << level;
        let start = index as usize * width;
        self.0.get(start..start + width).map(tree::root)
    }
}

impl World {
    /// The token keys as they are published.
    fn published(&self) -> impl Iterator<Item = &(KeyId, PrivateKey)> {
        [&self.token_key].into_iter().chain(&self.retiring)
    }

    /// The feed keys as they are published.
    fn feed_keys(&self) -> impl Iterator<Item = &(KeyId, PrivateKey)> {
        [&self.feed_key].into_iter().chain(&self.feed_others)
    }

    fn keys_hash(&self) -> Hash {
        let read = |set: &[u8]| JwkSet::parse(set).expect("a set");
        let log: Vec<_> =
            self.log_keys.iter().map(|key| key.public().expect("its public half")).collect();
        let (tokens, feed) = (read(&set(self.published())), read(&set(self.feed_keys())));
        keys_hash(&tokens, &feed, &read(&set(&self.biscuit_keys)), &log)
    }

    fn vkeys(&self, issuer: &str) -> Vec<Vkey> {
        let lanes = self.lanes.iter().zip(0..);
        lanes.flat_map(|(lane, number)| self.vkeys_of(issuer, lane, number)).collect()
    }

    fn vkeys_of(&self, issuer: &str, lane: &Lane, number: u16) -> Vec<Vkey> {
        let origin = lane_origin(issuer, lane.generation, number);
        let publics = self.log_keys.iter().map(|key| key.public().expect("its public half"));
        publics.map(|public| Vkey::new(&origin, &public).expect("a verifier key")).collect()
    }

    fn log(&self, issuer: &str) -> Vec<LaneCheckpoint> {
        let show = |(lane, number): (&Lane, u16)| {
            let checkpoint = Checkpoint {
                origin: lane_origin(issuer, lane.generation, number),
                size: lane.leaves.len() as u64,
                root: tree::root(&lane.leaves),
            };
            let bytes = checkpoint.bytes_to_sign();
            let vkeys = self.vkeys_of(issuer, lane, number);
            let lines =
                self.log_keys.iter().zip(&vkeys).map(|(key, vkey)| {
                    vkey.signature_line(&key.sign(&bytes).expect("a signature"))
                });
            let note = note::assemble(&checkpoint.to_string(), &lines.collect::<String>());
            LaneCheckpoint { lane: number, note, from: 0, proof: Vec::new() }
        };
        self.lanes.iter().zip(0..).map(show).collect()
    }

    fn lane(&mut self) -> &mut Lane {
        self.lanes.last_mut().expect("a lane")
    }

    /// The message that leads from the counter `from` to now.
    fn message(&self, issuer: &str, from: u64, nonce: Option<Nonce>) -> String {
        signed(&self.unsigned(issuer, from, nonce), &self.feed_key)
    }

    fn unsigned(&self, issuer: &str, from: u64, nonce: Option<Nonce>) -> Message {
        let now = now();
        let up = self.started.elapsed().as_micros() as u64;
        let up = up.max(self.up.load(Ordering::SeqCst) + 1);
        self.up.store(up, Ordering::SeqCst);
        let kept = |entry: &&Entry| entry.below > from && entry.keep_until >= now.seconds();
        Message {
            issuer: issuer.to_owned(),
            generation: self.generation,
            from,
            to: self.rev,
            at: now.plus(self.ahead),
            reading: Reading { clock: self.clock, up },
            nonce,
            keys: self.keys_hash(),
            entries: self.entries.iter().filter(kept).copied().collect(),
            pieces: Vec::new(),
            log: self.log(issuer),
        }
    }

    /// What brings a follower from the counter `from` to now, as a message and the pieces of what
    /// has no room in it.
    fn answer(&self, issuer: &str, from: u64, nonce: Option<Nonce>) -> (String, Option<Pieces>) {
        let mut message = self.unsigned(issuer, from, nonce);
        if message.entries.len() <= MESSAGE_ENTRIES_MAX {
            return (signed(&message, &self.feed_key), None);
        }
        if from > 0 {
            message = self.unsigned(issuer, 0, nonce);
        }
        let entries = std::mem::take(&mut message.entries);
        let (to, at) = (message.to, message.at);
        let state = revocations::State::new(message.generation, to, at, &entries);
        let pieces = Pieces::of(state);
        message.pieces = pieces.clone().map(|piece| piece.hash()).collect();
        (signed(&message, &self.feed_key), Some(pieces))
    }

    fn revoke(&mut self, target: AnyId) {
        self.rev += 1;
        let keep_until = now().seconds() + 3600;
        self.entries.push(Entry { target, below: self.rev, keep_until });
        self.grow();
    }

    fn grow(&mut self) {
        let leaf = tree::entry_hash(&[self.next]);
        self.lane().leaves.push(leaf);
        self.next = self.next.wrapping_add(1);
    }
}

/// An instance by number.
pub(crate) fn numbered(number: u64) -> InstanceId {
    let mut random = [9; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    InstanceId::new(1_763_717_400_000 + number % 1000, random)
}

/// The statement of a log's key about its successor.
pub(crate) fn named(name: &str, by: &PrivateKey, new: &PrivateKey) -> String {
    let public = |key: &PrivateKey| key.public().expect("its public half");
    let text = succession::text(name, &public(new)).expect("a text");
    let signature = by.sign(text.as_bytes()).expect("a signature");
    succession::statement(name, &public(by), &public(new), &signature).expect("a statement")
}

fn signed(message: &Message, key: &(KeyId, PrivateKey)) -> String {
    let kid = key.0.to_string();
    let header = ProtectedHeader::new(FEED_TYPE, Algorithm::EdDsa, Some(&kid)).expect("header");
    let input = message.signing_input(&header);
    let signature = key.1.sign(input.bytes()).expect("a signature");
    input.finish(&signature)
}

/// Whom a token is for and what it may do.
pub(crate) struct Grant {
    pub(crate) agent: AgentId,
    pub(crate) scope: &'static str,
    pub(crate) audience: &'static str,
    pub(crate) life: i64,
    pub(crate) cnf: Option<Confirmation>,
    /// For whom the agent acts.
    pub(crate) user: Option<PersonId>,
}

impl Default for Grant {
    fn default() -> Self {
        let agent = AgentId::new(now().millis(), [1; 10]);
        let (scope, audience) = ("crm:read", AUDIENCE);
        Self { agent, scope, audience, life: 600, cnf: None, user: None }
    }
}

impl Issuer {
    /// Starts an issuer.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let world = World {
            token_key: key(1, Algorithm::Es256),
            retiring: Vec::new(),
            stolen: None,
            feed_key: key(2, Algorithm::EdDsa),
            feed_others: Vec::new(),
            biscuit_keys: vec![key(4, Algorithm::EdDsa)],
            feed_stolen: None,
            log_keys: vec![Arc::new(key(3, Algorithm::EdDsa).1)],
            log_statements: Vec::new(),
            generation: 1,
            rev: 1,
            entries: Vec::new(),
            clock: 1,
            up: AtomicU64::new(0),
            started: Instant::now(),
            ahead: Duration::ZERO,
            lanes: vec![Lane { generation: 1, leaves: vec![tree::entry_hash(b"first")] }],
            next: 0,
        };
        let issuer = Self(Arc::new(Inner {
            url: format!("http://127.0.0.1:{port}/o/dev"),
            world: Mutex::new(world),
            feed: broadcast::Sender::new(64),
            down: AtomicBool::new(false),
            keys_down: AtomicBool::new(false),
            keys_stale: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            snapshots: AtomicUsize::new(0),
            key_fetches: AtomicUsize::new(0),
            proofs: AtomicUsize::new(0),
            said: Mutex::default(),
            introduced: Mutex::default(),
            deaf: AtomicBool::new(false),
            pieces: Mutex::default(),
            token_requests: Mutex::new(Vec::new()),
            token_answers: Mutex::new(TokenAnswers {
                status: 200,
                body: None,
                expires_in: 600,
                delay: Duration::ZERO,
            }),
            #[cfg(feature = "mtls")]
            ca: Mutex::new(crate::ca::Ca::new("dev.127.0.0.1")),
        }));
        let routes = axum::Router::<Self>::new()
            .route("/.well-known/oauth-authorization-server/o/dev", get(metadata))
            .route("/o/dev/.well-known/jwks.json", get(jwks))
            .route("/o/dev/.well-known/feed-jwks.json", get(feed_jwks))
            .route("/o/dev/.well-known/biscuit-jwks.json", get(biscuit_jwks))
            .route("/o/dev/revocations", get(snapshot))
            .route("/o/dev/revocations/feed", get(feed))
            .route("/o/dev/revocations/acknowledgements", post(acknowledge))
            .route("/o/dev/log/{id}/consistency", get(consistency))
            .route("/o/dev/oauth/token", post(token));
        #[cfg(feature = "mtls")]
        let routes = routes.merge(crate::ca::routes());
        let routes = routes.with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let beating = issuer.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                beating.beat();
            }
        });
        issuer
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    /// Its certificate authority.
    #[cfg(feature = "mtls")]
    pub(crate) fn ca(&self) -> MutexGuard<'_, crate::ca::Ca> {
        self.0.ca.lock().expect("not poisoned")
    }

    /// The counter of its revocations.
    #[cfg(feature = "mtls")]
    pub(crate) fn rev(&self) -> u64 {
        self.world().rev
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().expect("not poisoned")
    }

    pub(crate) fn token_answers(&self) -> MutexGuard<'_, TokenAnswers> {
        self.0.token_answers.lock().expect("not poisoned")
    }

    /// The resource's credential.
    pub(crate) fn credential() -> String {
        let credential = CredentialId::new(1_763_717_400_000, [5; 10]);
        ApiKey::new(SecretKind::Resource, credential, [7; 32]).expose().to_owned()
    }

    /// A verifier with an age bound of a second, which has got a first message by the feed.
    pub(crate) async fn verifier(&self) -> Verifier {
        let verifier = self.builder().connect().await.expect("a verifier");
        let start = verifier.status().expect("a state").signed_at;
        until("the feed", || verifier.status().is_some_and(|now| now.signed_at > start)).await;
        verifier
    }

    pub(crate) fn builder(&self) -> accredit::verifier::Builder {
        Verifier::builder(self.url(), AUDIENCE)
            .credential(Self::credential())
            .age_max(Duration::from_secs(1))
            .skew(Duration::ZERO)
    }

    fn beat(&self) {
        if !self.0.silent.load(Ordering::SeqCst) {
            let message = {
                let world = self.world();
                world.message(self.url(), world.rev, None)
            };
            let _ = self.0.feed.send(Some(message));
        }
    }

    /// Signs a token.
    pub(crate) fn token(&self, grant: &Grant) -> String {
        let world = self.world();
        self.signed_token(&world.token_key, grant, world.rev)
    }

    /// Signs a token with the stolen key, as if it had been decided just now.
    pub(crate) fn stolen_token(&self, grant: &Grant) -> String {
        let world = self.world();
        self.signed_token(world.stolen.as_ref().expect("stolen"), grant, world.rev)
    }

    fn signed_token(&self, key: &(KeyId, PrivateKey), grant: &Grant, rev: u64) -> String {
        let millis = now().millis();
        let token = AccessToken {
            issuer: self.url().to_owned(),
            subject: grant.user.map_or(grant.agent.any(), AnyId::from),
            kind: if grant.user.is_some() { SubjectKind::User } else { SubjectKind::Agent },
            client_id: grant.agent,
            audience: grant.audience.to_owned(),
            issued_at: now().seconds(),
            not_before: None,
            expires_at: now().seconds() + grant.life,
            id: TokenId::new(millis, [9; 10]),
            scope: grant.scope.parse().expect("a scope"),
            details: AuthorizationDetails::default(),
            key: key.0,
            instance: None,
            organization: OrganizationId::new(millis, [1; 10]),
            credential: CredentialId::new(millis, [2; 10]),
            owner: PersonId::new(millis, [3; 10]),
            resource: ResourceId::new(millis, [4; 10]),
            further: Vec::new(),
            rev,
            delegable: Authority::none(),
            chain: grant
                .user
                .map(|_| Actor { agent: grant.agent, instance: None })
                .into_iter()
                .collect(),
            impersonated: false,
            cnf: grant.cnf,
            status: None,
        };
        let kid = key.0.to_string();
        let header =
            ProtectedHeader::new(TOKEN_TYPE, Algorithm::Es256, Some(&kid)).expect("a header");
        let input = SigningInput::new(&header, &token.to_payload()).expect("an input");
        let signature = key.1.sign(input.bytes()).expect("a signature");
        input.finish(&signature)
    }

    /// Revokes and tells everybody.
    pub(crate) fn revoke(&self, target: impl Into<AnyId>) {
        let message = {
            let mut world = self.world();
            let from = world.rev;
            world.revoke(target.into());
            world.message(self.url(), from, None)
        };
        let _ = self.0.feed.send(Some(message));
    }

    /// Revokes and tells nobody: the next delta leaves a gap.
    pub(crate) fn revoke_in_secret(&self, target: impl Into<AnyId>) {
        self.world().revoke(target.into());
    }

    /// Revokes so many instances, numbered from `first`, in secret.
    pub(crate) fn revoke_many(&self, first: u64, count: u64) {
        let mut world = self.world();
        let keep_until = now().seconds() + 3600;
        for number in first..first + count {
            world.rev += 1;
            let (target, below) = (numbered(number).any(), world.rev);
            world.entries.push(Entry { target, below, keep_until });
        }
        world.grow();
    }

    /// Tells everybody of what was revoked in secret since the counter `from`.
    pub(crate) fn tell(&self, from: u64) {
        let message = self.world().message(self.url(), from, None);
        let _ = self.0.feed.send(Some(message));
    }

    /// Its pieces of a snapshot from now on, wrong or right.
    fn lines(&self, pieces: Option<Pieces>) -> Vec<String> {
        let mut lines: Vec<String> =
            pieces.into_iter().flatten().map(|piece| piece.text()).collect();
        match *self.0.pieces.lock().expect("not poisoned") {
            PiecesSent::First(count) => lines.truncate(count),
            PiecesSent::Swapped if lines.len() > 1 => lines.swap(0, 1),
            PiecesSent::All | PiecesSent::Swapped => {}
        }
        lines
    }

    pub(crate) fn send_pieces(&self, sent: PiecesSent) {
        *self.0.pieces.lock().expect("not poisoned") = sent;
    }

    /// Revokes the key that signs tokens, which a thief goes on to use, and tells everybody. The
    /// entry may be forgotten `kept` seconds from now. Another key takes its place.
    pub(crate) fn revoke_token_key(&self, kept: i64) -> KeyId {
        let (kid, message) = {
            let mut world = self.world();
            let from = world.rev;
            let stolen = std::mem::replace(&mut world.token_key, key(7, Algorithm::Es256));
            let kid = stolen.0;
            world.stolen = Some(stolen);
            world.revoke(kid.any());
            world.entries.last_mut().expect("the entry").keep_until = now().seconds() + kept;
            (kid, world.message(self.url(), from, None))
        };
        let _ = self.0.feed.send(Some(message));
        kid
    }

    /// Answers the key set with 503; or works again.
    pub(crate) fn set_keys_down(&self, down: bool) {
        self.0.keys_down.store(down, Ordering::SeqCst);
    }

    /// Publishes a key set that still names the stolen key, as an old copy does; or not.
    pub(crate) fn set_keys_stale(&self, stale: bool) {
        self.0.keys_stale.store(stale, Ordering::SeqCst);
    }

    /// Its time of day is ahead by so much.
    pub(crate) fn set_ahead(&self, by: Duration) {
        self.world().ahead = by;
    }

    /// Another process signs from here on, to the streams that are there as well.
    pub(crate) fn change_clock(&self) {
        let mut world = self.world();
        world.clock += 1;
        world.started = Instant::now();
        world.up = AtomicU64::new(0);
    }

    /// No heartbeats, while everything else works.
    pub(crate) fn fall_silent(&self, silent: bool) {
        self.0.silent.store(silent, Ordering::SeqCst);
    }

    /// Takes no acknowledgements, while everything else works.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.0.deaf.store(deaf, Ordering::SeqCst);
    }

    /// The counters that were acknowledged, in order.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        self.0.said.lock().expect("not poisoned").iter().map(|said| said.rev).collect()
    }

    /// Answers everything with 503 and breaks all streams off; or works again.
    pub(crate) fn set_down(&self, down: bool) {
        self.0.down.store(down, Ordering::SeqCst);
        self.fall_silent(down);
        if down {
            let _ = self.0.feed.send(None);
        }
    }

    /// Another log of the same key in the place of the one that was shown.
    pub(crate) fn rewrite_log(&self) {
        let mut world = self.world();
        let size = world.lane().leaves.len();
        world.lane().leaves = vec![tree::entry_hash(b"forged"); size + 1];
    }

    /// Raises the generation, and nothing else.
    pub(crate) fn raise_generation(&self) {
        let mut world = self.world();
        world.generation += 1;
        world.rev = world.generation << 40;
    }

    /// Restores a backup from before the last `lost` events: a new generation with a new lane.
    pub(crate) fn restore(&self, lost: usize) {
        self.raise_generation();
        let mut world = self.world();
        let kept = world.lane().leaves.len() - lost;
        world.lane().leaves.truncate(kept);
        let leaves = vec![tree::entry_hash(b"restored")];
        let generation = world.generation;
        world.lanes.push(Lane { generation, leaves });
    }

    /// Forgets revocations without a new generation.
    pub(crate) fn roll_back(&self) {
        let mut world = self.world();
        world.entries.clear();
        world.rev = 0;
    }

    /// Signs the log with another key from now on.
    pub(crate) fn change_log_key(&self) {
        self.world().log_keys = vec![Arc::new(key(8, Algorithm::EdDsa).1)];
    }

    /// Another key signs the log besides, which the newest named; `retired` is published no more.
    pub(crate) fn rotate_log_key(&self, retired: bool) {
        let mut world = self.world();
        let new = key(9, Algorithm::EdDsa).1;
        let by = Arc::clone(&world.log_keys[0]);
        let statement = named(&log_name(self.url()), &by, &new);
        world.log_statements.push(statement);
        if retired {
            world.log_keys.clear();
        }
        world.log_keys.insert(0, Arc::new(new));
    }

    /// The log's keys as they are, for [`Issuer::set_log_keys`].
    pub(crate) fn log_keys(&self) -> (Vec<Arc<PrivateKey>>, Vec<String>) {
        let world = self.world();
        (world.log_keys.clone(), world.log_statements.clone())
    }

    pub(crate) fn set_log_keys(&self, (keys, statements): (Vec<Arc<PrivateKey>>, Vec<String>)) {
        let mut world = self.world();
        (world.log_keys, world.log_statements) = (keys, statements);
    }

    /// Signs the log with a key that nobody knows, and which `statement` is to introduce.
    pub(crate) fn pretend_log_key(&self, statement: impl Fn(&PrivateKey, &PrivateKey) -> String) {
        let mut world = self.world();
        let new = key(9, Algorithm::EdDsa).1;
        let statement = statement(&world.log_keys[0], &new);
        world.log_statements.push(statement);
        world.log_keys = vec![Arc::new(new)];
    }

    /// Signs tokens with another key from now on.
    pub(crate) fn rotate_token_key(&self) {
        self.world().token_key = key(7, Algorithm::Es256);
    }

    /// Signs tokens with a key that nobody was told of before, tells everybody that the keys have
    /// changed, and publishes the old key still.
    pub(crate) fn rotate_token_key_now(&self) {
        let message = {
            let mut world = self.world();
            let number = 100 + u8::try_from(world.retiring.len()).expect("few");
            let old = std::mem::replace(&mut world.token_key, key(number, Algorithm::Es256));
            world.retiring.push(old);
            world.message(self.url(), world.rev, None)
        };
        let _ = self.0.feed.send(Some(message));
    }

    /// Signs the feed with another key from now on.
    pub(crate) fn rotate_feed_key(&self) {
        self.world().feed_key = key(6, Algorithm::EdDsa);
    }

    /// Publishes another key of the feed, which signs nothing yet.
    pub(crate) fn publish_feed_key(&self) {
        self.world().feed_others.push(key(5, Algorithm::EdDsa));
        self.beat();
    }

    /// Signs the feed at once with a key that nobody was told of, and publishes the old one still.
    pub(crate) fn rotate_feed_key_now(&self) {
        {
            let mut world = self.world();
            let number = 100 + u8::try_from(world.feed_others.len()).expect("few");
            let old = std::mem::replace(&mut world.feed_key, key(number, Algorithm::EdDsa));
            world.feed_others.push(old);
        }
        self.beat();
    }

    /// Revokes the key that signs the feed, which a thief goes on to use. The published one follows.
    pub(crate) fn revoke_feed_key(&self) -> KeyId {
        let (kid, message) = {
            let mut world = self.world();
            let from = world.rev;
            let next = world.feed_others.pop().expect("a published one");
            let stolen = std::mem::replace(&mut world.feed_key, next);
            let kid = stolen.0;
            world.feed_stolen = Some(stolen);
            world.revoke(kid.any());
            (kid, world.message(self.url(), from, None))
        };
        let _ = self.0.feed.send(Some(message));
        kid
    }

    /// A message that the thief of the feed's key puts into every stream: it ends `target`.
    pub(crate) fn send_stolen(&self, target: impl Into<AnyId>) {
        let message = {
            let world = self.world();
            let mut message = world.unsigned(self.url(), world.rev, None);
            message.to += 1;
            let keep_until = now().seconds() + 3600;
            message.entries = vec![Entry { target: target.into(), below: message.to, keep_until }];
            signed(&message, world.feed_stolen.as_ref().expect("stolen"))
        };
        let _ = self.0.feed.send(Some(message));
    }

    fn up(&self) -> Result<(), StatusCode> {
        let down = self.0.down.load(Ordering::SeqCst);
        if down { Err(StatusCode::SERVICE_UNAVAILABLE) } else { Ok(()) }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        self.up()?;
        let expected = format!("Bearer {}", Self::credential());
        let found = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if found == Some(&expected) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }
}

type Answer = Result<Response, StatusCode>;

async fn metadata(State(issuer): State<Issuer>) -> Answer {
    issuer.up()?;
    let mut metadata = Metadata::new(issuer.url());
    let vkeys = issuer.world().vkeys(issuer.url());
    metadata.accredit_log_key_statements.clone_from(&issuer.world().log_statements);
    metadata.accredit_log_keys = vkeys.iter().map(Vkey::to_string).collect();
    Ok(serde_json::to_vec(&metadata).expect("JSON").into_response())
}

async fn jwks(State(issuer): State<Issuer>) -> Answer {
    issuer.up()?;
    issuer.0.key_fetches.fetch_add(1, Ordering::SeqCst);
    if issuer.0.keys_down.load(Ordering::SeqCst) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let world = issuer.world();
    let stale = issuer.0.keys_stale.load(Ordering::SeqCst);
    let stolen = world.stolen.as_ref().filter(|_| stale);
    Ok(set(world.published().chain(stolen)).into_response())
}

async fn feed_jwks(State(issuer): State<Issuer>) -> Answer {
    issuer.up()?;
    let world = issuer.world();
    let stale = issuer.0.keys_stale.load(Ordering::SeqCst);
    let stolen = world.feed_stolen.as_ref().filter(|_| stale);
    Ok(set(world.feed_keys().chain(stolen)).into_response())
}

async fn biscuit_jwks(State(issuer): State<Issuer>) -> Answer {
    issuer.up()?;
    Ok(set(&issuer.world().biscuit_keys).into_response())
}

async fn snapshot(
    State(issuer): State<Issuer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    issuer.admit(&headers)?;
    issuer.0.snapshots.fetch_add(1, Ordering::SeqCst);
    let (head, pieces) = issuer.world().answer(issuer.url(), 0, nonce(query.as_deref()));
    let lines = issuer.lines(pieces).into_iter().map(|line| format!("\n{line}"));
    let body = std::iter::once(head).chain(lines).map(Ok::<_, std::io::Error>);
    Ok(Body::from_stream(futures_util::stream::iter(body)).into_response())
}

/// The value of `name=…` in a query.
fn value<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn number(query: Option<&str>, name: &str) -> u64 {
    value(query, name).and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn nonce(query: Option<&str>) -> Option<Nonce> {
    value(query, "nonce").and_then(|value| value.parse().ok())
}

async fn feed(
    State(issuer): State<Issuer>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    issuer.admit(&headers)?;
    let asked = query.clone().unwrap_or_default();
    issuer.0.introduced.lock().expect("not poisoned").push(asked);
    let receiver = issuer.0.feed.subscribe();
    let (first, pieces) = {
        let world = issuer.world();
        let generation = number(query.as_deref(), "gen");
        let rev = number(query.as_deref(), "rev");
        let from = if generation == world.generation && rev <= world.rev { rev } else { 0 };
        world.answer(issuer.url(), from, nonce(query.as_deref()))
    };
    let event =
        |message: String| format!(": next\nevent: revocations\nid: 1.1\ndata: {message}\n\n");
    let pieces = issuer.lines(pieces).into_iter();
    let pieces = pieces.map(|line| format!("event: piece\ndata: {line}\n\n"));
    let own = std::iter::once(event(first)).chain(pieces);
    let rest = futures_util::stream::unfold(receiver, move |mut rest| async move {
        let message = rest.recv().await.ok()??;
        Some((event(message), rest))
    });
    let stream = futures_util::stream::iter(own).chain(rest);
    let stream = stream.map(|text| Ok::<_, std::io::Error>(Bytes::from(text)));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(stream)).into_response())
}

async fn acknowledge(State(issuer): State<Issuer>, headers: HeaderMap, body: Bytes) -> Answer {
    issuer.admit(&headers)?;
    if issuer.0.deaf.load(Ordering::SeqCst) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let said = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    issuer.0.said.lock().expect("not poisoned").push(said);
    Ok(r#"{"taken":true}"#.into_response())
}

async fn consistency(
    State(issuer): State<Issuer>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    issuer.admit(&headers)?;
    issuer.0.proofs.fetch_add(1, Ordering::SeqCst);
    let (from, to) = (number(query.as_deref(), "from"), number(query.as_deref(), "to"));
    let lanes = issuer.world().lanes.clone();
    let mut lanes = lanes.iter().zip(0..);
    let named = |(lane, number): &(&Lane, u16)| id == format!("g{}l{number}", lane.generation);
    let (lane, _) = lanes.find(named).ok_or(StatusCode::NOT_FOUND)?;
    let proof = ConsistencyProof::new(&Leaves(&lane.leaves), from, to);
    let proof = proof.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(serde_json::to_vec(&proof).expect("JSON").into_response())
}

async fn token(State(issuer): State<Issuer>, headers: HeaderMap, body: String) -> Answer {
    issuer.up()?;
    let token_type = if headers.contains_key("dpop") { "DPoP" } else { "Bearer" };
    let number = {
        let mut requests = issuer.0.token_requests.lock().expect("not poisoned");
        requests.push((headers, body));
        requests.len()
    };
    let (status, body, expires_in, delay) = {
        let answers = issuer.token_answers();
        (answers.status, answers.body.clone(), answers.expires_in, answers.delay)
    };
    tokio::time::sleep(delay).await;
    let body = body.unwrap_or_else(|| {
        format!(
            r#"{{"access_token":"t{number}","token_type":"{token_type}","expires_in":{expires_in},"scope":"crm:read"}}"#
        )
    });
    let status = StatusCode::from_u16(status).expect("a status");
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Waits until `done` says so, ten seconds at most.
pub(crate) async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}
