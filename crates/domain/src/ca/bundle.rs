//! SPIFFE Trust Domain and Bundle: the roots of an organization and the keys of its JWT-SVIDs, for whoever
//! checks its instances' certificates and tokens.

use accredit_wire::crypto::PublicKey;
use accredit_wire::jwt_svid;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::x509::certificate::Certificate;
use serde::Serialize;

use super::{Certified, trust_domain};
use crate::context::Cx;
use crate::keys::{KeyPurpose, KeyState, SigningKey};
use crate::refusal::{Error, Fault};
use crate::registry::credential::AdminPermission;
use crate::tenant::{Keys, Tenant, placed};

/// How long until whoever keeps a bundle is to look again, seconds. A root is published for longer
/// before it signs ([`crate::keys::rotation::KEY_PUBLISH_AHEAD`]).
pub const REFRESH_HINT_SECONDS: u32 = 300;

const _: () =
    assert!((REFRESH_HINT_SECONDS as u64) * 2 < crate::keys::rotation::KEY_PUBLISH_AHEAD.as_secs());

/// A bundle (SPIFFE Trust Domain and Bundle section 4).
#[derive(Debug, Serialize)]
pub struct Bundle {
    /// Grows with every change of what is in it.
    pub spiffe_sequence: u64,
    /// After how many seconds to look again.
    pub spiffe_refresh_hint: u32,
    /// The roots, and the keys of JWT-SVIDs.
    pub keys: Vec<BundleKey>,
}

/// A key in a bundle: a root as a JWK with its certificate, one of JWT-SVIDs with its name (section 4.2).
#[derive(Debug, Serialize)]
pub struct BundleKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    #[serde(rename = "use")]
    usage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// The published roots with their certificates.
fn roots(keys: &Keys) -> Result<Vec<(&SigningKey, Certificate)>, Fault> {
    let mut roots = Vec::new();
    for key in placed(keys.all(), KeyPurpose::CaRoot) {
        if let Some(certified) = Certified::of(key)? {
            roots.push((key, certified.certificate));
        }
    }
    Ok(roots)
}

/// A number that grows whenever a key of the bundle is made or comes into another state: states only go on.
fn sequence(keys: &Keys) -> u64 {
    let step = |key: &SigningKey| match key.state {
        KeyState::Next => 1,
        KeyState::Active => 2,
        KeyState::Retiring => 3,
        KeyState::Retired => 4,
        KeyState::Revoked => 5,
    };
    let of = |purpose| crate::keys::of(keys.all(), purpose).map(step).sum::<u64>();
    of(KeyPurpose::CaRoot) + of(KeyPurpose::JwtSvid)
}

/// What an organization publishes of its authority. Without roots in it nothing is believed, which
/// is so until the first are made.
pub fn of(tenant: &Tenant) -> Result<Bundle, Fault> {
    let keys = tenant.keys();
    let mut published = Vec::new();
    for (key, certificate) in roots(&keys)? {
        let of_root = BundleKey::new("x509-svid", &key.sealed.public)?;
        published.push(BundleKey { x5c: Some([certificate.base64()]), ..of_root });
    }
    for key in keys.jwt_svid_jwks().keys() {
        let of_svids = BundleKey::new(jwt_svid::KEY_USE, &key.key)?;
        published.push(BundleKey { kid: Some(key.kid.clone()), ..of_svids });
    }
    Ok(Bundle {
        spiffe_sequence: sequence(&keys),
        spiffe_refresh_hint: REFRESH_HINT_SECONDS,
        keys: published,
    })
}

impl BundleKey {
    fn new(usage: &'static str, key: &PublicKey) -> Result<Self, Fault> {
        let halves = jwt_svid::authorities::halves(key);
        let (x, y) = halves.ok_or_else(|| Fault::new("bundle", "a key is not of P-256"))?;
        Ok(Self { kty: "EC", crv: "P-256", x, y, usage, x5c: None, kid: None })
    }
}

/// The authority of an organization as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CaView {
    /// What its certificates are under.
    pub trust_domain: String,
    /// Where its bundle is.
    pub bundle_url: String,
    /// The roots that are published.
    pub roots: Vec<CaKeyView>,
    /// The intermediate that signs, and those before it that are still believed.
    pub intermediates: Vec<CaKeyView>,
}

/// A key of the authority with its certificate.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CaKeyView {
    /// Its id.
    pub id: String,
    /// `next`, `active` or `retiring`.
    pub state: &'static str,
    /// Which root signed it.
    pub root: String,
    /// When its certificate is over.
    #[schema(value_type = String)]
    pub expires_at: Time,
    /// SHA-256 of its certificate, in hexadecimal.
    pub sha256: String,
    /// Its certificate (RFC 7468).
    pub certificate: String,
}

/// The authority of the organization.
pub fn show(cx: &Cx) -> Result<CaView, Error> {
    cx.require(AdminPermission::Read)?;
    let keys = cx.tenant.keys();
    let shown = |purpose| {
        let mut shown = Vec::new();
        for key in placed(keys.all(), purpose) {
            let Some(Certified { root, certificate }) = Certified::of(key)? else { continue };
            shown.push(CaKeyView {
                id: key.sealed.id.to_string(),
                state: key.state.as_str(),
                root: root.to_string(),
                expires_at: certificate.until(),
                sha256: Hash::new(certificate.digest()).to_string(),
                certificate: certificate.pem(),
            });
        }
        Ok::<_, Fault>(shown)
    };
    Ok(CaView {
        trust_domain: trust_domain(cx.tenant.id, &cx.tenant.issuer)?.to_string(),
        bundle_url: format!("{}/spiffe/bundle", cx.tenant.issuer),
        roots: shown(KeyPurpose::CaRoot)?,
        intermediates: shown(KeyPurpose::Ca)?,
    })
}

/// The published roots as text, one after the other (RFC 7468).
pub fn pem(tenant: &Tenant) -> Result<String, Fault> {
    let keys = tenant.keys();
    Ok(roots(&keys)?.into_iter().map(|(_, certificate)| certificate.pem()).collect())
}
