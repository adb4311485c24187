//! SPIFFE X509-SVID: where this program's own certificate comes from. It is in memory, and renewed with
//! a new key when half of its life is over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::svid::{Svid, SvidError};
use crate::agent::{Agent, AgentError};
use crate::ambient;

/// The shortest time after which an issuer that did not answer is asked again; it doubles each time.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The shortest time between two certificates: an instance has no more than 64 that are not over.
const RENEWED_EVERY_MIN: Duration = Duration::from_secs(2);

/// What this program can show.
#[derive(Clone, Debug)]
pub enum Standing {
    /// A certificate that holds.
    Live(Arc<Svid>),
    /// The issuer refuses the instance: it was ended, or its agent suspended.
    Refused,
    /// The last certificate is over, and the issuer did not answer in time.
    Lapsed,
}

/// A certificate and its key in the form in which rustls shows them.
#[derive(Clone)]
pub(super) struct Shown {
    svid: Arc<Svid>,
    key: Arc<CertifiedKey>,
}

/// The certificate of the instance as which an [`Agent`] proves itself. Cheap to clone; the last clone
/// ends its task.
#[derive(Clone)]
pub struct X509Source(Arc<Running>);

struct Running {
    /// Nothing where the issuer refuses it.
    held: watch::Sender<Option<Shown>>,
    trust_domain: String,
    /// Asks the task for the next one now.
    wanted: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for X509Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("X509Source").field(&self.standing()).finish()
    }
}

impl X509Source {
    /// Gets the first certificate, and renews it from then on. For an agent that proves itself as an
    /// instance; needs a tokio runtime.
    pub async fn begin(agent: Agent) -> Result<Self, SvidError> {
        let first = shown(&agent).await?;
        let trust_domain = first.svid.trust_domain.trim_start_matches("spiffe://").to_owned();
        let (held, _) = watch::channel(Some(first));
        let wanted = Arc::new(Notify::new());
        let task = tokio::spawn(keep(agent, held.clone(), Arc::clone(&wanted))).abort_handle();
        Ok(Self(Arc::new(Running { held, trust_domain, wanted, task })))
    }

    /// What can be shown now.
    pub fn standing(&self) -> Standing {
        match &*self.0.held.borrow() {
            Some(shown) if shown.svid.ends <= ambient::instant() => Standing::Lapsed,
            Some(shown) => Standing::Live(Arc::clone(&shown.svid)),
            None => Standing::Refused,
        }
    }

    /// The trust domain that it is of, such as `acme.id.example`.
    pub fn trust_domain(&self) -> String {
        self.0.trust_domain.clone()
    }

    /// Tells of each change.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Shown>> {
        self.0.held.subscribe()
    }

    /// Asks for the next certificate now: the one that is held stands no more, for whatever reason.
    /// Where that is the instance's own end, the issuer says so.
    pub(super) fn renew(&self) {
        self.0.wanted.notify_one();
    }

    fn key(&self) -> Option<Arc<CertifiedKey>> {
        let held = self.0.held.borrow();
        let shown = held.as_ref().filter(|shown| shown.svid.ends > ambient::instant())?;
        Some(Arc::clone(&shown.key))
    }
}

impl ResolvesClientCert for X509Source {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.key()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for X509Source {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.key()
    }
}

async fn shown(agent: &Agent) -> Result<Shown, SvidError> {
    let svid = Svid::get(agent).await?;
    let chain = svid.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(svid.key.as_slice()));
    let key = CertifiedKey::from_der(chain, private.clone_key(), &default_provider());
    let key = key.map_err(|_| SvidError::Malformed("certificate"))?;
    Ok(Shown { svid: Arc::new(svid), key: Arc::new(key) })
}

/// Renews what there is in time, until it is cancelled.
async fn keep(agent: Agent, held: watch::Sender<Option<Shown>>, wanted: Arc<Notify>) {
    let mut retry = RETRY_MIN;
    let mut asked = ambient::instant();
    loop {
        let now = ambient::instant();
        let due = held.borrow().as_ref().map_or(now, |shown| shown.svid.renew);
        tokio::select! {
            () = ambient::sleep(due.saturating_duration_since(now)) => {}
            () = wanted.notified() => {
                let at = asked + RENEWED_EVERY_MIN;
                ambient::sleep(at.saturating_duration_since(ambient::instant())).await;
            }
        }
        asked = ambient::instant();
        match shown(&agent).await {
            Ok(new) => {
                retry = RETRY_MIN;
                held.send_replace(Some(new));
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate was not renewed; it is tried again");
                if is_refused(&error) {
                    held.send_if_modified(|shown| shown.take().is_some());
                }
                ambient::sleep(ambient::jittered(retry)).await;
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Whether the issuer refuses the one who asks, whatever it asks for.
fn is_refused(error: &SvidError) -> bool {
    let SvidError::Agent(AgentError::Refused(refusal)) = error else { return false };
    refusal.error().is_of_the_client()
}
