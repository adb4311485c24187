//! Identification: whose a found secret is, and what was done with it.
//!
//! Asked by an administrator who holds a text that a scanner found. The whole secret has to be
//! shown, so that ids cannot be tried out; it is compared as at every other door and goes nowhere
//! else. One of another organization, an unknown and a forged one get the same answer. Absent on
//! purpose: ending it. That is `revoke`, by a key that may.

use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use serde::{Deserialize, Deserializer, Serialize};

use super::credential::{AdminPermission, CredentialView, described};
use crate::audit::event::{Body, EventKind};
use crate::audit::read::{self, About, EventView};
use crate::context::Cx;
use crate::issuance::authenticate::{self, NotAuthenticated};
use crate::ports::{Audited, UsedUp};
use crate::refusal::{Error, Refusal, Rule};

/// Events about a found credential that are told.
pub const EVENTS_TOLD_MAX: usize = 20;

/// A found secret.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Identify {
    /// The whole text.
    #[serde(deserialize_with = "secret")]
    #[schema(value_type = String)]
    pub secret: Secret,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(Secret::new)
}

/// Whose it is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Identified {
    /// The credential.
    pub credential: CredentialView,
    /// The newest events that name it, newest first, apart from those of tokens that it got.
    pub events: Vec<EventView>,
    /// How many tokens it got, as far as the log was looked through.
    pub tokens_issued: u64,
    /// The newest event of a token that it got.
    pub last_issued: Option<EventView>,
    /// The time back to which the log was looked through, where that was not to its creation.
    #[schema(value_type = Option<String>)]
    pub looked_back_to: Option<Time>,
}

fn unknown() -> Refusal {
    Refusal::new(
        Rule::NotFound,
        "this secret is not of this organization",
        "`accredit key-check --offline` tells whether it has the form of one, which anybody can \
         forge; whose it is, only its own organization's administrators are told",
    )
}

/// Tells whose a secret is, also where it has ended. Telling is an event itself.
pub async fn identify(cx: &Cx, asked: &Identify) -> Result<Identified, Error> {
    cx.require(AdminPermission::Audit)?;
    let is_join =
        ApiKey::parse(asked.secret.expose()).is_ok_and(|key| key.kind == SecretKind::Join);
    let found = if is_join {
        authenticate::by_join_token(cx, &asked.secret).await
    } else {
        authenticate::by_secret(cx, None, &asked.secret).await
    };
    let facts = match found {
        Ok(facts) => facts,
        Err(NotAuthenticated::Refused(_) | NotAuthenticated::Ended(..)) => {
            return Err(unknown().into());
        }
        Err(NotAuthenticated::Fault(fault)) => return Err(fault.into()),
    };
    let found = cx.world.store.credential(cx.tenant.id, facts.id).await?;
    let credential = found.ok_or_else(unknown)?;
    let about =
        read::about(cx, credential.id.any(), credential.created_at, EVENTS_TOLD_MAX).await?;
    let body = Body { target: Some(credential.id.any()), ..described(&credential) };
    let event = cx.event(EventKind::CredentialIdentified, body);
    cx.world.store.record_event(Audited::new((cx.tenant.id, UsedUp::NOTHING), event)).await?;
    let About { events, tokens_issued, last_issued, looked_back_to } = about;
    let credential = credential.view(cx.now);
    Ok(Identified { credential, events, tokens_issued, last_issued, looked_back_to })
}
