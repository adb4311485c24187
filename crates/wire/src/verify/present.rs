//! RFC 6750 section 2: which credential a request presents. Exactly one, in the header.
//!
//! Absent on purpose: tokens in the body (section 2.2) and in the query (section 2.3, which
//! RFC 9700 section 4.3.2 forbids): a token in a URL ends up in logs. A request that has one is
//! refused even if it also has a header, since somebody before or behind us may read the other.

use super::Rejection;

/// What of a request decides who sends it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// Path and query, or the whole URI, as it was sent.
    pub uri: &'a str,
    authorization: Authorization<'a>,
}

/// The values of the `Authorization` header.
#[derive(Clone, Copy, Debug)]
enum Authorization<'a> {
    None,
    One(&'a [u8]),
    Several,
}

impl<'a> RequestHead<'a> {
    /// The head of a request; `authorization` are the values of *all* its `Authorization` headers.
    pub fn new(
        method: &'a str,
        uri: &'a str,
        authorization: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let mut values = authorization.into_iter();
        let authorization = match (values.next(), values.next()) {
            (None, _) => Authorization::None,
            (Some(value), None) => Authorization::One(value),
            (Some(_), Some(_)) => Authorization::Several,
        };
        Self { method, uri, authorization }
    }
}

/// The bearer token of a request.
pub fn bearer_token<'a>(head: &RequestHead<'a>) -> Result<&'a str, Rejection> {
    if has_token_in_query(head.uri) {
        return Err(Rejection::TokenInQuery);
    }
    let value = match head.authorization {
        Authorization::None => return Err(Rejection::NoCredential),
        Authorization::Several => return Err(Rejection::SeveralCredentials),
        Authorization::One(value) => value,
    };
    let value = std::str::from_utf8(value).map_err(|_| Rejection::MalformedHeader)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    // RFC 9110 section 11.1: the scheme is case-insensitive.
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::NotBearer);
    }
    // RFC 9110 section 11.4: one or more spaces before the token.
    let token = token.trim_start_matches(' ');
    if token.is_empty() || !is_token68(token) {
        return Err(Rejection::MalformedHeader);
    }
    Ok(token)
}

/// RFC 6750 section 2.1: `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
///
/// Without early ends, so that the compiler looks at many bytes at once: this runs over every
/// token, remembered or not, and byte by byte took longer than all the rest.
fn is_token68(text: &str) -> bool {
    let is_one = |byte: u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        let digit_or_slash = byte.wrapping_sub(b'/') < 11;
        let dash_or_dot = byte.wrapping_sub(b'-') < 2;
        let (underscore, tilde) = (byte == b'_', byte == b'~');
        let (plus, equals) = (byte == b'+', byte == b'=');
        letter | digit_or_slash | dash_or_dot | underscore | tilde | plus | equals
    };
    text.bytes().fold(true, |all, byte| all & is_one(byte))
}

fn has_token_in_query(uri: &str) -> bool {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token")
}
