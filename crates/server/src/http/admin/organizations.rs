//! `/v1/orgs`.

use accredit_domain::registry::{State, organization};

use super::{created, ok, page, reason};
use crate::dispatch::{Call, Handled};

/// Creates an organization; its administrator's key is in the answer.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        created(&organization::create(&cx, &call.json()?).await?)
    })
}

/// Organizations that the caller may see.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&organization::list(&cx, page(&call)?).await?)
    })
}

/// One organization.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&organization::find(&cx, call.path("key")).await?)
    })
}

/// Changes an organization.
pub fn update(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&organization::update(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Stops an organization.
pub fn suspend(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        ok(&organization::set_state(&cx, key, State::Suspended, &reason).await?)
    })
}

/// Starts an organization again.
pub fn activate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        ok(&organization::set_state(&cx, key, State::Active, &reason).await?)
    })
}
