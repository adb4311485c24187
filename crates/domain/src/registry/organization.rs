//! Organization: a tenant with its own issuer, keys, registry and log.

use std::time::Duration;

use accredit_wire::authority::ResourceName;
use accredit_wire::ids::OrganizationId;
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use accredit_wire::token::CHAIN_DEPTH_MAX;
use serde::{Deserialize, Serialize};

use super::admin_key::Administrator;
use super::credential_use::UseName;
use super::operator::{OperatorKey, operator_until};
use super::quota::Quotas;
use super::rotation_schedule::RotationPolicy;
use super::{
    ANSWER_KEY, DecideError, Listed, STATES, State, answer, commit, decide, known_state, lookup,
    text, turn,
};
use crate::audit::changes;
use crate::audit::event::{Actor, Body, Event, EventKind};
use crate::context::{Caller, Cx, World};
use crate::keys::{self, KeyPurpose};
use crate::ports::{Audited, Change, CommitError, Page, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::{AdminPermission, Holder, described, new_secret};
use crate::restoration::Issuing;
use crate::tenant::Tenant;
use crate::terms::Once;

/// Organizations of an installation: each is kept in memory, with its keys and what is revoked.
pub const ORGANIZATIONS_MAX: u64 = 10_000;
/// Hops from the root of a chain where an organization does not say.
pub const CHAIN_DEPTH_DEFAULT: u8 = 4;

/// A tenant. Nothing crosses it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Organization {
    /// Its id, `org_`.
    #[schema(value_type = String)]
    pub id: OrganizationId,
    /// Its name, part of the issuer: immutable, never reused.
    pub name: String,
    /// What people call it.
    pub display_name: Option<String>,
    /// The issuer of its tokens.
    pub issuer: String,
    /// Whether anything is issued.
    pub state: State,
    /// What follows where an agent has changed and its credential is not rotated.
    pub rotation_policy: RotationPolicy,
    /// The most parties of a chain in `act`: hops from its root.
    pub chain_depth_max: u8,
    /// Whether tokens are issued: not after a restore, until it is known what was ended since.
    pub issuing: Issuing,
    /// Its revocation counter.
    pub rev: u64,
    /// Which generation of the store: grows when a backup is restored.
    pub generation: u64,
    /// When it was created.
    #[schema(value_type = String)]
    pub created_at: Time,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

/// What may be changed.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateOrganization {
    /// What people call it.
    pub display_name: Option<String>,
    /// What follows where an agent has changed and its credential is not rotated.
    pub rotation_policy: Option<RotationPolicy>,
    /// The most parties of a chain in `act`, from 1 to 16; 4 where nobody said. What is issued from
    /// then on has no more; a longer chain that there is already ends with its tokens.
    pub chain_depth_max: Option<u8>,
}

/// Checks an organization's name.
pub fn check_name(name: &str) -> Result<(), Refusal> {
    ResourceName::new(name).map(|_| ()).map_err(|error| {
        Refusal::field("name", error, "use lower-case letters, digits, `.`, `_` and `-`")
    })
}

/// Checks a bound on chains.
fn chain_depth(asked: u8) -> Result<u8, Refusal> {
    if (1..=CHAIN_DEPTH_MAX).contains(&usize::from(asked)) {
        return Ok(asked);
    }
    Err(Refusal::field(
        "chain_depth_max",
        format!("must be from 1 to {CHAIN_DEPTH_MAX}"),
        "choose a bound; an agent that is to pass nothing on is one that may not delegate",
    ))
}

/// The organizations that the caller may see: its own, or all for an operator.
pub async fn list(cx: &Cx, page: Page) -> Result<Listed<Organization>, Error> {
    known_state(&page, &STATES)?;
    if cx.require(AdminPermission::Organizations).is_err() {
        let own = find(cx, cx.tenant.name.as_str()).await?;
        let wanted = page.created.holds(own.created_at)
            && page.state.is_none_or(|state| state == own.state.as_str());
        let own: Vec<_> = Some(own).filter(|_| wanted).into_iter().collect();
        return Ok(Listed { items: own, next: None });
    }
    Ok(cx.world.store.organizations(page).await?)
}

/// One organization: the caller's own, or any for an operator.
pub async fn find(cx: &Cx, key: &str) -> Result<Organization, Error> {
    let found = cx.world.store.organization(lookup::<OrganizationId>(key)).await?;
    let may = |org: &Organization| {
        org.id == cx.tenant.id || cx.require(AdminPermission::Organizations).is_ok()
    };
    Ok(found.filter(may).ok_or_else(|| Refusal::not_found("org", key))?)
}

/// Changes what may be changed.
pub async fn update(cx: &Cx, key: &str, asked: &UpdateOrganization) -> Result<Organization, Error> {
    cx.require(AdminPermission::Registry)?;
    let display_name = asked.display_name.as_deref();
    let display_name = display_name.map(|name| text("display_name", name)).transpose()?;
    decide(|| async {
        let mut org = own(cx, key).await?;
        cx.terms.expected.check(org.version)?;
        let before = org.clone();
        if let Some(name) = &display_name {
            org.display_name = Some(name.clone());
        }
        if let Some(policy) = asked.rotation_policy {
            org.rotation_policy = policy;
        }
        if let Some(depth) = asked.chain_depth_max {
            org.chain_depth_max = chain_depth(depth)?;
        }
        let changes = changes::made_different(&before, &org)?;
        let body = Body { target: Some(org.id.any()), changes, ..Body::default() };
        let event = cx.event(EventKind::OrganizationUpdated, body);
        commit(cx, vec![Row::Organization(org.clone())], None, event).await?;
        org.version += 1;
        Ok(org)
    })
    .await
}

/// Stops or starts the whole organization. Stopping ends every live token of it.
pub async fn set_state(cx: &Cx, key: &str, to: State, reason: &str) -> Result<Organization, Error> {
    // The operator, who is let into no organization, reaches this one thing of each.
    if !matches!(cx.caller, Caller::Operator { .. }) {
        cx.require(AdminPermission::Revoke)?;
    }
    let reason = text("reason", reason)?;
    let kinds = [EventKind::OrganizationSuspended, EventKind::OrganizationActivated];
    decide(|| async {
        let mut org = own(cx, key).await?;
        cx.terms.expected.check(org.version)?;
        let (event, revocation) = turn(cx, org.id.any(), &mut org.state, to, &reason, kinds)?;
        let done = commit(cx, vec![Row::Organization(org.clone())], revocation, event).await?;
        org.rev = done.rev;
        org.version += 1;
        Ok(org)
    })
    .await
}

/// An organization can be changed only from inside.
async fn own(cx: &Cx, key: &str) -> Result<Organization, DecideError> {
    let org = find(cx, key).await?;
    if org.id != cx.tenant.id && !matches!(cx.caller, Caller::System) {
        return Err(Refusal::new(
            Rule::NotEntitled,
            "an organization is administered with its own keys",
            "use an administrator's key of that organization",
        )
        .into());
    }
    Ok(org)
}

/// A new organization.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganization {
    /// Its name, part of the issuer.
    pub name: String,
    /// What people call it.
    pub display_name: Option<String>,
}

/// A new organization with the key that administers it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CreatedOrganization {
    /// The organization.
    #[serde(flatten)]
    pub organization: Organization,
    /// Its bootstrap administrator's key: only in this answer.
    #[serde(serialize_with = "super::credential::expose")]
    #[schema(value_type = String)]
    pub admin_token: Secret,
}

/// The life of a bootstrap administrator's key, seconds: 90 days.
pub const BOOTSTRAP_LIFETIME_SECONDS: u64 = 90 * 24 * 3600;

/// Creates an organization at an operator's wish.
pub async fn create(cx: &Cx, asked: &CreateOrganization) -> Result<CreatedOrganization, Error> {
    cx.require(AdminPermission::Organizations)?;
    let own = AdminPermission::ALL.into_iter().filter(|p| *p != AdminPermission::Organizations);
    let actor = match &cx.caller {
        Caller::Admin { credential, .. } => Actor { id: Some(credential.any()), kind: "admin" },
        _ => Actor { id: None, kind: "system" },
    };
    let body = Body { actor: Some(actor), request: Some(cx.request), ..Body::default() };
    found_once(&cx.world, cx.now, asked, own.collect(), body, cx.terms.once.clone()).await
}

/// Founds an organization, once where there is a key for it.
pub(crate) async fn found_once(
    world: &World,
    now: Time,
    asked: &CreateOrganization,
    permissions: Vec<AdminPermission>,
    body: Body,
    once: Option<Once>,
) -> Result<CreatedOrganization, Error> {
    let more = Founding { once, ..Founding::default() };
    found_with(world, now, asked, permissions, body, more).await
}

/// Founds an organization: its row, its signing keys, its log and the key that administers it, in
/// one transaction. `permissions` are what that key holds.
pub async fn found(
    world: &World,
    now: Time,
    asked: &CreateOrganization,
    permissions: Vec<AdminPermission>,
    body: Body,
) -> Result<CreatedOrganization, Error> {
    found_with(world, now, asked, permissions, body, Founding::default()).await
}

/// Founds the first organization, with the key of the installation's operator, whose creation is
/// recorded in its log.
pub async fn found_first(
    world: &World,
    now: Time,
    asked: &CreateOrganization,
    permissions: Vec<AdminPermission>,
    body: Body,
) -> Result<(CreatedOrganization, Secret), Error> {
    let (key, secret) = OperatorKey::new(world, now, operator_until(now))?;
    let more = Founding { operator: Some(key), ..Founding::default() };
    Ok((found_with(world, now, asked, permissions, body, more).await?, secret))
}

/// What else is written with an organization.
#[derive(Default)]
struct Founding {
    /// The key of the installation's operator.
    operator: Option<OperatorKey>,
    /// Under which key the answer is kept.
    once: Option<Once>,
}

async fn found_with(
    world: &World,
    now: Time,
    asked: &CreateOrganization,
    permissions: Vec<AdminPermission>,
    body: Body,
    more: Founding,
) -> Result<CreatedOrganization, Error> {
    check_name(&asked.name)?;
    let display_name =
        asked.display_name.as_deref().map(|name| text("display_name", name)).transpose()?;
    if world.store.organization_count().await? >= ORGANIZATIONS_MAX {
        return Err(Refusal::field(
            "name",
            format!("would be that of one more than {ORGANIZATIONS_MAX} organizations"),
            "set up another installation for it",
        )
        .into());
    }
    let id = OrganizationId::new(now.millis(), world.random());
    let mut organization = Organization {
        id,
        name: asked.name.clone(),
        display_name,
        issuer: format!("{}/o/{}", world.public_url, asked.name),
        state: State::Active,
        rotation_policy: RotationPolicy::default(),
        chain_depth_max: CHAIN_DEPTH_DEFAULT,
        issuing: Issuing::default(),
        rev: 0,
        generation: 1,
        created_at: now,
        version: 0,
    };
    let expires_at = now.plus(Duration::from_secs(BOOTSTRAP_LIFETIME_SECONDS));
    let holder = (Holder::Admin(Administrator::first(permissions)), UseName::DEFAULT);
    let (credential, admin_token) = new_secret(world, now, holder, expires_at)?;
    let mut rows = vec![Row::Organization(organization.clone())];
    let mut body = Body {
        target: Some(id.any()),
        name: Some(asked.name.clone()),
        credential: Some(credential.id),
        ..body
    };
    body.changes = changes::made(&organization, &body)?;
    body.changes.extend(described(&credential).changes);
    if let Some(operator) = more.operator {
        body.changes.insert("operator_key".into(), operator.id.to_string());
        rows.push(Row::Operator(operator));
    }
    rows.push(Row::Credential(credential));
    if let Some(once) = more.once {
        rows.insert(0, answer(once, &organization)?);
    }
    let event = Event::new(EventKind::OrganizationCreated, now, world.random(), body);
    // Nothing of it was there before: what can have changed is the root key of its signing keys.
    let committed = decide(|| async {
        let rows = [rows.clone(), first_keys(world, &organization, now).await?].concat();
        let change = Change { org: id, at: now, rows, revocation: None, quotas: Quotas::UNLIMITED };
        match world.store.commit(Audited::new(change, event.clone())).await {
            Ok(_) => Ok(true),
            Err(CommitError::Taken(what)) if what != ANSWER_KEY => Ok(false),
            Err(error) => Err(error.into()),
        }
    });
    if !committed.await? {
        return Err(Refusal::new(
            Rule::NameTaken,
            format!("an organization `{}` exists or existed", asked.name),
            "choose another name: names are never reused",
        )
        .into());
    }
    organization.version = 1;
    Ok(CreatedOrganization { organization, admin_token })
}

/// The signing keys of a new organization: one for each purpose, and one that will follow it.
async fn first_keys(world: &World, org: &Organization, now: Time) -> Result<Vec<Row>, Fault> {
    let mut made = Vec::new();
    for purpose in KeyPurpose::ALL {
        made.extend(keys::first(world, (org.id, &org.issuer), purpose, &made, now).await?);
    }
    Ok(made.into_iter().map(Row::Key).collect())
}

/// A further key for the administrators of an organization.
pub async fn new_admin(
    world: &World,
    tenant: &Tenant,
    now: Time,
    permissions: Vec<AdminPermission>,
) -> Result<Secret, Error> {
    let expires_at = now.plus(Duration::from_secs(BOOTSTRAP_LIFETIME_SECONDS));
    let holder = (Holder::Admin(Administrator::first(permissions)), UseName::DEFAULT);
    let (credential, secret) = new_secret(world, now, holder, expires_at)?;
    let actor = Some(Actor { id: None, kind: "system" });
    let body = Body { actor, ..described(&credential) };
    let event = Event::new(EventKind::CredentialCreated, now, world.random(), body);
    let rows = vec![Row::Credential(credential)];
    let change =
        Change { org: tenant.id, at: now, rows, revocation: None, quotas: Quotas::UNLIMITED };
    match world.store.commit(Audited::new(change, event)).await {
        Ok(_) => Ok(secret),
        Err(CommitError::Fault(fault)) => Err(fault.into()),
        Err(error) => Err(Fault::new("new administrator", format!("{error:?}")).into()),
    }
}
