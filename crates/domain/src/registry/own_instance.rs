//! An instance that ends itself: its process is over, and nothing that it got is to outlive it.
//!
//! It ends itself and nobody else; who brought it into being ends it by its task.

use accredit_wire::oauth::instance_request::InstanceEnd;

use super::instance::{self, InstanceView};
use crate::context::Cx;
use crate::issuance::admission::HolderFacts;
use crate::issuance::authenticate::AuthenticatedClient;
use crate::refusal::{Error, Refusal, Rule};

/// Ends the instance as which the client proved itself, for ever.
pub async fn end(
    cx: &Cx,
    client: &AuthenticatedClient,
    asked: &InstanceEnd,
) -> Result<InstanceView, Error> {
    let HolderFacts::Instance { id, .. } = &client.credential.holder else {
        return Err(Refusal::new(
            Rule::GrantNotForClient,
            "an instance ends itself, and this credential is the agent's own",
            "use the credential of the instance, or end it as an administrator: `accredit revoke`",
        )
        .into());
    };
    instance::revoke(cx, *id, &asked.reason).await?;
    Ok(instance::by_id(cx, &id.to_string()).await?.view(cx.now))
}
