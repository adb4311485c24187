//! SPIFFE Trust Domain and Bundle: the roots of an organization and the keys of its JWT-SVIDs, for whoever
//! checks its instances' certificates and tokens.

use accredit_wire::crypto::{PublicKey, sha256};
use accredit_wire::jwt_svid;
use accredit_wire::time::Time;
use accredit_wire::tlog::Hash;
use accredit_wire::x509::upstream::{Above, RootKey};
use accredit_wire::x509::{base64, pem};
use serde::Serialize;

use super::{Certified, bundle_endpoint, trust_domain, upstream};
use crate::context::Cx;
use crate::keys::{KeyPurpose, KeyState, SigningKey};
use crate::refusal::{Error, Fault};
use crate::registry::credential::AdminPermission;
use crate::tenant::{Keys, Tenant, placed};

const LABEL: &str = "CERTIFICATE";
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
    #[serde(flatten)]
    key: KeyParts,
    #[serde(rename = "use")]
    usage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    x5c: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
}

/// A key as a JWK has it (RFC 7518 section 6).
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum KeyParts {
    Ec { kty: &'static str, crv: &'static str, x: String, y: String },
    Rsa { kty: &'static str, n: String, e: String },
}

impl From<RootKey> for KeyParts {
    fn from(key: RootKey) -> Self {
        match key {
            RootKey::Ec { curve, x, y } => Self::Ec { kty: "EC", crv: curve, x, y },
            RootKey::Rsa { n, e } => Self::Rsa { kty: "RSA", n, e },
        }
    }
}

/// The published roots: those that somebody else keeps in the place of ours that are below them. One of them may
/// stand above several.
fn roots(all: &[SigningKey]) -> Result<Vec<(RootKey, Vec<u8>)>, Fault> {
    let mut roots: Vec<(RootKey, Vec<u8>)> = Vec::new();
    for key in placed(all, KeyPurpose::CaRoot) {
        let Some(certified) = Certified::of(key)? else { continue };
        if !upstream::may_sign(all, key)? {
            continue;
        }
        let root = if let Some(above) = &certified.above {
            (above.root_key().clone(), above.root().to_vec())
        } else {
            (parts(&key.sealed.public)?, certified.certificate.der().to_vec())
        };
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    Ok(roots)
}

/// A number that grows whenever a key of the bundle is made, is certified by a root outside, or comes into
/// another state: states only go on.
fn sequence(keys: &Keys) -> Result<u64, Fault> {
    let mut sum = 0;
    let of = |purpose| crate::keys::of(keys.all(), purpose);
    for key in of(KeyPurpose::CaRoot).chain(of(KeyPurpose::JwtSvid)) {
        let step = match key.state {
            KeyState::Next => 1,
            KeyState::Active => 2,
            KeyState::Retiring => 3,
            KeyState::Retired => 4,
            KeyState::Revoked => 5,
        };
        let is_below = Certified::of(key)?.is_some_and(|certified| certified.above.is_some());
        sum += 2 * step + u64::from(is_below);
    }
    Ok(sum)
}

/// What an organization publishes of its authority. Without roots in it nothing is believed, which
/// is so until the first are made.
pub fn of(tenant: &Tenant) -> Result<Bundle, Fault> {
    let keys = tenant.keys();
    let mut published = Vec::new();
    for (key, der) in roots(keys.all())? {
        let root = BundleKey::new("x509-svid", key);
        published.push(BundleKey { x5c: Some([base64(&der)]), ..root });
    }
    for key in keys.jwt_svid_jwks().keys() {
        let of_svids = BundleKey::new(jwt_svid::KEY_USE, parts(&key.key)?);
        published.push(BundleKey { kid: Some(key.kid.clone()), ..of_svids });
    }
    Ok(Bundle {
        spiffe_sequence: sequence(&keys)?,
        spiffe_refresh_hint: REFRESH_HINT_SECONDS,
        keys: published,
    })
}

impl BundleKey {
    fn new(usage: &'static str, key: RootKey) -> Self {
        Self { key: key.into(), usage, x5c: None, kid: None }
    }
}

/// The parts of a key of ours.
fn parts(key: &PublicKey) -> Result<RootKey, Fault> {
    RootKey::of(key).ok_or_else(|| Fault::new("bundle", "a key is of no curve"))
}

/// The authority of an organization as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CaView {
    /// What its certificates are under.
    pub trust_domain: String,
    /// Where its bundle is.
    pub bundle_url: String,
    /// Where it is under the trust domain's own name, which has to lead to the server: whoever has the roots
    /// gets it from there without a web certificate (SPIFFE Federation, profile `https_spiffe`).
    pub bundle_endpoint_url: String,
    /// Who serves it there.
    pub bundle_endpoint_id: String,
    /// The roots, the ones that are not published, too.
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
    /// Where its private half is: `software` or `pkcs11`.
    pub held: &'static str,
    /// Which root signed it.
    pub root: String,
    /// When its certificate is over, or one above it.
    #[schema(value_type = String)]
    pub expires_at: Time,
    /// SHA-256 of its certificate, in hexadecimal.
    pub sha256: String,
    /// Its certificate (RFC 7468); of a root that somebody else's has signed, as that one did.
    pub certificate: String,
    /// The root that is to be trusted for it (RFC 7468): of a root itself, or of the one outside that signed
    /// it. Nothing of one that is not published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
}

/// The authority of the organization.
pub fn show(cx: &Cx) -> Result<CaView, Error> {
    cx.require(AdminPermission::Read)?;
    Ok(view(cx, cx.tenant.keys().all())?)
}

/// The authority with these keys.
pub(super) fn view(cx: &Cx, all: &[SigningKey]) -> Result<CaView, Fault> {
    let shown = |purpose| {
        let mut shown = Vec::new();
        for key in placed(all, purpose) {
            let Some(certified) = Certified::of(key)? else { continue };
            let is_anchor = purpose == KeyPurpose::CaRoot && upstream::may_sign(all, key)?;
            let root = certified.above.as_ref().map_or(certified.certificate.der(), Above::root);
            shown.push(CaKeyView {
                id: key.sealed.id.to_string(),
                state: key.state.as_str(),
                held: key.sealed.held().as_str(),
                root: certified.root.to_string(),
                expires_at: certified.until(),
                sha256: Hash::new(sha256(certified.shown())).to_string(),
                certificate: pem(LABEL, certified.shown()),
                anchor: is_anchor.then(|| pem(LABEL, root)),
            });
        }
        Ok::<_, Fault>(shown)
    };
    let domain = trust_domain(cx.tenant.id, &cx.tenant.issuer)?;
    Ok(CaView {
        trust_domain: domain.to_string(),
        bundle_url: format!("{}/spiffe/bundle", cx.tenant.issuer),
        bundle_endpoint_url: bundle_endpoint::url(&domain, &cx.tenant.issuer),
        bundle_endpoint_id: domain.bundle_endpoint().to_string(),
        roots: shown(KeyPurpose::CaRoot)?,
        intermediates: shown(KeyPurpose::Ca)?,
    })
}
