//! RFC 8693 with a task in the place of the subject token: its agent acts for the user who granted
//! something for it, when that user's own token is gone.
//!
//! What comes of it is like the root of a chain that the user's token would have begun: `sub` is the
//! user, the agent acts. It is met with what the user may do now, and dies with the task, the grant,
//! the user, their federation and the instance that was given the grant.

use accredit_wire::ids::{InstanceId, TaskId};
use accredit_wire::oauth::token_exchange::TokenExchange;
use accredit_wire::token::{Actor, SubjectKind};

use super::{External, Origin};
use crate::context::Cx;
use crate::federation::durable::{still, void};
use crate::refusal::{Error, Refusal, Rule};
use crate::registry::durable::DurableGrant;
use crate::registry::instance::InstanceState;
use crate::registry::task;

/// On whose behalf the agent acts, by what its task holds.
pub(super) async fn origin(
    cx: &Cx,
    exchange: &TokenExchange,
    actor: Actor,
) -> Result<Origin, Error> {
    let task = named(exchange)?;
    let task = task::for_token(cx, task, actor.agent).await?;
    let grant = task.grant.as_deref().ok_or_else(|| {
        Refusal::new(
            Rule::GrantNone,
            format!("task `{}` holds nothing that a user granted", task.id),
            "make a task with a token of the user's",
        )
    })?;
    if grant.revoked || grant.expires_at <= cx.now {
        return Err(void("it was revoked, or its time has come").into());
    }
    was_given_to_somebody_alive(cx, grant, actor).await?;
    let ceiling = grant.authority.meet(&still(cx, grant).await?);
    if ceiling.is_empty() {
        return Err(Refusal::new(
            Rule::DelegationNone,
            "of what the user granted they may do nothing any more",
            "an administrator says what they may: `accredit person grant`, or a rule of the federation",
        )
        .into());
    }
    let mut further = vec![grant.federation.any(), task.id.any(), grant.id.any()];
    let given = grant.instance.filter(|given| Some(*given) != actor.instance);
    further.extend(given.map(InstanceId::any));
    Ok(Origin {
        kind: SubjectKind::User,
        subject: grant.person.any(),
        chain: vec![actor],
        further,
        ceiling,
        impersonated: false,
        expires_at: grant.expires_at.min(task.deadline),
        parent: Some(grant.id),
        external: Some(External {
            federation: grant.federation,
            issuer: grant.issuer.clone(),
            subject: grant.subject.clone(),
        }),
    })
}

/// The task that stands in the place of a subject token.
fn named(exchange: &TokenExchange) -> Result<TaskId, Refusal> {
    exchange.subject_token.expose().parse().map_err(|_| {
        Refusal::new(
            Rule::SubjectToken,
            "the subject token is not the id of a task",
            "send the id that the task was made with, `tsk_…`",
        )
    })
}

/// Refuses where the instance that was given the grant was revoked since. That it has expired is no
/// reason: it has done its work.
async fn was_given_to_somebody_alive(
    cx: &Cx,
    grant: &DurableGrant,
    actor: Actor,
) -> Result<(), Error> {
    let Some(given) = grant.instance.filter(|given| Some(*given) != actor.instance) else {
        return Ok(());
    };
    let found = cx.world.store.instance(cx.tenant.id, given).await?;
    if found.is_some_and(|instance| instance.state == InstanceState::Active) {
        return Ok(());
    }
    Err(void("the instance that was given it was revoked").into())
}
