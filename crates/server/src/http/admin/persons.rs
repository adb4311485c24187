//! `/v1/persons`.

use accredit_domain::registry::{State, person, person_grant};

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

/// What a person may do by grant.
pub fn permissions(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(person_grant::list(&cx, call.path("key"), asked.page.clone()).await?)
    })
}

/// Gives a person what they may do.
pub fn grant(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &person_grant::grant(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Takes from a person what they may do.
pub fn ungrant(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &person_grant::ungrant(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Who a person is at external issuers.
pub fn identities(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(person_grant::identities(&cx, call.path("key"), asked.page.clone()).await?)
    })
}

/// Says who a person is at an external issuer.
pub fn link(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &person_grant::link(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Says that a person is that no more.
pub fn unlink(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &person_grant::unlink(&cx, call.path("key"), &call.json()?).await?)
    })
}
