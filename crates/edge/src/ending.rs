//! What is to be ended at the server, and was not yet: tried again until it is.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use accredit::AgentError;
use tokio::sync::Notify;

use crate::ambient;
use crate::node::Node;

/// What waits, at most. Beyond it the oldest are given up: they end when their time is over.
const WAITING_MAX: usize = 16 * 1024;
/// How often one is tried before it is given up; with the pauses between, for hours.
const TRIES_MAX: u32 = 1000;
/// The shortest pause between two tries while the server does not answer, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// An instance that is over, and why.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    pub(crate) instance: String,
    pub(crate) reason: &'static str,
}

/// What is to be ended.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    waiting: Mutex<VecDeque<Ending>>,
    added: Notify,
}

impl Endings {
    /// Another one.
    pub(crate) fn add(&self, ending: Ending) {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX
            && let Some(given_up) = waiting.pop_front()
        {
            tracing::error!(instance = given_up.instance, "not ended: too many wait for that");
        }
        waiting.push_back(ending);
        self.added.notify_one();
    }

    /// All that wait.
    pub(crate) fn take(&self) -> Vec<Ending> {
        self.waiting().drain(..).collect()
    }

    /// Ends one after the other, for as long as the future is polled.
    pub(crate) async fn keep(&self, node: &Node) {
        let (mut pause, mut tries) = (PAUSE, 0);
        loop {
            let Some(first) = self.waiting().front().cloned() else {
                self.added.notified().await;
                continue;
            };
            tries += 1;
            if !end(node, &first).await && tries < TRIES_MAX {
                ambient::sleep(ambient::jittered(pause)).await;
                pause = (pause * 2).min(PAUSE_MAX);
                continue;
            }
            (pause, tries) = (PAUSE, 0);
            // It may have been given up meanwhile.
            let mut waiting = self.waiting();
            if waiting.front().is_some_and(|waits| waits.instance == first.instance) {
                waiting.pop_front();
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Ending>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends one; whether there is nothing more to do about it.
pub(crate) async fn end(node: &Node, ending: &Ending) -> bool {
    let instance = &ending.instance;
    match node.agent().end_instance(instance, ending.reason).await {
        Ok(()) => {
            tracing::info!(instance, reason = ending.reason, "ended");
            true
        }
        // It was ended before, or is none of this node's any more.
        Err(AgentError::Refused(refusal)) => {
            tracing::warn!(instance, %refusal, "not ended");
            true
        }
        Err(error) => {
            tracing::warn!(instance, %error, "not ended yet");
            false
        }
    }
}
