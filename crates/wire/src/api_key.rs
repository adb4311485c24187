//! Machine secrets as text: `acr_<kind>_<credential>_<secret>_<checksum>`.
//!
//! The text says what it is before anything is looked up, so that a scanner can find a leaked
//! one, a person can tell two apart, and the server can refuse a mistyped one without touching
//! its store. Every part has exactly one spelling, because what the store keeps is a MAC over
//! the whole text.
//!
//! Absent on purpose: the check of the secret itself. It needs the pepper, which lives in the
//! key vault, and a comparison in constant time.

use std::fmt;

use zeroize::Zeroizing;

use crate::ids::{ALPHABET, CredentialId, ID_TEXT_LEN, NO_VALUE, VALUES};
use crate::secret::Secret;

/// What every machine secret starts with.
pub const API_KEY_PREFIX: &str = "acr_";

/// Characters of the secret part: 256 bits in base32, the last four bits zero.
pub const API_KEY_SECRET_LEN: usize = 52;

/// Characters of the checksum part.
pub const API_KEY_CHECKSUM_LEN: usize = 6;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Who a machine secret belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// An Agent.
    Agent,
    /// An Instance of an Agent.
    Instance,
    /// A Resource, which introspects and follows the feed with it.
    Resource,
    /// An administrator.
    Admin,
    /// The installation's operator, outside all organizations.
    Operator,
    /// Nobody yet: whoever shows it first becomes a node, an Instance of its Agent.
    Join,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Agent, Self::Instance, Self::Resource, Self::Admin, Self::Operator, Self::Join];

    /// The kind as it stands in the text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Instance => "instance",
            Self::Resource => "resource",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Join => "join",
        }
    }
}

/// The public part of a machine secret: whose it is and which Credential to compare it with.
///
/// Having one proves nothing: whoever knows a credential's id can write one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Who it belongs to.
    pub kind: SecretKind,
    /// The Credential that it is the secret of.
    pub credential: CredentialId,
}

impl ApiKey {
    /// The text of a new machine secret, from 256 bits drawn at random by the caller.
    #[expect(clippy::new_ret_no_self, reason = "what is new is the secret; `Self` is what it says")]
    pub fn new(kind: SecretKind, credential: CredentialId, random: [u8; 32]) -> Secret {
        let random = Zeroizing::new(random);
        let id = credential.to_string();
        let id = id.rsplit('_').next().unwrap_or_default();
        let secret = encode(&random);
        let body = format!("{API_KEY_PREFIX}{}_{id}_{}", kind.name(), *secret);
        let body = Zeroizing::new(body);
        let checksum = checksum(body.as_bytes());
        let mut text = String::with_capacity(body.len() + 1 + API_KEY_CHECKSUM_LEN);
        text.push_str(&body);
        text.push('_');
        text.extend(checksum.iter().map(|byte| char::from(*byte)));
        Secret::new(text)
    }

    /// Reads the public part of a text and checks all that can be checked without the store.
    pub fn parse(text: &str) -> Result<Self, ApiKeyError> {
        if !text.starts_with(API_KEY_PREFIX) {
            return Err(ApiKeyError::NotOurs);
        }
        let (body, sum) = text.rsplit_once('_').ok_or(ApiKeyError::Malformed)?;
        let mut parts = body.split('_').skip(1);
        let (Some(kind), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ApiKeyError::Malformed);
        };
        let lengths = (id.len(), secret.len(), sum.len());
        if lengths != (ID_TEXT_LEN, API_KEY_SECRET_LEN, API_KEY_CHECKSUM_LEN) {
            return Err(ApiKeyError::Malformed);
        }
        if sum.as_bytes() != checksum(body.as_bytes()) {
            return Err(ApiKeyError::Checksum);
        }
        let kind = SecretKind::ALL.into_iter().find(|known| known.name() == kind);
        let credential = CredentialId::from_letters(id).ok_or(ApiKeyError::Malformed)?;
        if !is_secret(secret.as_bytes()) {
            return Err(ApiKeyError::Malformed);
        }
        Ok(Self { kind: kind.ok_or(ApiKeyError::Malformed)?, credential })
    }
}

/// Why a text is not a machine secret. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyError {
    /// It does not start with `acr_`: another system's secret, or a token.
    NotOurs,
    /// It has the right parts, but a character was changed on the way.
    Checksum,
    /// It lacks a part, or a part is not what it must be.
    Malformed,
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOurs => "this is not an accredit key: those start with `acr_`",
            Self::Checksum => "the key's checksum does not match: copy the key again, unchanged",
            Self::Malformed => {
                "the key is cut off or changed: expected \
                 `acr_<kind>_<credential>_<secret>_<checksum>`"
            }
        })
    }
}

impl std::error::Error for ApiKeyError {}

/// CRC-32 (IEEE 802.3) in base62, padded with `0` on the left.
fn checksum(body: &[u8]) -> [u8; API_KEY_CHECKSUM_LEN] {
    let mut rest = crc32fast::hash(body);
    let mut text = [b'0'; API_KEY_CHECKSUM_LEN];
    for slot in text.iter_mut().rev() {
        *slot = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    text
}

/// 256 bits, first bit first, five to a character; the last character's low four bits are zero.
fn encode(bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(API_KEY_SECRET_LEN));
    let (mut pending, mut bits) = (0u32, 0u32);
    for byte in bytes {
        pending = (pending << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[((pending >> bits) & 31) as usize]));
        }
        pending &= (1 << bits) - 1;
    }
    // 256 = 51 * 5 + 1: one bit is left.
    text.push(char::from(ALPHABET[((pending << (5 - bits)) & 31) as usize]));
    text
}

/// Whether this is what [`encode`] makes: 52 letters of the alphabet, the last `0` or `g`.
fn is_secret(text: &[u8]) -> bool {
    text.len() == API_KEY_SECRET_LEN
        && text.iter().all(|byte| VALUES[usize::from(*byte)] != NO_VALUE)
        && text.last().is_some_and(|last| [ALPHABET[0], ALPHABET[16]].contains(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn credential() -> CredentialId {
        CredentialId::new(1_763_717_400_000, [5; 10])
    }

    /// The text with its checksum made right again after a change to the body.
    fn summed(body: &str) -> String {
        let sum = checksum(body.as_bytes());
        format!("{body}_{}", std::str::from_utf8(&sum).expect("base62"))
    }

    fn body(text: &str) -> &str {
        text.rsplit_once('_').expect("a checksum").0
    }

    #[test]
    fn the_checksum_is_that_of_the_published_vector() {
        assert_eq!(crc32fast::hash(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), 714_468_973);
        assert_eq!(&checksum(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), b"0mLq17");
    }

    #[test]
    fn the_secret_carries_all_bits_and_no_more() {
        assert_eq!(*encode(&[0; 32]), "0".repeat(52));
        assert_eq!(*encode(&[0xff; 32]), format!("{}g", "z".repeat(51)));
        let mut first = [0; 32];
        first[0] = 0b1000_0100;
        assert!(encode(&first).starts_with("gg0"));
    }

    #[test]
    fn debug_and_errors_do_not_show_the_secret() {
        let text = ApiKey::new(SecretKind::Agent, credential(), [9; 32]);
        let parsed = ApiKey::parse(text.expose()).expect("our own");
        let secret = body(text.expose()).rsplit('_').next().expect("a secret");
        assert!(!format!("{parsed:?} {text:?}").contains(secret));
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let text = ApiKey::new(SecretKind::Resource, credential(), [1; 32]);
        let text = text.expose();
        let cut = &text[..text.len() - 1];
        let swapped = text.replacen("_0", "_1", 1);
        let other_kind = summed(&body(text).replace("resource", "person"));
        let upper = summed(&body(text).to_uppercase().replacen("ACR_RESOURCE", "acr_resource", 1));
        let mut trailing = body(text).to_owned();
        trailing.pop();
        trailing.push('1');
        let other_id = summed(&body(text).replacen("_0", "_8", 1));
        let extra = summed(&format!("{}_x", body(text)));
        for (wrong, error) in [
            ("", ApiKeyError::NotOurs),
            ("ghp_0000", ApiKeyError::NotOurs),
            ("eyJhbGciOiJFUzI1NiJ9.e30.x", ApiKeyError::NotOurs),
            (&format!(" {text}"), ApiKeyError::NotOurs),
            (&text.to_uppercase(), ApiKeyError::NotOurs),
            ("acr_", ApiKeyError::Malformed),
            ("acr____", ApiKeyError::Malformed),
            (cut, ApiKeyError::Malformed),
            (&format!("{text}0"), ApiKeyError::Malformed),
            (&format!("{text}\n"), ApiKeyError::Malformed),
            (&extra, ApiKeyError::Malformed),
            (&swapped, ApiKeyError::Checksum),
            (&other_kind, ApiKeyError::Malformed),
            (&upper, ApiKeyError::Malformed),
            (&summed(&trailing), ApiKeyError::Malformed),
            (&other_id, ApiKeyError::Malformed),
        ] {
            assert_eq!(ApiKey::parse(wrong), Err(error), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(random: [u8; 32], millis in 0u64..1 << 48, tail: [u8; 10], kind in 0usize..6) {
            let key = ApiKey {
                kind: SecretKind::ALL[kind],
                credential: CredentialId::new(millis, tail),
            };
            let text = ApiKey::new(key.kind, key.credential, random);
            prop_assert_eq!(ApiKey::parse(text.expose()), Ok(key));
        }

        #[test]
        fn one_changed_character_is_noticed(random: [u8; 32], at in 4usize..98, to in "[0-9a-zA-Z_]") {
            let text = ApiKey::new(SecretKind::Instance, credential(), random);
            let text = text.expose();
            prop_assume!(at < text.len() && text[at..=at] != to);
            let changed = format!("{}{to}{}", &text[..at], &text[at + 1..]);
            prop_assert!(ApiKey::parse(&changed).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in "(acr_)?\\PC{0,120}") {
            let _ = ApiKey::parse(&text);
        }
    }
}
