//! The revocation graph: one entry ends everything that hangs on its target, by derivation.
//!
//! `revoke` takes any id of a lineage, writes one entry, one event and the target's own row, and
//! touches no descendant. See `docs/formats.md`, "The revocation graph".

pub mod drill;
mod preview;
pub mod time_boxed;

use accredit_wire::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, Kind, RevocationId, TokenId,
};
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::federation::registry as federation;
use crate::issuance::TOKEN_LIFETIME_MAX_SECONDS;
use crate::keys::rotation::{self, KEY_SET_MAX_AGE_SECONDS};
use crate::keys::{KeyPurpose, KeyState};
use crate::ports::{Page, Row};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::registry::{
    DecideError, Listed, State, agent, already, commit, credential, decide, ending, instance,
    keep_for, organization, person, resource, task, text,
};

pub use preview::{Effect, preview};

/// How much longer than `keep_until` an entry is kept at least: a clock that is ahead by less, for
/// however long, takes nothing for over that is not.
pub const KEPT_LONGER: Duration = Duration::from_hours(24);

/// How long verifiers must know that a key of the feed was revoked. What it signs does not expire by
/// itself, so this is for followers that are given feed keys by hand and seldom look for others.
pub const REVOKED_FEED_KEY_KEPT: Duration = Duration::from_hours(366 * 24);

/// An entry of the graph: whatever has `target` in its lineage and a smaller `rev` is dead.
#[derive(Clone, Debug)]
pub struct Revocation {
    /// Its id, `rvk_`.
    pub id: RevocationId,
    /// What was revoked.
    pub target: AnyId,
    /// The counter at and above which things are alive again; 0 until it is written.
    pub rev: u64,
    /// Why, in a person's words.
    pub reason: String,
    /// When.
    pub revoked_at: Time,
    /// Until when verifiers must know it.
    pub keep_until: Time,
    /// When what it suspended goes on by itself; nothing where somebody has to say so.
    pub ends_at: Option<Time>,
}

/// What a revocation ends: exact for rows, an upper bound for tokens.
#[derive(Clone, Copy, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Blast {
    /// Agents.
    pub agents: u64,
    /// Instances that were active.
    pub instances: u64,
    /// Credentials that were active.
    pub credentials: u64,
    /// Live tokens and certificates, at most.
    pub tokens_at_most: u64,
}

/// A revocation as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RevocationView {
    /// Its id, `rvk_`.
    #[schema(value_type = String)]
    pub id: RevocationId,
    /// What was revoked.
    #[schema(value_type = String)]
    pub target: AnyId,
    /// Why.
    pub reason: String,
    /// The organization's counter.
    pub rev: u64,
    /// When.
    #[schema(value_type = String)]
    pub revoked_at: Time,
    /// Until when verifiers must know it.
    #[schema(value_type = String)]
    pub keep_until: Time,
    /// When what it suspended goes on by itself: the end of a kill for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ends_at: Option<Time>,
    /// What it ended; only in the answer to the request, and only where it could be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blast: Option<Blast>,
    /// What is believed where the feed is not followed; only in the answer to the revocation of a
    /// key that signs tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
}

/// What verifiers believe that follow no feed and keep a copy of the key set (RFC 7517), after one
/// of its keys was revoked.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct Elsewhere {
    /// How long a copy of the key set may be kept (RFC 9111 `max-age`), seconds. A copy that is
    /// kept longer, against this, believes whatever the key signs for as long.
    pub key_set_max_age: u32,
    /// The longest life of a token, seconds: for so long is believed what somebody remembers to
    /// have verified.
    pub token_lifetime_max: u32,
    /// When both are over: the last moment at which such a verifier may accept what the key signed.
    #[schema(value_type = String)]
    pub believed_until: Time,
}

impl Elsewhere {
    fn after(now: Time) -> Self {
        let (key_set, token) = (KEY_SET_MAX_AGE_SECONDS, TOKEN_LIFETIME_MAX_SECONDS);
        Self {
            key_set_max_age: key_set,
            token_lifetime_max: token,
            believed_until: now.plus(Duration::from_secs(u64::from(key_set + token))),
        }
    }
}

impl Revocation {
    /// As it is shown.
    pub fn view(&self) -> RevocationView {
        RevocationView {
            id: self.id,
            target: self.target,
            reason: self.reason.clone(),
            rev: self.rev,
            revoked_at: self.revoked_at,
            keep_until: self.keep_until,
            ends_at: self.ends_at,
            blast: None,
            elsewhere: None,
        }
    }
}

/// A request to revoke.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Any id that things hang on.
    pub target: String,
    /// Why.
    pub reason: String,
    /// After how many seconds what is suspended goes on by itself, at most
    /// [`time_boxed::TIME_BOX_SECONDS_MAX`]; for an organization, person, resource or agent.
    pub expires_in: Option<u64>,
}

/// Ends whatever hangs on an id.
pub async fn revoke(cx: &Cx, asked: &Revoke) -> Result<RevocationView, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", &asked.reason)?;
    let target: AnyId = asked.target.parse().map_err(|error| {
        Refusal::field("target", error, "use an id such as `ins_…`; lists show them")
    })?;
    let for_a_time = time_boxed::asked(cx, target.kind(), asked.expires_in).await?;
    let cx = &for_a_time;
    if matches!(target.kind(), Kind::Token | Kind::Block | Kind::Key) {
        // Nothing is known of their versions: no expectation holds.
        cx.terms.expected.check_none()?;
    }
    let (rows, ended) = match target.kind() {
        // These end with rows of their own, which are few: they are counted before.
        Kind::Instance | Kind::Credential | Kind::Task => {
            (rows_below(cx, target).await, end(cx, target, &reason).await)
        }
        // Of all others the rows stay as they are, and may be very many: they are counted meanwhile,
        // so that nobody waits for it who must be stopped, nor who stops them.
        _ => futures_util::future::join(rows_below(cx, target), end(cx, target, &reason)).await,
    };
    let purpose = ended?;
    let entry = cx.world.store.newest_revocation(cx.tenant.id, target).await?;
    let entry = entry.ok_or_else(|| crate::Fault::new("revoke", "the entry is not there"))?;
    let blast = blast(cx, target, rows).await;
    let signs_tokens = matches!(purpose, Some(KeyPurpose::Token | KeyPurpose::Biscuit));
    let elsewhere = signs_tokens.then(|| Elsewhere::after(cx.now));
    Ok(RevocationView { blast, elsewhere, ..entry.view() })
}

/// Ends a target, whatever it is; of a signing key, with what it is for.
async fn end(cx: &Cx, target: AnyId, reason: &str) -> Result<Option<KeyPurpose>, Error> {
    let name = target.to_string();
    match target.kind() {
        Kind::Organization => {
            organization::set_state(cx, &name, State::Suspended, reason).await?;
        }
        Kind::Person => {
            person::set_state(cx, &name, State::Suspended, reason).await?;
        }
        Kind::Resource => {
            resource::set_state(cx, &name, State::Suspended, reason).await?;
        }
        Kind::Federation => {
            federation::set_state(cx, &name, State::Suspended, reason).await?;
        }
        Kind::Agent => {
            agent::suspend(cx, &name, reason).await?;
        }
        Kind::Instance => {
            let id = InstanceId::try_from(target).map_err(|_| unrevocable(target))?;
            instance::revoke(cx, id, reason).await?;
        }
        Kind::Credential => {
            let id = CredentialId::try_from(target).map_err(|_| unrevocable(target))?;
            credential::revoke(cx, id, reason).await?;
        }
        Kind::Token | Kind::Block => {
            token(cx, target, None, reason).await?;
        }
        Kind::Key => {
            let id = KeyId::try_from(target).map_err(|_| unrevocable(target))?;
            return key(cx, id, reason).await.map(Some);
        }
        Kind::Task => {
            task::end(cx, &name, reason).await?;
        }
        Kind::Revocation | Kind::Event | Kind::Request => {
            return Err(unrevocable(target).into());
        }
    }
    Ok(None)
}

/// The newest entry of a target of which nothing but tokens ended, as it is shown.
pub(crate) async fn of_tokens(cx: &Cx, target: AnyId) -> Result<RevocationView, Error> {
    let entry = cx.world.store.newest_revocation(cx.tenant.id, target).await?;
    let entry = entry.ok_or_else(|| crate::Fault::new("revoke", "the entry is not there"))?;
    let blast = blast(cx, target, Some(Blast::default())).await;
    Ok(RevocationView { blast, ..entry.view() })
}

/// The rows below a target; nothing where they could not be counted, which stops no revocation.
async fn rows_below(cx: &Cx, target: AnyId) -> Option<Blast> {
    let counted = cx.world.store.rows_below(cx.tenant.id, target).await;
    counted.inspect_err(|fault| tracing::warn!(%fault, "a blast was not counted")).ok()
}

/// What was ended, with the tokens; nothing where that could not be counted.
async fn blast(cx: &Cx, target: AnyId, rows: Option<Blast>) -> Option<Blast> {
    let since = cx.now.minus(keep_for());
    let counted = cx.world.store.tokens_below(cx.tenant.id, target, since).await;
    let tokens = counted.inspect_err(|fault| tracing::warn!(%fault, "a blast was not counted"));
    Some(Blast { tokens_at_most: tokens.ok()?, ..rows? })
}

fn unrevocable(target: AnyId) -> Refusal {
    Refusal::field(
        "target",
        format!("nothing hangs on `{target}`"),
        "revoke an organization, person, federation, resource, agent, instance, credential, task, \
         signing key, token or block of one",
    )
}

/// Ends one token. There is no row for it: the entry is all there is, except where it is what a task
/// holds of a user's.
pub(crate) async fn token(
    cx: &Cx,
    id: AnyId,
    of: Option<AgentId>,
    reason: &str,
) -> Result<u64, Error> {
    decide(|| async {
        let grant = match TokenId::try_from(id) {
            Ok(id) => task::without_grant(cx, id).await?,
            Err(_) => None,
        };
        let task = grant.as_ref().and_then(|row| match row {
            Row::Task(task) => Some(task.id),
            _ => None,
        });
        let body = Body {
            task,
            token: TokenId::try_from(id).ok(),
            target: Some(id),
            agent: of,
            reason: Some(reason.to_owned()),
            ..Body::default()
        };
        let event = cx.event(EventKind::TokenRevoked, body);
        let entry = ending(cx, id, reason);
        Ok(commit(cx, grant.into_iter().collect(), Some(entry), event).await?.rev)
    })
    .await
}

/// Ends a signing key and everything it signed. In the same write the next one takes its place,
/// which verifiers may know already, and another becomes the next.
async fn key(cx: &Cx, id: KeyId, reason: &str) -> Result<KeyPurpose, Error> {
    decide(|| async {
        let keys = cx.world.store.signing_keys(cx.tenant.id).await?;
        let found = keys.iter().find(|key| key.sealed.id == id).cloned();
        let key = found.ok_or_else(|| Refusal::not_found("signing-key", id))?;
        if key.state == KeyState::Revoked {
            return Err(already("signing key", "revoked").into());
        }
        let purpose = key.sealed.purpose;
        if purpose == KeyPurpose::Log {
            return Err(DecideError::from(Refusal::new(
                Rule::StateForbids,
                "verifiers hold the log to its keys, which are not revoked over the feed",
                "let another key sign: `accredit signing-key rotate --purpose log --now`; the threat \
                 model says what the thief of one can do",
            )));
        }
        let mut body = Body {
            key: Some(id),
            target: Some(id.any()),
            reason: Some(reason.to_owned()),
            ..Body::default()
        };
        let mut rows = Vec::with_capacity(6);
        match key.state {
            KeyState::Active => {
                let moved = rotation::succeed(cx, &key.sealed, &keys).await?;
                body.changes.insert("successor".into(), moved.active.sealed.id.to_string());
                body.changes.insert("next".into(), moved.next.sealed.id.to_string());
                if purpose == KeyPurpose::CaRoot {
                    let below = rotation::below_root(cx, &keys, &moved.active, None).await?;
                    rows.extend(below.into_iter().map(Row::Key));
                }
                rows.extend([Row::Key(moved.active), Row::Key(moved.next)]);
            }
            KeyState::Next => {
                let next = rotation::new_next(cx, &key.sealed).await?;
                body.changes.insert("next".into(), next.sealed.id.to_string());
                rows.push(Row::Key(next));
            }
            KeyState::Retiring | KeyState::Retired | KeyState::Revoked => {}
        }
        rows.insert(0, Row::Key(key.turned(KeyState::Revoked, cx.now)));
        let event = cx.event(EventKind::KeyRevoked, body);
        let mut entry = ending(cx, id.any(), reason);
        if purpose == KeyPurpose::Feed {
            entry.keep_until = cx.now.plus(REVOKED_FEED_KEY_KEPT);
        }
        commit(cx, rows, Some(entry), event).await?;
        Ok(purpose)
    })
    .await
}

/// Entries of the graph, in the order in which they were made or backwards; of one target where it
/// is given.
pub async fn list(
    cx: &Cx,
    mut page: Page,
    target: Option<&str>,
) -> Result<Listed<RevocationView>, Error> {
    cx.require(AdminPermission::Read)?;
    let wrong = |error| Refusal::field("target", error, "name what was revoked by its id");
    page.target = target.map(str::parse).transpose().map_err(wrong)?;
    let found = cx.world.store.revocations(cx.tenant.id, page).await?;
    Ok(found.shown(|row| row.view()))
}
