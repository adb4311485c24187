//! RFC 8693: an agent asks for a token with which it acts for whom another token speaks.
//!
//! The actor is the client that authenticates. What it gets is what was passed on to it, met with
//! what it holds itself and with what it asks for; it never outlives what it is derived from, and
//! dies with anything that would end that. A token may be exchanged by whoever holds it, which adds
//! no party to the chain, and by the agent that serves the resource it is for, which adds one:
//! so a token that was received is never passed on, and is of no use to whoever finds it. A user's
//! token of an issuer that is trusted begins a chain: what is passed on is what that user may do.
//! What the holders of an attenuable token added to it is judged in [`super::attenuated`].
//!
//! A token without the actor in `act` (impersonation) is issued to an agent and for a subject that an
//! owner of the organization has named together (`registry/impersonation.rs`), and to nobody else.
//!
//! Absent on purpose: refresh tokens.

use std::sync::Arc;

use accredit_wire::authority::Authority;
use accredit_wire::binding::Confirmation;
use accredit_wire::biscuit;
use accredit_wire::ids::{AnyId, InstanceId, TaskId};
use accredit_wire::oauth::token_exchange::{IssuedTokenType, SubjectTokenType, TokenExchange};
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::token::{AccessToken, Actor, LINEAGE_MAX, SubjectKind};

use super::actor::acting;
use super::attenuated;
use super::target::{named, target};
use super::{External, Origin, ProposedGrant, durable};
use crate::context::Cx;
use crate::federation::{self, FederatedSubject};
use crate::introspection::come_up_to;
use crate::issuance::admission::{AgentFacts, HolderFacts, ResourceFacts};
use crate::issuance::authenticate::AuthenticatedClient;
use crate::issuance::possession::Proved;
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::task;

/// Ids in `lin` that are a token's own, and room for the task, the issuer and the platform that may
/// follow.
pub(in crate::issuance) const OWN_IDS: usize = 7;

/// Proposes what is asked for on behalf of the subject token's subject.
pub async fn propose(
    cx: &Cx,
    client: &AuthenticatedClient,
    (request, exchange): (&TokenRequest, &TokenExchange),
) -> Result<ProposedGrant, Error> {
    let (agent, owner) = acting(cx, client).await?;
    let scope = request.scope.clone();
    if scope.is_none() && request.details.is_empty() {
        return Err(Refusal::new(
            Rule::ScopeMissing,
            "an exchange says what it is for: neither `scope` nor `authorization_details` was given",
            "ask for what the next step needs, and no more",
        )
        .into());
    }
    let scope = scope.unwrap_or_default();
    let named = named(&agent, &request.resources, &exchange.audiences);
    let resource = target(&agent, (&scope, &request.details), &named)?;
    let actor = Actor { agent: agent.id, instance: instance_of(client) };
    let by = Presenter { agent: &agent, actor, proved: client.proved };
    let mut origin = of_subject_token(cx, exchange, by).await?;
    if exchange.impersonation {
        may_impersonate(&agent, origin.subject, request.requested_token_type)?;
        origin.impersonated = true;
    }
    let task = match (request.task, origin.task()) {
        (None, _) => None,
        (Some(named), Some(held)) if named == held => None,
        (Some(_), Some(held)) => return Err(another_task(held).into()),
        (Some(named), None) => Some(task::for_token(cx, named, agent.id).await?),
    };
    let lifetime = request.expires_in.unwrap_or(agent.token_lifetime).min(agent.token_lifetime);
    Ok(ProposedGrant {
        credential: Arc::clone(&client.credential),
        rev: client.rev,
        binds: client.proved.binds(),
        agent,
        resource,
        owner,
        scope,
        details: request.details.clone(),
        lifetime,
        task,
        origin: Some(Box::new(origin)),
        attested: client.attested.clone(),
        svid: client.svid.clone(),
        hangs_on: Vec::new(),
    })
}

/// The instance that a client is, where it is one.
pub(crate) fn instance_of(client: &AuthenticatedClient) -> Option<InstanceId> {
    match &client.credential.holder {
        HolderFacts::Instance { id, .. } => Some(*id),
        HolderFacts::Agent(_) | HolderFacts::Resource(_) | HolderFacts::Admin(_) => None,
    }
}

/// Who sends a token to be exchanged.
struct Presenter<'a> {
    agent: &'a AgentFacts,
    actor: Actor,
    proved: Proved,
}

async fn of_subject_token(
    cx: &Cx,
    exchange: &TokenExchange,
    Presenter { agent, actor, proved }: Presenter<'_>,
) -> Result<Origin, Error> {
    let token = exchange.subject_token.expose();
    if exchange.subject_token_type == SubjectTokenType::Task {
        return durable::origin(cx, exchange, actor).await;
    }
    is_of_type(token, exchange.subject_token_type)?;
    let ours = match exchange.subject_token_type {
        SubjectTokenType::AccessToken | SubjectTokenType::Biscuit => true,
        SubjectTokenType::Jwt => cx.tenant.verifier.issued_to(token, cx.now).is_ok(),
        SubjectTokenType::IdToken | SubjectTokenType::Task => false,
    };
    if !ours {
        return of_user(cx, token, actor).await;
    }
    come_up_to(cx, token).await?;
    // Whether it is the holder who sends it is looked at below.
    let alive = cx
        .tenant
        .verifier
        .alive(token, cx.now)
        .map_err(|rejection| not_accepted(&rejection.to_string()))?;
    // The token's end was set by this clock: nothing is forgiven.
    if alive.expires_at() <= cx.now {
        return Err(not_accepted("the token is expired").into());
    }
    let parent = alive.token();
    let added = alive.attenuable();
    if let Some(added) = added {
        Box::pin(attenuated::check(cx, added)).await?;
    }
    // Whoever hands a token on names the agent, and a key that only one copy of it has.
    let is_handed_on = added.is_some_and(attenuated::is_handed_on);
    let chain = if is_handed_on && parent.client_id == actor.agent {
        is_proved(parent, proved)?;
        is_in_bounds(parent, cx.tenant.chain_depth_max())?;
        attenuated::chain_of_holder(parent, actor)
    } else if is_held_by(parent, actor) {
        is_proved(parent, proved)?;
        parent.chain.clone()
    } else {
        serves(cx, parent, agent).await?;
        is_bound_again(parent, proved)?;
        extended(parent, actor, cx.tenant.chain_depth_max())?
    };
    Ok(Origin {
        kind: parent.kind,
        subject: parent.subject,
        chain,
        further: inherited(parent)?,
        ceiling: passed_on(parent)?,
        impersonated: false,
        expires_at: alive.expires_at(),
        parent: Some(parent.id),
        external: None,
    })
}

/// The root of a chain that begins with a user: whoever exchanges the user's token acts for them,
/// with what both may do.
async fn of_user(cx: &Cx, token: &str, actor: Actor) -> Result<Origin, Error> {
    let user = federation::subject(cx, token, actor.agent).await?;
    may_act_for(cx, &user, actor)?;
    if user.authority.is_empty() {
        return Err(Refusal::new(
            Rule::DelegationNone,
            "the user may do nothing here",
            "an administrator says what: `accredit person grant`, or a rule of the federation",
        )
        .into());
    }
    Ok(Origin {
        kind: SubjectKind::User,
        subject: user.person.any(),
        chain: vec![actor],
        further: vec![user.federation.any()],
        ceiling: user.authority,
        impersonated: false,
        expires_at: user.expires_at,
        parent: None,
        external: Some(External {
            federation: user.federation,
            issuer: user.issuer,
            subject: user.subject,
        }),
    })
}

/// RFC 8693 section 4.4: where the user's token says who may act for them, nobody else may. An agent
/// is meant by its id, in the words of this issuer.
pub(crate) fn may_act_for(cx: &Cx, user: &FederatedSubject, actor: Actor) -> Result<(), Refusal> {
    let Some(named) = &user.may_act else { return Ok(()) };
    let agent = actor.agent.to_string();
    let ours = |iss: &Option<String>| iss.as_deref() == Some(cx.tenant.issuer.as_str());
    if named.iter().any(|party| party.sub == agent && ours(&party.iss)) {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::MayAct,
        "the user's token names who may act for them, and the client is not among these",
        "use a token whose `may_act` names this issuer and the client's id, or has no `may_act`",
    ))
}

/// Refuses to keep an agent out of `act` for a subject for which that was not allowed.
///
/// RFC 8693 section 2.2.2: what is "unacceptable based on policy" is `invalid_request`.
fn may_impersonate(
    agent: &AgentFacts,
    subject: AnyId,
    requested: Option<IssuedTokenType>,
) -> Result<(), Refusal> {
    if requested == Some(IssuedTokenType::Biscuit) {
        return Err(Refusal::new(
            Rule::Impersonation,
            "an attenuable token names in its facts who acts",
            "ask for a JWT, or leave `impersonation` out",
        ));
    }
    if agent.impersonates.contains(&subject) {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::Impersonation,
        "the client may act for this subject by delegation alone, named in `act`",
        "leave `impersonation` out; an owner of the organization names the pairs that may: `accredit \
         agent allow-impersonation`",
    ))
}

/// Refuses a token that is of another format than it is said to be. An access token may be of either
/// (RFC 8693 section 3).
fn is_of_type(token: &str, said: SubjectTokenType) -> Result<(), Refusal> {
    match (said, biscuit::is_biscuit(token)) {
        (SubjectTokenType::AccessToken | SubjectTokenType::Task, _)
        | (SubjectTokenType::Jwt | SubjectTokenType::IdToken, false)
        | (SubjectTokenType::Biscuit, true) => Ok(()),
        (SubjectTokenType::Jwt | SubjectTokenType::IdToken, true) => {
            Err(not_accepted("it is said to be a JWT, and is none"))
        }
        (SubjectTokenType::Biscuit, false) => {
            Err(not_accepted("it is said to be a Biscuit, and is none"))
        }
    }
}

/// Why a subject token is not accepted.
///
/// RFC 8693 section 2.2.2: where it is "invalid for any reason, or \[is\] unacceptable based on
/// policy", the error is `invalid_request`.
pub(super) fn not_accepted(detail: &str) -> Refusal {
    Refusal::new(
        Rule::SubjectToken,
        format!("the subject token is not accepted: {detail}"),
        "send a live token of this issuer that you hold, or that was sent to the resource you serve",
    )
}

/// A token that was minted for a task stays in it.
fn another_task(held: TaskId) -> Refusal {
    Refusal::new(
        Rule::TaskOther,
        format!("the subject token is for task `{held}`"),
        "leave `task` out: it carries over",
    )
}

/// Whether the token was issued to this very party.
fn is_held_by(token: &AccessToken, party: Actor) -> bool {
    token.client_id == party.agent && token.instance == party.instance
}

/// Refuses the holder of a bound token who does not prove to hold its key, or its certificate, in this
/// request: a thief of token and credential is no holder.
fn is_proved(token: &AccessToken, proved: Proved) -> Result<(), Refusal> {
    match token.cnf {
        Some(demanded) if !proved.has(demanded) => Err(unproved(match demanded {
            Confirmation::Key(_) => {
                "the subject token is bound to a key, and the proof is not by it"
            }
            Confirmation::Certificate(_) => {
                "the subject token is bound to a certificate, and the connection's is another or none"
            }
        })),
        _ => Ok(()),
    }
}

/// Refuses who was sent a bound token and proves nothing: what is derived from it would be of use to
/// whoever steals it. Their key, or their certificate, is their own; what the token is bound to was
/// proved where it was sent.
fn is_bound_again(token: &AccessToken, proved: Proved) -> Result<(), Refusal> {
    if token.cnf.is_none() || proved.binds().is_some() {
        return Ok(());
    }
    Err(unproved("the subject token is bound, and no proof of the client's own came"))
}

fn unproved(detail: &str) -> Refusal {
    Refusal::new(
        Rule::DpopRequired,
        detail,
        "send a `DPoP` header with a proof for this request (RFC 9449), or use TLS with a certificate \
         (RFC 8705): as its holder with what the subject token is bound to, as the agent that it was \
         sent to with your own",
    )
}

/// Refuses where the agent does not serve the resource that the token is for.
async fn serves(cx: &Cx, token: &AccessToken, agent: &AgentFacts) -> Result<(), Error> {
    let resource = cx.world.store.resource_facts(cx.tenant.id, token.resource).await?;
    // An agent that has moved away since serves nothing here.
    let is_its = |resource: Arc<ResourceFacts>| {
        resource.agent == Some(agent.id) && resource.environment == agent.environment
    };
    if resource.is_some_and(is_its) {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::SubjectTokenNotYours,
        "the subject token was neither issued to this client nor sent to a resource that it serves",
        "an administrator says which agent serves a resource: `accredit resource update --agent`",
    )
    .into())
}

fn too_deep(parent: &AccessToken, depth_max: usize) -> Refusal {
    Refusal::new(
        Rule::ChainTooDeep,
        format!("the chain has {} parties, and may have {depth_max}", parent.depth()),
        "let an earlier party do this step; an administrator can allow longer chains: `accredit \
         org update --chain-depth-max`, 16 at most",
    )
}

/// Refuses a chain that grew offline beyond what the organization allows.
fn is_in_bounds(parent: &AccessToken, depth_max: usize) -> Result<(), Refusal> {
    if parent.depth() > depth_max { Err(too_deep(parent, depth_max)) } else { Ok(()) }
}

/// The chain with one more party, where that is no more than the organization allows.
fn extended(parent: &AccessToken, actor: Actor, depth_max: usize) -> Result<Vec<Actor>, Refusal> {
    if parent.depth() >= depth_max {
        return Err(too_deep(parent, depth_max));
    }
    if comes_back(parent, actor) {
        return Err(Refusal::new(
            Rule::ChainCycle,
            "the client is in the chain already",
            "each instance acts once in a chain; let the earlier one exchange the token it holds",
        ));
    }
    let mut chain = Vec::with_capacity(parent.chain.len() + 1);
    chain.push(actor);
    chain.extend_from_slice(&parent.chain);
    Ok(chain)
}

/// Whether a party would act a second time in a chain, or may: of two without an instance nobody
/// can tell that they are different ones. An agent that began a chain gains nothing by acting for
/// itself.
fn comes_back(parent: &AccessToken, actor: Actor) -> bool {
    let began = parent.subject == actor.agent.any();
    let acted = parent.chain.iter().any(|earlier| {
        earlier.agent == actor.agent
            && (earlier.instance.is_none()
                || actor.instance.is_none()
                || earlier.instance == actor.instance)
    });
    let instance = actor.instance.map(AnyId::from);
    began || acted || instance.is_some_and(|id| parent.lineage().any(|held| held == id))
}

/// What the holder of a token may pass on.
fn passed_on(parent: &AccessToken) -> Result<Authority, Refusal> {
    if parent.delegable.is_empty() {
        return Err(Refusal::new(
            Rule::DelegationNone,
            "the subject token lets its holder pass nothing on",
            "an administrator lets an agent delegate: `accredit agent update --may-delegate`",
        ));
    }
    Ok(parent.delegable.clone())
}

/// The ids by which a token dies, for one that is derived from it: those that its `act` and `sub`
/// do not name again.
fn inherited(parent: &AccessToken) -> Result<Vec<AnyId>, Refusal> {
    let mut ids: Vec<AnyId> = Vec::new();
    let again = |id: &AnyId| {
        *id == parent.organization.any()
            || *id == parent.subject
            || parent.chain.iter().any(|actor| {
                actor.agent.any() == *id || actor.instance.map(AnyId::from) == Some(*id)
            })
    };
    for id in parent.lineage().filter(|id| !again(id)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    if ids.len() + OWN_IDS > LINEAGE_MAX {
        return Err(Refusal::new(
            Rule::ChainTooDeep,
            format!("the token would hang on more than {LINEAGE_MAX} things"),
            "exchange the token that was received, not one that was made from it many times over",
        ));
    }
    Ok(ids)
}
