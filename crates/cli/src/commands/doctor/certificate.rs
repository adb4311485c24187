//! RFC 5280: when a certificate ends, and for whom it is.
//!
//! Only the leaf is read, and of it only the end of its validity; the name is matched by the TLS
//! library. Absent on purpose: trust. Whether others trust the chain, they say when they connect.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

/// A DER sequence.
const SEQUENCE: u8 = 0x30;
/// The version, explicitly tagged.
const VERSION: u8 = 0xa0;
/// UTCTime.
const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate as far as it is looked at.
pub(super) struct Seen {
    /// Its end, seconds since 1970.
    pub(super) not_after: i64,
    leaf: CertificateDer<'static>,
}

impl Seen {
    /// Whether it is for this name or address.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        rustls::server::ParsedCertificate::try_from(&self.leaf)
            .is_ok_and(|leaf| rustls::client::verify_server_name(&leaf, &name).is_ok())
    }
}

/// Reads the first certificate of a file.
pub(super) fn read(file: &Path) -> Result<Seen, String> {
    let broken = |error: rustls::pki_types::pem::Error| format!("`{}`: {error}", file.display());
    let mut chain = CertificateDer::pem_file_iter(file).map_err(broken)?;
    let leaf = chain.next().ok_or_else(|| format!("`{}` holds none", file.display()))?;
    let leaf = leaf.map_err(broken)?;
    let not_after = not_after(&leaf)
        .ok_or_else(|| format!("the end of `{}` cannot be read", file.display()))?;
    Ok(Seen { not_after, leaf })
}

/// One element of DER: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

fn content(bytes: &[u8], expected: u8) -> Option<&[u8]> {
    element(bytes).filter(|(tag, ..)| *tag == expected).map(|(_, content, _)| content)
}

/// `Certificate.tbsCertificate.validity.notAfter` (RFC 5280 section 4.1.2.5).
fn not_after(der: &[u8]) -> Option<i64> {
    let mut rest = content(content(der, SEQUENCE)?, SEQUENCE)?;
    if element(rest)?.0 == VERSION {
        rest = element(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, _, after) = element(content(rest, SEQUENCE)?)?;
    let (tag, text, _) = element(after)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match tag {
        // "Where YY is greater than or equal to 50, the year SHALL be interpreted as 19YY"
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_that_ends_early_is_refused() {
        for bytes in
            [&[][..], &[0x30], &[0x30, 2, 1], &[0x30, 0x82, 1], &[0x30, 0x80], &[0x30, 0x84]]
        {
            assert!(element(bytes).is_none(), "{bytes:?}");
            assert!(not_after(bytes).is_none());
        }
        assert_eq!(element(&[4, 0x81, 1, 7, 9]), Some((4, &[7][..], &[9][..])));
    }
}
