//! The parser of certification requests of `accredit-wire`, apart from the other targets because it is
//! behind a feature.

use accredit_wire::crypto::{PrivateKey, sha256};
use accredit_wire::x509::pem;
use accredit_wire::x509::request::parse;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The base point of P-256 (SP 800-186 section 3.2.1.3): the public half of the key 1.
const POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];
/// What stands before it in a SubjectPublicKeyInfo (RFC 5480 section 2).
const INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// ECDSA with SHA-256 (RFC 5758 section 3.2).
const ALGORITHM: [u8; 12] =
    [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// In each form the same is read, and whatever the key 1 truly signed is a request for that key, or
/// none.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse(text);
    }
    digest(bytes);
    let key = [INFO.as_slice(), &POINT].concat();
    if let Some(digest) = digest(&signed(bytes)) {
        assert_eq!(digest, sha256(&key), "a signature proves the key that made it");
    }
}

/// Whether the seed is what [`run`] makes a whole request of.
pub(crate) fn is_read(info: &[u8]) -> bool {
    digest(&signed(info)).is_some()
}

/// The key of a request in DER, which all forms agree on.
fn digest(der: &[u8]) -> Option<[u8; 32]> {
    let [first, second, third] = [
        STANDARD.encode(der),
        pem("CERTIFICATE REQUEST", der),
        pem("NEW CERTIFICATE REQUEST", der),
    ]
    .map(|text| parse(&text).map(|key| key.digest()).ok());
    assert!(first == second && second == third, "one request in three forms");
    first
}

/// The bytes as a CertificationRequestInfo that the key 1 signed (RFC 2986 section 4.2).
fn signed(info: &[u8]) -> Vec<u8> {
    let mut one = [0; 32];
    one[31] = 1;
    let key = PrivateKey::p256_from_scalar(&one, &POINT).expect("a key");
    let signature = key.sign(info).expect("a signature");
    let (r, s) = signature.split_at(32);
    let mut bits = vec![0];
    bits.extend(tagged(0x30, &[integer(r), integer(s)].concat()));
    tagged(0x30, &[info, &ALGORITHM, &tagged(0x03, &bits)].concat())
}

/// A number that is not negative, without zeros before it.
fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros.min(number.len() - 1)..];
    let sign: &[u8] = if digits[0] & 0x80 == 0 { &[] } else { &[0] };
    tagged(0x02, &[sign, digits].concat())
}

/// X.690 section 10.1: the length in its shortest form.
fn tagged(tag: u8, inner: &[u8]) -> Vec<u8> {
    let length = inner.len();
    let mut head = vec![tag];
    match length {
        0..0x80 => head.push(length as u8),
        0x80..0x100 => head.extend([0x81, length as u8]),
        0x100..0x1_0000 => head.extend([0x82, (length >> 8) as u8, length as u8]),
        _ => head.extend([0x83, (length >> 16) as u8, (length >> 8) as u8, length as u8]),
    }
    [head.as_slice(), inner].concat()
}
