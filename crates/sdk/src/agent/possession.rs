//! RFC 9449: the key of this process, to which its tokens are bound.
//!
//! It is made when the agent is, leaves the process in no form, and ends with it. So what is stolen on
//! the way, or from a log, is of no use to who stole it. Servers may demand a nonce in each proof; the
//! last one that each gave is kept.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use accredit_wire::binding::Thumbprint;
use accredit_wire::binding::dpop::{NONCE_HEADER, ProofKey, ProofUnmade, ToProve};
use accredit_wire::binding::nonce::NONCE_BYTES_MAX;
use accredit_wire::binding::uri::{Target, UriError};
use accredit_wire::biscuit::{Held, NarrowError, Narrowing};
use accredit_wire::crypto::{Algorithm, PrivateKey};
use http::header::{HeaderMap, HeaderValue};

use super::token::AgentError;
use crate::ambient;

/// Servers whose last nonce is kept. Beyond it all are forgotten, which costs each one request more.
const NONCES_MAX: usize = 256;

/// The key and what servers want to see in its proofs.
#[derive(Debug)]
pub(super) struct Holder {
    key: ProofKey,
    /// By scheme, host and port.
    nonces: Mutex<HashMap<String, String>>,
}

impl Holder {
    /// With a new key; none where this machine has no randomness.
    pub(super) fn generate() -> Option<Self> {
        let (private, _) = PrivateKey::generate(Algorithm::Es256).ok()?;
        Some(Self { key: ProofKey::new(private).ok()?, nonces: Mutex::default() })
    }

    pub(super) fn thumbprint(&self) -> Thumbprint {
        self.key.thumbprint()
    }

    /// The value of a `DPoP` header for one request.
    pub(super) fn prove(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
    ) -> Result<HeaderValue, AgentError> {
        let origin = origin(url).map_err(AgentError::Url)?;
        let nonce = self.nonces().get(&origin).cloned();
        let jti = ambient::random::<16>().ok_or(AgentError::Signing)?;
        let request = ToProve { method, url, token, nonce: nonce.as_deref() };
        let proof = self.key.prove(&request, jti, ambient::now()).map_err(|error| match error {
            ProofUnmade::Url(error) => AgentError::Url(error),
            ProofUnmade::Signing => AgentError::Signing,
        })?;
        HeaderValue::try_from(proof).map_err(|_| AgentError::Signing)
    }

    /// Narrows an attenuable token, and hands it on where it is bound to this key.
    pub(super) fn narrow(
        &self,
        held: &Held,
        narrowing: &Narrowing,
        random: &[u8; 32],
    ) -> Result<String, NarrowError> {
        self.key.narrow(held, narrowing, random)
    }

    /// Keeps the nonce that a server gave in its answer; says whether it is another one than before.
    pub(super) fn learn(&self, url: &str, headers: &HeaderMap) -> bool {
        let given = headers.get(NONCE_HEADER).and_then(|value| value.to_str().ok());
        let given = given.filter(|nonce| (1..=NONCE_BYTES_MAX).contains(&nonce.len()));
        let (Some(nonce), Ok(origin)) = (given, origin(url)) else { return false };
        let mut nonces = self.nonces();
        if nonces.len() >= NONCES_MAX && !nonces.contains_key(&origin) {
            nonces.clear();
        }
        let before = nonces.insert(origin, nonce.to_owned());
        before.as_deref() != Some(nonce)
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scheme, host and port of a URL (RFC 9449 section 8.2: a nonce is of one server).
fn origin(url: &str) -> Result<String, UriError> {
    let target = Target::parse(url)?;
    Ok(target.as_str().splitn(4, '/').take(3).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_kept_for_its_server_and_for_no_other() {
        let holder = Holder::generate().expect("a key");
        let mut headers = HeaderMap::new();
        assert!(!holder.learn("https://crm.example/a", &headers));
        headers.insert(NONCE_HEADER, HeaderValue::from_static("n1"));
        assert!(holder.learn("https://crm.example/a", &headers));
        assert!(!holder.learn("https://CRM.example:443/b?c", &headers), "the same as before");
        assert_eq!(origin("https://crm.example/a/b?c").as_deref(), Ok("https://crm.example"));
        assert_eq!(holder.nonces().len(), 1);
        for number in 0..NONCES_MAX * 2 {
            holder.learn(&format!("https://{number}.example/"), &headers);
        }
        assert!(holder.nonces().len() <= NONCES_MAX);
        let long = HeaderValue::try_from("n".repeat(NONCE_BYTES_MAX + 1)).expect("a value");
        headers.insert(NONCE_HEADER, long);
        assert!(!holder.learn("https://crm.example/a", &headers));
    }

    #[test]
    fn the_key_is_shown_by_its_thumbprint_alone() {
        let holder = Holder::generate().expect("a key");
        let shown = format!("{holder:?}");
        assert!(shown.contains(&holder.thumbprint().to_string()) && shown.len() < 150, "{shown}");
    }
}
