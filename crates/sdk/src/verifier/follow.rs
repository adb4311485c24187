//! Following the feed: messages in, a newer state out, for as long as the verifier lives.
//!
//! The order of trust: a message counts when a feed key signed it; its entries count at once, its
//! counter and its time only when the log it shows contains the log shown before. Everything that
//! goes wrong leads back to the same loop, a little later each time; nothing here ever makes the
//! state younger than the issuer signed it.
//!
//! A large snapshot comes as a signed head and pieces, in the stream or as the lines of an answer:
//! each piece goes into the state as it comes, and the head is applied after the last.
//!
//! Each stream and each snapshot is a question with a nonce, and the age runs from when it was put
//! (`accredit_wire::revocations::age`). Where what comes looks late, because it is, because a clock
//! jumped or because another process answers, the question is put anew.

use std::sync::Arc;
use std::time::Duration;

use accredit_net::RESPONSE_BODY_MAX;
use accredit_net::lines::Lines;
use accredit_net::sse::{Events, Limits};
use accredit_wire::revocations::feed::{FEED_MESSAGE_BYTES_MAX, FeedError};
use accredit_wire::revocations::witness::LaneProof;
use accredit_wire::revocations::{Applied, Follower, Nonce, SignedMessage};
use accredit_wire::tlog::proof::ConsistencyProof;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::acknowledge::Introduction;
use super::alarm::Contradiction;
use super::keys::Keys;
use super::shared::Shared;
use super::state_dir::{Keeper, StateDir};
use crate::ambient;
use crate::issuer::IssuerError;

/// The shortest wait before the feed is asked for again after it broke; it doubles each time.
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// The longest such wait.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How often one message is tried again after something was fetched for it.
const FETCHES_PER_MESSAGE_MAX: usize = 8;

/// How long after a snapshot no other is fetched because a token is ahead of the state.
const SNAPSHOT_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What comes is late where it leaves the state older than this part of the age bound: heartbeats
/// come within a third of it.
const LATE: u32 = 3;

/// What the feed's messages are for the log.
const FEED: &str = "revocation feed";

/// Why a stream of messages was given up.
#[derive(Debug)]
pub(super) enum Broken {
    /// The issuer could not be asked.
    Issuer(IssuerError),
    /// What it sent is not accepted.
    Message(FeedError),
    /// The stream ended or was not a stream.
    Stream(String),
    /// What it sends looks old.
    Late,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issuer(error) => error.fmt(f),
            Self::Message(error) => error.fmt(f),
            Self::Stream(what) => f.write_str(what),
            Self::Late => f.write_str("what it sends looks late"),
        }
    }
}

impl From<IssuerError> for Broken {
    fn from(error: IssuerError) -> Self {
        Self::Issuer(error)
    }
}

/// The one writer of the state.
pub(super) struct Follow {
    shared: Arc<Shared>,
    follower: Follower,
    /// The keys whose log keys the witness has.
    keys: Arc<Keys>,
    keeper: Keeper,
    /// Said with each stream that is asked for.
    introduction: Introduction,
}

impl Follow {
    /// Goes on from what `follower` holds, and keeps what it learns in `dir`.
    pub(super) async fn new(
        shared: Arc<Shared>,
        mut follower: Follower,
        dir: Option<StateDir>,
        introduction: Introduction,
    ) -> Self {
        if shared.publish(&follower) {
            shared.keep_keys().await;
        }
        let keys = shared.keys();
        follower.set_log_keys(keys.log.clone());
        let keeper = Keeper::new(dir, shared.age_max);
        Self { shared, follower, keys, keeper, introduction }
    }

    /// Runs until it is cancelled.
    pub(super) async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let before = self.follower.anchor();
            let Err(broken) = self.follow_once().await;
            if self.follower.anchor() != before {
                backoff = BACKOFF_MIN;
            }
            let issuer = self.shared.client.issuer.as_str();
            if matches!(broken, Broken::Late) {
                tracing::info!(issuer, reason = %broken, "the revocation feed is asked anew");
            } else {
                tracing::warn!(issuer, reason = %broken, "the revocation feed broke off");
            }
            ambient::sleep(ambient::jittered(backoff)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX).min(self.shared.age_max / 4);
        }
    }

    async fn follow_once(&mut self) -> Result<std::convert::Infallible, Broken> {
        let mut events = self.open().await?;
        let mut not_before = ambient::instant();
        let mut wanted = false;
        loop {
            let wait = not_before.saturating_duration_since(ambient::instant());
            tokio::select! {
                event = events.next() => match event {
                    Err(error) => return Err(Broken::Stream(error.to_string())),
                    Ok(None) => return Err(Broken::Stream("the stream ended".to_owned())),
                    Ok(Some(event)) if event.event == "revocations" => {
                        self.take(&event.data, &mut events).await?;
                        self.note_applied();
                        if self.is_late() {
                            return Err(Broken::Late);
                        }
                    }
                    Ok(Some(_)) => {}
                },
                () = self.shared.snapshot_wanted.notified(), if !wanted => wanted = true,
                () = ambient::sleep(wait), if wanted => {
                    wanted = false;
                    if self.shared.is_behind() {
                        self.snapshot().await?;
                        self.note_applied();
                        not_before = ambient::instant() + SNAPSHOT_INTERVAL_MIN;
                    }
                }
            }
        }
    }

    /// Whatever of the last message counts is what requests are judged by.
    fn note_applied(&self) {
        let state = self.follower.state();
        self.shared.note_applied(state.generation(), state.rev());
    }

    /// Whether the state looks old although a message came just now.
    fn is_late(&self) -> bool {
        let now = ambient::now();
        let age = self.follower.anchor().map(|anchor| anchor.age(now, self.follower.seen()));
        age.is_some_and(|age| age.is_none_or(|age| age > self.shared.age_max / LATE))
    }

    /// A nonce for a question that is put now.
    fn ask(&mut self) -> Result<Nonce, Broken> {
        let random = ambient::random();
        let random = random.ok_or_else(|| Broken::Stream("there is no randomness".to_owned()))?;
        let nonce = Nonce::new(random);
        self.follower.ask(nonce, ambient::now());
        Ok(nonce)
    }

    async fn open(&mut self) -> Result<Events, Broken> {
        let endpoints = self.shared.endpoints().await?;
        let nonce = self.ask()?;
        let (state, feed) = (self.follower.state(), &endpoints.feed);
        let (generation, rev) = (state.generation(), state.rev());
        let Introduction { follower, name } = &self.introduction;
        let age_max = self.shared.age_max.as_secs();
        let mut url = format!(
            "{feed}?gen={generation}&rev={rev}&nonce={nonce}&follower={follower}&age_max={age_max}"
        );
        if let Some(name) = name {
            // Of letters and signs that stand for themselves in a query.
            url.push_str("&name=");
            url.push_str(name.as_str());
        }
        let client = &self.shared.client;
        let request = client.authorized(&url, "text/event-stream", FEED)?;
        let response = client.http.stream(request).await.map_err(IssuerError::Net)?;
        if response.status() != StatusCode::OK {
            let status = response.status();
            return Err(IssuerError::Status { what: FEED, status }.into());
        }
        let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
            return Err(IssuerError::malformed(FEED, "it is not an event stream").into());
        }
        let mut chunks = response.into_body();
        // Heartbeats come three times within the age bound: a longer silence is a dead stream.
        chunks.set_idle_timeout(self.shared.age_max / 2);
        let max = FEED_MESSAGE_BYTES_MAX;
        Ok(Events::new(chunks, Limits { line_max: max, event_max: max }))
    }

    /// Fetches a snapshot and takes it.
    pub(super) async fn snapshot(&mut self) -> Result<(), Broken> {
        let mut lines = self.fetch_snapshot().await?;
        let head = lines.next().await.map_err(broken)?.unwrap_or_default();
        match self.apply(&head, &mut Source::Answer(&mut lines)).await? {
            Outcome::Taken => Ok(()),
            Outcome::Gap => Err(Broken::Message(FeedError::NeedsSnapshot)),
        }
    }

    async fn fetch_snapshot(&mut self) -> Result<Lines, Broken> {
        let what = "revocation snapshot";
        let endpoints = self.shared.endpoints().await?;
        let nonce = self.ask()?;
        let client = &self.shared.client;
        let url = format!("{}?nonce={nonce}", endpoints.revocations);
        let request = client.authorized(&url, "*/*", what)?;
        let response = client.http.stream(request).await.map_err(IssuerError::Net)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(IssuerError::Status { what, status }.into());
        }
        Ok(Lines::new(response.into_body(), FEED_MESSAGE_BYTES_MAX))
    }

    /// Takes one message of the stream, and whatever has to be fetched for it.
    async fn take(&mut self, text: &str, events: &mut Events) -> Result<(), Broken> {
        match self.apply(text, &mut Source::Stream(events)).await? {
            Outcome::Taken => Ok(()),
            Outcome::Gap => self.snapshot().await,
        }
    }

    async fn apply(&mut self, text: &str, source: &mut Source<'_>) -> Result<Outcome, Broken> {
        let signed = self.verify(text).await?;
        self.shared.announce(signed.message().keys);
        self.take_log_keys();
        let mut proofs = Vec::new();
        let mut keys_fetched = false;
        for _ in 0..FETCHES_PER_MESSAGE_MAX {
            let applied = self.follower.apply(&signed, &proofs, ambient::now());
            // Entries count whatever the result is.
            self.publish().await;
            match applied {
                Ok(applied) => {
                    self.report(applied);
                    self.keeper.keep(&self.follower);
                    return Ok(Outcome::Taken);
                }
                Err(FeedError::NeedsSnapshot) => return Ok(Outcome::Gap),
                Err(FeedError::NeedsPieces(_)) => self.take_pieces(&signed, source).await?,
                Err(FeedError::NeedsProof { lane, from, to }) => {
                    proofs.retain(|proof: &LaneProof| proof.lane != lane);
                    proofs.push(self.proof(lane, from, to).await?);
                }
                Err(FeedError::NeedsLogKey { .. }) if !keys_fetched => {
                    keys_fetched = true;
                    self.shared.refresh_keys().await?;
                    self.take_log_keys();
                }
                Err(FeedError::Alarm(alarm)) => {
                    self.shared.raise(Contradiction::Feed(alarm));
                    return Ok(Outcome::Taken);
                }
                Err(error) => return Err(Broken::Message(error)),
            }
        }
        Err(Broken::Stream("a message asks for ever more proofs".to_owned()))
    }

    /// Takes all pieces of a snapshot, one at a time: what requests are judged by goes along, so that
    /// what was there before is not held besides.
    async fn take_pieces(
        &mut self,
        signed: &SignedMessage,
        source: &mut Source<'_>,
    ) -> Result<(), Broken> {
        loop {
            let piece = source.piece().await?;
            let missing = self.follower.take_piece(signed, &piece).map_err(Broken::Message)?;
            self.publish().await;
            if missing == 0 {
                return Ok(());
            }
        }
    }

    /// Makes what the follower holds what requests are judged by.
    async fn publish(&self) {
        if self.shared.publish(&self.follower) {
            tracing::warn!("a signing key was revoked: what it signed is refused");
            self.shared.keep_keys().await;
        }
    }

    /// Hands the witness the log's keys, where they may be others than it has.
    fn take_log_keys(&mut self) {
        let keys = self.shared.keys();
        if !Arc::ptr_eq(&keys, &self.keys) {
            self.follower.set_log_keys(keys.log.clone());
            self.keys = keys;
        }
    }

    async fn verify(&self, text: &str) -> Result<SignedMessage, Broken> {
        let verify = |shared: &Shared| {
            let keys = shared.keys();
            SignedMessage::verify(text, &keys.feed, shared.client.issuer.as_str())
        };
        match verify(&self.shared) {
            Ok(signed) => Ok(signed),
            Err(FeedError::UnknownKey) => {
                self.shared.refresh_keys().await?;
                verify(&self.shared).map_err(Broken::Message)
            }
            Err(error) => Err(Broken::Message(error)),
        }
    }

    async fn proof(&self, lane: u16, from: u64, to: u64) -> Result<LaneProof, Broken> {
        let what = "consistency proof";
        // A proof is asked for only of a lane that is held, whichever generation the message is of.
        let held = self.follower.witness().and_then(|witness| witness.held().get(&lane));
        let generation = held.map_or(0, |held| held.generation);
        let client = &self.shared.client;
        let path = format!("/log/g{generation}l{lane}/consistency?from={from}&to={to}");
        let url = client.issuer.endpoint(&path);
        let body = client.private(&url, what, RESPONSE_BODY_MAX).await?;
        let proof: ConsistencyProof = serde_json::from_slice(&body)
            .map_err(|_| IssuerError::malformed(what, "it is not a proof"))?;
        Ok(LaneProof { lane, proof })
    }

    fn report(&self, applied: Applied) {
        let state = self.follower.state();
        let (generation, rev) = (state.generation(), state.rev());
        tracing::debug!(?applied, generation, rev, "a revocation message was applied");
    }
}

/// Where the pieces of a snapshot come from: behind its head.
enum Source<'a> {
    Stream(&'a mut Events),
    Answer(&'a mut Lines),
}

impl Source<'_> {
    async fn piece(&mut self) -> Result<String, Broken> {
        match self {
            Self::Stream(events) => match events.next().await {
                Err(error) => Err(broken(error)),
                Ok(Some(event)) if event.event == "piece" => Ok(event.data),
                Ok(_) => Err(broken("a snapshot without all of its pieces")),
            },
            Self::Answer(lines) => {
                let line = lines.next().await.map_err(broken)?;
                line.ok_or_else(|| broken("a snapshot without all of its pieces"))
            }
        }
    }
}

fn broken(why: impl std::fmt::Display) -> Broken {
    Broken::Stream(why.to_string())
}

/// What came of one message.
enum Outcome {
    /// It was applied, was old, or raised an alarm.
    Taken,
    /// Messages are missing before it.
    Gap,
}
