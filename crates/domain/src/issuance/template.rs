//! RFC 9068 section 2.2: the one place that decides what goes into a credential.

use accredit_wire::ids::{InstanceId, TokenId};
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::token::{AccessToken, SubjectKind};

use super::admission::HolderFacts;
use super::permit::PermittedGrant;
use crate::audit::event::{Actor, Body};
use crate::context::Cx;
use crate::tenant::ActiveKey;
use std::sync::Arc;

/// Everything a token will say, and the key that will say it.
pub struct CredentialTemplate {
    /// The claims.
    pub token: AccessToken,
    pub(super) key: Arc<ActiveKey>,
}

/// Fills in the claims of a permitted grant. A token never outlives what it was got with.
pub fn fill(cx: &Cx, permitted: PermittedGrant) -> CredentialTemplate {
    let grant = permitted.proposed;
    let key = cx.tenant.token_key();
    let issued_at = cx.now.seconds();
    let mut expires_at = issued_at + i64::from(grant.lifetime);
    expires_at = expires_at.min(grant.credential.expires_at.seconds());
    let instance: Option<InstanceId> = match &grant.credential.holder {
        HolderFacts::Instance { id, expires_at: end, .. } => {
            expires_at = expires_at.min(end.map_or(i64::MAX, accredit_wire::time::Time::seconds));
            Some(*id)
        }
        _ => None,
    };
    let (millis, random) = cx.seed();
    let token = AccessToken {
        issuer: cx.tenant.issuer.clone(),
        subject: grant.agent.id.any(),
        kind: SubjectKind::Agent,
        client_id: grant.agent.id,
        audience: grant.resource.audience.clone(),
        issued_at,
        not_before: None,
        expires_at,
        id: TokenId::new(millis, random),
        scope: permitted.scope,
        details: AuthorizationDetails::default(),
        key: key.id,
        instance,
        organization: cx.tenant.id,
        credential: grant.credential.id,
        owner: grant.owner,
        resource: grant.resource.id,
        further: Vec::new(),
        rev: grant.rev,
        delegable: permitted.delegable,
        chain: Vec::new(),
        demands_binding: false,
    };
    CredentialTemplate { token, key }
}

impl CredentialTemplate {
    /// What the event says about it.
    pub(super) fn described(&self, method: &'static str) -> Body {
        let token = &self.token;
        Body {
            actor: Some(Actor { id: Some(token.client_id.any()), kind: "agent" }),
            audience: Some(token.audience.clone()),
            credential: Some(token.credential),
            decision: Some("allow"),
            expires_at: Some(token.expires_at.saturating_mul(1_000_000)),
            instance: token.instance,
            key: Some(token.key),
            method: Some(method),
            owner: Some(token.owner.any()),
            resource: Some(token.resource.any()),
            rev: Some(token.rev),
            scope: (!token.scope.is_empty()).then(|| token.scope.to_string()),
            token: Some(token.id),
            ..Body::default()
        }
    }
}
