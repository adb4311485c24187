//! `/v1/events` and `/v1/log`: reading, exporting and checking the audit log.

use accredit_domain::Fault;
use accredit_domain::audit::fsck as check;
use accredit_domain::audit::merged::Cursor;
use accredit_domain::audit::prune;
use accredit_domain::audit::read::{self, EventQuery};
use accredit_domain::audit::reads;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::ETAG;
use serde::Serialize;

use super::lists::Asked;
use super::ok;
use crate::dispatch::{Call, Handled};
use crate::reply;

/// A page of events.
pub fn list(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let asked = Asked::of(&call)?;
        let after = asked.page.cursor.clone().or_else(|| call.query("after"));
        let query = EventQuery {
            after: after.as_deref().map(Cursor::parse).transpose()?,
            kind: call.query("type"),
            newest: asked.page.order.is_backwards(),
            limit: asked.page.limit,
        };
        // Recorded after reading, so that a page does not begin with its own event, and before
        // answering.
        let page = read::list(&cx, &query).await?;
        reads::record(&cx).await?;
        asked.answer(page)
    })
}

/// One event.
pub fn get(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let event = read::find(&cx, call.path("key")).await?;
        reads::record(&cx).await?;
        // An event changes once at most, when its payload is pruned.
        let pruned = if event.payload.is_some() { "" } else { "-pruned" };
        let mut reply = ok(&event)?;
        reply::set(&mut reply, ETAG, &format!("\"{}{pruned}\"", event.leaf));
        Ok(reply)
    })
}

/// The whole log as lines that prove themselves.
pub fn export(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let export = read::export(&cx).await?;
        let chunks = unfold(Some((cx, export)), |state| async move {
            let (cx, mut export) = state?;
            match export.chunk(&cx).await {
                Ok(Some(lines)) => Some((Ok(Bytes::from(lines)), Some((cx, export)))),
                Ok(None) => None,
                Err(fault) => {
                    tracing::error!(%fault, "export broken off");
                    Some((Err::<Bytes, Fault>(fault), None))
                }
            }
        });
        Ok(reply::stream("application/x-ndjson", Box::pin(chunks)))
    })
}

/// Where the log stands, with what verifies it.
pub fn lanes(mut call: Call) -> Handled {
    Box::pin(async move {
        #[derive(Serialize)]
        struct Lanes {
            lanes: Vec<read::LaneView>,
        }
        let cx = call.checked()?;
        let lanes = read::lanes(&cx).await?;
        reads::record(&cx).await?;
        ok(&Lanes { lanes })
    })
}

/// Deletes the payloads of old events.
pub fn prune(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        ok(&prune::prune(&cx, &call.json()?).await?)
    })
}

/// Computes the log again and compares.
pub fn fsck(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let report = check::fsck(&cx.world, &cx.tenant).await?;
        reads::record(&cx).await?;
        ok(&report)
    })
}
