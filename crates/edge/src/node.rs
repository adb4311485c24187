//! The machine as the server knows it: an instance of its own, by whose word processes become instances.
//!
//! Whether the server still takes that word is looked at now and then, and whenever there is reason to
//! doubt it: what a node vouched for is not given out after the node itself was refused.

use std::sync::Arc;
use std::time::Duration;

use accredit::{Agent, AgentError, Birth};
use tokio::sync::watch;

use crate::ambient;
use crate::upstream::Upstream;

/// How often the server is asked whether this node still stands, where nothing else asks it.
const CHECKED_EVERY: Duration = Duration::from_mins(5);
/// How soon where there is reason to, and how soon at most while it does not answer or refuses.
const CHECKED_AGAIN: Duration = Duration::from_secs(1);
const CHECKED_AGAIN_MAX: Duration = Duration::from_secs(10);

/// A node.
#[derive(Debug)]
pub struct Node {
    agent: Agent,
    /// Its id.
    pub instance: String,
    pub(crate) upstream: Arc<Upstream>,
    is_refused: watch::Sender<bool>,
}

impl Node {
    /// As it was born, or came back.
    pub fn new(born: Birth) -> Self {
        let agent = born.agent.with_bearer_tokens();
        let upstream = Arc::new(Upstream::new(agent.clone()));
        let (is_refused, _) = watch::channel(false);
        Self { agent, instance: born.instance, upstream, is_refused }
    }

    /// The node as an OAuth client.
    pub(crate) fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Whether the server refused it, and a way to be told when that changes.
    pub(crate) fn refused(&self) -> watch::Receiver<bool> {
        self.is_refused.subscribe()
    }

    /// Whether the server refused it when it was last asked.
    pub fn is_refused(&self) -> bool {
        *self.is_refused.borrow()
    }

    /// Waits until the server refuses it.
    pub async fn until_refused(&self) {
        let mut refused = self.refused();
        let _ = refused.wait_for(|is_refused| *is_refused).await;
    }

    /// Looks whether the node still stands, for as long as the future is polled.
    pub(crate) async fn keep(&self) {
        let mut again = CHECKED_AGAIN;
        loop {
            if self.is_refused() || self.upstream.silent_for().is_some() {
                ambient::sleep(ambient::jittered(again)).await;
                again = (again * 2).min(CHECKED_AGAIN_MAX);
            } else {
                again = CHECKED_AGAIN;
                tokio::select! {
                    () = ambient::sleep(CHECKED_EVERY) => {}
                    () = self.upstream.doubted() => ambient::sleep(CHECKED_AGAIN).await,
                }
            }
            if let Err(error) = self.check().await {
                tracing::warn!(%error, "the node was not confirmed");
            }
        }
    }

    /// Asks the server whether it still takes this node's word.
    pub async fn check(&self) -> Result<(), AgentError> {
        self.agent.forget_all();
        let asked = self.agent.token("").await.map(drop);
        let is_refused = match &asked {
            Ok(()) => false,
            Err(AgentError::Refused(refusal)) => refusal.error().is_of_the_client(),
            Err(AgentError::Issuer(_)) => {
                self.upstream.is_silent();
                return asked;
            }
            Err(AgentError::Signing | AgentError::Url(_) | AgentError::CallerEnded(_)) => {
                return asked;
            }
        };
        self.upstream.answered();
        self.is_refused.send_if_modified(|before| {
            let is_new = *before != is_refused;
            *before = is_refused;
            if is_new && is_refused {
                tracing::error!("the server refuses this node: nothing is given out any more");
            } else if is_new {
                tracing::info!("the server takes this node's word again");
            }
            is_new
        });
        if is_refused { asked } else { Ok(()) }
    }

    /// Ends the node at the server, for ever.
    pub async fn end(&self, reason: &str) -> Result<(), AgentError> {
        self.agent.end(reason).await
    }
}
