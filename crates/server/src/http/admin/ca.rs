//! `/v1/ca`.

use accredit_domain::ca::bundle;
use accredit_domain::ca::revoked::{KNOWN_WITHIN_SECONDS, ListsView};

use super::ok;
use crate::dispatch::{Call, Handled};

/// The organization's certificate authority.
pub fn show(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&bundle::show(&cx)?)
    })
}

/// The lists of revoked certificates of its authorities.
pub fn lists(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let lists = call.server.certificate_status.lists(&cx.world, &cx.tenant).await?;
        let url = format!("{}/ca/crls", cx.tenant.issuer);
        ok(&ListsView { url, known_within: KNOWN_WITHIN_SECONDS, lists })
    })
}
