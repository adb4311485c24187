//! The issuer's keys as this verifier knows them, and what may change about them.
//!
//! Token keys and feed keys rotate and are taken as the issuer publishes them. A key of the audit log
//! is taken once as it is published; from then on only one that is published and that a known key
//! named as its successor ([`succession`]): another key under the same name is how a rebuilt log would
//! be passed off. What is published no more is known no more, so that no old key comes back.
//!
//! A key of tokens, of either format, or of the feed that the feed says is revoked leaves at once, is not kept in the
//! file, and is not taken back from a copy of the key set that is older than its end.

use std::collections::BTreeSet;

use accredit_wire::ids::KeyId;
use accredit_wire::jose::jwk::{JwkSet, VerifyingKey};
use accredit_wire::revocations::keys_hash;
use accredit_wire::tlog::Hash;
use accredit_wire::tlog::note::Vkey;
use accredit_wire::tlog::succession;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::alarm::Contradiction;
use crate::issuer::{Endpoints, IssuerClient, IssuerError};

/// The longest file of keys.
pub(super) const KEYS_FILE_BYTES_MAX: usize = 512 * 1024;

/// The most keys of the audit log that are remembered: 64 lanes under 16 keys. What comes
/// beyond is unknown, and what it signs is not accepted.
const LOG_KEYS_MAX: usize = 1024;

/// The version of the file.
const KEYS_FILE_VERSION: u64 = 1;

/// What an issuer publishes of its keys.
#[derive(Debug)]
pub(super) struct Fetched {
    keys: Keys,
    /// By which its log's keys named one another, oldest first.
    statements: Vec<String>,
}

/// All keys of one issuer that a verifier uses; none where nothing is known yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// They sign access tokens.
    pub(super) tokens: JwkSet,
    /// They sign the feed.
    pub(super) feed: JwkSet,
    /// They sign attenuable tokens.
    pub(super) biscuit: JwkSet,
    /// They sign the checkpoints of the audit log, under the name of each lane.
    pub(super) log: Vec<Vkey>,
    /// Revoked keys that the last key set fetched still named, or that were dropped since.
    refused: BTreeSet<KeyId>,
    /// Which keys the issuer published when it was asked last; nothing where it was not yet.
    published: Option<Hash>,
}

impl Keys {
    /// Asks the issuer for all of them.
    pub(super) async fn fetch(
        client: &IssuerClient,
        endpoints: &Endpoints,
    ) -> Result<Fetched, IssuerError> {
        // Boxed: three requests at a time are more than whoever waits for this has room for.
        let (tokens, feed, biscuit) = Box::pin(futures_util::future::try_join3(
            fetch_set(client, &endpoints.jwks, "token keys"),
            fetch_set(client, &endpoints.feed_jwks, "feed keys"),
            fetch_biscuit(client, endpoints.biscuit_jwks.as_deref()),
        ))
        .await?;
        let log = read_log_keys(&endpoints.log_keys)?;
        let published = Some(keys_hash(&tokens, &feed, &biscuit, log.iter().map(Vkey::key)));
        let statements = endpoints.log_statements.clone();
        Ok(Fetched {
            keys: Self { tokens, feed, biscuit, log, refused: BTreeSet::new(), published },
            statements,
        })
    }

    /// Takes over what the issuer publishes now; says what it should not have changed.
    pub(super) fn update(&mut self, fetched: Fetched, issuer: &str) -> Vec<Contradiction> {
        let Fetched { keys: new, statements } = fetched;
        let mut contradictions = Vec::new();
        let known = |kid: &str| self.feed.find(Some(kid)).is_some();
        if !self.feed.keys().is_empty() && !new.feed.keys().iter().any(|key| known(&key.kid)) {
            contradictions.push(Contradiction::FeedKeysReplaced);
        }
        self.published = new.published;
        self.tokens = new.tokens;
        self.feed = new.feed;
        self.biscuit = new.biscuit;
        let named: BTreeSet<KeyId> = self.ids().collect();
        self.refused.retain(|kid| named.contains(kid));
        let changed = self.take_log(new.log, &statements, issuer);
        contradictions.extend(changed.map(|origin| Contradiction::LogKeyChanged { origin }));
        contradictions
    }

    /// Takes over the log's keys; the origins of lanes under none but keys that nobody known named.
    /// What is known of such a lane stays.
    fn take_log(
        &mut self,
        published: Vec<Vkey>,
        statements: &[String],
        issuer: &str,
    ) -> impl Iterator<Item = String> {
        let known = std::mem::take(&mut self.log);
        let name = succession::log_name(issuer);
        let keys = known.iter().map(|vkey| vkey.key().clone());
        let believed = succession::follow(&name, keys, statements);
        let is_believed =
            |vkey: &Vkey| known.is_empty() || succession::is_among(vkey.key(), &believed);
        let (taken, strange): (Vec<Vkey>, Vec<Vkey>) =
            published.into_iter().partition(|vkey| is_believed(vkey));
        let names: BTreeSet<String> = taken.iter().map(|vkey| vkey.name().to_owned()).collect();
        let stays = |vkey: &Vkey| !names.contains(vkey.name());
        self.log = taken;
        self.log.extend(known.into_iter().filter(stays));
        self.log.truncate(LOG_KEYS_MAX);
        let strange: BTreeSet<String> =
            strange.into_iter().map(|vkey| vkey.name().to_owned()).collect();
        strange.into_iter().filter(move |name| !names.contains(name))
    }

    /// Drops the keys of tokens, of either format, and of the feed that `is_revoked` names, and those that were dropped
    /// before and came back.
    pub(super) fn drop_revoked(&mut self, is_revoked: impl Fn(KeyId) -> bool) {
        let revoked: Vec<KeyId> = self.ids().filter(|&kid| is_revoked(kid)).collect();
        self.refused.extend(revoked);
        let refused = &self.refused;
        let stands = |key: &VerifyingKey| key.kid.parse().is_ok_and(|kid| !refused.contains(&kid));
        self.tokens.retain(stands);
        self.feed.retain(stands);
        self.biscuit.retain(stands);
    }

    /// Whether `is_revoked` names one of those.
    pub(super) fn names_revoked(&self, is_revoked: impl Fn(KeyId) -> bool) -> bool {
        self.ids().any(is_revoked)
    }

    /// The ids of the keys of tokens, of either format, and of the feed.
    fn ids(&self) -> impl Iterator<Item = KeyId> {
        [&self.tokens, &self.feed, &self.biscuit].into_iter().flat_map(ids)
    }

    /// Whether what was fetched last is older than the end of one of its keys, or other than what
    /// the feed says is published: it should be fetched anew.
    pub(super) fn are_behind(&self, announced: Option<Hash>) -> bool {
        !self.refused.is_empty() || announced.is_some_and(|hash| self.published != Some(hash))
    }

    /// The file to keep.
    pub(super) fn to_bytes(&self, issuer: &str) -> Vec<u8> {
        let file = KeysFile {
            accredit_keys: KEYS_FILE_VERSION,
            issuer: issuer.to_owned(),
            tokens: &self.tokens,
            feed: &self.feed,
            biscuit: Some(&self.biscuit),
            log: self.log.iter().map(Vkey::to_string).collect(),
            refused: self.refused.clone(),
        };
        serde_json::to_vec(&file).unwrap_or_default()
    }

    /// Reads [`Keys::to_bytes`] of the same issuer; nothing where it is not that.
    pub(super) fn from_bytes(bytes: &[u8], issuer: &str) -> Option<Self> {
        let file: KeysFile<Box<RawValue>> = serde_json::from_slice(bytes).ok()?;
        if file.accredit_keys != KEYS_FILE_VERSION || file.issuer != issuer {
            return None;
        }
        Some(Self {
            tokens: JwkSet::parse(file.tokens.get().as_bytes()).ok()?,
            feed: JwkSet::parse(file.feed.get().as_bytes()).ok()?,
            biscuit: match file.biscuit {
                Some(set) => JwkSet::parse(set.get().as_bytes()).ok()?,
                None => JwkSet::default(),
            },
            log: read_log_keys(&file.log).ok()?,
            refused: file.refused,
            published: None,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile<Set> {
    accredit_keys: u64,
    issuer: String,
    tokens: Set,
    feed: Set,
    /// None in a file of a version that knew no attenuable tokens.
    #[serde(default = "Option::default")]
    biscuit: Option<Set>,
    log: Vec<String>,
    refused: BTreeSet<KeyId>,
}

/// The ids in a set of keys. A key whose `kid` is not the id of a signing key has none: nothing of
/// ours can name it.
fn ids(set: &JwkSet) -> impl Iterator<Item = KeyId> + '_ {
    set.keys().iter().filter_map(|key| key.kid.parse().ok())
}

async fn fetch_set(
    client: &IssuerClient,
    url: &str,
    what: &'static str,
) -> Result<JwkSet, IssuerError> {
    let body = client.public(url, what).await?;
    JwkSet::parse(&body).map_err(|error| IssuerError::malformed(what, error))
}

/// The keys of attenuable tokens; none where the issuer names no place for them.
async fn fetch_biscuit(client: &IssuerClient, url: Option<&str>) -> Result<JwkSet, IssuerError> {
    match url {
        Some(url) => fetch_set(client, url, "keys of attenuable tokens").await,
        None => Ok(JwkSet::default()),
    }
}

fn read_log_keys(texts: &[String]) -> Result<Vec<Vkey>, IssuerError> {
    let key =
        |text: &String| text.parse().map_err(|error| IssuerError::malformed("log keys", error));
    texts.iter().map(key).collect()
}
