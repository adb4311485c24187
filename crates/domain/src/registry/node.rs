//! A node: an instance on a machine, which may vouch for processes there where a rule names its agent.
//!
//! It is known by a key that it made itself. An administrator invites it with a join token
//! (`acr_join_…`), which is good once and for minutes: whoever shows it first is the node, and a second
//! one is refused and recorded, so that a stolen one is noticed. Or it proves as whom it comes by what
//! instances prove themselves with anyway: a platform's token, a key, a certificate.
//!
//! Absent on purpose: a list of nodes of its own. They are listed, watched and revoked as instances are.

use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::authority::ResourceName;
use accredit_wire::ids::{AgentId, CredentialId, InstanceId};
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::oauth::instance_request::JoinRequest;
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::credential::{
    CREDENTIAL_LIFETIME_DEFAULT_SECONDS, CREDENTIAL_LIFETIME_MAX_SECONDS, Credential,
    CredentialState, Holder, Proof, by_id, described, made, new_key, public_key_of,
};
use super::credential_use::UseName;
use super::instance::{self, Instance, InstanceState};
use super::keyed::{KeyedInstance, rekey};
use super::{DecideError, commit, decide, ending, ends_after, find_agent};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::issuance::admission::{HolderFacts, ProofFacts};
use crate::issuance::authenticate::{AuthenticatedClient, used};
use crate::issuance::grants::actor::acting;
use crate::issuance::svid::not_by_own;
use crate::issuance::vouched;
use crate::ports::Row;
use crate::refusal::{Error, Fault, Refusal, Rule};

/// The type of a join token among credentials, and how a client is said to prove itself by one.
pub const JOIN_TOKEN: &str = "join-token";
/// The life of a join token where nobody said, seconds: long enough to copy it to a machine.
pub const JOIN_TOKEN_LIFETIME_DEFAULT_SECONDS: u64 = 10 * 60;
/// The longest life of a join token, seconds: a machine that is set up overnight.
pub const JOIN_TOKEN_LIFETIME_MAX_SECONDS: u64 = 24 * 3600;
/// Why a join token ended.
const USED: &str = "a node joined with it";

/// What a node's key is used for.
pub(crate) fn node_use() -> Result<UseName, Fault> {
    UseName::parse("node").ok_or_else(|| Fault::new("use", "it is no name"))
}

/// What a new node is to be.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNode {
    /// What people call it.
    pub name: Option<String>,
    /// Its life from when it joins, seconds: 30 days where not said.
    pub expires_in: Option<u64>,
}

/// What whoever shows a join token will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeToBe {
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its life from when it joins, seconds.
    pub expires_in: u64,
}

/// A new join token, and the credential that keeps its MAC.
pub(super) fn new_token(
    cx: &Cx,
    (agent, r#use): (AgentId, UseName),
    node: Option<&CreateNode>,
    expires_at: Time,
) -> Result<(Credential, Secret), Error> {
    let name = node.and_then(|node| node.name.as_deref()).map(|name| {
        ResourceName::new(name)
            .map_err(|error| Refusal::field("node.name", error, "use lower-case letters"))
    });
    let (asked, default) =
        (node.and_then(|node| node.expires_in), CREDENTIAL_LIFETIME_DEFAULT_SECONDS);
    ends_after("node.expires_in", cx.now, asked, default, CREDENTIAL_LIFETIME_MAX_SECONDS)?;
    let node = NodeToBe {
        name: name.transpose()?.map(|name| name.to_string()),
        expires_in: asked.unwrap_or(default),
    };
    let (millis, random) = cx.seed();
    let id = CredentialId::new(millis, random);
    let token = ApiKey::new(SecretKind::Join, id, cx.world.random());
    let vault = &cx.world.vault;
    let pepper = vault.pepper_version();
    let mac = vault.mac(pepper, token.expose().as_bytes());
    let mac = mac.ok_or_else(|| Fault::new("key vault", "the current pepper is missing"))?;
    let proof = Proof::Join { pepper, mac, node: Box::new(node) };
    let credential = made(id, (Holder::Agent(agent), r#use), proof, (cx.now, expires_at));
    Ok((credential, token))
}

/// Gives whoever has proved who they are, or shown a join token, a key of their own.
pub async fn join(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &JoinRequest,
) -> Result<KeyedInstance, Error> {
    not_by_own(client)?;
    let (agent, _) = acting(cx, client).await?;
    let jwk = public_key_of(&asked.jwk)?;
    if matches!(client.credential.proof, ProofFacts::Join { .. }) {
        return by_token(cx, (client.credential.id, agent.id), &jwk).await;
    }
    let id = may_be_node(cx, client).await?;
    let ends = ends_after("node", cx.now, None, CREDENTIAL_LIFETIME_DEFAULT_SECONDS, u64::MAX)?;
    let ends = ends.min(client.credential.ends_at());
    let platform = client.attested.as_ref().map(|attested| attested.federation.any());
    let r#use = node_use()?;
    decide(|| async {
        let mut instance = instance::find_live(cx, &id.to_string()).await?;
        // One that came into being before platforms were noted there.
        instance.vouched_by = instance.vouched_by.or(platform);
        let ends = ends.min(instance.expires_at.unwrap_or(ends));
        let key = rekey(cx, &instance, (&r#use, &jwk), ends).await?;
        Ok(KeyedInstance::new(cx, &instance, &agent.name, &key))
    })
    .await
}

/// The instance that a client is, where it may be a node: none that another one stands before, by birth or
/// by its word, since nobody would see how deep that goes.
pub(crate) async fn may_be_node(
    cx: &Cx,
    client: &AuthenticatedClient,
) -> Result<InstanceId, Error> {
    let wrong = |why: &str, hint: &str| Err(Refusal::new(Rule::NodeNot, why, hint).into());
    let HolderFacts::Instance { id, descent, vouched, .. } = &client.credential.holder else {
        let hint = "join with a token: `accredit edge invite`; or with what proves one instance";
        return wrong("a node is an instance, and this credential is the agent's own", hint);
    };
    if descent.is_some() {
        return wrong(
            "the client was brought into being for a task, and ends with that",
            "let an instance be a node that nobody stands before",
        );
    }
    if let Some(vouched) = vouched {
        if vouched.node.is_some() {
            return wrong(
                "the client is a process for which a node vouched",
                "let the node itself vouch for what runs beside it",
            );
        }
        vouched::lineage(cx, vouched).await?;
    }
    Ok(*id)
}

/// Makes a node, uses up its token and says so, in one transaction.
async fn by_token(
    cx: &Cx,
    (token, agent): (CredentialId, AgentId),
    jwk: &Jwk,
) -> Result<KeyedInstance, Error> {
    let r#use = node_use()?;
    decide(|| async {
        let mut token = by_id(cx, &token.to_string()).await?;
        let Proof::Join { node, .. } = &token.proof else {
            return Err(Fault::new("join", "it is no join token").into());
        };
        if token.state == CredentialState::Revoked || token.expires_at <= cx.now {
            return Err(used().into());
        }
        let (life, max) = (Some(node.expires_in), CREDENTIAL_LIFETIME_MAX_SECONDS);
        let ends = ends_after("node.expires_in", cx.now, life, node.expires_in, max)?;
        let name = node.name.clone();
        let (millis, random) = cx.seed();
        let id = InstanceId::new(millis, random);
        let key = new_key(cx, (Holder::Instance(id, agent), r#use.clone()), jwk.clone(), ends);
        let instance = Instance {
            id,
            agent,
            name,
            state: InstanceState::Active,
            credential: key.id,
            born: None,
            vouched_by: None,
            created_at: cx.now,
            expires_at: Some(ends),
            last_seen_at: None,
            version: 0,
        };
        token.state = CredentialState::Revoked;
        token.successor = Some(key.id);
        write(cx, &instance, &key, token).await?;
        let agent = find_agent(cx, &agent.to_string()).await?;
        Ok(KeyedInstance::new(cx, &instance, &agent.name, &key))
    })
    .await
}

/// The token's end is the change's own event: with its entry nobody has to ask a restored store whether
/// it was used.
async fn write(
    cx: &Cx,
    instance: &Instance,
    key: &Credential,
    token: Credential,
) -> Result<(), DecideError> {
    let mut body = Body {
        agent: Some(instance.agent),
        credential: Some(key.id),
        expires_at: instance.expires_at.map(Time::micros),
        instance: Some(instance.id),
        method: Some(JOIN_TOKEN),
        name: instance.name.clone(),
        ..Body::default()
    };
    body.changes = changes::made(&instance.view(cx.now), &body)?;
    body.changes.insert("join_token".into(), token.id.to_string());
    if let Proof::Key(jwk) = &key.proof {
        body.changes.insert("thumbprint".into(), jwk.thumbprint());
    }
    let created = cx.event(EventKind::InstanceCreated, body);
    let target = token.id.any();
    let body = Body { reason: Some(USED.to_owned()), target: Some(target), ..described(&token) };
    let event = cx.event(EventKind::CredentialRevoked, body);
    let rows = vec![
        Row::Instance(instance.clone()),
        Row::Credential(token),
        Row::Credential(key.clone()),
        Row::Event(Box::new(created)),
    ];
    commit(cx, rows, Some(ending(cx, target, USED)), event).await?;
    Ok(())
}
