//! RFC 7523 sections 2.1 and 2.2: a workload that proves who it is with a token of its platform, as the
//! grant itself or as its client authentication.
//!
//! What proves it is a rule, a credential of the agent; who is proved is one instance of that agent. The
//! platform is in the lineage of what is issued: suspending the federation, revoking the rule or revoking
//! the instance ends it.

use std::sync::Arc;

use accredit_wire::ids::AgentId;
use accredit_wire::jose::jws::Unverified;
use accredit_wire::oauth::client_auth::ClientAuth;

use super::admission::{CredentialFacts, HolderFacts};
use super::authenticate::{AuthenticatedClient, NotAuthenticated, usable};
use super::grants::External;
use super::grants::actor::acting;
use crate::attestation::birth;
use crate::attestation::verify::{self, Presented};
use crate::context::Cx;
use crate::ports::UsedUp;
use crate::refusal::{Error, Fault, Refusal};
use crate::registry::instance::InstanceState;

/// A token of a platform, and who it is said to be of.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    presented: Presented,
    client_id: Option<&'a str>,
    token: &'a str,
}

/// The token of a platform in a request, where there is one: a client's own assertion is signed in the
/// client's name, and clients are called by ids of ours.
pub(super) fn shown(auth: &ClientAuth) -> Option<Shown<'_>> {
    match auth {
        ClientAuth::Grant { client_id, assertion } => Some(Shown {
            presented: Presented::Grant,
            client_id: client_id.as_deref(),
            token: assertion,
        }),
        ClientAuth::Assertion { client_id, assertion } => {
            let unverified = Unverified::parse(assertion).ok()?;
            let is_url = unverified.peek_unverified_issuer()?.contains("://");
            is_url.then_some(Shown {
                presented: Presented::ClientAssertion,
                client_id: client_id.as_deref(),
                token: assertion,
            })
        }
        ClientAuth::SecretBasic { .. }
        | ClientAuth::SecretPost { .. }
        | ClientAuth::Svid { .. }
        | ClientAuth::Certificate { .. }
        | ClientAuth::Bearer(_) => None,
    }
}

/// The refusal of a token that was used before.
pub(super) fn replayed(auth: &ClientAuth) -> Option<Refusal> {
    shown(auth).map(|shown| shown.presented.replayed())
}

/// Authenticates a workload as an instance of its agent.
pub(super) async fn client(
    cx: &Cx,
    shown: Shown<'_>,
) -> Result<AuthenticatedClient, NotAuthenticated> {
    let Shown { presented, client_id, token } = shown;
    let rev = cx.tenant.rev();
    let evidence = verify::evidence(cx, presented, token).await.map_err(not)?;
    let (rule, name) = evidence.rule(cx, presented, client_id).map_err(not)?;
    let found = cx.world.store.credential_facts(cx.tenant.id, rule.credential).await?.found;
    let credential = found.ok_or_else(|| Fault::new("rule", "it has no credential"))?;
    let client = AuthenticatedClient {
        used_up: UsedUp { assertion: Some(evidence.used.clone()), possession: None },
        attested: Some(Arc::new(External {
            federation: evidence.federation.id,
            issuer: evidence.federation.issuer.clone(),
            subject: evidence.subject.clone(),
        })),
        ..AuthenticatedClient::new(credential, presented.method(), rev)
    };
    let ended = |client, refusal| Err(NotAuthenticated::Ended(Box::new(client), refusal));
    if let Err(refusal) = usable(cx, &client.credential) {
        return ended(client, refusal);
    }
    // Before anything is brought into being: whether the agent may act at all.
    match acting(cx, &client).await {
        Ok(_) => {}
        Err(Error::Refused(refusal)) => return ended(client, refusal),
        Err(Error::Fault(fault)) => return Err(fault.into()),
    }
    match birth::instance(cx, &evidence, (&rule, &name)).await {
        Ok((id, expires_at)) => {
            let rule = &client.credential;
            let of = (rule_agent(rule)?, id);
            let credential = rule.of_workload(of, (InstanceState::Active, expires_at));
            Ok(AuthenticatedClient { credential: Arc::new(credential), ..client })
        }
        Err(Error::Refused(refusal)) => ended(client, refusal),
        Err(Error::Fault(fault)) => Err(fault.into()),
    }
}

fn rule_agent(rule: &CredentialFacts) -> Result<AgentId, Fault> {
    match &rule.holder {
        HolderFacts::Agent(agent) => Ok(*agent),
        HolderFacts::Instance { .. } | HolderFacts::Resource(_) | HolderFacts::Admin(_) => {
            Err(Fault::new("rule", "it is no agent's"))
        }
    }
}

fn not(error: Error) -> NotAuthenticated {
    match error {
        Error::Refused(refusal) => NotAuthenticated::Refused(refusal),
        Error::Fault(fault) => NotAuthenticated::Fault(fault),
    }
}
