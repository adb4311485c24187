//! RFC 9440: `Client-Cert`, in which a proxy that ends TLS says which certificate its client has shown.
//!
//! Whoever sends a request can send this header, so that it is worth what the proxy is worth: it is read
//! on a connection whose client has itself proved to be such a proxy, by a certificate that the operator
//! named, and on no other. An address proves nothing: on the proxy's machine others have it, too. The
//! proxy has to take the header out of what it was sent, as section 2.4 demands.
//!
//! Absent on purpose: `Client-Cert-Chain`, since nobody here builds paths, and the forms that other
//! proxies have of their own (`X-Forwarded-Client-Cert` and the like).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::binding::{PeerCertificate, Thumbprint};

/// The header's name, in lower case.
pub const HEADER: &str = "client-cert";

/// The longest certificate in it, bytes of DER.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

/// Certificates of proxies that are believed.
pub const PROXIES_MAX: usize = 64;

/// The header is there, and says nothing that could be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`Client-Cert` is not one certificate, as base64 of its DER between colons")
    }
}

impl std::error::Error for Malformed {}

/// The certificate in the values of *all* `Client-Cert` headers of a request; none where there is none.
pub fn read<'v>(
    values: impl IntoIterator<Item = &'v [u8]>,
) -> Result<Option<PeerCertificate>, Malformed> {
    let mut values = values.into_iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(Malformed),
    };
    // RFC 8941 section 3.3.5: a byte sequence. Section 2.1 gives it no parameters.
    let base64 = value.trim_ascii().strip_prefix(b":").and_then(|rest| rest.strip_suffix(b":"));
    let base64 = base64.filter(|text| text.len() <= CERTIFICATE_BYTES_MAX.div_ceil(3) * 4);
    let der = base64.and_then(|text| STANDARD.decode(text).ok()).ok_or(Malformed)?;
    if der.is_empty() || der.len() > CERTIFICATE_BYTES_MAX {
        return Err(Malformed);
    }
    Ok(Some(PeerCertificate::new(&der)))
}

/// Which proxies are believed, by the certificates that they show themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedCertificates(Vec<Thumbprint>);

impl TrustedCertificates {
    /// Reads SHA-256 fingerprints of certificates, separated by commas: 64 hexadecimal digits each,
    /// with colons between or without, as OpenSSL prints them.
    pub fn parse(text: &str) -> Result<Self, TrustedError> {
        let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let all: Vec<Thumbprint> = each.map(fingerprint).collect::<Result<_, _>>()?;
        if all.len() > PROXIES_MAX {
            return Err(TrustedError::TooMany);
        }
        Ok(Self(all))
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the holder of a certificate is believed.
    pub fn trusts(&self, certificate: &PeerCertificate) -> bool {
        self.0.contains(&certificate.thumbprint())
    }
}

impl fmt::Display for TrustedCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, thumbprint) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            thumbprint.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

fn fingerprint(text: &str) -> Result<Thumbprint, TrustedError> {
    let digits: String = text.chars().filter(|letter| *letter != ':').collect();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(TrustedError::Malformed);
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = &digits[2 * at..2 * at + 2];
        *byte = u8::from_str_radix(pair, 16).map_err(|_| TrustedError::Malformed)?;
    }
    Ok(Thumbprint::of_digest(bytes))
}

/// A text does not say which proxies are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedError {
    /// One of them is no fingerprint.
    Malformed,
    /// More than [`PROXIES_MAX`].
    TooMany,
}

impl fmt::Display for TrustedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("expected SHA-256 fingerprints of certificates"),
            Self::TooMany => write!(f, "there are more than {PROXIES_MAX}"),
        }
    }
}

impl std::error::Error for TrustedError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(value: &[u8]) -> Result<Option<PeerCertificate>, Malformed> {
        read([value])
    }

    #[test]
    fn a_certificate_is_base64_between_colons_and_comes_once() {
        let der = [7; 300];
        let value = format!(":{}:", STANDARD.encode(der));
        assert_eq!(one(value.as_bytes()), Ok(Some(PeerCertificate::new(&der))));
        assert_eq!(one(format!(" {value}\t").as_bytes()), Ok(Some(PeerCertificate::new(&der))));
        assert_eq!(read([]), Ok(None));
        assert_eq!(read([value.as_bytes(), value.as_bytes()]), Err(Malformed));
        let twice = format!("{value}, {value}");
        let parameter = format!("{value};a=1");
        let pem = "-----BEGIN CERTIFICATE-----";
        let bare = STANDARD.encode(der);
        let unpadded = format!(":{}:", STANDARD.encode([7; 2]).trim_end_matches('='));
        let long = format!(":{}:", STANDARD.encode(vec![7; CERTIFICATE_BYTES_MAX + 1]));
        for wrong in
            [&twice, &parameter, pem, &bare, &unpadded, &long, "", ":", "::", ":a:", "::::"]
        {
            assert_eq!(one(wrong.as_bytes()), Err(Malformed), "{wrong}");
        }
        assert_eq!(one(b":\xff\xff:"), Err(Malformed));
    }

    #[test]
    fn a_proxy_is_believed_by_its_fingerprint_alone() {
        let own = PeerCertificate::new(b"proxy");
        let hex = crate::tlog::Hash::new(*own.thumbprint().bytes()).to_string().to_uppercase();
        let colons: Vec<&str> = (0..32).map(|at| &hex[2 * at..2 * at + 2]).collect();
        for text in [hex.clone(), hex.to_lowercase(), colons.join(":"), format!(" {hex} ,{hex},")] {
            let trusted = TrustedCertificates::parse(&text).expect("fingerprints");
            assert!(trusted.trusts(&own) && !trusted.trusts(&PeerCertificate::new(b"other")));
            assert_eq!(TrustedCertificates::parse(&trusted.to_string()).as_ref(), Ok(&trusted));
        }
        let none = TrustedCertificates::parse(" , ").expect("none");
        assert!(none.is_empty() && !none.trusts(&own));
        for wrong in ["x", &hex[1..], &format!("{hex}0"), &hex.replacen('0', "g", 64), "127.0.0.1"]
        {
            if wrong != hex {
                let refused = TrustedCertificates::parse(wrong);
                assert_eq!(refused, Err(TrustedError::Malformed), "{wrong}");
            }
        }
        let many = vec![hex; PROXIES_MAX + 1].join(",");
        assert_eq!(TrustedCertificates::parse(&many), Err(TrustedError::TooMany));
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_and_nothing_panics(
            der in prop::collection::vec(any::<u8>(), 1..200),
            junk in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let value = format!(":{}:", STANDARD.encode(&der));
            prop_assert_eq!(one(value.as_bytes()), Ok(Some(PeerCertificate::new(&der))));
            let _ = one(&junk);
            let _ = TrustedCertificates::parse(&String::from_utf8_lossy(&junk));
        }
    }
}
