//! RFC 7519 and RFC 9068: what a token says, in plain words, without verifying it.
//!
//! Nothing here is a decision: anybody can write a token that says anything. The library's
//! `Verifier` and the server's introspection decide.

use std::fmt::Write as _;
use std::path::Path;

use accredit_wire::biscuit::{self, Held};
use accredit_wire::time::Time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::context::Context;
use crate::errors::{Failure, one_line};
use crate::input;
use crate::output::{line, shown};

/// The most hops of a chain that are told.
const HOPS_MAX: usize = 32;

/// Reads a token and says what it says.
pub(super) async fn run(file: &Path, cx: &Context) -> Result<(), Failure> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || input::text(&path)).await;
    let text = read.unwrap_or_else(|_| Err(Failure::interrupted()))?;
    let decoded = decode(&text)?;
    if cx.out.is_json() {
        return cx.out.json(&decoded.to_string());
    }
    cx.out.say("NOT VERIFIED: this is what the token claims; no signature was checked");
    let null = Value::Null;
    let claims = decoded.get("claims").unwrap_or(&null);
    let header = decoded.get("header").unwrap_or(&null);
    let mut facts = facts(header, claims, cx.now);
    facts.extend(decoded.get("blocks").and_then(added).map(|text| ("added since", text)));
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().try_for_each(|(name, text)| line(&format!("{name:width$}  {text}")))
}

/// Header and claims of the token in a text: the token itself, or a token endpoint's answer.
pub(super) fn decode(text: &str) -> Result<Value, Failure> {
    let answer: Option<Value> = serde_json::from_str(text).ok();
    let inner = answer.as_ref().and_then(|answer| answer.get("access_token")?.as_str());
    let token = inner.unwrap_or(text).trim();
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let wrong = |detail: &str| {
        // The text may be a secret that was piped in by mistake: it is not repeated.
        Failure::usage(
            "this is not a signed token",
            detail,
            "pipe in a token: accredit token get … | accredit token inspect",
        )
    };
    if token.starts_with("acr_") {
        return Err(wrong("it is a machine secret, which says nothing and must stay secret"));
    }
    if biscuit::is_biscuit(token) {
        return Held::read(token).map(|held| attenuable(&held)).map_err(|_| {
            wrong("it looks like an attenuable token, and is not one in our vocabulary")
        });
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else {
        return Err(wrong("a JWT has three parts with dots between them"));
    };
    let part = |text: &str| -> Option<Value> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        serde_json::from_slice(&bytes).ok().filter(Value::is_object)
    };
    let (Some(header), Some(claims)) = (part(header), part(claims)) else {
        return Err(wrong("a part of it is not base64url of a JSON object"));
    };
    Ok(json!({"verified": false, "header": header, "claims": claims}))
}

/// What remains of an attenuable token after all that was added to it, in the claims of a JWT.
fn attenuable(held: &Held) -> Value {
    let says = held.says();
    let claims: Value = serde_json::from_slice(&says.token().to_payload()).unwrap_or_default();
    let header = json!({"typ": "biscuit", "alg": "EdDSA", "kid": says.token().key.to_string()});
    let blocks = json!({
        "added": says.narrowings().len(),
        "unnamed": says.unnamed_narrowings(),
        "uninterpreted": says.uninterpreted().collect::<Vec<_>>(),
    });
    json!({"verified": false, "header": header, "claims": claims, "blocks": blocks})
}

/// What was added to an attenuable token, in words.
fn added(blocks: &Value) -> Option<String> {
    let number = |name: &str| blocks.get(name).and_then(Value::as_u64).unwrap_or_default();
    let blocks_of_others = blocks.get("uninterpreted")?.as_array()?.len();
    let mut text = format!("{} blocks", number("added"));
    if number("unnamed") > 0 {
        let _ = write!(text, "; the last {} name no holder", number("unnamed"));
    }
    if blocks_of_others > 0 {
        let _ = write!(text, "; {blocks_of_others} are not in the vocabulary and may forbid more");
    }
    Some(text)
}

/// What the token says, a fact a line.
fn facts(header: &Value, claims: &Value, now: Time) -> Vec<(&'static str, String)> {
    let claim = |name: &str| claims.get(name).filter(|value| !value.is_null());
    let own = |name: &str| claims.get("accredit")?.get(name).filter(|value| !value.is_null());
    let mut facts = Vec::new();
    let mut tell = |name, value: Option<String>| facts.extend(value.map(|text| (name, text)));
    tell(
        "kind",
        header.get("typ").map(|kind| match kind.as_str() {
            Some("at+jwt" | "application/at+jwt") => "access token (RFC 9068)".to_owned(),
            Some("biscuit") => "attenuable token (Biscuit v3), as it was narrowed".to_owned(),
            _ => shown(kind),
        }),
    );
    tell(
        "signed with",
        Some(format!(
            "{}, key {}",
            shown(header.get("alg").unwrap_or(&Value::Null)),
            shown(header.get("kid").unwrap_or(&Value::Null))
        )),
    );
    tell("issued by", claim("iss").map(shown));
    tell(
        "stands for",
        claim("sub").map(|subject| match own("kind").and_then(Value::as_str) {
            Some(kind) => format!("{} {}", one_line(kind), shown(subject)),
            None => shown(subject),
        }),
    );
    tell("held by agent", claim("client_id").map(shown));
    tell("instance", own("ins").map(shown));
    tell("acting", chain(claims));
    tell("acting unnamed", unnamed(claims));
    tell("good at", claim("aud").map(shown));
    tell("may", Some(claim("scope").map_or_else(|| "nothing (no scope)".to_owned(), shown)));
    tell("may within limits", claim("authorization_details").map(shown));
    tell("may pass on", Some(own("dlg").map_or_else(|| "nothing".to_owned(), shown)));
    tell("hops", own("depth").map(shown));
    tell("issued at", claim("iat").and_then(|at| instant(at, now)));
    tell("expires at", claim("exp").and_then(|at| instant(at, now)));
    tell("token id", claim("jti").map(shown));
    tell(
        "ends with",
        own("lin").map(|lineage| format!("{} (any of them, when revoked)", shown(lineage))),
    );
    tell("decided at rev", own("rev").map(shown));
    let mut all: Vec<&str> =
        claims.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    all.retain(|name| {
        ![
            "iss",
            "sub",
            "client_id",
            "act",
            "aud",
            "scope",
            "authorization_details",
            "iat",
            "exp",
            "jti",
            "accredit",
        ]
        .contains(name)
    });
    tell("also says", (!all.is_empty()).then(|| one_line(&all.join(", "))));
    facts
}

/// Who impersonates the subject, newest first: they stand in our own claim alone.
fn unnamed(claims: &Value) -> Option<String> {
    let parties = claims.pointer("/accredit/by")?.as_array()?;
    let names: Vec<String> = parties.iter().filter_map(|one| one.get("sub")).map(shown).collect();
    (!names.is_empty()).then(|| names.join(" for "))
}

/// The chain, newest first, where somebody acts for somebody (RFC 8693 section 4.1).
fn chain(claims: &Value) -> Option<String> {
    let mut actor = claims.get("act")?;
    let mut text = String::new();
    for _ in 0..HOPS_MAX {
        text += &shown(actor.get("sub").unwrap_or(&Value::Null));
        match actor.get("act") {
            Some(next) => actor = next,
            None => return Some(text),
        }
        text += ", before it ";
    }
    Some(text + "…")
}

/// A NumericDate as a time and its distance from now.
fn instant(value: &Value, now: Time) -> Option<String> {
    let at = Time::from_seconds(value.as_i64()?);
    let (distance, side) =
        if at > now { (at.since(now), "from now") } else { (now.since(at), "ago") };
    let seconds = distance.as_secs();
    let text = match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    };
    Some(format!("{at} ({text} {side})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    fn sample() -> (Value, Value) {
        (
            json!({"alg": "ES256", "kid": "key_1", "typ": "at+jwt"}),
            json!({"iss": "https://id.example/o/dev", "sub": "usr_1", "client_id": "agt_2",
                "aud": "https://crm.example", "scope": "crm:read", "iat": 1_763_717_400,
                "exp": 1_763_717_700, "jti": "tok_1", "extra\u{1b}": 1,
                "act": {"sub": "agt_2", "act": {"sub": "agt_1"}},
                "accredit": {"v": 1, "kind": "user", "ins": "ins_1", "rev": 17, "depth": 1,
                    "lin": ["org_1"], "dlg": [{"resource": "crm", "actions": ["read"]}]},
                "authorization_details": [{"type": "accredit", "resource": "crm",
                    "actions": ["update"], "constraints": {"amount": {"max": 100}}}]}),
        )
    }

    #[test]
    fn a_token_is_told_in_plain_words_and_never_called_verified() {
        let (header, claims) = sample();
        let decoded = decode(&format!("{}\n", token(&header, &claims))).expect("a token");
        assert_eq!(decoded["verified"], false);
        assert_eq!(decoded["claims"], claims);
        let now = Time::from_seconds(1_763_717_460);
        let facts = facts(&header, &claims, now);
        let fact = |name: &str| {
            facts.iter().find(|(found, _)| *found == name).map(|(_, text)| text.as_str())
        };
        assert_eq!(fact("stands for"), Some("user usr_1"));
        assert_eq!(fact("acting"), Some("agt_2, before it agt_1"));
        assert_eq!(fact("may"), Some("crm:read"));
        assert_eq!(fact("may within limits"), Some("crm:update(amount<=100)"));
        assert_eq!(fact("may pass on"), Some("crm:read"));
        assert_eq!(fact("issued at"), Some("2025-11-21T09:30:00Z (60 s ago)"));
        assert_eq!(fact("expires at"), Some("2025-11-21T09:35:00Z (4 min from now)"));
        assert_eq!(fact("also says"), Some("extra\\u{1b}"));
    }

    #[test]
    fn a_token_endpoints_answer_is_read_as_well() {
        let (header, claims) = sample();
        let answer = json!({"access_token": token(&header, &claims), "token_type": "Bearer"});
        assert_eq!(decode(&answer.to_string()).expect("a token")["header"], header);
    }

    #[test]
    fn what_is_no_token_is_refused_and_not_repeated() {
        for text in
            ["", "a.b", "a.b.c.d", "acr_agent_s3cret", "s3cret", "e30.W10.c2ln", "{}", "e30=.e30.x"]
        {
            let failure = decode(text).expect_err(text);
            assert!(!format!("{failure:?}").contains("s3cret"), "the text is repeated");
        }
    }
}
