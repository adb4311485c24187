use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::form;
use crate::authority::{Scope, ScopeError};
use crate::binding::Confirmation;
use crate::oauth::authorization_details::{AuthorizationDetails, DetailsError};
use crate::oauth::errors::{ERROR_TEXT_BYTES_MAX, www_authenticate_basic, www_authenticate_bearer};
use crate::oauth::introspection::ActiveToken;
use crate::oauth::revocation::TokenTypeHint;
use crate::oauth::token_exchange::IssuedTokenType;
use crate::oauth::token_response::TokenType;
use crate::oauth::{
    ErrorBody, ErrorCode, Introspection, IntrospectionRequest, Rejection, RevocationRequest,
    TokenResponse,
};

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn scope(text: &str) -> Scope {
    text.parse().expect("a scope")
}

fn active() -> ActiveToken {
    ActiveToken {
        scope: scope("crm:read"),
        authorization_details: AuthorizationDetails::default(),
        client_id: "agt_x".into(),
        token_type: TokenType::Bearer,
        cnf: None,
        exp: 1_763_717_700,
        iat: 1_763_717_400,
        sub: "agt_x".into(),
        aud: "https://crm.example".into(),
        iss: "https://a.example/o/acme".into(),
        jti: "tok_x".into(),
        act: None,
        accredit: Some(json!({"rev": 7})),
    }
}

fn rejections() -> Vec<Rejection> {
    vec![
        Rejection::ContentType,
        Rejection::Details(DetailsError::NotJson),
        Rejection::Query,
        Rejection::BodyTooLarge,
        Rejection::TooManyParameters,
        Rejection::Encoding,
        Rejection::ParameterTwice(Some("scope")),
        Rejection::ParameterMissing("token"),
        Rejection::ParameterMalformed("client_id"),
        Rejection::GrantType("password".into()),
        Rejection::Scope(ScopeError::Charset),
        Rejection::Resource,
        Rejection::TooManyResources,
        Rejection::ExpiresIn,
        Rejection::Task,
        Rejection::DnsNames(crate::x509::dns_name::NotADnsName::Spelling),
        Rejection::ActorToken,
        Rejection::TokenType("subject_token_type"),
        Rejection::AuthorizationTwice,
        Rejection::AuthorizationScheme,
        Rejection::Basic,
        Rejection::Bearer(crate::api_key::ApiKeyError::Checksum),
        Rejection::TwoClientAuthentications,
        Rejection::ClientIdDiffers,
        Rejection::AssertionType,
        Rejection::Unauthenticated,
    ]
}

#[test]
fn every_rejection_has_its_own_rule_and_a_hint_in_plain_text() {
    let all = rejections();
    let rules: BTreeSet<&str> = all.iter().map(Rejection::rule).collect();
    assert_eq!(rules.len(), all.len());
    for rejection in all {
        let kebab = rejection.rule().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        assert!(kebab, "{}", rejection.rule());
        let body = rejection.body();
        assert_eq!(body.description(), rejection.to_string(), "nothing had to be cleaned");
        assert_eq!(body.hint(), Some(rejection.hint()));
        assert_eq!(body.rule(), Some(rejection.rule()));
        assert!(!body.description().ends_with('.'), "{body}");
    }
}

#[test]
fn codes_travel_as_the_standards_spell_them() {
    for code in ErrorCode::ALL {
        assert_eq!(serde_json::to_value(code).expect("serializes"), json!(code.as_str()));
        assert!((400..=503).contains(&code.status()));
    }
    assert_eq!(ErrorCode::InvalidClient.status(), 401);
    assert_eq!(ErrorCode::InsufficientScope.status(), 403);
    assert_eq!(ErrorCode::InvalidScope.status(), 400);
    assert!(serde_json::from_value::<ErrorCode>(json!("Invalid_Scope")).is_err());
}

#[test]
fn an_error_body_is_clean_on_both_sides() {
    let body = ErrorBody::new(ErrorCode::InvalidScope, "a \"b\"\r\nc\\d \u{1b}[31m\u{202e}")
        .with_hint("x\ty")
        .with_rule("scope-malformed");
    let sent = serde_json::to_value(&body).expect("serializes");
    let expected = json!({
        "error": "invalid_scope",
        "error_description": "a 'b'  c?d ?[31m?",
        "hint": "x y",
        "rule": "scope-malformed",
    });
    assert_eq!(sent, expected);
    assert_eq!(serde_json::from_value::<ErrorBody>(sent).expect("parses"), body);

    let hostile =
        r#"{"error":"server_error","error_description":"\u001b]0;x\u0007","hint":"a\nb"}"#;
    let read: ErrorBody = serde_json::from_str(hostile).expect("parses");
    assert_eq!((read.description(), read.hint()), ("?]0;x?", Some("a b")));
    let bare: ErrorBody = serde_json::from_str(r#"{"error":"invalid_grant"}"#).expect("parses");
    assert_eq!((bare.description(), bare.hint(), bare.rule()), ("", None, None));
    let long = ErrorBody::new(ErrorCode::ServerError, &"\u{e9}".repeat(5000));
    assert_eq!(long.description().len(), ERROR_TEXT_BYTES_MAX);
}

#[test]
fn a_bearer_challenge_says_what_is_needed() {
    assert_eq!(www_authenticate_bearer("https://i").to_string(), "Bearer realm=\"https://i\"");
    let scope = scope("crm:read");
    let full = www_authenticate_bearer("https://i")
        .error(ErrorCode::InsufficientScope, "needs `crm:read`")
        .scope(&scope)
        .resource_metadata("https://crm.example/.well-known/oauth-protected-resource");
    assert_eq!(
        full.to_string(),
        "Bearer realm=\"https://i\", error=\"insufficient_scope\", \
         error_description=\"needs `crm:read`\", scope=\"crm:read\", \
         resource_metadata=\"https://crm.example/.well-known/oauth-protected-resource\""
    );
}

#[test]
fn inactive_is_exactly_one_member() {
    let text = serde_json::to_string(&Introspection::Inactive).expect("serializes");
    assert_eq!(text, r#"{"active":false}"#);
    for inactive in [
        r#"{"active":false}"#,
        r#"{"active":false,"scope":"crm:read","client_id":"agt_x"}"#,
        r#"{"active":false,"exp":"garbage","scope":" "}"#,
    ] {
        let read: Introspection = serde_json::from_str(inactive).expect(inactive);
        assert_eq!(read, Introspection::Inactive);
    }
    for wrong in ["{}", r#"{"active":true}"#, r#"{"active":"true"}"#, r#"{"active":1}"#, "null"] {
        assert!(serde_json::from_str::<Introspection>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_active_answer_round_trips() {
    let answer = Introspection::Active(Box::new(active()));
    let sent = serde_json::to_value(&answer).expect("serializes");
    let expected = json!({
        "active": true, "scope": "crm:read", "client_id": "agt_x", "token_type": "Bearer",
        "exp": 1_763_717_700, "iat": 1_763_717_400, "sub": "agt_x", "aud": "https://crm.example",
        "iss": "https://a.example/o/acme", "jti": "tok_x", "accredit": {"rev": 7},
    });
    assert_eq!(sent, expected);
    let text = serde_json::to_string(&answer).expect("serializes");
    assert_eq!(serde_json::from_str::<Introspection>(&text).expect("parses"), answer);

    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let confirmation = Confirmation::Key(jkt.parse().expect("a thumbprint"));
    let token_type = TokenType::Dpop;
    let bound = ActiveToken { token_type, cnf: Some(confirmation), ..active() };
    let bound = Introspection::Active(Box::new(bound));
    let sent = serde_json::to_value(&bound).expect("serializes");
    assert_eq!((&sent["token_type"], &sent["cnf"]["jkt"]), (&json!("DPoP"), &json!(jkt)));
    assert_eq!(serde_json::from_value::<Introspection>(sent).expect("parses"), bound);

    let least = ActiveToken { scope: Scope::default(), accredit: None, ..active() };
    let sent = serde_json::to_value(Introspection::Active(Box::new(least))).expect("serializes");
    assert_eq!((sent.get("scope"), sent.get("accredit")), (None, None));
}

#[test]
fn a_token_is_required_and_its_hint_is_only_a_hint() {
    let read = |body: &str| IntrospectionRequest::parse(&form(body));
    let request = read("token=abc&token_type_hint=access_token").expect("a request");
    assert_eq!((request.token.expose(), request.hint), ("abc", Some(TokenTypeHint::AccessToken)));
    assert_eq!(read("token=abc&token_type_hint=x").expect("ignored").hint, None);
    assert_eq!(read("token=%00%C3%A9").expect("not judged here").token.expose(), "\0\u{e9}");
    assert_eq!(read("token=").err(), Some(Rejection::ParameterMissing("token")));
    assert!(!format!("{request:?}").contains("abc"));

    let read = |body: &str| RevocationRequest::parse(&form(body));
    let request = read("token=abc&token_type_hint=refresh_token").expect("a request");
    assert_eq!((request.token.expose(), request.hint), ("abc", Some(TokenTypeHint::RefreshToken)));
    assert_eq!(
        read("token_type_hint=access_token").err(),
        Some(Rejection::ParameterMissing("token"))
    );
    assert!(!format!("{request:?}").contains("abc"));
}

#[test]
fn a_token_response_is_what_the_standard_says_and_hides_its_token() {
    let response = TokenResponse {
        access_token: "hunter2".into(),
        token_type: TokenType::Bearer,
        expires_in: 300,
        scope: scope("crm:write crm:read"),
        issued_token_type: None,
        authorization_details: AuthorizationDetails::default(),
    };
    let text = serde_json::to_string(&response).expect("serializes");
    assert_eq!(
        text,
        r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":300,"scope":"crm:read crm:write"}"#
    );
    assert_eq!(serde_json::from_str::<TokenResponse>(&text).expect("parses"), response);
    assert!(!format!("{response:?}").contains("hunter2"));
    let lower = text.replace("Bearer", "bearer");
    assert!(serde_json::from_str::<TokenResponse>(&lower).is_ok());
    let bound = serde_json::from_str::<TokenResponse>(&text.replace("Bearer", "dpop"));
    assert_eq!(bound.expect("parses").token_type, TokenType::Dpop);
    for unknown in ["MAC", "N_A", "DPoP2", ""] {
        let text = text.replace("Bearer", unknown);
        let read = serde_json::from_str::<TokenResponse>(&text);
        assert!(read.is_err(), "an unknown type is not used");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_out_of_a_challenge(realm in "\\PC{0,40}", description in "[\\PC\"\\\\\r\n]{0,40}", url in "[\\PC\"\r\n]{0,40}") {
        let challenge = www_authenticate_bearer(&realm)
            .error(ErrorCode::InvalidToken, &description)
            .resource_metadata(&url)
            .to_string();
        // Two for each of the four members; a forged one would bring more.
        prop_assert_eq!(challenge.matches('"').count(), 8);
        prop_assert!(is_plain(&challenge.replace('"', "")));
        prop_assert_eq!(www_authenticate_basic(&realm).matches('"').count(), 4);
    }

    #[test]
    fn no_text_in_a_body_is_outside_the_charset(description in any::<String>(), hint in any::<String>()) {
        let body = ErrorBody::new(ErrorCode::InvalidRequest, &description).with_hint(&hint);
        prop_assert!(is_plain(body.description()) && body.hint().is_some_and(is_plain));
    }
}

#[test]
fn the_answer_written_by_hand_is_the_one_that_serde_writes() {
    let details = r#"[{"type":"accredit","resource":"crm","actions":["pay"],"object":"/a/*","constraints":{"to":{"equals":"\"\\é"}}}]"#;
    let details: AuthorizationDetails = serde_json::from_str(details).expect("details");
    let none = AuthorizationDetails::default();
    let scopes = ["", "crm:read", "crm:read crm:update ledger:post"];
    let kinds =
        [(TokenType::Bearer, &none), (TokenType::Dpop, &none), (TokenType::Bearer, &details)];
    for (scope, (token_type, details)) in
        scopes.iter().flat_map(|scope| kinds.map(|kind| (scope, kind)))
    {
        let scope: Scope = scope.parse().unwrap_or_default();
        let token = crate::secret::Secret::new("eyJh.eyJp-_9.c2ln".to_owned());
        let every = IssuedTokenType::ALL.map(Some);
        for issued in std::iter::once(None).chain(every) {
            let response = TokenResponse {
                access_token: token.expose().to_owned(),
                token_type,
                expires_in: 300,
                scope: scope.clone(),
                authorization_details: details.clone(),
                issued_token_type: issued.map(|issued| issued.uri().to_owned()),
            };
            let kind = (token_type, issued);
            let written = crate::oauth::token_response::json(&token, kind, 300, (&scope, details));
            assert_eq!(written, serde_json::to_string(&response).expect("plain data"));
        }
    }
}
