//! RFC 9068 section 2.2: the one place that decides what goes into a credential.

use accredit_wire::authority::Authority;
use accredit_wire::binding::Confirmation;
use accredit_wire::ids::{InstanceId, TokenId};
use accredit_wire::oauth::authorization_details::AuthorizationDetails;
use accredit_wire::oauth::token_exchange::IssuedTokenType;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::token::{AccessToken, Actor, SubjectKind};

use super::admission::{AgentFacts, HolderFacts};
use super::grants::{External, Origin};
use super::permit::PermittedGrant;
use super::{svid, vouched};
use crate::audit::event::{self, Body};
use crate::context::Cx;
use crate::ports::StatusPlace;
use crate::refusal::{Refusal, Rule};
use crate::status_list;
use crate::tenant::ActiveKey;
use std::sync::Arc;

/// The form in which a token travels. What it says is the same in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 9068.
    Jwt,
    /// Biscuit v3, which its holder narrows offline.
    Biscuit,
}

impl Format {
    /// That of what is to be issued; a JWT where the request does not say.
    pub const fn of(requested: Option<IssuedTokenType>) -> Self {
        match requested {
            None | Some(IssuedTokenType::AccessToken | IssuedTokenType::Jwt) => Self::Jwt,
            Some(IssuedTokenType::Biscuit) => Self::Biscuit,
        }
    }

    /// As an event names it; nothing is said of a JWT.
    const fn told(self) -> Option<&'static str> {
        match self {
            Self::Jwt => None,
            Self::Biscuit => Some("biscuit"),
        }
    }
}

/// Everything a token will say, and the key that will say it.
pub struct CredentialTemplate {
    /// The claims.
    pub token: AccessToken,
    pub(super) format: Format,
    pub(super) key: Arc<ActiveKey>,
    /// The token's place in a status list, where its resource wants one.
    pub(super) status: Option<StatusPlace>,
    parent: Option<TokenId>,
    external: Option<External>,
    /// SHA-256 of the certificate of ours by which its instance is known.
    svid: Option<[u8; 32]>,
}

/// Fills in the claims of a permitted grant. A token never outlives what it was got with.
pub fn fill(
    cx: &Cx,
    permitted: PermittedGrant,
    format: Format,
) -> Result<CredentialTemplate, Refusal> {
    let grant = permitted.proposed;
    if let (Format::Biscuit, Some(Confirmation::Certificate(_))) = (format, grant.binds) {
        return Err(Refusal::new(
            Rule::DpopRequired,
            "an attenuable token is bound to a key, and never to a certificate",
            "send a `DPoP` header with a proof for this request as well (RFC 9449), or ask for a JWT",
        ));
    }
    let key = match format {
        Format::Jwt => cx.tenant.token_key(),
        Format::Biscuit => cx.tenant.biscuit_key().ok_or_else(no_key_yet)?,
    };
    let issued_at = cx.now.seconds();
    let mut expires_at = issued_at + i64::from(grant.lifetime);
    expires_at = expires_at.min(grant.credential.expires_at.seconds());
    let instance: Option<InstanceId> = match &grant.credential.holder {
        HolderFacts::Instance { id, expires_at: end, .. } => {
            expires_at = expires_at.min(end.map_or(i64::MAX, Time::seconds));
            Some(*id)
        }
        _ => None,
    };
    let (millis, random) = cx.seed();
    let mut origin = match grant.origin {
        Some(origin) => *origin,
        None => for_itself(&grant.agent, grant.credential.expires_at),
    };
    expires_at = expires_at.min(origin.expires_at.seconds());
    if let Some(attested) = &grant.attested {
        let platform = attested.federation.any();
        if !origin.further.contains(&platform) {
            origin.further.push(platform);
        }
        origin.external.get_or_insert_with(|| External::clone(attested));
    }
    if let Some(task) = &grant.task {
        origin.further.push(task.id.any());
        expires_at = expires_at.min(task.deadline.seconds());
    }
    let own =
        [cx.tenant.id.any(), grant.agent.id.any(), grant.credential.id.any(), grant.owner.any()];
    if !grant.hangs_on.is_empty() {
        let own = [&own[..], &[origin.subject]].concat();
        vouched::add(&grant.hangs_on, (&mut origin.further, &own), &origin.chain)?;
    }
    if let Some(svid) = &grant.svid {
        svid::hang_on(svid, &mut origin, &own)?;
    }
    // An attenuable token is read by our Verifier alone, which follows the feed.
    let listed = grant.resource.status_list && format == Format::Jwt;
    let status = listed.then(|| cx.tenant.open_list.give(cx, expires_at));
    let reference = status.map(|place| Box::new(status_list::reference(&cx.tenant, &place)));
    let token = AccessToken {
        issuer: cx.tenant.issuer.clone(),
        subject: origin.subject,
        kind: origin.kind,
        client_id: grant.agent.id,
        audience: grant.resource.audience.clone(),
        issued_at,
        not_before: None,
        expires_at,
        id: TokenId::new(millis, random),
        scope: permitted.scope,
        details: permitted.details,
        key: key.id,
        instance,
        organization: cx.tenant.id,
        credential: grant.credential.id,
        owner: grant.owner,
        resource: grant.resource.id,
        further: origin.further,
        rev: grant.rev,
        delegable: permitted.delegable,
        chain: origin.chain,
        impersonated: origin.impersonated,
        cnf: grant.binds,
        status: reference,
    };
    let (parent, external) = (origin.parent, origin.external);
    let svid = grant.svid.and_then(|svid| svid.digest);
    Ok(CredentialTemplate { token, format, key, status, parent, external, svid })
}

/// In a store of an earlier version the job of rotation makes the first key, within a minute.
fn no_key_yet() -> Refusal {
    let mut refusal = Refusal::new(
        Rule::FormatNotReady,
        "the organization's first key for attenuable tokens is just being made",
        "ask again in a minute, or for a JWT",
    );
    refusal.retry_after = Some(60);
    refusal
}

/// The origin of a machine token: its agent, and nothing before it.
fn for_itself(agent: &AgentFacts, ends: Time) -> Origin {
    Origin {
        kind: SubjectKind::Agent,
        subject: agent.id.any(),
        chain: Vec::new(),
        further: Vec::new(),
        ceiling: Authority::none(),
        impersonated: false,
        expires_at: ends,
        parent: None,
        external: None,
    }
}

/// What was granted within limits, as texts.
fn told(details: &AuthorizationDetails) -> Option<Vec<String>> {
    (!details.is_empty()).then(|| details.authority().texts().collect())
}

impl CredentialTemplate {
    /// What the event says about it.
    pub(super) fn described(&self, method: &'static str) -> Body {
        let token = &self.token;
        Body {
            actor: Some(event::Actor { id: Some(token.client_id.any()), kind: "agent" }),
            audience: Some(token.audience.clone()),
            bound_to: token.cnf.and_then(Confirmation::key),
            bound_to_certificate: token.cnf.and_then(Confirmation::certificate),
            certificate: self.svid.map(|digest| Hash::new(digest).to_string()),
            chain: chain_text(token),
            credential: Some(token.credential),
            decision: Some("allow"),
            expires_at: Some(token.expires_at.saturating_mul(1_000_000)),
            federation: self.external.as_ref().map(|user| user.federation.any()),
            format: self.format.told(),
            impersonation: token.impersonated.then_some(true),
            instance: token.instance,
            issuer: self.external.as_ref().map(|user| user.issuer.clone()),
            key: Some(token.key),
            lineage: lineage_text(token),
            method: Some(method),
            owner: Some(token.owner.any()),
            parent: self.parent,
            permissions: told(&token.details),
            resource: Some(token.resource.any()),
            rev: Some(token.rev),
            root: (!token.chain.is_empty()).then_some(token.subject),
            scope: (!token.scope.is_empty()).then(|| token.scope.to_string()),
            subject: self.external.as_ref().map(|user| user.subject.clone()),
            task: token.task(),
            token: Some(token.id),
            ..Body::default()
        }
    }
}

/// What a derived token hangs on besides what its event names: so that whoever counts what an id
/// ends finds it.
fn lineage_text(token: &AccessToken) -> Option<String> {
    let ids: Vec<String> = token.further.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

/// The acting parties as an event names them, newest first: `agt_…` or `agt_…/ins_…` each.
fn chain_text(token: &AccessToken) -> Option<String> {
    let party = |actor: &Actor| match actor.instance {
        Some(instance) => format!("{}/{instance}", actor.agent),
        None => actor.agent.to_string(),
    };
    let parties: Vec<String> = token.chain.iter().map(party).collect();
    (!parties.is_empty()).then(|| parties.join(" "))
}
