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

/// Asks for JWT-SVIDs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct JwtSvidRequest {
    /// For whom they are to be; one at least.
    #[prost(string, repeated, tag = "1")]
    pub(super) audience: Vec<String>,
    /// Whom they are to name; whoever asks where it is empty.
    #[prost(string, tag = "2")]
    pub(super) spiffe_id: String,
}

/// The JWT-SVIDs of a process for the audiences that it named.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct JwtSvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<JwtSvid>,
}

/// One JWT-SVID.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct JwtSvid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// A compact JWS.
    #[prost(string, tag = "2")]
    pub(super) svid: String,
    #[prost(string, tag = "3")]
    pub(super) hint: String,
}

impl std::fmt::Debug for JwtSvid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtSvid").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

impl Drop for JwtSvid {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.svid);
    }
}

/// The keys of JWT-SVIDs of each trust domain, by its SPIFFE ID: a JWK set each.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct JwtBundlesResponse {
    #[prost(map = "string, bytes", tag = "1")]
    pub(super) bundles: HashMap<String, Vec<u8>>,
}

/// Asks who somebody is that sent a JWT-SVID.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct ValidateRequest {
    /// Whoever asks.
    #[prost(string, tag = "1")]
    pub(super) audience: String,
    #[prost(string, tag = "2")]
    pub(super) svid: String,
}

impl std::fmt::Debug for ValidateRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValidateRequest").field("audience", &self.audience).finish_non_exhaustive()
    }
}

/// Who they are, and what else the JWT-SVID claims.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValidateResponse {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) claims: Option<Struct>,
}

/// `google.protobuf.Struct`: a JSON object.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Struct {
    #[prost(map = "string, message", tag = "1")]
    pub(super) fields: HashMap<String, Value>,
}

/// `google.protobuf.Value`: any JSON.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) kind: Option<Kind>,
}

/// Which JSON it is.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Kind {
    /// `null`, which is 0.
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Object(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`: a JSON array.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct List {
    #[prost(message, repeated, tag = "1")]
    pub(super) values: Vec<Value>,
}

impl From<serde_json::Map<String, serde_json::Value>> for Struct {
    fn from(object: serde_json::Map<String, serde_json::Value>) -> Self {
        Self { fields: object.into_iter().map(|(name, value)| (name, value.into())).collect() }
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let kind = match value {
            Json::Null => Kind::Null(0),
            Json::Bool(value) => Kind::Bool(value),
            Json::Number(number) => Kind::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Kind::Text(text),
            Json::Array(values) => {
                Kind::List(List { values: values.into_iter().map(Self::from).collect() })
            }
            Json::Object(object) => Kind::Object(object.into()),
        };
        Self { kind: Some(kind) }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn claims_are_written_as_protobuf_says_and_no_token_is_shown() {
        let json = serde_json::json!({"a": [null, true, 2, "b", {}]});
        let serde_json::Value::Object(object) = json else { panic!("an object") };
        let bytes = Struct::from(object).encode_to_vec();
        let list = [
            &[0x0a, 2, 0x08, 0][..],
            &[0x0a, 2, 0x20, 1],
            &[0x0a, 9, 0x11, 0, 0, 0, 0, 0, 0, 0, 0x40],
            &[0x0a, 3, 0x1a, 1, b'b'],
            &[0x0a, 2, 0x2a, 0],
        ]
        .concat();
        let length = u8::try_from(list.len()).expect("short");
        let mut expected = vec![0x0a, length + 7, 0x0a, 1, b'a', 0x12, length + 2, 0x32, length];
        expected.extend(list);
        assert_eq!(bytes, expected);
        let svid = JwtSvid { spiffe_id: "a".into(), svid: "ey".into(), hint: String::new() };
        let response = JwtSvidResponse { svids: vec![svid] };
        assert!(!format!("{response:?}").contains("ey"));
        assert_eq!(response.encode_to_vec(), [0x0a, 7, 0x0a, 1, b'a', 0x12, 2, b'e', b'y']);
        let asked = ValidateRequest { audience: "a".into(), svid: "ey".into() };
        assert!(!format!("{asked:?}").contains("ey"));
    }

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
