use proptest::prelude::*;

use crate::oauth::Metadata;
use crate::oauth::metadata::{MetadataError, WellKnown};

const ISSUER: &str = "https://auth.example.com/o/acme";

#[test]
fn the_document_is_the_one_we_publish() {
    let mut metadata = Metadata::new(ISSUER);
    metadata.accredit_log_keys.push("auth.example.com/o/acme/log/0+530d903a+AekyeRrm".into());
    let expected = r#"{
  "issuer": "https://auth.example.com/o/acme",
  "token_endpoint": "https://auth.example.com/o/acme/oauth/token",
  "jwks_uri": "https://auth.example.com/o/acme/.well-known/jwks.json",
  "introspection_endpoint": "https://auth.example.com/o/acme/oauth/introspect",
  "revocation_endpoint": "https://auth.example.com/o/acme/oauth/revoke",
  "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
  "response_types_supported": [],
  "authorization_details_types_supported": ["accredit"],
  "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt"],
  "token_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA"],
  "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "Bearer"],
  "introspection_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA"],
  "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt", "spiffe_jwt"],
  "revocation_endpoint_auth_signing_alg_values_supported": ["ES256", "EdDSA"],
  "dpop_signing_alg_values_supported": ["ES256", "EdDSA"],
  "status_list_aggregation_endpoint": "https://auth.example.com/o/acme/status-lists",
  "accredit_revocations_uri": "https://auth.example.com/o/acme/revocations",
  "accredit_feed_uri": "https://auth.example.com/o/acme/revocations/feed",
  "accredit_acknowledgements_uri": "https://auth.example.com/o/acme/revocations/acknowledgements",
  "accredit_feed_jwks_uri": "https://auth.example.com/o/acme/.well-known/feed-jwks.json",
  "accredit_biscuit_jwks_uri": "https://auth.example.com/o/acme/.well-known/biscuit-jwks.json",
  "accredit_log_keys": ["auth.example.com/o/acme/log/0+530d903a+AekyeRrm"]
}"#;
    let expected: serde_json::Value = serde_json::from_str(expected).expect("JSON");
    assert_eq!(serde_json::to_value(&metadata).expect("serializes"), expected);
    let text = serde_json::to_string(&metadata).expect("serializes");
    assert_eq!(serde_json::from_str::<Metadata>(&text).expect("parses"), metadata);
}

#[test]
fn only_the_same_bytes_are_the_same_issuer() {
    let metadata = Metadata::new(ISSUER);
    assert_eq!(metadata.check(ISSUER), Ok(()));
    for other in [
        "https://auth.example.com/o/acme/",
        "https://auth.example.com/o/Acme",
        "https://AUTH.example.com/o/acme",
        "https://auth.example.com:443/o/acme",
        "https://auth.example.com/o/acme2",
        "https://auth.example.com/o/acm",
        "http://auth.example.com/o/acme",
        "",
    ] {
        assert_eq!(metadata.check(other), Err(MetadataError::IssuerDiffers), "{other}");
    }
}

#[test]
fn a_document_of_another_server_is_read_with_what_it_has() {
    let text = r#"{"issuer":"https://x","token_endpoint":"https://x/t","jwks_uri":"https://x/k",
        "response_types_supported":["code"],"unknown":{"a":1}}"#;
    let metadata: Metadata = serde_json::from_str(text).expect("parses");
    assert_eq!(metadata.introspection_endpoint, None);
    let twice = text.replacen('{', r#"{"issuer":"https://y","#, 1);
    assert!(serde_json::from_str::<Metadata>(&twice).is_err(), "two issuers");
}

#[test]
fn the_well_known_addresses_are_inserted_and_appended() {
    let known = WellKnown::of(ISSUER).expect("an issuer");
    assert_eq!(
        known.urls(),
        [
            "https://auth.example.com/.well-known/oauth-authorization-server/o/acme",
            "https://auth.example.com/.well-known/openid-configuration/o/acme",
            "https://auth.example.com/o/acme/.well-known/openid-configuration",
        ]
    );
    for issuer in ["https://h", "https://h/"] {
        let known = WellKnown::of(issuer).expect("an issuer");
        assert_eq!(known.authorization_server, "https://h/.well-known/oauth-authorization-server");
        assert_eq!(known.openid_inserted, known.openid_appended);
    }
    for local in ["http://127.0.0.1:8080/o/a", "http://[::1]:1/o/a", "http://localhost/o/a"] {
        assert!(WellKnown::of(local).is_ok(), "{local}");
    }
}

#[test]
fn what_is_not_an_issuer_has_no_addresses() {
    for wrong in [
        "",
        "auth.example.com",
        "https://",
        "https:///o/a",
        "https://:1/o/a",
        "http://auth.example.com/o/a",
        "http://localhost.evil/o/a",
        "http://127.0.0.10/o/a",
        "ftp://h/o/a",
        "HTTPS://h",
        "https://h/o/a?x",
        "https://h/o/a#x",
        "https://u@h/o/a",
        "https://h\\@x",
        "https://h/o a",
        "https://h/\u{e9}",
    ] {
        assert_eq!(WellKnown::of(wrong), Err(MetadataError::IssuerMalformed), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_issuer_makes_it_panic(issuer in "(https?)?(://)?\\PC{0,30}") {
        let _ = WellKnown::of(&issuer);
    }
}
