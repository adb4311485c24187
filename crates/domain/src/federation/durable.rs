//! A user's word that is to outlast their token: what it gave when it was given, and what of that
//! still stands.
//!
//! What a user may do by grant is looked up again each time. What claims of their token gave by
//! rules stays as long as the rules do: the claims are gone with the token, so that a group which
//! the user has left since is noticed when the grant ends, at the latest.

use accredit_wire::authority::Authority;
use accredit_wire::claim_rule::ClaimRule;
use accredit_wire::ids::AgentId;

use super::{FederatedSubject, person, verify};
use crate::context::Cx;
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::State;
use crate::registry::durable::DurableGrant;

/// How often whoever stands behind a user's word had been suspended: once more, and it is void for
/// good, also after they are activated again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspensions {
    /// The person.
    pub person: u32,
    /// The federation.
    pub federation: u32,
}

/// What a user's token says, and what must stand for it to be believed later.
pub(crate) struct Word {
    /// Who the user is, and what they may do now.
    pub(crate) subject: FederatedSubject,
    /// The rules that matched.
    pub(crate) rules: Vec<ClaimRule>,
    /// What had happened before.
    pub(crate) suspensions: Suspensions,
}

/// What is meant by a user's JWT, as [`super::subject`], for longer than it lives.
pub(crate) async fn word(cx: &Cx, token: &str, by: AgentId) -> Result<Word, Error> {
    let (federation, verified) = verify::token(cx, token).await?;
    let person = person::find_or_provision(cx, &federation, &verified.subject, by).await?;
    person.may_be_used()?;
    let authority = person::authority(&person, &federation, &verified)?;
    let claims = verified.claims().ok_or_else(|| Fault::new("claims", "they were read before"))?;
    let rules = federation.rules.iter().filter(|rule| rule.matches(&claims)).cloned().collect();
    let suspensions =
        Suspensions { person: person.suspensions, federation: federation.suspensions };
    drop(claims);
    let subject = FederatedSubject {
        person: person.id,
        authority,
        federation: federation.id,
        issuer: federation.issuer.clone(),
        subject: verified.subject,
        expires_at: verified.expires_at,
        may_act: verified.may_act,
    };
    Ok(Word { subject, rules, suspensions })
}

/// What a user who granted something may do now; a refusal where the grant is void.
///
/// Read the organization's `rev` before: what is read here is at least as new.
pub(crate) async fn still(cx: &Cx, grant: &DurableGrant) -> Result<Authority, Error> {
    let (store, org) = (&cx.world.store, cx.tenant.id);
    let federation = store.federation_facts(org, &grant.issuer).await?;
    let person = store.person_facts(org, grant.federation, &grant.subject).await?;
    let federation = federation.filter(|found| found.id == grant.federation);
    let person = person.filter(|found| found.id == grant.person);
    let (Some(federation), Some(person)) = (federation, person) else {
        return Err(void("the user is not known by their federation any more").into());
    };
    let suspensions =
        Suspensions { person: person.suspensions, federation: federation.suspensions };
    let are_active = person.state == State::Active && federation.state == State::Active;
    if !are_active || suspensions != grant.suspensions {
        return Err(void("the user or their federation was suspended since").into());
    }
    let by_rules = grant.rules.iter().filter(|rule| federation.rules.contains(rule));
    let by_rules = by_rules.flat_map(|rule| rule.allow.permissions());
    let all = person.granted.permissions().iter().chain(by_rules).cloned();
    Authority::new(all).map_err(|error| {
        let detail = format!("what the user may do by grants and by rules is too much: {error}");
        Refusal::new(Rule::AuthorityTooLarge, detail, "take grants away, or rules").into()
    })
}

/// The grant gives nothing, and never will again.
pub(crate) fn void(why: &str) -> Refusal {
    Refusal::new(
        Rule::GrantOver,
        format!("the user's grant is over: {why}"),
        "make another task with a token of the user's",
    )
}
