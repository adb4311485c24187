//! Every parser of `accredit-wire` that a stranger's bytes reach, one function each.
//!
//! The fuzzer calls them with what it invents; a plain test calls them with the corpus. None may
//! panic, and what is accepted must be the one spelling of what it says.

use accredit_wire::api_key::ApiKey;
use accredit_wire::authority::{Authority, Scope};
use accredit_wire::ids::AnyId;
use accredit_wire::jose::jwk::{Jwk, JwkSet, PrivateJwk};
use accredit_wire::jose::jws::Unverified;
use accredit_wire::jose::jwt::Claims;
use accredit_wire::json::Json;
use accredit_wire::oauth::client_auth::{BearerKeys, ClientAuth};
use accredit_wire::oauth::form::Form;
use accredit_wire::oauth::token_request::TokenRequest;
use accredit_wire::time::Time;
use accredit_wire::tlog::checkpoint::Checkpoint;
use accredit_wire::tlog::export::Auditor;
use accredit_wire::tlog::leaf::Entry;
use accredit_wire::tlog::note::Vkey;
use accredit_wire::tlog::tile::{TilePath, decode_bundle};

/// A target's name and what it does with some bytes.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    ("api_key", api_key),
    ("authority", authority),
    ("client_auth", client_auth),
    ("export", export),
    ("form", form),
    ("id", id),
    ("json", json),
    ("jwk", jwk),
    ("jws", jws),
    ("leaf", leaf),
    ("note", note),
    ("scope", scope),
    ("tile", tile),
    ("time", time),
];

/// Runs one target by name: how the fuzzer calls it.
pub(crate) fn run(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = found.expect("a target of this name");
    target(bytes);
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn api_key(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = ApiKey::parse(text);
    }
}

fn authority(bytes: &[u8]) {
    if let Ok(authority) = serde_json::from_slice::<Authority>(bytes) {
        let again = serde_json::to_vec(&authority).expect("plain data");
        assert_eq!(
            serde_json::from_slice::<Authority>(&again).expect("what was written"),
            authority
        );
        assert!(authority.covers(&authority));
    }
}

fn client_auth(bytes: &[u8]) {
    let (header, body) = bytes.split_at(bytes.len() / 2);
    if let Ok(form) = Form::parse(body) {
        let _ = ClientAuth::from_request(&[header], &form, BearerKeys::Taken);
        let _ = ClientAuth::from_request(&[], &form, BearerKeys::Refused);
    }
}

fn export(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let mut auditor = Auditor::new(Vec::new());
    text.lines().for_each(|line| auditor.line(line));
    let report = auditor.finish();
    assert!(!report.ok || report.findings.is_empty());
}

fn form(bytes: &[u8]) {
    if let Ok(form) = Form::parse(bytes) {
        let _ = TokenRequest::parse(&form);
    }
}

fn id(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(id) = text.parse::<AnyId>()
    {
        assert_eq!(id.to_string(), text, "one id, one spelling");
    }
}

fn json(bytes: &[u8]) {
    if let Ok(json) = Json::parse(bytes, 64 * 1024) {
        let written = serde_json::to_vec(&json).expect("plain data");
        assert!(Json::parse(&written, 1024 * 1024).is_ok());
    }
}

fn jwk(bytes: &[u8]) {
    if let Ok(jwk) = Jwk::parse(bytes) {
        assert_eq!(jwk.thumbprint().len(), 43);
    }
    let _ = JwkSet::parse(bytes);
    let _ = PrivateJwk::parse(bytes);
}

fn jws(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(unverified) = Unverified::parse(text)
    {
        assert!(unverified.peek_unverified_kid().is_none_or(|kid| kid.len() <= 256));
        let _ = unverified.peek_unverified_issuer();
    }
    let _ = Claims::parse(bytes);
}

fn leaf(bytes: &[u8]) {
    if let Ok(entry) = Entry::decode(bytes) {
        assert_eq!(entry.encode().expect("what was read"), bytes, "one entry, one spelling");
    }
}

fn note(bytes: &[u8]) {
    if let Some(text) = text(bytes) {
        let _ = text.parse::<Vkey>();
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(Checkpoint::parse(&checkpoint.to_string()), Ok(checkpoint));
        }
    }
    let _ = accredit_wire::tlog::note::open(bytes, &[]);
}

fn scope(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(scope) = text.parse::<Scope>()
    {
        assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
    }
}

fn tile(bytes: &[u8]) {
    let _ = decode_bundle(bytes);
    if let Some(text) = text(bytes)
        && let Ok(path) = text.parse::<TilePath>()
    {
        assert_eq!(path.to_string(), text, "one tile, one path");
    }
}

fn time(bytes: &[u8]) {
    if let Some(text) = text(bytes)
        && let Ok(time) = text.parse::<Time>()
    {
        assert_eq!(time.to_string().parse::<Time>(), Ok(time));
    }
}
