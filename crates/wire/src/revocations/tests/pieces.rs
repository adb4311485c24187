//! A snapshot in pieces: it counts once every piece that its signed head names has come, in order,
//! and never before; what came until then has only made more things dead.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::feed::{FeedError, MESSAGE_ENTRIES_MAX, Message, SNAPSHOT_PIECES_MAX};
use super::super::kept::RestoreError;
use super::super::piece::{PIECE_ENTRIES_MAX, PIECE_TEXT_BYTES_MAX, Piece, PieceError};
use super::super::table::sorted;
use super::{
    Applied, Entry, FEED_TYPE, FOREVER, FeedKey, Follower, ISSUER, JwkSet, KeyId, SignedMessage,
    State, agent, applied, asking, at, entry, follower, message, signed,
};
use crate::ids::AnyId;

/// Entries as pieces of so many.
fn cut(entries: &[Entry], size: usize) -> Vec<Piece> {
    sorted(entries).chunks(size).map(Piece::new).collect()
}

/// The head of these pieces.
fn head(to: u64, seconds: i64, pieces: &[Piece]) -> Message {
    let hashes = pieces.iter().map(Piece::hash).collect();
    Message { pieces: hashes, ..message(0, to, seconds, &[]) }
}

fn many(count: u64) -> Vec<Entry> {
    (1..=count).map(|number| entry(number, number)).collect()
}

fn take_all(follower: &mut Follower, head: &SignedMessage, pieces: &[Piece]) {
    for (piece, missing) in pieces.iter().zip((0..pieces.len()).rev()) {
        assert_eq!(follower.take_piece(head, &piece.text()), Ok(missing));
    }
}

#[test]
fn pieces_taken_in_order_are_one_snapshot() {
    let entries = many(20);
    let pieces = cut(&entries, 6);
    let head = head(20, 5, &pieces);
    let (signed, mut follower) = (signed(&head), follower());
    assert_eq!(applied(&mut follower, &head), Err(FeedError::NeedsPieces(4)));
    take_all(&mut follower, &signed, &pieces);
    assert_eq!((follower.state().rev(), follower.anchor()), (0, None), "not before its head");
    assert_eq!(applied(&mut follower, &head), Ok(Applied::Snapshot));
    assert_eq!(follower.state().server_time(), at(5));
    let whole = State::new(1, 20, at(5), &entries);
    assert!(follower.state().entries().eq(whole.entries()));
    assert_eq!(applied(&mut follower, &message(20, 21, 6, &[])), Ok(Applied::Delta));
}

#[test]
fn a_piece_that_is_not_the_next_one_completes_nothing() {
    let pieces = cut(&many(20), 6);
    let other = cut(&many(19), 6);
    let head = head(20, 5, &pieces);
    let signed = signed(&head);
    let foreign = Err(FeedError::Piece(PieceError::Foreign));
    let long = "A".repeat(PIECE_TEXT_BYTES_MAX + 1);
    let lines: Vec<String> = pieces.iter().map(Piece::text).collect();
    for (line, why) in [
        (&lines[0], PieceError::Foreign),
        (&lines[2], PieceError::Foreign),
        (&other[1].text(), PieceError::Foreign),
        (&lines[1][..lines[1].len() - 4].to_owned(), PieceError::Foreign),
        (&String::new(), PieceError::Foreign),
        (&format!("{}=", lines[1]), PieceError::Malformed),
        (&long, PieceError::TooLong),
    ] {
        let mut follower = follower();
        assert_eq!(follower.take_piece(&signed, &lines[0]), Ok(3));
        assert_eq!(follower.take_piece(&signed, line), Err(FeedError::Piece(why)), "{line}");
        assert_eq!(applied(&mut follower, &head), Err(FeedError::NeedsPieces(4)));
        assert_eq!(follower.take_piece(&signed, &lines[1]), foreign, "begun anew");
    }
    let mut follower = follower();
    take_all(&mut follower, &signed, &pieces);
    assert_eq!(follower.take_piece(&signed, &lines[3]), foreign, "there is no further one");
    assert_eq!(applied(&mut follower, &head), Ok(Applied::Snapshot));
    // A message without pieces has none.
    let plain = super::signed(&message(20, 21, 6, &[]));
    assert_eq!(follower.take_piece(&plain, &lines[0]), foreign);
}

#[test]
fn what_is_cut_off_makes_nothing_young_and_everything_in_it_dead() {
    let (entries, mut follower) = (many(20), follower());
    applied(&mut follower, &message(0, 2, 0, &entries[..2])).expect("a snapshot");
    let (pieces, before) = (cut(&entries, 6), follower.anchor());
    let head = head(20, 5, &pieces);
    let signed = signed(&head);
    for piece in &pieces[..3] {
        follower.take_piece(&signed, &piece.text()).expect("a piece");
    }
    assert_eq!(applied(&mut follower, &head), Err(FeedError::NeedsPieces(4)));
    assert_eq!((follower.state().rev(), follower.anchor()), (2, before));
    assert_eq!(follower.state().len(), 20);
    // With a piece of another snapshot this one is given up, and begins anew.
    let short = cut(&entries, 7);
    let other = self::head(20, 6, &short);
    follower.take_piece(&super::signed(&other), &short[0].text()).expect("a piece");
    assert!(follower.take_piece(&signed, &pieces[3].text()).is_err());
    assert_eq!(applied(&mut follower, &other), Err(FeedError::NeedsPieces(3)));
    take_all(&mut follower, &signed, &pieces);
    assert_eq!(applied(&mut follower, &head), Ok(Applied::Snapshot));
    assert_eq!(follower.state().rev(), 20);
}

#[test]
fn what_its_head_names_is_looked_at_as_closely() {
    let entries = many(9);
    let backwards = [&cut(&entries[..5], 9)[..], &cut(&entries[3..], 9)].concat();
    let above = cut(&[entry(1, 5), entry(2, 10)], 9);
    // An id of no kind, and one that is no UUID of version 7.
    let mut rows = sorted(&entries);
    rows[0].key = 0;
    let no_ids = [Piece::new(&rows[..1])];
    for (pieces, why) in [
        (backwards.as_slice(), PieceError::Disorder),
        (&above, PieceError::Above),
        (&no_ids, PieceError::Malformed),
        (&[Piece::new(&[])], PieceError::Malformed),
    ] {
        let (mut follower, head) = (follower(), signed(&head(9, 0, pieces)));
        let outcome = pieces
            .iter()
            .try_for_each(|piece| follower.take_piece(&head, &piece.text()).map(|_| ()));
        assert_eq!(outcome, Err(FeedError::Piece(why)));
        assert!(matches!(follower.apply(&head, &[], at(0)), Err(FeedError::NeedsPieces(_))));
    }
}

#[test]
fn neither_another_issuer_nor_a_revoked_key_gets_a_piece_taken() {
    let pieces = cut(&many(5), 9);
    let head = head(5, 0, &pieces);
    let mut other = Follower::new("https://id.example/o/other".to_owned(), None);
    assert_eq!(other.take_piece(&signed(&head), &pieces[0].text()), Err(FeedError::Issuer));
    assert!(other.state().is_empty());

    let [old, new] = [1, 2].map(|number| KeyId::new(number, [4; 10]));
    let (thief, issuer) = (FeedKey::with_id(1, old), FeedKey::with_id(2, new));
    let mut follower = follower();
    let ends = [Entry { target: old.any(), below: 1, keep_until: FOREVER }];
    let first = message(0, 1, 0, &ends);
    follower.apply(&issuer.signed(&first), &[], first.at).expect("its end");
    let forged = thief.signed(&head);
    assert_eq!(follower.take_piece(&forged, &pieces[0].text()), Err(FeedError::RevokedKey(old)));
    assert_eq!(follower.state().len(), 1);
}

#[test]
fn the_head_is_what_the_formats_say() {
    let pieces = cut(&many(2), 1);
    let head = head(2, 0, &pieces);
    let text = String::from_utf8(head.to_payload()).expect("text");
    let expected = format!(
        r#""entries":[],"pieces":["{}","{}"],"log":[]}}"#,
        pieces[0].hash(),
        pieces[1].hash()
    );
    assert!(text.contains(r#""v":2,"gen":1,"from":0,"to":2,"#), "{text}");
    assert!(text.ends_with(&expected), "{text}");
    assert_eq!(signed(&head).message(), &head);
    let bytes = crate::jose::b64url_decode(&pieces[0].text()).expect("base64url");
    let id = AnyId::key(State::new(1, 2, at(0), &many(2)).entries().next().expect("one").target);
    let below = if id == agent(1).key() { 1u64 } else { 2 };
    let expected = [&id.to_be_bytes()[..], &below.to_be_bytes(), &FOREVER.to_be_bytes()];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_head_that_is_not_of_a_known_form_is_refused() {
    let key = FeedKey::new(1, FEED_TYPE);
    let good = String::from_utf8(head(3, 0, &cut(&many(3), 2)).to_payload()).expect("text");
    let verify = |payload: &str, set: &JwkSet| {
        let input = crate::jose::jws::SigningInput::new_unbounded(&key.header, payload.as_bytes());
        let signature = key.private.sign(input.bytes()).expect("a signature");
        SignedMessage::verify(&input.finish(&signature), set, ISSUER).map(|_| ())
    };
    assert_eq!(verify(&good, &key.set), Ok(()));
    let hash = "00".repeat(32);
    let too_many = format!(r#""pieces":[{}"{hash}""#, format!(r#""{hash}","#).repeat(512));
    assert_eq!(SNAPSHOT_PIECES_MAX, 512);
    let entry = entry(1, 1);
    let entries = format!(r#""entries":[{{"t":"{}","b":1,"k":1}}]"#, entry.target);
    for (from, to) in [
        (r#""v":2"#, r#""v":1"#),
        (r#""v":2"#, r#""v":3"#),
        (r#""from":0"#, r#""from":1"#),
        (r#""from":0"#, r#""from":3"#),
        (r#""entries":[]"#, &entries),
        (r#""pieces":[""#, r#""pieces":["x"#),
        (r#""pieces":[""#, &format!("{too_many},\"")),
        (r#""pieces":["#, r#""pieces":[],"pieces":["#),
    ] {
        let bent = good.replacen(from, to, 1);
        assert_ne!(bent, good, "{from}");
        assert!(matches!(verify(&bent, &key.set), Err(FeedError::Malformed(_))), "{to}");
    }
    let crowd = message(0, 9000, 0, &many(MESSAGE_ENTRIES_MAX as u64 + 1));
    let crowd = String::from_utf8(crowd.to_payload()).expect("text");
    assert!(matches!(verify(&crowd, &key.set), Err(FeedError::Malformed(_))));
    let full = message(0, 9000, 0, &many(MESSAGE_ENTRIES_MAX as u64));
    assert_eq!(signed(&full).message(), &full);
}

#[test]
fn a_large_state_goes_to_disk_and_comes_back_line_by_line() {
    let mut follower = asking(Follower::new(ISSUER.to_owned(), None));
    let entries = many(PIECE_ENTRIES_MAX as u64 + 100);
    let pieces = cut(&entries, PIECE_ENTRIES_MAX);
    let head = head(9000, 0, &pieces);
    take_all(&mut follower, &signed(&head), &pieces);
    applied(&mut follower, &head).expect("a snapshot");
    applied(&mut follower, &message(9000, 9001, 1, &[entry(3, 9001)])).expect("a delta");
    let lines: Vec<String> = follower.lines(at(2)).expect("lines").collect();
    assert_eq!(lines.len(), 4, "a header, two pieces, a checksum");
    let read = |lines: &[String]| Follower::from_bytes(lines.concat().as_bytes(), ISSUER, None);
    let again = read(&lines).expect("what was written");
    assert!(again.state().entries().eq(follower.state().entries()));
    assert_eq!(again.state().rev(), 9001);
    let [header, one, two, last] = [0, 1, 2, 3].map(|line| lines[line].clone());
    for (wrong, why) in [
        (vec![&header, &one, &last], RestoreError::Checksum),
        (vec![&header, &two, &last], RestoreError::Checksum),
        (vec![&header, &two, &one, &last], RestoreError::Malformed),
        (vec![&header, &one, &two], RestoreError::Malformed),
        (vec![&header, &one, &two, &last, &last], RestoreError::Malformed),
        (vec![&one, &two, &last], RestoreError::Malformed),
        (vec![&last], RestoreError::Checksum),
    ] {
        let wrong: Vec<String> = wrong.into_iter().cloned().collect();
        assert_eq!(read(&wrong).err(), Some(why));
    }
    let newer = header.replace("\"accredit_follower\":2", "\"accredit_follower\":3");
    assert_eq!(read(&[newer]).err(), Some(RestoreError::Version));
}

#[test]
fn a_file_of_version_1_is_read() {
    let (one, two) = (entry(1, 3), entry(2, 5));
    let file = |entries: usize, lines: &str| {
        let header = format!(
            r#"{{"accredit_follower":1,"iss":"{ISSUER}","gen":1,"rev":7,"at":5000000,"received_at":6000000,"signed_after":4000000,"seen":7000000,"lanes":[],"entries":{entries}}}"#
        );
        let body = format!("{header}\n{lines}");
        let digest = crate::tlog::Hash::new(crate::crypto::sha256(body.as_bytes()));
        format!("{body}{{\"sha256\":\"{digest}\"}}\n")
    };
    let line = |entry: &Entry| {
        format!("{{\"t\":\"{}\",\"b\":{},\"k\":{}}}\n", entry.target, entry.below, entry.keep_until)
    };
    let lines = [line(&one), line(&two)].concat();
    let read = |text: &str| Follower::from_bytes(text.as_bytes(), ISSUER, None);
    let follower = read(&file(2, &lines)).expect("a follower");
    let mut out: Vec<Entry> = follower.state().entries().collect();
    out.sort_unstable_by_key(|entry| entry.target);
    assert_eq!(out, [one, two]);
    assert_eq!((follower.state().generation(), follower.state().rev()), (1, 7));
    assert_eq!(read(&file(3, &lines)).err(), Some(RestoreError::Malformed));
    assert_eq!(
        read(&file(1, &line(&one).replace("\"b\"", "\"c\""))).err(),
        Some(RestoreError::Malformed)
    );
}

/// What may come to a follower of two snapshots, in any order and as often as it likes.
#[derive(Clone, Debug)]
enum Comes {
    Pieces(usize, std::ops::Range<usize>),
    Head(usize),
    Delta,
}

fn comes() -> impl Strategy<Value = Comes> {
    prop_oneof![
        6 => (0usize..2, 0usize..4).prop_map(|(of, number)| Comes::Pieces(of, number..number + 1)),
        2 => (0usize..2).prop_map(|of| Comes::Pieces(of, 0..4)),
        3 => (0usize..2).prop_map(Comes::Head),
        1 => Just(Comes::Delta),
    ]
}

proptest! {
    #[test]
    fn no_half_of_a_snapshot_is_ever_believed(coming in prop::collection::vec(comes(), 0..60)) {
        // The second is of a later counter, and has some ids of the first.
        let all = [many(8), (1..=10).map(|n| entry(n + 4, n)).collect::<Vec<_>>()];
        let pieces = [cut(&all[0], 2), cut(&all[1], 3)];
        let heads = [head(8, 10, &pieces[0]), head(10, 20, &pieces[1])];
        let signed = [signed(&heads[0]), signed(&heads[1])];
        let mut follower = follower();
        let (mut dead, mut newest) = (BTreeMap::<AnyId, u64>::new(), 0);
        let mut believed = [false; 2];
        for comes in coming {
            let before = (follower.state().rev(), follower.anchor());
            match comes {
                Comes::Pieces(of, numbers) => {
                    for piece in &pieces[of][numbers] {
                        let taken = follower.take_piece(&signed[of], &piece.text()).is_ok();
                        prop_assert_eq!((follower.state().rev(), follower.anchor()), before);
                        for row in piece.rows(None).expect("rows").iter().filter(|_| taken) {
                            let entry = row.entry().expect("an id");
                            let below = dead.entry(entry.target).or_default();
                            *below = entry.below.max(*below);
                        }
                    }
                }
                Comes::Head(of) => {
                    if applied(&mut follower, &heads[of]) == Ok(Applied::Snapshot) {
                        newest = newest.max(heads[of].to);
                        believed[of] = true;
                    } else {
                        prop_assert_eq!((follower.state().rev(), follower.anchor()), before);
                    }
                }
                Comes::Delta => {
                    let to = before.0 + 1;
                    if before.0 > 0 {
                        let delta = message(before.0, to, 30 + to as i64, &[entry(90, 1)]);
                        prop_assert_eq!(applied(&mut follower, &delta), Ok(Applied::Delta));
                        newest = to;
                        dead.insert(agent(90), 1);
                    }
                }
            }
            prop_assert_eq!(follower.state().rev(), newest);
            for (target, below) in &dead {
                prop_assert_eq!(follower.state().is_dead([*target], below - 1), Some(*target));
            }
            for (all, believed) in all.iter().zip(believed) {
                for entry in all.iter().filter(|_| believed) {
                    let told = follower.state().is_dead([entry.target], entry.below - 1);
                    prop_assert_eq!(told, Some(entry.target));
                }
            }
        }
    }
}
