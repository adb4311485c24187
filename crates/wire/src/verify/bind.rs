//! RFC 7800 proof of possession: a token that is bound to a key (RFC 9449) has no way through but a
//! proof by that key, made for this request and this token, that was not seen before; one that is
//! bound to a certificate (RFC 8705 section 3) has none but a TLS connection with that certificate.
//!
//! A bound token that is sent as if it were a plain one is refused, and so is a plain one that is sent
//! as if it were bound. Where to a request went is what the operator configured, joined with the path
//! that was sent; where nothing is configured, bound tokens are refused.

use std::sync::Arc;

use super::Rejection;
use super::present::{RequestHead, Scheme};
use crate::binding::dpop::{Expected, NonceRule, Proof, ProofError};
use crate::binding::nonce::Nonces;
use crate::binding::replay::{REPLAY_ENTRIES_MAX, Replays, Seen};
use crate::binding::uri::BaseUri;
use crate::binding::{Confirmation, Thumbprint};
use crate::time::Time;
use crate::token::AccessToken;

/// How a resource checks proofs. Clones share what they have seen.
#[derive(Clone, Debug)]
pub struct Proofs {
    base: BaseUri,
    nonces: Arc<Nonces>,
    are_nonces_required: bool,
    replays: Arc<Replays>,
}

impl Proofs {
    /// For a resource that is reached at `base`. `secret` is random, and of this resource alone.
    pub fn new(base: BaseUri, secret: &[u8; 32]) -> Self {
        Self {
            base,
            nonces: Arc::new(Nonces::new(secret)),
            are_nonces_required: false,
            replays: Arc::new(Replays::new(REPLAY_ENTRIES_MAX)),
        }
    }

    /// The same where each proof needs a nonce.
    #[must_use]
    pub fn with_nonces(self) -> Self {
        Self { are_nonces_required: true, ..self }
    }

    /// The same where at most so many proofs are remembered at a time.
    #[must_use]
    pub fn remembering(self, entries_max: usize) -> Self {
        Self { replays: Arc::new(Replays::new(entries_max)), ..self }
    }

    /// Whether each proof needs a nonce.
    pub fn are_nonces_required(&self) -> bool {
        self.are_nonces_required
    }

    /// The nonce to give at `now`.
    pub fn nonce(&self, now: Time) -> String {
        self.nonces.at(now)
    }

    /// Checks the proof of a request that carries the token `text`, which is bound to `key`.
    fn check(
        &self,
        head: &RequestHead<'_>,
        (key, text): (Thumbprint, &str),
        now: Time,
    ) -> Result<(), Rejection> {
        let target = self.base.at(head.uri).map_err(|_| ProofError::Uri);
        let expected = Expected {
            method: head.method,
            target: &target.map_err(Rejection::Proof)?,
            token: Some(text),
            nonces: if self.are_nonces_required {
                NonceRule::Required(&self.nonces)
            } else {
                NonceRule::Accepted(&self.nonces)
            },
        };
        let proof = head.proof().and_then(|text| Proof::check_text(text, &expected, now));
        let proof = proof.map_err(Rejection::Proof)?;
        if proof.key() != key {
            return Err(Rejection::Proof(ProofError::OtherKey));
        }
        match self.replays.see(&proof, now) {
            Seen::First => Ok(()),
            Seen::Before => Err(Rejection::Proof(ProofError::Replayed)),
            Seen::Full => Err(Rejection::Proof(ProofError::Full)),
        }
    }
}

/// Refuses a token that is not presented as what it is. One that is bound to a certificate is
/// presented as a plain one is: "the Bearer scheme" is that of RFC 8705 section 3.
pub(super) fn check_scheme(scheme: Scheme, token: &AccessToken) -> Result<(), Rejection> {
    match (scheme, token.cnf) {
        (Scheme::Bearer, None | Some(Confirmation::Certificate(_)))
        | (Scheme::Dpop, Some(Confirmation::Key(_))) => Ok(()),
        (Scheme::Bearer, Some(Confirmation::Key(_))) => Err(Rejection::Binding),
        (Scheme::Dpop, None | Some(Confirmation::Certificate(_))) => Err(Rejection::NotBound),
    }
}

/// Refuses a token that demands more than itself, where there is nothing else.
pub(super) fn check_plain(token: &AccessToken) -> Result<(), Rejection> {
    match token.cnf {
        None => Ok(()),
        Some(Confirmation::Key(_)) => Err(Rejection::Binding),
        Some(Confirmation::Certificate(_)) => Err(Rejection::Certificate { is_presented: false }),
    }
}

/// Checks what a bound token demands, when nothing else speaks against the request: only the proof of
/// what is let through is remembered as seen.
pub(super) fn check_possession(
    proofs: Option<&Proofs>,
    head: &RequestHead<'_>,
    (token, text): (&AccessToken, &str),
    now: Time,
) -> Result<(), Rejection> {
    match token.cnf {
        None => Ok(()),
        Some(Confirmation::Key(key)) => {
            let proofs = proofs.ok_or(Rejection::ProofsUnchecked)?;
            proofs.check(head, (key, text), now)
        }
        // RFC 8705 section 3: "If they do not match, the resource access attempt MUST be rejected
        // with an error".
        Some(Confirmation::Certificate(certificate)) => match head.certificate() {
            Some(presented) if presented == certificate => Ok(()),
            presented => Err(Rejection::Certificate { is_presented: presented.is_some() }),
        },
    }
}
