//! Agent: a registered role with an owner, a purpose, a life cycle and an Authority.
//!
//! `draft → active → suspended → decommissioned`; the last is final. An agent is always the OAuth
//! client: its id is the `client_id`.

use std::collections::BTreeSet;
use std::time::Duration;

use accredit_wire::authority::{Authority, ResourceName, Scope};
use accredit_wire::ids::{AgentId, PersonId};
use accredit_wire::time::Time;
use accredit_wire::x509::dns_name::DnsName;
use serde::{Deserialize, Serialize};

use super::dns_names;
use super::environment::{self, Environment};
use super::impersonation::Impersonation;
use super::jwks::{self, Followed, FollowedView};
use super::permission;
use super::{
    DecideError, Listed, Person, commit, commit_created, decide, ending, find_agent, find_person,
    known_state, person, rotation_schedule, text,
};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::issuance::certificate::CERTIFICATE_LIFETIME_MAX_SECONDS;
use crate::issuance::{TOKEN_LIFETIME_DEFAULT_SECONDS, TOKEN_LIFETIME_MAX_SECONDS};
use crate::ports::{Page, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::AdminPermission;

/// After how long an agent is due for review where nobody said.
pub const REVIEW_DUE_AFTER: Duration = Duration::from_hours(90 * 24);

/// Why tokens end and a credential is to be rotated.
const OWNER_CHANGED: &str = "the owner changed";
/// The same.
const ENVIRONMENT_CHANGED: &str = "the environment changed";

/// Where an agent is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentState {
    /// Registered; nothing is issued yet.
    Draft,
    /// Tokens are issued.
    Active,
    /// Stopped; may go on.
    Suspended,
    /// Over, for ever.
    Decommissioned,
}

impl AgentState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Draft, Self::Active, Self::Suspended, Self::Decommissioned];

    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Decommissioned => "decommissioned",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A registered role.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Agent {
    /// Its id, `agt_`.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// The same id, under the name that OAuth gives it.
    #[schema(value_type = String)]
    pub client_id: AgentId,
    /// Its name: immutable, never reused.
    pub name: String,
    /// Who answers for it.
    #[schema(value_type = Option<String>)]
    pub owner: Option<PersonId>,
    /// The owner's e-mail address.
    pub owner_email: Option<String>,
    /// What it is for.
    pub purpose: Option<String>,
    /// Where it runs: it reaches resources of the same environment.
    pub environment: Environment,
    /// Resources of other environments that it may reach all the same.
    #[schema(value_type = Vec<String>)]
    pub across_environments: BTreeSet<ResourceName>,
    /// Where it is in its life.
    pub state: AgentState,
    /// What it may do.
    #[schema(value_type = Vec<permission::PermissionView>)]
    pub permissions: Authority,
    /// What is granted where nothing is asked for.
    #[schema(value_type = Option<String>)]
    pub default_scope: Option<Scope>,
    /// Whether its tokens carry a delegable Authority.
    pub may_delegate: bool,
    /// Whether it gets tokens only that are bound to a key (RFC 9449).
    pub bound_only: bool,
    /// For whom it may act without being named in `act`; absent where for nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub impersonates: Vec<Impersonation>,
    /// Whether it was made for a drill: then it counts to no quota once it is decommissioned.
    #[serde(skip)]
    pub drill: bool,
    /// The life of its tokens, seconds.
    pub token_lifetime: u32,
    /// The life of its instances' certificates, seconds.
    pub certificate_lifetime: u32,
    /// The hosts that its instances' certificates may name.
    #[schema(value_type = Vec<String>)]
    pub dns_names: BTreeSet<DnsName>,
    /// When it is to be reviewed.
    #[schema(value_type = String)]
    pub review_due_at: Time,
    /// When it was created.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// When it last got a token, to the minute.
    #[schema(value_type = Option<String>)]
    pub last_seen_at: Option<Time>,
    /// When it last got a new credential of its own; what its instances get does not count.
    #[schema(value_type = Option<String>)]
    pub last_rotated_at: Option<Time>,
    /// When somebody last reviewed it.
    #[schema(value_type = Option<String>)]
    pub last_reviewed_at: Option<Time>,
    /// After how many days its own credential is to be rotated.
    pub rotation_days: u32,
    /// When that is; nothing where it has no live credential of its own.
    #[schema(value_type = Option<String>)]
    pub rotation_due_at: Option<Time>,
    /// Whether that time has come.
    pub rotation_due: bool,
    /// When a change asked for its credential to be rotated; nothing once that was done.
    #[schema(value_type = Option<String>)]
    pub rotation_asked_at: Option<Time>,
    /// Which change that was.
    pub rotation_asked_because: Option<String>,
    /// When that credential of its own was made which is to be rotated first: of each use the newest
    /// counts, of these the oldest. One that was made to end before it would be due counts while it
    /// lives, or where there is no other.
    #[serde(skip)]
    pub credential_made_at: Option<Time>,
    /// The due time for which a warning stands in the log.
    #[serde(skip)]
    pub rotation_warned_for: Option<Time>,
    /// When the job of rotation is to look at it.
    #[serde(skip)]
    pub look_at: Option<Time>,
    /// Where its keys are followed.
    #[serde(flatten)]
    pub jwks: Box<FollowedView>,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

/// A new agent.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgent {
    /// Its name.
    pub name: String,
    /// Its owner, by id; or by `owner_email`.
    pub owner: Option<String>,
    /// Its owner, by e-mail address; the person is registered where there is none.
    pub owner_email: Option<String>,
    /// What it is for.
    pub purpose: Option<String>,
    /// Where it runs: `dev` where not said, `staging` or `prod`.
    pub environment: Option<String>,
    /// What it may do: `resource:action`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// What is granted where nothing is asked for.
    pub default_scope: Option<String>,
    /// Whether its tokens carry a delegable Authority.
    #[serde(default)]
    pub may_delegate: bool,
    /// Whether it gets tokens only that are bound to a key (RFC 9449).
    #[serde(default)]
    pub bound_only: bool,
    /// The life of its tokens, seconds: 300 where not said, at most 3600.
    pub token_lifetime: Option<u32>,
    /// The life of its instances' certificates, seconds: 3600 where not said, which is the most.
    pub certificate_lifetime: Option<u32>,
    /// The hosts that its instances' certificates may name: each below the organization's trust domain.
    #[serde(default)]
    pub dns_names: Vec<String>,
    /// When it is to be reviewed; in 90 days where not said.
    #[schema(value_type = Option<String>)]
    pub review_due_at: Option<Time>,
    /// After how many days its credential is to be rotated: 30 where not said, at most 366.
    pub rotation_days: Option<u32>,
    /// The https URL of a JWK set whose keys are its credentials.
    pub jwks_url: Option<String>,
    /// Whether it is active at once.
    #[serde(default)]
    pub activate: bool,
    /// Whether it is made for a drill, which no request can say.
    #[serde(skip)]
    pub drill: bool,
}

/// What may be changed.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateAgent {
    /// Its owner, by id; or by `owner_email`.
    pub owner: Option<String>,
    /// Its owner, by e-mail address.
    pub owner_email: Option<String>,
    /// What it is for.
    pub purpose: Option<String>,
    /// Where it runs. Another than before ends its live tokens, and what it was granted across
    /// environments.
    pub environment: Option<String>,
    /// What is granted where nothing is asked for; empty for nothing.
    pub default_scope: Option<String>,
    /// Whether its tokens carry a delegable Authority.
    pub may_delegate: Option<bool>,
    /// Whether it gets tokens only that are bound to a key (RFC 9449). From then on, its live tokens
    /// end.
    pub bound_only: Option<bool>,
    /// The life of its tokens, seconds.
    pub token_lifetime: Option<u32>,
    /// The life of its instances' certificates, seconds.
    pub certificate_lifetime: Option<u32>,
    /// The hosts that its instances' certificates may name, all of them. One that is left out ends its live
    /// tokens and certificates.
    pub dns_names: Option<Vec<String>>,
    /// When it is to be reviewed.
    #[schema(value_type = Option<String>)]
    pub review_due_at: Option<Time>,
    /// After how many days its credential is to be rotated, at most 366.
    pub rotation_days: Option<u32>,
    /// The https URL of a JWK set whose keys are its credentials; empty for none. What came from
    /// another ends after a day.
    pub jwks_url: Option<String>,
    /// Set: somebody has reviewed it now. The next review is due in 90 days unless said.
    #[serde(default)]
    pub reviewed: bool,
}

/// A change of life.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, in a person's words.
    pub reason: Option<String>,
}

fn default_scope(value: &str, held: &Authority) -> Result<Option<Scope>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let scope: Scope = value
        .parse()
        .map_err(|error| Refusal::field("default_scope", error, "write it as `crm:read`"))?;
    if !scope.tokens().all(|token| held.allows(&token.resource, &token.action)) {
        return Err(Refusal::field(
            "default_scope",
            "is more than the agent holds",
            "give the agent the permission first",
        ));
    }
    if scope.resources().len() > 1 {
        return Err(Refusal::field(
            "default_scope",
            "reaches two resources",
            "a token is for one resource: choose one",
        ));
    }
    Ok(Some(scope))
}

fn lifetime(asked: Option<u32>) -> Result<u32, Refusal> {
    let seconds = asked.unwrap_or(TOKEN_LIFETIME_DEFAULT_SECONDS);
    if seconds == 0 || seconds > TOKEN_LIFETIME_MAX_SECONDS {
        return Err(Refusal::field(
            "token_lifetime",
            format!("must be from 1 to {TOKEN_LIFETIME_MAX_SECONDS} seconds"),
            "short tokens are what makes a stolen one worth little; 300 suits most agents",
        ));
    }
    Ok(seconds)
}

fn certificate_lifetime(asked: Option<u32>) -> Result<u32, Refusal> {
    let seconds = asked.unwrap_or(CERTIFICATE_LIFETIME_MAX_SECONDS);
    if seconds == 0 || seconds > CERTIFICATE_LIFETIME_MAX_SECONDS {
        return Err(Refusal::field(
            "certificate_lifetime",
            format!("must be from 1 to {CERTIFICATE_LIFETIME_MAX_SECONDS} seconds"),
            "whoever checks a certificate alone takes it until it is over: let it be short",
        ));
    }
    Ok(seconds)
}

/// The owner that a request names, and whether the person is new and must be stored too.
async fn owner(
    cx: &Cx,
    id: Option<&str>,
    address: Option<&str>,
) -> Result<Option<(Person, bool)>, Error> {
    match (id, address) {
        (Some(_), Some(_)) => Err(Refusal::field(
            "owner",
            "is given twice, by id and by e-mail address",
            "send `owner` or `owner_email`",
        )
        .into()),
        (Some(id), None) => Ok(Some((find_person(cx, id).await?, false))),
        (None, Some(address)) => Ok(Some(person::find_or_new(cx, address).await?)),
        (None, None) => Ok(None),
    }
}

/// The rows of an owner who is new, with the event of their own.
fn new_owner(cx: &Cx, owner: Option<(Person, bool)>) -> Result<Vec<Row>, Fault> {
    let Some((person, true)) = owner else { return Ok(Vec::new()) };
    let event = cx.event(EventKind::PersonCreated, person::described(&person)?);
    Ok(vec![Row::Person(person), Row::Event(Box::new(event))])
}

/// What keeps an agent from being active.
fn complete(agent: &Agent) -> Result<(), Refusal> {
    let missing: Vec<&str> = [
        (agent.owner.is_none(), "an owner"),
        (agent.purpose.is_none(), "a purpose"),
        (agent.permissions.is_empty(), "a permission"),
    ]
    .into_iter()
    .filter_map(|(missing, what)| missing.then_some(what))
    .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::AgentIncomplete,
        format!("the agent lacks {}", missing.join(" and ")),
        "an agent acts only for somebody, for something and with at least one permission",
    ))
}

/// Registers an agent, and its owner where the person is new.
pub async fn create(cx: &Cx, asked: &CreateAgent) -> Result<Agent, Error> {
    cx.require(AdminPermission::Registry)?;
    let name = ResourceName::new(&asked.name).map_err(|error| {
        Refusal::field("name", error, "use lower-case letters, digits, `.`, `_` and `-`")
    })?;
    let purpose = asked.purpose.as_deref().map(|value| text("purpose", value)).transpose()?;
    let environment = asked.environment.as_deref().map(environment::asked).transpose()?;
    let environment = environment.unwrap_or_default();
    let token_lifetime = lifetime(asked.token_lifetime)?;
    let certificate_lifetime = certificate_lifetime(asked.certificate_lifetime)?;
    let dns_names = dns_names::asked(cx, &asked.dns_names)?;
    let rotation_days = rotation_schedule::days(asked.rotation_days)?;
    let jwks_url = jwks::url(cx, asked.jwks_url.as_deref().unwrap_or(""))?;
    let authority = permission::resolve(cx, (name.as_str(), environment), &asked.allow).await?;
    let default_scope = default_scope(asked.default_scope.as_deref().unwrap_or(""), &authority)?;
    decide(|| async {
        let owner = owner(cx, asked.owner.as_deref(), asked.owner_email.as_deref()).await?;
        let (millis, random) = cx.seed();
        let id = AgentId::new(millis, random);
        let mut agent = Agent {
            id,
            client_id: id,
            name: name.to_string(),
            owner: owner.as_ref().map(|(person, _)| person.id),
            owner_email: owner.as_ref().and_then(|(person, _)| person.email.clone()),
            purpose: purpose.clone(),
            environment,
            across_environments: BTreeSet::new(),
            state: if asked.activate { AgentState::Active } else { AgentState::Draft },
            permissions: authority.clone(),
            default_scope: default_scope.clone(),
            may_delegate: asked.may_delegate,
            bound_only: asked.bound_only,
            impersonates: Vec::new(),
            drill: asked.drill,
            token_lifetime,
            certificate_lifetime,
            dns_names: dns_names.clone(),
            review_due_at: asked.review_due_at.unwrap_or(cx.now.plus(REVIEW_DUE_AFTER)),
            created_at: cx.now,
            last_seen_at: None,
            last_rotated_at: None,
            last_reviewed_at: None,
            rotation_days,
            rotation_due_at: None,
            rotation_due: false,
            rotation_asked_at: None,
            rotation_asked_because: None,
            credential_made_at: None,
            rotation_warned_for: None,
            look_at: None,
            jwks: Box::new(FollowedView { jwks_url: jwks_url.clone(), ..FollowedView::default() }),
            version: 0,
        };
        if asked.activate {
            complete(&agent)?;
        }
        let mut body = Body {
            agent: Some(id),
            name: Some(agent.name.clone()),
            owner: agent.owner.map(PersonId::any),
            ..Body::default()
        };
        body.changes = changes::made(&agent, &body)?;
        let mut rows = new_owner(cx, owner)?;
        rows.push(Row::Agent(agent.clone()));
        if let Some(url) = &jwks_url {
            rows.push(Row::Follow(Box::new(Followed::new(id, url.clone(), cx.now))));
        }
        commit_created(cx, rows, cx.event(EventKind::AgentCreated, body), &agent).await?;
        agent.version = 1;
        Ok(agent)
    })
    .await
}

/// Agents of the organization.
pub async fn list(
    cx: &Cx,
    mut page: Page,
    owner: Option<&str>,
    environment: Option<&str>,
) -> Result<Listed<Agent>, Error> {
    cx.require(AdminPermission::Read)?;
    if let Some(owner) = owner {
        page.owner = Some(find_person(cx, owner).await?.id);
    }
    page.environment = environment.map(environment::asked).transpose()?;
    page.at = cx.now;
    known_state(&page, &AgentState::ALL.map(AgentState::as_str))?;
    let found = cx.world.store.agents(cx.tenant.id, page).await?;
    Ok(found.shown(|row| rotation_schedule::at(row, cx.now)))
}

/// One agent.
pub async fn find(cx: &Cx, key: &str) -> Result<Agent, Error> {
    cx.require(AdminPermission::Read)?;
    find_agent(cx, key).await
}

/// Changes what may be changed. What narrows it ends its live tokens.
pub async fn update(cx: &Cx, key: &str, asked: &UpdateAgent) -> Result<Agent, Error> {
    cx.require(AdminPermission::Registry)?;
    decide(|| async {
        let mut agent = alive(cx, key).await?;
        cx.terms.expected.check(agent.version)?;
        let before = agent.clone();
        let mut ends = None;
        let owner = owner(cx, asked.owner.as_deref(), asked.owner_email.as_deref()).await?;
        if let Some((person, _)) = &owner {
            // Tokens name the owner they were issued under; a new owner starts with none.
            ends = (agent.owner != Some(person.id)).then_some(OWNER_CHANGED);
            if ends.is_some() {
                rotation_schedule::ask(&mut agent, cx.now, OWNER_CHANGED);
            }
            agent.owner = Some(person.id);
            agent.owner_email.clone_from(&person.email);
        }
        if let Some(purpose) = &asked.purpose {
            agent.purpose = Some(text("purpose", purpose)?);
        }
        if let Some(named) = &asked.environment {
            let named = environment::asked(named)?;
            if agent.environment != named {
                ends = Some(ENVIRONMENT_CHANGED);
                rotation_schedule::ask(&mut agent, cx.now, ENVIRONMENT_CHANGED);
                agent.across_environments.clear();
            }
            agent.environment = named;
        }
        if let Some(scope) = &asked.default_scope {
            agent.default_scope = default_scope(scope, &agent.permissions)?;
        }
        if let Some(may) = asked.may_delegate {
            if agent.may_delegate && !may {
                ends = Some("the agent may no longer delegate");
            }
            agent.may_delegate = may;
        }
        if let Some(only) = asked.bound_only {
            if only && !agent.bound_only {
                ends = Some("the agent gets bound tokens only");
            }
            agent.bound_only = only;
        }
        if let Some(seconds) = asked.token_lifetime {
            agent.token_lifetime = lifetime(Some(seconds))?;
        }
        if let Some(seconds) = asked.certificate_lifetime {
            agent.certificate_lifetime = certificate_lifetime(Some(seconds))?;
        }
        if let Some(names) = &asked.dns_names {
            let names = dns_names::asked(cx, names)?;
            if !agent.dns_names.is_subset(&names) {
                ends = Some("a host's name was taken away");
            }
            agent.dns_names = names;
        }
        if let Some(days) = asked.rotation_days {
            rotation_schedule::set(&mut agent, days)?;
        }
        if asked.reviewed {
            agent.last_reviewed_at = Some(cx.now);
            agent.review_due_at = cx.now.plus(REVIEW_DUE_AFTER);
        }
        if let Some(due) = asked.review_due_at {
            agent.review_due_at = due;
        }
        if let Some(url) = &asked.jwks_url {
            agent.jwks.jwks_url = jwks::url(cx, url)?;
        }
        let revocation = ends.map(|why| ending(cx, agent.id.any(), why));
        let body = Body {
            agent: Some(agent.id),
            owner: owner.as_ref().map(|(person, _)| person.id.any()),
            changes: changes::made_different(&before, &agent)?,
            ..Body::default()
        };
        let mut rows = new_owner(cx, owner)?;
        rows.push(Row::Agent(agent.clone()));
        if agent.jwks.jwks_url != before.jwks.jwks_url {
            rows.extend(jwks::turn(cx, agent.id, agent.jwks.jwks_url.as_deref()).await?);
        }
        commit(cx, rows, revocation, cx.event(EventKind::AgentUpdated, body)).await?;
        agent.version += 1;
        Ok(rotation_schedule::at(agent, cx.now))
    })
    .await
}

/// An agent that can still be changed.
pub(super) async fn alive(cx: &Cx, key: &str) -> Result<Agent, DecideError> {
    let agent = find_agent(cx, key).await?;
    if agent.state == AgentState::Decommissioned {
        return Err(Refusal::new(
            Rule::StateForbids,
            format!("agent `{}` is decommissioned", agent.name),
            "that is final: register a new agent under a new name",
        )
        .into());
    }
    Ok(agent)
}

/// Makes an agent active.
pub async fn activate(cx: &Cx, key: &str, reason: &str) -> Result<Agent, Error> {
    cx.require(AdminPermission::Registry)?;
    let reason = text("reason", reason)?;
    activate_again(cx, key, &reason).await
}

/// [`activate`] for whoever may lift what stopped the agent.
pub(crate) async fn activate_again(cx: &Cx, key: &str, reason: &str) -> Result<Agent, Error> {
    decide(|| async {
        let mut agent = alive(cx, key).await?;
        cx.terms.expected.check(agent.version)?;
        if agent.state == AgentState::Active {
            return Err(super::already("agent", "active").into());
        }
        complete(&agent)?;
        agent.state = AgentState::Active;
        let body = Body {
            agent: Some(agent.id),
            target: Some(agent.id.any()),
            reason: Some(reason.to_owned()),
            ..Body::default()
        };
        let event = cx.event(EventKind::AgentActivated, body);
        commit(cx, vec![Row::Agent(agent.clone())], None, event).await?;
        agent.version += 1;
        Ok(agent)
    })
    .await
}

/// Stops an agent: nothing is issued to it, and its live tokens end.
pub async fn suspend(cx: &Cx, key: &str, reason: &str) -> Result<Agent, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", reason)?;
    decide(|| async {
        let mut agent = alive(cx, key).await?;
        cx.terms.expected.check(agent.version)?;
        if agent.state == AgentState::Suspended {
            return Err(super::already("agent", "suspended").into());
        }
        agent.state = AgentState::Suspended;
        let body = Body {
            agent: Some(agent.id),
            target: Some(agent.id.any()),
            reason: Some(reason.clone()),
            expires_at: cx.terms.ends_at.map(Time::micros),
            ..Body::default()
        };
        let event = cx.event(EventKind::AgentSuspended, body);
        let entry = Some(ending(cx, agent.id.any(), &reason));
        commit(cx, vec![Row::Agent(agent.clone())], entry, event).await?;
        agent.version += 1;
        Ok(agent)
    })
    .await
}

/// Ends an agent for ever, with its instances and credentials, in one transaction.
pub async fn decommission(cx: &Cx, key: &str, reason: &str) -> Result<Agent, Error> {
    cx.require(AdminPermission::Revoke)?;
    let reason = text("reason", reason)?;
    decide(|| async {
        let mut agent = alive(cx, key).await?;
        cx.terms.expected.check(agent.version)?;
        agent.state = AgentState::Decommissioned;
        let body = Body {
            agent: Some(agent.id),
            target: Some(agent.id.any()),
            reason: Some(reason.clone()),
            ..Body::default()
        };
        let event = cx.event(EventKind::AgentDecommissioned, body);
        let entry = Some(ending(cx, agent.id.any(), &reason));
        let (id, ended) = (agent.id, Row::Agent(agent.clone()));
        let rows = vec![ended, Row::EndAgent(id), Row::Unfollow(id)];
        commit(cx, rows, entry, event).await?;
        agent.version += 1;
        Ok(agent)
    })
    .await
}
