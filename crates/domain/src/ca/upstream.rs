//! RFC 5280: a root of ours below one that somebody else keeps, which may be off line.
//!
//! The next root's key is certified outside ([`request`], [`import`]); then that outside root is published in
//! its place, for as long as any root before it signs. From then on a root that nobody outside has certified
//! is neither published nor signs: an organization whose trust is kept off line does not come to trust a
//! key on line by a rotation, nor by a revocation. There the authority stands still until the next one is
//! certified.

use std::collections::BTreeSet;

use accredit_wire::ids::KeyId;
use accredit_wire::x509::certificate::{Life, Named, SERIAL_BYTES, Unsigned};
use accredit_wire::x509::request as certification;
use accredit_wire::x509::upstream::{self, Above, ChainError};
use serde::{Deserialize, Serialize};

use super::bundle::{self, CaView};
use super::{Certified, certificate, name, pointers, self_signed, signed_by, trust_domain};
use crate::audit::event::{Body, EventKind};
use crate::context::Cx;
use crate::keys::{self, KeyPurpose, KeyState, SigningKey};
use crate::ports::Row;
use crate::refusal::{Error, Fault, Refusal, Rule};
use crate::registry::credential::AdminPermission;
use crate::registry::{commit_created, decide};

/// A request for the certificate of the next root.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CaRequest {
    /// The key that is to be certified.
    #[schema(value_type = String)]
    pub key: KeyId,
    /// The request (RFC 2986), PEM.
    pub csr: String,
}

/// What came back for it.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportCertificate {
    /// The certificate, those between and the root's, PEM, each followed by its issuer's.
    pub chain: String,
}

/// The first root that was certified outside; nothing where there is none.
fn since(all: &[SigningKey]) -> Result<Option<KeyId>, Fault> {
    for key in keys::of(all, KeyPurpose::CaRoot) {
        if Certified::of(key)?.is_some_and(|certified| certified.above.is_some()) {
            return Ok(Some(key.sealed.id));
        }
    }
    Ok(None)
}

/// Whether a root is one to be published and to sign: it is certified outside, or of the time before any was.
pub(crate) fn may_sign(all: &[SigningKey], root: &SigningKey) -> Result<bool, Fault> {
    let Some(certified) = Certified::of(root)? else { return Ok(false) };
    if certified.above.is_some() {
        return Ok(true);
    }
    Ok(since(all)?.is_none_or(|since| root.sealed.id < since))
}

/// Whether the next root is certified outside and the one that signs is not: it takes its place as soon as
/// it was published for long enough.
pub(crate) fn is_awaited(active: &SigningKey, next: Option<&SigningKey>) -> Result<bool, Fault> {
    let is_certified = |key: &SigningKey| {
        Ok::<_, Fault>(Certified::of(key)?.is_some_and(|certified| certified.above.is_some()))
    };
    let Some(next) = next else { return Ok(false) };
    Ok(is_certified(next)? && !is_certified(active)?)
}

/// Refuses that a root which is not to sign takes the place of one.
pub(crate) fn check_successor(all: &[SigningKey], next: Option<&SigningKey>) -> Result<(), Error> {
    let may = match next {
        Some(next) => may_sign(all, next)?,
        None => since(all)?.is_none(),
    };
    if may { Ok(()) } else { Err(uncertified().into()) }
}

fn uncertified() -> Refusal {
    Refusal::new(
        Rule::StateForbids,
        "the next root is not certified by the root outside, below which this organization's are",
        "have it certified: `accredit ca export-csr`, then `accredit ca import-certificate`",
    )
}

/// The next root, which nobody outside has certified yet.
async fn next(cx: &Cx) -> Result<(Vec<SigningKey>, SigningKey), Error> {
    let all = cx.world.store.signing_keys(cx.tenant.id).await?;
    let next = keys::of(&all, KeyPurpose::CaRoot).rfind(|key| key.state == KeyState::Next);
    let next = next.cloned().ok_or_else(|| {
        let hint = "ask again in a minute: the job of rotation makes one";
        Refusal::new(Rule::StateForbids, "there is no next root", hint)
    })?;
    if Certified::of(&next)?.is_some_and(|certified| certified.above.is_some()) {
        return Err(Refusal::new(
            Rule::StateForbids,
            format!("the next root `{}` is certified by a root outside already", next.sealed.id),
            "it signs once it was published for 30 minutes; `accredit signing-key revoke` makes another \
             the next",
        )
        .into());
    }
    Ok((all, next))
}

/// A request for the certificate of the next root. Nothing changes by it.
pub async fn request(cx: &Cx) -> Result<CaRequest, Error> {
    cx.require(AdminPermission::Registry)?;
    let (_, next) = next(cx).await?;
    Ok(CaRequest { key: next.sealed.id, csr: asked(cx, &next).await? })
}

async fn asked(cx: &Cx, root: &SigningKey) -> Result<String, Fault> {
    let unmade = |error| Fault::new("make a request", error);
    let domain = trust_domain(cx.tenant.id, &cx.tenant.issuer)?;
    let name = name(root.sealed.id);
    let own = Named::new(&name, &root.sealed.public);
    let unsigned = upstream::request(&domain, own).map_err(unmade)?;
    let signature = cx.world.vault.sign(&root.sealed, unsigned.signing_input()).await?;
    unsigned.finish(&signature).map_err(unmade)
}

/// Takes the certificate of the next root: from now on the root above it is published, too.
pub async fn import(cx: &Cx, asked: &ImportCertificate) -> Result<CaView, Error> {
    cx.require(AdminPermission::Registry)?;
    decide(|| async {
        let (all, next) = next(cx).await?;
        let called = name(next.sealed.id);
        let own = Named::new(&called, &next.sealed.public);
        let above = Above::parse(&asked.chain, own, cx.now).map_err(|error| refused(&error))?;
        let certified = certified(cx, &next, above).await?;
        let changes = [
            ("certificate".into(), accredit_wire::jose::b64url_encode(certified.shown())),
            ("until".into(), certified.until().to_string()),
        ];
        // Published as another from now on.
        let statement = Some(certified.text());
        let next = SigningKey { statement, changed_at: Some(cx.now), ..next };
        let body = Body { key: Some(next.sealed.id), changes: changes.into(), ..Body::default() };
        let event = cx.event(EventKind::KeyCertified, body);
        let of = |key: SigningKey| if key.sealed.id == next.sealed.id { next.clone() } else { key };
        let view = bundle::view(cx, &all.into_iter().map(of).collect::<Vec<_>>())?;
        commit_created(cx, vec![Row::Key(next.clone())], event, &view).await?;
        Ok(view)
    })
    .await
}

/// A root with what stands above it, where an instance's certificate below it is believed by whoever holds to
/// the root outside: one is made and checked.
async fn certified(cx: &Cx, root: &SigningKey, above: Above) -> Result<Certified, Error> {
    let (world, issuer) = (&cx.world, cx.tenant.issuer.as_str());
    let root = match &root.statement {
        Some(_) => root.clone(),
        None => self_signed(world, issuer, root.clone(), cx.now).await?,
    };
    let own = Certified::of(&root)?.ok_or_else(|| Fault::new("certify", "no certificate"))?;
    let certified = Certified { above: Some(above), ..own };
    let tried = SigningKey { statement: Some(certified.text()), ..root.clone() };
    // A key for this alone: it is not kept.
    let (org, purpose) = (cx.tenant.id, KeyPurpose::Ca);
    let below = keys::generate(world, org, purpose, KeyState::Active, cx.now).await?;
    let below = signed_by(world, issuer, &tried, below, cx.now).await?;
    let signs = Certified::of(&below)?.ok_or_else(|| Fault::new("certify", "no certificate"))?;
    let key = certification::parse(&asked(cx, &root).await?);
    let key = key.map_err(|error| Fault::new("certify", error))?;
    let domain = trust_domain(org, issuer)?;
    let called = name(below.sealed.id);
    let by = (Named::new(&called, &below.sealed.public), &pointers(issuer, below.sealed.id));
    let life = Life { from: cx.now, until: signs.certificate.until() };
    let serial = world.random::<SERIAL_BYTES>();
    let unsigned =
        Unsigned::instance((&domain.id(), &BTreeSet::new()), by, ("trial", &key), &serial, life);
    let leaf = certificate(world, &below.sealed, unsigned).await?;
    let above = certified.above.as_ref();
    let carries = above.map(|above| above.carries(&leaf, &signs.certificate, cx.now));
    carries.transpose().map_err(|error| refused(&error))?;
    Ok(certified)
}

fn refused(error: &ChainError) -> Refusal {
    let hint = match error {
        // The next root is another one, for which this may have been meant once.
        ChainError::Key => {
            let hint = "certify what `accredit ca export-csr` prints now";
            return Refusal::new(Rule::StateForbids, format!("`chain`: {error}"), hint);
        }
        ChainError::Name => "certify the request with the subject that it has",
        ChainError::NoAuthority(_) | ChainError::Length(_) | ChainError::Path(_) => {
            "an authority with at least one more below it: basicConstraints CA:TRUE with no \
             path length or 1, keyUsage keyCertSign and cRLSign"
        }
        ChainError::RootKey => "use a root with a key of one of these",
        ChainError::Pem
        | ChainError::Count
        | ChainError::Malformed(_)
        | ChainError::Order(_)
        | ChainError::NotNow(_) => {
            "send the certificate, those between and the root's, PEM, each followed by its issuer's"
        }
    };
    Refusal::field("chain", error, hint)
}
