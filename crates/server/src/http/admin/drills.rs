//! `/v1/drills`.

use super::created;
use crate::dispatch::{Call, Handled};
use crate::drill;

/// Makes, uses and kills something, and tells how far that came.
pub fn run(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        created(&drill::run(&call.server, &cx, &call.json()?).await?)
    })
}
