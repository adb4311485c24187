//! What came of a drill, kept as an event with the answer of the request that asked for it.
//!
//! The drill itself needs followers and their acknowledgements, which the server knows: it stands
//! there. Here is that it is recorded once.

use serde::Serialize;

use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::refusal::Error;
use crate::registry::{commit_created, decide};

/// Records that a drill is over, in the name of whoever asked for it.
pub async fn finished<T: Serialize>(cx: &Cx, body: &Body, answer: &T) -> Result<(), Error> {
    decide(|| async {
        let event = cx.event(EventKind::DrillFinished, body.clone());
        commit_created(cx, Vec::new(), event, answer).await?;
        Ok(())
    })
    .await
}
