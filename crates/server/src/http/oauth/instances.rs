//! RFC 9126, by analogy: instances of other agents that an agent brings into being, in a form and with
//! the client authentication of the token endpoint.

use accredit_domain::registry::born;
use accredit_wire::oauth::instance_request::InstanceRequest;

use super::tasks::agent;
use crate::dispatch::{Call, Handled};

/// Brings an instance into being; its secret is in the answer.
pub fn spawn(call: Call) -> Handled {
    Box::pin(async move {
        let agent = match agent(&call, InstanceRequest::parse).await? {
            Ok(agent) => agent,
            Err(refused) => return Ok(refused),
        };
        let made = born::spawn(&agent.cx, &agent.client, &agent.asked).await;
        agent.told(&call, made).await
    })
}
