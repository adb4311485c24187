//! Administrator's key: a credential of one organization with a role, a purpose and an end.
//!
//! A role is a named set of permissions; a key may hold fewer, never more, and neither changes
//! while it lives. Who may do what to whose key is decided in one place, [`separate`]. Absent on
//! purpose: changing a role, since a new key with another purpose is another key.

use std::time::Duration;

use accredit_wire::ids::{CredentialId, Kind};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;
use serde::{Deserialize, Serialize};

use super::credential::{
    AdminPermission, CREDENTIAL_LIFETIME_MAX_SECONDS, Credential, CredentialState, Holder,
    described, new_secret,
};
use super::credential_use::UseName;
use super::organization::BOOTSTRAP_LIFETIME_SECONDS;
use super::{
    DecideError, EXPIRING_STATES, Listed, commit_created, decide, ends_after, id, known_state, text,
};
use crate::audit::event::{Body, EventKind};
use crate::context::{Caller, Cx};
use crate::ports::{Lookup, Page, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};

/// How long a rotated key lives on where nobody says, seconds: an hour.
pub const OVERLAP_DEFAULT_SECONDS: u64 = 3600;
/// How long a rotated key lives on at least, seconds: an answer may be lost on its way.
pub const OVERLAP_MIN_SECONDS: u64 = 60;
/// How long a rotated key lives on at most, seconds: a day.
pub const OVERLAP_MAX_SECONDS: u64 = 24 * 3600;
/// For how long an organization must still have an owner after an act: a day.
pub const OWNER_LEFT_MIN: Duration = Duration::from_hours(24);

/// A named set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRole {
    /// Everything in the organization, and its administrators' keys.
    Owner,
    /// Stops and revokes, and reads the log.
    Security,
    /// Sets up what there is.
    Operator,
    /// Reads, the log too.
    Auditor,
}

impl AdminRole {
    /// All of them, as in `docs/formats.md`.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Security, Self::Operator, Self::Auditor];

    /// As stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Security => "security",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }

    /// From how it is stored.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// What a key of this role holds where it is not narrowed.
    pub const fn permissions(self) -> &'static [AdminPermission] {
        use AdminPermission::{Administrators, Audit, Read, Registry, Revoke};
        match self {
            Self::Owner => &[Read, Registry, Revoke, Audit, Administrators],
            Self::Security => &[Read, Revoke, Audit],
            Self::Operator => &[Read, Registry],
            Self::Auditor => &[Read, Audit],
        }
    }
}

/// An administrator: what a key may do, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// The role it was made for.
    pub role: AdminRole,
    /// What it may do: the role's permissions or fewer. A bootstrap key may have `organizations`.
    pub permissions: Vec<AdminPermission>,
    /// What it is for, in a person's words.
    pub purpose: String,
    /// The key that made it; nothing where the system did.
    pub created_by: Option<CredentialId>,
}

impl Administrator {
    /// Who the system makes: the owner, or in a test whoever holds just these permissions.
    pub fn first(permissions: Vec<AdminPermission>) -> Self {
        let purpose = "made where the server runs".to_owned();
        Self { role: AdminRole::Owner, permissions, purpose, created_by: None }
    }

    /// Whether it manages keys: an organization needs one that does.
    pub fn is_owner(&self) -> bool {
        self.permissions.contains(&AdminPermission::Administrators)
    }
}

/// What is asked for an administrator's key.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A new one.
    Create,
    /// Its end.
    Revoke(CredentialId),
    /// A successor, and its end after a while.
    Rotate(CredentialId),
}

/// Separation of duties: who may do what to an administrator's key. `key` is the one that is made,
/// ended or replaced; `owners_until` is when the last of the owners ends that there would be after
/// the act.
///
/// Only who holds `administrators` manages keys; nobody makes a key with more than they hold; a
/// key does not revoke itself; and an organization never loses its last owner, which may follow
/// within a day by expiry as well as at once.
pub fn separate(
    caller: &Caller,
    act: Act,
    key: &Administrator,
    owners_until: Option<Time>,
    now: Time,
) -> Result<(), Refusal> {
    if let Caller::Admin { credential, permissions } = caller {
        if matches!(act, Act::Revoke(ended) if ended == *credential) {
            return Err(Refusal::new(
                Rule::StateForbids,
                "a key does not revoke itself",
                "use another owner's key, or rotate this one",
            ));
        }
        let more = key.permissions.iter().find(|wanted| !permissions.contains(wanted));
        if let (Act::Create | Act::Rotate(_), Some(more)) = (act, more) {
            return Err(Refusal::new(
                Rule::SeparationOfDuties,
                format!("your key does not hold `{}` and cannot give it away", more.as_str()),
                "ask for less, or use a key that holds it",
            ));
        }
    }
    let manages = match caller {
        Caller::Admin { permissions, .. } => permissions.contains(&AdminPermission::Administrators),
        Caller::System => true,
        Caller::Anyone | Caller::Client { .. } | Caller::Operator { .. } => false,
    };
    if !manages {
        return Err(Refusal::new(
            Rule::NotEntitled,
            "administrators' keys are managed with `administrators`",
            "use an owner's key",
        ));
    }
    let ends_one = matches!(act, Act::Revoke(_) | Act::Rotate(_)) && key.is_owner();
    if ends_one && owners_until.is_none_or(|end| end < now.plus(OWNER_LEFT_MIN)) {
        return Err(Refusal::new(
            Rule::LastOwner,
            "the organization would have no owner within a day",
            "create an owner's key that lives longer: `accredit admin-key create --role owner`",
        ));
    }
    Ok(())
}

/// A new administrator's key.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAdminKey {
    /// `owner`, `security`, `operator` or `auditor`.
    pub role: String,
    /// What it is for.
    pub purpose: String,
    /// Fewer permissions than the role's: a subset of them.
    pub permissions: Option<Vec<String>>,
    /// Its life, seconds: 90 days where not said, a year at most.
    pub expires_in: Option<u64>,
}

/// The rotation of an administrator's key.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateAdminKey {
    /// How long the old key lives on, seconds: an hour where not said, a day at most.
    pub overlap: Option<u64>,
    /// The life of the new key, seconds: 90 days where not said, a year at most.
    pub expires_in: Option<u64>,
}

/// An administrator's key as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AdminKeyView {
    /// Its id, `crd_`.
    pub id: String,
    /// The organization it belongs to, `org_`.
    pub organization: String,
    /// The role it was made for.
    pub role: &'static str,
    /// What it may do.
    pub permissions: Vec<&'static str>,
    /// What it is for.
    pub purpose: String,
    /// The key that made it, `crd_`; nothing where the system did.
    pub created_by: Option<String>,
    /// The key that it replaces, `crd_`: only in the answer to a rotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The key itself: only in the answer to its creation.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "super::credential::expose_some"
    )]
    #[schema(value_type = Option<String>)]
    pub admin_token: Option<Secret>,
    /// `active`, `expired` or `revoked`.
    pub state: &'static str,
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
    pub last_used_from: Option<std::net::IpAddr>,
    /// The row's version.
    #[serde(skip)]
    pub version: i64,
}

fn view(cx: &Cx, key: Credential) -> Option<AdminKeyView> {
    let state = key.view(cx.now).state;
    let Holder::Admin(admin) = key.holder else { return None };
    Some(AdminKeyView {
        id: key.id.to_string(),
        organization: cx.tenant.id.to_string(),
        role: admin.role.as_str(),
        permissions: admin.permissions.iter().map(|one| one.as_str()).collect(),
        purpose: admin.purpose,
        created_by: admin.created_by.map(|id| id.to_string()),
        replaces: None,
        admin_token: None,
        state,
        created_at: key.created_at,
        expires_at: key.expires_at,
        last_used_at: key.last_used_at,
        last_used_from: key.last_used_from,
        version: key.version,
    })
}

fn shown(cx: &Cx, key: Credential) -> Result<AdminKeyView, Fault> {
    view(cx, key).ok_or_else(|| Fault::new("administrator's key", "it is held by no administrator"))
}

/// The role and the permissions that a request asks for.
fn asked_for(asked: &CreateAdminKey) -> Result<(AdminRole, Vec<AdminPermission>), Refusal> {
    let role = AdminRole::parse(&asked.role).ok_or_else(|| {
        Refusal::field(
            "role",
            "is not one we know",
            "use `owner`, `security`, `operator` or `auditor`",
        )
    })?;
    let all = role.permissions();
    let Some(narrowed) = &asked.permissions else { return Ok((role, all.to_vec())) };
    let wanted: Vec<AdminPermission> =
        all.iter().copied().filter(|one| narrowed.iter().any(|it| it == one.as_str())).collect();
    if wanted.is_empty() || wanted.len() != narrowed.len() {
        let names: Vec<&str> = all.iter().map(|one| one.as_str()).collect();
        return Err(Refusal::field(
            "permissions",
            format!("are not some of the role's, each once: {}", names.join(" ")),
            "leave it out for all of them, or choose another role",
        ));
    }
    Ok((role, wanted))
}

fn creator(cx: &Cx) -> Option<CredentialId> {
    match &cx.caller {
        Caller::Admin { credential, .. } => Some(*credential),
        _ => None,
    }
}

/// Makes a key. The secret is in the answer, this once.
pub async fn create(cx: &Cx, asked: &CreateAdminKey) -> Result<AdminKeyView, Error> {
    cx.require(AdminPermission::Administrators)?;
    let (role, permissions) = asked_for(asked)?;
    let purpose = text("purpose", &asked.purpose)?;
    let expires_at = ends(cx, asked.expires_in)?;
    let admin = Administrator { role, permissions, purpose, created_by: creator(cx) };
    separate(&cx.caller, Act::Create, &admin, None, cx.now)?;
    let holder = (Holder::Admin(admin), UseName::DEFAULT);
    let made = new_secret(&cx.world, cx.now, holder, expires_at)?;
    decide(|| async {
        let (key, secret) = &made;
        let event = cx.event(EventKind::CredentialCreated, described(key));
        let mut view = shown(cx, key.clone())?;
        commit_created(cx, vec![Row::Credential(key.clone())], event, &view).await?;
        view.admin_token = Some(Secret::new(secret.expose().to_owned()));
        view.version = 1;
        Ok(view)
    })
    .await
}

fn ends(cx: &Cx, asked: Option<u64>) -> Result<Time, Refusal> {
    let (default, max) = (BOOTSTRAP_LIFETIME_SECONDS, CREDENTIAL_LIFETIME_MAX_SECONDS);
    ends_after("expires_in", cx.now, asked, default, max)
}

/// Keys of the organization's administrators.
pub async fn list(cx: &Cx, mut page: Page) -> Result<Listed<AdminKeyView>, Error> {
    cx.require(AdminPermission::Read)?;
    known_state(&page, &EXPIRING_STATES)?;
    page.at = cx.now;
    let found = cx.world.store.admin_keys(cx.tenant.id, page).await?;
    let items = found.items.into_iter().filter_map(|row| view(cx, row)).collect();
    Ok(Listed { items, next: found.next })
}

/// One key.
pub async fn find(cx: &Cx, key: &str) -> Result<AdminKeyView, Error> {
    cx.require(AdminPermission::Read)?;
    let (row, _) = by_id(cx, key).await?;
    Ok(shown(cx, row)?)
}

async fn by_id(cx: &Cx, key: &str) -> Result<(Credential, Administrator), Error> {
    let credential = id::<CredentialId>(Kind::Credential, "admin-key", key)?;
    let found = cx.world.store.credential(cx.tenant.id, credential).await?;
    match found {
        Some(row) => match row.holder.clone() {
            Holder::Admin(admin) => Ok((row, admin)),
            _ => Err(Refusal::not_found("admin-key", key).into()),
        },
        None => Err(Refusal::not_found("admin-key", key).into()),
    }
}

/// What ending or replacing a key is decided from: when the last other owner ends, and the row
/// that two such decisions at the same time would both write, so that one of them is made again.
pub(super) async fn ended(
    cx: &Cx,
    key: CredentialId,
) -> Result<(Option<Time>, Vec<Row>), DecideError> {
    let org = cx.world.store.organization(Lookup::Id(cx.tenant.id)).await?;
    let org = org.ok_or_else(|| Fault::new("organization", "it is not there"))?;
    let owners_until = cx.world.store.owners_until(cx.tenant.id, key).await?;
    Ok((owners_until, vec![Row::Organization(org)]))
}

/// Makes a successor with the same role and purpose; the old key lives on for the overlap.
pub async fn rotate(cx: &Cx, key: &str, asked: &RotateAdminKey) -> Result<AdminKeyView, Error> {
    cx.require(AdminPermission::Administrators)?;
    let overlap = asked.overlap.unwrap_or(OVERLAP_DEFAULT_SECONDS);
    if !(OVERLAP_MIN_SECONDS..=OVERLAP_MAX_SECONDS).contains(&overlap) {
        return Err(Refusal::field(
            "overlap",
            format!("must be from {OVERLAP_MIN_SECONDS} to {OVERLAP_MAX_SECONDS} seconds"),
            "to end a key at once, revoke it",
        )
        .into());
    }
    let until = cx.now.plus(Duration::from_secs(overlap));
    let expires_at = ends(cx, asked.expires_in)?;
    if expires_at <= until {
        return Err(Refusal::field(
            "expires_in",
            "the new key must outlive the overlap",
            "let it live longer, or shorten `overlap`",
        )
        .into());
    }
    decide(|| async {
        let (mut old, mut admin) = by_id(cx, key).await?;
        cx.terms.expected.check(old.version)?;
        let ended_or_replaced = old.state == CredentialState::Revoked || old.successor.is_some();
        if ended_or_replaced || old.expires_at <= cx.now {
            return Err(Refusal::new(
                Rule::StateForbids,
                "the key has ended, or was replaced",
                "rotate its successor, or create a new one: `accredit admin-key create`",
            )
            .into());
        }
        let (others_until, mut rows) = ended(cx, old.id).await?;
        let successor = admin.is_owner().then_some(expires_at);
        let owners_until = others_until.max(successor);
        separate(&cx.caller, Act::Rotate(old.id), &admin, owners_until, cx.now)?;
        admin.created_by = creator(cx);
        let holder = (Holder::Admin(admin), old.r#use.clone());
        let (new, secret) = new_secret(&cx.world, cx.now, holder, expires_at)?;
        old.expires_at = old.expires_at.min(until);
        old.successor = Some(new.id);
        let mut body = Body { target: Some(old.id.any()), ..described(&new) };
        body.changes.insert("replaced_until".into(), old.expires_at.to_string());
        let event = cx.event(EventKind::CredentialRotated, body);
        let mut view =
            AdminKeyView { replaces: Some(old.id.to_string()), ..shown(cx, new.clone())? };
        rows.extend([Row::Credential(old), Row::Credential(new)]);
        commit_created(cx, rows, event, &view).await?;
        view.admin_token = Some(secret);
        view.version = 1;
        Ok(view)
    })
    .await
}

#[cfg(test)]
mod tests;
