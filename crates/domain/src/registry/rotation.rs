//! Rotation: a credential's successor, and a while in which both work.
//!
//! The successor belongs to the same holder, proves in the same way and lives as long as its
//! predecessor was meant to. The predecessor is not revoked: it ends by itself when the overlap is
//! over, and what was issued to it ends with its own times. A leaked credential is revoked, not
//! rotated. Absent on purpose: administrators' keys, whose successor would be a key with their
//! permissions in the hands of whoever asks.

use std::time::Duration;

use accredit_wire::ids::CredentialId;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::agent::alive;
use super::credential::{
    AdminPermission, Credential, CredentialView, Holder, Proof, by_id, described, new_key,
    new_secret, public_key,
};
use super::instance::find_live;
use super::{DecideError, Versioned, commit_created, decide};
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::Row;
use crate::refusal::{Error, Refusal, Rule};

/// How long both work where nobody said, seconds: a day.
pub const OVERLAP_DEFAULT_SECONDS: u64 = 24 * 3600;
/// The longest time in which both work, seconds: a week.
pub const OVERLAP_MAX_SECONDS: u64 = 7 * 24 * 3600;

/// A rotation that is asked for.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateCredential {
    /// How long the old one still works, seconds: a day where not said, at most a week.
    pub overlap: Option<u64>,
    /// The new public key, where the old one is a public key.
    #[schema(value_type = Option<Object>)]
    pub jwk: Option<Box<RawValue>>,
}

/// A successor, and what it succeeds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RotatedCredential {
    /// The successor; a secret is in it, this once.
    #[serde(flatten)]
    pub credential: CredentialView,
    /// The credential that it succeeds.
    #[schema(value_type = String)]
    pub replaces: CredentialId,
    /// When that one ends by itself.
    #[schema(value_type = String)]
    pub replaced_until: Time,
}

/// When an overlap that was asked for is over.
fn overlap_end(asked: Option<u64>, now: Time) -> Result<Time, Refusal> {
    let seconds = asked.unwrap_or(OVERLAP_DEFAULT_SECONDS);
    if seconds == 0 || seconds > OVERLAP_MAX_SECONDS {
        return Err(Refusal::field(
            "overlap",
            format!("must be from 1 to {OVERLAP_MAX_SECONDS} seconds"),
            "a day suits most; a credential that leaked is revoked instead, at once",
        ));
    }
    Ok(now.plus(Duration::from_secs(seconds)))
}

/// Makes a successor for a credential and lets the old one end after the overlap, in one
/// transaction with one event. Never does the old one live longer than it would have.
pub async fn rotate(
    cx: &Cx,
    key: &str,
    asked: &RotateCredential,
) -> Result<RotatedCredential, Error> {
    cx.require(AdminPermission::Registry)?;
    let overlap_end = overlap_end(asked.overlap, cx.now)?;
    decide(|| async {
        let mut old = by_id(cx, key).await?;
        cx.terms.expected.check(old.version)?;
        check_rotatable(cx, &old).await?;
        let life = (old.expires_at.micros() - old.created_at.micros()).max(0);
        let expires_at = cx.now.plus(Duration::from_micros(life.unsigned_abs()));
        let holder = (old.holder.clone(), old.r#use.clone());
        let (new, secret) = match &old.proof {
            Proof::Secret { .. } if asked.jwk.is_some() => {
                return Err(Refusal::field(
                    "jwk",
                    "does not go with a secret",
                    "leave it out, or register the key: `accredit credential create`",
                )
                .into());
            }
            Proof::Secret { .. } => {
                let (new, secret) = new_secret(&cx.world, cx.now, holder, expires_at)?;
                (new, Some(secret))
            }
            Proof::Workload(_) | Proof::Process(_) => {
                return Err(Refusal::new(
                    Rule::StateForbids,
                    format!("credential `{}` is a rule and has no secret to replace", old.id),
                    "add another rule, and end this one: `accredit attest rule add`",
                )
                .into());
            }
            Proof::Join { .. } => {
                return Err(Refusal::new(
                    Rule::StateForbids,
                    format!("credential `{}` is a join token, which is used once", old.id),
                    "make another one, and end this one: `accredit edge invite`",
                )
                .into());
            }
            Proof::Key(_) => {
                (new_key(cx, holder, public_key(asked.jwk.as_deref())?, expires_at), None)
            }
        };
        old.expires_at = old.expires_at.min(overlap_end);
        old.successor = Some(new.id);
        let mut body = Body { target: Some(old.id.any()), ..described(&new) };
        body.changes.insert("replaced_until".into(), old.expires_at.to_string());
        let event = cx.event(EventKind::CredentialRotated, body);
        // The old one first: with a successor it no longer holds the use.
        let rows = vec![Row::Credential(old.clone()), Row::Credential(new.clone())];
        let credential = new.view(cx.now);
        let (replaces, replaced_until) = (old.id, old.expires_at);
        let mut rotated = RotatedCredential { credential, replaces, replaced_until };
        commit_created(cx, rows, event, &rotated).await?;
        rotated.credential.client_secret = secret;
        rotated.credential.version = 1;
        Ok(rotated)
    })
    .await
}

impl Versioned for RotatedCredential {
    fn version(&self) -> i64 {
        self.credential.version
    }
}

/// Refuses what has no successor to get.
async fn check_rotatable(cx: &Cx, old: &Credential) -> Result<(), DecideError> {
    let refuse = |detail: String, hint: &str| {
        Err(DecideError::from(Refusal::new(Rule::StateForbids, detail, hint)))
    };
    let state = old.view(cx.now).state;
    if state != "active" {
        return refuse(
            format!("credential `{}` is {state}", old.id),
            "create a new one: `accredit credential create`",
        );
    }
    if let Some(successor) = old.successor {
        return refuse(
            format!("credential `{}` was rotated already", old.id),
            &format!("rotate what took its place: `{successor}`"),
        );
    }
    match &old.holder {
        Holder::Agent(agent) => alive(cx, &agent.to_string()).await.map(drop),
        Holder::Instance(instance, agent) => {
            alive(cx, &agent.to_string()).await?;
            Ok(find_live(cx, &instance.to_string()).await.map(drop)?)
        }
        Holder::Resource(_) => Ok(()),
        Holder::Admin(..) => refuse(
            "an administrator's key is not rotated here".to_owned(),
            "rotate it among its own kind: `accredit admin-key rotate`",
        ),
    }
}
