//! RFC 7523 section 2.2 and its successor: a client assertion, `private_key_jwt`.
//!
//! The audience is the issuer alone (the successor forbids the token endpoint: another server
//! could have been talked into naming it), the life a minute at most, and the type says what it
//! is, so that no other signed text of the same key passes for one.

use accredit_wire::jose::b64url_encode;
use accredit_wire::jose::jwk::PrivateJwk;
use accredit_wire::jose::jws::{ProtectedHeader, SigningInput};
use accredit_wire::secret::Secret;
use serde_json::json;

use super::token::AgentError;
use crate::ambient;

/// `client_assertion_type`.
pub(super) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How long an assertion lives, in seconds.
const ASSERTION_LIFE_MAX: i64 = 60;

/// A new assertion that `client_id` is the one who holds `key`.
pub(super) fn sign(key: &PrivateJwk, issuer: &str, client_id: &str) -> Result<Secret, AgentError> {
    let now = ambient::now().seconds();
    let jti = ambient::random::<16>().ok_or(AgentError::Signing)?;
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": issuer,
        "iat": now,
        "exp": now + ASSERTION_LIFE_MAX,
        "jti": b64url_encode(&jti),
    });
    let algorithm = key.key().algorithm();
    let header = ProtectedHeader::new("client-authentication+jwt", algorithm, key.kid())
        .map_err(|_| AgentError::Signing)?;
    let input = SigningInput::new(&header, claims.to_string().as_bytes())
        .map_err(|_| AgentError::Signing)?;
    let signature = key.key().sign(input.bytes()).map_err(|_| AgentError::Signing)?;
    Ok(Secret::new(input.finish(&signature)))
}
