//! RFC 5280 section 5: which certificates of the organization were revoked, as anybody may ask it.
//!
//! For whoever holds certificates of its own and gives out what comes of them: one of these numbers says that
//! something has ended that a certificate hangs on. Whose list it is, is the connection's word alone, and no
//! more is believed of it than that. Peers are judged by [`crate::mtls`].

use std::collections::HashSet;

use accredit_wire::x509::all_decoded;
use accredit_wire::x509::certificate::SERIAL_BYTES;
use accredit_wire::x509::crl::numbers;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, StatusCode};

use super::{Agent, AgentError};
use crate::issuer::IssuerError;

/// The largest answer with lists, bytes: some 100,000 revoked certificates.
pub(crate) const LISTS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Lists in one answer, at most.
pub(crate) const LISTS_MAX: usize = 256;
/// The label of a list (RFC 7468 section 6).
pub(crate) const LIST: &str = "X509 CRL";
/// Where they are, under the issuer, and what they are called in errors.
pub(crate) const LISTS_PATH: &str = "/ca/crls";
pub(crate) const LISTS: &str = "lists of revoked certificates";

/// The serial numbers of certificates that were revoked and are not over.
#[derive(Debug, Default)]
pub struct RevokedCertificates {
    numbers: HashSet<[u8; SERIAL_BYTES]>,
    tag: Option<HeaderValue>,
}

impl RevokedCertificates {
    /// Whether the certificate of this number is one of them.
    pub fn have(&self, number: &[u8; SERIAL_BYTES]) -> bool {
        self.numbers.contains(number)
    }

    fn read(text: &[u8]) -> Option<HashSet<[u8; SERIAL_BYTES]>> {
        let found = all_decoded(LIST, std::str::from_utf8(text).ok()?)?;
        let of = |der: &Vec<u8>| numbers(der).ok();
        let all: Option<Vec<_>> = found.iter().take(LISTS_MAX + 1).map(of).collect();
        Some(all.filter(|all| all.len() <= LISTS_MAX)?.into_iter().flatten().collect())
    }
}

impl Agent {
    /// Which certificates of the organization were revoked; nothing where that is as it was `before`. Nobody
    /// needs to prove anything to have it.
    pub async fn revoked_certificates(
        &self,
        before: &RevokedCertificates,
    ) -> Result<Option<RevokedCertificates>, AgentError> {
        let issuer = &self.inner.issuer;
        let mut request = Request::get(issuer.issuer.endpoint(LISTS_PATH))
            .header(ACCEPT, HeaderValue::from_static("*/*"))
            .body(bytes::Bytes::new())
            .map_err(|_| IssuerError::malformed(LISTS, "its address is not a URL"))?;
        if let Some(tag) = &before.tag {
            request.headers_mut().insert(IF_NONE_MATCH, tag.clone());
        }
        let response =
            issuer.http.send(request, LISTS_BYTES_MAX).await.map_err(IssuerError::Net)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(None),
            status => return Err(IssuerError::Status { what: LISTS, status }.into()),
        }
        let numbers = RevokedCertificates::read(response.body());
        let numbers = numbers.ok_or_else(|| IssuerError::malformed(LISTS, "they are none"))?;
        let is_same = numbers == before.numbers;
        let tag = response.headers().get(ETAG).cloned();
        Ok((!is_same || tag != before.tag).then_some(RevokedCertificates { numbers, tag }))
    }
}

#[cfg(test)]
mod tests {
    use accredit_wire::x509::pem;

    use super::*;

    #[test]
    fn what_is_no_list_of_ours_is_not_read() {
        let block = pem(LIST, &[0x30, 0]);
        for wrong in ["", " ", "x", &*block, &pem("CERTIFICATE", &[1])] {
            assert!(RevokedCertificates::read(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(RevokedCertificates::read(&[0xff]).is_none());
    }
}
