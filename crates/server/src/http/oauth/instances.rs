//! RFC 9126, by analogy: instances of other agents that an agent brings into being, instances that end
//! themselves, and those that are known by a key of their own: nodes, and the processes that these vouch
//! for. In a form and with the client authentication of the token endpoint, or with a join token.

use accredit_domain::attestation::process;
use accredit_domain::registry::{born, node, own_instance};
use accredit_wire::api_key::ApiKey;
use accredit_wire::oauth::client_auth::{BearerKeys, ClientAuth};
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::instance_request::{
    InstanceEnd, InstanceRequest, JoinRequest, ProcessRequest,
};
use accredit_wire::oauth::rejection::Rejection;
use accredit_wire::secret::Secret;
use http::header::CONTENT_TYPE;

use super::tasks::{Agent, agent};
use super::token::refused;
use super::tokens::joining;
use crate::dispatch::{Call, Handled};
use crate::failure::Failure;

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

/// Gives a node its key; whoever shows a join token becomes one.
pub fn join(call: Call) -> Handled {
    Box::pin(async move {
        let mut cx = call.cx(call.tenant().await?);
        let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
        let auth = match form.get("join_token") {
            Some(token) => by_token(&call, &form, token)?,
            None => call.client_auth(&form, BearerKeys::Refused)?,
        };
        let asked = JoinRequest::parse(&form)?;
        match joining(&mut cx, &auth, call.endpoint.operation).await {
            Ok(client) => {
                let joined = node::join(&cx, &client, &asked).await;
                Agent { cx, client, asked }.told(&call, joined).await
            }
            Err(Failure::Refused(refusal)) => Ok(refused(&call, &auth, refusal)),
            Err(failure) => Err(failure),
        }
    })
}

/// A join token proves who asks, and nothing else may stand beside it.
fn by_token(call: &Call, form: &Form, token: &str) -> Result<ClientAuth, Rejection> {
    let others = ["client_secret", "client_assertion", "client_assertion_type", "client_id"];
    if !call.authorization().is_empty() || others.iter().any(|name| form.get(name).is_some()) {
        return Err(Rejection::TwoClientAuthentications);
    }
    ApiKey::parse(token).map_err(Rejection::Bearer)?;
    Ok(ClientAuth::Bearer(Secret::new(token.to_owned())))
}

/// Finds the instance that a node's process is, or brings it into being.
pub fn attested(call: Call) -> Handled {
    Box::pin(async move {
        let node = match agent(&call, ProcessRequest::parse).await? {
            Ok(node) => node,
            Err(refused) => return Ok(refused),
        };
        let found = process::attested(&node.cx, &node.client, &node.asked).await;
        node.told(&call, found).await
    })
}
