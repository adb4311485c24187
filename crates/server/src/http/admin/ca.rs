//! `/v1/ca`.

use accredit_domain::ca::revoked::{KNOWN_WITHIN_SECONDS, ListsView};
use accredit_domain::ca::{bundle, upstream};

use super::{created, ok};
use crate::dispatch::{Call, Handled};

/// The organization's certificate authority.
pub fn show(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&bundle::show(&cx)?)
    })
}

/// A request for the certificate of its next root.
pub fn request(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&upstream::request(&cx).await?)
    })
}

/// Takes the certificate that a root outside gave for it.
pub fn import(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        created(&upstream::import(&cx, &call.json()?).await?)
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
