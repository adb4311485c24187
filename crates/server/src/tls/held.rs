//! A certificate that the listener shows by an authority of ours, and when it gives its place to another.

use std::sync::Arc;
use std::time::Duration;

use accredit_domain::ca::SHOWN_RENEWED_AFTER;
use accredit_wire::ids::KeyId;
use accredit_wire::time::Time;
use rustls::sign::CertifiedKey;

/// A time of day that is back by less is no reason for another certificate: each says that it holds from a
/// minute before it was made.
const BACK_MAX: Duration = Duration::from_secs(30);

/// What is shown.
#[derive(Clone)]
pub(super) struct Held {
    /// The chain with its key.
    pub(super) certified: Arc<CertifiedKey>,
    /// Which key of ours signed it.
    pub(super) by: KeyId,
    /// When it was made.
    pub(super) from: Time,
}

impl Held {
    /// Whether it is to be shown on at `now`, where this key signs.
    pub(super) fn is_fresh(&self, by: KeyId, now: Time) -> bool {
        let is_new = now < self.from.plus(SHOWN_RENEWED_AFTER);
        self.by == by && is_new && now.plus(BACK_MAX) >= self.from
    }
}
