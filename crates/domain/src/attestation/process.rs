//! A process that a node vouches for: found by what the node calls it, or brought into being as an instance
//! of the agent that a rule says it is.
//!
//! The node says what it saw ([`Selectors`]), what names the process on it for good, and which key the
//! process is to be known by. The instance has its own agent's authority and nothing of the node's. The
//! node and the rule are in its lineage (`issuance/vouched.rs`).
//!
//! One that was revoked stays so for what it was called, as other workloads do.

use std::time::Duration;

use accredit_wire::authority::ResourceName;
use accredit_wire::ids::{AgentId, InstanceId};
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::oauth::instance_request::ProcessRequest;
use accredit_wire::selectors::Selectors;
use accredit_wire::time::Time;

use super::birth::{BIRTHS_WITHIN, Born, Voucher, Workload, too_many};
use super::process_rule::{ProcessRuleFacts, may_vouch};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::issuance::authenticate::AuthenticatedClient;
use crate::issuance::grants::actor::{acting, may_act};
use crate::issuance::svid::not_by_own;
use crate::ports::{Room, RoomOf, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::{CredentialState, Holder, new_key, public_key_of};
use crate::registry::credential_use::UseName;
use crate::registry::instance::{self, Instance, InstanceState};
use crate::registry::keyed::{KeyedInstance, rekey};
use crate::registry::node::may_be_node;
use crate::registry::{DecideError, commit, decide};

/// What a process's key is used for.
fn process_use() -> Result<UseName, Fault> {
    UseName::parse("process").ok_or_else(|| Fault::new("use", "it is no name"))
}

/// A process as its node tells of it, with the rule that it is under.
struct Told<'a> {
    node: InstanceId,
    /// What names it there.
    name: &'a str,
    jwk: Jwk,
    said: Selectors,
    rule: ProcessRuleFacts,
    /// What its agent is called.
    agent_name: Box<str>,
    /// When it is over at the latest.
    ends: Time,
}

/// Finds the instance that a process is, or brings it into being, and lets it be known by the key.
pub async fn attested(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &ProcessRequest,
) -> Result<KeyedInstance, Error> {
    not_by_own(client)?;
    let (edge, _) = acting(cx, client).await?;
    let node = may_be_node(cx, client).await?;
    let said = Selectors::parse(&asked.selectors).map_err(|error| {
        Refusal::field("selectors", error, "send what the node sees of the process, as JSON")
    })?;
    let jwk = public_key_of(&asked.jwk)?;
    let rule = rule_for(cx, edge.id, &said).await?;
    may_vouch(cx, edge.id, rule.agent).await?;
    let facts = cx.world.store.agent_facts(cx.tenant.id, rule.agent).await?;
    let agent = facts.ok_or_else(|| Fault::new("agent facts", "a rule without agent"))?;
    may_act(cx, &agent)?;
    let ends = cx.now.plus(Duration::from_secs(rule.rule.instance_lifetime.into()));
    let ends = ends.min(rule.expires_at).min(client.credential.ends_at());
    let (name, agent_name) = (asked.process.as_str(), agent.name.clone());
    let told = Told { node, name, jwk, said, rule, agent_name, ends };
    let r#use = process_use()?;
    decide(|| found_or_made(cx, &told, &r#use)).await
}

/// The rule that a process is under: the one that lives longest, where all that match are one agent's.
async fn rule_for(cx: &Cx, edge: AgentId, said: &Selectors) -> Result<ProcessRuleFacts, Error> {
    let rules = cx.world.store.process_rules(cx.tenant.id, edge, cx.now).await?;
    let mut matching = rules.into_iter().filter(|rule| rule.rule.claims.match_process(said));
    let rule = matching.next().ok_or_else(|| no_agent("no rule matches what the node says"))?;
    if matching.any(|other| other.agent != rule.agent) {
        return Err(no_agent("rules of several agents match what the node says").into());
    }
    Ok(rule)
}

fn no_agent(why: &str) -> Refusal {
    Refusal::new(
        Rule::WorkloadAgent,
        format!("which agent the process is cannot be told: {why}"),
        "an administrator sees the rules: `accredit attest rule list`; an interpreter is known by \
         `systemd_unit`, `container_id`, `pod_uid` or `cgroup` alone",
    )
}

async fn found_or_made(
    cx: &Cx,
    told: &Told<'_>,
    r#use: &UseName,
) -> Result<KeyedInstance, DecideError> {
    let (store, org) = (&cx.world.store, cx.tenant.id);
    let found = store.process(org, (told.node, told.rule.agent), told.name).await?;
    match &found {
        Some(born) if born.state == InstanceState::Revoked => {
            return Err(Refusal::new(
                Rule::InstanceNotActive,
                format!("instance `{}`, which this process is, was revoked", born.instance),
                "it does not come back: start the program again, as another process",
            )
            .into());
        }
        Some(born) if stands(cx, born, told).await? => {
            let instance = instance::find_live(cx, &born.instance.to_string()).await?;
            let ends = instance.expires_at.unwrap_or(told.ends);
            let key = rekey(cx, &instance, (r#use, &told.jwk), ends).await?;
            return Ok(KeyedInstance::new(cx, &instance, &told.agent_name, &key));
        }
        _ => {}
    }
    let room = Room {
        of: RoomOf::BirthsBy(told.rule.credential),
        at: cx.now.minus(BIRTHS_WITHIN),
        max: told.rule.rule.births_per_hour.into(),
    };
    if store.held_of(org, room).await? >= room.max {
        return Err(too_many(room.max).into());
    }
    bring(cx, told, r#use, (room, found)).await
}

/// Whether an instance is not over, nor the rule by which it was brought into being: under another rule
/// the process is another instance.
async fn stands(cx: &Cx, born: &Born, told: &Told<'_>) -> Result<bool, Error> {
    if born.expires_at.is_some_and(|end| end <= cx.now) {
        return Ok(false);
    }
    if born.rule == told.rule.credential {
        return Ok(true);
    }
    let rule = cx.world.store.credential(cx.tenant.id, born.rule).await?;
    Ok(rule.is_some_and(|rule| rule.state == CredentialState::Active && rule.expires_at > cx.now))
}

async fn bring(
    cx: &Cx,
    told: &Told<'_>,
    r#use: &UseName,
    (room, before): (Room, Option<Born>),
) -> Result<KeyedInstance, DecideError> {
    let (millis, random) = cx.seed();
    let id = InstanceId::new(millis, random);
    let agent = told.rule.agent;
    let holder = (Holder::Instance(id, agent), r#use.clone());
    let key = new_key(cx, holder, told.jwk.clone(), told.ends);
    let made = Instance {
        id,
        agent,
        name: ResourceName::new(told.name).ok().map(|name| name.to_string()),
        state: InstanceState::Active,
        credential: told.rule.credential,
        born: None,
        vouched_by: Some(told.node.any()),
        created_at: cx.now,
        expires_at: Some(told.ends),
        last_seen_at: None,
        version: 0,
    };
    let mut body = Body {
        agent: Some(agent),
        credential: Some(told.rule.credential),
        expires_at: Some(told.ends.micros()),
        instance: Some(id),
        name: made.name.clone(),
        ..Body::default()
    };
    body.changes = changes::made(&made.view(cx.now), &body)?;
    body.changes.insert("process".into(), told.name.to_owned());
    body.changes.insert("selectors".into(), told.said.to_json());
    body.changes.insert("key_credential".into(), key.id.to_string());
    body.changes.insert("thumbprint".into(), told.jwk.thumbprint());
    let workload = Workload {
        by: Voucher::Node(told.node),
        agent,
        name: told.name.to_owned(),
        instance: id,
        credential: told.rule.credential,
        born_at: cx.now,
        before: before.map(|born| born.instance),
    };
    let event = cx.event(EventKind::InstanceCreated, body);
    let answer = KeyedInstance::new(cx, &made, &told.agent_name, &key);
    let rows = vec![
        Row::Room(room),
        Row::Instance(made),
        Row::Credential(key),
        Row::Workload(Box::new(workload)),
    ];
    commit(cx, rows, None, event).await?;
    Ok(answer)
}
