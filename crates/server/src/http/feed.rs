//! The revocation feed: a signed snapshot, and signed deltas as server-sent events.

use std::sync::Arc;

use futures_util::stream::unfold;
use http::StatusCode;

use crate::dispatch::{Call, Handled};
use crate::failure::Failure;
use crate::hub::Following;
use crate::reply;

/// The whole state as one signed message.
pub fn snapshot(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let message = call.server.hub.snapshot(&cx.tenant).await?;
        Ok(reply::bytes("application/jwt", message))
    })
}

/// Deltas from where the follower stands, until it hangs up or the server stops.
pub fn follow(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let held = call.query("gen").zip(call.query("rev"));
        let held = held.and_then(|(generation, rev)| {
            Some((generation.parse::<u64>().ok()?, rev.parse::<u64>().ok()?))
        });
        let hub = Arc::clone(&call.server.hub);
        let full = || Failure::Http {
            status: StatusCode::SERVICE_UNAVAILABLE,
            rule: "followers-too-many",
            detail: "too many followers are connected".to_owned(),
            hint: "fetch snapshots meanwhile, or follow another node".to_owned(),
        };
        let following = hub.follow(Arc::clone(&cx.tenant), held).ok_or_else(full)?;
        let frames = unfold(following, |mut following: Following| async move {
            let frame = following.next().await?;
            Some((frame, following))
        });
        Ok(reply::stream("text/event-stream", Box::pin(frames)))
    })
}
