//! SPIFFE X509-SVID: one instance, as this machine holds it: a key that is made here and lies in no file,
//! its certificate, what others' certificates are checked against, and its tokens ([`crate::jwt_svids`]
//! among them).
//!
//! The certificate is renewed with a new key when half of its life is over. While the server does not
//! answer, what there is is given on until it is over, and [`Identity::standing`] says since when. What
//! the server refuses is given to nobody from that moment on, whatever time it had left; nor what hangs on
//! something that was ended since, which the lists of revoked certificates tell ([`Upstream`]).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use accredit::agent::RevokedCertificates;
pub use accredit::mtls::Svid;
use accredit::mtls::SvidError;
use accredit::{AccessToken, Agent, AgentError, JwtSvid, Secret};
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::{Notify, watch};

use crate::ambient;
use crate::jwt_svids::JwtSvids;
use crate::upstream::{Federated, Trust, Upstream};

/// The shortest time after which a server that did not answer is asked again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What can be given out.
#[derive(Clone, Debug)]
pub enum Standing {
    /// A certificate that holds.
    Live(Arc<Svid>, Arc<Trust>),
    /// The server refuses the instance: it was ended, or its agent suspended.
    Refused,
    /// The last certificate is over, and the server did not answer in time.
    Lapsed,
}

/// Why there is no identity to begin with, or no answer.
#[derive(Debug)]
pub enum IdentityError {
    /// The issuer says no, or does not answer.
    Agent(AgentError),
    /// This machine could make no key.
    Key,
    /// What the issuer answered is no certificate or no bundle.
    Malformed(&'static str),
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::Key => f.write_str("no key could be made: the system has no randomness"),
            Self::Malformed(what) => write!(f, "the issuer's {what} cannot be used"),
        }
    }
}

impl std::error::Error for IdentityError {}

impl From<AgentError> for IdentityError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl From<SvidError> for IdentityError {
    fn from(error: SvidError) -> Self {
        match error {
            SvidError::Agent(error) => Self::Agent(error),
            SvidError::Key => Self::Key,
            SvidError::Malformed(what) => Self::Malformed(what),
        }
    }
}

/// One instance.
#[derive(Debug)]
pub struct Identity {
    /// Gets tokens that are bound to a key of this process.
    bound: Agent,
    /// Gets plain ones.
    plain: Agent,
    standing: watch::Sender<Standing>,
    jwt_svids: JwtSvids,
    upstream: Arc<Upstream>,
    /// Told where a question met a refusal or silence: how it stands is looked at then, not later.
    met: Notify,
}

impl Identity {
    /// Gets the first certificate. `bound` and `plain` are the same instance, once with tokens that are
    /// bound to a key and once without.
    pub async fn begin(bound: Agent, plain: Agent) -> Result<Arc<Self>, IdentityError> {
        let upstream = Arc::new(Upstream::new(bound.clone()));
        let identity = Self::new(bound, plain, upstream);
        identity.start().await?;
        Ok(identity)
    }

    /// Without a certificate yet, among others of the same server.
    pub(crate) fn new(bound: Agent, plain: Agent, upstream: Arc<Upstream>) -> Arc<Self> {
        let (standing, _) = watch::channel(Standing::Lapsed);
        let (jwt_svids, met) = (JwtSvids::default(), Notify::new());
        Arc::new(Self { bound, plain, standing, jwt_svids, upstream, met })
    }

    /// Gets the first certificate.
    pub(crate) async fn start(&self) -> Result<(), IdentityError> {
        let outcome = self.renew(&mut ambient::instant()).await;
        if let Err(error) = &outcome {
            self.note_error(error);
        }
        outcome
    }

    /// What can be given out now, and a way to be told when that changes.
    pub fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// What can be given out now.
    pub fn standing(&self) -> Standing {
        match &*self.standing.borrow() {
            Standing::Live(svid, _) if svid.ends <= ambient::instant() => Standing::Lapsed,
            standing => standing.clone(),
        }
    }

    /// For how long the server has not answered; nothing where it answered last time.
    pub fn silent_for(&self) -> Option<Duration> {
        self.upstream.silent_for()
    }

    /// An access token (RFC 6749), bound to a key of this process (RFC 9449) or plain.
    pub async fn token(
        &self,
        (scope, resource): (&str, Option<&str>),
        is_bound: bool,
    ) -> Result<Arc<AccessToken>, AgentError> {
        if matches!(*self.standing.borrow(), Standing::Refused) {
            // Nothing is given on that was got before.
            self.bound.forget_all();
            self.plain.forget_all();
        }
        let agent = if is_bound { &self.bound } else { &self.plain };
        let got = agent.token_at(scope, resource).await;
        if let Err(error) = &got {
            self.note(error);
        }
        got
    }

    /// A token that says to `audiences` who the instance is (SPIFFE JWT-SVID).
    pub async fn jwt_svid(&self, audiences: &[String]) -> Result<Arc<JwtSvid>, AgentError> {
        if matches!(*self.standing.borrow(), Standing::Refused) {
            self.jwt_svids.clear();
        }
        match self.jwt_svids.get(&self.plain, audiences).await {
            Ok(got) => {
                got.met.iter().for_each(|error| self.note(error));
                Ok(got.svid)
            }
            Err(error) => {
                self.note(&error);
                Err(error)
            }
        }
    }

    /// RFC 9449: the proof for one request with a bound token of this instance, by the key that it is
    /// bound to. `nonce` is what the server at `url` asked for.
    pub fn prove(
        &self,
        token: &Secret,
        (method, url): (&Method, &str),
        nonce: Option<HeaderValue>,
    ) -> Result<HeaderValue, AgentError> {
        if let Some(nonce) = nonce {
            let mut headers = HeaderMap::with_capacity(1);
            headers.insert("dpop-nonce", nonce);
            self.bound.learn(url, &headers);
        }
        let headers = self.bound.headers_for_held(token, method, url)?;
        headers.get("dpop").cloned().ok_or(AgentError::Signing)
    }

    /// Asks what was revoked, for as long as the future is polled: for an instance that is alone.
    pub async fn follow(&self) {
        self.upstream.follow().await;
    }

    /// Renews what there is in time, and takes back what was revoked, for as long as the future is polled.
    pub async fn keep(&self) {
        let mut revoked = self.upstream.revoked();
        let mut retry = RETRY_MIN;
        // When bundles are due is known to whoever asked for them last: it is asked at once, and answers from
        // memory.
        let mut bundle_at = ambient::instant();
        loop {
            let now = ambient::instant();
            let due = match &*self.standing.borrow() {
                Standing::Live(svid, _) => svid.renew.min(bundle_at),
                Standing::Refused | Standing::Lapsed => now,
            };
            tokio::select! {
                () = ambient::sleep(due.saturating_duration_since(now)) => {}
                () = self.met.notified() => {
                    self.upstream.forget();
                    bundle_at = now;
                }
                Ok(()) = revoked.changed() => {
                    let revoked = Arc::clone(&revoked.borrow_and_update());
                    if !self.is_among(&revoked) {
                        continue;
                    }
                    tracing::warn!("something was ended that the instance hangs on: it asks anew");
                    self.take_back();
                }
            }
            match self.renew(&mut bundle_at).await {
                Ok(()) => {
                    retry = RETRY_MIN;
                    self.upstream.answered();
                }
                Err(error) => {
                    tracing::warn!(%error, "the identity was not renewed; it is tried again");
                    self.note_error(&error);
                    self.sleep_until_retry(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Whether its certificate was revoked.
    fn is_among(&self, revoked: &RevokedCertificates) -> bool {
        let Standing::Live(svid, _) = &*self.standing.borrow() else { return false };
        svid.number.as_ref().is_some_and(|number| revoked.have(number))
    }

    /// Gives nothing out any more. Whoever keeps it has stopped.
    pub fn take_back(&self) {
        self.standing.send_replace(Standing::Refused);
        self.bound.forget_all();
        self.plain.forget_all();
        self.jwt_svids.clear();
    }

    /// Ends the instance at the server, for ever.
    pub async fn end(&self, reason: &str) -> Result<(), AgentError> {
        self.standing.send_replace(Standing::Refused);
        self.plain.end(reason).await
    }

    /// Waits before another try, and takes back meanwhile what is over.
    async fn sleep_until_retry(&self, retry: Duration) {
        ambient::sleep(ambient::jittered(retry)).await;
        self.standing.send_if_modified(|standing| {
            let is_over =
                matches!(standing, Standing::Live(svid, _) if svid.ends <= ambient::instant());
            if is_over {
                tracing::error!("the certificate is over, and the server did not answer in time");
                *standing = Standing::Lapsed;
            }
            is_over
        });
    }

    /// Gets what is due.
    async fn renew(&self, bundle_at: &mut Instant) -> Result<(), IdentityError> {
        let (held, mut believed) = match &*self.standing.borrow() {
            Standing::Live(svid, trust) => (Some(Arc::clone(svid)), Some(Arc::clone(trust))),
            Standing::Refused | Standing::Lapsed => (None, None),
        };
        if believed.is_none() || *bundle_at <= ambient::instant() {
            let own = self.upstream.bundle().await?;
            *bundle_at = ambient::instant() + own.refresh();
            let federated = self.federated(believed.as_deref(), bundle_at).await;
            let got = Trust { own, federated };
            // Who waits for a change is told of one that is one.
            believed = believed.filter(|before| **before == got).or_else(|| Some(Arc::new(got)));
        }
        let svid = match held {
            Some(held) if held.renew > ambient::instant() => held,
            _ => Arc::new(Svid::get(&self.bound).await?),
        };
        let Some(trust) = believed else { return Ok(()) };
        self.standing.send_if_modified(|standing| {
            let is_same = matches!(standing, Standing::Live(had, of)
                if Arc::ptr_eq(had, &svid) && Arc::ptr_eq(of, &trust));
            if !is_same {
                *standing = Standing::Live(svid, trust);
            }
            !is_same
        });
        Ok(())
    }

    /// The other trust domains, or those that there were where the server does not say: an instance is not
    /// without its own identity for want of others'.
    async fn federated(&self, before: Option<&Trust>, again_at: &mut Instant) -> Arc<Federated> {
        let error = match self.upstream.federated(&self.plain).await {
            Ok((federated, until)) => {
                *again_at = until.min(*again_at);
                return federated;
            }
            Err(error) => error,
        };
        tracing::warn!(%error, "what other trust domains there are was not told; it is asked again");
        if matches!(error, AgentError::Refused(_)) {
            self.note(&error);
        }
        *again_at = (ambient::instant() + RETRY_MAX).min(*again_at);
        before.map(|before| Arc::clone(&before.federated)).unwrap_or_default()
    }

    fn note_error(&self, error: &IdentityError) {
        match error {
            IdentityError::Agent(error) => self.note(error),
            IdentityError::Key | IdentityError::Malformed(_) => {}
        }
    }

    /// Keeps what an answer says of the instance itself.
    fn note(&self, error: &AgentError) {
        match error {
            AgentError::Refused(refusal) if refusal.error().is_of_the_client() => {
                self.upstream.answered();
                self.standing.send_if_modified(|standing| {
                    let is_new = !matches!(standing, Standing::Refused);
                    if is_new {
                        tracing::warn!(%refusal, "the server refuses this instance");
                        *standing = Standing::Refused;
                        self.met.notify_one();
                    }
                    is_new
                });
            }
            AgentError::Issuer(_) => {
                if self.upstream.is_silent() {
                    self.met.notify_one();
                }
            }
            AgentError::Refused(_)
            | AgentError::Signing
            | AgentError::Url(_)
            | AgentError::CallerEnded(_) => {}
        }
    }
}
