//! The revocation feed: a signed snapshot, in pieces where it is large, and signed deltas as
//! server-sent events.

use std::sync::Arc;
use std::time::Duration;

use accredit_domain::{Fault, Refusal, Rule};
use accredit_wire::revocations::{Acknowledgement, Nonce};
use bytes::Bytes;
use futures_util::stream::{iter, unfold};
use http::StatusCode;

use crate::dispatch::{Call, Handled};
use crate::failure::Failure;
use crate::followers::{Following, Held};
use crate::hub::{Resume, Snapshot};
use crate::points::Introduced;
use crate::reply;
use crate::{jobs, nodes};

/// A signed message and the pieces that it names, a line each.
const PIECES_TYPE: &str = "application/vnd.accredit.revocations";

/// The whole state as one signed message, and the pieces where it is the head of some.
pub fn snapshot(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        jobs::level(&call.server, &cx.tenant).await?;
        let snapshot = call.server.hub.snapshot(&cx.tenant, nonce(&call)?).await?;
        let Snapshot { head, pieces } = snapshot;
        let Some(pieces) = pieces else { return Ok(reply::bytes("application/jwt", head)) };
        let lines = pieces.map(|piece| Bytes::from(format!("\n{}", piece.text())));
        let body = std::iter::once(Bytes::from(head)).chain(lines).map(Ok);
        Ok(reply::stream(PIECES_TYPE, Box::pin(iter(body))))
    })
}

/// Deltas from where the follower stands, until it hangs up, what it proved to hold ends, or the
/// server stops.
pub fn follow(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let proved = call.proved().ok_or_else(|| Fault::new("follow", "nothing was proved"))?;
        let state = call.query("gen").zip(call.query("rev"));
        let state = state.and_then(|(generation, rev)| {
            Some((generation.parse::<u64>().ok()?, rev.parse::<u64>().ok()?))
        });
        let hub = Arc::clone(&call.server.hub);
        let full = || Failure::Http {
            status: StatusCode::SERVICE_UNAVAILABLE,
            rule: "followers-too-many",
            detail: "too many followers are connected".to_owned(),
            hint: "fetch snapshots meanwhile, or follow another node".to_owned(),
        };
        let held = Held::by(&proved.facts, &cx.tenant, proved.rev);
        let from = Resume { state, nonce: nonce(&call)? };
        let who = introduced(&call)?.by(&proved.facts);
        jobs::level(&call.server, &cx.tenant).await?;
        let following = hub.follow(Arc::clone(&cx.tenant), from, held, who).ok_or_else(full)?;
        if following.is_over() {
            return Err(Refusal::new(
                Rule::NotEntitled,
                "the resource or its organization is suspended; there is nothing more to follow",
                "have it activated: a resource by an administrator, an organization by the operator",
            )
            .into());
        }
        // A rotation since it was proved has told nobody yet who followed with it: asked again,
        // after the hub knows of this one.
        let id = proved.facts.id;
        if let Some(now) = cx.world.store.credential_facts(cx.tenant.id, id).await?.found {
            hub.ends(id, now.expires_at);
        }
        let frames = unfold(following, |mut following: Following| async move {
            let frame = following.next().await?;
            Some((frame, following))
        });
        Ok(reply::stream("text/event-stream", Box::pin(frames)))
    })
}

/// Takes note of what a follower says that it has applied.
pub fn acknowledge(mut call: Call) -> Handled {
    Box::pin(async move {
        let cx = call.checked()?;
        let proved =
            call.proved().ok_or_else(|| Fault::new("acknowledge", "nothing was proved"))?;
        let said: Acknowledgement = call.json()?;
        if said.rev > cx.tenant.rev() {
            // It may follow another node, which knew of that first.
            cx.world.store.catch_up().await?;
        }
        if said.generation != cx.tenant.generation || said.rev > cx.tenant.rev() {
            return Err(Refusal::field(
                "rev",
                "is not a state that there has been",
                "say the generation and the counter of the last message that was applied",
            )
            .into());
        }
        let taken = nodes::acknowledge(&call.server, cx.tenant.id, proved.facts.id, &said).await?;
        Ok(reply::json(StatusCode::OK, &serde_json::json!({ "taken": taken }))?)
    })
}

/// Who follows, as far as it says.
fn introduced(call: &Call) -> Result<Introduced, Refusal> {
    let wrong = |error| Refusal::field("follower", error, "draw 16 random bytes when you start");
    let follower = call.query("follower").map(|text| text.parse()).transpose().map_err(wrong)?;
    let wrong = |error| Refusal::field("name", error, "a host name does");
    let name = call.query("name").map(|text| text.parse()).transpose().map_err(wrong)?;
    let wrong = |error| Refusal::field("age_max", error, "say whole seconds");
    let age = call.query("age_max").map(|text| text.parse::<u32>()).transpose().map_err(wrong)?;
    let age_max = age.map(|seconds| Duration::from_secs(u64::from(seconds)));
    Ok(Introduced { follower, name, age_max, resource: None })
}

/// What the answer is to show, where the caller says so.
fn nonce(call: &Call) -> Result<Option<Nonce>, Refusal> {
    let nonce = call.query("nonce").map(|text| text.parse()).transpose();
    nonce
        .map_err(|error| Refusal::field("nonce", error, "send 16 random bytes, new ones each time"))
}
