//! RFC 8707 section 2: resource indicators, the URIs that name who a token is for.
//!
//! One rule for the audience with which a resource is registered and for the `resource` that a
//! client asks with, so that whatever can be registered can be asked for. Absent on purpose:
//! taking a URI apart or normalizing it. Indicators are compared as bytes.

/// The longest resource indicator, in bytes.
pub const RESOURCE_BYTES_MAX: usize = 512;

/// Whether the text is a resource indicator: "Its value MUST be an absolute URI, as specified by
/// Section 4.3 of \[RFC3986\] ... The URI MUST NOT include a fragment component", of at most
/// [`RESOURCE_BYTES_MAX`] bytes.
///
/// RFC 3986 section 4.3: `absolute-URI = scheme ":" hier-part [ "?" query ]`; here with something
/// after the colon.
pub fn is_one(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let scheme_is_one = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    scheme_is_one
        && !rest.is_empty()
        && text.len() <= RESOURCE_BYTES_MAX
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&byte))
        && rest.split('%').skip(1).all(|escape| {
            let digits = escape.as_bytes();
            digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
        })
}
