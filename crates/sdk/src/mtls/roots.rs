//! SPIFFE Trust Domain and Bundle section 4: the roots that an issuer publishes, and how soon to look
//! again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::svid::CERTIFICATES_MAX;

/// How often a bundle is asked for where it does not say, and the most and least that it may say.
const REFRESH: Duration = Duration::from_mins(5);
const REFRESH_MIN: Duration = Duration::from_secs(5);
const REFRESH_MAX: Duration = Duration::from_hours(1);

/// What certificates of a trust domain are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// Each in DER.
    pub certificates: Vec<Vec<u8>>,
    /// After how long to look again.
    pub refresh: Duration,
}

/// A published bundle: what of it is read.
#[derive(Deserialize)]
struct Published {
    #[serde(default)]
    spiffe_refresh_hint: Option<u64>,
    keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    x5c: Vec<String>,
}

impl Roots {
    /// Reads a bundle. What is of another use, or of one that nobody knows, is left out; a root without
    /// exactly one certificate makes the whole of it unread.
    pub fn read(bundle: &[u8]) -> Option<Self> {
        let published: Published = serde_json::from_slice(bundle).ok()?;
        let mut certificates = Vec::new();
        let of_x509 = published.keys.iter().filter(|key| key.usage.as_deref() == Some("x509-svid"));
        for key in of_x509 {
            let [certificate] = key.x5c.as_slice() else { return None };
            if certificates.len() == CERTIFICATES_MAX {
                return None;
            }
            certificates.push(STANDARD.decode(certificate).ok().filter(|der| !der.is_empty())?);
        }
        let refresh = published.spiffe_refresh_hint.map_or(REFRESH, Duration::from_secs);
        Some(Self { certificates, refresh: refresh.clamp(REFRESH_MIN, REFRESH_MAX) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_a_bundle_the_roots_are_read_and_what_is_unknown_is_left_out() {
        let read = |keys: &str| Roots::read(format!(r#"{{"keys":[{keys}]}}"#).as_bytes());
        let root = r#"{"kty":"EC","use":"x509-svid","x5c":["AQI="]}"#;
        let both =
            format!(r#"{root},{{"use":"jwt-svid","kid":"k"}},{{"use":"new","x5c":["BA=="]}}"#);
        assert_eq!(read(&both).expect("a bundle").certificates, [[1, 2]]);
        // Nobody is believed any more: that is said, too.
        assert!(read("").expect("a bundle").certificates.is_empty());
        for wrong in [
            r#"{"use":"x509-svid"}"#,
            r#"{"use":"x509-svid","x5c":[]}"#,
            r#"{"use":"x509-svid","x5c":["AQI=","AQI="]}"#,
            r#"{"use":"x509-svid","x5c":["?"]}"#,
            r#"{"use":"x509-svid","x5c":[""]}"#,
            &vec![root; CERTIFICATES_MAX + 1].join(","),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(Roots::read(b"{}"), None);
        let hinted = |hint: u64| {
            let text = format!(r#"{{"keys":[],"spiffe_refresh_hint":{hint}}}"#);
            Roots::read(text.as_bytes()).expect("a bundle").refresh
        };
        assert_eq!(
            [hinted(0), hinted(60), hinted(u64::MAX)],
            [REFRESH_MIN, Duration::from_mins(1), REFRESH_MAX]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,300}") {
            let _ = Roots::read(text.as_bytes());
        }
    }
}
