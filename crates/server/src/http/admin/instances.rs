//! `/v1/instances`.

use accredit_domain::registry::instance;

use super::lists::Asked;
use super::{made, shown};
use crate::dispatch::{Call, Handled};

/// Registers an instance; its secret is in the answer.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &instance::create(&cx, &call.json()?).await?)
    })
}

/// Instances of the organization, or of one agent.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        let agent = call.query("agent");
        asked.answer(instance::list(&cx, asked.page.clone(), agent.as_deref()).await?)
    })
}

/// One instance.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &instance::find(&cx, call.path("key")).await?)
    })
}
