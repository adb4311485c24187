//! RFC 9110 section 15.6.4: what cannot be worked on soon is refused at once, with a time to come
//! back.
//!
//! A queue that grows while it is being offered more than the machine can do makes everybody wait
//! and helps nobody. So there is room for as many requests as fill two batches of the store: one
//! that is being synced and one that waits. A place is taken once the request was read whole, so
//! that whoever sends slowly keeps nobody out. Health is asked without a place.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;

/// Requests that are worked on at a time.
pub const REQUESTS_MAX: usize = 512;

/// The places of a server.
#[derive(Debug)]
pub struct Room(Arc<Semaphore>);

/// A place; given back when dropped.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(REQUESTS_MAX)))
    }
}

impl Room {
    /// Takes a place, if there is one.
    pub fn enter(&self) -> Result<Place, Failure> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map(Place).map_err(|_| Failure::Http {
            status: StatusCode::SERVICE_UNAVAILABLE,
            rule: "overloaded",
            detail: format!("{REQUESTS_MAX} requests are being worked on"),
            hint: "nothing was done: try again after `Retry-After`, and with fewer at a time"
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_room_refuses_until_somebody_leaves() {
        let room = Room::default();
        let mut places: Vec<Place> =
            (0..REQUESTS_MAX).map(|_| room.enter().expect("a place")).collect();
        let Err(Failure::Http { status, rule, .. }) = room.enter() else { panic!("no place") };
        assert_eq!((status, rule), (StatusCode::SERVICE_UNAVAILABLE, "overloaded"));
        places.pop();
        assert!(room.enter().is_ok());
    }
}
