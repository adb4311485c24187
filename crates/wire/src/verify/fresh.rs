//! RFC 7519 sections 4.1.4 to 4.1.6: `exp`, `nbf` and `iat` against the time, on every call.

use std::time::Duration;

use super::Rejection;
use crate::time::Time;
use crate::token::AccessToken;

/// The longest life of an access token, from `iat` to `exp`, for who issues and who verifies.
/// Entries of the revocation graph are kept for as long and twice the skew: a token that lives
/// longer could outlive what ended it.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_hours(1);

/// Checks a token's times at the server's time, as far as it is known here. Clocks may differ by
/// `skew`.
pub fn check(token: &AccessToken, time: Time, skew: Duration) -> Result<(), Rejection> {
    let expires_at = Time::from_seconds(token.expires_at);
    let issued_at = Time::from_seconds(token.issued_at);
    if expires_at.since(issued_at) > TOKEN_LIFE_MAX {
        return Err(Rejection::LivesTooLong);
    }
    // RFC 7519 section 4.1.4: "the expiration time on or after which the JWT MUST NOT be
    // accepted".
    if time >= expires_at.plus(skew) {
        return Err(Rejection::Expired { expires_at });
    }
    let begins = token
        .not_before
        .map_or(issued_at, |not_before| Time::from_seconds(not_before).max(issued_at));
    if begins > time.plus(skew) {
        return Err(Rejection::NotYetValid { begins });
    }
    Ok(())
}
