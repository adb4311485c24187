//! `/v1/root`.

use accredit_domain::Fault;
use accredit_domain::root;

use super::ok;
use crate::dispatch::{Call, Handled};

/// Rotates the root key. It goes on where the caller goes away: cut off between the store and the
/// files, it would be for a restart to finish.
pub fn rotate(mut call: Call) -> Handled {
    Box::pin(async move {
        let by = call.operator().ok_or_else(|| Fault::new("dispatch", "no operator was found"))?;
        let rotating = tokio::spawn(async move { root::rotate_by(&by).await });
        let rotated = rotating.await.map_err(|error| Fault::new("rotate the root key", error))?;
        ok(&rotated?)
    })
}
