//! `/v1/agents` and their permissions.

use accredit_domain::registry::{agent, ghosts, impersonation, permission, strip};

use super::lists::Asked;
use super::{made, ok, reason, shown};
use crate::dispatch::{Call, Handled};

/// Registers an agent.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &agent::create(&cx, &call.json()?).await?)
    })
}

/// Agents of the organization.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (owner, environment) = (call.query("owner"), call.query("environment"));
        let asked = Asked::of(&call)?;
        let (page, owner) = (asked.page.clone(), owner.as_deref());
        asked.answer(agent::list(&cx, page, owner, environment.as_deref()).await?)
    })
}

/// One agent.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &agent::find(&cx, call.path("key")).await?)
    })
}

/// Changes an agent.
pub fn update(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &agent::update(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Makes an agent active.
pub fn activate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &agent::activate(&cx, call.path("key"), &reason(&call)?).await?)
    })
}

/// Stops an agent.
pub fn suspend(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &agent::suspend(&cx, call.path("key"), &reason(&call)?).await?)
    })
}

/// Narrows an agent, and ends its live tokens.
pub fn strip(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let stripped = strip::strip(&cx, call.path("key"), &call.json()?).await?;
        call.server.hub.points.asked(cx.tenant.id, stripped.revocation.rev, call.came());
        shown(&cx, &stripped)
    })
}

/// Lets an agent act for a subject without being named.
pub fn allow_impersonation(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &impersonation::allow(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Lets an agent act for a subject by delegation alone.
pub fn end_impersonation(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &impersonation::end(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Whether anything of an agent still authenticates.
pub fn ghosts(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&ghosts::ghosts(&cx, call.path("key")).await?)
    })
}

/// Ends an agent for ever.
pub fn decommission(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &agent::decommission(&cx, call.path("key"), &reason(&call)?).await?)
    })
}

/// What an agent may do.
pub fn permissions(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(permission::list(&cx, call.path("key"), asked.page.clone()).await?)
    })
}

/// Sets what an agent may do at a resource.
pub fn set_permission(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (agent, resource) = (call.path("key"), call.path("resource"));
        shown(&cx, &permission::set(&cx, agent, resource, &call.json()?).await?)
    })
}

/// Takes from an agent what it may do at a resource.
pub fn delete_permission(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &permission::delete(&cx, call.path("key"), call.path("resource")).await?)
    })
}
