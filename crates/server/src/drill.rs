//! A drill: something is made, used and killed, and it is measured how far the kill came.
//!
//! An agent and an instance of it are made for this, in the name of the system; the instance gets a
//! token by its secret over the issuing path, the token is verified, the instance is killed, and the
//! token must be refused here at once. Then the acknowledgements are waited for. Secret and token
//! never leave this process. Whatever happens, the agent is decommissioned at the end, and nothing
//! of it may authenticate. What came of it is an event, so the history is the log's.

use std::time::Duration;

use accredit_domain::audit::event::Body;
use accredit_domain::issuance::{self, Outcome};
use accredit_domain::ports::Page;
use accredit_domain::registry::agent::{self, CreateAgent};
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::registry::instance::{self, CreateInstance};
use accredit_domain::registry::{PAGE_ROWS_MAX, Resource, State, ghosts};
use accredit_domain::revocation::{self, Revoke, drill};
use accredit_domain::terms::Terms;
use accredit_domain::{Caller, Cx, Error, Fault, Refusal, Rule};
use accredit_wire::ids::AgentId;
use accredit_wire::oauth::client_auth::ClientAuth;
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::secret::Secret;
use accredit_wire::verify::Rejection;
use serde::{Deserialize, Serialize};

use crate::Server;
use crate::jobs::pause;
use crate::nodes;
use crate::points::POINTS_SHOWN_MAX;
use crate::propagation::Propagation;

/// How long acknowledgements are waited for where nothing is said.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(5);
/// The longest wait, seconds: the request is held open for as long.
pub const WAIT_SECONDS_MAX: u64 = 30;
/// How often it is looked who has acknowledged.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// The same where other nodes are asked, through the store.
const ASK_EVERY: Duration = Duration::from_millis(25);
/// How long the agent's secret lives at most, seconds, should the process die in a drill.
const LIFE_SECONDS: u64 = 300;
/// Who answers for the agents of drills.
pub const OWNER: &str = "drill@accredit.invalid";

/// A request for a drill.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDrill {
    /// How long acknowledgements are waited for, seconds: 5 where not said, at most 30.
    pub wait: Option<u64>,
}

/// What came of a drill.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Drilled {
    /// The agent that was made for it, decommissioned by now.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// The resource that its token was for.
    pub resource: String,
    /// Whether every enforcement point acknowledged, and nothing of the agent is left.
    pub passed: bool,
    /// How far the kill came.
    pub acknowledgements: Propagation,
}

/// Runs one.
pub async fn run(server: &Server, cx: &Cx, asked: &RunDrill) -> Result<Drilled, Error> {
    cx.require(AdminPermission::Revoke)?;
    let wait = match asked.wait {
        None => WAIT_DEFAULT,
        Some(seconds) if seconds <= WAIT_SECONDS_MAX => Duration::from_secs(seconds),
        Some(_) => {
            let detail = format!("must be at most {WAIT_SECONDS_MAX} seconds");
            return Err(Refusal::field("wait", detail, "ask for acknowledgements later").into());
        }
    };
    // One at a time: two would be measured by each other.
    let Ok(_one) = server.drilling.try_lock() else {
        return Err(Refusal::new(
            Rule::StateForbids,
            "a drill is under way",
            "wait for it: a drill takes seconds",
        )
        .into());
    };
    let own = Cx { caller: Caller::System, terms: Terms::default(), ..cx.clone() };
    let resource = resource(server, &own).await?;
    // One that the clock runs is begun and told of under its lease alone. Once begun, it ends what it
    // made whoever has that by then.
    let terms = Terms { lease: cx.terms.lease, ..Terms::default() };
    let agent = made(&Cx { terms, ..own.clone() }, &resource).await?;
    let killed = kill(server, &own, agent, &resource, wait).await;
    // Boxed, as it ends in any case, whatever came of the rest.
    let key = agent.to_string();
    let ended = Box::pin(agent::decommission(&own, &key, "a drill is over")).await;
    let acknowledgements = killed?;
    drop(ended?);
    let left = ghosts::ghosts(&own, &key).await?;
    let all = acknowledgements.is_complete();
    let resource = resource.name.to_string();
    let drilled = Drilled { agent, resource, passed: all && left.gone, acknowledgements };
    drill::finished(cx, &described(&drilled), &drilled).await?;
    Ok(drilled)
}

/// The resource that is used: one that somebody follows for, where there is one.
async fn resource(server: &Server, cx: &Cx) -> Result<Resource, Error> {
    let followed = nodes::followed(server, cx.tenant.id).await?;
    let page = Page { limit: PAGE_ROWS_MAX, at: cx.now, ..Page::default() };
    let found = cx.world.store.resources(cx.tenant.id, page).await?.items;
    let mut active = found.into_iter().filter(|row| row.state == State::Active);
    let first = active.next();
    let with = first.iter().cloned().chain(active).find(|row| followed.contains(&row.id));
    with.or(first).ok_or_else(|| {
        let hint = "register one: `accredit resource create`";
        Refusal::new(Rule::StateForbids, "there is no active resource to drill at", hint).into()
    })
}

/// The agent that is made for it.
async fn made(cx: &Cx, resource: &Resource) -> Result<AgentId, Error> {
    let action = resource.actions.first();
    let action = action.ok_or_else(|| Fault::new("drill", "a resource without an action"))?;
    let suffix = u64::from_be_bytes(cx.world.random());
    let asked = CreateAgent {
        name: format!("drill-{suffix:016x}"),
        owner_email: Some(OWNER.to_owned()),
        purpose: Some("to be killed in a drill".to_owned()),
        environment: Some(resource.environment.as_str().to_owned()),
        allow: vec![format!("{}:{action}", resource.name)],
        default_scope: Some(format!("{}:{action}", resource.name)),
        activate: true,
        drill: true,
        ..CreateAgent::default()
    };
    Ok(agent::create(cx, &asked).await?.id)
}

/// Makes an instance, uses it, kills it, and waits for whoever follows.
async fn kill(
    server: &Server,
    cx: &Cx,
    agent: AgentId,
    resource: &Resource,
    wait: Duration,
) -> Result<Propagation, Error> {
    let (key, life) = (agent.to_string(), Some(LIFE_SECONDS));
    let asked =
        CreateInstance { agent: key.clone(), expires_in: life, ..CreateInstance::default() };
    let instance = instance::create(cx, &asked).await?;
    let secret = instance.client_secret.ok_or_else(|| Fault::new("drill", "no secret"))?;
    let token = token(cx, &key, secret).await?;
    let verifier = &cx.tenant.verifier;
    let verified = verifier.verify_token(token.expose(), cx.now);
    drop(verified.map_err(|error| Fault::new("drill", error))?);
    let came = cx.world.clock.elapsed();
    let asked = Revoke {
        target: instance.id.to_string(),
        reason: format!("a drill at `{}`", resource.name),
        expires_in: None,
    };
    let rev = revocation::revoke(cx, &asked).await?.rev;
    server.hub.points.asked(cx.tenant.id, rev, came);
    match verifier.verify_token(token.expose(), cx.now) {
        Err(Rejection::Revoked { .. }) => {}
        other => return Err(Fault::new("drill", format!("killed, and yet: {other:?}")).into()),
    }
    loop {
        let told = nodes::report(server, cx.tenant.id, rev, POINTS_SHOWN_MAX).await?;
        if !told.is_waiting() || cx.world.clock.elapsed().saturating_sub(came) >= wait {
            return Ok(told);
        }
        pause(if server.world.store.is_shared() { ASK_EVERY } else { LOOK_EVERY }).await;
    }
}

/// A token for the instance, by its secret, as any client gets one.
async fn token(cx: &Cx, client: &str, secret: Secret) -> Result<Secret, Error> {
    let failed = |error: &dyn std::fmt::Display| Fault::new("drill", error);
    let auth = ClientAuth::SecretBasic { client_id: client.to_owned(), secret };
    let form = Form::parse(b"grant_type=client_credentials").map_err(|error| failed(&error))?;
    let request = TokenRequest::parse(&form).map_err(|error| failed(&error))?;
    let anyone = Cx { caller: Caller::Anyone, ..cx.clone() };
    match issuance::issue(&anyone, &auth, &request).await? {
        Outcome::Issued(issued) => Ok(issued.token),
        Outcome::Refused(refusal) => Err(refusal.into()),
    }
}

/// What its event says.
fn described(drilled: &Drilled) -> Body {
    let told = &drilled.acknowledgements;
    let mut body = Body {
        agent: Some(drilled.agent),
        rev: Some(told.rev),
        decision: Some(if drilled.passed { "passed" } else { "failed" }),
        name: Some(drilled.resource.clone()),
        ..Body::default()
    };
    let counts = [
        ("acknowledged", Some(told.acknowledged)),
        ("waiting", Some(told.waiting)),
        ("silent", Some(told.silent)),
        ("gone", Some(told.gone)),
        ("unheard", (told.unheard > 0).then_some(told.unheard)),
        ("nodes_waiting", (told.nodes_waiting > 0).then_some(told.nodes_waiting)),
        ("nodes_unheard", (told.nodes_unheard > 0).then_some(told.nodes_unheard)),
        ("microseconds_p50", told.microseconds_p50),
        ("microseconds_p99", told.microseconds_p99),
        ("microseconds_max", told.microseconds_max),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            body.changes.insert(name.into(), count.to_string());
        }
    }
    body
}
