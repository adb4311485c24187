//! What is outside our own imagination: other people's vectors, and the fuzzer's corpus.
#![expect(clippy::expect_used, reason = "the fuzzer's targets fail loudly")]

#[cfg(feature = "x509")]
#[path = "../../../../fuzz/bundle.rs"]
mod bundle;
#[cfg(feature = "x509")]
#[path = "../../../../fuzz/chain.rs"]
mod chain;
#[cfg(feature = "x509")]
#[path = "../../../../fuzz/csr.rs"]
mod csr;
#[cfg(feature = "x509")]
#[path = "../../../../fuzz/dns_names.rs"]
mod dns_names;
#[cfg(feature = "x509")]
#[path = "../../../../fuzz/jwt_svid.rs"]
mod jwt_svid;
#[cfg(feature = "x509")]
#[path = "../../../../fuzz/ocsp.rs"]
mod ocsp;
#[cfg(feature = "x509")]
#[path = "../../../../fuzz/peer.rs"]
mod peer;
#[cfg(feature = "x509")]
#[path = "../../../../fuzz/presented.rs"]
mod presented;
#[path = "../../../../fuzz/targets.rs"]
mod targets;
mod wycheproof;

use std::path::Path;

/// Runs a target on its corpus.
fn replay(name: &str, run: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folder = std::fs::read_dir(corpus.join(name)).expect("every target has a corpus");
    let mut inputs = 0;
    for input in folder {
        let bytes = std::fs::read(input.expect("an entry").path()).expect("an input");
        run(&bytes);
        // Near misses of each input: cut short, and with one bit turned.
        for cut in 0..bytes.len().min(300) {
            run(&bytes[..cut]);
            let mut bent = bytes.clone();
            bent[cut] ^= 1 << (cut % 8);
            run(&bent);
        }
        inputs += 1;
    }
    assert!(inputs > 0, "the corpus of `{name}` is empty");
}

#[test]
fn no_target_panics_on_its_corpus() {
    for (name, _) in targets::TARGETS {
        replay(name, |bytes| targets::run(name, bytes));
    }
    #[cfg(feature = "x509")]
    {
        replay("bundle", bundle::run);
        replay("chain", chain::run);
        replay("csr", csr::run);
        replay("dns_names", dns_names::run);
        replay("presented", presented::run);
        replay("ocsp", ocsp::run);
        replay("peer", peer::run);
        replay("jwt_svid", jwt_svid::run);
    }
}

/// A target that refuses all of its corpus at the door fuzzes nothing but the door.
#[test]
fn the_seeds_that_are_good_are_read() {
    use accredit_wire::ids::KeyId;
    use accredit_wire::revocations::{Acknowledgement, Follower};
    use accredit_wire::token::AccessToken;

    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let seed = |name: &str| std::fs::read(corpus.join(name)).expect("a seed");
    for name in ["access_token/machine", "access_token/chain", "access_token/listed"] {
        let read = AccessToken::parse(&seed(name), KeyId::new(1, [1; 10]));
        assert!(read.is_ok(), "{name}: {read:?}");
    }
    for (name, is_read) in [
        ("expiry", true),
        ("nothing", true),
        ("foreign", false),
        ("permission", true),
        ("rule", false),
    ] {
        assert_eq!(
            targets::narrows(&seed(&format!("biscuit_block/{name}"))),
            Some(is_read),
            "{name}"
        );
    }
    for name in ["follower/whole", "follower/whole_pieces"] {
        let follower = Follower::from_bytes(&seed(name), "https://id.example/o/dev", None);
        assert_eq!(follower.expect(name).state().entries().count(), 2);
    }
    for (name, is_read) in [("one_bit", true), ("two_bits", true), ("whole", true), ("bomb", false)]
    {
        let read =
            accredit_wire::status_list::StatusList::parse(&seed(&format!("status_list/{name}")));
        assert_eq!(read.is_ok(), is_read, "{name}: {read:?}");
    }
    #[cfg(feature = "x509")]
    {
        for (name, keys) in [("whole", (1, 3)), ("empty", (0, 0))] {
            assert_eq!(bundle::keys(&seed(&format!("bundle/{name}"))), Some(keys), "{name}");
        }
        assert!(chain::is_read(&seed("chain/rsa.pem")));
        assert!(csr::is_read(&seed("csr/info")), "it is signed anew");
        assert_eq!(dns_names::read(&seed("dns_names/two")).map(|names| names.len()), Some(2));
        assert!(jwt_svid::is_read(&seed("jwt_svid/claims")));
        for (name, is_registered, names) in [
            ("p256.der", true, false),
            ("ed25519.der", true, false),
            ("rsa.der", false, false),
            ("rfc8705.der", true, false),
            ("two.der", true, false),
            ("svid.der", true, true),
        ] {
            let (key, id) = presented::is_read(&seed(&format!("presented/{name}"))).expect(name);
            assert_eq!((key, id.is_some()), (is_registered, names), "{name}");
        }
        assert!(peer::is_named(&seed("peer/svid.der")), "an SVID");
        assert_eq!(peer::counter(&seed("peer/list.der")), Some(7));
        for (name, asked) in [("plain", 1), ("nonce", 1), ("signed", 1), ("sha256_two", 2)] {
            assert_eq!(ocsp::asked(&seed(&format!("ocsp/{name}"))), asked, "{name}");
        }
    }
    let piece = accredit_wire::jose::b64url_encode(&seed("piece/two"));
    assert_eq!(seed("piece/line"), piece.as_bytes());
    serde_json::from_slice::<Acknowledgement>(&seed("acknowledgement/said")).expect("said");

    // Behind the log's signatures: as they were made, and as a changed text is signed anew.
    let keys = targets::log_keys();
    let mut auditor = accredit_wire::tlog::export::Auditor::new(keys.clone());
    let export = String::from_utf8(seed("export/good.ndjson")).expect("text");
    export.lines().for_each(|line| auditor.line(line));
    let report = auditor.finish();
    assert!(report.ok, "{report:?}");
    let older = accredit_wire::tlog::checkpoint::open(&seed("note/older"), &keys);
    assert!(older.is_ok(), "{older:?}");
    let bare = String::from_utf8(seed("note/checkpoint")).expect("text");
    assert!(accredit_wire::tlog::note::open(targets::noted(&bare).as_bytes(), &keys).is_ok());
    let logged = targets::resigned_message(&seed("feed/logged")).expect("a message with a log");
    let logged: serde_json::Value = serde_json::from_slice(&logged).expect("JSON");
    let note = logged["log"][0]["note"].as_str().expect("a note");
    let seen = accredit_wire::tlog::checkpoint::open(note.as_bytes(), &keys);
    assert_eq!(seen.map(|seen| seen.size), Ok(1), "a witness gets to see what it says");
}
