//! The standard's vectors, and what must not be believed.

use proptest::prelude::*;

use super::*;
use crate::crypto::PrivateKey;
use crate::jose::b64url_encode;
use crate::jose::jwk::{Jwk, JwkSet};
use crate::jose::jws::{ProtectedHeader, SigningInput};

const URI: &str = "https://id.example/o/dev/status-lists/g1-0000000000000001";
const NOW: i64 = 1_763_717_400;

struct Signer {
    key: PrivateKey,
    keys: JwkSet,
}

impl Signer {
    fn new(seed: u8) -> Self {
        let key = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
        let public = key.public().expect("its public half");
        let jwk = Jwk::new(public, Some("k1".to_owned())).expect("a JWK").into_verifying_key();
        Self { key, keys: JwkSet::new(vec![jwk]).expect("a set") }
    }

    fn header(&self, typ: &str) -> ProtectedHeader {
        let algorithm = self.keys.keys()[0].key.algorithm();
        ProtectedHeader::new(typ, algorithm, Some("k1")).expect("a header")
    }

    fn finish(&self, input: SigningInput) -> String {
        let signature = self.key.sign(input.bytes()).expect("signed");
        input.finish(&signature)
    }

    fn sign(&self, list: &StatusList) -> String {
        self.finish(list.signing_input(&self.header(STATUS_LIST_TYPE)))
    }

    fn read(&self, text: &str) -> Result<StatusList, StatusListError> {
        StatusList::read(text, &self.keys, URI, Time::from_seconds(NOW))
    }
}

fn list() -> StatusList {
    let mut statuses = Statuses::new(1 << 17);
    for index in [0, 3, 4, 5, 7, 8, 9, 13, 15] {
        statuses.revoke(index);
    }
    let (issued_at, expires_at) = (NOW - 5, NOW + 85);
    StatusList { uri: URI.to_owned(), issued_at, expires_at, ttl: Some(30), statuses }
}

fn said(bits: u8, lst: &str) -> Vec<u8> {
    let statuses = Statuses::inflate(bits, lst).expect("a list");
    let number = |index| match statuses.get(index).expect("an entry") {
        Status::Valid => 0,
        Status::Invalid => 1,
        Status::Suspended => 2,
        Status::Other(other) => other,
    };
    (0..statuses.len() as u32).map(number).collect()
}

#[test]
fn the_vectors_of_the_standard_are_read() {
    assert_eq!(said(1, "eNrbuRgAAhcBXQ"), [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]);
    assert_eq!(said(2, "eNo76fITAAPfAgc"), [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]);
}

#[test]
fn a_list_is_written_as_the_standard_writes_it() {
    let mut statuses = Statuses::new(16);
    for index in [0, 3, 4, 5, 7, 8, 9, 13, 15] {
        statuses.revoke(index);
    }
    assert_eq!(statuses.compressed(), "eNrbuRgAAhcBXQ");
    statuses.revoke(16);
    assert_eq!((statuses.len(), statuses.get(16)), (16, None));
}

#[test]
fn what_is_signed_is_read_and_says_what_was_set() {
    let signer = Signer::new(1);
    let read = signer.read(&signer.sign(&list())).expect("believed");
    assert_eq!(read, list());
    let now = Time::from_seconds(NOW);
    let of = |index| read.status(&Reference { uri: URI.to_owned(), index }, now);
    assert_eq!((of(3), of(2)), (Ok(Status::Invalid), Ok(Status::Valid)));
    assert_eq!(of(1 << 17), Err(StatusListError::OutOfRange { index: 1 << 17 }));
    assert_eq!(of(u32::MAX), Err(StatusListError::OutOfRange { index: u32::MAX }));
    let elsewhere = Reference { uri: format!("{URI}0"), index: 2 };
    assert_eq!(read.status(&elsewhere, now), Err(StatusListError::AnotherList));
    // It is kept, and says nothing once it has expired.
    let end = Time::from_seconds(read.expires_at);
    let kept = read.status(&Reference { uri: URI.to_owned(), index: 2 }, end);
    assert_eq!(kept, Err(StatusListError::Expired { expires_at: end }));
    let fetched = Time::from_seconds(NOW);
    assert!(!read.is_due(fetched, Time::from_seconds(NOW + 29)));
    assert!(read.is_due(fetched, Time::from_seconds(NOW + 30)));
    assert!(read.is_due(fetched, Time::from_seconds(NOW - 1)), "a clock that was set back");
}

#[test]
fn another_list_type_key_or_time_is_refused() {
    let signer = Signer::new(1);
    let good = list();
    for (list, why) in [
        (StatusList { uri: format!("{URI}1"), ..good.clone() }, "another list"),
        (StatusList { expires_at: NOW, ..good.clone() }, "expired"),
        (StatusList { issued_at: NOW + 61, ..good.clone() }, "from the future"),
    ] {
        assert!(signer.read(&signer.sign(&list)).is_err(), "{why}");
    }
    for typ in ["at+jwt", "JWT", "jwt", ""] {
        let text = signer.finish(good.signing_input(&signer.header(typ)));
        let refused = signer.read(&text);
        assert!(matches!(refused, Err(StatusListError::Jws(JwsError::Typ { .. }))), "{typ}");
    }
    let other = Signer::new(2).sign(&good);
    assert_eq!(signer.read(&other), Err(StatusListError::Jws(JwsError::Signature)));
    let header = ProtectedHeader::new(
        STATUS_LIST_TYPE,
        signer.keys.keys()[0].key.algorithm(),
        Some("another"),
    );
    let unknown = signer.finish(good.signing_input(&header.expect("a header")));
    assert_eq!(signer.read(&unknown), Err(StatusListError::KeyUnknown));
    let long = "a".repeat(STATUS_LIST_TOKEN_BYTES_MAX + 1);
    assert_eq!(signer.read(&long), Err(StatusListError::TooLong));
}

#[test]
fn claims_that_are_missing_or_wrong_are_refused() {
    let good = serde_json::json!({"sub": URI, "iat": NOW, "exp": NOW + 90, "ttl": 30,
        "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}});
    let parse = |json: &serde_json::Value| StatusList::parse(json.to_string().as_bytes());
    parse(&good).expect("good");
    for name in ["sub", "iat", "exp", "status_list"] {
        let mut without = good.clone();
        without.as_object_mut().expect("an object").remove(name);
        assert_eq!(parse(&without), Err(StatusListError::Malformed(name)));
    }
    for (name, value) in [
        ("sub", serde_json::json!("")),
        ("exp", serde_json::json!("soon")),
        ("iat", serde_json::json!(-1)),
        ("ttl", serde_json::json!(0)),
        ("status_list", serde_json::json!([])),
        ("status_list", serde_json::json!({"bits": 3, "lst": "eNrbuRgAAhcBXQ"})),
        ("status_list", serde_json::json!({"bits": 1, "lst": 7})),
        ("status_list", serde_json::json!({"bits": 1})),
    ] {
        let mut wrong = good.clone();
        wrong[name] = value.clone();
        assert!(parse(&wrong).is_err(), "{name}: {value}");
    }
}

#[test]
fn a_stream_that_is_no_zlib_cut_short_or_followed_by_more_is_refused() {
    let whole = list().statuses.compressed();
    let bytes = crate::jose::b64url_decode(&whole).expect("base64url");
    for (bytes, why) in [
        (bytes[..bytes.len() - 1].to_vec(), "cut short"),
        (bytes[2..].to_vec(), "without its header"),
        ([&bytes[..], &[0]].concat(), "followed by more"),
        (Vec::new(), "empty"),
    ] {
        let lst = b64url_encode(&bytes);
        assert_eq!(Statuses::inflate(1, &lst), Err(StatusListError::Compression), "{why}");
    }
    assert_eq!(Statuses::inflate(1, "eNrbuRgAAhcBXQ=="), Err(StatusListError::Compression));
}

#[test]
fn what_would_inflate_to_more_than_the_bound_is_refused() {
    let bomb = Statuses::new(8 * 64 * 1024 * 1024).compressed();
    assert!(bomb.len() < STATUS_LIST_TOKEN_BYTES_MAX, "{}", bomb.len());
    for bits in [1, 2, 4, 8] {
        assert_eq!(Statuses::inflate(bits, &bomb), Err(StatusListError::TooLarge));
    }
    let largest = Statuses::new(ENTRIES_MAX);
    assert_eq!(Statuses::inflate(1, &largest.compressed()), Ok(largest));
    let larger = Statuses::new(ENTRIES_MAX + 8).compressed();
    assert_eq!(Statuses::inflate(1, &larger), Err(StatusListError::TooLarge));
}

/// What nothing compresses: every entry as a coin falls.
#[test]
fn the_largest_list_that_nothing_compresses_is_read() {
    let mut statuses = Statuses::new(ENTRIES_MAX);
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for index in 0..ENTRIES_MAX as u32 {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        if bits & 1 == 1 {
            statuses.revoke(index);
        }
    }
    let signer = Signer::new(1);
    let text = signer.sign(&StatusList { statuses: statuses.clone(), ..list() });
    assert!(text.len() <= STATUS_LIST_TOKEN_BYTES_MAX, "{}", text.len());
    assert_eq!(signer.read(&text).expect("believed").statuses, statuses);
}

proptest! {
    #[test]
    fn exactly_what_was_revoked_is_revoked(
        size in 1..5000_usize,
        revoked in prop::collection::btree_set(0..6000_u32, 0..200),
    ) {
        let mut statuses = Statuses::new(size);
        for index in &revoked {
            statuses.revoke(*index);
        }
        let read = Statuses::inflate(1, &statuses.compressed()).expect("its own");
        for index in 0..6000 {
            let there = (index as usize) < read.len();
            let expected = match (there, revoked.contains(&index)) {
                (false, _) => None,
                (true, true) => Some(Status::Invalid),
                (true, false) => Some(Status::Valid),
            };
            prop_assert_eq!(read.get(index), expected);
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = StatusList::parse(&bytes);
        for bits in 0..=9 {
            let _ = Statuses::inflate(bits, &b64url_encode(&bytes));
        }
    }
}
