use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::authority::{Arguments, Authority, Permission};
use crate::binding::dpop::ProofError;
use crate::crypto::{Algorithm, MacKey, PrivateKey};
use crate::ids::{
    AgentId, AnyId, CredentialId, InstanceId, KeyId, Kind, OrganizationId, PersonId, ResourceId,
    TaskId, TokenId,
};
use crate::jose::b64url_encode;
use crate::jose::jwk::{JwkSet, VerifyingKey};
use crate::jose::jws::{JwsError, Segment};
use crate::oauth::authorization_details::AuthorizationDetails;
use crate::oauth::errors::ErrorCode;
use crate::revocations::{Entry, Follower, State};
use crate::token::{Actor, ClaimsError, SubjectKind};

mod attenuable;
mod bound;
mod certified;

const ISSUER: &str = "https://id.example/o/dev";
const AUDIENCE: &str = "https://crm.example/";
const START: i64 = 1_763_717_400;

fn now() -> Time {
    Time::from_seconds(START + 10)
}

/// An issuer's key.
struct Signer {
    private: PrivateKey,
    id: KeyId,
}

impl Signer {
    fn new(algorithm: Algorithm, number: u8) -> Self {
        let (private, _) = PrivateKey::generate(algorithm).expect("a key");
        Self { private, id: KeyId::new(1, [number; 10]) }
    }

    fn public(&self) -> VerifyingKey {
        VerifyingKey { kid: self.id.to_string(), key: self.private.public().expect("public") }
    }

    fn header(&self) -> String {
        let alg = crate::jose::alg_name(self.private.algorithm());
        format!(r#"{{"alg":"{alg}","kid":"{}","typ":"at+jwt"}}"#, self.id)
    }

    fn sign(&self, header: &str, payload: &[u8]) -> String {
        let input = format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(payload));
        let signature = self.private.sign(input.as_bytes()).expect("a signature");
        format!("{input}.{}", b64url_encode(&signature))
    }

    fn token(&self, claims: &AccessToken) -> String {
        self.sign(&self.header(), &claims.to_payload())
    }
}

fn ring(signers: &[&Signer]) -> KeyRing {
    let keys = signers.iter().map(|signer| signer.public()).collect();
    KeyRing::new(&JwkSet::new(keys).expect("a set"))
}

fn claims(key: KeyId) -> AccessToken {
    let agent = AgentId::new(5, [5; 10]);
    AccessToken {
        issuer: ISSUER.to_owned(),
        subject: agent.any(),
        kind: SubjectKind::Agent,
        client_id: agent,
        audience: AUDIENCE.to_owned(),
        issued_at: START,
        not_before: None,
        expires_at: START + 300,
        id: TokenId::new(7, [7; 10]),
        scope: "crm:read crm:write".parse().expect("a scope"),
        details: AuthorizationDetails::default(),
        key,
        instance: Some(InstanceId::new(6, [6; 10])),
        organization: OrganizationId::new(1, [1; 10]),
        credential: CredentialId::new(2, [2; 10]),
        owner: PersonId::new(3, [3; 10]),
        resource: ResourceId::new(4, [4; 10]),
        further: vec![TaskId::new(8, [8; 10]).any()],
        rev: 17,
        delegable: Authority::none(),
        chain: Vec::new(),
        impersonated: false,
        cnf: None,
        status: None,
    }
}

/// A Verifier with one key and a young, empty revocation state at counter 20.
struct World {
    signer: Signer,
    verifier: Verifier,
}

impl World {
    fn new() -> Self {
        Self::with(Algorithm::Es256)
    }

    fn with(algorithm: Algorithm) -> Self {
        let signer = Signer::new(algorithm, 1);
        let config = Config::new(ISSUER, AudienceRule::Exact(AUDIENCE.to_owned()));
        let verifier = Verifier::new(config, ring(&[&signer]));
        verifier.set_standing(Standing::current(State::new(1, 20, now(), &[]), now()));
        let world = Self { signer, verifier };
        // From here on the cache is warm with a token that is like those to come.
        world.accepts(&world.good());
        world
    }

    fn claims(&self) -> AccessToken {
        claims(self.signer.id)
    }

    fn good(&self) -> String {
        self.signer.token(&self.claims())
    }

    /// The answer, which must be the same when the token has been seen before.
    fn answer(&self, token: &str, now: Time) -> Result<Principal, Rejection> {
        let cold = self.verifier.verify_token(token, now);
        for _ in 0..2 {
            let warm = self.verifier.verify_token(token, now);
            assert_eq!(cold.as_ref().err(), warm.as_ref().err());
        }
        cold
    }

    fn accepts(&self, token: &str) -> Principal {
        self.answer(token, now()).expect("accepted")
    }

    fn refuses(&self, token: &str) -> Rejection {
        self.answer(token, now()).expect_err("refused")
    }

    fn refuses_claims(&self, change: impl FnOnce(&mut AccessToken)) -> Rejection {
        let mut claims = self.claims();
        change(&mut claims);
        self.refuses(&self.signer.token(&claims))
    }

    fn refuses_header(&self, header: &str) -> Rejection {
        self.refuses(&self.signer.sign(header, &self.claims().to_payload()))
    }

    fn revoke(&self, target: AnyId, below: u64) {
        let entry = Entry { target, below, keep_until: START + 10_000 };
        let state = State::new(1, 20, now(), &[entry]);
        self.verifier.set_standing(Standing::current(state, now()));
    }
}

#[test]
fn a_good_token_is_a_principal() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let world = World::with(algorithm);
        let principal = world.accepts(&world.good());
        let claims = world.claims();
        assert_eq!(principal.token(), &claims);
        assert_eq!(principal.subject(), claims.client_id.any());
        assert_eq!(principal.client_id(), claims.client_id);
        assert_eq!(principal.instance(), claims.instance);
        assert_eq!(principal.token_id(), claims.id);
        assert_eq!(principal.rev(), 17);
        assert_eq!(principal.evidence().rev, 20);
        assert!(principal.chain().is_empty());
        assert_eq!(principal.expires_at(), Time::from_seconds(START + 300));
    }
}

#[test]
fn a_scope_is_held_exactly_or_not_at_all() {
    let world = World::new();
    let principal = world.accepts(&world.good());
    assert!(principal.allows("crm:read"));
    for wrong in [
        "crm:rea",
        "crm:readx",
        "crm:*",
        "crm",
        "crm:",
        ":read",
        "*",
        "",
        "crm:READ",
        "crm: read",
        "crm:read crm:write",
        "cr\u{43c}:read",
    ] {
        assert!(!principal.allows(wrong), "{wrong}");
    }
    assert_eq!(principal.require("crm:write"), Ok(()));
    let rejection = principal.require("crm:delete").expect_err("refused");
    assert_eq!((rejection.status(), rejection.rule()), (403, "scope-insufficient"));
    assert_eq!(
        rejection.to_string(),
        "this needs the scope `crm:delete` and the token has `crm:read crm:write`"
    );
}

// What an attacker tries first with a token.

#[test]
fn pentest_1_no_spelling_of_none_is_an_algorithm() {
    let world = World::new();
    let kid = world.signer.id;
    for alg in ["none", "None", "nOnE", "", "NONE"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#);
        let signed = world.signer.sign(&header, &world.claims().to_payload());
        let (bare, _) = signed.rsplit_once('.').expect("three segments");
        for token in [signed.clone(), format!("{bare}."), bare.to_owned()] {
            let rejection = world.refuses(&token);
            assert_eq!(rejection.code(), Some(ErrorCode::InvalidToken), "{alg}");
        }
    }
}

#[test]
fn pentest_2_the_public_key_is_no_mac_key() {
    let world = World::new();
    let public = world.signer.private.public().expect("public");
    let secret: &[u8; 32] = public.bytes()[1..33].try_into().expect("32 bytes");
    for alg in ["HS256", "RS256", "EdDSA", "ES384", "es256"] {
        let header = format!(r#"{{"alg":"{alg}","kid":"{}","typ":"at+jwt"}}"#, world.signer.id);
        let payload = world.claims().to_payload();
        let input = format!("{}.{}", b64url_encode(header.as_bytes()), b64url_encode(&payload));
        let mac = MacKey::new(secret).mac(input.as_bytes());
        let rejection = world.refuses(&format!("{input}.{}", b64url_encode(&mac)));
        assert!(matches!(rejection, Rejection::Token(JwsError::Alg { .. })), "{alg}");
        let rejection = world.refuses_header(&header);
        assert!(matches!(rejection, Rejection::Token(JwsError::Alg { .. })), "{alg}");
    }
}

#[test]
fn pentest_3_signatures_that_nobody_made_are_refused() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let world = World::with(algorithm);
        let good = world.good();
        let (input, signature) = good.rsplit_once('.').expect("three segments");
        let good = crate::jose::b64url_decode(signature).expect("64 bytes");
        let swapped = [&good[32..], &good[..32]].concat();
        let flipped: Vec<u8> = good.iter().map(|byte| !byte).collect();
        let with = |signature: &[u8]| format!("{input}.{}", b64url_encode(signature));
        for wrong in [&[0; 64][..], &[0xff; 64], &swapped, &flipped] {
            let rejection = world.refuses(&with(wrong));
            assert_eq!(rejection, Rejection::Token(JwsError::Signature));
        }
        for wrong in [&good[..63], &good[..32], &[good.as_slice(), &[0]].concat()] {
            let rejection = world.refuses(&with(wrong));
            assert_eq!(rejection, Rejection::Token(JwsError::SignatureLength));
        }
    }
}

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6,
    0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

#[test]
fn pentest_3_a_second_signature_does_not_outlive_a_revocation() {
    let world = World::new();
    let good = world.good();
    let (input, signature) = good.rsplit_once('.').expect("three segments");
    let mut signature = crate::jose::b64url_decode(signature).expect("64 bytes");
    let mut borrow = 0i16;
    for place in (0..32).rev() {
        let difference = i16::from(ORDER[place]) - i16::from(signature[32 + place]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + place] = difference.rem_euclid(256) as u8;
    }
    // ECDSA verifies (r, n - s) too: another text of the same token, with the same lineage.
    let second = format!("{input}.{}", b64url_encode(&signature));
    world.accepts(&second);
    let id = world.claims().id.any();
    world.revoke(id, 18);
    for token in [good, second] {
        assert_eq!(world.refuses(&token), Rejection::Revoked { id });
    }
}

#[test]
fn pentest_5_a_kid_is_looked_up_and_nothing_else() {
    let world = World::new();
    let other = Signer::new(Algorithm::Es256, 2);
    for kid in [
        "../../etc/passwd".to_owned(),
        "' OR 1=1 --".to_owned(),
        "\\u0000".to_owned(),
        "k".repeat(256),
        other.id.to_string(),
        world.signer.id.to_string().to_uppercase(),
        format!("{} ", world.signer.id),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt"}}"#);
        assert_eq!(world.refuses_header(&header), Rejection::UnknownKey, "{kid}");
    }
    assert_eq!(world.refuses_header(r#"{"alg":"ES256","typ":"at+jwt"}"#), Rejection::UnknownKey);
    let long = format!(r#"{{"alg":"ES256","kid":"{}","typ":"at+jwt"}}"#, "k".repeat(257));
    assert_eq!(world.refuses_header(&long), Rejection::Token(JwsError::Kid));
}

#[test]
fn pentest_6_keys_that_a_token_brings_along_prove_nothing() {
    let world = World::new();
    let evil = Signer::new(Algorithm::Es256, 1);
    let kid = world.signer.id;
    let jwk = crate::jose::jwk::Jwk::new(evil.private.public().expect("public"), None);
    let jwk = jwk.expect("a key").bare_json();
    for member in [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"https://evil.example/jwks.json""#.to_owned(),
        r#""x5u":"https://evil.example/cert.pem""#.to_owned(),
        r#""x5c":["AAAA"]"#.to_owned(),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt",{member}}}"#);
        let rejection = world.refuses(&evil.sign(&header, &world.claims().to_payload()));
        assert_eq!(rejection, Rejection::Token(JwsError::Signature), "{member}");
    }
    for crit in [r#"["exp"]"#, "[]", r#"["b64"]"#] {
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt","crit":{crit}}}"#);
        assert_eq!(world.refuses_header(&header), Rejection::Token(JwsError::Crit));
    }
}

#[test]
fn pentest_7_a_text_with_two_meanings_is_refused() {
    let world = World::new();
    let payload = String::from_utf8(world.claims().to_payload()).expect("text");
    let deep = format!(r#"{{"x":{}{},"#, "[".repeat(40), "]".repeat(40));
    for (from, to) in [
        ("{\"iss\"", r#"{"aud":"https://evil.example/","iss""#),
        ("{\"iss\"", r#"{"scope":"crm:admin","iss""#),
        ("{\"iss\"", r#"{"\u0073ub":"agt_x","iss""#),
        ("{\"iss\"", r#"{"x":1e400,"iss""#),
        ("{\"iss\"", r#"{"x":"\ud800","iss""#),
        ("{", deep.as_str()),
        (r#""v":1"#, r#""v":1,"v":1"#),
    ] {
        let bent = payload.replacen(from, to, 1);
        assert_ne!(bent, payload);
        let token = world.signer.sign(&world.signer.header(), bent.as_bytes());
        assert_eq!(world.refuses(&token), Rejection::Claims(ClaimsError::NotJson), "{to}");
    }
    let header = world.signer.header().replacen('{', r#"{"alg":"none","#, 1);
    assert!(matches!(world.refuses_header(&header), Rejection::Token(JwsError::HeaderJson(_))));
}

#[test]
fn pentest_8_no_other_kind_of_token_passes_as_an_access_token() {
    let world = World::new();
    for typ in [
        "JWT",
        "at+jwtx",
        "secevent+jwt",
        "txntoken+jwt",
        "oauth-id-jag+jwt",
        "dpop+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "statuslist+jwt",
        "logout+jwt",
        "accredit-revocations+jwt",
        "",
    ] {
        let header = world.signer.header().replace("at+jwt", typ);
        let rejection = world.refuses_header(&header);
        assert!(matches!(rejection, Rejection::Token(JwsError::Typ { .. })), "{typ}");
    }
    let header = world.signer.header().replace(r#","typ":"at+jwt""#, "");
    assert!(matches!(world.refuses_header(&header), Rejection::Token(JwsError::Typ { .. })));
    // Of the right type, and not one of ours.
    let foreign = br#"{"iss":"https://id.example/o/dev","sub":"x","aud":"https://crm.example/"}"#;
    let token = world.signer.sign(&world.signer.header(), foreign);
    assert_eq!(world.refuses(&token), Rejection::Claims(ClaimsError::Missing("accredit")));
}

#[test]
fn pentest_9_times_are_there_and_right() {
    let world = World::new();
    let at = |seconds| now().seconds() + seconds;
    let expired = world.refuses_claims(|token| token.expires_at = at(-60));
    assert_eq!(expired, Rejection::Expired { expires_at: Time::from_seconds(at(-60)) });
    let future = world.refuses_claims(|token| token.issued_at = at(61));
    assert_eq!(future, Rejection::NotYetValid { begins: Time::from_seconds(at(61)) });
    let future = world.refuses_claims(|token| token.not_before = Some(at(61)));
    assert_eq!(future, Rejection::NotYetValid { begins: Time::from_seconds(at(61)) });
    let long = world.refuses_claims(|token| token.expires_at = START + 3601);
    assert_eq!(long, Rejection::LivesTooLong);
    let far = world.refuses_claims(|token| token.expires_at = crate::token::INTEGER_MAX);
    assert_eq!(far, Rejection::LivesTooLong);
    let payload = String::from_utf8(world.claims().to_payload()).expect("text");
    let exp = format!(r#""exp":{}"#, START + 300);
    for wrong in [
        r#""x":1"#,
        r#""exp":"1763717700""#,
        r#""exp":-1"#,
        r#""exp":9223372036854775808"#,
        r#""exp":9007199254740992"#,
        r#""exp":null"#,
        r#""exp":1.5"#,
    ] {
        let bent = payload.replace(&exp, wrong);
        let token = world.signer.sign(&world.signer.header(), bent.as_bytes());
        assert!(matches!(world.refuses(&token), Rejection::Claims(_)), "{wrong}");
    }
}

#[test]
fn a_skew_is_allowed_to_the_second_and_not_beyond() {
    let world = World::new();
    let token = world.good();
    let ends = Time::from_seconds(START + 300 + 60);
    let early = Duration::from_micros(1);
    let fresh = |time: Time| {
        world.verifier.set_standing(Standing::current(State::new(1, 20, time, &[]), time));
        world.answer(&token, time).map(|_| ())
    };
    assert_eq!(fresh(ends.minus(early)), Ok(()));
    assert!(matches!(fresh(ends), Err(Rejection::Expired { .. })));
    let begins = Time::from_seconds(START - 60);
    assert_eq!(fresh(begins), Ok(()));
    assert!(matches!(fresh(begins.minus(early)), Err(Rejection::NotYetValid { .. })));
    let config = Config { skew: Duration::from_mins(15), ..world.verifier.config().clone() };
    let capped = Verifier::new(config, KeyRing::default());
    assert_eq!(capped.config().skew, Duration::from_mins(1));
}

#[test]
fn pentest_10_the_audience_is_compared_exactly() {
    let world = World::new();
    for wrong in [
        "https://crm.example",
        "https://crm.example/x",
        "https://crm.example//",
        "https://CRM.example/",
        "https://crm.example.evil/",
        "crm.example/",
        "https://crm.example/ ",
    ] {
        let rejection = world.refuses_claims(|token| token.audience = wrong.to_owned());
        assert_eq!(rejection, Rejection::Audience, "{wrong}");
    }
    let payload = String::from_utf8(world.claims().to_payload()).expect("text");
    for several in [r#"["https://crm.example/"]"#, r#"["https://evil/","https://crm.example/"]"#] {
        let bent = payload.replace(r#""https://crm.example/""#, several);
        let token = world.signer.sign(&world.signer.header(), bent.as_bytes());
        assert_eq!(world.refuses(&token), Rejection::Claims(ClaimsError::Malformed("aud")));
    }
    let any = Verifier::new(Config::new(ISSUER, AudienceRule::Any), ring(&[&world.signer]));
    any.set_standing(Standing::current(State::new(1, 20, now(), &[]), now()));
    assert!(any.verify_token(&world.good(), now()).is_ok());
}

#[test]
fn pentest_11_a_token_has_one_spelling() {
    let world = World::new();
    let good = world.good();
    let dots: Vec<usize> = good.match_indices('.').map(|(place, _)| place).collect();
    for (segment, end) in
        [(Segment::Header, dots[0]), (Segment::Payload, dots[1]), (Segment::Signature, good.len())]
    {
        for extra in ["=", "==", " ", "\n", "\0"] {
            let bent = format!("{}{extra}{}", &good[..end], &good[end..]);
            let rejection = world.refuses(&bent);
            assert_eq!(rejection, Rejection::Token(JwsError::Encoding(segment)), "{extra:?}");
        }
    }
    // The last character of 64 bytes carries two bits of nothing... four spellings, one accepted.
    let last = good.chars().last().expect("a character");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = alphabet.find(last).expect("base64url");
    for low in 1..16 {
        let other = alphabet.as_bytes()[value | low] as char;
        let bent = format!("{}{other}", &good[..good.len() - 1]);
        let rejection = world.refuses(&bent);
        assert_eq!(rejection, Rejection::Token(JwsError::Encoding(Segment::Signature)));
    }
    for wrong in ["", ".", "..", "a.b.c.d", "{}", good.replace('.', "..").as_str()] {
        assert!(matches!(world.refuses(wrong), Rejection::Token(_)), "{wrong}");
    }
    assert!(matches!(
        world.refuses(&"a".repeat(TOKEN_BYTES_MAX + 1)),
        Rejection::Token(JwsError::TooLong { .. })
    ));
}

#[test]
fn pentest_12_a_token_of_one_tenant_is_nothing_at_another() {
    let world = World::new();
    // The other tenant's key has the same id by accident; its token says who it is.
    let other = Signer::new(Algorithm::Es256, 1);
    let mut theirs = claims(other.id);
    theirs.issuer = "https://id.example/o/other".to_owned();
    let rejection = world.refuses(&other.token(&theirs));
    assert_eq!(rejection, Rejection::Token(JwsError::Signature));
    for issuer in [
        "https://id.example/o/other",
        "https://id.example/o/dev/",
        "https://id.example/o/DEV",
        "https://id.example/o/de",
        "",
    ] {
        let rejection = world.refuses_claims(|token| token.issuer = issuer.to_owned());
        assert_eq!(rejection, Rejection::Issuer, "{issuer}");
    }
}

// The request.

fn present<'a>(uri: &'a str, values: &[&'a str]) -> Result<&'a str, Rejection> {
    let values = values.iter().map(|value| value.as_bytes());
    let presented = present::presented(&RequestHead::new("GET", uri, values))?;
    assert_eq!(presented.0, Scheme::Bearer);
    Ok(presented.1)
}

#[test]
fn a_request_presents_exactly_one_credential_in_its_header() {
    assert_eq!(present("/", &["Bearer abc"]), Ok("abc"));
    assert_eq!(present("/?x=1&token=2", &["bEaReR  abc"]), Ok("abc"));
    assert_eq!(present("/", &[]), Err(Rejection::NoCredential));
    assert_eq!(present("/", &["Bearer a", "Bearer a"]), Err(Rejection::SeveralCredentials));
    assert_eq!(present("/", &["Basic x", "Bearer a"]), Err(Rejection::SeveralCredentials));
    for other in ["Basic abc", "DPoPabc", "Bearerabc", "Bearer\tabc", "", "abc"] {
        assert_eq!(present("/", &[other]), Err(Rejection::NotBearer), "{other}");
    }
    for wrong in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer \"a\"", "Bearer a\u{e9}"]
    {
        assert_eq!(present("/", &[wrong]), Err(Rejection::MalformedHeader), "{wrong}");
    }
    for uri in [
        "/?access_token=a",
        "/x?y=1&access_token=",
        "/?access%5Ftoken=a",
        "/?access_token",
        "https://crm.example/?access_token=a#x",
    ] {
        assert_eq!(present(uri, &["Bearer a"]), Err(Rejection::TokenInQuery), "{uri}");
        assert_eq!(present(uri, &[]), Err(Rejection::TokenInQuery), "{uri}");
    }
    assert_eq!(present("/access_token=a", &["Bearer a"]), Ok("a"), "in the path it is a path");
    for byte in 0..=255u8 {
        let value = [b"Bearer a", &[byte][..], b"b"].concat();
        let head = RequestHead::new("GET", "/", [value.as_slice()]);
        let fits = byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        assert_eq!(present::presented(&head).is_ok(), fits, "{byte}");
    }
    let bytes = RequestHead::new("GET", "/", [&b"Bearer \xff"[..]]);
    assert_eq!(present::presented(&bytes), Err(Rejection::MalformedHeader));
}

#[test]
fn a_request_is_verified_as_its_token_is() {
    let world = World::new();
    let value = format!("Bearer {}", world.good());
    let head = RequestHead::new("GET", "/contacts", [value.as_bytes()]);
    assert!(world.verifier.verify(&head, now()).is_ok());
    let head = RequestHead::new("GET", "/contacts", []);
    let rejection = world.verifier.verify(&head, now()).expect_err("refused");
    assert_eq!((rejection.status(), rejection.code()), (401, None));
}

#[test]
fn a_confirmation_that_is_not_known_is_no_confirmation() {
    let world = World::new();
    let payload = String::from_utf8(world.claims().to_payload()).expect("text");
    for cnf in [r#"{"jkt":"x"}"#, "{}", "null", "1", r#"{"x5t#S256":"x"}"#] {
        let bound = payload.replacen('{', &format!(r#"{{"cnf":{cnf},"#), 1);
        let token = world.signer.sign(&world.signer.header(), bound.as_bytes());
        assert!(matches!(world.refuses(&token), Rejection::Claims(_)), "{cnf}");
    }
}

// Standing.

#[test]
fn whatever_is_revoked_in_the_lineage_ends_the_token() {
    let world = World::new();
    let mut claims = world.claims();
    let first = AgentId::new(40, [40; 10]);
    let acting = Actor { agent: claims.client_id, instance: claims.instance };
    let before = Actor { agent: first, instance: Some(InstanceId::new(41, [41; 10])) };
    claims.subject = PersonId::new(42, [42; 10]).any();
    claims.kind = SubjectKind::User;
    claims.chain = vec![acting, before];
    let token = world.signer.token(&claims);
    let lineage: Vec<AnyId> = claims.lineage().collect();
    assert_eq!(lineage.len(), 14);
    for id in lineage {
        // A signing key's end is final; of anything else, a new one is good.
        world.revoke(id, 17);
        if id.kind() == Kind::Key {
            assert_eq!(world.refuses(&token), Rejection::Revoked { id });
        } else {
            world.accepts(&token);
        }
        world.revoke(id, 18);
        assert_eq!(world.refuses(&token), Rejection::Revoked { id });
    }
    world.revoke(AgentId::new(99, [99; 10]).any(), 18);
    world.accepts(&token);
}

#[test]
fn without_a_state_nothing_is_accepted() {
    let signer = Signer::new(Algorithm::Es256, 1);
    let config = Config::new(ISSUER, AudienceRule::Exact(AUDIENCE.to_owned()));
    let verifier = Verifier::new(config, ring(&[&signer]));
    let token = signer.token(&claims(signer.id));
    for _ in 0..2 {
        let rejection = verifier.verify_token(&token, now()).expect_err("refused");
        assert_eq!(rejection, Rejection::Stale { age: None, age_max: REVOCATIONS_AGE_MAX });
        assert_eq!(rejection.status(), 503);
    }
    assert!(Standing::of(&Follower::new(ISSUER.to_owned(), None)).is_none());
}

#[test]
fn a_state_is_too_old_after_its_bound_and_not_before() {
    let world = World::new();
    let token = world.good();
    let bound = now().plus(REVOCATIONS_AGE_MAX);
    assert!(world.answer(&token, bound).is_ok());
    let late = bound.plus(Duration::from_micros(1));
    let rejection = world.answer(&token, late).expect_err("refused");
    assert!(matches!(rejection, Rejection::Stale { age: Some(_), .. }));
    // What is known to be dead is said to be dead, however old the state is.
    let id = world.claims().client_id.any();
    world.revoke(id, 18);
    let rejection = world.answer(&token, late).expect_err("refused");
    assert_eq!(rejection, Rejection::Revoked { id });
}

#[test]
fn a_clock_that_is_set_back_does_not_make_the_state_young() {
    let world = World::new();
    let token = world.good();
    assert!(world.answer(&token, now().plus(Duration::from_secs(50))).is_ok());
    let rejection = world.answer(&token, now().plus(Duration::from_secs(20))).expect_err("refused");
    assert_eq!(rejection, Rejection::Stale { age: None, age_max: REVOCATIONS_AGE_MAX });
}

#[test]
fn a_clock_that_runs_behind_does_not_keep_a_token_alive() {
    let world = World::new();
    let ahead = Time::from_seconds(START + 400);
    let state = State::new(1, 20, ahead, &[]);
    let mut follower = Follower::new(ISSUER.to_owned(), None);
    let message = crate::revocations::Message {
        issuer: ISSUER.to_owned(),
        generation: 1,
        from: 0,
        to: state.rev(),
        at: ahead,
        reading: crate::revocations::Reading { clock: 1, up: 1 },
        nonce: Some(crate::revocations::Nonce::new([1; 16])),
        keys: crate::tlog::Hash::new([5; 32]),
        entries: Vec::new(),
        pieces: Vec::new(),
        log: Vec::new(),
    };
    let feed = Signer::new(Algorithm::EdDsa, 9);
    let keys = JwkSet::new(vec![feed.public()]).expect("a set");
    let header = feed.header().replace("at+jwt", crate::revocations::feed::FEED_TYPE);
    let text = feed.sign(&header, &message.to_payload());
    let signed = crate::revocations::SignedMessage::verify(&text, &keys, ISSUER).expect("signed");
    follower.ask(crate::revocations::Nonce::new([1; 16]), now());
    follower.apply(&signed, &[], now()).expect("applied");
    world.verifier.set_standing(Standing::of(&follower).expect("a standing"));
    let rejection = world.refuses(&world.good());
    assert!(matches!(rejection, Rejection::Expired { .. }), "by the server's own time");
}

#[test]
fn a_token_newer_than_the_state_waits_for_it() {
    let world = World::new();
    let rejection = world.refuses_claims(|token| token.rev = 21);
    assert_eq!(rejection, Rejection::Behind { token: 21, state: 20 });
    assert_eq!(rejection.status(), 503);
    let mut claims = world.claims();
    claims.rev = 21;
    let token = world.signer.token(&claims);
    world.verifier.set_standing(Standing::current(State::new(1, 21, now(), &[]), now()));
    world.accepts(&token);
}

#[test]
fn a_principal_that_is_kept_ends_with_its_token() {
    let world = World::new();
    let principal = world.accepts(&world.good());
    assert_eq!(world.verifier.standing_of(&principal, now()), Ok(()));
    let late = Time::from_seconds(START + 400);
    assert!(matches!(world.verifier.standing_of(&principal, late), Err(Rejection::Expired { .. })));
    let id = principal.token().credential.any();
    world.revoke(id, 18);
    assert_eq!(world.verifier.standing_of(&principal, now()), Err(Rejection::Revoked { id }));
    let world = World::new();
    let principal = world.accepts(&world.good());
    world.verifier.set_keys(ring(&[&Signer::new(Algorithm::Es256, 2)]));
    assert_eq!(world.verifier.standing_of(&principal, now()), Err(Rejection::UnknownKey));
}

// What is remembered.

#[test]
fn other_keys_empty_the_cache_and_the_same_keys_do_not() {
    let world = World::new();
    let token = world.good();
    let remembered = |world: &World| world.verifier.cache.bytes_and_len().1;
    assert_eq!(remembered(&world), 1);
    world.verifier.set_keys(ring(&[&world.signer]));
    assert_eq!(remembered(&world), 1);
    let other = Signer::new(Algorithm::Es256, 2);
    world.verifier.set_keys(ring(&[&world.signer, &other]));
    assert_eq!(remembered(&world), 0);
    world.accepts(&token);
    assert_eq!(remembered(&world), 1);
    // The same id with another key: the old token is no longer signed by it.
    world.verifier.set_keys(ring(&[&Signer::new(Algorithm::Es256, 1)]));
    assert_eq!(world.refuses(&token), Rejection::Token(JwsError::Signature));
    world.verifier.set_keys(KeyRing::default());
    assert_eq!(world.refuses(&token), Rejection::UnknownKey);
}

#[test]
fn a_token_accepted_by_an_older_ring_is_not_found() {
    let world = World::new();
    let known = Arc::new(Known::new(world.claims()));
    let cache = Cache::new(1 << 20);
    cache.insert("text", 1, &known, now());
    assert!(cache.find("text", 1).is_some());
    assert!(cache.find("text", 2).is_none());
    assert!(cache.find("tex", 1).is_none());
    cache.insert("text", 2, &known, now());
    assert!(cache.find("text", 2).is_some());
    assert_eq!(cache.bytes_and_len().1, 1);
}

#[test]
fn only_signed_tokens_are_remembered_and_expired_ones_are_not() {
    let world = World::new();
    let (bytes, len) = world.verifier.cache.bytes_and_len();
    assert_eq!(len, 1);
    let evil = Signer::new(Algorithm::Es256, 1);
    for number in 0..50 {
        let mut claims = world.claims();
        claims.id = TokenId::new(number, [9; 10]);
        world.refuses(&evil.token(&claims));
        claims.expires_at = START - 1_000;
        world.refuses(&world.signer.token(&claims));
    }
    assert_eq!(world.verifier.cache.bytes_and_len(), (bytes, len));
}

#[test]
fn the_cache_stays_within_its_bytes_and_keeps_what_is_asked_for() {
    let world = World::new();
    let bytes_max = 200_000;
    let cache = Cache::new(bytes_max);
    let known = Arc::new(Known::new(world.claims()));
    let text = |number: u32| format!("{number}{}", "x".repeat(200));
    let mut kept = 0;
    for number in 0..5_000 {
        cache.insert(&text(number), 1, &known, now());
        kept += usize::from(cache.find(&text(0), 1).is_some());
        assert!(cache.bytes_and_len().0 <= bytes_max);
    }
    assert_eq!(kept, 5_000, "asked for on every turn");
    let (bytes, len) = cache.bytes_and_len();
    assert!(len > 64 && bytes > bytes_max / 2, "{len} in {bytes}");
    let found = (0..5_000).filter(|&number| cache.find(&text(number), 1).is_some()).count();
    assert_eq!(found, len, "the table and the slots agree");
    let none = Cache::new(0);
    none.insert("text", 1, &known, now());
    assert!(none.find("text", 1).is_none());
}

#[test]
fn expired_tokens_leave_the_cache_first() {
    let world = World::new();
    let cache = Cache::new(32 * 20_000);
    let mut old = world.claims();
    old.expires_at = START + 20;
    let (old, young) = (Arc::new(Known::new(old)), Arc::new(Known::new(world.claims())));
    for number in 0..100 {
        cache.insert(&format!("old {number}"), 1, &old, now());
        cache.find(&format!("old {number}"), 1);
    }
    let later = Time::from_seconds(START + 100);
    for number in 0..5_000 {
        cache.insert(&format!("young {number}"), 1, &young, later);
    }
    let found = (0..100).filter(|number| cache.find(&format!("old {number}"), 1).is_some());
    assert_eq!(found.count(), 0);
}

/// A token of a user, by an agent that acts for them.
fn of_user(world: &World, user: PersonId) -> Principal {
    let mut claims = world.claims();
    claims.subject = user.any();
    claims.kind = SubjectKind::User;
    claims.chain = vec![Actor { agent: claims.client_id, instance: claims.instance }];
    world.accepts(&world.signer.token(&claims))
}

#[test]
fn a_token_of_a_user_is_of_use_in_that_users_context_alone() {
    let world = World::new();
    let [mia, tom] = [21, 22].map(|number| PersonId::new(1, [number; 10]));
    let (of_mia, own) = (of_user(&world, mia), world.accepts(&world.good()));
    let about = |user| Context { user, task: None };
    let (strict, waived) =
        (Demands::default(), Demands { user_unsaid: true, ..Demands::default() });
    for demands in [strict, waived] {
        assert_eq!(of_mia.fits(demands, about(Some(mia))), Ok(()));
        assert_eq!(of_mia.fits(demands, about(Some(tom))), Err(Rejection::OtherUser));
        assert_eq!(own.fits(demands, about(Some(tom))), Ok(()), "it speaks for nobody");
    }
    assert_eq!(of_mia.fits(strict, about(None)), Err(Rejection::UserUnsaid));
    assert_eq!(of_mia.fits(waived, about(None)), Ok(()));
}

#[test]
fn a_token_is_of_no_use_in_another_task_nor_too_far_from_its_root() {
    let world = World::new();
    let user = PersonId::new(1, [21; 10]);
    let (of_user, own) = (of_user(&world, user), world.accepts(&world.good()));
    let of_no_task = {
        let claims = AccessToken { further: Vec::new(), ..world.claims() };
        world.accepts(&world.signer.token(&claims))
    };
    let about = |task| Context { user: Some(user), task: Some(task) };
    let task = own.token().task().expect("one of a task");
    let (same, other) = (about(task), about(TaskId::new(9, [9; 10])));
    let demands = Demands::default();
    assert_eq!(own.fits(demands, same), Ok(()));
    assert_eq!(own.fits(demands, other), Err(Rejection::OtherTask));
    assert_eq!(of_no_task.fits(demands, same), Err(Rejection::OtherTask));
    assert_eq!(own.fits(demands, Context::default()), Ok(()), "the request declares none");
    let near = Demands { depth_max: Some(0), ..demands };
    assert_eq!(own.fits(near, same), Ok(()));
    assert_eq!(of_user.fits(near, same), Err(Rejection::ChainTooDeep { depth: 1, max: 0 }));
    let users = Demands { user_at_root: true, ..demands };
    assert_eq!(of_user.fits(users, same), Ok(()));
    assert_eq!(own.fits(users, same), Err(Rejection::NoUser));
}

#[test]
fn every_rejection_has_a_rule_a_hint_and_a_sentence() {
    let time = Time::from_seconds(1);
    let all = [
        Rejection::NoCredential,
        Rejection::NotBearer,
        Rejection::SeveralCredentials,
        Rejection::TokenInQuery,
        Rejection::MalformedHeader,
        Rejection::Token(JwsError::Signature),
        Rejection::UnknownKey,
        Rejection::Claims(ClaimsError::NotJson),
        Rejection::Biscuit(crate::biscuit::BiscuitError::Malformed),
        Rejection::Unheld,
        Rejection::NarrowedAway { needed: "a:b".to_owned() },
        Rejection::Binding,
        Rejection::NotBound,
        Rejection::ProofsUnchecked,
        Rejection::Proof(ProofError::Replayed),
        Rejection::Expired { expires_at: time },
        Rejection::NotYetValid { begins: time },
        Rejection::LivesTooLong,
        Rejection::Issuer,
        Rejection::Audience,
        Rejection::Revoked { id: AgentId::new(1, [1; 10]).any() },
        Rejection::InsufficientScope {
            needed: "a:b".to_owned(),
            held: "c:d".parse().expect("c:d"),
        },
        Rejection::NotAllowed { needed: "a:b".to_owned(), why: crate::authority::Denial::Time },
        Rejection::NoUser,
        Rejection::ChainTooDeep { depth: 2, max: 1 },
        Rejection::UserUnsaid,
        Rejection::OtherUser,
        Rejection::OtherTask,
        Rejection::Stale { age: None, age_max: Duration::ZERO },
        Rejection::Behind { token: 2, state: 1 },
    ];
    let rules: std::collections::BTreeSet<_> = all.iter().map(Rejection::rule).collect();
    assert_eq!(rules.len(), all.len());
    for rejection in all {
        let (text, rule) = (rejection.to_string(), rejection.rule());
        assert!(rule.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{rule}");
        assert!(!text.ends_with('.') && text.len() > 10 && rejection.hint().len() > 10, "{text}");
        assert!(matches!(rejection.status(), 400 | 401 | 403 | 503));
    }
}

#[test]
fn what_is_allowed_within_limits_is_asked_with_object_and_arguments() {
    let world = World::new();
    let mut claims = world.claims();
    let limited = [
        "crm:update(/customers/eu/*; amount<=100; currency in CHF,EUR)",
        "crm:close(until 2100-01-01T00:00:00Z)",
    ];
    let limited = Authority::new(limited.map(|text| text.parse().expect(text))).expect("bounded");
    claims.details = AuthorizationDetails::of(&limited);
    let principal = world.accepts(&world.signer.token(&claims));
    let now = now();
    let eur = |amount| Arguments::none().integer("amount", amount).text("currency", "EUR");
    let may =
        |action: &str, object, arguments: &Arguments| principal.may(action, object, arguments, now);
    assert_eq!(may("crm:update", Some("/customers/eu/7"), &eur(100)), Ok(()));
    assert_eq!(may("crm:close", None, &Arguments::none()), Ok(()));
    // Without limits, whatever the object and the arguments.
    assert_eq!(may("crm:read", Some("//"), &eur(1)), Ok(()));
    // What has limits is in no scope, and nobody who looks at scopes alone lets it through.
    assert!(!principal.allows("crm:update") && principal.require("crm:update").is_err());
    let end = Time::from_seconds(4_102_444_800);
    assert_eq!(principal.may("crm:close", None, &Arguments::none(), end), Ok(()));
    let after = Time::from_seconds(4_102_444_801);
    let late = principal.may("crm:close", None, &Arguments::none(), after);
    for (refused, why) in [
        (may("crm:update", Some("/customers/eu/7"), &eur(101)), "`amount`"),
        (may("crm:update", Some("/customers/us/7"), &eur(1)), "this object"),
        (may("crm:update", Some("/customers/eu/../us/7"), &eur(1)), "this object"),
        (may("crm:update", None, &eur(1)), "this object"),
        (may("crm:update", Some("/customers/eu/7"), &Arguments::none()), "`amount`"),
        (may("crm:updates", Some("/customers/eu/7"), &eur(1)), "action is not allowed"),
        (may("erp:update", Some("/customers/eu/7"), &eur(1)), "action is not allowed"),
        (may("update", Some("/customers/eu/7"), &eur(1)), "action is not allowed"),
        (may("crm:update(/customers/eu/*)", None, &eur(1)), "action is not allowed"),
        (late, "this time"),
    ] {
        let refused = refused.expect_err(why);
        assert_eq!(refused.code(), Some(ErrorCode::InsufficientScope));
        assert_eq!((refused.status(), refused.rule()), (403, "authorization-details-insufficient"));
        assert!(refused.to_string().contains(why), "{refused}");
    }
}

#[test]
fn pentest_21_details_that_are_not_ours_make_no_principal() {
    let world = World::new();
    let mut claims = world.claims();
    let held: Permission = "crm:update(amount<=100)".parse().expect("a permission");
    claims.details = AuthorizationDetails::of(&Authority::new([held]).expect("bounded"));
    let payload = String::from_utf8(claims.to_payload()).expect("text");
    let detail = r#"{"type":"accredit","resource":"crm","actions":["update"],"constraints":{"amount":{"max":100}}}"#;
    assert!(payload.contains(&format!(r#""authorization_details":[{detail}]"#)), "{payload}");
    for wrong in [
        r#"{"type":"accredit","resource":"crm","actions":["update"]}"#.to_owned(),
        detail.replace("accredit", "other"),
        detail.replace("\"max\":100", "\"max\":\"100\""),
        detail.replace("\"max\":100", "\"maximum\":100"),
        detail.replace("\"max\":100", "\"max\":null"),
        detail.replace("\"constraints\"", "\"constraint\""),
        detail.replace("\"resource\":\"crm\",", ""),
        detail.replace("\"resource\"", "\"locations\":[\"https://x/\"],\"resource\""),
    ] {
        let token =
            world.signer.sign(&world.signer.header(), payload.replace(detail, &wrong).as_bytes());
        let refused = world.refuses(&token);
        assert_eq!(
            refused,
            Rejection::Claims(ClaimsError::Malformed("authorization_details")),
            "{wrong}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_token_with_a_revoked_id_is_never_accepted(
        rev in 0u64..20,
        belows in prop::collection::vec(0u64..21, 1..6),
        places in prop::collection::vec(any::<prop::sample::Index>(), 6),
        warm: bool,
    ) {
        let world = World::new();
        let mut claims = world.claims();
        claims.rev = rev;
        let token = world.signer.token(&claims);
        if warm {
            world.accepts(&token);
        }
        let lineage: Vec<AnyId> = claims.lineage().collect();
        let entries: Vec<Entry> = belows
            .iter()
            .zip(&places)
            .map(|(&below, place)| Entry {
                target: *place.get(&lineage),
                below,
                keep_until: START + 10_000,
            })
            .collect();
        let state = State::new(1, 20, now(), &entries);
        world.verifier.set_standing(Standing::current(state, now()));
        let ends = |entry: &Entry| rev < entry.below || entry.target.kind() == Kind::Key;
        let dead = entries.iter().any(ends);
        prop_assert_eq!(world.answer(&token, now()).is_err(), dead);
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,60}", uri in "\\PC{0,60}") {
        let world = World::new();
        prop_assert!(world.verifier.verify_token(&text, now()).is_err());
        let head = RequestHead::new("GET", &uri, [text.as_bytes()]);
        prop_assert!(world.verifier.verify(&head, now()).is_err());
    }
}
