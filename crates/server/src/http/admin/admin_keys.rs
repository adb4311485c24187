//! `/v1/admin-keys`.

use accredit_domain::registry::admin_key;

use super::lists::Asked;
use super::{made, shown};
use crate::dispatch::{Call, Handled};

/// Makes an administrator's key; it is in the answer.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &admin_key::create(&cx, &call.json()?).await?)
    })
}

/// Keys of the organization's administrators.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(admin_key::list(&cx, asked.page.clone()).await?)
    })
}

/// One key.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &admin_key::find(&cx, call.path("key")).await?)
    })
}

/// Makes a successor; the old key lives on for a while.
pub fn rotate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &admin_key::rotate(&cx, call.path("key"), &call.json()?).await?)
    })
}
