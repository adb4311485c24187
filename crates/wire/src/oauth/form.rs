//! RFC 6749 appendix B: `application/x-www-form-urlencoded` request bodies, read strictly.
//!
//! The usual decoders keep a bad `%` as it stands and replace what is not UTF-8, so that two
//! readers can see two requests; this one refuses. Values are wiped when dropped and never
//! printed, since secrets and tokens travel in them.

use std::fmt;

use zeroize::Zeroizing;

use super::rejection::Rejection;
use crate::secret::Secret;

/// The longest form body, in bytes.
pub const FORM_BYTES_MAX: usize = 64 * 1024;

/// The most parameters in one form body.
pub const FORM_PARAMETERS_MAX: usize = 64;

/// The parameters that may stand more than once (RFC 8707 section 2, RFC 8693 section 2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

/// The parameters that an error may name when they stand twice.
const NAMED: [&str; 25] = [
    "grant_type",
    "scope",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "expires_in",
    "token",
    "token_type_hint",
    "assertion",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "task",
    "purpose",
    "reason",
    "agent",
    "name",
    "csr",
    "dns_names",
    "join_token",
    "jwk",
    "selectors",
    "process",
    "instance",
];

/// Whether a `Content-Type` value says that the body is a form: the type in any case, and at
/// most the parameter `charset=utf-8`.
pub fn content_type_is_form(value: &str) -> bool {
    let (kind, parameter) = match value.split_once(';') {
        Some((kind, parameter)) => (kind, Some(parameter)),
        None => (value, None),
    };
    let blank = |letter| matches!(letter, ' ' | '\t');
    kind.trim_matches(blank).eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && parameter.is_none_or(|parameter| {
            let parameter = parameter.trim_matches(blank);
            ["charset=utf-8", "charset=\"utf-8\""]
                .iter()
                .any(|known| parameter.eq_ignore_ascii_case(known))
        })
}

/// The parameters of a request, in the order sent. `Debug` shows their names only.
pub struct Form(Vec<(Secret, Secret)>);

impl Form {
    /// Reads a request: its `Content-Type`, the query of its URL, and its body.
    pub fn from_request(
        content_type: Option<&str>,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Self, Rejection> {
        if query.is_some_and(|query| !query.is_empty()) {
            return Err(Rejection::Query);
        }
        if !content_type.is_some_and(content_type_is_form) {
            return Err(Rejection::ContentType);
        }
        Self::parse(body)
    }

    /// Reads a body.
    ///
    /// RFC 6749 section 3.2: "Parameters sent without a value MUST be treated as if they were
    /// omitted from the request. [...] Request and response parameters MUST NOT be included more
    /// than once." An empty parameter still counts as sent for the second sentence.
    pub fn parse(body: &[u8]) -> Result<Self, Rejection> {
        if body.len() > FORM_BYTES_MAX {
            return Err(Rejection::BodyTooLarge);
        }
        let mut parameters: Vec<(Secret, Secret)> = Vec::new();
        for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if parameters.len() == FORM_PARAMETERS_MAX {
                return Err(Rejection::TooManyParameters);
            }
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match at {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &[][..]),
            };
            let name = decode(name).ok_or(Rejection::Encoding)?;
            let sent = parameters.iter().any(|(known, _)| known.expose() == name.expose());
            if sent && !REPEATABLE.contains(&name.expose()) {
                let known = NAMED.into_iter().find(|known| *known == name.expose());
                return Err(Rejection::ParameterTwice(known));
            }
            parameters.push((name, decode(value).ok_or(Rejection::Encoding)?));
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter; none where it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of a parameter that may repeat, without empty ones.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(known, value)| known.expose() == name && !value.expose().is_empty())
            .map(|(_, value)| value.expose())
    }

    /// The value of a parameter that must be there.
    pub fn require(&self, name: &'static str) -> Result<&str, Rejection> {
        self.get(name).ok_or(Rejection::ParameterMissing(name))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form")?;
        f.debug_list().entries(self.0.iter().map(|(name, _)| name.expose())).finish()
    }
}

/// Decodes one name or value: `+` is a space, `%XX` a byte, and the whole must be UTF-8.
pub(crate) fn decode(text: &[u8]) -> Option<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text;
    // Nearly all of a token stands for itself.
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'+' | b'%')) {
        let (plain, encoded) = rest.split_at(at);
        bytes.extend_from_slice(plain);
        rest = match encoded {
            [b'%', high, low, rest @ ..] => {
                bytes.push((hex(*high)? << 4) | hex(*low)?);
                rest
            }
            [b'+', rest @ ..] => {
                bytes.push(b' ');
                rest
            }
            _ => return None,
        };
    }
    bytes.extend_from_slice(rest);
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Some(Secret::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            None
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
