//! PostgreSQL's LISTEN and NOTIFY, as a hint: whoever tells of a change wakes the other nodes, which then
//! read the table at once.
//!
//! Nothing goes by it. A notification may be lost, come late or come for nothing; the table is read
//! again and again all the same, and what stands there is what counts. An engine of this protocol that
//! knows no LISTEN is never sent a NOTIFY, which would fail the change.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{TryStreamExt as _, future, stream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Config, Error};

use super::tls::Connector;

/// How long is waited before a listener that was lost is made anew.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Says that there is something new, once the transaction is committed.
pub(super) const NOTIFY: &str = "NOTIFY accredit_change";
const LISTEN: &str = "LISTEN accredit_change";

/// What this process hears of other nodes' changes.
#[derive(Debug, Default)]
pub struct Wakes {
    heard: Notify,
    /// Whether it is known that the engine has LISTEN, and so NOTIFY.
    is_known: AtomicBool,
    /// Whether there is a listener, or will be again.
    is_begun: AtomicBool,
}

impl Wakes {
    /// Done when something was heard since this was done last.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Whether the engine can be asked to wake others.
    pub(super) fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Begins to listen, on a session of its own, unless that was done.
    pub(super) fn begin(self: &Arc<Self>, on: &Handle, from: (Config, Connector)) {
        if !self.is_begun.swap(true, Ordering::Relaxed) {
            on.spawn(listen(Arc::clone(self), from));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server that is not there is not asked all the time"
)]
async fn listen(wakes: Arc<Wakes>, (config, connector): (Config, Connector)) {
    loop {
        match once(&wakes, &config, connector.clone()).await {
            Err(error) if is_unknown(&error) => {
                tracing::info!(%error, "the database wakes nobody: changes are looked for");
                return;
            }
            Err(error) => tracing::debug!(%error, "nothing is heard of other nodes' changes"),
            Ok(()) => tracing::debug!("nothing is heard of other nodes' changes any more"),
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Listens until the session is lost.
async fn once(wakes: &Wakes, config: &Config, connector: Connector) -> Result<(), Error> {
    let (client, mut connection) = config.connect(connector).await?;
    let begun = async {
        client.batch_execute(LISTEN).await?;
        wakes.is_known.store(true, Ordering::Relaxed);
        // Something may have been told before.
        wakes.heard.notify_one();
        Ok(())
    };
    let messages = stream::poll_fn(|cx| connection.poll_message(cx)).try_for_each(|message| {
        if matches!(message, AsyncMessage::Notification(_)) {
            wakes.heard.notify_one();
        }
        ready(Ok(()))
    });
    future::try_join(begun, messages).await.map(drop)
}

/// Whether the engine says that it has no LISTEN.
fn is_unknown(error: &Error) -> bool {
    error.as_db_error().is_some_and(|told| {
        [SqlState::FEATURE_NOT_SUPPORTED, SqlState::SYNTAX_ERROR].contains(told.code())
    })
}
