//! The installation's operator: a key outside all organizations, so that a stopped organization
//! can be started again by somebody.
//!
//! It creates, lists, stops and starts organizations, and nothing inside them: it has no [`Cx`] of
//! its own, and in that of an organization it is entitled to nothing else. What it does is
//! recorded in the log of the organization it does it to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::crypto::equal_in_constant_time;
use accredit_wire::ids::{CredentialId, OrganizationId, RequestId};
use accredit_wire::secret::Secret;
use accredit_wire::time::Time;

use super::organization::{CreateOrganization, CreatedOrganization, found_once};
use super::quota::Quotas;
use super::{Listed, Organization, STATES, known_state, lookup};
use crate::audit::event::{Actor, Body, Event, EventKind, Source};
use crate::context::World;
use crate::ports::{Audited, Change, CommitError, Page, Row};
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::tenant::Tenant;
use crate::terms::Terms;

/// The life of an operator's key, seconds: a year.
pub const OPERATOR_LIFETIME_SECONDS: u64 = 366 * 24 * 3600;

/// An operator's key as it is kept.
#[derive(Clone, Debug)]
pub struct OperatorKey {
    /// Its id, `crd_`.
    pub id: CredentialId,
    /// Under which pepper its MAC is made.
    pub pepper: u32,
    /// HMAC-SHA-256 of the secret.
    pub mac: [u8; 32],
    /// Whether it was replaced by a newer one.
    pub revoked: bool,
    /// When it was created.
    pub created_at: Time,
    /// When it ends by itself.
    pub expires_at: Time,
}

impl OperatorKey {
    /// A new key and its secret, alive until `expires_at`.
    pub fn new(world: &World, now: Time, expires_at: Time) -> Result<(Self, Secret), Fault> {
        let id = CredentialId::new(now.millis(), world.random());
        let secret = ApiKey::new(SecretKind::Operator, id, world.random());
        let pepper = world.vault.pepper_version();
        let mac = world.vault.mac(pepper, secret.expose().as_bytes());
        let mac = mac.ok_or_else(|| Fault::new("key vault", "the current pepper is missing"))?;
        Ok((Self { id, pepper, mac, revoked: false, created_at: now, expires_at }, secret))
    }
}

/// When an operator's key that is made now ends.
pub fn operator_until(now: Time) -> Time {
    now.plus(Duration::from_secs(OPERATOR_LIFETIME_SECONDS))
}

/// The operator who asks, when, and from where: the context outside organizations.
pub struct Operator {
    /// The outside world.
    pub world: Arc<World>,
    /// The key.
    pub credential: CredentialId,
    /// Which request it is.
    pub request: RequestId,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// The time of the decision.
    pub now: Time,
    /// On which terms it is asked.
    pub terms: Terms,
}

impl Operator {
    /// What every event of what the operator does says of who asked.
    pub(crate) fn body(&self) -> Body {
        Body {
            actor: Some(Actor { id: Some(self.credential.any()), kind: "operator" }),
            request: Some(self.request),
            source: self.source.map(|ip| Source { ip }),
            trace: self.terms.trace,
            ..Body::default()
        }
    }
}

/// Finds whose operator's key it is. Unknown and wrong get one answer after the same work.
pub async fn authenticate(
    world: &World,
    now: Time,
    secret: &Secret,
) -> Result<CredentialId, Error> {
    let unknown = || {
        Refusal::new(
            Rule::AdminKey,
            "this needs a key that is known and has not ended",
            "`accredit init` prints the operator's key, this once",
        )
    };
    let parsed = ApiKey::parse(secret.expose()).ok();
    let parsed = parsed.filter(|key| key.kind == SecretKind::Operator).ok_or_else(unknown)?;
    let kept = world.store.operator_key(parsed.credential).await?;
    let (pepper, expected) =
        kept.as_ref().map_or((world.vault.pepper_version(), [0; 32]), |key| (key.pepper, key.mac));
    let mac = world.vault.mac(pepper, secret.expose().as_bytes());
    let right = mac.is_some_and(|mac| equal_in_constant_time(&mac, &expected));
    let key = kept.filter(|_| right).ok_or_else(unknown)?;
    let hint = "make a new one where the server runs: `accredit operator-key renew`";
    if key.revoked {
        let detail = format!("the operator's key `{}` was replaced", key.id);
        return Err(Refusal::new(Rule::CredentialRevoked, detail, hint).into());
    }
    if key.expires_at <= now {
        let detail = format!("the operator's key `{}` expired at {}", key.id, key.expires_at);
        return Err(Refusal::new(Rule::CredentialExpired, detail, hint).into());
    }
    Ok(key.id)
}

/// Creates an organization. Its owner's key is in the answer.
pub async fn create(
    by: &Operator,
    asked: &CreateOrganization,
) -> Result<CreatedOrganization, Error> {
    let own = AdminPermission::ALL.into_iter().filter(|p| *p != AdminPermission::Organizations);
    found_once(&by.world, by.now, asked, own.collect(), by.body(), by.terms.once.clone()).await
}

/// Organizations of the installation.
pub async fn list(by: &Operator, page: Page) -> Result<Listed<Organization>, Error> {
    known_state(&page, &STATES)?;
    Ok(by.world.store.organizations(page).await?)
}

/// One organization.
pub async fn find(by: &Operator, key: &str) -> Result<Organization, Error> {
    let found = by.world.store.organization(lookup::<OrganizationId>(key)).await?;
    Ok(found.ok_or_else(|| Refusal::not_found("org", key))?)
}

/// Makes a new operator's key and ends all earlier ones, where the server runs. It is recorded in
/// the log of `tenant`, by the system.
pub async fn renew(world: &World, tenant: &Tenant, now: Time) -> Result<Secret, Error> {
    let (key, secret) = OperatorKey::new(world, now, operator_until(now))?;
    let body = Body {
        actor: Some(Actor { id: None, kind: "system" }),
        credential: Some(key.id),
        expires_at: Some(key.expires_at.micros()),
        changes: [("operator_key".into(), key.id.to_string())].into(),
        ..Body::default()
    };
    let event = Event::new(EventKind::CredentialCreated, now, world.random(), body);
    let rows = vec![Row::EndOperators, Row::Operator(key)];
    let change =
        Change { org: tenant.id, at: now, rows, revocation: None, quotas: Quotas::UNLIMITED };
    match world.store.commit(Audited::new(change, event)).await {
        Ok(_) => Ok(secret),
        Err(CommitError::Fault(fault)) => Err(fault.into()),
        Err(error) => Err(Fault::new("renew the operator's key", format!("{error:?}")).into()),
    }
}
