//! `/v1/federations`.

use accredit_domain::federation::registry as federation;
use accredit_domain::registry::State;

use super::lists::Asked;
use super::{made, reason, shown};
use crate::dispatch::{Call, Handled};

/// Registers an external issuer.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &federation::create(&cx, &call.json()?).await?)
    })
}

/// Federations of the organization.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(federation::list(&cx, asked.page.clone()).await?)
    })
}

/// One federation.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &federation::find(&cx, call.path("key")).await?)
    })
}

/// Changes a federation.
pub fn update(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &federation::update(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Stops a federation.
pub fn suspend(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &federation::set_state(&cx, key, State::Suspended, &reason).await?)
    })
}

/// Starts a federation again.
pub fn activate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &federation::set_state(&cx, key, State::Active, &reason).await?)
    })
}
