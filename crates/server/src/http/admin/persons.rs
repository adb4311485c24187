//! `/v1/persons`.

use accredit_domain::registry::{State, person};

use super::lists::Asked;
use super::{made, reason, shown};
use crate::dispatch::{Call, Handled};

/// Registers a person.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &person::create(&cx, &call.json()?).await?)
    })
}

/// Persons of the organization.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(person::list(&cx, asked.page.clone()).await?)
    })
}

/// One person.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &person::find(&cx, call.path("key")).await?)
    })
}

/// Changes a person.
pub fn update(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &person::update(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Stops a person.
pub fn suspend(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &person::set_state(&cx, key, State::Suspended, &reason).await?)
    })
}

/// Starts a person again.
pub fn activate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &person::set_state(&cx, key, State::Active, &reason).await?)
    })
}
