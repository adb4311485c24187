use proptest::prelude::*;

use super::*;
use crate::crypto::PrivateKey;

const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const TEXT: &str = "This is an example message.\n";
const SIGNATURE: &str =
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";

fn vector() -> String {
    format!("{TEXT}\n\u{2014} example.com/foo {SIGNATURE}\n")
}

fn vkeys() -> Vec<Vkey> {
    vec![VKEY.parse().expect("a key")]
}

fn refused(note: &str, vkeys: &[Vkey]) -> NoteError {
    open(note.as_bytes(), vkeys).expect_err("a refusal")
}

/// A key made of `seed`, and its verifier key.
fn key(name: &str, seed: u8) -> (PrivateKey, Vkey) {
    let key = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
    let vkey = Vkey::new(name, &key.public().expect("its public half")).expect("a verifier key");
    (key, vkey)
}

#[test]
fn the_published_note_opens() {
    let vkeys = vkeys();
    let note = vector();
    let opened = open(note.as_bytes(), &vkeys).expect("a note");
    assert_eq!(opened.text, TEXT);
    assert_eq!(opened.signers[0].to_string(), VKEY);
    assert_eq!(vkeys[0].id(), [0x53, 0x0d, 0x90, 0x3a]);
}

#[test]
fn what_is_near_the_published_note_is_refused() {
    let vkeys = vkeys();
    let good = vector();
    let bad = NoteError::BadSignature("example.com/foo".to_owned());
    assert_eq!(refused(&good.replace("example message", "exemple message"), &vkeys), bad);
    assert_eq!(refused(&format!("\n{good}"), &vkeys), bad);
    assert_eq!(refused(&good.replace("Uw2QOkn8", "Uw2QOkn9"), &vkeys), bad);
    assert_eq!(
        refused(&good.replace("example.com/foo", "example.com/fob"), &vkeys),
        NoteError::UnknownKey
    );
    assert_eq!(refused(&good.replace("Uw2Q", "Ux2Q"), &vkeys), NoteError::UnknownKey);
    assert_eq!(refused(&good, &[]), NoteError::UnknownKey);
    for wrong in [
        good.trim_end().to_owned(),
        good.replace("\n\n", "\n"),
        good.replace('\u{2014}', "-"),
        good.replace("\u{2014} ", "\u{2014}  "),
        good.replace("aQM=", "aQM"),
        good.replace("aQM=", "aQN="),
        format!("{good}\n"),
        format!("{good}more\n"),
        format!("{TEXT}\n"),
        String::new(),
        "\n\n\n".to_owned(),
    ] {
        assert_eq!(refused(&wrong, &vkeys), NoteError::Shape, "{wrong:?}");
    }
    assert_eq!(refused(&good.replace("is an", "is\tan"), &vkeys), NoteError::NotText);
    assert_eq!(refused(&good.replace('\n', "\r\n"), &vkeys), NoteError::NotText);
    assert_eq!(open(b"\xff\n\n", &vkeys).err(), Some(NoteError::NotText));
    assert_eq!(refused(&"x".repeat(NOTE_LEN_MAX + 1), &vkeys), NoteError::TooLong);
}

#[test]
fn unknown_signatures_are_ignored_up_to_a_bound_and_known_ones_must_all_hold() {
    let vkeys = vkeys();
    let (other, other_vkey) = key("witness.example/w", 1);
    let line = other_vkey.signature_line(&other.sign(TEXT.as_bytes()).expect("a signature"));
    let wrong = other_vkey.signature_line(&other.sign(b"another text\n").expect("a signature"));
    let with = |lines: &str| format!("{}{lines}", vector());
    assert!(open(with(&line).as_bytes(), &vkeys).is_ok());
    assert!(open(with(&wrong).as_bytes(), &vkeys).is_ok(), "unknown, so not looked at");
    assert!(open(with(&line.repeat(SIGNATURES_MAX - 1)).as_bytes(), &vkeys).is_ok());
    let many = with(&line.repeat(SIGNATURES_MAX));
    assert_eq!(refused(&many, &vkeys), NoteError::TooManySignatures);
    let both = [vkeys[0].clone(), other_vkey];
    let cosigned = with(&line);
    assert_eq!(open(cosigned.as_bytes(), &both).expect("a note").signers.len(), 2);
    let bad = NoteError::BadSignature("witness.example/w".to_owned());
    assert_eq!(refused(&with(&wrong), &both), bad);
    // A cosignature of another length under a known key's id is a failure, not something unknown.
    let blob = [&both[1].id()[..], &[0; 72]].concat();
    let short = format!("{SIGNATURE_MARK}witness.example/w {}\n", STANDARD.encode(blob));
    assert_eq!(refused(&with(&short), &both), bad);
}

#[test]
fn a_verifier_key_has_one_spelling_and_the_id_of_its_name() {
    for wrong in [
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("foo", "fob"),
        VKEY.replace("+Aeky", "+Beky"),
        VKEY.replace("U2k", "U2kA"),
        VKEY.replace("example.com/foo", ""),
        VKEY.replace("example.com/foo", "a b"),
        VKEY.replacen('+', " ", 1),
        format!("{VKEY}\n"),
        String::new(),
    ] {
        assert_eq!(wrong.parse::<Vkey>().err(), Some(NoteError::NotVkey), "{wrong}");
    }
    let p256 = PrivateKey::generate(Algorithm::Es256).expect("a key").0.public().expect("public");
    assert!(Vkey::new("a", &p256).is_err());
}

proptest! {
    #[test]
    fn notes_open_under_their_own_key_only(
        text in "[^\\p{Cc}]{0,40}", name in "[a-z0-9./:-]{1,30}", seed: u8,
    ) {
        let text = format!("{text}\n");
        let (private, vkey) = key(&name, seed);
        let line = vkey.signature_line(&private.sign(text.as_bytes()).expect("a signature"));
        let note = assemble(&text, &line);
        prop_assert_eq!(vkey.to_string().parse::<Vkey>().expect("a key").id(), vkey.id());
        let own = [vkey];
        prop_assert_eq!(open(note.as_bytes(), &own).expect("a note").text, &text);
        let (_, foreign) = key(&name, seed.wrapping_add(1));
        prop_assert_eq!(open(note.as_bytes(), &[foreign]).err(), Some(NoteError::UnknownKey));
    }

    #[test]
    fn arbitrary_bytes_are_refused(note: Vec<u8>) {
        prop_assert!(open(&note, &vkeys()).is_err());
    }
}
