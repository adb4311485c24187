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
//! What is got with a certificate of ours hangs on all that the certificate hangs on, and is over with
//! it ([`within`], [`hang_on`]). Absent on purpose: certificates of authorities outside, matched by a subject's name.

use std::sync::Arc;

use accredit_wire::binding::{PeerCertificate, Thumbprint};
use accredit_wire::crypto::PublicKey;
use accredit_wire::ids::{AgentId, AnyId, CredentialId, InstanceId, TaskId};
use accredit_wire::jose::jwt::SKEW_MAX;
use accredit_wire::oauth::client_auth::{SELF_SIGNED_TLS_CLIENT_AUTH, TLS_CLIENT_AUTH};
use accredit_wire::token::LINEAGE_MAX;
use accredit_wire::x509::presented::Presented;

use super::admission::{CredentialFacts, HolderFacts, ProofFacts};
use super::authenticate::{
    AuthenticatedClient, ENDED_KEYS_TRIED_MAX, KEYS_TRIED_MAX, NotAuthenticated, keys, unknown,
    usable,
};
use super::grants::token_exchange::OWN_IDS;
use super::grants::{Origin, ProposedGrant};
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
    let credential = credential(cx, &row).await?;
    let standing = usable(cx, &credential).and_then(|()| stands(cx, &row));
    let client = AuthenticatedClient {
        svid: Some(Arc::new(row)),
        ..AuthenticatedClient::new(credential, TLS_CLIENT_AUTH, rev)
    };
    client.unless_ended(standing)
}

/// Whether nothing was ended that the certificate hangs on, and it is not over by our own clock, which
/// set its end.
fn stands(cx: &Cx, row: &IssuedCertificate) -> Result<(), Refusal> {
    let hint = "the instance asks for a new one: `accredit certificate issue`";
    if row.expires_at <= cx.now {
        let detail = format!("certificate `{}` expired at {}", row.id, row.expires_at);
        return Err(Refusal::new(Rule::CertificateLifetime, detail, hint));
    }
    match cx.tenant.revoked().is_dead(row.lineage.iter().copied(), row.rev) {
        None => Ok(()),
        Some(ended) => {
            let detail = if ended == row.id.any() {
                format!("certificate `{}` was revoked", row.id)
            } else {
                format!("certificate `{}` has ended with `{ended}`", row.id)
            };
            Err(Refusal::new(Rule::CertificateRevoked, detail, hint))
        }
    }
}

/// The credential that a certificate was got with, as that of the instance that the certificate names:
/// a rule on a platform's tokens is its agent's.
async fn credential(cx: &Cx, row: &IssuedCertificate) -> Result<Arc<CredentialFacts>, Fault> {
    let fault = |why| Fault::new("certificate", why);
    // The first: those of whoever stands before the instance come behind.
    let own = row.lineage.iter().find_map(|id| CredentialId::try_from(*id).ok());
    let own = own.ok_or_else(|| fault("it was got with no credential"))?;
    let facts = cx.world.store.credential_facts(cx.tenant.id, own).await?.found;
    let facts = facts.ok_or_else(|| fault("its credential is gone"))?;
    match &facts.holder {
        HolderFacts::Instance { id, .. } if *id == row.instance => Ok(facts),
        HolderFacts::Agent(agent)
            if *agent == row.agent && matches!(facts.proof, ProofFacts::Workload) =>
        {
            of_workload(cx, row, &facts).await
        }
        _ => Err(fault("its credential is another's")),
    }
}

/// A rule's credential, as that of the instance that it brought into being.
async fn of_workload(
    cx: &Cx,
    row: &IssuedCertificate,
    rule: &CredentialFacts,
) -> Result<Arc<CredentialFacts>, Fault> {
    let found = cx.world.store.instance(cx.tenant.id, row.instance).await?;
    let instance = found.ok_or_else(|| Fault::new("certificate", "its instance is gone"))?;
    let of = (instance.agent, instance.id);
    Ok(Arc::new(rule.of_workload(of, (instance.state, instance.expires_at))))
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

/// A proposal within what its client's certificate is: not for longer, and for no other task.
pub(super) fn within(cx: &Cx, mut proposed: ProposedGrant) -> Result<ProposedGrant, Refusal> {
    let Some(svid) = &proposed.svid else { return Ok(proposed) };
    let left = svid.expires_at.since(cx.now).as_secs();
    proposed.lifetime = proposed.lifetime.min(u32::try_from(left).unwrap_or(u32::MAX));
    let Some(task) = svid.lineage.iter().find_map(|id| TaskId::try_from(*id).ok()) else {
        return Ok(proposed);
    };
    let held = proposed.origin.as_ref().and_then(|origin| origin.task());
    let named = proposed.task.as_ref().map(|task| task.id);
    if [held, named].into_iter().flatten().all(|other| other == task) {
        return Ok(proposed);
    }
    Err(Refusal::new(
        Rule::TaskOther,
        format!("the client's certificate was issued for task `{task}`"),
        "leave `task` out: it carries over; or use a certificate that is for no task",
    ))
}

/// Takes all that a certificate hangs on into what is issued, besides the ids in `own`, which stand in
/// it anyway.
pub(super) fn hang_on(
    svid: &IssuedCertificate,
    origin: &mut Origin,
    own: &[AnyId],
) -> Result<(), Refusal> {
    let parties = origin.chain.iter();
    let parties =
        parties.flat_map(|one| [Some(one.agent.any()), one.instance.map(InstanceId::any)]);
    let mut named: Vec<AnyId> = parties.flatten().collect();
    named.extend_from_slice(own);
    named.extend([origin.subject, svid.instance.any()]);
    for id in &svid.lineage {
        if !named.contains(id) && !origin.further.contains(id) {
            origin.further.push(*id);
        }
    }
    if origin.further.len() + OWN_IDS <= LINEAGE_MAX {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::ChainTooDeep,
        format!("the token would hang on more than {LINEAGE_MAX} things"),
        "use the credential that the certificate was got with",
    ))
}

/// Refuses a client that is known by a certificate of ours where what it would get does not hang on
/// that certificate, and could outlive it.
pub(crate) fn not_by_own(client: &AuthenticatedClient) -> Result<(), Refusal> {
    if client.svid.is_none() {
        return Ok(());
    }
    Err(Refusal::new(
        Rule::GrantNotForClient,
        "what is asked for here would outlive the certificate that the client is known by",
        "use the credential that the certificate was got with",
    ))
}
