//! RFC 7519, OpenID Connect Core 1.0 section 3.1.3.7: a user's token from an external issuer, and
//! who that user is here.
//!
//! [`registry`] says which issuers are believed, [`keys`] has their keys, [`verify`] checks a token,
//! [`person`] finds the person and what they may do, [`durable`] what of that outlasts the token. What comes of it is the root of a chain; the
//! token itself gives nothing here.
//!
//! A token may be shown more than once: until it expires, each agent that the user works with
//! exchanges it. Absent on purpose: `nonce` (it binds a token to the session of the client that
//! asked for it, which we are not), discovery by what a token says of itself, and e-mail addresses
//! as identities.

pub(crate) mod durable;
pub(crate) mod keys;
mod person;
pub mod registry;
pub(crate) mod verify;

use accredit_wire::authority::Authority;
use accredit_wire::ids::{AgentId, FederationId, PersonId};
use accredit_wire::time::Time;

use crate::context::Cx;
use crate::refusal::Error;

pub use durable::Suspensions;
pub use keys::{
    ASKED_FOR_EVERY, FETCH_EVERY, FETCHES_AT_A_TIME_MAX, Fetches, KEYS_KEPT_MAX, KeptKeys,
    KeysView, RETRY_AFTER, tick,
};
pub use person::{Identity, PersonFacts, SUBJECT_BYTES_MAX};
pub use registry::{Federation, FederationFacts};
pub use verify::{TOKEN_LIFE_MAX, is_subject};

/// Who may act for the user (RFC 8693 section 4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MayAct {
    /// The issuer in whose words the actor is named, where the token says so.
    pub iss: Option<String>,
    /// The actor.
    pub sub: String,
}

/// Who a user's JWT from a registered external issuer is here.
#[derive(Clone, Debug)]
pub struct FederatedSubject {
    /// The person.
    pub person: PersonId,
    /// What the person may do: by grants in the registry and by the federation's claim rules.
    /// Neither, nothing.
    pub authority: Authority,
    /// The federation, which is part of the lineage of whatever comes of it.
    pub federation: FederationId,
    /// The external `iss`.
    pub issuer: String,
    /// The external `sub`.
    pub subject: String,
    /// When the token expires.
    pub expires_at: Time,
    /// Who may act for the user, where the token says so: nobody else may.
    pub may_act: Option<Vec<MayAct>>,
}

/// Who is meant by a user's JWT that this agent brought. The first one of a person who is not known
/// here makes them known, where the federation provisions.
///
/// Read the organization's `rev` before: what is read here is at least as new.
pub async fn subject(cx: &Cx, token: &str, by: AgentId) -> Result<FederatedSubject, Error> {
    let (federation, verified) = verify::token(cx, token).await?;
    let person = person::find_or_provision(cx, &federation, &verified.subject, by).await?;
    person.may_be_used()?;
    let authority = person::authority(&person, &federation, &verified)?;
    Ok(FederatedSubject {
        person: person.id,
        authority,
        federation: federation.id,
        issuer: federation.issuer.clone(),
        subject: verified.subject,
        expires_at: verified.expires_at,
        may_act: verified.may_act,
    })
}
