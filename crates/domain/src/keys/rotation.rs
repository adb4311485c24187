//! RFC 7517 section 4.5: rotation of signing keys, without one failed verification.
//!
//! A key is published as next before it signs, long enough for every kept copy of the key set to
//! be fetched anew. When it signs, its predecessor stays published: one of tokens, of either format,
//! until everything that it signed has expired; one of the feed for so long that a verifier which was off meanwhile
//! still finds a key that it knows. Every published key of the log signs every checkpoint, so that
//! whoever knows one of them verifies it, and each is named by the one before it in a statement.

use std::time::Duration;

use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::held::Held;
use super::{
    KeyPurpose, KeyState, SealedKey, SigningKey, SigningKeyView, first, generate_next, of,
};
use crate::audit::event::{Body, EventKind};
use crate::ca;
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

/// How long a key of the feed is published after it signed its last message. Whoever follows meets
/// its successor within moments; who was off for longer than this finds no key that it knew, and
/// raises an alarm.
pub const FEED_KEY_RETIRING: Duration = Duration::from_hours(7 * 24);

/// Keys of a purpose that sign no more and are still published, at most: key sets are bounded for
/// whoever reads them.
pub const RETIRING_KEYS_MAX: usize = 24;

/// How long a key of the log signs along after another has taken its place. Whoever knows only this
/// one verifies the log without a statement for as long.
pub const LOG_KEY_RETIRING: Duration = Duration::from_hours(30 * 24);

/// Keys of the log that sign along after another took their place, at most: each signs each
/// checkpoint.
pub const RETIRING_LOG_KEYS_MAX: usize = 8;

/// How long a key that is over stays in its token, before it is destroyed there: a backup that is no
/// older than this may be restored, and finds in the token what signed when it was made.
pub const OVER_IN_TOKEN_KEPT: Duration = Duration::from_hours(30 * 24);

// A retired intermediate signs lists until its certificate is over.
const _: () = assert!(OVER_IN_TOKEN_KEPT.as_secs() > ca::INTERMEDIATE_LIFE.as_secs());

/// A rotation that is asked for.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// What the key signs: `token`, also where not said, `feed`, `log`, `biscuit`, `ca-root`, `ca` or `jwt-svid`.
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
    /// It is still published; what it signed is believed. It signs no more; one of the log signs
    /// along.
    pub retiring: SigningKeyView,
    /// When the retiring key is published no more.
    #[schema(value_type = String)]
    pub retires_at: Time,
}

/// The active key's successor, and the successor's own.
pub(crate) struct Moved {
    pub(crate) active: SigningKey,
    pub(crate) next: SigningKey,
}

fn in_state(keys: &[SigningKey], purpose: KeyPurpose, state: KeyState) -> Option<&SigningKey> {
    of(keys, purpose).rfind(|key| key.state == state)
}

/// A new key that is published and follows `predecessor` one day.
pub(crate) async fn new_next(cx: &Cx, predecessor: &SealedKey) -> Result<SigningKey, Fault> {
    generate_next(&cx.world, &cx.tenant.issuer, predecessor, cx.now).await
}

/// Lets the next key of `old`'s purpose sign, or a new one where there is none, and makes another
/// the next.
pub(crate) async fn succeed(cx: &Cx, old: &SealedKey, keys: &[SigningKey]) -> Result<Moved, Fault> {
    let active = match in_state(keys, old.purpose, KeyState::Next) {
        Some(next) => next.clone(),
        None => new_next(cx, old).await?,
    };
    let mut active = active.turned(KeyState::Active, cx.now);
    if old.purpose == KeyPurpose::Ca {
        let root = in_state(keys, KeyPurpose::CaRoot, KeyState::Active)
            .ok_or_else(|| Fault::new("signing keys", "no root to sign with"))?;
        active = ca::signed_by(&cx.world, &cx.tenant.issuer, root, active, cx.now).await?;
    }
    let next = new_next(cx, &active.sealed).await?;
    Ok(Moved { active, next })
}

/// What follows where another root signs: the intermediate gives its place to the next, which the
/// new root signs. What it signed is believed for as long as the old root is; `since` is when it
/// signed last, or nothing where nothing that it signed is believed.
pub(crate) async fn below_root(
    cx: &Cx,
    keys: &[SigningKey],
    root: &SigningKey,
    since: Option<Time>,
) -> Result<Vec<SigningKey>, Fault> {
    let Some(old) = in_state(keys, KeyPurpose::Ca, KeyState::Active) else { return Ok(Vec::new()) };
    let mut under: Vec<SigningKey> = of(keys, KeyPurpose::Ca).cloned().collect();
    under.push(root.clone());
    let Moved { active, next } = succeed(cx, &old.sealed, &under).await?;
    let old = match since {
        Some(since) => old.clone().turned(KeyState::Retiring, since),
        None => old.clone().turned(KeyState::Retired, cx.now),
    };
    Ok(vec![old, active, next])
}

fn check_room(keys: &[SigningKey], purpose: KeyPurpose) -> Result<(), Refusal> {
    let max = match purpose {
        KeyPurpose::Token
        | KeyPurpose::Feed
        | KeyPurpose::Biscuit
        | KeyPurpose::CaRoot
        | KeyPurpose::Ca
        | KeyPurpose::JwtSvid => RETIRING_KEYS_MAX,
        KeyPurpose::Log => RETIRING_LOG_KEYS_MAX,
    };
    let retiring = of(keys, purpose).filter(|key| key.state == KeyState::Retiring);
    if retiring.clone().count() < max {
        return Ok(());
    }
    let first = retiring.map(retires_at).min();
    Err(Refusal::new(
        Rule::StateForbids,
        format!("{max} keys are still believed, which is as many as are published"),
        first.map_or_else(String::new, |first| format!("the first retires at {first}: wait")),
    ))
}

fn check_published(next: Option<&SigningKey>, now: Time) -> Result<(), Refusal> {
    // A root that was certified outside is published as another from then on.
    let since = next.map_or(now, |key| key.changed_at.unwrap_or(key.created_at));
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

const PURPOSES: &str = "use `token`, `feed`, `log`, `biscuit`, `ca-root`, `ca` or `jwt-svid`";

/// Of which purpose a key is to be rotated.
fn purpose(asked: Option<&str>) -> Result<KeyPurpose, Refusal> {
    let purpose = asked.map_or(Some(KeyPurpose::Token), KeyPurpose::parse);
    let wrong = || Refusal::field("purpose", "is none of a key", PURPOSES);
    purpose.ok_or_else(wrong)
}

/// Lets the next key sign. The one that signed until now stays published for as long as keys of its
/// purpose are retiring, and a new key is published as the next; one transaction, one event.
pub async fn rotate(cx: &Cx, asked: &RotateKey) -> Result<RotatedKeys, Error> {
    cx.require(AdminPermission::Registry)?;
    let purpose = purpose(asked.purpose.as_deref())?;
    decide(|| async {
        let keys = cx.world.store.signing_keys(cx.tenant.id).await?;
        check_room(&keys, purpose)?;
        if purpose == KeyPurpose::CaRoot {
            let next = in_state(&keys, purpose, KeyState::Next);
            ca::upstream::check_successor(&keys, next)?;
        }
        // An intermediate travels with what it signed: nobody needs to know it before.
        if !asked.now && purpose != KeyPurpose::Ca {
            check_published(in_state(&keys, purpose, KeyState::Next), cx.now)?;
        }
        let old = in_state(&keys, purpose, KeyState::Active)
            .ok_or_else(|| Fault::new("signing keys", "no active key for a purpose"))?;
        // It is published for so long after the last that it may have signed, also where the time of
        // day is back.
        let since = cx.world.latest.judged_at(cx.now);
        let retiring = old.clone().turned(KeyState::Retiring, since);
        let Moved { active, next } = succeed(cx, &old.sealed, &keys).await?;
        let mut body = Body {
            key: Some(active.sealed.id),
            target: Some(retiring.sealed.id.any()),
            changes: [("next".into(), next.sealed.id.to_string())].into(),
            ..Body::default()
        };
        let below = if purpose == KeyPurpose::CaRoot {
            check_room(&keys, KeyPurpose::Ca)?;
            below_root(cx, &keys, &active, Some(since)).await?
        } else {
            Vec::new()
        };
        if let Some(statement) = &active.statement {
            body.changes.insert("statement".into(), statement.clone());
        }
        let event = cx.event(EventKind::KeyRotated, body);
        let answer = RotatedKeys {
            active: active.view(),
            next: next.view(),
            retiring: retiring.view(),
            retires_at: retires_at(&retiring),
        };
        let rows = [retiring, active, next].into_iter().chain(below).map(Row::Key).collect();
        commit_created(cx, rows, event, &answer).await?;
        Ok(answer)
    })
    .await
}

/// When a retiring key is published no more.
fn retires_at(key: &SigningKey) -> Time {
    let published = match key.sealed.purpose {
        // An instance's certificate or JWT-SVID lives no longer than a token.
        KeyPurpose::Token
        | KeyPurpose::Biscuit
        | KeyPurpose::CaRoot
        | KeyPurpose::Ca
        | KeyPurpose::JwtSvid => keep_for(),
        KeyPurpose::Feed => FEED_KEY_RETIRING,
        KeyPurpose::Log => LOG_KEY_RETIRING,
    };
    key.changed_at.unwrap_or(key.created_at).plus(published)
}

/// One turn of the job: makes and publishes the keys that a store of an earlier version has not, and
/// retires the keys that were published for long enough after their last signature at `surely`, a
/// time that has come whatever was done to the clock: a key that is taken away too early takes tokens
/// that are alive with it. Returns how many keys it changed.
pub async fn tick(cx: &Cx, surely: Option<Time>) -> Result<u64, Fault> {
    let held = cx.tenant.keys();
    let mut turns = Vec::new();
    for purpose in KeyPurpose::ALL {
        let of_state = |state| in_state(held.all(), purpose, state);
        match (of_state(KeyState::Active), of_state(KeyState::Next)) {
            (Some(active), None) => {
                turns.push((EventKind::KeyCreated, new_next(cx, &active.sealed).await?));
            }
            // The purpose is newer than the store.
            (None, None) if of(held.all(), purpose).next().is_none() => {
                let mut before = held.all().to_vec();
                before.extend(turns.iter().map(|(_, key): &(EventKind, SigningKey)| key.clone()));
                let owner = (cx.tenant.id, cx.tenant.issuer.as_str());
                let made = first(&cx.world, owner, purpose, &before, cx.now).await?;
                turns.extend(made.map(|key| (EventKind::KeyCreated, key)));
            }
            (_, _) => {}
        }
    }
    for key in held.all() {
        if key.state == KeyState::Retiring && surely.is_some_and(|at| retires_at(key) <= at) {
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
            // Somebody rotates or revokes just now: the next turn sees the keys as they are then. What
            // is left may build on what was not written.
            Err(CommitError::Stale | CommitError::Taken(_) | CommitError::Reached(_)) => break,
            Err(CommitError::Fault(fault)) => return Err(fault),
        }
    }
    if let Some(surely) = surely {
        destroy_over(cx, surely).await;
    }
    Ok(turned + renew(cx).await?)
}

/// Whether nobody needs a key in its token any more, at a time that has surely come.
fn is_over_in_token(key: &SigningKey, surely: Time) -> bool {
    let is_over = matches!(key.state, KeyState::Retired | KeyState::Revoked);
    let since = key.changed_at.unwrap_or(key.created_at);
    is_over && key.sealed.held() == Held::Pkcs11 && since.plus(OVER_IN_TOKEN_KEPT) <= surely
}

/// Destroys what nobody needs in a token any more. What cannot be destroyed now is tried at the next
/// turn, and stops nothing else.
async fn destroy_over(cx: &Cx, surely: Time) {
    let held = cx.tenant.keys();
    for key in held.all().iter().filter(|key| is_over_in_token(key, surely)) {
        let id = key.sealed.id;
        match cx.world.vault.destroy(&key.sealed).await {
            Ok(true) => tracing::info!(key = %id, "a key that is over was destroyed in its token"),
            Ok(false) => {}
            Err(fault) => {
                tracing::warn!(key = %id, %fault, "a key that is over is still in its token");
            }
        }
    }
}

/// Lets keys of the certificate authority follow one another before their certificates are over.
async fn renew(cx: &Cx) -> Result<u64, Fault> {
    let mut turned = 0;
    for purpose in [KeyPurpose::CaRoot, KeyPurpose::Ca] {
        let keys = cx.tenant.keys();
        let Some(active) = in_state(keys.all(), purpose, KeyState::Active) else { continue };
        let is_due = if purpose == KeyPurpose::CaRoot {
            let next = in_state(keys.all(), purpose, KeyState::Next);
            ca::is_due(active, cx.now)? || ca::upstream::is_awaited(active, next)?
        } else {
            let root = in_state(keys.all(), KeyPurpose::CaRoot, KeyState::Active);
            let may = root.map(|root| ca::upstream::may_sign(keys.all(), root)).transpose()?;
            let is_cut_off = cx.tenant.ca().is_none() && may == Some(true);
            is_cut_off || ca::is_due(active, cx.now)?
        };
        if !is_due {
            continue;
        }
        let asked = RotateKey { purpose: Some(purpose.as_str().to_owned()), now: false };
        match rotate(cx, &asked).await {
            Ok(_) => turned += 1,
            // A root is not published long enough, or somebody rotates just now: the next turn sees.
            Err(Error::Refused(refusal)) => {
                tracing::debug!(detail = refusal.detail, "the authority's key is not rotated yet");
            }
            Err(Error::Fault(fault)) => return Err(fault),
        }
    }
    Ok(turned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::held::{object_name, reference};
    use accredit_wire::crypto::PrivateKey;
    use accredit_wire::ids::{KeyId, OrganizationId};

    fn key(purpose: KeyPurpose, state: KeyState, changed_at: Time) -> SigningKey {
        let (org, id) = (Some(OrganizationId::new(1, [1; 10])), KeyId::new(1, [2; 10]));
        let algorithm = purpose.algorithm();
        let (private, _) = PrivateKey::generate(algorithm).expect("a key");
        let (public, wrapped) =
            (private.public().expect("a half"), reference(&object_name(org, id, purpose)));
        let sealed = SealedKey { org, id, purpose, algorithm, public, root: 1, wrapped };
        let (created_at, changed_at) = (Time::from_micros(0), Some(changed_at));
        SigningKey { sealed, state, created_at, changed_at, statement: None, version: 1 }
    }

    #[test]
    fn a_key_in_a_token_is_kept_for_as_long_as_somebody_may_need_it() {
        let then = Time::from_micros(1_700_000_000_000_000);
        let kept = then.plus(OVER_IN_TOKEN_KEPT);
        for purpose in KeyPurpose::ALL {
            for state in KeyState::ALL {
                let key = key(purpose, state, then);
                let is_over = matches!(state, KeyState::Retired | KeyState::Revoked);
                assert!(!is_over_in_token(&key, Time::from_micros(kept.micros() - 1)));
                assert_eq!(is_over_in_token(&key, kept), is_over, "{state:?}");
                let is_listing = purpose == KeyPurpose::Ca && state == KeyState::Retired;
                assert_eq!(key.is_needed_in_token(then), !is_over || is_listing, "{state:?}");
                // Never both.
                assert!(!(is_over_in_token(&key, kept) && key.is_needed_in_token(kept)));
                let mut wrapped = key;
                wrapped.sealed.wrapped = vec![0; 166];
                assert!(!is_over_in_token(&wrapped, kept) && !wrapped.is_needed_in_token(then));
            }
        }
    }
}
