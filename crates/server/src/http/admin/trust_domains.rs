//! `/v1/trust-domains`: other trust domains whose workloads the organization's instances may know.

use accredit_domain::trust_domains;

use super::lists::Asked;
use super::{made, shown};
use crate::dispatch::{Call, Handled};

/// Takes in another trust domain.
pub fn add(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        made(&cx, &trust_domains::add(&cx, &call.json()?).await?)
    })
}

/// Other trust domains of the organization.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        asked.answer(trust_domains::list(&cx, asked.page.clone()).await?)
    })
}

/// One of them.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &trust_domains::show(&cx, call.path("key")).await?)
    })
}

/// Fetches its bundle, or takes one that is given.
pub fn refresh(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &trust_domains::refresh(&cx, call.path("key"), &call.json()?).await?)
    })
}

/// Forgets it.
pub fn remove(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        shown(&cx, &trust_domains::remove(&cx, call.path("key")).await?)
    })
}
