//! `/v1/resources`.

use accredit_domain::registry::{State, resource};

use super::lists::Asked;
use super::{made, reason, shown};
use crate::dispatch::{Call, Handled};

/// Registers a resource.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &resource::create(&cx, &call.json()?).await?)
    })
}

/// Resources of the organization.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(resource::list(&cx, asked.page.clone()).await?)
    })
}

/// One resource.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &resource::find(&cx, call.path("key")).await?)
    })
}

/// Changes a resource.
pub fn update(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &resource::update(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Stops a resource.
pub fn suspend(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &resource::set_state(&cx, key, State::Suspended, &reason).await?)
    })
}

/// Starts a resource again.
pub fn activate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &resource::set_state(&cx, key, State::Active, &reason).await?)
    })
}
