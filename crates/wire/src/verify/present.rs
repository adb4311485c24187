//! RFC 6750 section 2, RFC 9449 section 7.1: which credential a request presents. Exactly one, in the header.
//!
//! Absent on purpose: tokens in the body (section 2.2) and in the query (section 2.3, which
//! RFC 9700 section 4.3.2 forbids): a token in a URL ends up in logs. A request that has one is
//! refused even if it also has a header, since somebody before or behind us may read the other.

use super::Rejection;
use crate::binding::Thumbprint;
use crate::binding::dpop::{self, ProofError};

/// What of a request decides who sends it.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method, such as `GET`.
    pub method: &'a str,
    /// Path and query, or the whole URI, as it was sent.
    pub uri: &'a str,
    authorization: Header<'a>,
    proof: Header<'a>,
    certificate: Option<Thumbprint>,
}

/// The values of one header.
#[derive(Clone, Copy, Debug)]
enum Header<'a> {
    None,
    One(&'a [u8]),
    Several,
}

impl<'a> Header<'a> {
    fn of(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => Self::One(value),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

impl<'a> RequestHead<'a> {
    /// The head of a request; `authorization` are the values of *all* its `Authorization` headers.
    pub fn new(
        method: &'a str,
        uri: &'a str,
        authorization: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let authorization = Header::of(authorization);
        Self { method, uri, authorization, proof: Header::None, certificate: None }
    }

    /// The same with the values of *all* its `DPoP` headers.
    #[must_use]
    pub fn with_proofs(self, proofs: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self { proof: Header::of(proofs), ..self }
    }

    /// The same where it came over a TLS connection whose client has proved to hold the key of this
    /// certificate (RFC 8705 section 3). Never from a header that anybody may send.
    #[must_use]
    pub fn with_certificate(self, certificate: Option<Thumbprint>) -> Self {
        Self { certificate, ..self }
    }

    /// The certificate of its connection.
    pub(super) fn certificate(&self) -> Option<Thumbprint> {
        self.certificate
    }

    /// The one proof of possession.
    pub(super) fn proof(&self) -> Result<&'a str, ProofError> {
        match self.proof {
            Header::None => dpop::the_one([]),
            Header::One(value) => dpop::the_one([value]),
            Header::Several => Err(ProofError::Several),
        }
    }
}

/// How a token is presented (RFC 9110 section 11.1, the scheme).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 6750: whoever has it may use it.
    Bearer,
    /// RFC 9449 section 7.1: with a proof that its key is held.
    Dpop,
}

impl Scheme {
    /// The scheme with this name, whatever its case.
    pub fn named(name: &str) -> Option<Self> {
        [("bearer", Self::Bearer), ("dpop", Self::Dpop)]
            .into_iter()
            .find_map(|(known, scheme)| known.eq_ignore_ascii_case(name).then_some(scheme))
    }
}

/// The token of a request, and how it is presented.
pub fn presented<'a>(head: &RequestHead<'a>) -> Result<(Scheme, &'a str), Rejection> {
    if has_token_in_query(head.uri) {
        return Err(Rejection::TokenInQuery);
    }
    let value = match head.authorization {
        Header::None => return Err(Rejection::NoCredential),
        Header::Several => return Err(Rejection::SeveralCredentials),
        Header::One(value) => value,
    };
    let value = std::str::from_utf8(value).map_err(|_| Rejection::MalformedHeader)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    // RFC 9110 section 11.1: the scheme is case-insensitive.
    let scheme = Scheme::named(scheme).ok_or(Rejection::NotBearer)?;
    // RFC 9110 section 11.4: one or more spaces before the token.
    let token = token.trim_start_matches(' ');
    if token.is_empty() || !is_token68(token) {
        return Err(Rejection::MalformedHeader);
    }
    Ok((scheme, token))
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
