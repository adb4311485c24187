//! RFC 7800 proof of possession: a token that demands one is refused, since none is understood.
//!
//! DPoP (RFC 9449) and mutual TLS (RFC 8705) will be checked here. Until then a token with `cnf`
//! has no way through: to accept it as a bearer token would be to ignore what its issuer demanded.

use super::Rejection;
use crate::token::AccessToken;

/// Refuses a token that is bound to a key.
pub fn check(token: &AccessToken) -> Result<(), Rejection> {
    if token.demands_binding { Err(Rejection::Binding) } else { Ok(()) }
}
