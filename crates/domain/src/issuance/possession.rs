//! RFC 9449 section 5: which key the client proves to hold. What is issued is bound to it.
//!
//! A certificate of the connection is proved by the handshake, before anything is asked (RFC 8705).
//!
//! The proof is checked once the client is known, so that nobody else fills the memory of what was
//! used; it is used up with whatever is decided. Its URI is compared with the token endpoint as the
//! issuer's configured name says it, whatever the request says of its host.
//!
//! Nonces are not demanded unless the operator says so: each proof is taken once, a restart included,
//! and for a minute at most. What a nonce adds is that nobody who once had the use of the key, and
//! has it no more, made proofs for later.

use accredit_wire::binding::dpop::{Expected, NonceRule, Proof, ProofError};
use accredit_wire::binding::nonce::Nonces;
use accredit_wire::binding::uri::Target;
use accredit_wire::binding::{Confirmation, Thumbprint};

use super::authenticate::AuthenticatedClient;
use crate::context::Cx;
use crate::ports::SingleUse;
use crate::refusal::{Refusal, Rule};

/// Whether a proof of possession needs a nonce of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NoncePolicy {
    /// It may come without.
    #[default]
    Accepted,
    /// It may not.
    Required,
}

impl NoncePolicy {
    /// As it is written in a configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Required => "required",
        }
    }
}

/// Before what the key of nonces is made from: no secret of a client begins so.
const NONCE_KEY_LABEL: &str = "dpop nonces of";

/// Whether each proof needs a nonce.
pub fn are_nonces_required(cx: &Cx) -> bool {
    cx.world.nonces.get().copied().unwrap_or_default() == NoncePolicy::Required
}

/// The nonce to give now; none where the vault cannot make one.
pub fn nonce(cx: &Cx) -> Option<String> {
    nonces(cx).map(|nonces| nonces.at(cx.now))
}

/// The organization's nonces: the same on every node and after a restart, and nobody else's.
fn nonces(cx: &Cx) -> Option<Nonces> {
    let vault = &cx.world.vault;
    let label = format!("{NONCE_KEY_LABEL} {}", cx.tenant.id);
    vault.mac(vault.pepper_version(), label.as_bytes()).map(|key| Nonces::new(&key))
}

/// What a client has proved to hold in a request, besides that by which it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proved {
    /// A key, by a proof (RFC 9449 section 5).
    key: Option<Thumbprint>,
    /// A certificate's key, by the connection (RFC 8705 section 3).
    certificate: Option<Thumbprint>,
}

impl Proved {
    /// A key alone.
    pub(super) const fn of_key(key: Option<Thumbprint>) -> Self {
        Self { key, certificate: None }
    }

    /// To what whatever is issued is bound; nothing where nothing was proved. A proof was made for
    /// this one request, and a connection may be somebody's who shows the same certificate to all: the
    /// key goes first, and a token is never bound to both.
    pub fn binds(self) -> Option<Confirmation> {
        let key = self.key.map(Confirmation::Key);
        key.or_else(|| self.certificate.map(Confirmation::Certificate))
    }

    /// Whether it is what a token demands.
    pub fn has(self, demanded: Confirmation) -> bool {
        match demanded {
            Confirmation::Key(key) => self.key == Some(key),
            Confirmation::Certificate(certificate) => self.certificate == Some(certificate),
        }
    }
}

/// Finds out what the client proves to hold. A request without a proof, over a connection without a
/// certificate, proves nothing.
pub(super) fn prove(
    cx: &Cx,
    client: &mut AuthenticatedClient,
    (proofs, certificate): (&[Vec<u8>], Option<Thumbprint>),
) -> Result<(), Refusal> {
    client.proved.certificate = certificate;
    if proofs.is_empty() {
        return Ok(());
    }
    let endpoint = format!("{}/oauth/token", cx.tenant.issuer);
    let target = Target::parse(&endpoint).map_err(|_| refusal(&ProofError::Uri))?;
    let nonces = nonces(cx).ok_or_else(|| refusal(&ProofError::Nonce))?;
    let nonces = if are_nonces_required(cx) {
        NonceRule::Required(&nonces)
    } else {
        NonceRule::Accepted(&nonces)
    };
    let expected = Expected { method: "POST", target: &target, token: None, nonces };
    let proof = Proof::check(proofs.iter().map(Vec::as_slice), &expected, cx.now);
    let proof = proof.map_err(|error| refusal(&error))?;
    client.proved.key = Some(proof.key());
    client.used_up.possession = Some(SingleUse {
        client: client.id(),
        hash: *proof.digest(),
        until: proof.remembered_until(),
    });
    Ok(())
}

/// The proof was used before.
pub(super) fn replayed() -> Refusal {
    refusal(&ProofError::Replayed)
}

fn refusal(error: &ProofError) -> Refusal {
    let rule = match error {
        ProofError::Nonce => Rule::DpopNonce,
        ProofError::Replayed => Rule::DpopReplayed,
        ProofError::Absent => Rule::DpopRequired,
        ProofError::Several
        | ProofError::TooLong { .. }
        | ProofError::Malformed(_)
        | ProofError::Key(_)
        | ProofError::Claims(_)
        | ProofError::Missing(_)
        | ProofError::Method
        | ProofError::Uri
        | ProofError::Time { .. }
        | ProofError::Token
        | ProofError::OtherKey
        | ProofError::Full => Rule::DpopProof,
    };
    Refusal::new(rule, error.to_string(), error.hint())
}
