//! An instance that ends itself: its process is over, and nothing that it got is to outlive it.
//!
//! It ends itself, and as a node what it vouched for, and nobody else; who brought it into being ends it
//! by its task.

use accredit_wire::ids::InstanceId;
use accredit_wire::oauth::instance_request::InstanceEnd;

use super::instance::{self, InstanceView};
use crate::context::Cx;
use crate::issuance::admission::HolderFacts;
use crate::issuance::authenticate::AuthenticatedClient;
use crate::refusal::{Error, Refusal, Rule};

/// Ends the instance as which the client proved itself, or one for which it vouched, for ever.
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
    let ended = match asked.instance {
        Some(other) if other != *id => {
            let found = cx.world.store.instance(cx.tenant.id, other).await?;
            let own = found.filter(|found| found.vouched_by == Some(id.any()));
            // To whoever did not vouch for it, it is as one that there is not.
            own.ok_or_else(|| none(other))?.id
        }
        _ => *id,
    };
    instance::revoke(cx, ended, &asked.reason).await?;
    Ok(instance::by_id(cx, &ended.to_string()).await?.view(cx.now))
}

fn none(id: InstanceId) -> Refusal {
    Refusal::new(
        Rule::NotFound,
        format!("the client vouched for no instance `{id}`"),
        "a node ends what it vouched for itself; anything else an administrator ends: `accredit revoke`",
    )
}
