//! One grant, one file: each turns a request into a proposal, and decides nothing else. What they
//! share stands beside them: who acts ([`actor`]) and at which resource ([`target`]).

pub mod actor;
mod attenuated;
pub mod client_credentials;
pub(crate) mod descent;
pub mod durable;
pub mod target;
pub mod token_exchange;

use std::sync::Arc;

use accredit_wire::authority::{Authority, Scope};
use accredit_wire::binding::Confirmation;
use accredit_wire::ids::{AnyId, FederationId, PersonId, TaskId, TokenId};
use accredit_wire::oauth::authorization_details::AskedDetail;
use accredit_wire::time::Time;
use accredit_wire::token::{Actor, SubjectKind};

use super::admission::{AgentFacts, CredentialFacts, HolderFacts, ResourceFacts};
use crate::issuance::svid::ShownSvid;
use crate::registry::task::TaskFacts;

/// What a grant proposes: who would get what, where and for how long. Not yet permitted.
#[derive(Debug)]
pub struct ProposedGrant {
    pub(in crate::issuance) agent: Arc<AgentFacts>,
    pub(in crate::issuance) credential: Arc<CredentialFacts>,
    pub(in crate::issuance) resource: Arc<ResourceFacts>,
    pub(in crate::issuance) scope: Scope,
    pub(in crate::issuance) details: Vec<AskedDetail>,
    pub(in crate::issuance) owner: PersonId,
    pub(in crate::issuance) lifetime: u32,
    pub(in crate::issuance) rev: u64,
    /// What the agent proved to hold, to which the token is bound.
    pub(in crate::issuance) binds: Option<Confirmation>,
    /// The task that it is for, with its deadline, where the request names one.
    pub(in crate::issuance) task: Option<Arc<TaskFacts>>,
    /// None where the agent acts for itself.
    pub(in crate::issuance) origin: Option<Box<Origin>>,
    /// The platform by whose word the instance is who it is.
    pub(in crate::issuance) attested: Option<Arc<External>>,
    /// The certificate or JWT-SVID of ours by which the instance is known.
    pub(in crate::issuance) svid: Option<Arc<ShownSvid>>,
    /// By whose word the instance is who it is, with all that ends it therefore.
    pub(in crate::issuance) hangs_on: Vec<AnyId>,
}

impl ProposedGrant {
    /// Whether another agent brought the instance into being that asks.
    pub(in crate::issuance) fn is_of_one_born(&self) -> bool {
        matches!(self.credential.holder, HolderFacts::Instance { descent: Some(_), .. })
    }

    /// Whether the instance that asks is who it is by somebody's word.
    pub(in crate::issuance) fn is_of_one_vouched_for(&self) -> bool {
        matches!(self.credential.holder, HolderFacts::Instance { vouched: Some(_), .. })
    }
}

/// On whose behalf an agent acts, and what bounds it besides what the agent holds itself.
#[derive(Debug)]
pub struct Origin {
    /// What the subject is.
    pub(in crate::issuance) kind: SubjectKind,
    /// For whom the chain acts.
    pub(in crate::issuance) subject: AnyId,
    /// The acting parties, newest first; the agent that asks is the first of them, unless it is the
    /// subject itself.
    pub(in crate::issuance) chain: Vec<Actor>,
    /// Ids whose revocation ends the result, besides those that its own claims name: the lineage of
    /// what it was derived from.
    pub(in crate::issuance) further: Vec<AnyId>,
    /// What was passed on: nothing beyond it is granted, nor passed on again.
    pub(in crate::issuance) ceiling: Authority,
    /// Whether the acting parties are kept out of `act`.
    pub(in crate::issuance) impersonated: bool,
    /// When what it is derived from ends.
    pub(in crate::issuance) expires_at: Time,
    /// The token of ours that it is derived from, or what a task holds in the place of one.
    pub(in crate::issuance) parent: Option<TokenId>,
    /// Who the user is elsewhere, where it is their token of another issuer.
    pub(in crate::issuance) external: Option<External>,
}

/// Who a user or a workload is at the issuer that knows them.
#[derive(Clone, Debug)]
pub struct External {
    /// The federation with it.
    pub(crate) federation: FederationId,
    /// Its `iss`.
    pub(in crate::issuance) issuer: String,
    /// Its `sub`.
    pub(in crate::issuance) subject: String,
}

impl Origin {
    /// The task that what it is derived from was minted for.
    pub(in crate::issuance) fn task(&self) -> Option<TaskId> {
        self.further.iter().find_map(|id| TaskId::try_from(*id).ok())
    }
}
