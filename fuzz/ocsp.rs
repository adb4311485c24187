//! The parser of OCSP requests of `accredit-wire`, apart from the other targets because it is behind a
//! feature.

use accredit_wire::crypto::{Algorithm, PrivateKey};
use accredit_wire::time::Time;
use accredit_wire::x509::certificate::{Life, Named};
use accredit_wire::x509::ocsp::{QUESTIONS_MAX, Status, UnsignedAnswer, parse, parse_text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// In both forms the same is read, within its bounds, and whatever is asked can be answered.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_text(text);
    }
    let read = parse(bytes);
    assert_eq!(read, parse_text(&STANDARD.encode(bytes)), "one request in two forms");
    let Ok(questions) = read else { return };
    assert!((1..=QUESTIONS_MAX).contains(&questions.len()));
    let (key, _) = PrivateKey::generate(Algorithm::Es256).expect("a key");
    let key = key.public().expect("its public half");
    let of_nobody = Named::new("nobody", &key);
    for question in &questions {
        assert_eq!(question.is_of(of_nobody).ok(), Some(false), "a new key is asked about by none");
    }
    let life = Life { from: Time::from_seconds(1), until: Time::from_seconds(2) };
    let said: Vec<_> = questions.into_iter().map(|question| (question, Status::Good)).collect();
    UnsignedAnswer::new(&key, life, &said).expect("an answer");
}

/// Of how many certificates the seed asks.
pub(crate) fn asked(bytes: &[u8]) -> usize {
    parse(bytes).map_or(0, |questions| questions.len())
}
