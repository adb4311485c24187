//! Saying what was applied: each state of the feed, soon after requests are judged by it.
//!
//! It is said so that an administrator who ends something sees where that is enforced, and decides
//! nothing here: what goes wrong is tried again a little later, and never holds up a request or the
//! feed. Whatever follows while one is said is said in one, with how long ago it was applied. What
//! a stream begins with is said by asking for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use accredit_wire::revocations::{Acknowledgement, FollowerId, FollowerName};
use http::StatusCode;

use super::shared::Shared;
use crate::ambient;

/// The time between two acknowledgements: a burst of revocations costs the issuer one of them.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The longest wait before one is tried again that was not taken; it doubles each time.
const RETRY_MAX: Duration = Duration::from_secs(8);

/// Who a verifier is to its issuer, beside its credential.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    /// Drawn when it starts.
    pub(super) follower: FollowerId,
    /// What its operator calls it.
    pub(super) name: Option<FollowerName>,
}

/// A state that requests are judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct AppliedState {
    pub(super) generation: u64,
    pub(super) rev: u64,
    /// Since when.
    pub(super) at: Instant,
}

/// Says each state that was applied, until it is cancelled.
pub(super) async fn acknowledge_forever(shared: Arc<Shared>, follower: FollowerId) {
    let mut applied = shared.applied.subscribe();
    while applied.changed().await.is_ok() {
        let mut wait = INTERVAL_MIN;
        loop {
            let newest = *applied.borrow_and_update();
            let Some(newest) = newest else { break };
            let taken = say(&shared, follower, newest).await;
            ambient::sleep(if taken { INTERVAL_MIN } else { ambient::jittered(wait) }).await;
            if taken {
                break;
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
    }
}

/// Says one; whether there is nothing more to say about it.
async fn say(shared: &Shared, follower: FollowerId, state: AppliedState) -> bool {
    let endpoints = shared.endpoints().await;
    let Ok(endpoints) = endpoints else { return false };
    // An issuer that names no place for it does not ask.
    let Some(url) = &endpoints.acknowledgements else { return true };
    let waited = u64::try_from(state.at.elapsed().as_micros()).unwrap_or(u64::MAX);
    let AppliedState { generation, rev, .. } = state;
    let said = Acknowledgement { generation, rev, follower, waited };
    let Ok(body) = serde_json::to_vec(&said) else { return true };
    match shared.client.say(url, body, "acknowledgement").await {
        Ok(status) if status.is_success() => true,
        // It restarted as another generation: the next stream begins with what is held.
        Ok(StatusCode::BAD_REQUEST) => true,
        Ok(status) => {
            tracing::debug!(status = status.as_u16(), "an acknowledgement was not taken");
            false
        }
        Err(error) => {
            tracing::debug!(%error, "an acknowledgement was not said");
            false
        }
    }
}
