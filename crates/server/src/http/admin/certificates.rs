//! `/v1/certificates`.

use accredit_domain::ca::issued;

use super::lists::Asked;
use super::ok;
use crate::dispatch::{Call, Handled};

/// Certificates of the organization, of one agent or of one instance.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        let (agent, instance) = (call.query("agent"), call.query("instance"));
        let of = (agent.as_deref(), instance.as_deref());
        asked.answer(issued::list(&cx, asked.page.clone(), of).await?)
    })
}

/// One certificate.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&issued::find(&cx, call.path("key")).await?)
    })
}
