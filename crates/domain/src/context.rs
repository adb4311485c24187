//! Who asks, in which organization, and when: the context of every operation.
//!
//! The clock is read once per request, here; below, `now` is a value. An operation that is given
//! no [`Cx`] cannot reach an organization's data.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use accredit_wire::ids::{AnyId, CredentialId, RequestId};
use accredit_wire::time::Time;

use crate::audit::event::{Actor, Body, Event, EventKind, Source};
use crate::issuance::clock::LatestTime;
use crate::issuance::possession::NoncePolicy;
use crate::limits::Limits;
use crate::ports::{Clock, Entropy, KeyVault, Outbound, Store};
use crate::refusal::{Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::root::Root;
use crate::tenant::Tenant;
use crate::terms::Terms;
use crate::view::View;

/// The outside world, built once by the composition root or a test.
pub struct World {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The latest one that was taken for right: no token is issued long before it.
    pub latest: Arc<LatestTime>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Secret keys.
    pub vault: Arc<dyn KeyVault>,
    /// The root key's place, and that one rotation of it at a time is under way.
    pub root: Root,
    /// Documents from outside.
    pub outbound: Arc<dyn Outbound>,
    /// Durable facts.
    pub store: Arc<dyn Store>,
    /// How old what is in memory of them may be.
    pub view: View,
    /// Where this installation is reached: the only source of issuer names.
    pub public_url: String,
    /// How many requests one caller may send.
    pub limits: Limits,
    /// Whether proofs of possession need a nonce; they may come without where it is not set.
    pub nonces: OnceLock<NoncePolicy>,
}

impl World {
    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0u8; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Nobody said.
    Anyone,
    /// An administrator, by key.
    Admin {
        /// The key.
        credential: CredentialId,
        /// What it allows.
        permissions: Vec<AdminPermission>,
    },
    /// An agent or a resource that proved who it is.
    Client {
        /// The agent's or the resource's id.
        id: AnyId,
        /// With which credential.
        credential: CredentialId,
    },
    /// The installation's operator, who is entitled to nothing inside an organization.
    Operator {
        /// The key.
        credential: CredentialId,
    },
    /// Ourselves: start-up and jobs.
    System,
}

/// The context of one operation.
#[derive(Clone)]
pub struct Cx {
    /// The outside world.
    pub world: Arc<World>,
    /// The organization; nothing outside it is reachable.
    pub tenant: Arc<Tenant>,
    /// Who asks.
    pub caller: Caller,
    /// Which request it is, told to the caller and recorded in the event.
    pub request: RequestId,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// The time of the decision.
    pub now: Time,
    /// The terms on which it is asked for.
    pub terms: Terms,
}

impl Cx {
    /// A fresh id's raw material: the time and ten random bytes.
    pub fn seed(&self) -> (u64, [u8; 10]) {
        (self.now.millis(), self.world.random())
    }

    /// Refuses a caller that lacks `permission`.
    pub fn require(&self, permission: AdminPermission) -> Result<(), Refusal> {
        let held = match &self.caller {
            Caller::Admin { permissions, .. } => permissions.contains(&permission),
            Caller::System => true,
            Caller::Anyone | Caller::Client { .. } | Caller::Operator { .. } => false,
        };
        if held {
            return Ok(());
        }
        Err(Refusal::new(
            Rule::NotEntitled,
            format!("this operation needs an administrator's key with `{}`", permission.as_str()),
            "use a key that has this permission",
        ))
    }

    /// An event of this operation: actor, request and source are filled in.
    pub fn event(&self, kind: EventKind, body: Body) -> Event {
        let actor = match &self.caller {
            Caller::Anyone => None,
            Caller::Admin { credential, .. } => {
                Some(Actor { id: Some(credential.any()), kind: "admin" })
            }
            Caller::Client { id, .. } => {
                let kind = match id.kind() {
                    accredit_wire::ids::Kind::Resource => "resource",
                    _ => "agent",
                };
                Some(Actor { id: Some(*id), kind })
            }
            Caller::Operator { credential } => {
                Some(Actor { id: Some(credential.any()), kind: "operator" })
            }
            Caller::System => Some(Actor { id: None, kind: "system" }),
        };
        let body = Body {
            actor: body.actor.or(actor),
            request: Some(self.request),
            source: self.source.map(|ip| Source { ip }),
            trace: self.terms.trace,
            ..body
        };
        Event::new(kind, self.now, self.world.random(), body)
    }
}
