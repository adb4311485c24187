//! The tokens an agent holds: one slot per scope, resource, task and whoever it acts for, one request
//! at a time per slot. Two users never share a slot: what tells them apart is the digest of the very
//! token that speaks for each.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accredit_wire::ids::TaskId;

use super::on_behalf::SubjectKey;
use super::token::{AccessToken, AgentError};
use crate::ambient;

/// The most tokens held. Beyond it, those go whose slot nobody is using.
const TOKENS_MAX: usize = 1024;

/// The shortest time between two renewals of one token, so that an issuer that refuses is not
/// asked at every call.
const RENEWAL_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) scope: String,
    /// `authorization_details`; empty for none.
    pub(super) details: String,
    pub(super) resource: Option<String>,
    pub(super) task: Option<TaskId>,
    /// For whom, where it is not for the agent itself.
    pub(super) subject: Option<SubjectKey>,
}

#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<HashMap<Wanted, Arc<Slot>>>);

impl Cache {
    /// The slot for `wanted`.
    pub(super) fn slot(&self, wanted: &Wanted) -> Arc<Slot> {
        let mut slots = lock(&self.0);
        if let Some(slot) = slots.get(wanted) {
            return Arc::clone(slot);
        }
        if slots.len() >= TOKENS_MAX {
            let now = ambient::instant();
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.holds_at(now));
        }
        if slots.len() >= TOKENS_MAX {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = Arc::new(Slot::default());
        slots.insert(wanted.clone(), Arc::clone(&slot));
        slot
    }

    pub(super) fn forget_all(&self) {
        for slot in lock(&self.0).values() {
            *lock(&slot.held) = None;
        }
    }

    pub(super) fn forget(&self, token: &AccessToken) {
        for slot in lock(&self.0).values() {
            let mut held = lock(&slot.held);
            if held.as_deref().is_some_and(|held| std::ptr::eq(held, token)) {
                *held = None;
            }
        }
    }
}

/// One token and the right to renew it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    held: Mutex<Option<Arc<AccessToken>>>,
    renewal: Arc<tokio::sync::Mutex<()>>,
    /// When a renewal last began.
    renewed_at: Mutex<Option<Instant>>,
}

impl Slot {
    /// The token, asked for with `fetch` where there is none, and renewed in the background where
    /// it is time, if it is to be.
    pub(super) async fn get<F>(
        self: Arc<Self>,
        fetch: F,
        is_renewed: bool,
    ) -> Result<Arc<AccessToken>, AgentError>
    where
        F: Future<Output = Result<AccessToken, AgentError>> + Send + 'static,
    {
        if let Some(token) = self.alive() {
            if is_renewed && !token.is_fresh(ambient::instant()) {
                self.renew(fetch);
            }
            return Ok(token);
        }
        let _asking = self.renewal.lock().await;
        match self.alive() {
            Some(token) => Ok(token),
            None => Ok(self.hold(fetch.await?)),
        }
    }

    /// Asks for another token unless somebody does or has just done so. Nobody waits for it: the
    /// one that is held still works.
    fn renew<F>(self: Arc<Self>, fetch: F)
    where
        F: Future<Output = Result<AccessToken, AgentError>> + Send + 'static,
    {
        let Ok(renewing) = Arc::clone(&self.renewal).try_lock_owned() else { return };
        let now = ambient::instant();
        let before = lock(&self.renewed_at).replace(now);
        if before.is_some_and(|before| now - before < RENEWAL_INTERVAL_MIN) {
            *lock(&self.renewed_at) = before;
            return;
        }
        tokio::spawn(async move {
            let _renewing = renewing;
            match fetch.await {
                Ok(token) => drop(self.hold(token)),
                Err(error) => tracing::warn!(%error, "an access token cannot be renewed"),
            }
        });
    }

    fn hold(&self, token: AccessToken) -> Arc<AccessToken> {
        let token = Arc::new(token);
        *lock(&self.held) = Some(Arc::clone(&token));
        token
    }

    fn holds_at(&self, now: Instant) -> bool {
        lock(&self.held).as_deref().is_some_and(|token| token.is_alive(now))
    }

    fn alive(&self) -> Option<Arc<AccessToken>> {
        lock(&self.held).clone().filter(|token| token.is_alive(ambient::instant()))
    }
}

/// A poisoned lock holds what was there: nothing here is left half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
