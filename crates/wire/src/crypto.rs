//! FIPS 186-5 ECDSA, EdDSA and RSA (verified only), FIPS 180-4 SHA-256, RFC 2104 HMAC, NIST SP 800-38D AES-GCM: the
//! one cryptographic back end, chosen once.
//!
//! Only this file names aws-lc-rs for signatures and hashes, so that a second back end cannot
//! creep in, and so that a reader sees every primitive we use on one page.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING,
    ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_FIXED, ED25519, EcdsaKeyPair, EcdsaVerificationAlgorithm, Ed25519KeyPair,
    KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use aws_lc_rs::{constant_time, digest, hmac};

/// A signature algorithm. One key has one algorithm (RFC 8725 section 3.1); there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256, signature as 64 bytes `r || s` (RFC 7518 section 3.4).
    Es256,
    /// Ed25519, pure (RFC 8037 section 3.1).
    EdDsa,
}

/// A cryptographic operation failed. Deliberately without detail: which check failed helps only
/// an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CryptoError;

impl std::fmt::Display for CryptoError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the cryptographic operation failed")
    }
}

impl std::error::Error for CryptoError {}

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0u8; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// SHA-1 of `data`, for what names a certificate's issuer in OCSP and proves nothing (RFC 6960 section
/// 4.3).
#[cfg(feature = "x509")]
pub(crate) fn sha1(data: &[u8]) -> [u8; 20] {
    let mut out = [0u8; 20];
    out.copy_from_slice(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data).as_ref());
    out
}

/// SHA-256 of the concatenation of `parts`.
pub fn sha256_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

/// SHA-256 of what comes part by part.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Takes the next part.
    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The hash of all parts.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0u8; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

/// Whether two byte strings are equal, in time that depends only on their lengths.
pub fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// An HMAC-SHA-256 key.
pub struct MacKey(hmac::Key);

impl MacKey {
    /// A key of 32 bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The MAC of `data`.
    pub fn mac(&self, data: &[u8]) -> [u8; 32] {
        let mut out = [0u8; 32];
        out.copy_from_slice(hmac::sign(&self.0, data).as_ref());
        out
    }
}

/// A public key, parsed once.
#[derive(Clone, Debug)]
pub struct PublicKey {
    algorithm: Algorithm,
    parsed: ParsedPublicKey,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// A P-256 key from its uncompressed point, `0x04 || x || y`. The point must be on the curve.
    pub fn p256(point: &[u8; 65]) -> Result<Self, CryptoError> {
        Self::parse(Algorithm::Es256, point)
    }

    /// A P-256 key from its compressed point (SEC 1 section 2.3.3), `0x02` or `0x03` and `x`.
    pub fn p256_compressed(point: &[u8; 33]) -> Result<Self, CryptoError> {
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        let parsed = parsed.map_err(|_| CryptoError)?;
        // RFC 5480 section 2: the last thing in a SubjectPublicKeyInfo is the point.
        let der: PublicKeyX509Der<'_> = parsed.as_der().map_err(|_| CryptoError)?;
        let whole = der.as_ref().last_chunk().ok_or(CryptoError)?;
        let key = Self::p256(whole)?;
        if key.compressed() == *point { Ok(key) } else { Err(CryptoError) }
    }

    /// An Ed25519 key from its 32 bytes.
    pub fn ed25519(bytes: &[u8; 32]) -> Result<Self, CryptoError> {
        if is_small_order(bytes) {
            return Err(CryptoError);
        }
        Self::parse(Algorithm::EdDsa, bytes)
    }

    fn parse(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, CryptoError> {
        let parsed = match algorithm {
            Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes),
            Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, bytes),
        };
        Ok(Self { algorithm, parsed: parsed.map_err(|_| CryptoError)?, bytes: bytes.to_vec() })
    }

    /// The algorithm this key verifies, and no other.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// `0x04 || x || y` for P-256, 32 bytes for Ed25519.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The compressed point of a P-256 key (SEC 1 section 2.3.3); the bytes of any other.
    pub fn compressed(&self) -> Vec<u8> {
        match (self.algorithm, self.bytes.as_slice()) {
            (Algorithm::Es256, [_, point @ ..]) => {
                let odd = point.last().is_some_and(|last| last & 1 == 1);
                let x = point.iter().take(32).copied();
                std::iter::once(2 + u8::from(odd)).chain(x).collect()
            }
            (_, bytes) => bytes.to_vec(),
        }
    }

    /// Checks a signature of exactly 64 bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if signature.len() != 64 {
            return Err(CryptoError);
        }
        self.parsed.verify_sig(message, signature).map_err(|_| CryptoError)
    }
}

/// The shortest RSA modulus accepted, in bits (RFC 7518 sections 3.3 and 3.5).
pub const RSA_BITS_MIN: usize = 2048;

/// The longest RSA modulus accepted, in bits: four times the work of the usual one is enough.
pub const RSA_BITS_MAX: usize = 4096;

/// The RSA exponent that is accepted, 65537, in big-endian bytes: what everybody uses. A small one
/// makes forging cheaper where padding is checked badly, a large one makes verifying dear.
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// How an RSA key signs. One key has one way; here it is only ever verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RsaAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 section 3.3).
    Rs256,
    /// The same with SHA-384.
    Rs384,
    /// The same with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes (RFC 7518 section 3.5).
    Ps256,
    /// The same with SHA-384 and a salt of 48 bytes.
    Ps384,
    /// The same with SHA-512 and a salt of 64 bytes.
    Ps512,
}

impl RsaAlgorithm {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Ps384, Self::Ps512];

    /// As JOSE names it (RFC 7518 section 3.1).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    const fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
        }
    }
}

/// An RSA public key of somebody else, parsed once. Ours are never RSA keys.
#[derive(Clone, Debug)]
pub struct RsaPublicKey {
    algorithm: RsaAlgorithm,
    parsed: ParsedPublicKey,
    modulus: Vec<u8>,
}

impl RsaPublicKey {
    /// A key from its modulus and its exponent, big-endian without leading zeros.
    pub fn new(
        algorithm: RsaAlgorithm,
        modulus: &[u8],
        exponent: &[u8],
    ) -> Result<Self, CryptoError> {
        let (first, last) = match modulus {
            [first, .., last] => (*first, *last),
            _ => return Err(CryptoError),
        };
        let bits = modulus.len() * 8 - first.leading_zeros() as usize;
        // A modulus is a product of odd primes.
        let is_odd = last & 1 == 1;
        if first == 0 || !is_odd || !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(CryptoError);
        }
        if exponent != RSA_EXPONENT {
            return Err(CryptoError);
        }
        let parsed = RsaPublicKeyComponents { n: modulus, e: exponent };
        let parsed = parsed.to_parsed_public_key(algorithm.parameters());
        let parsed = parsed.map_err(|_| CryptoError)?;
        Ok(Self { algorithm, parsed, modulus: modulus.to_vec() })
    }

    /// How this key signs, and in no other way.
    pub fn algorithm(&self) -> RsaAlgorithm {
        self.algorithm
    }

    /// The modulus, big-endian without leading zeros.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The exponent, big-endian.
    pub const fn exponent(&self) -> &'static [u8] {
        &RSA_EXPONENT
    }

    /// Checks a signature, which is exactly as long as the modulus (RFC 8017 sections 8.1.2, 8.2.2).
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if signature.len() != self.modulus.len() {
            return Err(CryptoError);
        }
        self.parsed.verify_sig(message, signature).map_err(|_| CryptoError)
    }
}

/// A P-384 key of somebody else, parsed once: ECDSA with SHA-384, signature as 96 bytes `r || s` (RFC 7518
/// section 3.4).
#[derive(Clone, Debug)]
pub struct P384PublicKey {
    parsed: ParsedPublicKey,
    point: [u8; 97],
}

impl P384PublicKey {
    /// A key from its uncompressed point, `0x04 || x || y`. The point must be on the curve.
    pub fn new(point: &[u8; 97]) -> Result<Self, CryptoError> {
        let parsed = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
        Ok(Self { parsed: parsed.map_err(|_| CryptoError)?, point: *point })
    }

    /// `0x04 || x || y`.
    pub fn point(&self) -> &[u8; 97] {
        &self.point
    }

    /// Checks a signature of exactly 96 bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if signature.len() != 96 {
            return Err(CryptoError);
        }
        self.parsed.verify_sig(message, signature).map_err(|_| CryptoError)
    }
}

/// A curve and a hash by which somebody else's ECDSA signature is verified, as X.509 encodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcdsaKind {
    /// P-256 with SHA-256.
    P256Sha256,
    /// P-256 with SHA-384.
    P256Sha384,
    /// P-384 with SHA-256.
    P384Sha256,
    /// P-384 with SHA-384.
    P384Sha384,
}

impl EcdsaKind {
    /// Whether these bytes are a point of the curve, uncompressed (SEC 1 section 2.3.3).
    pub fn is_point(self, bytes: &[u8]) -> bool {
        let long = match self {
            Self::P256Sha256 | Self::P256Sha384 => 1 + 2 * 32,
            Self::P384Sha256 | Self::P384Sha384 => 1 + 2 * 48,
        };
        bytes.len() == long
            && bytes.first() == Some(&4)
            && ParsedPublicKey::new(self.verification(), bytes).is_ok()
    }

    fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Self::P256Sha384 => &ECDSA_P256_SHA384_ASN1,
            Self::P384Sha256 => &ECDSA_P384_SHA256_ASN1,
            Self::P384Sha384 => &ECDSA_P384_SHA384_ASN1,
        }
    }
}

/// Checks an ECDSA signature in ASN.1 (RFC 3279 section 2.2.3) by an uncompressed point.
pub fn verify_ecdsa_asn1(
    kind: EcdsaKind,
    point: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    let key = ParsedPublicKey::new(kind.verification(), point).map_err(|_| CryptoError)?;
    key.verify_sig(message, signature).map_err(|_| CryptoError)
}

/// The `y` coordinates, sign bit cleared, of the points of small order on edwards25519, also in
/// their non-canonical spellings. A key among them verifies signatures that nobody made.
const SMALL_ORDER: [[u8; 32]; 7] = [
    little_endian(0, 0, 0),
    little_endian(1, 0, 0),
    little_endian(0xec, 0xff, 0x7f),
    little_endian(0xed, 0xff, 0x7f),
    little_endian(0xee, 0xff, 0x7f),
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
];

/// 32 bytes: the first, 30 of the middle one, the last.
const fn little_endian(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

fn is_small_order(bytes: &[u8; 32]) -> bool {
    let mut y = *bytes;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// A private signing key in memory.
pub enum PrivateKey {
    /// P-256.
    Es256(Box<EcdsaKeyPair>),
    /// Ed25519.
    EdDsa(Box<Ed25519KeyPair>),
}

impl PrivateKey {
    /// A new random key and its PKCS#8 form (DER), which the caller must wrap before storing.
    pub fn generate(
        algorithm: Algorithm,
    ) -> Result<(Self, zeroize::Zeroizing<Vec<u8>>), CryptoError> {
        let rng = SystemRandom::new();
        let der = match algorithm {
            Algorithm::Es256 => {
                EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng)
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&rng),
        };
        let der = zeroize::Zeroizing::new(der.map_err(|_| CryptoError)?.as_ref().to_vec());
        Ok((Self::from_pkcs8(algorithm, &der)?, der))
    }

    /// An Ed25519 key from its 32-byte seed (RFC 8032 section 5.1.5).
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Result<Self, CryptoError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CryptoError)?;
        Ok(Self::EdDsa(Box::new(pair)))
    }

    /// A P-256 key from its scalar `d` (big-endian) and its point `0x04 || x || y`, which must
    /// belong together.
    pub fn p256_from_scalar(d: &[u8; 32], point: &[u8; 65]) -> Result<Self, CryptoError> {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, d, point)
            .map(|pair| Self::Es256(Box::new(pair)))
            .map_err(|_| CryptoError)
    }

    /// Reads PKCS#8 (DER).
    pub fn from_pkcs8(algorithm: Algorithm, der: &[u8]) -> Result<Self, CryptoError> {
        match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
                .map(|pair| Self::Es256(Box::new(pair)))
                .map_err(|_| CryptoError),
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
                .map(|pair| Self::EdDsa(Box::new(pair)))
                .map_err(|_| CryptoError),
        }
    }

    /// The algorithm of this key.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// The public half.
    pub fn public(&self) -> Result<PublicKey, CryptoError> {
        match self {
            Self::Es256(pair) => PublicKey::parse(Algorithm::Es256, pair.public_key().as_ref()),
            Self::EdDsa(pair) => PublicKey::parse(Algorithm::EdDsa, pair.public_key().as_ref()),
        }
    }

    /// A signature of 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], CryptoError> {
        let mut out = [0u8; 64];
        let signature = match self {
            Self::Es256(pair) => {
                pair.sign(&SystemRandom::new(), message).map_err(|_| CryptoError)?
            }
            Self::EdDsa(pair) => pair.sign(message),
        };
        if signature.as_ref().len() != 64 {
            return Err(CryptoError);
        }
        out.copy_from_slice(signature.as_ref());
        Ok(out)
    }
}

/// Encrypts `plain` with AES-256-GCM: the result is `nonce (12) || ciphertext || tag (16)`.
///
/// The nonce must never repeat under one key: draw it at random and rotate the key long before
/// 2^32 uses (NIST SP 800-38D section 8.3).
pub fn seal(
    key: &[u8; 32],
    nonce: [u8; 12],
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, CryptoError> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptoError)?);
    let mut out = Vec::with_capacity(12 + plain.len() + 16);
    let mut body = zeroize::Zeroizing::new(plain.to_vec());
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body)
        .map_err(|_| CryptoError)?;
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&body);
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

/// Decrypts what [`seal`] made with the same key and additional data.
pub fn open(
    key: &[u8; 32],
    aad: &[u8],
    sealed: &[u8],
) -> Result<zeroize::Zeroizing<Vec<u8>>, CryptoError> {
    let (nonce, body) = sealed.split_first_chunk::<12>().ok_or(CryptoError)?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| CryptoError)?);
    let mut body = zeroize::Zeroizing::new(body.to_vec());
    let length = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut body)
        .map_err(|_| CryptoError)?
        .len();
    body.truncate(length);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_verify_and_nothing_near_them_does() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
            let (key, der) = PrivateKey::generate(algorithm).expect("a key");
            let public = key.public().expect("its public half");
            let signature = key.sign(b"message").expect("a signature");
            assert!(public.verify(b"message", &signature).is_ok());
            let again = PrivateKey::from_pkcs8(algorithm, &der).expect("the key again");
            assert_eq!(again.public().expect("public").bytes(), public.bytes());
            assert!(public.verify(b"massage", &signature).is_err());
            assert!(public.verify(b"message", &[0; 64]).is_err());
            assert!(public.verify(b"message", &signature[..63]).is_err());
            let mut long = signature.to_vec();
            long.push(0);
            assert!(public.verify(b"message", &long).is_err());
            for bit in [0, 200, 511] {
                let mut bent = signature;
                bent[bit / 8] ^= 1 << (bit % 8);
                assert!(public.verify(b"message", &bent).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn keys_off_the_curve_and_of_small_order_are_refused() {
        let mut point = [7u8; 65];
        point[0] = 4;
        assert!(PublicKey::p256(&point).is_err());
        for first in [0u8, 1] {
            let mut key = [0u8; 32];
            key[0] = first;
            assert!(PublicKey::ed25519(&key).is_err());
            key[31] = 0x80;
            assert!(PublicKey::ed25519(&key).is_err());
        }
    }

    #[test]
    fn sealed_text_opens_only_with_its_key_and_its_data() {
        let sealed = seal(&[1; 32], [2; 12], b"org/1", b"secret").expect("sealed");
        assert_eq!(open(&[1; 32], b"org/1", &sealed).expect("opened").as_slice(), b"secret");
        assert!(open(&[1; 32], b"org/2", &sealed).is_err(), "swapped between rows");
        assert!(open(&[3; 32], b"org/1", &sealed).is_err(), "other key");
        let mut bent = sealed.clone();
        bent[14] ^= 1;
        assert!(open(&[1; 32], b"org/1", &bent).is_err(), "bent");
        assert!(open(&[1; 32], b"org/1", &sealed[..11]).is_err(), "short");
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
    }
}
