//! SPIFFE Trust Domain and Bundle section 4: what all identities of one machine have of their server in
//! common, which is asked for once for all of them.
//!
//! That is the bundle, against which certificates of the trust domain are checked, which certificates were
//! revoked, and since when the server has not answered. The lists of revoked certificates are anybody's to
//! read, where the feed is for those who enforce; they say the same of what this machine holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accredit::agent::RevokedCertificates;
use accredit::mtls::Roots;
use accredit::{Agent, AgentError, IssuerError};
use accredit_wire::jwt_svid::authorities::Authorities;
use tokio::sync::{Notify, watch};

use crate::ambient;
use crate::identity::IdentityError;

/// How often it is asked which certificates were revoked, at the latest. The server makes its lists anew within 5
/// seconds, and a cache may keep them for 5: what has ended is not given out for longer than 20.
const REVOKED_EVERY: Duration = Duration::from_secs(10);

/// What certificates and JWT-SVIDs of the trust domain are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The roots, DER one after the other.
    pub roots: Vec<u8>,
    /// The keys of JWT-SVIDs.
    pub authorities: Authorities,
    refresh: Duration,
}

/// A server, as all identities of one machine see it.
#[derive(Debug)]
pub struct Upstream {
    agent: Agent,
    held: Mutex<Option<Held>>,
    /// One asks, and the others wait for its answer.
    asking: tokio::sync::Mutex<()>,
    /// Since when the server does not answer.
    silent: Mutex<Option<Instant>>,
    revoked: watch::Sender<Arc<RevokedCertificates>>,
    /// Told where an answer, or none, gives reason to look how this machine stands.
    doubt: Notify,
}

#[derive(Clone, Debug)]
struct Held {
    bundle: Arc<Bundle>,
    until: Instant,
}

impl Upstream {
    /// The server of `agent`, of which nothing is known yet.
    pub fn new(agent: Agent) -> Self {
        let asking = tokio::sync::Mutex::default();
        Self {
            agent,
            held: Mutex::default(),
            asking,
            silent: Mutex::default(),
            revoked: watch::Sender::default(),
            doubt: Notify::new(),
        }
    }

    /// The bundle, no older than it says itself that it may be.
    pub async fn bundle(&self) -> Result<Arc<Bundle>, IdentityError> {
        if let Some(bundle) = self.fresh() {
            return Ok(bundle);
        }
        let _asking = self.asking.lock().await;
        if let Some(bundle) = self.fresh() {
            return Ok(bundle);
        }
        let asked_at = ambient::instant();
        let text = self.agent.bundle().await?;
        let read = Bundle::read(&text).ok_or(IdentityError::Malformed("bundle"))?;
        let until = asked_at + read.refresh;
        let mut held = lock(&self.held);
        // One bundle is held once, whoever has it.
        let known = held.take().map(|held| held.bundle).filter(|known| **known == read);
        let bundle = known.unwrap_or_else(|| Arc::new(read));
        *held = Some(Held { bundle: Arc::clone(&bundle), until });
        Ok(bundle)
    }

    /// Asks which certificates were revoked, for as long as the future is polled: once for all of a machine.
    pub(crate) async fn follow(&self) {
        let mut is_silent = false;
        loop {
            let known = Arc::clone(&self.revoked.borrow());
            match self.agent.revoked_certificates(&known).await {
                Ok(new) => {
                    if std::mem::take(&mut is_silent) {
                        tracing::info!("the server says again which certificates were revoked");
                        self.answered();
                    }
                    if let Some(new) = new {
                        self.revoked.send_replace(Arc::new(new));
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_silent, true) {
                        tracing::warn!(%error, "the server does not say which certificates were revoked: \
                            what there is is given out until it is over");
                    }
                    if matches!(error, AgentError::Issuer(IssuerError::Net(_))) {
                        self.is_silent();
                    }
                }
            }
            ambient::sleep(ambient::jittered(REVOKED_EVERY)).await;
        }
    }

    /// Which certificates were revoked, as far as it is known, and a way to be told of others.
    pub(crate) fn revoked(&self) -> watch::Receiver<Arc<RevokedCertificates>> {
        self.revoked.subscribe()
    }

    /// Whoever wants the bundle next asks for it anew.
    pub(crate) fn forget(&self) {
        if let Some(held) = &mut *lock(&self.held) {
            held.until = ambient::instant();
        }
    }

    fn fresh(&self) -> Option<Arc<Bundle>> {
        let held = lock(&self.held);
        let fresh = held.as_ref().filter(|held| ambient::instant() < held.until);
        fresh.map(|held| Arc::clone(&held.bundle))
    }

    /// For how long the server has not answered; nothing where it answered last time.
    pub fn silent_for(&self) -> Option<Duration> {
        let since = *lock(&self.silent);
        since.map(|since| ambient::instant().saturating_duration_since(since))
    }

    /// It answered, whatever it said.
    pub(crate) fn answered(&self) {
        *lock(&self.silent) = None;
    }

    /// It did not answer; whether that is news.
    pub(crate) fn is_silent(&self) -> bool {
        let mut silent = lock(&self.silent);
        let is_new = silent.is_none();
        if is_new {
            *silent = Some(ambient::instant());
            self.doubt.notify_one();
        }
        is_new
    }

    /// There is reason to look how this machine stands.
    pub(crate) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits for such a reason.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }
}

/// A poisoned lock holds what was there: nothing here is left half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bundle {
    /// Reads what an issuer publishes. What is of another use, or of one that nobody knows, is left out; a
    /// root without exactly one certificate, or a key of JWT-SVIDs that is malformed, makes the whole of it
    /// unread.
    pub fn read(text: &[u8]) -> Option<Self> {
        let Roots { certificates, refresh } = Roots::read(text)?;
        let authorities = Authorities::of_bundle(text).ok()?;
        Some(Self { roots: certificates.concat(), authorities, refresh })
    }

    /// After how long it is asked for again.
    pub(crate) fn refresh(&self) -> Duration {
        self.refresh
    }
}
