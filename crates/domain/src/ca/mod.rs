//! RFC 5280, SPIFFE: each organization's certificate authority: a root, and a short-lived
//! intermediate that signs instances' certificates. [`listener`] is the installation's own.
//!
//! Both are signing keys like any other ([`crate::keys`]): wrapped, rotated through slots, revoked.
//! What such a key has besides is its certificate. A root's is made with it, since a root is
//! published before it signs; an intermediate's when it comes to sign, since it travels with what it
//! signed and nobody needs to know it before. Which trust domain is an organization's follows from
//! what never changes (`docs/decisions/0012`).

pub mod bundle;
pub mod bundle_endpoint;
pub mod issued;
pub mod listener;
pub mod ocsp;
pub mod revoked;
pub mod upstream;

use std::time::Duration;

use accredit_wire::ids::{KeyId, OrganizationId};
use accredit_wire::jose::{b64url_decode, b64url_encode};
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::{
    Certificate, Life, Named, Pointers, SERIAL_BYTES, Unsigned,
};
use accredit_wire::x509::spiffe::TrustDomain;
use accredit_wire::x509::upstream::Above;
use accredit_wire::x509::{EncodingError, pem};

use crate::context::World;
use crate::keys::{self, KeyPurpose, KeyState, SealedKey, SigningKey};
use crate::refusal::Fault;
use crate::tenant::Tenant;

/// How long a root's certificate holds: ten years.
pub const ROOT_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// So long before its end a root gives its place to the next.
pub const ROOT_ROTATED_BEFORE_END: Duration = Duration::from_hours(365 * 24);
/// How long an intermediate's certificate holds.
pub const INTERMEDIATE_LIFE: Duration = Duration::from_hours(14 * 24);
/// How long what the listener shows by an authority of ours holds.
pub const SHOWN_LIFE: Duration = Duration::from_hours(24);
/// When it gives its place to another. The rest is for times in which none can be made.
pub const SHOWN_RENEWED_AFTER: Duration = Duration::from_hours(12);
/// How long an intermediate signs. The rest of its life is for what it signed, and for times in
/// which nobody rotates.
pub const INTERMEDIATE_SIGNS: Duration = Duration::from_hours(4 * 24);

const _: () = assert!(INTERMEDIATE_SIGNS.as_secs() * 2 < INTERMEDIATE_LIFE.as_secs());

/// An authority's certificate, and which root signed it.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The root; a root's own id where it is one itself.
    pub root: KeyId,
    /// The certificate.
    pub certificate: Certificate,
    /// What stands above a root of ours that somebody else's root has signed.
    pub above: Option<Above>,
}

impl Certified {
    /// That of a key of the authority; none where it is no such key, or an intermediate that does
    /// not sign yet.
    pub fn of(key: &SigningKey) -> Result<Option<Self>, Fault> {
        if !matches!(key.sealed.purpose, KeyPurpose::CaRoot | KeyPurpose::Ca) {
            return Ok(None);
        }
        let Some(text) = &key.statement else { return Ok(None) };
        let wrong =
            |why: &str| Fault::new("read a certificate", format!("{}: {why}", key.sealed.id));
        let mut parts = text.split(' ');
        let root = parts.next().and_then(|root| root.parse().ok());
        let root = root.ok_or_else(|| wrong("no root"))?;
        let ders: Result<Vec<_>, _> = parts.map(b64url_decode).collect();
        let mut ders = ders.map_err(|_| wrong("no base64url"))?.into_iter();
        let der = ders.next().ok_or_else(|| wrong("no two parts"))?;
        let certificate = Certificate::parse(&der).map_err(|error| wrong(&error.to_string()))?;
        let above: Vec<_> = ders.collect();
        let above = (!above.is_empty()).then(|| Above::read(above)).transpose();
        let above = above.map_err(|error| wrong(&error.to_string()))?;
        Ok(Some(Self { root, certificate, above }))
    }

    fn text(&self) -> String {
        let mut text = format!("{} {}", self.root, b64url_encode(self.certificate.der()));
        for der in self.above.iter().flat_map(Above::certificates) {
            text.push(' ');
            text.push_str(&b64url_encode(der));
        }
        text
    }

    /// When it is over, or what stands above it.
    pub fn until(&self) -> Time {
        let until = self.certificate.until();
        self.above.as_ref().map_or(until, |above| until.min(above.until()))
    }

    /// The certificate by which those who hold to the root know the authority, DER.
    pub fn shown(&self) -> &[u8] {
        self.above.as_ref().map_or(self.certificate.der(), Above::own)
    }
}

/// The intermediate that signs now.
#[derive(Clone, Debug)]
pub struct Intermediate {
    /// The key.
    pub sealed: SealedKey,
    /// Its certificate and its root.
    pub certified: Certified,
    /// What stands above its root.
    pub above: Option<Above>,
}

impl Intermediate {
    /// That of an organization, where it has one and its root is believed.
    pub(crate) fn of(all: &[SigningKey]) -> Result<Option<Self>, Fault> {
        let active = keys::of(all, KeyPurpose::Ca).rfind(|key| key.state == KeyState::Active);
        let Some(active) = active else { return Ok(None) };
        let Some(certified) = Certified::of(active)? else { return Ok(None) };
        let is_root = |key: &&SigningKey| {
            key.sealed.id == certified.root
                && matches!(key.state, KeyState::Active | KeyState::Retiring)
        };
        let Some(root) = keys::of(all, KeyPurpose::CaRoot).find(is_root) else { return Ok(None) };
        if !upstream::may_sign(all, root)? {
            return Ok(None);
        }
        let above = Certified::of(root)?.and_then(|root| root.above);
        Ok(Some(Self { sealed: active.sealed.clone(), certified, above }))
    }

    /// Its certificate and those that lead from it to the published root, PEM.
    pub fn chain(&self) -> String {
        let above = self.above.iter().flat_map(Above::between);
        let above = above.map(|der| pem("CERTIFICATE", der));
        std::iter::once(self.certified.certificate.pem()).chain(above).collect()
    }
}

/// The trust domain of an organization, from its id and its issuer, which ends with its name.
pub fn trust_domain(org: OrganizationId, issuer: &str) -> Result<TrustDomain, Fault> {
    let name = issuer.rsplit('/').next().unwrap_or_default();
    TrustDomain::of(name, org, issuer).map_err(|error| Fault::new("trust domain", error))
}

/// What an authority's key is called in certificates.
pub(crate) fn name(id: KeyId) -> String {
    format!("Accredit {id}")
}

/// Where whoever has a certificate finds what the authority that signed it says of it.
pub(crate) fn pointers(issuer: &str, by: KeyId) -> Pointers {
    Pointers {
        crl: format!("{issuer}/ca/{by}/crl"),
        ocsp: format!("{issuer}/ocsp"),
        issuer: format!("{issuer}/ca/{by}/certificate"),
    }
}

/// A root with the certificate that it signs for itself.
pub(crate) async fn self_signed(
    world: &World,
    issuer: &str,
    root: SigningKey,
    now: Time,
) -> Result<SigningKey, Fault> {
    let domain = trust_domain(root.sealed.organization()?, issuer)?;
    let name = name(root.sealed.id);
    let life = Life { from: now, until: now.plus(ROOT_LIFE) };
    let own = Named::new(&name, &root.sealed.public);
    let serial = world.random::<SERIAL_BYTES>();
    let unsigned = Unsigned::root(&domain, own, &serial, life);
    signed(world, (&root.sealed, unsigned), root.clone()).await
}

/// An intermediate with the certificate that a root signs for it.
pub(crate) async fn signed_by(
    world: &World,
    issuer: &str,
    root: &SigningKey,
    intermediate: SigningKey,
    now: Time,
) -> Result<SigningKey, Fault> {
    let of_root =
        Certified::of(root)?.ok_or_else(|| Fault::new("sign", "a root has no certificate"))?;
    let domain = trust_domain(intermediate.sealed.organization()?, issuer)?;
    let names = [root, &intermediate].map(|key| name(key.sealed.id));
    let identifier = of_root.above.as_ref().and_then(Above::identifier);
    let by = Named { identifier, ..Named::new(&names[0], &root.sealed.public) };
    let own = Named::new(&names[1], &intermediate.sealed.public);
    let until = now.plus(INTERMEDIATE_LIFE).min(of_root.until());
    let (at, serial) = (pointers(issuer, root.sealed.id), world.random::<SERIAL_BYTES>());
    let life = Life { from: now, until };
    let unsigned = Unsigned::intermediate(&domain, (by, own), &at, &serial, life);
    signed(world, (&root.sealed, unsigned), intermediate.clone()).await
}

async fn signed(
    world: &World,
    (by, unsigned): (&SealedKey, Result<Unsigned, EncodingError>),
    key: SigningKey,
) -> Result<SigningKey, Fault> {
    let certificate = certificate(world, by, unsigned).await?;
    let statement = Some(Certified { root: by.id, certificate, above: None }.text());
    Ok(SigningKey { statement, ..key })
}

/// A certificate with its signature, by a key of the vault's.
pub(crate) async fn certificate(
    world: &World,
    by: &SealedKey,
    unsigned: Result<Unsigned, EncodingError>,
) -> Result<Certificate, Fault> {
    let unmade = |error: EncodingError| Fault::new("make a certificate", error);
    let unsigned = unsigned.map_err(unmade)?;
    let signature = world.vault.sign(by, unsigned.signing_input()).await?;
    unsigned.finish(&signature).map_err(unmade)
}

/// The intermediates of an organization as they are to be where a backup was restored: those of before
/// are revoked, the one that would have signed next as well, and others take their places. In what was
/// lost any of them may have signed what nobody knows of.
pub(crate) async fn anew(
    world: &World,
    tenant: &Tenant,
    now: Time,
) -> Result<Vec<SigningKey>, Fault> {
    let held = tenant.keys();
    let signs = |key: &&SigningKey| match key.state {
        KeyState::Next | KeyState::Active | KeyState::Retiring => true,
        KeyState::Retired | KeyState::Revoked => false,
    };
    let before = keys::of(held.all(), KeyPurpose::Ca).filter(signs);
    let mut anew: Vec<SigningKey> =
        before.map(|key| key.clone().turned(KeyState::Revoked, now)).collect();
    if !anew.is_empty() {
        let owner = (tenant.id, tenant.issuer.as_str());
        anew.extend(keys::first(world, owner, KeyPurpose::Ca, held.all(), now).await?);
    }
    Ok(anew)
}

/// Whether a key of the authority is to give its place to the next one at `now`.
pub(crate) fn is_due(key: &SigningKey, now: Time) -> Result<bool, Fault> {
    let Some(certified) = Certified::of(key)? else { return Ok(false) };
    let until = certified.until();
    Ok(match key.sealed.purpose {
        KeyPurpose::CaRoot => until <= now.plus(ROOT_ROTATED_BEFORE_END),
        KeyPurpose::Ca => until.plus(INTERMEDIATE_SIGNS) <= now.plus(INTERMEDIATE_LIFE),
        KeyPurpose::Token
        | KeyPurpose::Feed
        | KeyPurpose::Log
        | KeyPurpose::Biscuit
        | KeyPurpose::JwtSvid => false,
    })
}
