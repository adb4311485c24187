//! RFC 9126, by analogy: tasks that an agent makes, lists and ends itself, in forms and with the
//! client authentication of the token endpoint.

use accredit_domain::audit::refusals;
use accredit_domain::issuance::authenticate::AuthenticatedClient;
use accredit_domain::registry::own_task;
use accredit_domain::{Cx, Error};
use accredit_wire::oauth::client_auth::BearerKeys;
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::rejection::Rejection;
use accredit_wire::oauth::task_request::{TaskEnd, TaskList, TaskRequest};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;

use super::token::refused;
use super::tokens::authenticated;
use crate::dispatch::{Call, Handled};
use crate::failure::Failure;
use crate::reply::Reply;
use crate::{rates, reply};

/// Makes a task, with what a user grants for it.
pub fn create(call: Call) -> Handled {
    Box::pin(async move {
        let agent = match agent(&call, TaskRequest::parse).await? {
            Ok(agent) => agent,
            Err(refused) => return Ok(refused),
        };
        let made = own_task::create(&agent.cx, &agent.client, &agent.asked).await;
        agent.told(&call, made).await
    })
}

/// The agent's tasks that are not over.
pub fn list(call: Call) -> Handled {
    Box::pin(async move {
        let agent = match agent(&call, TaskList::parse).await? {
            Ok(agent) => agent,
            Err(refused) => return Ok(refused),
        };
        let found = own_task::list(&agent.cx, &agent.client, &agent.asked).await;
        agent.told(&call, found).await
    })
}

/// Ends a task.
pub fn end(call: Call) -> Handled {
    Box::pin(async move {
        let agent = match agent(&call, TaskEnd::parse).await? {
            Ok(agent) => agent,
            Err(refused) => return Ok(refused),
        };
        let ended = own_task::end(&agent.cx, &agent.client, &agent.asked).await;
        agent.told(&call, ended).await
    })
}

/// Who asks, and for what.
pub(super) struct Agent<T> {
    pub(super) cx: Cx,
    pub(super) client: AuthenticatedClient,
    pub(super) asked: T,
}

/// Reads a form and authenticates its client; the refusal where that fails.
pub(super) async fn agent<T>(
    call: &Call,
    parse: fn(&Form) -> Result<T, Rejection>,
) -> Result<Result<Agent<T>, Reply>, Failure> {
    let mut cx = call.cx(call.tenant().await?);
    let form = Form::from_request(call.header(&CONTENT_TYPE), call.raw_query(), &call.body)?;
    let auth = call.client_auth(&form, BearerKeys::Refused)?;
    let asked = parse(&form)?;
    match authenticated(&mut cx, &auth, call.endpoint.operation).await {
        Ok(client) => Ok(Ok(Agent { cx, client, asked })),
        Err(Failure::Refused(refusal)) => Ok(Err(refused(call, &auth, refusal))),
        Err(failure) => Err(failure),
    }
}

impl<T> Agent<T> {
    /// What came of it. A refusal to an agent that is known is recorded.
    pub(super) async fn told<A: Serialize>(
        &self,
        call: &Call,
        answer: Result<A, Error>,
    ) -> Result<Reply, Failure> {
        if let Err(Error::Refused(refusal)) = &answer {
            let (credential, operation) = (self.client.credential.id, call.endpoint.operation);
            refusals::record(&self.cx, credential, operation, refusal).await?;
        }
        let standing = self.cx.world.limits.client_stands(self.client.id(), self.cx.now);
        Ok(rates::told(reply::json(StatusCode::OK, &answer?)?, standing))
    }
}
