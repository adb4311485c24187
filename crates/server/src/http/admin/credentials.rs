//! `/v1/credentials`.

use accredit_domain::registry::{credential, identification, rotation};

use super::lists::Asked;
use super::{made, ok, shown};
use crate::dispatch::{Call, Handled};

/// Registers a credential; a secret is in the answer.
pub fn create(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &credential::create(&cx, &call.json()?).await?)
    })
}

/// Credentials of the organization, of one agent or of one resource.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let (agent, resource) = (call.query("agent"), call.query("resource"));
        let asked = Asked::of(&call)?;
        let (page, agent) = (asked.page.clone(), agent.as_deref());
        asked.answer(credential::list(&cx, page, agent, resource.as_deref()).await?)
    })
}

/// One credential.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &credential::find(&cx, call.path("key")).await?)
    })
}

/// Makes a credential's successor; a secret is in the answer.
pub fn rotate(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &rotation::rotate(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Whose a found secret is.
pub fn identify(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&identification::identify(&cx, &call.json()?).await?)
    })
}
