//! SPIFFE Federation section 5.2.1: the bundle endpoint, profile `https_web`; under the trust domain's own name
//! `https_spiffe` (`crate::tls`).

use accredit_domain::ca::bundle;

use crate::dispatch::{Call, Handled};
use crate::reply;

/// The roots of an organization, for whoever checks its instances' certificates.
pub fn bundle(call: Call) -> Handled {
    Box::pin(async move { Ok(reply::public_json(&bundle::of(&*call.tenant().await?)?)?) })
}
