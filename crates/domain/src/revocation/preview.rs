//! What a revocation would end, told before anybody asks for it. Nothing is changed or recorded.

use accredit_wire::ids::{AnyId, FederationId, KeyId, Kind};
use serde::Serialize;

use super::{Blast, blast, rows_below, unrevocable};
use crate::Fault;
use crate::context::Cx;
use crate::federation::registry as federation;
use crate::refusal::{Error, Refusal};
use crate::registry::credential::AdminPermission;
use crate::registry::{credential, find_agent, find_person, find_resource, instance, task};

/// What ending an id would end.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Effect {
    /// The id.
    #[schema(value_type = String)]
    pub target: AnyId,
    /// What ends with it, as of now.
    pub blast: Blast,
}

/// Counts what hangs on an id of this organization.
pub async fn preview(cx: &Cx, target: &str) -> Result<Effect, Error> {
    cx.require(AdminPermission::Revoke)?;
    let target: AnyId = target.parse().map_err(|error| {
        Refusal::field("target", error, "use an id such as `ins_…`; lists show them")
    })?;
    let name = target.to_string();
    match target.kind() {
        Kind::Organization if target == cx.tenant.id.any() => {}
        Kind::Organization => return Err(Refusal::not_found("organization", target).into()),
        Kind::Person => drop(find_person(cx, &name).await?),
        Kind::Resource => drop(find_resource(cx, &name).await?),
        Kind::Federation => {
            let id = FederationId::try_from(target).map_err(|_| unrevocable(target))?;
            federation::there_is(cx, id).await?;
        }
        Kind::Agent => drop(find_agent(cx, &name).await?),
        Kind::Instance => drop(instance::find(cx, &name).await?),
        Kind::Credential => drop(credential::find(cx, &name).await?),
        Kind::Key => {
            let keys = cx.world.store.signing_keys(cx.tenant.id).await?;
            let id = KeyId::try_from(target).map_err(|_| unrevocable(target))?;
            if !keys.iter().any(|key| key.sealed.id == id) {
                return Err(Refusal::not_found("signing-key", id).into());
            }
        }
        // There are no rows of tokens: any may be ended.
        Kind::Token | Kind::Block => {}
        Kind::Task => drop(task::find(cx, &name).await?),
        Kind::Revocation | Kind::Event | Kind::Request => {
            return Err(unrevocable(target).into());
        }
    }
    let rows = rows_below(cx, target).await;
    let blast = blast(cx, target, rows).await;
    let blast = blast.ok_or_else(|| Fault::new("preview a revocation", "it was not counted"))?;
    Ok(Effect { target, blast })
}
