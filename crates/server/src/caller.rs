//! Who calls an endpoint that is not OAuth's own: an administrator by key, or a verifier with its
//! resource's credential.

use std::sync::Arc;

use accredit_domain::audit::refusals;
use accredit_domain::issuance::admission::{CredentialFacts, HolderFacts};
use accredit_domain::issuance::authenticate::{self, NotAuthenticated};
use accredit_domain::registry::credential::AdminPermission;
use accredit_domain::registry::operator::{self, Operator};
use accredit_domain::tenant::Tenant;
use accredit_domain::{Caller, Cx, Refusal, Rule};
use accredit_wire::api_key::{ApiKey, SecretKind};
use accredit_wire::ids::{CredentialId, Kind};
use accredit_wire::oauth::client_auth::{BearerKeys, ClientAuth};
use accredit_wire::oauth::form::Form;
use accredit_wire::secret::Secret;

use crate::dispatch::Call;
use crate::failure::Failure;

/// What an endpoint requires of its caller. There is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing: what it tells is public.
    Anyone,
    /// An OAuth client, authenticated by the handler from header and form (RFC 6749 section 2.3).
    Client,
    /// A resource server with its own credential, or an administrator who may read.
    Verifier,
    /// An administrator's key of the organization with this permission.
    Admin(AdminPermission),
    /// The installation's operator, and no organization's administrator: it is about all of them.
    OperatorAlone,
}

impl Requirement {
    /// Whether the caller is found out, and may be there, before the handler is called.
    pub const fn is_checked_first(self) -> bool {
        match self {
            Self::Anyone | Self::Client => false,
            Self::Verifier | Self::Admin(_) | Self::OperatorAlone => true,
        }
    }
}

impl From<NotAuthenticated> for Failure {
    fn from(error: NotAuthenticated) -> Self {
        match error {
            NotAuthenticated::Refused(refusal) | NotAuthenticated::Ended(_, refusal) => {
                Self::Refused(refusal)
            }
            NotAuthenticated::Fault(fault) => Self::Fault(fault),
        }
    }
}

fn no_admin_key() -> Refusal {
    Refusal::new(
        Rule::AdminKey,
        "this needs an administrator's key that is known and has not ended",
        "send `Authorization: Bearer acr_admin_…`; `accredit init` and `accredit dev` print one",
    )
}

/// The administrator who calls, in their organization. What they may do is not looked at yet.
pub async fn admin(call: &Call) -> Result<Cx, Failure> {
    let secret = bearer(call).ok_or_else(no_admin_key)?;
    let key = ApiKey::parse(secret.expose()).map_err(|_| no_admin_key())?;
    if key.kind != SecretKind::Admin {
        return Err(no_admin_key().into());
    }
    let server = &call.server;
    // One way for a key that is unknown and for one that is wrong, so that both take the same time.
    let tenant = match server.world.store.admin_organization(key.credential).await? {
        Some(org) => server.tenants.by_id(org, call.now).await?,
        None => None,
    };
    let org = tenant.as_ref().map(|tenant| tenant.id);
    let facts = match authenticate::by_secret_in(&server.world, org, None, &secret).await {
        Ok(facts) => facts,
        Err(NotAuthenticated::Refused(_) | NotAuthenticated::Ended(..)) => {
            let refusal = no_admin_key();
            let refusals = tenant.as_ref().map_or(&server.strangers, |tenant| &tenant.refusals);
            refusals.count_from(call.source(), None, &refusal);
            return Err(refusal.into());
        }
        Err(NotAuthenticated::Fault(fault)) => return Err(fault.into()),
    };
    let mut cx = call.cx(tenant.ok_or_else(no_admin_key)?);
    let HolderFacts::Admin(permissions) = &facts.holder else {
        return Err(no_admin_key().into());
    };
    // Told apart from an unknown key only to who has proved that they hold it; the way out is the
    // same.
    cx.caller = Caller::Admin { credential: facts.id, permissions: permissions.clone() };
    if let Err(ended) = authenticate::usable(&cx, &facts) {
        let hint = "use another administrator's key of this organization".to_owned();
        let refusal = Refusal { hint, ..ended };
        refusals::record(&cx, facts.id, call.endpoint.operation, &refusal).await?;
        return Err(refusal.into());
    }
    cx.tenant.uses.note(facts.id.any(), cx.now, cx.source);
    call.server.acquainted.note(facts.id);
    Ok(cx)
}

/// Whether the request bears what looks like an operator's key.
pub fn is_operator(call: &Call) -> bool {
    let key = bearer(call).and_then(|secret| ApiKey::parse(secret.expose()).ok());
    key.is_some_and(|key| key.kind == SecretKind::Operator)
}

/// The installation's operator who calls, in no organization.
pub async fn operator(call: &Call) -> Result<Operator, Failure> {
    let secret = bearer(call).ok_or_else(no_admin_key)?;
    let world = &call.server.world;
    let credential = operator::authenticate(world, call.now, &secret).await?;
    call.server.acquainted.note(credential);
    Ok(Operator {
        world: Arc::clone(world),
        credential,
        request: call.request,
        source: call.source(),
        now: call.now,
        terms: call.terms().clone(),
    })
}

/// What a caller has proved to hold.
pub struct Proved {
    /// The credential.
    pub facts: Arc<CredentialFacts>,
    /// The organization's revocation counter before it was looked at.
    pub rev: u64,
}

/// The verifier that calls, in the organization that the path names, and by what it is known.
/// Whether it may is not looked at yet.
pub async fn verifier(call: &Call, tenant: Arc<Tenant>) -> Result<(Cx, Proved), Failure> {
    let mut cx = call.cx(tenant);
    let auth =
        ClientAuth::from_request(&call.authorization(), &Form::parse(b"")?, BearerKeys::Taken)?;
    let client = match authenticate::client(&cx, &auth).await {
        Ok(client) => client,
        Err(NotAuthenticated::Refused(refusal)) => {
            cx.tenant.refusals.count(&cx, auth.client_id(), &refusal);
            return Err(refusal.into());
        }
        Err(NotAuthenticated::Ended(client, refusal)) => {
            cx.caller = client.caller();
            let operation = call.endpoint.operation;
            refusals::record(&cx, client.credential.id, operation, &refusal).await?;
            return Err(refusal.into());
        }
        Err(NotAuthenticated::Fault(fault)) => return Err(fault.into()),
    };
    cx.caller = client.caller();
    cx.tenant.uses.note(client.credential.id.any(), cx.now, cx.source);
    Ok((cx, Proved { facts: client.credential, rev: client.rev }))
}

/// Whether a caller who is known may do what the endpoint does.
pub fn may(cx: &Cx, requirement: Requirement) -> Result<(), Refusal> {
    match (requirement, &cx.caller) {
        (Requirement::Anyone | Requirement::Client, _) => Ok(()),
        (Requirement::Admin(permission), _) => cx.require(permission),
        (Requirement::OperatorAlone, _) => Err(Refusal::new(
            Rule::NotEntitled,
            "this is about the whole installation, and no organization's to do",
            "use the operator's key, `acr_operator_…`, which `accredit init` printed",
        )),
        (Requirement::Verifier, Caller::Client { id, .. }) if id.kind() == Kind::Resource => Ok(()),
        (Requirement::Verifier, Caller::Client { .. }) => Err(Refusal::new(
            Rule::NotEntitled,
            "an agent's credential does not follow revocations",
            "create a credential for the resource: `accredit credential create --resource`",
        )),
        (Requirement::Verifier, _) => cx.require(AdminPermission::Read),
    }
}

/// The credential that a caller who is known has proved to hold.
pub fn credential(cx: &Cx) -> Option<CredentialId> {
    match &cx.caller {
        Caller::Admin { credential, .. }
        | Caller::Client { credential, .. }
        | Caller::Operator { credential } => Some(*credential),
        Caller::Anyone | Caller::System => None,
    }
}

/// The credential that a request claims to hold, as far as it says.
pub fn claimed(call: &Call) -> Option<CredentialId> {
    bearer(call).and_then(|secret| ApiKey::parse(secret.expose()).ok()).map(|key| key.credential)
}

/// The one bearer credential of a request.
fn bearer(call: &Call) -> Option<Secret> {
    let values = call.authorization();
    let [value] = values.as_slice() else { return None };
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, secret) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(secret.trim().to_owned()))
}
