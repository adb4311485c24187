//! SPIFFE Workload API section 4 and protobuf: the messages, as the standard numbers their fields.
//!
//! By hand, since there are few of them and no compiler for them is needed to build. Whatever holds a key
//! or a token is not shown.

use std::collections::HashMap;

/// Asks for X.509-SVIDs, or for bundles: it has no fields.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Nothing {}

/// The X.509-SVIDs of a process: all that it has.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<X509Svid>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: HashMap<String, Vec<u8>>,
}

/// One X.509-SVID.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
#[expect(clippy::struct_field_names, reason = "the names are the standard's")]
pub(super) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// DER, the certificate first.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    /// PKCS #8.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    /// DER.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) hint: String,
}

impl std::fmt::Debug for X509Svid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("X509Svid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

impl Drop for X509Svid {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.x509_svid_key);
    }
}

/// The roots of each trust domain, by its SPIFFE ID.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct X509BundlesResponse {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) crl: Vec<Vec<u8>>,
    #[prost(map = "string, bytes", tag = "2")]
    pub(super) bundles: HashMap<String, Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn an_svid_is_written_as_protobuf_says_and_its_key_is_not_shown() {
        let svid = X509Svid {
            spiffe_id: "a".into(),
            x509_svid: vec![1],
            x509_svid_key: vec![0xaa, 0xbb],
            bundle: vec![3],
            hint: String::new(),
        };
        let shown = format!("{svid:?}");
        assert!(!shown.contains("170") && shown.len() < 40, "{shown}");
        let response = X509SvidResponse { svids: vec![svid], ..X509SvidResponse::default() };
        let bytes = response.encode_to_vec();
        assert_eq!(bytes, [0x0a, 13, 0x0a, 1, b'a', 0x12, 1, 1, 0x1a, 2, 0xaa, 0xbb, 0x22, 1, 3]);
    }
}
