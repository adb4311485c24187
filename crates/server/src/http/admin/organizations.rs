//! `/v1/orgs`.

use accredit_domain::Cx;
use accredit_domain::registry::{State, operator, organization};
use accredit_domain::restoration;

use super::lists::Asked;
use super::{created, reason, shown, tagged};
use crate::dispatch::{Call, Handled};
use crate::failure::Failure;

/// The context of whoever asks: an administrator's own, or for the operator that of the
/// organization that the path names.
async fn inside(call: &mut Call) -> Result<Cx, Failure> {
    match call.operator() {
        Some(by) => call.cx_of_operator(&by).await,
        None => call.checked(),
    }
}

/// Creates an organization; its administrator's key is in the answer.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let asked = call.json()?;
        let new = match call.operator() {
            Some(by) => operator::create(&by, &asked).await?,
            None => organization::create(&call.checked()?, &asked).await?,
        };
        Ok(tagged(new.organization.generation, created(&new)?, &new.organization))
    })
}

/// Organizations that the caller may see.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        if let Some(by) = call.operator() {
            let asked = Asked::of(&call)?;
            return asked.answer(operator::list(&by, asked.page.clone()).await?);
        }
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(organization::list(&cx, asked.page.clone()).await?)
    })
}

/// One organization.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = inside(&mut call).await?;
        shown(&cx, &organization::find(&cx, call.path("key")).await?)
    })
}

/// Changes an organization.
pub fn update(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &organization::update(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Opens issuing after a restore, on a person's word.
pub fn waive(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &restoration::waive(&cx, &call.json()?).await?)
    })
}

/// Stops an organization.
pub fn suspend(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = inside(&mut call).await?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &organization::set_state(&cx, key, State::Suspended, &reason).await?)
    })
}

/// Starts an organization again.
pub fn activate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = inside(&mut call).await?;
        let (key, reason) = (call.path("key"), reason(&call)?);
        shown(&cx, &organization::set_state(&cx, key, State::Active, &reason).await?)
    })
}
