//! SPIFFE X509-SVID: a certificate of this instance with a key that is made here and lies in no file.

use std::fmt;
use std::time::Instant;

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::{Certificate, SERIAL_BYTES};
use accredit_wire::x509::{all_decoded, request, spiffe};
use zeroize::Zeroizing;

use crate::agent::{Agent, AgentError};
use crate::ambient;

/// Certificates in a chain or a bundle, at most.
pub(super) const CERTIFICATES_MAX: usize = 32;
/// The label of a certificate (RFC 7468 section 5).
const LABEL: &str = "CERTIFICATE";

/// A certificate with its key.
pub struct Svid {
    /// Whom it names.
    pub spiffe_id: String,
    /// The id of its trust domain, `spiffe://…` without a path.
    pub trust_domain: String,
    /// The certificate, and behind it what signed it, each in DER.
    pub chain: Vec<Vec<u8>>,
    /// The certificate's serial number; nothing where it is none of ours, so that no list of ours has it.
    pub number: Option<[u8; SERIAL_BYTES]>,
    /// Its key, PKCS #8 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// When it is over, by this machine's clock.
    pub expires_at: Time,
    /// When it is over, in monotonic time.
    pub ends: Instant,
    /// When half of its life is over, and the next is asked for.
    pub renew: Instant,
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// Why there is no certificate.
#[derive(Debug)]
pub enum SvidError {
    /// The issuer says no, or does not answer.
    Agent(AgentError),
    /// This machine could make no key.
    Key,
    /// What the issuer answered is not that.
    Malformed(&'static str),
}

impl fmt::Display for SvidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(error) => error.fmt(f),
            Self::Key => f.write_str("no key could be made: the system has no randomness"),
            Self::Malformed(what) => write!(f, "the issuer's {what} cannot be used"),
        }
    }
}

impl std::error::Error for SvidError {}

impl From<AgentError> for SvidError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

impl Svid {
    /// Makes a key, and gets a certificate for it. For an agent that proves itself as an instance.
    pub async fn get(agent: &Agent) -> Result<Self, SvidError> {
        let (key, der) = PrivateKey::generate(Algorithm::Es256).map_err(|_| SvidError::Key)?;
        let csr = request::write(&key).map_err(|_| SvidError::Key)?;
        let asked_at = ambient::instant();
        let got = agent.certificate(&csr, None).await?;
        let chain = chain(&got.certificate).ok_or(SvidError::Malformed("certificate"))?;
        let trust_domain = trust_domain(&got.spiffe_id).ok_or(SvidError::Malformed("SPIFFE ID"))?;
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            spiffe_id: got.spiffe_id,
            number: chain
                .first()
                .and_then(|own| Certificate::parse(own).ok())
                .map(|own| *own.serial()),
            chain,
            key: der,
            expires_at: got.expires_at,
            ends: got.ends,
            renew: asked_at + got.ends.saturating_duration_since(asked_at) / 2,
        })
    }
}

/// The certificates of a text that is PEM blocks one after the other.
fn chain(text: &str) -> Option<Vec<Vec<u8>>> {
    all_decoded(LABEL, text).filter(|chain| chain.len() <= CERTIFICATES_MAX)
}

/// The trust domain of a SPIFFE ID, as the id without a path.
fn trust_domain(id: &str) -> Option<&str> {
    let domain = id.strip_prefix("spiffe://")?.split('/').next()?;
    let is_one = spiffe::TrustDomain::parse(domain).is_ok();
    is_one.then(|| &id[.."spiffe://".len() + domain.len()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chain_is_its_blocks_one_after_the_other_and_nothing_else() {
        let one = accredit_wire::x509::pem(LABEL, &[1, 2, 3]);
        let two = accredit_wire::x509::pem(LABEL, &[4]);
        assert_eq!(chain(&format!("{one}{two}")), Some(vec![vec![1, 2, 3], vec![4]]));
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

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in ".{0,300}") {
            let _ = (chain(&text), trust_domain(&text));
            let framed = format!("-----BEGIN {LABEL}-----{text}-----END {LABEL}-----");
            let _ = chain(&framed);
        }
    }
}
