//! RFC 9449 section 4.3, RFC 3986 section 6.2: the URI that a proof was made for, and the one that
//! we know ourselves to be.
//!
//! Ours comes from configuration: what a request says of the host it was sent to is the caller's
//! word. Query and fragment are left out of both. Two spellings of one URI are one: case of scheme
//! and host, the default port, an empty path, the case of `%xx`, and `%xx` of what needs none.
//!
//! Absent on purpose: removal of dot segments. Clients remove them before they send, so a path that
//! still has them is compared as it is.

use std::fmt;

/// The longest URI of a proof, in bytes.
pub const URI_BYTES_MAX: usize = 2048;

/// Why a text is no URI of a proof or of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UriError;

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected a URL such as `https://crm.example/api`: http or https, a host, no user",
        )
    }
}

impl std::error::Error for UriError {}

/// A URI without query and fragment, in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(String);

impl Target {
    /// Reads a URI of scheme `http` or `https`, of at most [`URI_BYTES_MAX`] bytes.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        if uri.len() > URI_BYTES_MAX {
            return Err(UriError);
        }
        let uri = before(uri, '#');
        let uri = before(uri, '?');
        let (scheme, rest) = uri.split_once("://").ok_or(UriError)?;
        let (scheme, default_port) = if scheme.eq_ignore_ascii_case("https") {
            ("https", "443")
        } else if scheme.eq_ignore_ascii_case("http") {
            ("http", "80")
        } else {
            return Err(UriError);
        };
        let path_at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let (host, port) = host_and_port(authority).ok_or(UriError)?;
        let mut text = String::with_capacity(uri.len() + 1);
        text.push_str(scheme);
        text.push_str("://");
        text.extend(host.chars().map(|letter| letter.to_ascii_lowercase()));
        if !port.is_empty() && port != default_port {
            text.push(':');
            text.push_str(port);
        }
        push_path(&mut text, path).ok_or(UriError)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a service is reached, as its operator configured it: scheme, host and perhaps the path that
/// a proxy before it takes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUri {
    /// In its one spelling, without a slash at the end.
    text: String,
}

impl BaseUri {
    /// Reads a base. It has neither query nor fragment.
    pub fn parse(uri: &str) -> Result<Self, UriError> {
        if uri.contains(['?', '#']) {
            return Err(UriError);
        }
        let Target(mut text) = Target::parse(uri)?;
        if text.ends_with('/') {
            text.pop();
        }
        Ok(Self { text })
    }

    /// The URI of a request that was sent for this path (and query), or for this whole URI: of that
    /// the path counts alone.
    pub fn at(&self, sent: &str) -> Result<Target, UriError> {
        let sent = before(before(sent, '#'), '?');
        let path = match sent.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
            None => sent,
        };
        if self.text.len() + path.len() > URI_BYTES_MAX {
            return Err(UriError);
        }
        let mut text = String::with_capacity(self.text.len() + path.len() + 1);
        text.push_str(&self.text);
        push_path(&mut text, path).ok_or(UriError)?;
        Ok(Target(text))
    }

    /// The text, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn before(text: &str, end: char) -> &str {
    text.split_once(end).map_or(text, |(before, _)| before)
}

/// Host and port of an authority without a user; the port may be empty.
fn host_and_port(authority: &str) -> Option<(&str, &str)> {
    let end = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    let (host, port) = match authority[end..].find(':') {
        Some(at) => (&authority[..end + at], &authority[end + at + 1..]),
        None => (authority, ""),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let is_literal = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(literal) => !literal.is_empty() && literal.bytes().all(is_literal),
        None => !host.is_empty() && host.bytes().all(is_host),
    };
    let port_fits = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (fits && port_fits).then_some((host, port))
}

/// Appends a path in its one spelling. `None` where it is none.
fn push_path(text: &mut String, path: &str) -> Option<()> {
    if path.is_empty() {
        text.push('/');
        return Some(());
    }
    if !path.starts_with('/') {
        return None;
    }
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let byte = hex(bytes.next()?)? << 4 | hex(bytes.next()?)?;
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    text.push(char::from(byte));
                } else {
                    text.push('%');
                    text.push(char::from(HEX[usize::from(byte >> 4)]));
                    text.push(char::from(HEX[usize::from(byte & 15)]));
                }
            }
            0x21..=0x7e => text.push(char::from(byte)),
            _ => return None,
        }
    }
    Some(())
}

const HEX: [u8; 16] = *b"0123456789ABCDEF";

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
