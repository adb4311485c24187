//! `/v1/revocations` and `/v1/signing-keys`.

use accredit_domain::keys::{self, rotation};
use accredit_domain::revocation;

use super::lists::Asked;
use super::{created, ok};
use crate::dispatch::{Call, Handled};

/// Ends whatever hangs on an id.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        created(&revocation::revoke(&cx, &call.json()?).await?)
    })
}

/// What ending an id would end.
pub fn preview(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let target = call.query("target").unwrap_or_default();
        ok(&revocation::preview(&cx, &target).await?)
    })
}

/// Entries of the revocation graph, of one target where it is named.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        let target = call.query("target");
        asked.answer(revocation::list(&cx, asked.page.clone(), target.as_deref()).await?)
    })
}

/// The signing keys of the organization.
pub fn signing_keys(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(keys::list(&cx, asked.page.clone()).await?)
    })
}

/// Lets the next signing key sign.
pub fn rotate_signing_key(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        created(&rotation::rotate(&cx, &call.json()?).await?)
    })
}
