//! RFC 7009: token revocation.
//!
//! The answer is 200 without a body whether or not the token existed; there is nothing to model.

use super::form::Form;
use super::rejection::Rejection;
use crate::secret::Secret;

/// What is to be revoked.
#[derive(Clone, Debug)]
pub struct RevocationRequest {
    /// The token, unread.
    pub token: Secret,
    /// What the caller thinks it is. Never a reason not to look further.
    pub hint: Option<TokenTypeHint>,
}

impl RevocationRequest {
    /// Reads the parameters; unknown ones are ignored.
    pub fn parse(form: &Form) -> Result<Self, Rejection> {
        let token = Secret::new(form.require("token")?.to_owned());
        Ok(Self { token, hint: TokenTypeHint::from_form(form) })
    }
}

/// A `token_type_hint`: those that the standard registers (RFC 7009 section 4.1.2), and one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTypeHint {
    /// `access_token`.
    AccessToken,
    /// `refresh_token`.
    RefreshToken,
    /// `jwt_svid`: the token is no access token, and whoever says so knows it.
    JwtSvid,
}

impl TokenTypeHint {
    /// RFC 7009 section 2.2.1: "An invalid token type hint value is ignored by the authorization
    /// server".
    pub(super) fn from_form(form: &Form) -> Option<Self> {
        match form.get("token_type_hint")? {
            "access_token" => Some(Self::AccessToken),
            "refresh_token" => Some(Self::RefreshToken),
            "jwt_svid" => Some(Self::JwtSvid),
            _ => None,
        }
    }
}
