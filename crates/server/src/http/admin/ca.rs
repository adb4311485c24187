//! `/v1/ca`.

use accredit_domain::ca::bundle;

use super::ok;
use crate::dispatch::{Call, Handled};

/// The organization's certificate authority.
pub fn show(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&bundle::show(&cx)?)
    })
}
