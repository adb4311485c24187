//! Credential: what an agent, an instance, a resource or an administrator proves itself with.
//!
//! Every credential expires. A secret is shown once and kept as a MAC; of a public key the public
//! half is kept, and its thumbprint for ever, so that no two holders ever share one. A rule on the tokens
//! of a platform, or on what nodes say, is a credential without anything to keep secret; a join token is
//! one that is used up by whoever becomes a node with it.

use std::net::IpAddr;

use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::ids::{AgentId, AnyId, CredentialId, InstanceId, Kind, ResourceId};
use accredit_wire::jose::jwk::Jwk;
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use super::admin_key::{self, Act, Administrator};
use super::agent::alive;
use super::credential_use::{self, UseName};
use super::instance::find_live;
use super::node::{
    self, CreateNode, JOIN_TOKEN, JOIN_TOKEN_LIFETIME_DEFAULT_SECONDS,
    JOIN_TOKEN_LIFETIME_MAX_SECONDS, NodeToBe,
};
use super::{
    DecideError, EXPIRING_STATES, Listed, commit, commit_created, decide, ending, ends_after,
    find_agent, find_resource, id, known_state, text,
};
use crate::attestation::rule::{self, Checked, RULE_LIFETIME_DEFAULT_SECONDS, RULES_MAX};
use crate::attestation::{CreateWorkloadRule, ProcessRule, WorkloadRule, process_rule};
use crate::audit::event::{Body, EventKind};
use crate::context::{Cx, World};
use crate::ports::{CommitError, Page, Room, RoomOf, Row};
use crate::refusal::{Error, Fault, Refusal};

/// The life of a credential where nobody said, seconds: 30 days.
pub const CREDENTIAL_LIFETIME_DEFAULT_SECONDS: u64 = 30 * 24 * 3600;
/// The longest life of a credential, seconds: a year.
pub const CREDENTIAL_LIFETIME_MAX_SECONDS: u64 = 366 * 24 * 3600;
/// The type of a rule on a platform's tokens.
const WORKLOAD: &str = "workload";
/// Bytes of a public key's own `kid`.
pub const KID_BYTES_MAX: usize = 128;

/// What an administrator's key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminPermission {
    /// Read the registry.
    Read,
    /// Change the registry.
    Registry,
    /// Stop and revoke.
    Revoke,
    /// Read and export the log.
    Audit,
    /// Make, replace and end administrators' keys.
    Administrators,
    /// Create organizations, and see that they exist.
    Organizations,
}

impl AdminPermission {
    /// All of them: what the bootstrap key holds.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Registry,
        Self::Revoke,
        Self::Audit,
        Self::Administrators,
        Self::Organizations,
    ];

    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Registry => "registry",
            Self::Revoke => "revoke",
            Self::Audit => "audit",
            Self::Administrators => "administrators",
            Self::Organizations => "organizations",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|permission| permission.as_str() == text)
    }
}

/// Whose a credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// An agent, whichever of its copies.
    Agent(AgentId),
    /// One instance of an agent.
    Instance(InstanceId, AgentId),
    /// A resource server.
    Resource(ResourceId),
    /// An administrator.
    Admin(Administrator),
}

/// How it proves.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A machine secret, kept as HMAC-SHA-256 under a pepper.
    Secret {
        /// Which pepper.
        pepper: u32,
        /// The MAC.
        mac: [u8; 32],
    },
    /// A public key.
    Key(Box<Jwk>),
    /// A rule on the tokens of a platform where workloads run.
    Workload(Box<WorkloadRule>),
    /// A rule on the processes that nodes vouch for.
    Process(Box<ProcessRule>),
    /// A machine secret that is used up by becoming a node.
    Join {
        /// Under which pepper.
        pepper: u32,
        /// The MAC.
        mac: [u8; 32],
        /// What the node will be.
        node: Box<NodeToBe>,
    },
}

impl Proof {
    /// Whether it is a secret or a key of its holder, which gets old: neither a rule nor a join token is.
    pub const fn is_kept_by_holder(&self) -> bool {
        match self {
            Self::Secret { .. } | Self::Key(_) => true,
            Self::Workload(_) | Self::Process(_) | Self::Join { .. } => false,
        }
    }
}

/// Whether it still proves anything. Expiry is a time, not a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialState {
    /// Until it expires.
    Active,
    /// Never again.
    Revoked,
}

impl CredentialState {
    /// As stored and shown.
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

/// What somebody proves itself with.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Its id, `crd_`.
    pub id: CredentialId,
    /// Whose it is.
    pub holder: Holder,
    /// What its holder uses it for. Of one holder's secrets at most one for each use is live and
    /// has no successor.
    pub r#use: UseName,
    /// How it proves.
    pub proof: Proof,
    /// Whether it came from the URL at which its agent's keys are followed.
    pub followed: bool,
    /// Whether it was revoked.
    pub state: CredentialState,
    /// When it was created.
    pub created_at: Time,
    /// When it ends by itself.
    pub expires_at: Time,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Time>,
    /// From which address that was.
    pub last_used_from: Option<IpAddr>,
    /// What took its place, where it was rotated; it ends soon itself.
    pub successor: Option<CredentialId>,
    /// The row's version.
    pub version: i64,
}

/// A credential as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CredentialView {
    /// Its id, `crd_`.
    pub id: String,
    /// `client-secret`, `public-key`, `workload`, `join-token` or `admin-key`.
    pub r#type: &'static str,
    /// The agent it belongs to, also where one instance holds it.
    pub agent: Option<String>,
    /// The instance that holds it.
    pub instance: Option<String>,
    /// The resource that holds it.
    pub resource: Option<String>,
    /// What its holder uses it for; absent for an administrator's key, which has a purpose.
    pub r#use: Option<String>,
    /// What its holder calls itself at the token endpoint.
    pub client_id: Option<String>,
    /// The secret: only in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    #[schema(value_type = Option<String>)]
    pub client_secret: Option<Secret>,
    /// The join token: only in the answer to its creation.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    #[schema(value_type = Option<String>)]
    pub join_token: Option<Secret>,
    /// `active`, `expired` or `revoked`; a join token that was used is `revoked`, and `successor` is the
    /// key of its node.
    pub state: &'static str,
    /// A public key's id.
    pub kid: Option<String>,
    /// A public key's RFC 7638 thumbprint.
    pub thumbprint: Option<String>,
    /// What a rule compares that is on the tokens of a platform or, with `edge`, on what nodes say; with
    /// type `workload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub workload: Option<RuleView>,
    /// What whoever shows it will be, with type `join-token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Box<NodeToBe>>,
    /// Whether it came from the URL at which its agent's keys are followed.
    pub followed: bool,
    /// When it was created.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// When it ends by itself.
    #[schema(value_type = String)]
    pub expires_at: Time,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>)]
    pub last_used_at: Option<Time>,
    /// From which address that was.
    #[schema(value_type = Option<String>)]
    pub last_used_from: Option<IpAddr>,
    /// What took its place, where it was rotated.
    pub successor: Option<String>,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

/// A rule as it is shown and stored: each kind refuses what the other has.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RuleView {
    /// On the tokens of a platform.
    Platform(Box<WorkloadRule>),
    /// On what nodes say.
    Process(Box<ProcessRule>),
}

/// The one place where a secret is written out: the answer to its creation.
pub(crate) fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    secret.expose().serialize(serializer)
}

/// The same where an answer may have no secret.
#[expect(clippy::ref_option, reason = "serde's `serialize_with` passes a reference to the member")]
pub(super) fn expose_some<S: Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

impl Credential {
    /// `client-secret`, `public-key`, `workload`, `join-token` or `admin-key`.
    pub const fn kind(&self) -> &'static str {
        match (&self.proof, &self.holder) {
            (Proof::Key(_), _) => "public-key",
            (Proof::Workload(_) | Proof::Process(_), _) => "workload",
            (Proof::Join { .. }, _) => JOIN_TOKEN,
            (Proof::Secret { .. }, Holder::Admin(_)) => "admin-key",
            (Proof::Secret { .. }, _) => "client-secret",
        }
    }

    /// As it is shown at `now`.
    pub fn view(&self, now: Time) -> CredentialView {
        let (agent, instance, resource) = match &self.holder {
            Holder::Agent(agent) => (Some(*agent), None, None),
            Holder::Instance(instance, agent) => (Some(*agent), Some(*instance), None),
            Holder::Resource(resource) => (None, None, Some(*resource)),
            Holder::Admin(_) => (None, None, None),
        };
        let (kid, thumbprint) = match &self.proof {
            Proof::Key(jwk) => (jwk.kid().map(str::to_owned), Some(jwk.thumbprint())),
            Proof::Secret { .. } | Proof::Workload(_) | Proof::Process(_) | Proof::Join { .. } => {
                (None, None)
            }
        };
        let (workload, node) = match &self.proof {
            Proof::Workload(rule) => (Some(RuleView::Platform(rule.clone())), None),
            Proof::Process(rule) => (Some(RuleView::Process(rule.clone())), None),
            Proof::Join { node, .. } => (None, Some(node.clone())),
            Proof::Secret { .. } | Proof::Key(_) => (None, None),
        };
        CredentialView {
            id: self.id.to_string(),
            r#type: self.kind(),
            agent: agent.map(|id| id.to_string()),
            instance: instance.map(|id| id.to_string()),
            resource: resource.map(|id| id.to_string()),
            r#use: match self.holder {
                Holder::Admin(_) => None,
                _ => Some(self.r#use.to_string()),
            },
            client_id: agent.map(|id| id.to_string()).or_else(|| resource.map(|id| id.to_string())),
            client_secret: None,
            join_token: None,
            state: match self.state {
                CredentialState::Revoked => "revoked",
                CredentialState::Active if self.expires_at <= now => "expired",
                CredentialState::Active => "active",
            },
            kid,
            thumbprint,
            workload,
            node,
            followed: self.followed,
            created_at: self.created_at,
            expires_at: self.expires_at,
            last_used_at: self.last_used_at,
            last_used_from: self.last_used_from,
            successor: self.successor.map(|id| id.to_string()),
            version: self.version,
        }
    }
}

/// A new credential.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateCredential {
    /// For an agent, by id or name.
    pub agent: Option<String>,
    /// For an instance, by id.
    pub instance: Option<String>,
    /// For a resource, by id or name.
    pub resource: Option<String>,
    /// `client-secret`, also called `api-key`, `public-key`, `workload` or `join-token`.
    pub r#type: String,
    /// What it is for, such as `ci`. A secret for a use that has a live one is refused. Where not
    /// said, it is `default`, or for a further secret the first free of `default-2`, `default-3` …
    pub r#use: Option<String>,
    /// The public key, with type `public-key`.
    #[schema(value_type = Option<Object>)]
    pub jwk: Option<Box<RawValue>>,
    /// Which tokens of a platform, or which processes of nodes, are the agent's, with type `workload`.
    pub workload: Option<CreateWorkloadRule>,
    /// What the node is to be, with type `join-token`.
    pub node: Option<CreateNode>,
    /// Its life, seconds: 30 days where not said, of a `workload` a year, of a `join-token` ten minutes
    /// and at most a day.
    pub expires_in: Option<u64>,
}

/// A credential as it begins.
pub(super) fn made(
    id: CredentialId,
    (holder, r#use): (Holder, UseName),
    proof: Proof,
    (created_at, expires_at): (Time, Time),
) -> Credential {
    Credential {
        id,
        holder,
        r#use,
        proof,
        followed: false,
        state: CredentialState::Active,
        created_at,
        expires_at,
        last_used_at: None,
        last_used_from: None,
        successor: None,
        version: 0,
    }
}

/// A new secret for `holder` and the credential that keeps its MAC.
pub fn new_secret(
    world: &World,
    now: Time,
    (holder, r#use): (Holder, UseName),
    expires_at: Time,
) -> Result<(Credential, Secret), Fault> {
    let id = CredentialId::new(now.millis(), world.random());
    let kind = match holder {
        Holder::Agent(_) => SecretKind::Agent,
        Holder::Instance(..) => SecretKind::Instance,
        Holder::Resource(_) => SecretKind::Resource,
        Holder::Admin(_) => SecretKind::Admin,
    };
    let secret = ApiKey::new(kind, id, world.random());
    let pepper = world.vault.pepper_version();
    let mac = world
        .vault
        .mac(pepper, secret.expose().as_bytes())
        .ok_or_else(|| Fault::new("key vault", "the current pepper is missing"))?;
    let proof = Proof::Secret { pepper, mac };
    Ok((made(id, (holder, r#use), proof, (now, expires_at)), secret))
}

/// What a public key is to be.
const JWK_HINT: &str =
    "send a public JWK: EC P-256 (ES256) or OKP Ed25519 (EdDSA), without private members";

/// The public key that a request brings.
pub(super) fn public_key(raw: Option<&RawValue>) -> Result<Jwk, Refusal> {
    let raw = raw.ok_or_else(|| Refusal::field("jwk", "is missing", JWK_HINT))?;
    public_key_of(raw.get())
}

/// The public key that a JWK is.
pub(crate) fn public_key_of(text: &str) -> Result<Jwk, Refusal> {
    let hint = JWK_HINT;
    let mut jwk =
        Jwk::parse(text.as_bytes()).map_err(|error| Refusal::field("jwk", error, hint))?;
    match jwk.kid() {
        Some(kid) if kid.len() > KID_BYTES_MAX => {
            return Err(Refusal::field("jwk", "its `kid` is longer than 128 bytes", hint));
        }
        Some(_) => {}
        None => {
            let kid = jwk.thumbprint();
            jwk = Jwk::new(jwk.key().clone(), Some(kid))
                .map_err(|error| Refusal::field("jwk", error, hint))?;
        }
    }
    Ok(jwk)
}

/// A credential of `holder` that is a public key.
pub(crate) fn new_key(
    cx: &Cx,
    (holder, r#use): (Holder, UseName),
    jwk: Jwk,
    expires_at: Time,
) -> Credential {
    let (millis, random) = cx.seed();
    let id = CredentialId::new(millis, random);
    made(id, (holder, r#use), Proof::Key(Box::new(jwk)), (cx.now, expires_at))
}

/// A credential of an agent that is a rule.
fn new_rule(
    cx: &Cx,
    (holder, r#use): (Holder, UseName),
    rule: Checked,
    expires_at: Time,
) -> Result<Credential, Refusal> {
    if !matches!(holder, Holder::Agent(_)) {
        let hint = "name an agent: the rule brings its instances into being by itself";
        return Err(Refusal::field("workload", "is for agents", hint));
    }
    let (millis, random) = cx.seed();
    let id = CredentialId::new(millis, random);
    let proof = match rule {
        Checked::Platform(rule) => Proof::Workload(Box::new(rule)),
        Checked::Process(rule) => Proof::Process(Box::new(rule)),
    };
    Ok(made(id, (holder, r#use), proof, (cx.now, expires_at)))
}

/// Room for one more rule of its federation, or on its nodes.
async fn room_for(cx: &Cx, rule: &Checked) -> Result<Row, Error> {
    let max = RULES_MAX as u64;
    let (of, field) = match rule {
        Checked::Platform(rule) => (RoomOf::RulesOf(rule.federation), "workload.federation"),
        Checked::Process(rule) => (RoomOf::RulesOfNodes(rule.edge), "workload.edge"),
    };
    let room = Room { of, at: cx.now, max };
    if cx.world.store.held_of(cx.tenant.id, room).await? < max {
        return Ok(Row::Room(room));
    }
    let why = format!("has {RULES_MAX} live rules already");
    Err(Refusal::field(field, why, "end one that nobody needs").into())
}

/// The holder that a request names; exactly one.
async fn holder(cx: &Cx, asked: &CreateCredential) -> Result<Holder, DecideError> {
    match (&asked.agent, &asked.instance, &asked.resource) {
        (Some(agent), None, None) => Ok(Holder::Agent(alive(cx, agent).await?.id)),
        (None, Some(instance), None) => {
            let instance = find_live(cx, instance).await?;
            Ok(Holder::Instance(instance.id, instance.agent))
        }
        (None, None, Some(resource)) => Ok(Holder::Resource(find_resource(cx, resource).await?.id)),
        _ => Err(Refusal::field(
            "agent",
            "a credential has exactly one holder",
            "send one of `agent`, `instance` and `resource`",
        )
        .into()),
    }
}

/// Registers a credential. A secret is in the answer, this once.
pub async fn create(cx: &Cx, asked: &CreateCredential) -> Result<CredentialView, Error> {
    cx.require(AdminPermission::Registry)?;
    let (is_rule, is_join) = (asked.r#type == WORKLOAD, asked.r#type == JOIN_TOKEN);
    if asked.workload.is_some() != is_rule || (is_rule && asked.jwk.is_some()) {
        let hint = "send `workload` with type `workload`, and nothing else that proves";
        return Err(Refusal::field("workload", "does not go with this type", hint).into());
    }
    if asked.node.is_some() && !is_join {
        let hint = "send `node` with type `join-token`, and nothing else that proves";
        return Err(Refusal::field("node", "does not go with this type", hint).into());
    }
    let (life, max) = match asked.r#type.as_str() {
        WORKLOAD => (RULE_LIFETIME_DEFAULT_SECONDS, CREDENTIAL_LIFETIME_MAX_SECONDS),
        JOIN_TOKEN => (JOIN_TOKEN_LIFETIME_DEFAULT_SECONDS, JOIN_TOKEN_LIFETIME_MAX_SECONDS),
        _ => (CREDENTIAL_LIFETIME_DEFAULT_SECONDS, CREDENTIAL_LIFETIME_MAX_SECONDS),
    };
    let expires_at = ends_after("expires_in", cx.now, asked.expires_in, life, max)?;
    let named = asked.r#use.as_deref().map(credential_use::asked).transpose()?;
    let rule = match &asked.workload {
        Some(asked) => Some(rule::checked(cx, asked).await?),
        None => None,
    };
    decide(|| async {
        let holder = holder(cx, asked).await?;
        let mut rows = Vec::with_capacity(2);
        let mut join_token = None;
        let (credential, secret) = match asked.r#type.as_str() {
            "client-secret" | "api-key" => {
                if asked.jwk.is_some() {
                    return Err(Refusal::field(
                        "jwk",
                        "does not go with type `client-secret`",
                        "use type `public-key`",
                    )
                    .into());
                }
                let free = credential_use::free(cx, &holder, named.as_ref()).await?;
                let holder = (holder, free);
                let (credential, secret) = new_secret(&cx.world, cx.now, holder, expires_at)?;
                (credential, Some(secret))
            }
            "public-key" => {
                let jwk = public_key(asked.jwk.as_deref())?;
                let r#use = named.clone().unwrap_or(UseName::DEFAULT);
                (new_key(cx, (holder, r#use), jwk, expires_at), None)
            }
            WORKLOAD => {
                let r#use = named.clone().unwrap_or(UseName::DEFAULT);
                let rule = rule.clone().ok_or_else(|| Fault::new("rule", "it was checked"))?;
                if let (Checked::Process(rule), Holder::Agent(agent)) = (&rule, &holder) {
                    process_rule::may_vouch(cx, rule.edge, *agent).await?;
                }
                rows.push(room_for(cx, &rule).await?);
                (new_rule(cx, (holder, r#use), rule, expires_at)?, None)
            }
            JOIN_TOKEN => {
                let Holder::Agent(agent) = holder else {
                    let hint = "name an agent: whoever shows the token becomes an instance of it";
                    return Err(Refusal::field("node", "is of an agent", hint).into());
                };
                let r#use = named.clone().unwrap_or(UseName::DEFAULT);
                let node = asked.node.as_ref();
                let (credential, token) = node::new_token(cx, (agent, r#use), node, expires_at)?;
                join_token = Some(token);
                (credential, None)
            }
            _ => {
                return Err(Refusal::field(
                    "type",
                    "is not one we know",
                    "send `client-secret`, `public-key`, `workload` or `join-token`",
                )
                .into());
            }
        };
        let event = cx.event(EventKind::CredentialCreated, described(&credential));
        let mut view = credential.view(cx.now);
        view.version = 1;
        rows.push(Row::Credential(credential));
        match commit_created(cx, rows, event, &view).await {
            // Taken in between: the next look sees by which.
            Err(CommitError::Taken("use")) => return Err(CommitError::Stale.into()),
            done => done?,
        };
        view.client_secret = secret;
        view.join_token = join_token;
        Ok(view)
    })
    .await
}

/// What an event says about a credential.
pub(crate) fn described(credential: &Credential) -> Body {
    let mut body = Body {
        credential: Some(credential.id),
        expires_at: Some(credential.expires_at.micros()),
        ..Body::default()
    };
    match &credential.holder {
        Holder::Agent(agent) => body.agent = Some(*agent),
        Holder::Instance(instance, agent) => {
            body.agent = Some(*agent);
            body.instance = Some(*instance);
        }
        Holder::Resource(resource) => body.resource = Some(resource.any()),
        Holder::Admin(admin) => {
            let names: Vec<&str> = admin.permissions.iter().map(|p| p.as_str()).collect();
            body.changes.insert("permissions".into(), names.join(" "));
            body.changes.insert("purpose".into(), admin.purpose.clone());
            body.changes.insert("role".into(), admin.role.as_str().to_owned());
        }
    }
    if let Proof::Key(jwk) = &credential.proof {
        body.changes.extend(jwk.kid().map(|kid| ("kid".into(), kid.to_owned())));
        body.changes.insert("thumbprint".into(), jwk.thumbprint());
    }
    if let Proof::Workload(rule) = &credential.proof {
        body.federation = Some(rule.federation.any());
        // The members of the object as it is shown.
        body.changes.extend(serde_json::to_string(rule).ok().map(|rule| ("workload".into(), rule)));
    }
    if let Proof::Process(rule) = &credential.proof {
        body.changes.extend(serde_json::to_string(rule).ok().map(|rule| ("workload".into(), rule)));
    }
    if let Proof::Join { node, .. } = &credential.proof {
        body.changes.extend(serde_json::to_string(node).ok().map(|node| ("node".into(), node)));
    }
    body.changes.insert("state".into(), credential.state.as_str().to_owned());
    body.changes.insert("type".into(), credential.kind().to_owned());
    if !matches!(credential.holder, Holder::Admin(_)) {
        body.changes.insert("followed".into(), credential.followed.to_string());
        body.changes.insert("use".into(), credential.r#use.to_string());
    }
    body
}

/// Credentials of the organization, of one agent or of one resource.
pub async fn list(
    cx: &Cx,
    mut page: Page,
    agent: Option<&str>,
    resource: Option<&str>,
) -> Result<Listed<CredentialView>, Error> {
    cx.require(AdminPermission::Read)?;
    if let Some(agent) = agent {
        page.agent = Some(find_agent(cx, agent).await?.id);
    }
    if let Some(resource) = resource {
        page.resource = Some(find_resource(cx, resource).await?.id);
    }
    known_state(&page, &EXPIRING_STATES)?;
    page.at = cx.now;
    let found = cx.world.store.credentials(cx.tenant.id, page).await?;
    Ok(found.shown(|row| row.view(cx.now)))
}

/// One credential.
pub async fn find(cx: &Cx, key: &str) -> Result<CredentialView, Error> {
    cx.require(AdminPermission::Read)?;
    Ok(by_id(cx, key).await?.view(cx.now))
}

/// A credential of the organization, whatever its state.
pub(super) async fn by_id(cx: &Cx, key: &str) -> Result<Credential, Error> {
    let credential = id::<CredentialId>(Kind::Credential, "credential", key)?;
    let found = cx.world.store.credential(cx.tenant.id, credential).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("credential", key))?)
}

/// Ends a credential for ever, with every token that was got with it.
pub(crate) async fn revoke(cx: &Cx, credential: CredentialId, reason: &str) -> Result<u64, Error> {
    let reason = text("reason", reason)?;
    decide(|| async {
        let mut credential = by_id(cx, &credential.to_string()).await?;
        cx.terms.expected.check(credential.version)?;
        if credential.state == CredentialState::Revoked {
            return Err(super::already("credential", "revoked").into());
        }
        let mut rows = Vec::new();
        if let Holder::Admin(admin) = &credential.holder {
            let (owners_until, lock) = admin_key::ended(cx, credential.id).await?;
            let act = Act::Revoke(credential.id);
            admin_key::separate(&cx.caller, act, admin, owners_until, cx.now)?;
            rows = lock;
        }
        credential.state = CredentialState::Revoked;
        let target: AnyId = credential.id.any();
        let body =
            Body { reason: Some(reason.clone()), target: Some(target), ..described(&credential) };
        let event = cx.event(EventKind::CredentialRevoked, body);
        let entry = Some(ending(cx, target, &reason));
        rows.push(Row::Credential(credential));
        let done = commit(cx, rows, entry, event).await?;
        Ok(done.rev)
    })
    .await
}
