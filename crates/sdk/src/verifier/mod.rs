//! RFC 9068 tokens checked in this process, with revocations followed from the issuer.
//!
//! The check itself is [`accredit_wire::verify`], which does no I/O. Here is what it needs from
//! outside: the keys, the signed state of revocations, and the audit log's checkpoints, which
//! every verifier compares with those it saw before. `shared` is where the two meet; `follow`
//! writes, requests read.

mod acknowledge;
mod alarm;
mod builder;
mod follow;
mod keys;
mod shared;
mod state_dir;

use std::sync::Arc;
use std::time::Duration;

use accredit_wire::binding::PeerCertificate;
use accredit_wire::binding::dpop::PROOF_HEADER;
use accredit_wire::time::Time;
use accredit_wire::verify::{self, Rejection, RequestHead};
use http::header::AUTHORIZATION;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::ambient;
use crate::guard::Guard;
use crate::principal::{Principal, Received};
use crate::refusal::Refusal;
pub use alarm::{ALARMS_MAX, Alarm, Contradiction};
pub use builder::{Builder, ConnectError, REVOCATIONS_AGE_MIN};
use shared::Shared;

/// How often the issuer's keys are asked for without a reason.
const KEYS_REFRESH_MAX: Duration = Duration::from_mins(5);

/// How soon after an attempt that failed they are asked for again; it doubles each time.
const KEYS_RETRY_MIN: Duration = Duration::from_millis(250);

/// The longest such wait.
const KEYS_RETRY_MAX: Duration = Duration::from_secs(10);

/// Within which time all verifiers of an issuer ask for the keys that it says have changed.
const KEYS_SPREAD_MAX: Duration = Duration::from_millis(100);

/// Checks access tokens for one audience of one issuer. Cheap to clone; the last clone, or the
/// last [`Principal`], ends its tasks.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Running>);

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 3],
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What a verifier knows of revocations at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The generation of the issuer's store.
    pub generation: u64,
    /// The issuer's revocation counter up to which all is known.
    pub rev: u64,
    /// How many revoked ids are held.
    pub entries: usize,
    /// The issuer's signed time of the newest message.
    pub signed_at: Time,
}

impl Verifier {
    /// A verifier for tokens of `issuer`, such as `https://id.example/o/dev`, whose `aud` is
    /// `audience`.
    pub fn builder(issuer: &str, audience: &str) -> Builder {
        Builder::new(issuer, audience)
    }

    fn new(shared: Arc<Shared>, tasks: [AbortHandle; 3]) -> Self {
        Self(Arc::new(Running { shared, tasks }))
    }

    /// A tower layer that lets only good tokens through.
    pub fn guard(&self) -> Guard {
        Guard::new(self.clone())
    }

    /// Who sends a request with this head. A token that is bound to a certificate (RFC 8705) is taken
    /// where whoever speaks TLS has put the client's [`PeerCertificate`] into the extensions.
    pub async fn verify_request(&self, head: &http::request::Parts) -> Result<Principal, Refusal> {
        let uri = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let values = head.headers.get_all(AUTHORIZATION);
        let authorization = values.iter().map(http::HeaderValue::as_bytes);
        let proofs = head.headers.get_all(PROOF_HEADER).iter().map(http::HeaderValue::as_bytes);
        let request = RequestHead::new(head.method.as_str(), uri, authorization);
        let certificate = head.extensions.get().map(PeerCertificate::thumbprint);
        let request = request.with_proofs(proofs).with_certificate(certificate);
        let verified = self.decide(|verifier, now| verifier.verify(&request, now)).await?;
        // What was verified came in the one header there is.
        let received = head.headers.get(AUTHORIZATION).map(Received::header);
        let received = received.unwrap_or_else(|| Received::token(""));
        Ok(Principal::new(verified, self.clone(), received))
    }

    /// Whose plain token this is. One that is bound to a key or a certificate is refused: it proves something only
    /// together with the request that it came with.
    pub async fn verify_token(&self, token: &str) -> Result<Principal, Refusal> {
        let verified = self.decide(|verifier, now| verifier.verify_token(token, now)).await?;
        Ok(Principal::new(verified, self.clone(), Received::token(token)))
    }

    /// Asks, and where the answer is that something is not known yet, learns it and asks once
    /// more.
    async fn decide(
        &self,
        ask: impl Fn(&verify::Verifier, Time) -> Result<verify::Principal, Rejection>,
    ) -> Result<verify::Principal, Refusal> {
        let shared = &self.0.shared;
        let mut answer = ask(&shared.verifier, ambient::now());
        match &answer {
            Err(Rejection::UnknownKey) => shared.learn_key().await,
            Err(Rejection::Behind { token, .. }) => shared.catch_up(*token).await,
            _ => {}
        }
        if matches!(answer, Err(Rejection::UnknownKey | Rejection::Behind { .. })) {
            answer = ask(&shared.verifier, ambient::now());
        }
        match answer {
            Ok(principal) => Ok(principal),
            Err(rejection) => {
                let wire = &shared.verifier;
                let refusal = Refusal::from(rejection);
                Err(match wire.nonce(ambient::now()) {
                    Some(nonce) => refusal.with_proofs(nonce),
                    None => refusal,
                })
            }
        }
    }

    /// The nonce to give with the answer to a request that came with a proof, where each proof needs
    /// one (RFC 9449 section 8.2).
    pub(crate) fn next_nonce(&self) -> Option<String> {
        let wire = &self.0.shared.verifier;
        let proofs = wire.config().proofs.as_ref()?;
        proofs.are_nonces_required().then(|| proofs.nonce(ambient::now()))
    }

    /// Where the issuer contradicted itself, oldest first, at most [`ALARMS_MAX`]. Each was also
    /// logged as an error. A health check should look here.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.0.shared.alarms.all()
    }

    /// What is known of revocations now; nothing before the first message.
    pub fn status(&self) -> Option<Status> {
        self.0.shared.status()
    }

    pub(crate) fn standing_of(
        &self,
        principal: &verify::Principal,
        now: Time,
    ) -> Result<(), Rejection> {
        self.0.shared.verifier.standing_of(principal, now)
    }

    /// Whether none of these ids has ended, and as of what that is known.
    #[cfg(feature = "mtls")]
    pub(crate) fn standing_of_ids(
        &self,
        ids: impl IntoIterator<Item = accredit_wire::ids::AnyId>,
        now: Time,
    ) -> Result<verify::AsOf, Rejection> {
        self.0.shared.verifier.standing_of_ids(ids, now)
    }

    /// The issuer, to ask for what it publishes.
    #[cfg(feature = "mtls")]
    pub(crate) fn client(&self) -> &crate::issuer::IssuerClient {
        &self.0.shared.client
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.shared.changes()
    }

    pub(crate) fn age_max(&self) -> Duration {
        self.0.shared.age_max
    }
}

/// Asks for the keys when a request wants one, when the issuer signed that they changed, and now
/// and then, so that a key that the issuer withdrew is noticed. What fails, or brings keys other
/// than the issuer says it publishes, is tried again, a little later each time.
async fn refresh_keys_forever(shared: Arc<Shared>, fetched: bool) {
    let mut succeeded = fetched && !shared.are_keys_behind();
    let mut retry = KEYS_RETRY_MIN;
    loop {
        let longest = if succeeded { KEYS_REFRESH_MAX } else { retry };
        tokio::select! {
            () = ambient::sleep(ambient::jittered(longest)) => {}
            () = shared.keys_changed.notified() => {
                ambient::sleep(ambient::jittered(KEYS_SPREAD_MAX)).await;
            }
            () = shared.keys_wanted.notified() => if shared.knows_keys() { continue },
        }
        let refreshed = shared.refresh_keys().await;
        if let Err(error) = &refreshed {
            tracing::warn!(%error, "the issuer's keys cannot be fetched");
        }
        succeeded = refreshed.is_ok() && !shared.are_keys_behind();
        retry = if succeeded { KEYS_RETRY_MIN } else { (retry * 2).min(KEYS_RETRY_MAX) };
    }
}
