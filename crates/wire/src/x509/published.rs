//! RFC 9500 section 1: keys that everybody has, because their private halves are printed in standards.
//!
//! Whoever asks for a certificate with one of them proves that it holds the key, as anybody can. They are in
//! examples and in tests, and so in programs that somebody forgot to give a key of their own.

/// SHA-256 of their SubjectPublicKeyInfo.
#[expect(clippy::unreadable_literal, reason = "digests, as every tool prints them")]
const KEYS: [[u8; 32]; 10] = [
    // RFC 9500 section 2.3, P-256 and P-384.
    digest(0xb2b04340cfaee616ec9c2c62d261b208, 0xe54bb197498df52e8cadede23ac0ba5e),
    digest(0xc4c10105a0be0ed4dd3354428dc38a9b, 0xfee64da141ce16e75c94eda272f9dd3a),
    // RFC 9500 section 2.1, RSA of 2048 and of 4096 bits.
    digest(0x8fb6bad671cfe698393c453357da61b5, 0x6d757ab8c0f3fb9c87f2849e63131878),
    digest(0x96465ea5dc9bb2da7b351d808a7196e5, 0x761f2412a5040131c68d719aaba28fb9),
    // RFC 7515 appendix A.3.
    digest(0x2bd1bb0c44a897c30a7aa0991cde38d8, 0x062fe441de50da0f46825344f602e827),
    // RFC 7517 appendix A.2, P-256 and RSA.
    digest(0x51b944cdfa544d4c3273aa6bf350625a, 0x7dd53bbb6a71723274f538b19a207760),
    digest(0xad32320cf6c596d884b05381ba573aba, 0x8ddd5749b4de8f4a23a79f9a89ddaeb2),
    // RFC 9421 appendix B.1.3.
    digest(0x55f96361b78cbb84f1fc604b0718e82b, 0xd91abb46d8fc25ae871b35fbbf8b7974),
    // RFC 6979 appendices A.2.5 and A.2.6.
    digest(0x5a7a78cca4a0f420d9bc62bb669c3c27, 0x59e39f723d3ae10dcbe0f0815a07ecd4),
    digest(0x2f95601fa82060b909bfc6b979dbd303, 0xd34d34e0afb27ea496beac362f242a4b),
];

const fn digest(high: u128, low: u128) -> [u8; 32] {
    let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
    let mut digest = [0; 32];
    let mut at = 0;
    while at < 16 {
        (digest[at], digest[at + 16]) = (high[at], low[at]);
        at += 1;
    }
    digest
}

/// Whether everybody has the private half of the key with this digest.
pub(super) fn is_published(digest: &[u8; 32]) -> bool {
    KEYS.contains(digest)
}
