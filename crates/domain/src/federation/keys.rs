//! OpenID Connect Discovery 1.0, RFC 7517 section 5: the keys of external issuers, as they were last
//! had.
//!
//! Where they are is what an administrator said, or what the issuer's own metadata says, which must
//! name the issuer byte for byte. A job fetches them every [`FETCH_EVERY`], and a token that names an
//! unknown key makes us ask once more, at most once in [`ASKED_FOR_EVERY`]. They are kept in the
//! store, so that neither an outage of the issuer nor a restart of ours stops anybody at once; after
//! [`KEYS_KEPT_MAX`] without the issuer's word they are used no more. A key that is no longer
//! published is used no more as soon as that was seen.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accredit_wire::ids::FederationId;
use accredit_wire::jose::issuer_keys::IssuerKeySet;
use accredit_wire::jose::jwk::JWK_SET_BYTES_MAX;
use accredit_wire::json::Json;
use accredit_wire::time::Time;
use futures_util::future::join_all;
use serde::Serialize;

use super::registry::{Federation, FederationFacts};
use crate::audit::event::{Body, EventKind};
use crate::context::{Caller, Cx};
use crate::ports::{CommitError, Lookup, Row};
use crate::refusal::Fault;
use crate::registry::{State, commit};

/// The time between two fetches of an issuer's keys: so long at most is a key believed that the
/// issuer has withdrawn.
pub const FETCH_EVERY: Duration = Duration::from_mins(10);
/// The time until keys that could not be had are asked for again.
pub const RETRY_AFTER: Duration = Duration::from_mins(1);
/// The time between two fetches because a token named an unknown key.
pub const ASKED_FOR_EVERY: Duration = Duration::from_mins(1);
/// How long keys are used after they were last had: an outage of an issuer over night stops nobody,
/// and nobody who keeps us from hearing of a withdrawal does so for longer.
pub const KEYS_KEPT_MAX: Duration = Duration::from_hours(24);
/// Issuers whose keys are fetched at the same time, in one organization.
pub const FETCHES_AT_A_TIME_MAX: usize = 8;
/// Federations of which it is remembered when their keys were last asked for: more than there are
/// where nobody has raised the maximum.
const ASKED_FOR_MAX: usize = 10_000;
/// Characters of the reason why keys could not be had.
const FAILURE_CHARS_MAX: usize = 300;

/// The keys of a federation, and how it goes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptKeys {
    /// Whose.
    pub federation: FederationId,
    /// The key set, those keys of it that can be used.
    pub keys: Option<String>,
    /// When they are fetched next.
    pub due_at: Time,
    /// When they were last had.
    pub fetched_at: Option<Time>,
    /// Since when they cannot be had.
    pub failing_since: Option<Time>,
    /// Why.
    pub failure: Option<String>,
    /// The version of the federation's row as it was seen: what comes of a fetch is written where it
    /// is still so. 0 with a change of that row itself.
    pub federation_version: i64,
}

/// How it goes with a federation's keys, as the federation shows it.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct KeysView {
    /// The names (`kid`) of the issuer's keys that are used, each with its algorithm.
    pub keys: Vec<String>,
    /// When they were last had; a day later they are used no more.
    #[schema(value_type = Option<String>)]
    pub keys_fetched_at: Option<Time>,
    /// Since when they cannot be had.
    #[schema(value_type = Option<String>)]
    pub keys_failing_since: Option<Time>,
    /// Why.
    pub keys_failure: Option<String>,
}

impl KeptKeys {
    /// None yet.
    pub fn new(federation: FederationId, now: Time) -> Self {
        Self {
            federation,
            keys: None,
            due_at: now,
            fetched_at: None,
            failing_since: None,
            failure: None,
            federation_version: 0,
        }
    }

    /// The set as it is used; none where there is none, or none that this version reads.
    pub fn set(&self) -> IssuerKeySet {
        let read = self.keys.as_deref().map(|text| IssuerKeySet::parse(text.as_bytes()));
        read.and_then(Result::ok).unwrap_or_default()
    }

    /// How it goes with them.
    pub fn view(&self) -> KeysView {
        let set = self.set();
        KeysView {
            keys: set.keys().iter().map(|key| format!("{} {}", key.kid(), key.alg())).collect(),
            keys_fetched_at: self.fetched_at,
            keys_failing_since: self.failing_since,
            keys_failure: self.failure.clone(),
        }
    }
}

/// Where the metadata of an issuer is (OpenID Connect Discovery 1.0 section 4).
pub(super) fn metadata_url(issuer: &str) -> String {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    format!("{issuer}/.well-known/openid-configuration")
}

/// The URL of the keys in an issuer's metadata (section 4.3: the issuer must be the same).
fn jwks_url_in(metadata: &[u8], issuer: &str) -> Result<String, String> {
    let json = Json::parse(metadata, JWK_SET_BYTES_MAX);
    let json = json.map_err(|error| format!("the issuer's metadata: {error}"))?;
    if json.get("issuer").and_then(Json::as_str) != Some(issuer) {
        return Err("the issuer's metadata names another issuer".to_owned());
    }
    let url = json.get("jwks_uri").and_then(Json::as_str);
    url.map(str::to_owned).ok_or_else(|| "the issuer's metadata has no `jwks_uri`".to_owned())
}

/// Fetches an issuer's keys: those that can be used, as they are kept.
pub(super) async fn fetch(cx: &Cx, issuer: &str, jwks_url: Option<&str>) -> Result<String, String> {
    let outbound = &cx.world.outbound;
    let url = match jwks_url {
        Some(url) => url.to_owned(),
        None => jwks_url_in(&outbound.fetch_metadata(&metadata_url(issuer)).await?, issuer)?,
    };
    let text = outbound.fetch_jwks(&url).await?;
    let set = IssuerKeySet::parse(&text).map_err(|error| format!("the key set: {error}"))?;
    if set.keys().is_empty() {
        return Err(
            "the key set has no key that can be used: RSA of 2048 to 4096 bits for RS256 or \
                    PS256, P-256 or Ed25519"
                .to_owned(),
        );
    }
    serde_json::to_string(&set).map_err(|error| format!("the key set: {error}"))
}

/// Fetches a federation's keys. Whether they could be had; false where that is under way.
async fn refresh(cx: &Cx, federation: &Federation, kept: KeptKeys) -> Result<bool, Fault> {
    let Some(_under_way) = cx.tenant.fetches.begin(federation.id) else { return Ok(false) };
    let fetched = fetch(cx, &federation.issuer, federation.jwks_url.as_deref()).await;
    let (kept, kind, failed) = match fetched {
        Ok(keys) => {
            let is_new = kept.keys.as_ref() != Some(&keys) || kept.failing_since.is_some();
            let kept = KeptKeys {
                keys: Some(keys),
                due_at: cx.now.plus(FETCH_EVERY),
                fetched_at: Some(cx.now),
                failing_since: None,
                failure: None,
                ..kept
            };
            (kept, is_new.then_some(EventKind::FederationKeysChanged), None)
        }
        Err(why) => {
            let why: String = why.chars().take(FAILURE_CHARS_MAX).collect();
            let is_new = kept.failing_since.is_none();
            let kept = KeptKeys {
                due_at: cx.now.plus(RETRY_AFTER),
                failing_since: kept.failing_since.or(Some(cx.now)),
                failure: Some(why.clone()),
                ..kept
            };
            (kept, is_new.then_some(EventKind::FederationKeysFailing), Some(why))
        }
    };
    let was_had = failed.is_none();
    let Some(kind) = kind else {
        cx.world.store.note_federation_keys(cx.tenant.id, kept).await?;
        return Ok(was_had);
    };
    let mut body = Body {
        federation: Some(federation.id.any()),
        name: Some(federation.name.clone()),
        reason: failed,
        ..Body::default()
    };
    if was_had {
        body.changes.insert("keys".into(), kept.view().keys.join(", "));
    }
    let rows = vec![Row::FederationKeys(Box::new(kept))];
    match commit(cx, rows, None, cx.event(kind, body)).await {
        Ok(_) => Ok(was_had),
        // The federation was changed while its keys were fetched: the next turn sees it.
        Err(CommitError::Stale | CommitError::Taken(_) | CommitError::Reached(_)) => Ok(false),
        Err(CommitError::Fault(fault)) => Err(fault),
    }
}

/// Fetches the keys that are due, a few at a time. Returns how many federations it was.
pub async fn tick(cx: &Cx) -> Result<usize, Fault> {
    let mut fetched = 0;
    loop {
        let (org, now) = (cx.tenant.id, cx.now);
        let due = cx.world.store.federation_keys_due(org, now, FETCHES_AT_A_TIME_MAX).await?;
        let (count, before) = (due.len(), fetched);
        for turn in join_all(due.into_iter().map(|kept| one(cx, kept))).await {
            fetched += usize::from(turn?);
        }
        // Each has got another due time, unless it is fetched for a token just now.
        if count < FETCHES_AT_A_TIME_MAX || fetched == before {
            return Ok(fetched);
        }
    }
}

/// Fetches the keys of one federation that is due; whether anything was tried.
async fn one(cx: &Cx, kept: KeptKeys) -> Result<bool, Fault> {
    let key = Lookup::Id(kept.federation);
    let Some(federation) = cx.world.store.federation(cx.tenant.id, key).await? else {
        return Ok(false);
    };
    if federation.state != State::Active {
        // Nobody needs them; they are asked for again when it is activated.
        let due_at = cx.now.plus(FETCH_EVERY);
        let kept = KeptKeys { due_at, ..kept };
        cx.world.store.note_federation_keys(cx.tenant.id, kept).await?;
        return Ok(true);
    }
    refresh(cx, &federation, kept).await.map(|_| true)
}

/// Fetches a federation's keys because a token names one that is not known, or because they are too
/// old; whether they were had. At most once a minute for each, and a few at a time.
async fn asked_for(cx: &Cx, id: FederationId) -> Result<bool, Fault> {
    if !cx.tenant.fetches.may_ask(id, cx.now) {
        return Ok(false);
    }
    let (org, store) = (cx.tenant.id, &cx.world.store);
    let federation = store.federation(org, Lookup::Id(id)).await?;
    let kept = store.federation_keys(org, id).await?;
    let (Some(federation), Some(kept)) = (federation, kept) else { return Ok(false) };
    refresh(&Cx { caller: Caller::System, ..cx.clone() }, &federation, kept).await
}

/// The same facts with keys that may be used and the one that is named, where that can be had; nothing
/// where none may be used.
pub(crate) async fn with_key(
    cx: &Cx,
    mut facts: Arc<FederationFacts>,
    kid: Option<&str>,
) -> Result<Option<Arc<FederationFacts>>, Fault> {
    let is_kept = |facts: &FederationFacts| {
        let until = facts.keys_fetched_at.map(|at| at.plus(KEYS_KEPT_MAX));
        until.is_some_and(|until| cx.now < until)
    };
    if is_kept(&facts) && facts.keys.find(kid).is_some() {
        return Ok(Some(facts));
    }
    if asked_for(cx, facts.id).await? {
        let found = cx.world.store.federation_facts(cx.tenant.id, &facts.issuer).await?;
        let Some(found) = found else { return Ok(None) };
        facts = found;
    }
    Ok(is_kept(&facts).then_some(facts))
}

/// What is remembered of fetches.
#[derive(Default)]
pub struct Fetches(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    /// When tokens last asked for a federation's keys.
    asked: HashMap<FederationId, Time>,
    /// Whose keys are being fetched.
    under_way: HashSet<FederationId>,
}

/// A federation's keys are being fetched.
struct UnderWay<'f>(&'f Fetches, FederationId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way.remove(&self.1);
    }
}

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a fetch, where none for this federation is under way.
    fn begin(&self, federation: FederationId) -> Option<UnderWay<'_>> {
        let is_first = self.lock().under_way.insert(federation);
        // Not made before it is known: where it is dropped, it ends the fetch that is under way.
        is_first.then(|| UnderWay(self, federation))
    }

    /// Whether a token may ask for these keys: within the last minute none did, and few are being
    /// fetched.
    fn may_ask(&self, federation: FederationId, now: Time) -> bool {
        let is_lately = |at: &Time| *at <= now && at.plus(ASKED_FOR_EVERY) > now;
        let mut remembered = self.lock();
        if remembered.asked.get(&federation).is_some_and(is_lately)
            || remembered.under_way.len() >= FETCHES_AT_A_TIME_MAX
        {
            return false;
        }
        if remembered.asked.len() >= ASKED_FOR_MAX {
            remembered.asked.retain(|_, at| is_lately(at));
            if remembered.asked.len() >= ASKED_FOR_MAX {
                return false;
            }
        }
        remembered.asked.insert(federation, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_must_name_the_issuer_byte_for_byte() {
        let text = br#"{"issuer":"https://idp.example/t","jwks_uri":"https://keys.example/k"}"#;
        assert!(jwks_url_in(text, "https://idp.example/t").is_ok());
        for other in ["https://idp.example/t/", "https://IdP.example/t", "https://idp.example"] {
            assert!(jwks_url_in(text, other).is_err(), "{other}");
        }
        let twice = br#"{"issuer":"https://a","issuer":"https://b","jwks_uri":"https://k"}"#;
        assert!(jwks_url_in(twice, "https://b").is_err());
        assert!(jwks_url_in(br#"{"issuer":"https://b"}"#, "https://b").is_err());
    }

    #[test]
    fn metadata_is_below_the_issuer() {
        let wanted = "https://idp.example/t/.well-known/openid-configuration";
        assert_eq!(metadata_url("https://idp.example/t"), wanted);
        assert_eq!(metadata_url("https://idp.example/t/"), wanted);
    }

    #[test]
    fn tokens_ask_for_keys_once_a_minute() {
        let (fetches, now) = (Fetches::default(), Time::from_seconds(1000));
        let id = |n| FederationId::new(n, [1; 10]);
        assert!(fetches.may_ask(id(1), now) && !fetches.may_ask(id(1), now));
        assert!(fetches.may_ask(id(2), now) && fetches.may_ask(id(1), now.plus(ASKED_FOR_EVERY)));
        let one = fetches.begin(id(1));
        assert!(one.is_some() && fetches.begin(id(1)).is_none());
        drop(one);
        assert!(fetches.begin(id(1)).is_some());
    }
}
