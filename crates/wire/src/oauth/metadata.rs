//! RFC 8414, RFC 8705 section 3.3, draft-ietf-oauth-spiffe-client-auth-02 section 4: authorization server metadata, also served where OpenID Connect Discovery looks.
//!
//! The issuer comes from configuration, never from a request. Absent on purpose: everything
//! that is not offered (an authorization endpoint, PKCE, scopes, registration); a member is
//! added with the feature.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::authorization_details::DETAIL_TYPE;
use super::client_auth::{SELF_SIGNED_TLS_CLIENT_AUTH, SPIFFE_JWT, SPIFFE_X509, TLS_CLIENT_AUTH};
use super::token_request::Grant;
use crate::binding::dpop::PROOF_ALGORITHMS;

/// The client authentication methods of the token endpoint.
pub const AUTH_METHODS: [&str; 3] =
    ["client_secret_basic", "client_secret_post", "private_key_jwt"];

/// The signature algorithms of client assertions. Never `none` (RFC 8414 section 2).
pub const AUTH_SIGNING_ALGORITHMS: [&str; 2] = ["ES256", "EdDSA"];

/// The metadata document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The issuer, byte for byte what its URL was built from.
    pub issuer: String,
    /// Where tokens are asked for.
    pub token_endpoint: String,
    /// Where the token signing keys are.
    pub jwks_uri: String,
    /// Where a Resource asks about a token (RFC 7662).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection_endpoint: Option<String>,
    /// Where a client revokes a token (RFC 7009).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_endpoint: Option<String>,
    /// The grants.
    #[serde(default)]
    pub grant_types_supported: Vec<String>,
    /// Empty, and yet present: RFC 8414 section 2 makes this member REQUIRED, and there is no
    /// authorization endpoint whose response types could stand in it.
    #[serde(default)]
    pub response_types_supported: Vec<String>,
    /// The types of authorization details (RFC 9396 section 10).
    #[serde(default)]
    pub authorization_details_types_supported: Vec<String>,
    /// How a client authenticates at the token endpoint.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// With which algorithms it may sign.
    #[serde(default)]
    pub token_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// How a caller authenticates at the introspection endpoint: the same, and `Bearer` with one
    /// of our keys.
    #[serde(default)]
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    /// With which algorithms it may sign.
    #[serde(default)]
    pub introspection_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// How a client authenticates at the revocation endpoint.
    #[serde(default)]
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// With which algorithms it may sign.
    #[serde(default)]
    pub revocation_endpoint_auth_signing_alg_values_supported: Vec<String>,
    /// With which algorithms a proof of possession may be signed (RFC 9449 section 5.1).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// Whether tokens are bound to the certificate of the connection that they are asked for over (RFC
    /// 8705 section 3.3); left out where nobody is asked for one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// Where the status lists are named (Token Status List section 9.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_list_aggregation_endpoint: Option<String>,
    /// Ours: the signed snapshot of the revocation state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accredit_revocations_uri: Option<String>,
    /// Ours: its signed deltas, as server-sent events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accredit_feed_uri: Option<String>,
    /// Ours: where a follower says what it has applied; absent where nobody asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accredit_acknowledgements_uri: Option<String>,
    /// Ours: the keys that sign both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accredit_feed_jwks_uri: Option<String>,
    /// Ours: the keys that sign attenuable tokens; absent where none are issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accredit_biscuit_jwks_uri: Option<String>,
    /// Ours: the keys of the audit log's lanes, as C2SP vkeys. Filled in by the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accredit_log_keys: Vec<String>,
    /// Ours: how they followed one another, as signed notes, oldest first. Filled in by the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accredit_log_key_statements: Vec<String>,
}

impl Metadata {
    /// The document of `issuer`, which has no trailing slash.
    pub fn new(issuer: &str) -> Self {
        let at = |path: &str| format!("{issuer}{path}");
        let methods = AUTH_METHODS.map(str::to_owned).to_vec();
        let algorithms = AUTH_SIGNING_ALGORITHMS.map(str::to_owned).to_vec();
        let mut introspection_methods = methods.clone();
        introspection_methods.push("Bearer".to_owned());
        // JWT-SVIDs are instances', and only resources introspect.
        let mut methods = methods;
        methods.push(SPIFFE_JWT.to_owned());
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: at("/oauth/token"),
            jwks_uri: at("/.well-known/jwks.json"),
            introspection_endpoint: Some(at("/oauth/introspect")),
            revocation_endpoint: Some(at("/oauth/revoke")),
            grant_types_supported: Grant::NAMES.map(str::to_owned).to_vec(),
            response_types_supported: Vec::new(),
            authorization_details_types_supported: vec![DETAIL_TYPE.to_owned()],
            token_endpoint_auth_methods_supported: methods.clone(),
            token_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
            introspection_endpoint_auth_methods_supported: introspection_methods,
            introspection_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
            revocation_endpoint_auth_methods_supported: methods,
            revocation_endpoint_auth_signing_alg_values_supported: algorithms,
            dpop_signing_alg_values_supported: PROOF_ALGORITHMS.map(str::to_owned).to_vec(),
            tls_client_certificate_bound_access_tokens: false,
            status_list_aggregation_endpoint: Some(at("/status-lists")),
            accredit_revocations_uri: Some(at("/revocations")),
            accredit_feed_uri: Some(at("/revocations/feed")),
            accredit_acknowledgements_uri: Some(at("/revocations/acknowledgements")),
            accredit_feed_jwks_uri: Some(at("/.well-known/feed-jwks.json")),
            accredit_biscuit_jwks_uri: Some(at("/.well-known/biscuit-jwks.json")),
            accredit_log_keys: Vec::new(),
            accredit_log_key_statements: Vec::new(),
        }
    }

    /// The same where clients are asked for a certificate (RFC 8705). At the same addresses: whoever
    /// has none goes on without, so that there are no aliases (section 5).
    #[must_use]
    pub fn with_certificates(mut self) -> Self {
        let own = TLS_CLIENT_AUTH.to_owned();
        let registered = SELF_SIGNED_TLS_CLIENT_AUTH.to_owned();
        // Certificates of ours are instances', and only resources introspect.
        self.introspection_endpoint_auth_methods_supported.push(registered.clone());
        for methods in [
            &mut self.token_endpoint_auth_methods_supported,
            &mut self.revocation_endpoint_auth_methods_supported,
        ] {
            methods.extend([own.clone(), registered.clone(), SPIFFE_X509.to_owned()]);
        }
        self.tls_client_certificate_bound_access_tokens = true;
        self
    }

    /// For a client: whether the document is that of `expected`, the issuer from which the
    /// client built the URL. RFC 8414 section 3.3: "The "issuer" value returned MUST be identical
    /// to the authorization server's issuer identifier value".
    pub fn check(&self, expected: &str) -> Result<(), MetadataError> {
        if self.issuer == expected { Ok(()) } else { Err(MetadataError::IssuerDiffers) }
    }
}

/// The addresses at which clients look for the metadata of one issuer, in the order in which
/// they try them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WellKnown {
    /// RFC 8414 section 3.1: inserted between host and path.
    pub authorization_server: String,
    /// RFC 8414 section 5: the same with the name that OpenID Connect uses.
    pub openid_inserted: String,
    /// OpenID Connect Discovery section 4: appended to the issuer.
    pub openid_appended: String,
}

impl WellKnown {
    /// The addresses for `issuer`: an https URL without user, query and fragment; http only where
    /// the host is this machine.
    pub fn of(issuer: &str) -> Result<Self, MetadataError> {
        let (origin, path) = split(issuer).ok_or(MetadataError::IssuerMalformed)?;
        Ok(Self {
            authorization_server: format!("{origin}/.well-known/oauth-authorization-server{path}"),
            openid_inserted: format!("{origin}/.well-known/openid-configuration{path}"),
            openid_appended: format!("{origin}{path}/.well-known/openid-configuration"),
        })
    }

    /// The three in order.
    pub fn urls(&self) -> [&str; 3] {
        [&self.authorization_server, &self.openid_inserted, &self.openid_appended]
    }
}

/// The origin and the path of an issuer. RFC 8414 section 3.1: "any terminating "/" MUST be
/// removed before inserting".
fn split(issuer: &str) -> Option<(&str, &str)> {
    let authority_at = issuer.find("://")? + 3;
    let path_at = issuer[authority_at..].find('/').map_or(issuer.len(), |at| authority_at + at);
    let (origin, path) = issuer.split_at(path_at);
    let host_and_port = &origin[authority_at..];
    let local = ["127.0.0.1", "[::1]", "localhost"].into_iter().any(|host| {
        let port = host_and_port.strip_prefix(host);
        port.is_some_and(|port| port.is_empty() || port.starts_with(':'))
    });
    let scheme_is_safe = match &issuer[..authority_at] {
        "https://" => true,
        "http://" => local,
        _ => false,
    };
    let plain = issuer.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"".contains(&byte));
    let has_host = !host_and_port.is_empty() && !host_and_port.starts_with(':');
    (scheme_is_safe && plain && has_host).then(|| (origin, path.strip_suffix('/').unwrap_or(path)))
}

/// Why metadata is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataError {
    /// The document speaks for another issuer than the one it was asked of.
    IssuerDiffers,
    /// The issuer is not an https URL without user, query and fragment.
    IssuerMalformed,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IssuerDiffers => {
                "the metadata names another issuer than the one it was fetched from: check the \
                 issuer's spelling, a trailing slash counts"
            }
            Self::IssuerMalformed => {
                "expected an issuer such as `https://auth.example.com/o/acme`: https, without \
                 user, query and fragment (http only for this machine)"
            }
        })
    }
}

impl std::error::Error for MetadataError {}
