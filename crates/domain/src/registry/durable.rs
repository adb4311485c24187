//! RFC 6749 section 1.5, by analogy: what a Task holds of a user's, so that its agent can act for
//! them when their own token is gone.
//!
//! It is a token that never leaves the server: it has a token's id, which is in the lineage of
//! whatever comes of it and by which it is revoked. Only the agent of its task can use it. It is made
//! with a token of the user's, never with one that was derived from such, and gives no more than the
//! user and the agent might do then, and may do when it is used.

use accredit_wire::authority::{Authority, Permission, Scope};
use accredit_wire::claim_rule::ClaimRule;
use accredit_wire::ids::{FederationId, InstanceId, PersonId, TokenId};
use accredit_wire::oauth::authorization_details::AskedDetail;
use accredit_wire::oauth::task_request::UserGrant;
use accredit_wire::time::Time;
use serde::Serialize;
use std::time::Duration;

use crate::context::Cx;
use crate::federation::durable::{Suspensions, Word, word};
use crate::issuance::admission::AgentFacts;
use crate::issuance::grants::token_exchange::may_act_for;
use crate::issuance::permit::{held_hint, listed};
use crate::refusal::{Error, Refusal, Rule};
use accredit_wire::authority::attenuate;
use accredit_wire::token::Actor;

/// The longest life of a grant, seconds: 30 days. It ends with its task in any case.
pub const GRANT_LIFETIME_MAX_SECONDS: u64 = 30 * 24 * 3600;

/// What a user granted for a task.
#[derive(Clone, Debug)]
pub struct DurableGrant {
    /// Its id: that of a token.
    pub id: TokenId,
    /// The user.
    pub person: PersonId,
    /// By whose word they are.
    pub federation: FederationId,
    /// Its `iss`.
    pub issuer: String,
    /// Its `sub`.
    pub subject: String,
    /// The federation's rules that gave something then; those that are gone give nothing.
    pub rules: Vec<ClaimRule>,
    /// What was granted: nothing beyond it comes of it.
    pub authority: Authority,
    /// The instance that was given it: its revocation ends it.
    pub instance: Option<InstanceId>,
    /// What had happened to the user and their federation before.
    pub suspensions: Suspensions,
    /// Whether it was revoked.
    pub revoked: bool,
    /// When it was granted.
    pub granted_at: Time,
    /// When it ends by itself.
    pub expires_at: Time,
}

/// What a user granted, as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GrantView {
    /// Its id, `tok_`: revoking it ends the grant and every token that came of it.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// The user, for whom its tokens speak.
    #[schema(value_type = String)]
    pub user: PersonId,
    /// By whose word they are.
    #[schema(value_type = String)]
    pub federation: FederationId,
    /// What was granted, each permission as text.
    pub allow: Vec<String>,
    /// `active`, `expired` or `revoked`; that its task has ended is said there.
    pub state: &'static str,
    /// When it was granted.
    #[schema(value_type = String)]
    pub granted_at: Time,
    /// When it ends by itself.
    #[schema(value_type = String)]
    pub expires_at: Time,
}

impl DurableGrant {
    /// As it is shown at `now`.
    pub fn view(&self, now: Time) -> GrantView {
        GrantView {
            id: self.id,
            user: self.person,
            federation: self.federation,
            allow: self.authority.texts().collect(),
            state: match self.revoked {
                true => "revoked",
                false if self.expires_at <= now => "expired",
                false => "active",
            },
            granted_at: self.granted_at,
            expires_at: self.expires_at,
        }
    }
}

/// What a user grants to an agent for a task that ends then.
pub(super) async fn granted(
    cx: &Cx,
    (agent, instance): (&AgentFacts, Option<InstanceId>),
    asked: &UserGrant,
    deadline: Time,
) -> Result<DurableGrant, Error> {
    let Word { subject: user, rules, suspensions } =
        word(cx, asked.subject_token.expose(), agent.id).await?;
    may_act_for(cx, &user, Actor { agent: agent.id, instance })?;
    let wanted = wanted(agent, (&asked.scope, &asked.details))?;
    let held = attenuate(&agent.entitlements.authority, &wanted).map_err(|excess| {
        let rule = if asked.details.is_empty() { Rule::ScopeNotHeld } else { Rule::DetailsNotHeld };
        Refusal::new(rule, excess.to_string(), held_hint(agent))
    })?;
    let authority = attenuate(&user.authority, &held).map_err(|excess| {
        let hint = format!("what the user may do: {}", listed(&user.authority));
        Refusal::new(Rule::DelegationExceeded, excess.to_string(), hint)
    })?;
    let longest = cx.now.plus(Duration::from_secs(GRANT_LIFETIME_MAX_SECONDS));
    let (millis, random) = cx.seed();
    Ok(DurableGrant {
        id: TokenId::new(millis, random),
        person: user.person,
        federation: user.federation,
        issuer: user.issuer,
        subject: user.subject,
        rules,
        authority,
        instance,
        suspensions,
        revoked: false,
        granted_at: cx.now,
        expires_at: deadline.min(longest),
    })
}

/// What is asked for, at as many resources as there are in it.
pub(super) fn wanted(
    agent: &AgentFacts,
    (scope, details): (&Scope, &[AskedDetail]),
) -> Result<Authority, Refusal> {
    let too_much = |error: String| Refusal::new(Rule::DetailsNotHeld, error, held_hint(agent));
    let permission = |detail: &AskedDetail| {
        let held = agent.entitlements.resources.iter();
        let by_location = |uri: &String| {
            held.clone().find(|resource| resource.audience == *uri).map(|found| found.name.clone())
        };
        let by_location = detail.location.as_ref().map(by_location);
        let name = match (&detail.resource, by_location) {
            (Some(name), None) => Some(name.clone()),
            (Some(name), Some(Some(located))) if *name == located => Some(located),
            (None, Some(located)) => located,
            (Some(_), Some(_)) | (None, None) => None,
        };
        let name = name.ok_or_else(|| {
            Refusal::new(
                Rule::TargetUnknown,
                "an authorization detail names no resource that the agent holds a permission on",
                held_hint(agent),
            )
        })?;
        Ok(Permission::limited(name, detail.actions.clone(), detail.limits.clone()))
    };
    let limited: Result<Vec<Permission>, Refusal> = details.iter().map(permission).collect();
    let plain = Authority::from(scope);
    let all = plain.permissions().iter().cloned().chain(limited?);
    Authority::new(all).map_err(|error| too_much(error.to_string()))
}
