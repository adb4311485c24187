//! Who a user of an external issuer is here, and what they may do.
//!
//! A person is found by the federation and its `sub`, which its issuer never gives to another user
//! (OpenID Connect Core 1.0 section 2), and never by an e-mail address. The first token of somebody
//! who is not known makes them known, where the federation provisions; else an administrator says
//! beforehand who they are.

use std::sync::Arc;

use accredit_wire::authority::Authority;
use accredit_wire::ids::{AgentId, FederationId, PersonId};
use accredit_wire::time::Time;
use serde::Serialize;

use super::registry::FederationFacts;
use super::verify::VerifiedToken;
use crate::audit::event::{Actor, Body, EventKind};
use crate::context::Cx;
use crate::ports::{CommitError, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::{State, commit, person};

/// Bytes of an external `sub` (OpenID Connect Core 1.0 section 2).
pub const SUBJECT_BYTES_MAX: usize = 255;

/// How often it is tried to make one person known, while others try it too.
const PROVISION_TRIES_MAX: usize = 3;

/// Who a person is at an external issuer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Identity {
    /// Whose.
    #[serde(skip)]
    pub person: PersonId,
    /// At which federation.
    #[schema(value_type = String)]
    pub federation: FederationId,
    /// The external `sub`.
    pub subject: String,
    /// When it became known.
    #[schema(value_type = String)]
    #[serde(rename = "linked_at")]
    pub created_at: Time,
}

/// A person as exchange sees them.
#[derive(Debug)]
pub struct PersonFacts {
    /// The id.
    pub id: PersonId,
    /// Whether they may act.
    pub state: State,
    /// What they may do by grant.
    pub granted: Authority,
    /// How often they were suspended.
    pub suspensions: u32,
}

impl PersonFacts {
    /// Refuses a person who is suspended.
    pub(super) fn may_be_used(&self) -> Result<(), Refusal> {
        match self.state {
            State::Active => Ok(()),
            State::Suspended => Err(Refusal::new(
                Rule::PersonNotActive,
                "the user is suspended here",
                "an administrator can activate them: `accredit person activate`",
            )),
        }
    }
}

/// The person behind a subject, made known where that is new: by the agent that brought the token.
pub(super) async fn find_or_provision(
    cx: &Cx,
    federation: &FederationFacts,
    subject: &str,
    by: AgentId,
) -> Result<Arc<PersonFacts>, Error> {
    for _ in 0..PROVISION_TRIES_MAX {
        let found = cx.world.store.person_facts(cx.tenant.id, federation.id, subject).await?;
        if let Some(person) = found {
            return Ok(person);
        }
        if !federation.provision {
            return Err(Refusal::new(
                Rule::PersonUnknown,
                "the user is not known here",
                "an administrator says who they are: `accredit person link`",
            )
            .into());
        }
        match provision(cx, federation, subject, by).await {
            // Somebody else did it meanwhile.
            Ok(()) | Err(CommitError::Taken(_) | CommitError::Stale) => {}
            Err(CommitError::Reached(reached)) => return Err(Refusal::from(reached).into()),
            Err(CommitError::Fault(fault)) => return Err(fault.into()),
        }
    }
    Err(Fault::new("provision a person", "it kept changing while this was decided").into())
}

async fn provision(
    cx: &Cx,
    federation: &FederationFacts,
    subject: &str,
    by: AgentId,
) -> Result<(), CommitError> {
    let person = person::new(cx, None, None);
    let identity = Identity {
        person: person.id,
        federation: federation.id,
        subject: subject.to_owned(),
        created_at: cx.now,
    };
    let body = Body {
        actor: Some(Actor { id: Some(by.any()), kind: "agent" }),
        federation: Some(federation.id.any()),
        issuer: Some(federation.issuer.clone()),
        subject: Some(subject.to_owned()),
        ..person::described(&person)?
    };
    let event = cx.event(EventKind::PersonCreated, body);
    let rows = vec![Row::Person(person), Row::Identity(Box::new(identity))];
    commit(cx, rows, None, event).await.map(drop)
}

/// What a person may do: what was granted, and what rules give for the claims of this token.
pub(super) fn authority(
    person: &PersonFacts,
    federation: &FederationFacts,
    token: &VerifiedToken,
) -> Result<Authority, Error> {
    let claims = token.claims().ok_or_else(|| Fault::new("claims", "they were read before"))?;
    let by_rules = federation.rules.iter().filter(|rule| rule.matches(&claims));
    let by_rules = by_rules.flat_map(|rule| rule.allow.permissions());
    let all = person.granted.permissions().iter().chain(by_rules).cloned();
    Authority::new(all).map_err(|error| {
        Refusal::new(
            Rule::AuthorityTooLarge,
            format!("what the user may do by grants and by rules is too much: {error}"),
            "take grants away, or rules that give what others give already",
        )
        .into()
    })
}

#[cfg(test)]
mod tests {
    use accredit_wire::authority::Permission;
    use accredit_wire::claim_rule::ClaimRule;
    use accredit_wire::jose::issuer_keys::IssuerKeySet;
    use proptest::prelude::*;

    use super::*;

    const GROUPS: [&str; 3] = ["a", "b", "c"];
    const TOKENS: [&str; 4] = ["crm:read", "crm:update", "erp:read", "erp:pay(amount<=10)"];

    fn permission(at: usize) -> Permission {
        TOKENS[at].parse().expect("a permission")
    }

    fn facts(rules: Vec<ClaimRule>) -> FederationFacts {
        FederationFacts {
            id: FederationId::new(1, [1; 10]),
            name: "corp".to_owned(),
            issuer: "https://idp.example".to_owned(),
            audiences: vec!["accredit".to_owned()],
            rules,
            provision: true,
            state: State::Active,
            suspensions: 0,
            workloads: Vec::new(),
            keys: IssuerKeySet::default(),
            keys_fetched_at: None,
        }
    }

    proptest! {
        /// Against a model: whatever is granted or given by a rule that matches, and nothing else.
        #[test]
        fn a_person_may_do_what_grants_and_matching_rules_give_and_nothing_more(
            granted in proptest::collection::btree_set(0..TOKENS.len(), 0..4),
            rules in proptest::collection::vec((0..GROUPS.len(), 0..TOKENS.len()), 0..8),
            groups in proptest::collection::btree_set(0..GROUPS.len(), 0..3),
        ) {
            let person = PersonFacts {
                id: PersonId::new(1, [1; 10]),
                state: State::Active,
                granted: Authority::new(granted.iter().map(|at| permission(*at))).expect("few"),
                suspensions: 0,
            };
            let text = |(group, token): &(usize, usize)| {
                format!("groups contains {} => {}", GROUPS[*group], TOKENS[*token])
            };
            let parsed = rules.iter().map(|rule| text(rule).parse().expect("a rule")).collect();
            let claimed: Vec<_> = groups.iter().map(|at| GROUPS[*at]).collect();
            let claims = serde_json::json!({ "groups": claimed, "roles": GROUPS });
            let token = VerifiedToken {
                payload: claims.to_string().into_bytes(),
                subject: "user-1".to_owned(),
                expires_at: Time::from_seconds(1),
                may_act: None,
            };
            let held = authority(&person, &facts(parsed), &token).expect("few");
            let by_rules = rules.iter().filter(|(group, _)| groups.contains(group));
            let model = granted.iter().copied().chain(by_rules.map(|(_, token)| *token));
            let model = Authority::new(model.map(permission)).expect("few");
            prop_assert_eq!(held, model);
        }
    }
}
