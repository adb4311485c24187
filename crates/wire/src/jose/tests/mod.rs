//! What the tests of this folder share: two keys, and a forge for tokens of any shape.

mod interop;
mod jwk;
mod jws;
mod jwt;
mod vectors;

use super::jwk::VerifyingKey;
use super::jws::{ProtectedHeader, SigningInput, TypRule};
use super::*;
use crate::crypto::PrivateKey;

const AT: TypRule = TypRule::Required("at+jwt");
const CLAIMS: &str = r#"{"iss":"https://id.example/o/a","sub":"agt_1","aud":"https://api.example","exp":2000000000,"jti":"tok_1"}"#;

struct Signer {
    private: PrivateKey,
    verifying: VerifyingKey,
}

impl Signer {
    fn new(algorithm: Algorithm) -> Self {
        let (private, _) = PrivateKey::generate(algorithm).expect("a key");
        let key = private.public().expect("its public half");
        Self { private, verifying: VerifyingKey { kid: "key-1".to_owned(), key } }
    }

    fn both() -> [Self; 2] {
        [Self::new(Algorithm::Es256), Self::new(Algorithm::EdDsa)]
    }

    fn alg(&self) -> &'static str {
        alg_name(self.private.algorithm())
    }

    /// A token as we make them.
    fn token(&self, typ: &str, payload: &[u8]) -> String {
        let kid = Some(self.verifying.kid.as_str());
        let header = ProtectedHeader::new(typ, self.private.algorithm(), kid).expect("a header");
        let input = SigningInput::new(&header, payload).expect("short enough");
        let signature = self.private.sign(input.bytes()).expect("a signature");
        input.finish(&signature)
    }

    /// A token with a valid signature over whatever header and payload.
    fn forge(&self, header: &str, payload: &str) -> String {
        let signed =
            format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(payload.as_bytes()));
        let signature = self.private.sign(signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", b64url_encode(&signature))
    }

    /// A valid header with more members at its end.
    fn header_with(&self, members: &str) -> String {
        format!(r#"{{"alg":"{}","typ":"at+jwt"{members}}}"#, self.alg())
    }
}

#[test]
fn base64url_has_one_spelling() {
    for length in 0..100 {
        let bytes = vec![0xa5; length];
        let text = b64url_encode(&bytes);
        assert_eq!(text.len(), b64url_len(length));
        assert_eq!(b64url_decode(&text), Ok(bytes));
    }
    assert_eq!(b64url_decode_array(&b64url_encode(&[7; 66])), Ok([7u8; 66]));
    for wrong in ["AA==", "AA=", "AB", "AAB", "A", "A A", "AA\n", " AA", "+/", "AAAA=", "é", "AA\0"]
    {
        assert_eq!(b64url_decode(wrong), Err(Base64UrlError), "{wrong:?}");
    }
    for wrong in ["", "AA", "AAAA", "AAB", "A=="] {
        assert_eq!(b64url_decode_array::<2>(wrong), Err(Base64UrlError), "{wrong:?}");
    }
}
