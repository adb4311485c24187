//! Identification: whose a found secret is, and what was done with it.
//!
//! Asked by an administrator who holds a text that a scanner found. The whole secret has to be
//! shown, so that ids cannot be tried out; it is compared as at every other door and goes nowhere
//! else. One of another organization, an unknown and a forged one get the same answer. Absent on
//! purpose: ending it. That is `revoke`, by a key that may.

use accredit_wire::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize};

use super::credential::{AdminPermission, CredentialView, described};
use crate::audit::event::{Body, EventKind};
use crate::audit::read::{self, EventView};
use crate::context::Cx;
use crate::issuance::authenticate::{self, NotAuthenticated};
use crate::ports::Audited;
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
    /// The newest events that name it, newest first.
    pub events: Vec<EventView>,
}

fn unknown() -> Refusal {
    Refusal::new(
        Rule::NotFound,
        "this secret is not of this organization",
        "`accredit key-check --offline` tells whether it is a true one; then another \
         organization's administrator knows it",
    )
}

/// Tells whose a secret is, also where it has ended. Telling is an event itself.
pub async fn identify(cx: &Cx, asked: &Identify) -> Result<Identified, Error> {
    cx.require(AdminPermission::Audit)?;
    let facts = match authenticate::by_secret(cx, None, &asked.secret).await {
        Ok(facts) => facts,
        Err(NotAuthenticated::Refused(_) | NotAuthenticated::Ended(..)) => {
            return Err(unknown().into());
        }
        Err(NotAuthenticated::Fault(fault)) => return Err(fault.into()),
    };
    let found = cx.world.store.credential(cx.tenant.id, facts.id).await?;
    let credential = found.ok_or_else(unknown)?;
    let events = read::about(cx, credential.id.any(), EVENTS_TOLD_MAX).await?;
    let body = Body { target: Some(credential.id.any()), ..described(&credential) };
    let event = cx.event(EventKind::CredentialIdentified, body);
    cx.world.store.record_event(Audited::new((cx.tenant.id, None), event)).await?;
    Ok(Identified { credential: credential.view(cx.now), events })
}
