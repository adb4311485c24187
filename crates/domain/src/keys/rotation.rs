//! RFC 7517 section 4.5: rotation of the keys that sign tokens, without one failed verification.
//!
//! A key is published as next before it signs, long enough for every kept copy of the key set to
//! be fetched anew. When it signs, its predecessor stays published until everything that one
//! signed has expired. Absent on purpose: the keys of the feed and of the log. Verifiers hold the
//! log's key to account, and take a replaced feed key for an attack.

use std::time::Duration;

use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::{KeyPurpose, KeyState, SigningKey, SigningKeyView, generate};
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{CommitError, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::registry::{commit, commit_created, decide, keep_for};

/// How long a copy of the key set may be kept, seconds (RFC 9111 `max-age`).
pub const KEY_SET_MAX_AGE_SECONDS: u32 = 60;
/// How long a key is published before it signs. Common verifiers look again after five to fifteen
/// minutes, whatever they are told.
pub const KEY_PUBLISH_AHEAD: Duration = Duration::from_mins(30);

/// Keys that sign no more and are still published, at most: key sets are bounded for whoever
/// reads them.
pub const RETIRING_KEYS_MAX: usize = 24;

/// A rotation that is asked for.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// What the key signs: `token`, also where not said.
    pub purpose: Option<String>,
    /// Set: also where the next key was not published long enough. Verifiers that look up unknown
    /// keys, as ours do, follow; others refuse until they look again.
    #[serde(default)]
    pub now: bool,
}

/// The keys after a rotation.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RotatedKeys {
    /// It signs from now on.
    pub active: SigningKeyView,
    /// It will sign after the following rotation, and is published from now on.
    pub next: SigningKeyView,
    /// It signs no more; what it signed is still believed.
    pub retiring: SigningKeyView,
    /// When the retiring key is published no more: everything it signed has expired.
    #[schema(value_type = String)]
    pub retires_at: Time,
}

/// The active key's successor, and the successor's own.
pub(crate) struct Moved {
    pub(crate) active: SigningKey,
    pub(crate) next: SigningKey,
}

fn in_state(keys: &[SigningKey], state: KeyState) -> Option<&SigningKey> {
    let of_tokens = |key: &&SigningKey| key.sealed.purpose == KeyPurpose::Token;
    keys.iter().filter(of_tokens).rfind(|key| key.state == state)
}

/// A new key that is published and does not sign yet.
pub(crate) async fn new_next(cx: &Cx) -> Result<SigningKey, Fault> {
    generate(&cx.world, cx.tenant.id, KeyPurpose::Token, KeyState::Next, cx.now).await
}

/// Lets the next key sign, or a new one where there is none, and makes another the next.
pub(crate) async fn succeed(cx: &Cx, keys: &[SigningKey]) -> Result<Moved, Fault> {
    let active = if let Some(next) = in_state(keys, KeyState::Next) {
        next.clone().turned(KeyState::Active, cx.now)
    } else {
        let (world, org) = (&cx.world, cx.tenant.id);
        generate(world, org, KeyPurpose::Token, KeyState::Active, cx.now).await?
    };
    Ok(Moved { active, next: new_next(cx).await? })
}

fn check_room(keys: &[SigningKey]) -> Result<(), Refusal> {
    let retiring = keys.iter().filter(|key| key.state == KeyState::Retiring);
    if retiring.clone().count() < RETIRING_KEYS_MAX {
        return Ok(());
    }
    let first = retiring.map(retires_at).min();
    Err(Refusal::new(
        Rule::StateForbids,
        format!("{RETIRING_KEYS_MAX} keys are still believed, which is as many as are published"),
        first.map_or_else(String::new, |first| format!("the first retires at {first}: wait")),
    ))
}

fn check_published(next: Option<&SigningKey>, now: Time) -> Result<(), Refusal> {
    let since = next.map_or(now, |key| key.created_at);
    let from = since.plus(KEY_PUBLISH_AHEAD);
    if from <= now {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::StateForbids,
        format!("the next key was not published long enough: it may sign from {from} on"),
        "wait, so that every kept copy of the key set has it; or rotate at once with \
         `accredit signing-key rotate --now`",
    ))
}

/// Lets the next key sign. The one that signed until now stays published until what it signed has
/// expired, and a new key is published as the next; one transaction, one event.
pub async fn rotate(cx: &Cx, asked: &RotateKey) -> Result<RotatedKeys, Error> {
    cx.require(AdminPermission::Registry)?;
    match asked.purpose.as_deref().map(KeyPurpose::parse) {
        None | Some(Some(KeyPurpose::Token)) => {}
        Some(Some(_)) => {
            return Err(Refusal::new(
                Rule::StateForbids,
                "verifiers hold the keys of the feed and the log to account; they are not rotated",
                "rotate the key that signs tokens: `accredit signing-key rotate`",
            )
            .into());
        }
        Some(None) => {
            return Err(Refusal::field("purpose", "is none of a key", "use `token`").into());
        }
    }
    decide(|| async {
        let keys = cx.world.store.signing_keys(cx.tenant.id).await?;
        check_room(&keys)?;
        if !asked.now {
            check_published(in_state(&keys, KeyState::Next), cx.now)?;
        }
        let old = in_state(&keys, KeyState::Active)
            .ok_or_else(|| Fault::new("signing keys", "no active key for a purpose"))?;
        let retiring = old.clone().turned(KeyState::Retiring, cx.now);
        let Moved { active, next } = succeed(cx, &keys).await?;
        let body = Body {
            key: Some(active.sealed.id),
            target: Some(retiring.sealed.id.any()),
            changes: [("next".into(), next.sealed.id.to_string())].into(),
            ..Body::default()
        };
        let event = cx.event(EventKind::KeyRotated, body);
        let answer = RotatedKeys {
            active: active.view(),
            next: next.view(),
            retiring: retiring.view(),
            retires_at: retires_at(&retiring),
        };
        let rows = vec![Row::Key(retiring), Row::Key(active), Row::Key(next)];
        commit_created(cx, rows, event, &answer).await?;
        Ok(answer)
    })
    .await
}

/// When everything that a retiring key signed has expired.
fn retires_at(key: &SigningKey) -> Time {
    key.changed_at.unwrap_or(key.created_at).plus(keep_for())
}

/// One turn of the job: publishes a next key where a store of an earlier version has none, and
/// retires the keys whose signatures have all expired. Returns how many keys it changed.
pub async fn tick(cx: &Cx) -> Result<u64, Fault> {
    let held = cx.tenant.keys();
    let mut turns = Vec::new();
    if in_state(held.all(), KeyState::Next).is_none() {
        let next = new_next(cx).await?;
        turns.push((EventKind::KeyCreated, next));
    }
    for key in held.all() {
        if key.state == KeyState::Retiring && retires_at(key) <= cx.now {
            let retired = key.clone().turned(KeyState::Retired, cx.now);
            turns.push((EventKind::KeyRetired, retired));
        }
    }
    let mut turned = 0;
    for (kind, key) in turns {
        let state = [("state".into(), key.state.as_str().to_owned())].into();
        let body = Body { key: Some(key.sealed.id), changes: state, ..Body::default() };
        match commit(cx, vec![Row::Key(key)], None, cx.event(kind, body)).await {
            Ok(_) => turned += 1,
            // Somebody rotates or revokes just now: the next turn sees the keys as they are then.
            Err(CommitError::Stale | CommitError::Taken(_)) => {}
            Err(CommitError::Fault(fault)) => return Err(fault),
        }
    }
    Ok(turned)
}
