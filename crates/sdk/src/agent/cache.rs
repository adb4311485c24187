//! The tokens an agent holds: one slot per scope and resource, one request at a time per slot.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::token::{AccessToken, AgentError};
use crate::ambient;

/// The most tokens held. Beyond it, those go whose slot nobody is using.
const TOKENS_MAX: usize = 1024;

/// What a token is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) scope: String,
    pub(super) resource: Option<String>,
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
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        let slot = Arc::new(Slot::default());
        slots.insert(wanted.clone(), Arc::clone(&slot));
        slot
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
    renewal: tokio::sync::Mutex<()>,
}

impl Slot {
    /// The token, asked for with `fetch` where there is none, and renewed where it is time.
    pub(super) async fn get<F>(
        &self,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<AccessToken>, AgentError>
    where
        F: Future<Output = Result<AccessToken, AgentError>>,
    {
        let alive = self.alive();
        if let Some(token) = &alive
            && token.is_fresh(ambient::instant())
        {
            return Ok(Arc::clone(token));
        }
        match alive {
            Some(token) => match self.renewal.try_lock() {
                // Somebody renews it already; it still works meanwhile.
                Err(_) => Ok(token),
                Ok(_renewing) => self.renew(fetch).await.or(Ok(token)),
            },
            None => {
                let _asking = self.renewal.lock().await;
                match self.alive() {
                    Some(token) => Ok(token),
                    None => self.renew(fetch).await,
                }
            }
        }
    }

    fn alive(&self) -> Option<Arc<AccessToken>> {
        lock(&self.held).clone().filter(|token| token.is_alive(ambient::instant()))
    }

    async fn renew<F>(&self, fetch: impl FnOnce() -> F) -> Result<Arc<AccessToken>, AgentError>
    where
        F: Future<Output = Result<AccessToken, AgentError>>,
    {
        let token = Arc::new(fetch().await?);
        *lock(&self.held) = Some(Arc::clone(&token));
        Ok(token)
    }
}

/// A poisoned lock holds what was there: nothing here is left half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
