//! Instance: one running copy of an agent, the smallest thing that can be revoked.

use accredit_wire::authority::ResourceName;
use accredit_wire::ids::{AgentId, AnyId, CredentialId, InstanceId, Kind, TaskId};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::agent::{AgentState, alive};
use super::born::{self, Born};
use super::credential::{
    AdminPermission, CREDENTIAL_LIFETIME_DEFAULT_SECONDS, CREDENTIAL_LIFETIME_MAX_SECONDS, Holder,
    expose_some, new_secret,
};
use super::credential_use::UseName;
use super::{
    EXPIRING_STATES, Listed, commit, commit_created, decide, ending, ends_after, find_agent, id,
    known_state, text,
};
use crate::audit::changes;
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::ports::{Page, Room, Row};
use crate::refusal::{Error, Refusal, Rule};

/// Whether it may act. Expiry is a time, not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Until it expires.
    Active,
    /// Never again.
    Revoked,
}

impl InstanceState {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Revoked].into_iter().find(|state| state.as_str() == text)
    }
}

/// One running copy of an agent.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its id, `ins_`.
    pub id: InstanceId,
    /// Of which agent.
    pub agent: AgentId,
    /// What people call it.
    pub name: Option<String>,
    /// Whether it was revoked.
    pub state: InstanceState,
    /// The credential it was born with.
    pub credential: CredentialId,
    /// Who brought it into being, for which task and with what.
    pub born: Option<Box<Born>>,
    /// By whose word it is who it is: a platform, or a node, which is an instance.
    pub vouched_by: Option<AnyId>,
    /// When it was registered.
    pub created_at: Time,
    /// When it ends by itself, if at all before its agent does.
    pub expires_at: Option<Time>,
    /// When it last got a token, to the minute.
    pub last_seen_at: Option<Time>,
    /// The row's version.
    pub version: i64,
}

/// An instance as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct InstanceView {
    /// Its id, `ins_`.
    #[schema(value_type = String)]
    pub id: InstanceId,
    /// Of which agent.
    #[schema(value_type = String)]
    pub agent: AgentId,
    /// What it calls itself at the token endpoint: its agent.
    #[schema(value_type = String)]
    pub client_id: AgentId,
    /// Its secret: only in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    #[schema(value_type = Option<String>)]
    pub client_secret: Option<Secret>,
    /// What people call it.
    pub name: Option<String>,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
    /// The credential it was born with.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// Who stands before it: an instance or an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub parent: Option<AnyId>,
    /// By whose word it is who it is: a federation, or an instance that is a node. It ends with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub vouched_by: Option<AnyId>,
    /// The task that it was born into, with which it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub task: Option<TaskId>,
    /// What was passed on to it, each permission as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// When it was registered.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// When it ends by itself.
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Time>,
    /// When it last got a token, to the minute.
    #[schema(value_type = Option<String>)]
    pub last_seen_at: Option<Time>,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

impl Instance {
    /// As it is shown at `now`.
    pub fn view(&self, now: Time) -> InstanceView {
        InstanceView {
            id: self.id,
            agent: self.agent,
            client_id: self.agent,
            client_secret: None,
            name: self.name.clone(),
            state: match self.state {
                InstanceState::Revoked => "revoked",
                InstanceState::Active if self.expires_at.is_some_and(|end| end <= now) => "expired",
                InstanceState::Active => "active",
            },
            credential: self.credential,
            parent: self.born.as_ref().map(|born| born.parent),
            vouched_by: self.vouched_by,
            task: self.born.as_ref().map(|born| born.task),
            allow: self.born.as_ref().map(|born| born.authority.texts().collect()),
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_seen_at: self.last_seen_at,
            version: self.version,
        }
    }
}

/// A new instance.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInstance {
    /// Of which agent, by id or name.
    pub agent: String,
    /// What people call it.
    pub name: Option<String>,
    /// Its life, seconds; where not said it lives as long as its credential, 30 days.
    pub expires_in: Option<u64>,
    /// Who stands before it: an instance, or an agent by id or name. It has no more than is passed on to
    /// it, and ends with its parent and its task.
    pub parent: Option<String>,
    /// The task of the parent's that it works in; where the parent was born into one, that one.
    pub task: Option<String>,
    /// What is passed on to it, as `resource:action` with limits, where it has a parent.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// What of a new instance does not depend on what there is.
pub(super) struct NewInstance<'a> {
    /// What people call it.
    pub(super) name: Option<&'a str>,
    /// Its life, seconds.
    pub(super) expires_in: Option<u64>,
    /// When it ends at the latest.
    pub(super) ends: Option<Time>,
}

/// Registers an instance with a credential of its own. The secret is in the answer, this once.
pub async fn create(cx: &Cx, asked: &CreateInstance) -> Result<InstanceView, Error> {
    cx.require(AdminPermission::Registry)?;
    if let Some(parent) = &asked.parent {
        return born::with_parent(cx, parent, asked).await;
    }
    if asked.task.is_some() || !asked.allow.is_empty() {
        return Err(Refusal::field(
            "parent",
            "only an instance with a parent has a task and what was passed on",
            "name the parent, or leave both out: it holds what its agent holds",
        )
        .into());
    }
    let new = NewInstance { name: asked.name.as_deref(), expires_in: asked.expires_in, ends: None };
    make(cx, &asked.agent, new, None).await
}

/// Makes an instance, where whoever asks may have it.
pub(super) async fn make(
    cx: &Cx,
    agent: &str,
    new: NewInstance<'_>,
    born: Option<(Born, Room)>,
) -> Result<InstanceView, Error> {
    let asked_ends = ends_after(
        "expires_in",
        cx.now,
        new.expires_in,
        CREDENTIAL_LIFETIME_DEFAULT_SECONDS,
        CREDENTIAL_LIFETIME_MAX_SECONDS,
    )?;
    let ends = new.ends.map_or(asked_ends, |ends| ends.min(asked_ends));
    let ends_itself = new.expires_in.is_some() || new.ends.is_some();
    let name = match new.name {
        Some(name) => Some(
            ResourceName::new(name)
                .map_err(|error| Refusal::field("name", error, "use lower-case letters"))?
                .to_string(),
        ),
        None => None,
    };
    decide(|| async {
        if let Some((_, room)) = &born
            && cx.world.store.held_of(cx.tenant.id, *room).await? >= room.max
        {
            return Err(born::full().into());
        }
        let agent = alive(cx, agent).await?;
        if agent.state == AgentState::Draft {
            return Err(Refusal::new(
                Rule::StateForbids,
                format!("agent `{}` is a draft", agent.name),
                format!("activate it first: `accredit agent activate {}`", agent.name),
            )
            .into());
        }
        let (millis, random) = cx.seed();
        let instance = InstanceId::new(millis, random);
        let holder = (Holder::Instance(instance, agent.id), UseName::DEFAULT);
        let (credential, secret) = new_secret(&cx.world, cx.now, holder, ends)?;
        let instance = Instance {
            id: instance,
            agent: agent.id,
            name: name.clone(),
            state: InstanceState::Active,
            credential: credential.id,
            born: born.as_ref().map(|(born, _)| Box::new(born.clone())),
            vouched_by: None,
            created_at: cx.now,
            expires_at: ends_itself.then_some(ends),
            last_seen_at: None,
            version: 0,
        };
        let mut body = Body {
            agent: Some(agent.id),
            instance: Some(instance.id),
            credential: Some(credential.id),
            expires_at: Some(ends.micros()),
            name: name.clone(),
            permissions: born.as_ref().map(|(born, _)| born.authority.texts().collect()),
            task: born.as_ref().map(|(born, _)| born.task),
            ..Body::default()
        };
        let mut view = instance.view(cx.now);
        body.changes = changes::made(&view, &body)?;
        let event = cx.event(EventKind::InstanceCreated, body);
        let room = born.as_ref().map(|(_, room)| Row::Room(*room));
        let rows = [Row::Instance(instance.clone()), Row::Credential(credential)];
        let rows = room.into_iter().chain(rows).collect();
        view.version = 1;
        commit_created(cx, rows, event, &view).await?;
        view.client_secret = Some(secret);
        Ok(view)
    })
    .await
}

/// Instances of the organization or of one agent.
pub async fn list(
    cx: &Cx,
    mut page: Page,
    agent: Option<&str>,
) -> Result<Listed<InstanceView>, Error> {
    cx.require(AdminPermission::Read)?;
    if let Some(agent) = agent {
        page.agent = Some(find_agent(cx, agent).await?.id);
    }
    known_state(&page, &EXPIRING_STATES)?;
    page.at = cx.now;
    let found = cx.world.store.instances(cx.tenant.id, page).await?;
    Ok(found.shown(|row| row.view(cx.now)))
}

/// One instance.
pub async fn find(cx: &Cx, key: &str) -> Result<InstanceView, Error> {
    cx.require(AdminPermission::Read)?;
    Ok(by_id(cx, key).await?.view(cx.now))
}

pub(super) async fn by_id(cx: &Cx, key: &str) -> Result<Instance, Error> {
    let instance = id::<InstanceId>(Kind::Instance, "instance", key)?;
    let found = cx.world.store.instance(cx.tenant.id, instance).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("instance", key))?)
}

/// An instance that can still be given a credential.
pub(crate) async fn find_live(cx: &Cx, key: &str) -> Result<Instance, Error> {
    let instance = by_id(cx, key).await?;
    if instance.view(cx.now).state != "active" {
        return Err(Refusal::new(
            Rule::StateForbids,
            "the instance is over",
            "register a new one: `accredit instance create`",
        )
        .into());
    }
    Ok(instance)
}

/// Ends an instance for ever, with its credentials and every token it got. Its siblings go on.
pub(crate) async fn revoke(cx: &Cx, instance: InstanceId, reason: &str) -> Result<u64, Error> {
    let reason = text("reason", reason)?;
    decide(|| async {
        let mut instance = by_id(cx, &instance.to_string()).await?;
        cx.terms.expected.check(instance.version)?;
        if instance.state == InstanceState::Revoked {
            return Err(super::already("instance", "revoked").into());
        }
        instance.state = InstanceState::Revoked;
        let body = Body {
            agent: Some(instance.agent),
            instance: Some(instance.id),
            target: Some(instance.id.any()),
            reason: Some(reason.clone()),
            ..Body::default()
        };
        let event = cx.event(EventKind::InstanceRevoked, body);
        let entry = Some(ending(cx, instance.id.any(), &reason));
        let rows = vec![Row::Instance(instance.clone()), Row::EndInstance(instance.id)];
        let done = commit(cx, rows, entry, event).await?;
        Ok(done.rev)
    })
    .await
}
