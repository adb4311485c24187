//! RFC 7517, RFC 7518 section 6.3: the key set of somebody else's issuer of users' tokens.
//!
//! Most identity providers sign with RSA, so that here RSA keys are read beside ours; they verify
//! and do nothing else. Each key has one algorithm: the one its `alg` names, else ES256, EdDSA or,
//! for RSA, RS256, which is what OpenID Connect signs with where nothing is said. Keys that we do
//! not know, too short or with an unusual exponent, are ignored and counted; what is malformed,
//! private or twice there is refused.

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::jwk::{
    JWK_SET_BYTES_MAX, JWK_SET_KEYS_MAX, Jwk, JwkError, check_purpose, read_kid, refuse_duplicates,
    refuse_private_members, text_member,
};
use super::{alg_is, alg_name, b64url_decode, b64url_encode};
use crate::crypto::{CryptoError, PublicKey, RsaAlgorithm, RsaPublicKey, sha256_of};
use crate::json::{Json, quoted};

/// A public key of an issuer, and its name.
#[derive(Clone, Debug)]
pub struct IssuerKey {
    kid: String,
    key: Public,
}

#[derive(Clone, Debug)]
enum Public {
    Curve(PublicKey),
    Rsa(RsaPublicKey),
}

impl IssuerKey {
    /// Reads one key of a set.
    fn from_json(json: &Json<'_>) -> Result<Self, JwkError> {
        json.as_object().ok_or(JwkError::NotAnObject)?;
        if text_member(json, "kty")? != "RSA" {
            let jwk = Jwk::from_json(json)?.into_verifying_key();
            return Ok(Self { kid: jwk.kid, key: Public::Curve(jwk.key) });
        }
        refuse_private_members(json)?;
        check_purpose(json, "verify")?;
        let algorithm = rsa_algorithm(json)?;
        let (modulus, exponent) = (uint_member(json, "n")?, uint_member(json, "e")?);
        let key = RsaPublicKey::new(algorithm, &modulus, &exponent).map_err(|_| {
            JwkError::Unsupported { name: "n", found: format!("{} bits", modulus.len() * 8) }
        })?;
        let kid = read_kid(json)?.map_or_else(|| thumbprint(&key), str::to_owned);
        Ok(Self { kid, key: Public::Rsa(key) })
    }

    /// Names the key among those of its issuer; its thumbprint where the issuer gave it no name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The `alg` of what it verifies.
    pub fn alg(&self) -> &'static str {
        match &self.key {
            Public::Curve(key) => alg_name(key.algorithm()),
            Public::Rsa(key) => key.algorithm().name(),
        }
    }

    /// Whether `alg`, compared exactly, names what it verifies.
    pub(super) fn is_alg(&self, alg: &str) -> bool {
        match &self.key {
            Public::Curve(key) => alg_is(key.algorithm(), alg),
            Public::Rsa(key) => key.algorithm().name() == alg,
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        match &self.key {
            Public::Curve(key) => key.verify(message, signature),
            Public::Rsa(key) => key.verify(message, signature),
        }
    }
}

fn rsa_algorithm(json: &Json<'_>) -> Result<RsaAlgorithm, JwkError> {
    let Some(alg) = json.get("alg") else { return Ok(RsaAlgorithm::Rs256) };
    let alg = alg.as_str().ok_or(JwkError::Member { name: "alg", rule: "a string" })?;
    let known = [RsaAlgorithm::Rs256, RsaAlgorithm::Ps256];
    let found = known.into_iter().find(|known| known.name() == alg);
    found.ok_or_else(|| JwkError::Unsupported { name: "alg", found: quoted(alg) })
}

/// A Base64urlUInt (RFC 7518 section 2).
pub(super) fn uint_member(json: &Json<'_>, name: &'static str) -> Result<Vec<u8>, JwkError> {
    let rule = "an unsigned integer in base64url, without leading zeros";
    let bytes = b64url_decode(text_member(json, name)?);
    let bytes = bytes.map_err(|_| JwkError::Member { name, rule })?;
    if bytes.first().is_none_or(|first| *first == 0) {
        return Err(JwkError::Member { name, rule });
    }
    Ok(bytes)
}

fn thumbprint(key: &RsaPublicKey) -> String {
    let (e, n) = (b64url_encode(key.exponent()), b64url_encode(key.modulus()));
    b64url_encode(&sha256_of(&[format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes()]))
}

/// The keys of one issuer that can be used.
#[derive(Clone, Debug, Default)]
pub struct IssuerKeySet {
    keys: Vec<IssuerKey>,
    ignored: usize,
}

impl IssuerKeySet {
    /// Reads a set of at most [`JWK_SET_BYTES_MAX`] bytes and [`JWK_SET_KEYS_MAX`] keys.
    pub fn parse(text: &[u8]) -> Result<Self, JwkError> {
        let json = Json::parse(text, JWK_SET_BYTES_MAX)?;
        json.as_object().ok_or(JwkError::NotAnObject)?;
        let keys = json.get("keys").and_then(Json::as_array);
        let keys = keys.ok_or(JwkError::Member { name: "keys", rule: "an array" })?;
        if keys.len() > JWK_SET_KEYS_MAX {
            return Err(JwkError::TooManyKeys(keys.len()));
        }
        let mut set = Self { keys: Vec::with_capacity(keys.len()), ignored: 0 };
        let mut kids_ignored = Vec::new();
        for json in keys {
            match IssuerKey::from_json(json) {
                Ok(key) => set.keys.push(key),
                Err(JwkError::Unsupported { .. } | JwkError::NotForSignatures) => {
                    set.ignored += 1;
                    kids_ignored.extend(read_kid(json)?);
                }
                Err(error) => return Err(error),
            }
        }
        refuse_duplicates(set.keys.iter().map(|key| key.kid.as_str()).chain(kids_ignored))?;
        Ok(set)
    }

    /// The keys that can be used.
    pub fn keys(&self) -> &[IssuerKey] {
        &self.keys
    }

    /// How many keys were ignored.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// The key that a token means: by exact `kid`, or without one the set's only key.
    pub fn find(&self, kid: Option<&str>) -> Option<&IssuerKey> {
        match (kid, self.keys.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid == kid),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// Writes the keys that can be used, with the members that make them: it reads back as the same set.
impl Serialize for IssuerKeySet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("IssuerKeySet", 1)?;
        out.serialize_field("keys", &self.keys)?;
        out.end()
    }
}

impl Serialize for IssuerKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.key {
            Public::Curve(key) => {
                let jwk = Jwk::new(key.clone(), Some(self.kid.clone()));
                jwk.map_err(serde::ser::Error::custom)?.serialize(serializer)
            }
            Public::Rsa(key) => {
                let mut out = serializer.serialize_struct("IssuerKey", 6)?;
                out.serialize_field("kty", "RSA")?;
                out.serialize_field("n", &b64url_encode(key.modulus()))?;
                out.serialize_field("e", &b64url_encode(key.exponent()))?;
                out.serialize_field("alg", self.alg())?;
                out.serialize_field("use", "sig")?;
                out.serialize_field("kid", &self.kid)?;
                out.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::jws::{JwsError, TypRule, Unverified};

    /// RFC 7515 appendix A.2: the key and the token.
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

    fn set(members: &str) -> Result<IssuerKeySet, JwkError> {
        let key = format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB"{members}}}"#);
        IssuerKeySet::parse(format!(r#"{{"keys":[{key}]}}"#).as_bytes())
    }

    fn verify(set: &IssuerKeySet, token: &str) -> Result<(), JwsError> {
        let unverified = Unverified::parse(token)?;
        let key = set.find(unverified.peek_unverified_kid()).expect("the only key");
        unverified.verify_by_issuer(key, TypRule::JwtOrAbsent).map(drop)
    }

    #[test]
    fn the_example_of_the_standard_verifies_and_nothing_near_it_does() {
        let rs256 = set("").expect("a set");
        assert_eq!(rs256.keys()[0].alg(), "RS256", "what is meant where nothing is said");
        assert_eq!(verify(&rs256, TOKEN), Ok(()));
        let bent = TOKEN.replacen("cC4h", "cC4i", 1);
        assert_eq!(verify(&rs256, &bent), Err(JwsError::Signature));
        let (signed, _) = TOKEN.rsplit_once('.').expect("a token");
        for signature in ["", "AAAA", &"A".repeat(86), &"A".repeat(1024)] {
            assert!(verify(&rs256, &format!("{signed}.{signature}")).is_err(), "{signature}");
        }
        // The same key under another algorithm is another key.
        let ps256 = set(r#","alg":"PS256""#).expect("a set");
        assert!(matches!(verify(&ps256, TOKEN), Err(JwsError::Alg { expected: "PS256", .. })));
    }

    #[test]
    fn a_set_reads_back_as_it_was() {
        for members in ["", r#","alg":"PS256","kid":"a","use":"sig","x5c":["x"]"#] {
            let set = set(members).expect("a set");
            let text = serde_json::to_string(&set).expect("JSON");
            let again = IssuerKeySet::parse(text.as_bytes()).expect("a set");
            assert_eq!(serde_json::to_string(&again).expect("JSON"), text);
            assert_eq!(again.keys()[0].kid(), set.keys()[0].kid());
        }
    }

    #[test]
    fn keys_that_are_not_for_us_are_ignored_and_what_is_wrong_is_refused() {
        for members in [r#","use":"enc""#, r#","alg":"RS512""#, r#","alg":"RSA-OAEP""#] {
            let set = set(members).expect("a set");
            assert_eq!((set.keys().len(), set.ignored()), (0, 1), "{members}");
        }
        for members in [r#","d":"AQ""#, r#","alg":7"#, r#","kid":"""#, r#","e":"AQAB""#] {
            assert!(set(members).is_err(), "{members}");
        }
        let short = "AQAB".repeat(80);
        for (n, e) in [(&*short, "AQAB"), (N, "Aw"), (N, "AQ"), (N, "AQAC")] {
            let text = format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"{e}"}}]}}"#);
            let set = IssuerKeySet::parse(text.as_bytes()).expect("a set");
            assert_eq!(set.ignored(), 1, "{e}");
        }
        let zero = format!(r#"{{"keys":[{{"kty":"RSA","n":"AA{N}","e":"AQAB"}}]}}"#);
        assert!(IssuerKeySet::parse(zero.as_bytes()).is_err());
        let twice = r#"{"kty":"EC","crv":"P-521","kid":"a","x":"","y":""}"#;
        let twice = format!(r#"{{"keys":[{twice},{twice}]}}"#);
        assert!(matches!(IssuerKeySet::parse(twice.as_bytes()), Err(JwkError::DuplicateKid(_))));
    }
}
