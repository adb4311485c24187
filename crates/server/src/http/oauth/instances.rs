//! RFC 9126, by analogy: instances of other agents that an agent brings into being, and instances that end
//! themselves, in a form and with the client authentication of the token endpoint.

use accredit_domain::registry::{born, own_instance};
use accredit_wire::oauth::instance_request::{InstanceEnd, InstanceRequest};

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

/// Ends the instance that asks.
pub fn end(call: Call) -> Handled {
    Box::pin(async move {
        let agent = match agent(&call, InstanceEnd::parse).await? {
            Ok(agent) => agent,
            Err(refused) => return Ok(refused),
        };
        let ended = own_instance::end(&agent.cx, &agent.client, &agent.asked).await;
        agent.told(&call, ended).await
    })
}
