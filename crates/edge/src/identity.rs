//! SPIFFE X509-SVID: one instance, as this machine holds it: a key that is made here and lies in no file,
//! its certificate, what others' certificates are checked against, and its tokens.
//!
//! The certificate is renewed with a new key when half of its life is over. While the server does not
//! answer, what there is is given on until it is over, and [`Identity::standing`] says since when. What
//! the server refuses is given to nobody from that moment on, whatever time it had left.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use accredit::{AccessToken, Agent, AgentError, Secret};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::oauth::ErrorCode;
use accredit_wire::time::Time;
use accredit_wire::x509::request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use crate::ambient;

/// The shortest time after which a server that did not answer is asked again.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often a bundle is asked for where it does not say, and the most and least that it may say.
const REFRESH: Duration = Duration::from_mins(5);
const REFRESH_MIN: Duration = Duration::from_secs(5);
const REFRESH_MAX: Duration = Duration::from_hours(1);
/// Certificates in a chain or a bundle, at most.
const CERTIFICATES_MAX: usize = 32;
/// The label of a certificate (RFC 7468 section 5).
const LABEL: &str = "CERTIFICATE";

/// A certificate with its key.
pub struct Svid {
    /// Whom it names.
    pub spiffe_id: String,
    /// The id of its trust domain, `spiffe://…` without a path.
    pub trust_domain: String,
    /// The certificate and what signed it, DER one after the other, the certificate first.
    pub chain: Vec<u8>,
    /// Its key, PKCS #8 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// When it is over, by this machine's clock.
    pub expires_at: Time,
    ends: Instant,
    renew: Instant,
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// What certificates of the trust domain are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The roots, DER one after the other.
    pub roots: Vec<u8>,
    refresh: Duration,
}

/// What can be given out.
#[derive(Clone, Debug)]
pub enum Standing {
    /// A certificate that holds.
    Live(Arc<Svid>, Arc<Bundle>),
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

/// One instance.
#[derive(Debug)]
pub struct Identity {
    /// Gets tokens that are bound to a key of this process.
    bound: Agent,
    /// Gets plain ones.
    plain: Agent,
    standing: watch::Sender<Standing>,
    /// Since when the server does not answer.
    silent: Mutex<Option<Instant>>,
    /// Told where a question met a refusal or silence: how it stands is looked at then, not later.
    met: Notify,
}

impl Identity {
    /// Gets the first certificate. `bound` and `plain` are the same instance, once with tokens that are
    /// bound to a key and once without.
    pub async fn begin(bound: Agent, plain: Agent) -> Result<Arc<Self>, IdentityError> {
        let bundle = Arc::new(bundle(&bound).await?);
        let svid = Arc::new(svid(&bound).await?);
        let (standing, _) = watch::channel(Standing::Live(svid, bundle));
        Ok(Arc::new(Self { bound, plain, standing, silent: Mutex::default(), met: Notify::new() }))
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
        let since = *self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| ambient::instant().saturating_duration_since(since))
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

    /// Renews what there is in time, for as long as the future is polled.
    pub async fn keep(&self) {
        let mut retry = RETRY_MIN;
        let mut bundle_at = ambient::instant();
        if let Standing::Live(_, bundle) = &*self.standing.borrow() {
            bundle_at += bundle.refresh;
        }
        loop {
            let now = ambient::instant();
            let due = match &*self.standing.borrow() {
                Standing::Live(svid, _) => svid.renew.min(bundle_at),
                Standing::Refused | Standing::Lapsed => now,
            };
            tokio::select! {
                () = ambient::sleep(due.saturating_duration_since(now)) => {}
                () = self.met.notified() => bundle_at = now,
            }
            match self.renew(&mut bundle_at).await {
                Ok(()) => {
                    retry = RETRY_MIN;
                    self.answered();
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
            Standing::Live(svid, bundle) => (Some(Arc::clone(svid)), Some(Arc::clone(bundle))),
            Standing::Refused | Standing::Lapsed => (None, None),
        };
        if believed.is_none() || *bundle_at <= ambient::instant() {
            let got = Arc::new(bundle(&self.bound).await?);
            *bundle_at = ambient::instant() + got.refresh;
            // Who waits for a change is told of one that is one.
            believed = believed.filter(|before| **before == *got).or(Some(got));
        }
        let svid = match held {
            Some(held) if held.renew > ambient::instant() => held,
            _ => Arc::new(svid(&self.bound).await?),
        };
        let Some(bundle) = believed else { return Ok(()) };
        self.standing.send_if_modified(|standing| {
            let is_same = matches!(standing, Standing::Live(had, of)
                if Arc::ptr_eq(had, &svid) && Arc::ptr_eq(of, &bundle));
            if !is_same {
                *standing = Standing::Live(svid, bundle);
            }
            !is_same
        });
        Ok(())
    }

    fn answered(&self) {
        *self.silent.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
            AgentError::Refused(refusal) if ends(refusal.error()) => {
                self.answered();
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
                let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
                if silent.is_none() {
                    *silent = Some(ambient::instant());
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

/// Whether a refusal is of the one who asks, whatever it asks for: its credential or itself was ended, or
/// its agent, owner or organization suspended.
fn ends(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::InvalidClient | ErrorCode::UnauthorizedClient)
}

/// A new key, and a certificate for it.
async fn svid(agent: &Agent) -> Result<Svid, IdentityError> {
    let (key, der) = PrivateKey::generate(Algorithm::Es256).map_err(|_| IdentityError::Key)?;
    let csr = request::write(&key).map_err(|_| IdentityError::Key)?;
    let asked_at = ambient::instant();
    let got = agent.certificate(&csr, None).await?;
    let chain = chain(&got.certificate).ok_or(IdentityError::Malformed("certificate"))?;
    let trust_domain = trust_domain(&got.spiffe_id).ok_or(IdentityError::Malformed("SPIFFE ID"))?;
    Ok(Svid {
        trust_domain: trust_domain.to_owned(),
        spiffe_id: got.spiffe_id,
        chain,
        key: der,
        expires_at: got.expires_at,
        ends: got.ends,
        renew: asked_at + got.ends.saturating_duration_since(asked_at) / 2,
    })
}

/// The certificates of a text that is PEM blocks one after the other, as DER one after the other.
fn chain(text: &str) -> Option<Vec<u8>> {
    let (mut der, mut rest, mut count) = (Vec::new(), text.trim(), 0);
    let end = format!("-----END {LABEL}-----");
    while !rest.is_empty() {
        let (block, after) = rest.split_at(rest.find(&end)? + end.len());
        der.extend(accredit_wire::x509::decoded(LABEL, block).filter(|one| !one.is_empty())?);
        (rest, count) = (after.trim_start(), count + 1);
        if count > CERTIFICATES_MAX {
            return None;
        }
    }
    (count > 0).then_some(der)
}

/// The trust domain of a SPIFFE ID, as the id without a path.
fn trust_domain(id: &str) -> Option<&str> {
    let domain = id.strip_prefix("spiffe://")?.split('/').next()?;
    let is_one = accredit_wire::x509::spiffe::TrustDomain::parse(domain).is_ok();
    is_one.then(|| &id[.."spiffe://".len() + domain.len()])
}

/// A published bundle (SPIFFE Trust Domain and Bundle section 4): what of it is read.
#[derive(Deserialize)]
struct Published {
    #[serde(default)]
    spiffe_refresh_hint: Option<u64>,
    keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    x5c: Vec<String>,
}

async fn bundle(agent: &Agent) -> Result<Bundle, IdentityError> {
    Bundle::read(&agent.bundle().await?).ok_or(IdentityError::Malformed("bundle"))
}

impl Bundle {
    /// Reads what an issuer publishes. What is of another use, or of one that nobody knows, is left out; a
    /// root without exactly one certificate makes the whole of it unread.
    pub fn read(text: &[u8]) -> Option<Self> {
        let published: Published = serde_json::from_slice(text).ok()?;
        let mut roots = Vec::new();
        let of_x509 = published.keys.iter().filter(|key| key.usage.as_deref() == Some("x509-svid"));
        for (count, key) in of_x509.enumerate() {
            let [certificate] = key.x5c.as_slice() else { return None };
            if count >= CERTIFICATES_MAX {
                return None;
            }
            roots.extend(STANDARD.decode(certificate).ok().filter(|der| !der.is_empty())?);
        }
        let refresh = published.spiffe_refresh_hint.map_or(REFRESH, Duration::from_secs);
        Some(Self { roots, refresh: refresh.clamp(REFRESH_MIN, REFRESH_MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_is_its_blocks_one_after_the_other_and_nothing_else() {
        let one = accredit_wire::x509::pem(LABEL, &[1, 2, 3]);
        let two = accredit_wire::x509::pem(LABEL, &[4]);
        assert_eq!(chain(&format!("{one}{two}")), Some(vec![1, 2, 3, 4]));
        for wrong in [
            String::new(),
            "x".into(),
            format!("{one}x"),
            format!("x{one}"),
            accredit_wire::x509::pem("PRIVATE KEY", &[1]),
            one.repeat(CERTIFICATES_MAX + 1),
        ] {
            assert_eq!(chain(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_trust_domain_is_the_id_before_its_path() {
        let id = "spiffe://dev.id.example/agent/a/instance/ins_1";
        assert_eq!(trust_domain(id), Some("spiffe://dev.id.example"));
        for wrong in ["", "https://x/y", "spiffe:///a", "spiffe://DEV/a", "spiffe://a b/c"] {
            assert_eq!(trust_domain(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn of_a_bundle_the_roots_are_read_and_what_is_unknown_is_left_out() {
        let read = |keys: &str| Bundle::read(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        let root = r#"{"kty":"EC","use":"x509-svid","x5c":["AQI="]}"#;
        let both =
            format!(r#"{root},{{"use":"jwt-svid","kid":"k"}},{{"use":"new","x5c":["BA=="]}}"#);
        assert_eq!(read(&both).expect("a bundle").roots, vec![1, 2]);
        // Nobody is believed any more: that is said, too.
        assert_eq!(read("").expect("a bundle").roots, Vec::<u8>::new());
        for wrong in [
            r#"{"use":"x509-svid"}"#,
            r#"{"use":"x509-svid","x5c":[]}"#,
            r#"{"use":"x509-svid","x5c":["AQI=","AQI="]}"#,
            r#"{"use":"x509-svid","x5c":["?"]}"#,
            r#"{"use":"x509-svid","x5c":[""]}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(Bundle::read(b"{}"), None);
        let hinted = |hint: u64| {
            let text = format!(r#"{{"keys":[],"spiffe_refresh_hint":{hint}}}"#);
            Bundle::read(text.as_bytes()).expect("a bundle").refresh
        };
        assert_eq!(
            [hinted(0), hinted(60), hinted(u64::MAX)],
            [REFRESH_MIN, Duration::from_mins(1), REFRESH_MAX]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in ".{0,300}") {
            let _ = (chain(&text), trust_domain(&text), Bundle::read(text.as_bytes()));
        }
    }
}
