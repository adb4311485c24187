//! SPIFFE Federation section 5.2.1: the bundle endpoint, profile `https_web`; under the trust domain's own name
//! `https_spiffe` (`crate::tls`). And the bundles of other trust domains, for instances that prove who they are.

use accredit_domain::ca::bundle;
use accredit_domain::trust_domains::told;

use super::tasks::agent;
use crate::dispatch::{Call, Handled};
use crate::reply;

/// The roots of an organization, for whoever checks its instances' certificates.
pub fn bundle(call: Call) -> Handled {
    Box::pin(async move { Ok(reply::public_json(&bundle::of(&*call.tenant().await?)?)?) })
}

/// The other trust domains whose workloads the instances of an agent may know.
pub fn federated(call: Call) -> Handled {
    Box::pin(async move {
        let agent = match agent(&call, |_| Ok(())).await? {
            Ok(agent) => agent,
            Err(refused) => return Ok(refused),
        };
        let told = told::federated(&agent.cx, &agent.client).await;
        agent.told(&call, told).await
    })
}
