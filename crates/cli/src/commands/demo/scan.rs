//! What a scanner for leaked secrets does: looks through a text for what may be one of ours.
//!
//! The form finds candidates and the checksum tells the true ones from the rest, by the same
//! function as `accredit key-check`; no server is asked. Absent on purpose: showing what was found.
//! A true one is named by its public part only.

use accredit_wire::api_key::{API_KEY_PREFIX, ApiKey, ApiKeyError};
use zeroize::Zeroizing;

/// Something in a text that starts as our secrets do.
pub(super) struct Candidate {
    /// The line it stands in, the first being 1.
    pub(super) line: usize,
    /// Whose secret it says to be, or why it is none.
    pub(super) verdict: Result<ApiKey, ApiKeyError>,
}

/// Every candidate in a text, in order.
pub(super) fn scan(text: &str) -> Vec<Candidate> {
    text.lines().enumerate().flat_map(|(number, line)| of_line(number + 1, line)).collect()
}

fn of_line(number: usize, line: &str) -> impl Iterator<Item = Candidate> {
    let words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter_map(move |word| {
        let text = &word[word.find(API_KEY_PREFIX)?..];
        Some(Candidate { line: number, verdict: ApiKey::parse(text) })
    })
}

/// How many texts differ from a secret in one character, and how many of those are true ones too.
pub(super) fn changed(secret: &str) -> (usize, usize) {
    let mut bytes = Zeroizing::new(secret.as_bytes().to_vec());
    let (mut tried, mut taken) = (0, 0);
    for at in 0..bytes.len() {
        let was = bytes[at];
        for letter in LETTERS.iter().filter(|letter| **letter != was) {
            bytes[at] = *letter;
            tried += 1;
            let text = std::str::from_utf8(&bytes);
            taken += usize::from(text.is_ok_and(|text| ApiKey::parse(text).is_ok()));
        }
        bytes[at] = was;
    }
    (tried, taken)
}

/// A secret as it may be shown: what it is, and nothing of what it proves.
pub(super) fn masked(key: &ApiKey) -> String {
    let id = key.credential.to_string();
    let id = id.rsplit('_').next().unwrap_or_default();
    format!("{API_KEY_PREFIX}{}_{id}_…", key.kind.name())
}

/// The letters that are put in the place of each other.
const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";

#[cfg(test)]
mod tests {
    use super::*;
    use accredit_wire::api_key::SecretKind;
    use accredit_wire::ids::CredentialId;
    use accredit_wire::secret::Secret;

    fn key() -> ApiKey {
        let credential = CredentialId::new(1_763_717_400_000, [5; 10]);
        ApiKey { kind: SecretKind::Agent, credential }
    }

    fn secret() -> Secret {
        ApiKey::new(key().kind, key().credential, [9; 32])
    }

    #[test]
    fn what_only_looks_like_a_secret_is_told_apart() {
        let secret = secret();
        let text = secret.expose();
        let cut = &text[..text.len() - 1];
        let longer = format!("{text}0");
        for (text, found) in [
            ("", 0),
            ("commit 4bf92f3577b34da6a3ce929d0e0e4736", 0),
            ("acr: acr", 0),
            ("acr_agent_placeholder", 1),
            (cut, 1),
            (&longer, 1),
        ] {
            let candidates = scan(text);
            assert_eq!(candidates.len(), found, "{text}");
            assert!(candidates.iter().all(|candidate| candidate.verdict.is_err()), "{text}");
        }
    }

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        let secret = secret();
        let text = secret.expose();
        for (before, after) in
            [("", ""), ("secret=", ", retry=1"), ("{\"key\":\"", "\"}"), ("é", "é"), ("KEY_", "")]
        {
            let all = format!("first\n{before}{text}{after}\nlast {}", &text[..20]);
            let candidates = scan(&all);
            let [found, cut] = candidates.as_slice() else { panic!("{before}…{after}") };
            assert_eq!((found.line, found.verdict), (2, Ok(key())));
            assert_eq!((cut.line, cut.verdict), (3, Err(ApiKeyError::Malformed)));
        }
    }

    #[test]
    fn no_text_that_differs_in_one_character_is_a_secret() {
        let secret = secret();
        let letters = secret.expose().len();
        assert_eq!(changed(secret.expose()), (letters * 62, 0));
    }

    #[test]
    fn a_mask_tells_which_it_is_and_nothing_that_proves_it() {
        let secret = secret();
        let mask = masked(&key());
        let shown = mask.strip_suffix('…').expect("a mask");
        let hidden = secret.expose().strip_prefix(shown).expect("its beginning");
        assert_eq!(hidden.split('_').map(str::len).collect::<Vec<_>>(), [52, 6]);
    }
}
