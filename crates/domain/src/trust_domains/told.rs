//! SPIFFE Workload API sections 5.2 and 6.2: the bundles of other trust domains, for the instances of an agent.
//!
//! A bundle is no secret. With whom an organization has to do may be one, so that whoever asks proves
//! who they are, and is told of what is for their own agent.

use std::collections::BTreeMap;

use accredit_wire::time::Time;
use serde::Serialize;

use crate::ca::bundle::REFRESH_HINT_SECONDS;
use crate::context::Cx;
use crate::issuance::authenticate::AuthenticatedClient;
use crate::issuance::grants::actor::acting;
use crate::refusal::Error;

/// Other trust domains, as an agent's instances are told of them: all of those that are for it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Federated {
    /// Each by its name.
    pub trust_domains: BTreeMap<String, FederatedBundle>,
    /// After how many seconds to ask again.
    pub refresh_hint: u32,
}

/// One of them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FederatedBundle {
    /// Its bundle (SPIFFE Trust Domain and Bundle section 4).
    #[schema(value_type = Object)]
    pub bundle: serde_json::Value,
    /// When it was last had.
    #[schema(value_type = String)]
    pub fetched_at: Time,
}

/// The other trust domains of which the client's agent is told.
pub async fn federated(cx: &Cx, client: &AuthenticatedClient) -> Result<Federated, Error> {
    let (agent, _) = acting(cx, client).await?;
    let held = cx.world.store.foreign_domains(cx.tenant.id).await?;
    let own = held.into_iter().filter(|domain| domain.is_for(&agent.name));
    let trust_domains = own
        .map(|domain| {
            let bundle = domain.bundle.document();
            (domain.name.to_string(), FederatedBundle { bundle, fetched_at: domain.fetched_at })
        })
        .collect();
    Ok(Federated { trust_domains, refresh_hint: REFRESH_HINT_SECONDS })
}
