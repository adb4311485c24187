//! RFC 8705 section 2, SPIFFE client authentication: a client that is known by the certificate of its
//! TLS connection.
//!
//! Whoever listens has checked that the client holds the certificate's key. Whose it is, is found out
//! in one of two ways. A certificate that names an instance of this organization is one of ours or
//! nobody's (`tls_client_auth`): it is found by the digest of all its bytes, which the organization's
//! authority signed, so that there is no path to build and no name to match; and it is asked whether it
//! still stands, which the certificate itself cannot say. Any other is its key in another form, which
//! a client has registered or has not (`self_signed_tls_client_auth`); who signed it does not matter.
//!
//! Whether one of ours stands, and what is got with it, is said in [`super::svid`]. Absent on purpose:
//! certificates of authorities outside, matched by a subject's name.

use std::sync::Arc;

use accredit_wire::binding::{PeerCertificate, Thumbprint};
use accredit_wire::crypto::PublicKey;
use accredit_wire::ids::{AgentId, AnyId, InstanceId};
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::oauth::client_auth::{
    SELF_SIGNED_TLS_CLIENT_AUTH, SPIFFE_X509, TLS_CLIENT_AUTH,
};
use accredit_wire::x509::presented::Presented;

use super::admission::{CredentialFacts, ProofFacts};
use super::authenticate::{
    AuthenticatedClient, ENDED_KEYS_TRIED_MAX, KEYS_TRIED_MAX, NotAuthenticated, keys, unknown,
    usable,
};
use super::svid::{self, ShownSvid};
use crate::ca;
use crate::ca::issued::IssuedCertificate;
use crate::context::Cx;
use crate::ports::{KeysWanted, LookedUp};
use crate::refusal::{Fault, Refusal, Rule};
use crate::registry::jwks;

/// Authenticates the client that says it is `client_id`. `rev` was read before.
pub(super) async fn client(
    cx: &Cx,
    client_id: &str,
    certificate: &PeerCertificate,
    rev: u64,
) -> Result<AuthenticatedClient, NotAuthenticated> {
    let presented = Presented::read(certificate.der()).map_err(|error| {
        let detail = format!("the certificate of the connection is {error}");
        Refusal::new(Rule::ClientAuthentication, detail, "use one that OpenSSL makes")
    })?;
    if !presented.holds(cx.now, SKEW_MAX) {
        return Err(not_now(&presented).into());
    }
    let domain = ca::trust_domain(cx.tenant.id, &cx.tenant.issuer)?;
    let named = presented.spiffe_id.as_deref().and_then(|id| domain.instance_of(id));
    match named {
        Some(instance) => by_own(cx, (client_id, certificate), instance, rev).await,
        None => by_key(cx, client_id, presented.key.as_ref(), rev).await,
    }
}

/// Told to anybody: it says nothing that the certificate does not.
fn not_now(presented: &Presented) -> Refusal {
    Refusal::new(
        Rule::CertificateLifetime,
        format!(
            "the certificate of the connection holds from {} until {}",
            presented.from, presented.until
        ),
        "make or ask for a new one (`accredit certificate issue`), and check this machine's clock",
    )
}

/// A certificate of ours.
async fn by_own(
    cx: &Cx,
    (client_id, certificate): (&str, &PeerCertificate),
    instance: InstanceId,
    rev: u64,
) -> Result<AuthenticatedClient, NotAuthenticated> {
    let digest = *certificate.thumbprint().bytes();
    let found = cx.world.store.certificate_of(cx.tenant.id, instance, digest).await?;
    // SPIFFE client authentication: the id that the certificate names is a client's id as well.
    let names = |row: &IssuedCertificate| {
        row.spiffe_id == client_id || client_id.parse() == Ok(row.agent.any())
    };
    let row = found.filter(names).ok_or_else(unknown)?;
    let method = if row.spiffe_id == client_id { SPIFFE_X509 } else { TLS_CLIENT_AUTH };
    svid::client(cx, ShownSvid::from(row), method, rev).await
}

/// A certificate that is a registered key in another form.
async fn by_key(
    cx: &Cx,
    client_id: &str,
    key: Option<&PublicKey>,
    rev: u64,
) -> Result<AuthenticatedClient, NotAuthenticated> {
    let Some(key) = key else {
        return Err(Refusal::new(
            Rule::ClientAuthentication,
            "the key of the connection's certificate is of no kind that clients register",
            "use a key of P-256 or Ed25519: `openssl req -x509 -newkey ec -pkeyopt \
             ec_paramgen_curve:P-256`",
        )
        .into());
    };
    let thumbprint = Thumbprint::of(key);
    let facts = registered(cx, client_id, thumbprint).await?.ok_or_else(unknown)?;
    let standing = usable(cx, &facts);
    AuthenticatedClient::new(facts, SELF_SIGNED_TLS_CLIENT_AUTH, rev).unless_ended(standing)
}

/// The credential of a client with this key: by what a key is called that was given no name, and then
/// among its newest. Keys that are followed are fetched where none fits, as for an assertion.
async fn registered(
    cx: &Cx,
    client_id: &str,
    key: Thumbprint,
) -> Result<Option<Arc<CredentialFacts>>, Fault> {
    let (live, ended, now) = (KEYS_TRIED_MAX, ENDED_KEYS_TRIED_MAX, cx.now);
    let called = key.to_string();
    let is_it = |facts: &Arc<CredentialFacts>| match &facts.proof {
        ProofFacts::Key(registered) => Thumbprint::of(&registered.key) == key,
        ProofFacts::Secret { .. } | ProofFacts::Workload | ProofFacts::Join { .. } => false,
    };
    let mut are_followed = false;
    for kid in [Some(called.as_str()), None] {
        let wanted = KeysWanted { kid, live, ended, now };
        let LookedUp { found, from_memory } = keys(cx, client_id, wanted).await?;
        are_followed |= found.are_followed;
        let found = found.keys.into_iter().find(is_it);
        if found.is_some() {
            return Ok(found);
        }
        if from_memory {
            cx.world.store.keys_of_nobody(wanted).await?;
        }
    }
    let agent = client_id.parse::<AnyId>().ok().and_then(|id| AgentId::try_from(id).ok());
    let Some(agent) = agent.filter(|_| are_followed) else { return Ok(None) };
    if !jwks::asked_for(cx, agent).await? {
        return Ok(None);
    }
    let wanted = KeysWanted { kid: None, live, ended, now };
    let found = keys(cx, client_id, wanted).await?.found;
    Ok(found.keys.into_iter().find(is_it))
}
