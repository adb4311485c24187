//! RFC 6749 section 2.3.1, RFC 7521 section 4.2, RFC 7523 section 2, RFC 8705 section 2 and
//! draft-ietf-oauth-spiffe-client-auth-02 section 3: how a client authenticates, exactly one way per request. An assertion that is the grant itself is one of the
//! ways; the certificate of the connection is one where the request has none.
//!
//! Shared by the token, introspection and revocation endpoints. Nothing is verified here:
//! assertions and secrets pass through unread, and unknown client and wrong secret stay
//! indistinguishable because this file knows neither.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::errors::{www_authenticate_basic, www_authenticate_bearer};
use super::form::{Form, decode};
use super::rejection::Rejection;
use super::token_request::JWT_BEARER;
use crate::api_key::ApiKey;
use crate::binding::PeerCertificate;
use crate::secret::Secret;

/// The longest client id, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 256;

/// The longest client secret or key, in bytes.
pub const SECRET_BYTES_MAX: usize = 512;

/// The longest client assertion, in bytes.
pub const ASSERTION_BYTES_MAX: usize = 16 * 1024;

/// The longest base64 text of `Basic` credentials: room for every character as `%XX`.
pub const BASIC_BYTES_MAX: usize = 4096;

/// The `client_assertion_type` of an assertion by a registered key (RFC 7523 section 2.2).
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The `client_assertion_type` of a JWT-SVID (draft-ietf-oauth-spiffe-client-auth-02 section 3.1).
pub const SVID_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The method of a client that shows a JWT-SVID (draft-ietf-oauth-spiffe-client-auth-02 section 4).
pub const SPIFFE_JWT: &str = "spiffe_jwt";

/// The method of a client that shows an X.509-SVID and says its SPIFFE ID (the same).
pub const SPIFFE_X509: &str = "spiffe_x509";

/// The method of a client that shows a certificate of ours (RFC 8705 section 2.1).
pub const TLS_CLIENT_AUTH: &str = "tls_client_auth";

/// The method of a client that shows a certificate with a key that it registered (RFC 8705 section
/// 2.2).
pub const SELF_SIGNED_TLS_CLIENT_AUTH: &str = "self_signed_tls_client_auth";

/// How a client authenticates, and with what. `Debug` shows no secret and no assertion.
#[derive(Clone)]
pub enum ClientAuth {
    /// `client_secret_basic`: id and secret in the `Authorization` header.
    SecretBasic {
        /// The client's id, 1 to [`CLIENT_ID_BYTES_MAX`] printable ASCII characters.
        client_id: String,
        /// The secret, 1 to [`SECRET_BYTES_MAX`] printable ASCII characters.
        secret: Secret,
    },
    /// `client_secret_post`: id and secret in the body.
    SecretPost {
        /// The client's id, as above.
        client_id: String,
        /// The secret, as above.
        secret: Secret,
    },
    /// `private_key_jwt`: a signed assertion in the body.
    Assertion {
        /// `client_id` in the body, where it is sent. It must equal the assertion's subject; only
        /// who verifies the assertion can check that.
        client_id: Option<String>,
        /// The assertion, unread, at most [`ASSERTION_BYTES_MAX`].
        assertion: String,
    },
    /// `spiffe_jwt`: a JWT-SVID in the body, in the place of an assertion.
    Svid {
        /// `client_id` in the body, where it is sent: the SPIFFE ID, or the agent's id.
        client_id: Option<String>,
        /// The JWT-SVID, unread, at most [`ASSERTION_BYTES_MAX`].
        assertion: String,
    },
    /// An assertion that is the grant (RFC 7523 section 2.1): whoever asks is whom it speaks for, and
    /// proves itself with nothing else.
    Grant {
        /// `client_id` in the body, where it is sent: which agent it wants to be.
        client_id: Option<String>,
        /// The assertion, unread, at most [`ASSERTION_BYTES_MAX`].
        assertion: String,
    },
    /// `tls_client_auth` or `self_signed_tls_client_auth`, of which only who knows the certificate can
    /// tell which: the certificate of the connection, whose key its client has proved to hold.
    Certificate {
        /// The client's id, as above: an id of ours, or the SPIFFE ID in the certificate.
        client_id: String,
        /// The certificate, unread.
        certificate: PeerCertificate,
    },
    /// One of our keys as a bearer credential; its text has passed [`ApiKey::parse`]. A token is
    /// never taken here, so a token under introspection cannot be its own credential.
    Bearer(Secret),
}

/// Whether an endpoint takes one of our keys as a bearer credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerKeys {
    /// It does: introspection (RFC 7662 section 2.1) and revocation.
    Taken,
    /// It does not: the token endpoint.
    Refused,
}

impl ClientAuth {
    /// Reads the one way in which a request authenticates.
    ///
    /// `authorization` holds the value of every `Authorization` header. RFC 6749 section 2.3:
    /// "The client MUST NOT use more than one authentication method in each request."
    pub fn from_request(
        authorization: &[&[u8]],
        form: &Form,
        bearer: BearerKeys,
    ) -> Result<Self, Rejection> {
        let header = match authorization {
            [] => None,
            [value] => Some(*value),
            _ => return Err(Rejection::AuthorizationTwice),
        };
        let secret = form.get("client_secret");
        let assertion = form.get("client_assertion");
        let kind = form.get("client_assertion_type");
        let ways = [header.is_some(), secret.is_some(), assertion.is_some() || kind.is_some()];
        if ways.into_iter().filter(|used| *used).count() > 1 {
            return Err(Rejection::TwoClientAuthentications);
        }
        let client_id = form.get("client_id");
        if client_id.is_some_and(|id| !is_visible(id, CLIENT_ID_BYTES_MAX)) {
            return Err(Rejection::ParameterMalformed("client_id"));
        }
        match (header, secret) {
            (Some(value), _) => from_header(value, client_id, bearer),
            (None, Some(secret)) => post(client_id, secret),
            (None, None) if assertion.is_some() || kind.is_some() => {
                signed(client_id, kind, assertion)
            }
            (None, None) => Err(Rejection::Unauthenticated),
        }
    }

    /// The same at the token endpoint, where an assertion may be the grant: beside one nothing else
    /// may say who asks.
    pub fn from_token_request(authorization: &[&[u8]], form: &Form) -> Result<Self, Rejection> {
        if form.get("grant_type") != Some(JWT_BEARER) {
            return Self::from_request(authorization, form, BearerKeys::Refused);
        }
        let others = ["client_secret", "client_assertion", "client_assertion_type"];
        if !authorization.is_empty() || others.iter().any(|name| form.get(name).is_some()) {
            return Err(Rejection::TwoClientAuthentications);
        }
        let client_id = form.get("client_id");
        if client_id.is_some_and(|id| !is_visible(id, CLIENT_ID_BYTES_MAX)) {
            return Err(Rejection::ParameterMalformed("client_id"));
        }
        let assertion = form.require("assertion")?;
        if !is_visible(assertion, ASSERTION_BYTES_MAX) {
            return Err(Rejection::ParameterMalformed("assertion"));
        }
        let client_id = client_id.map(str::to_owned);
        Ok(Self::Grant { client_id, assertion: assertion.to_owned() })
    }

    /// What was read of a request, or the certificate of its connection where the request itself has
    /// nothing but the client's id.
    ///
    /// RFC 8705 section 2: "the client MUST include the `client_id` parameter". A request that
    /// authenticates otherwise does so over whatever connection.
    pub fn or_certificate(
        read: Result<Self, Rejection>,
        form: &Form,
        certificate: Option<&PeerCertificate>,
    ) -> Result<Self, Rejection> {
        match (read, certificate, form.get("client_id")) {
            (Err(Rejection::Unauthenticated), Some(certificate), Some(client_id)) => {
                let (client_id, certificate) = (client_id.to_owned(), certificate.clone());
                Ok(Self::Certificate { client_id, certificate })
            }
            (read, _, _) => read,
        }
    }

    /// The client that is claimed, where the request says so outside an assertion or key.
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::SecretBasic { client_id, .. }
            | Self::SecretPost { client_id, .. }
            | Self::Certificate { client_id, .. } => Some(client_id),
            Self::Assertion { client_id, .. }
            | Self::Svid { client_id, .. }
            | Self::Grant { client_id, .. } => client_id.as_deref(),
            Self::Bearer(_) => None,
        }
    }

    /// The name of the method in metadata and in events.
    pub const fn method(&self) -> &'static str {
        match self {
            Self::SecretBasic { .. } => "client_secret_basic",
            Self::SecretPost { .. } => "client_secret_post",
            Self::Assertion { .. } => "private_key_jwt",
            Self::Svid { .. } => SPIFFE_JWT,
            Self::Grant { .. } => "jwt_bearer",
            // As what it turns out to be, who knows the certificate says.
            Self::Certificate { .. } => TLS_CLIENT_AUTH,
            Self::Bearer(_) => "bearer_key",
        }
    }

    /// The `WWW-Authenticate` value for when this does not prove the client: RFC 6749 section 5.2
    /// wants the scheme that the client used. None where it did not use the header.
    pub fn challenge(&self, realm: &str) -> Option<String> {
        match self {
            Self::SecretBasic { .. } => Some(www_authenticate_basic(realm)),
            Self::Bearer(_) => Some(www_authenticate_bearer(realm).to_string()),
            Self::SecretPost { .. }
            | Self::Assertion { .. }
            | Self::Svid { .. }
            | Self::Grant { .. }
            | Self::Certificate { .. } => None,
        }
    }
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ClientAuth");
        shown.field("method", &self.method());
        shown.field("client_id", &self.client_id()).finish_non_exhaustive()
    }
}

/// The `Authorization` value of `client_secret_basic`, for clients.
pub fn authorization_basic(client_id: &str, secret: &Secret) -> Secret {
    let mut pair = Zeroizing::new(String::new());
    pair.extend(form_urlencoded::byte_serialize(client_id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.expose().as_bytes()));
    Secret::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes()))))
}

fn from_header(
    value: &[u8],
    client_id: Option<&str>,
    bearer: BearerKeys,
) -> Result<ClientAuth, Rejection> {
    let at = value.iter().position(|byte| *byte == b' ').ok_or(Rejection::AuthorizationScheme)?;
    let (scheme, credential) = (&value[..at], &value[at + 1..]);
    if scheme.eq_ignore_ascii_case(b"basic") {
        basic(credential, client_id)
    } else if scheme.eq_ignore_ascii_case(b"bearer") && bearer == BearerKeys::Taken {
        // A key names its own holder; a second name beside it could only contradict it.
        if client_id.is_some() {
            return Err(Rejection::ClientIdDiffers);
        }
        let text = std::str::from_utf8(credential).unwrap_or_default();
        ApiKey::parse(text).map_err(Rejection::Bearer)?;
        Ok(ClientAuth::Bearer(Secret::new(text.to_owned())))
    } else {
        Err(Rejection::AuthorizationScheme)
    }
}

/// RFC 6749 section 2.3.1: id and secret are form-encoded first, then joined and base64-encoded.
fn basic(credential: &[u8], client_id: Option<&str>) -> Result<ClientAuth, Rejection> {
    if credential.len() > BASIC_BYTES_MAX {
        return Err(Rejection::Basic);
    }
    let pair = Zeroizing::new(STANDARD.decode(credential).map_err(|_| Rejection::Basic)?);
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(Rejection::Basic)?;
    let id = decode(&pair[..colon]).ok_or(Rejection::Basic)?;
    let secret = decode(&pair[colon + 1..]).ok_or(Rejection::Basic)?;
    let well_formed = is_visible(id.expose(), CLIENT_ID_BYTES_MAX)
        && is_visible(secret.expose(), SECRET_BYTES_MAX);
    if !well_formed {
        return Err(Rejection::Basic);
    }
    if client_id.is_some_and(|other| other != id.expose()) {
        return Err(Rejection::ClientIdDiffers);
    }
    Ok(ClientAuth::SecretBasic { client_id: id.expose_owned(), secret })
}

fn post(client_id: Option<&str>, secret: &str) -> Result<ClientAuth, Rejection> {
    let client_id = client_id.ok_or(Rejection::ParameterMissing("client_id"))?.to_owned();
    if !is_visible(secret, SECRET_BYTES_MAX) {
        return Err(Rejection::ParameterMalformed("client_secret"));
    }
    Ok(ClientAuth::SecretPost { client_id, secret: Secret::new(secret.to_owned()) })
}

fn signed(
    client_id: Option<&str>,
    kind: Option<&str>,
    assertion: Option<&str>,
) -> Result<ClientAuth, Rejection> {
    let kind = kind.ok_or(Rejection::ParameterMissing("client_assertion_type"))?;
    if kind != ASSERTION_TYPE && kind != SVID_ASSERTION_TYPE {
        return Err(Rejection::AssertionType);
    }
    let assertion = assertion.ok_or(Rejection::ParameterMissing("client_assertion"))?;
    if !is_visible(assertion, ASSERTION_BYTES_MAX) {
        return Err(Rejection::ParameterMalformed("client_assertion"));
    }
    let (client_id, assertion) = (client_id.map(str::to_owned), assertion.to_owned());
    if kind == SVID_ASSERTION_TYPE {
        return Ok(ClientAuth::Svid { client_id, assertion });
    }
    Ok(ClientAuth::Assertion { client_id, assertion })
}

/// RFC 6749 appendix A.1: `VSCHAR = %x20-7E`, here at least one and at most `max`.
fn is_visible(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}
