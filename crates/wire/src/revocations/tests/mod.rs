mod age;
mod log;
mod pieces;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::feed::{
    Alarm, FEED_TYPE, FeedError, LaneCheckpoint, Message, MessageKind, SignedMessage,
};
use super::follower::{Applied, Follower};
use super::kept::RestoreError;
use super::state::{Entry, OVERLAY_MAX, State};
use super::table::{Row, sorted};
use super::witness::LogWitness;
use super::{Nonce, Pieces, Reading};
use crate::crypto::{Algorithm, PrivateKey};
use crate::ids::{AgentId, AnyId, InstanceId, KeyId, Kind, PersonId, TokenId};
use crate::jose::jwk::{JwkSet, VerifyingKey};
use crate::jose::jws::{JwsError, ProtectedHeader};
use crate::time::Time;
use crate::tlog::Hash;
use log::Log;

const ISSUER: &str = "https://id.example/o/dev";
const FOREVER: i64 = 4_000_000_000;

fn agent(number: u64) -> AnyId {
    let mut random = [3; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    AgentId::new(1_763_717_400_000, random).any()
}

fn entry(number: u64, below: u64) -> Entry {
    Entry { target: agent(number), below, keep_until: FOREVER }
}

fn at(seconds: i64) -> Time {
    Time::from_seconds(1_763_717_400 + seconds)
}

/// The nonce of the one question that followers here put.
const NONCE: Nonce = Nonce::new([7; 16]);

fn reading(seconds: i64) -> Reading {
    let up = (1_000_000 + seconds) * 1_000_000;
    Reading { clock: 0xc10c, up: up.try_into().expect("not before it started") }
}

fn message(from: u64, to: u64, seconds: i64, entries: &[Entry]) -> Message {
    Message {
        issuer: ISSUER.to_owned(),
        generation: 1,
        from,
        to,
        at: at(seconds),
        reading: reading(seconds),
        nonce: Some(NONCE),
        keys: Hash::new([5; 32]),
        entries: entries.to_vec(),
        pieces: Vec::new(),
        log: Vec::new(),
    }
}

struct FeedKey {
    private: PrivateKey,
    header: ProtectedHeader,
    set: JwkSet,
}

impl FeedKey {
    fn new(seed: u8, typ: &str) -> Self {
        let private = PrivateKey::ed25519_from_seed(&[seed; 32]).expect("a key");
        let key = private.public().expect("its public half");
        let set = JwkSet::new(vec![VerifyingKey { kid: "feed".to_owned(), key }]).expect("a set");
        let header = ProtectedHeader::new(typ, Algorithm::EdDsa, Some("feed")).expect("a header");
        Self { private, header, set }
    }

    /// The key with an id of ours.
    fn with_id(seed: u8, id: KeyId) -> Self {
        let Self { private, .. } = Self::new(seed, FEED_TYPE);
        let kid = id.to_string();
        let key = private.public().expect("its public half");
        let header = ProtectedHeader::new(FEED_TYPE, Algorithm::EdDsa, Some(&kid));
        let set = JwkSet::new(vec![VerifyingKey { kid, key }]).expect("a set");
        Self { private, header: header.expect("a header"), set }
    }

    fn signed(&self, message: &Message) -> SignedMessage {
        SignedMessage::verify(&self.sign(message), &self.set, ISSUER).expect("signed")
    }

    fn sign(&self, message: &Message) -> String {
        let input = message.signing_input(&self.header);
        let signature = self.private.sign(input.bytes()).expect("a signature");
        input.finish(&signature)
    }
}

fn signed(message: &Message) -> SignedMessage {
    let key = FeedKey::new(1, FEED_TYPE);
    SignedMessage::verify(&key.sign(message), &key.set, ISSUER).expect("signed")
}

fn follower() -> Follower {
    asking(Follower::new(ISSUER.to_owned(), None))
}

/// After it has put a question, long ago.
fn asking(mut follower: Follower) -> Follower {
    follower.ask(NONCE, at(-1000));
    follower
}

fn applied(follower: &mut Follower, message: &Message) -> Result<Applied, FeedError> {
    follower.apply(&signed(message), &[], message.at)
}

// The set.

#[test]
fn a_thing_is_dead_below_and_alive_from_then_on() {
    let state = State::new(1, 9, at(0), &[entry(1, 5)]);
    assert_eq!(state.is_dead([agent(2), agent(1)], 4), Some(agent(1)));
    assert_eq!(state.is_dead([agent(2), agent(1)], 5), None);
    assert_eq!(state.is_dead([agent(2)], 0), None);
    assert_eq!(State::unknown().is_dead([agent(1)], 0), None);
}

#[test]
fn a_signing_key_is_dead_whatever_rev_its_thief_writes() {
    let key = KeyId::new(1, [3; 10]);
    let entries = [Entry { target: key.any(), below: 5, keep_until: FOREVER }];
    let state = State::new(1, 9, at(0), &entries);
    for rev in [0, 4, 5, 6, u64::MAX] {
        assert_eq!(state.is_dead([agent(1), key.any()], rev), Some(key.any()), "{rev}");
    }
    assert!(state.has_key(key));
    assert!(!state.has_key(KeyId::new(2, [3; 10])));
}

#[test]
fn the_same_bits_of_another_kind_are_another_target() {
    let person = PersonId::from_bits(agent(1).bits()).expect("the same bits").any();
    let state = State::new(1, 9, at(0), &[entry(1, 5)]);
    assert_eq!(state.is_dead([person], 0), None);
}

#[test]
fn entries_of_every_kind_come_out_as_they_went_in() {
    let ids = Kind::ALL.map(|kind| agent(1).to_string().replace("agt", kind.prefix()));
    let entry =
        |id: &String| Entry { target: id.parse().expect("an id"), below: 3, keep_until: FOREVER };
    let entries: Vec<Entry> = ids.iter().map(entry).collect();
    let state = State::new(1, 9, at(0), &entries);
    let out: Vec<Entry> = state.entries().collect();
    assert_eq!(out.len(), Kind::ALL.len());
    assert!(entries.iter().all(|entry| out.contains(entry)));
}

#[test]
fn a_merge_forgets_what_is_past_its_time_and_nothing_else() {
    let now = at(0).seconds();
    let kept = |number: u64, keep_until: i64| Entry { keep_until, ..entry(number, 5) };
    let old = [kept(1, now - 1), kept(2, now)];
    let mut state = State::new(1, 9, at(50), &old).forgetting(at(0));
    assert_eq!(state.is_dead([agent(1)], 0), Some(agent(1)), "not before a merge");
    let many: Vec<Entry> = (10..11 + OVERLAY_MAX as u64).map(|n| entry(n, 5)).collect();
    state = state.with(&many);
    assert_eq!(state.is_dead([agent(1)], 0), None);
    assert_eq!(state.is_dead([agent(2)], 0), Some(agent(2)));
    assert_eq!(state.len(), many.len() + 1);
}

#[test]
fn an_entry_takes_at_most_30_bytes_and_the_old_state_stays_as_it_was() {
    for count in [1_000_u64, 16_384, 16_385, 65_537, 100_000] {
        let entries: Vec<Entry> = (0..count).map(|number| entry(number, 1 + number)).collect();
        let state = State::new(1, count, at(0), &entries);
        assert_eq!(state.len(), count as usize);
        assert!(state.bytes() <= 30 * count as usize, "{} for {count}", state.bytes());
        for number in (0..count).step_by(97) {
            assert_eq!(state.is_dead([agent(number)], number), Some(agent(number)));
            assert_eq!(state.is_dead([agent(number)], number + 1), None);
            assert_eq!(state.is_dead([agent(number + count)], 0), None);
        }
        let next = state.with(&[entry(count + 5, 1)]);
        assert_eq!(next.is_dead([agent(count + 5)], 0), Some(agent(count + 5)));
        assert_eq!(state.is_dead([agent(count + 5)], 0), None);
    }
}

#[test]
fn numbers_that_lie_far_apart_are_kept_as_they_are() {
    let above = |number: u64| Entry {
        keep_until: if number.is_multiple_of(3) { i64::MAX } else { FOREVER },
        ..entry(number, if number.is_multiple_of(2) { (7 << 40) + number } else { number })
    };
    let entries: Vec<Entry> = (1..1000).map(above).collect();
    let mut state = State::new(1, 1 << 44, at(0), &[]);
    for part in entries.chunks(70) {
        state = state.with_rows(&sorted(part));
    }
    let mut out: Vec<Entry> = state.entries().collect();
    out.sort_unstable_by_key(|entry| entry.target);
    assert_eq!(out, entries);
    assert_eq!(state.is_dead([agent(2)], (7 << 40) + 1), Some(agent(2)));
    assert_eq!(state.is_dead([agent(3)], 3), None);
}

#[test]
fn a_large_set_that_grows_by_deltas_and_pieces_answers_like_a_map() {
    // Enough for shards of several sizes, and for each id to come more than once.
    let random = |step: u64| (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % 60_000;
    let mut model = BTreeMap::<u64, u64>::new();
    let mut state = State::new(1, 1 << 20, at(0), &[]);
    let mut step = 0;
    for round in 0..60 {
        let count = [1, 50, 4096, 5000][round % 4];
        let part: Vec<Entry> = (step..step + count).map(|s| entry(random(s), 1 + s)).collect();
        step += count;
        for (entry, number) in part.iter().zip((step - count..).map(random)) {
            let below = model.entry(number).or_default();
            *below = entry.below.max(*below);
        }
        state = if round % 8 < 4 { state.with(&part) } else { state.with_rows(&sorted(&part)) };
    }
    for number in 0..60_000 {
        let below = model.get(&number).copied().unwrap_or(0);
        assert_eq!(state.is_dead([agent(number)], below), None, "{number}");
        let dead = below > 0 && state.is_dead([agent(number)], below - 1).is_some();
        assert_eq!(dead, below > 0, "{number}");
    }
    let mut out: Vec<_> = state.entries().map(|entry| (entry.target, entry.below)).collect();
    out.sort_unstable();
    let expected: Vec<_> = model.into_iter().map(|(n, below)| (agent(n), below)).collect();
    assert_eq!(out, expected, "each id once");
    // Cut into pieces and put together again, from any place on, it is the same.
    let mut again = State::new(1, 1 << 20, at(0), &[]);
    let mut last = None;
    for piece in Pieces::of(state.clone()) {
        let rows = piece.rows(last).expect("a piece");
        last = rows.last().map(Row::order);
        again = again.with_rows(&rows);
    }
    assert!(again.entries().eq(state.entries()));
}

#[test]
fn what_is_there_already_is_not_made_anew() {
    let entries: Vec<Entry> = (0..50_000).map(|number| entry(number, 1 + number)).collect();
    let state = State::new(1, 50_000, at(0), &entries);
    let again = state.with_rows(&sorted(&entries));
    assert!(state.shares_all_with(&again));
    let other = state.with_rows(&sorted(&[entry(7, 50_000)]));
    assert!(!state.shares_all_with(&other));
    let over = state.clone().forgetting(Time::from_seconds(FOREVER + 1));
    assert_eq!(over.with_rows(&sorted(&entries)).len(), 0, "what is over goes all the same");
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (0u64..20, 1u64..30, 0i64..3).prop_map(|(number, below, keep)| Entry {
        keep_until: FOREVER + keep,
        ..entry(number, below)
    })
}

proptest! {
    #[test]
    fn the_set_answers_like_a_map(
        parts in prop::collection::vec(prop::collection::vec(any_entry(), 0..12), 0..6),
        rev in 0u64..31,
    ) {
        let mut model = BTreeMap::<AnyId, u64>::new();
        let mut state = State::new(1, 40, at(0), &[]);
        for part in &parts {
            state = state.with(part);
            for entry in part {
                let below = model.entry(entry.target).or_default();
                *below = entry.below.max(*below);
            }
        }
        for number in 0..21 {
            let dead = model.get(&agent(number)).is_some_and(|below| rev < *below);
            prop_assert_eq!(state.is_dead([agent(number)], rev).is_some(), dead);
        }
        let mut out: Vec<_> = state.entries().map(|e| (e.target, e.below)).collect();
        out.sort_unstable();
        prop_assert_eq!(out, model.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn deltas_in_any_split_equal_one_snapshot_and_repeating_them_is_harmless(
        targets in prop::collection::vec(0u64..12, 1..30),
        cuts in prop::collection::btree_set(1u64..30, 0..6),
        again in any::<prop::sample::Index>(),
    ) {
        let last = targets.len() as u64;
        let all: Vec<Entry> =
            targets.iter().zip(1..).map(|(&target, rev)| entry(target, rev)).collect();
        let mut one = follower();
        applied(&mut one, &message(0, last, 100, &all)).expect("a snapshot");

        let mut other = follower();
        applied(&mut other, &message(0, 0, 1, &[])).expect("an empty snapshot");
        let ends: Vec<u64> = cuts.into_iter().filter(|&cut| cut < last).chain([last]).collect();
        let mut deltas = Vec::new();
        let mut from = 0;
        for (&to, seconds) in ends.iter().zip(2..) {
            if from > 0 {
                deltas.push(message(from, to, seconds, &all[from as usize..to as usize]));
            } else {
                deltas.push(message(0, to, seconds, &all[..to as usize]));
            }
            from = to;
        }
        for delta in &deltas {
            applied(&mut other, delta).expect("a delta");
            applied(&mut other, &deltas[again.index(deltas.len())]).ok();
        }
        prop_assert_eq!(other.state().rev(), one.state().rev());
        for number in 0..13 {
            for rev in 0..=last {
                prop_assert_eq!(
                    other.state().is_dead([agent(number)], rev),
                    one.state().is_dead([agent(number)], rev)
                );
            }
        }
    }
}

// Messages.

#[test]
fn nothing_counts_that_a_revoked_feed_key_signs() {
    let [old, new] = [1, 2].map(|number| KeyId::new(number, [4; 10]));
    let (thief, issuer) = (FeedKey::with_id(1, old), FeedKey::with_id(2, new));
    let mut follower = follower();
    let mut take = |by: &FeedKey, message: &Message| {
        let outcome = follower.apply(&by.signed(message), &[], message.at);
        (outcome, follower.state().clone())
    };
    take(&thief, &message(0, 5, 1, &[])).0.expect("it stands still");
    let entries = [Entry { target: old.any(), below: 6, keep_until: FOREVER }];
    take(&issuer, &message(5, 6, 2, &entries)).0.expect("its end");
    // Neither a delta, a heartbeat, a snapshot nor another generation: no entry, no time, no counter.
    let mut generation = message(0, 1 << 41, 9, &[entry(1, 9)]);
    generation.generation = 2;
    let heartbeat = message(6, 6, 9, &[]);
    let (delta, snapshot) = (message(6, 9, 9, &[entry(1, 9)]), message(0, 9, 9, &[entry(1, 9)]));
    for forged in [&delta, &heartbeat, &snapshot, &generation] {
        let (outcome, state) = take(&thief, forged);
        assert_eq!(outcome, Err(FeedError::RevokedKey(old)));
        assert_eq!(state.is_dead([agent(1)], 0), None);
        assert_eq!((state.generation(), state.rev(), state.server_time()), (1, 6, at(2)));
    }
    let (outcome, state) = take(&issuer, &delta);
    assert_eq!(outcome, Ok(Applied::Delta));
    assert_eq!(state.is_dead([agent(1)], 0), Some(agent(1)));
}

#[test]
fn the_payload_is_what_the_formats_say() {
    let mut message = message(16, 17, 0, &[entry(1, 17)]);
    message.log.push(LaneCheckpoint {
        lane: 0,
        note: "a\nb\n".to_owned(),
        from: 100,
        proof: vec![Hash::new([0; 32])],
    });
    let hash = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let expected = format!(
        concat!(
            r#"{{"iss":"https://id.example/o/dev","v":1,"gen":1,"from":16,"to":17,"#,
            r#""at":1763717400000000,"clock":"000000000000c10c","up":1000000000000,"#,
            r#""nonce":"07070707070707070707070707070707","keys":"{}","#,
            r#""entries":[{{"t":"{}","b":17,"k":4000000000}}],"#,
            r#""log":[{{"lane":0,"note":"a\nb\n","from":100,"proof":["{}"]}}]}}"#
        ),
        "05".repeat(32),
        agent(1),
        hash
    );
    assert_eq!(String::from_utf8(message.to_payload()).expect("text"), expected);
    assert_eq!(signed(&message).message(), &message);
    message.nonce = None;
    assert_eq!(
        expected.replace(&format!(r#""nonce":"{NONCE}","#), "").as_bytes(),
        message.to_payload()
    );
    assert_eq!(signed(&message).message(), &message);
}

#[test]
fn counters_tell_what_a_message_is() {
    assert_eq!(message(0, 0, 0, &[]).kind(), MessageKind::Snapshot);
    assert_eq!(message(0, 7, 0, &[]).kind(), MessageKind::Snapshot);
    assert_eq!(message(7, 7, 0, &[]).kind(), MessageKind::Heartbeat);
    assert_eq!(message(6, 7, 0, &[]).kind(), MessageKind::Delta);
}

#[test]
fn only_the_feed_key_and_the_feed_type_are_believed() {
    let good = FeedKey::new(1, FEED_TYPE);
    let text = good.sign(&message(0, 1, 0, &[]));
    let verify = |text: &str| SignedMessage::verify(text, &good.set, ISSUER).map(|_| ());
    assert_eq!(verify(&text), Ok(()));
    let other = FeedKey::new(2, FEED_TYPE).sign(&message(0, 1, 0, &[]));
    assert_eq!(verify(&other), Err(FeedError::Jws(JwsError::Signature)));
    let typ = FeedKey::new(1, "at+jwt").sign(&message(0, 1, 0, &[]));
    assert!(matches!(verify(&typ), Err(FeedError::Jws(JwsError::Typ { .. }))));
    let foreign =
        Message { issuer: "https://id.example/o/evil".to_owned(), ..message(0, 1, 0, &[]) };
    assert_eq!(verify(&good.sign(&foreign)), Err(FeedError::Issuer));
    assert!(matches!(verify(&format!("{text}=")), Err(FeedError::Jws(_))));
    let none = JwkSet::default();
    let unknown = SignedMessage::verify(&text, &none, ISSUER).map(|_| ());
    assert_eq!(unknown, Err(FeedError::UnknownKey));
}

#[test]
fn a_payload_that_is_not_of_a_known_form_is_refused() {
    let key = FeedKey::new(1, FEED_TYPE);
    let good = String::from_utf8(message(1, 3, 0, &[entry(1, 3)]).to_payload()).expect("text");
    let verify = |payload: &str| {
        let input =
            crate::jose::jws::SigningInput::new(&key.header, payload.as_bytes()).expect("short");
        let signature = key.private.sign(input.bytes()).expect("a signature");
        SignedMessage::verify(&input.finish(&signature), &key.set, ISSUER).map(|_| ())
    };
    assert_eq!(verify(&good), Ok(()));
    for (from, to) in [
        (r#""v":1"#, r#""v":2"#),
        (r#""v":1"#, r#""v":1,"v":1"#),
        (r#""v":1"#, r#""v":1,"x":1"#),
        (r#""gen":1"#, r#""gen":0"#),
        (r#""gen":1"#, r#""gen":-1"#),
        (r#""from":1"#, r#""from":4"#),
        (r#""from":1"#, r#""from":3"#),
        (r#""b":3"#, r#""b":4"#),
        (r#""b":3"#, r#""b":3,"x":1"#),
        (r#""t":"agt_"#, r#""t":"AGT_"#),
        (r#""log":[]"#, r#""log":[{"lane":0,"note":"","from":1,"proof":["AA=="]}]"#),
        (r#""v":1"#, r#""v":2,"pieces":[]"#),
        (r#""log":[]"#, r#""log":[{"lane":0,"note":""},{"lane":0,"note":""}]"#),
        (r#""to":3"#, r#""to":"3""#),
        (r#""up":1"#, r#""up":-1"#),
        (r#""clock":"0"#, r#""clock":"+"#),
        (r#""clock":"0"#, r#""clock":""#),
        (r#""clock":"000000000000c"#, r#""clock":"000000000000C"#),
        (r#""nonce":"0"#, r#""nonce":"+"#),
        (r#""nonce":"0"#, r#""nonce":""#),
        (r#""nonce":"07"#, r#""nonce":"0A"#),
    ] {
        let bent = good.replacen(from, to, 1);
        assert_ne!(bent, good, "{from}");
        assert!(matches!(verify(&bent), Err(FeedError::Malformed(_))), "{to}");
    }
}

// Following.

#[test]
fn a_gap_needs_a_snapshot_and_still_kills() {
    let mut follower = follower();
    assert_eq!(applied(&mut follower, &message(3, 4, 0, &[])), Err(FeedError::NeedsSnapshot));
    assert!(follower.anchor().is_none());
    assert_eq!(applied(&mut follower, &message(0, 4, 0, &[])), Ok(Applied::Snapshot));
    assert_eq!(
        applied(&mut follower, &message(5, 6, 1, &[entry(1, 6)])),
        Err(FeedError::NeedsSnapshot)
    );
    assert_eq!(applied(&mut follower, &message(6, 6, 2, &[])), Err(FeedError::NeedsSnapshot));
    assert_eq!(follower.state().rev(), 4);
    assert_eq!(follower.state().server_time(), at(0), "not younger");
    assert_eq!(follower.state().is_dead([agent(1)], 5), Some(agent(1)));
    assert_eq!(applied(&mut follower, &message(4, 6, 3, &[entry(1, 6)])), Ok(Applied::Delta));
    assert_eq!(applied(&mut follower, &message(6, 6, 4, &[])), Ok(Applied::Heartbeat));
    assert_eq!(follower.state().server_time(), at(4));
}

#[test]
fn an_old_message_told_again_refreshes_nothing() {
    let mut follower = follower();
    let snapshot = message(0, 4, 0, &[entry(1, 4)]);
    applied(&mut follower, &snapshot).expect("a snapshot");
    applied(&mut follower, &message(4, 5, 10, &[entry(2, 5)])).expect("a delta");
    let before = follower.anchor();
    for old in [snapshot, message(4, 4, 9, &[]), message(4, 5, 10, &[entry(2, 5)])] {
        assert_eq!(follower.apply(&signed(&old), &[], at(500)), Ok(Applied::Old));
    }
    assert_eq!(follower.anchor(), before);
}

#[test]
fn a_rolled_back_server_raises_an_alarm_and_the_union_is_kept() {
    let mut follower = follower();
    applied(&mut follower, &message(0, 7, 0, &[entry(1, 7)])).expect("a snapshot");
    let back = applied(&mut follower, &message(0, 5, 20, &[entry(2, 5)]));
    let alarm = Alarm::RolledBack { held: (1, 7), offered: (1, 5) };
    assert_eq!(back, Err(FeedError::Alarm(alarm.clone())));
    assert!(alarm.to_string().contains("from revocation 7 of generation 1 to revocation 5"));
    assert_eq!(follower.state().rev(), 7);
    assert_eq!(follower.state().server_time(), at(0));
    assert_eq!(follower.state().is_dead([agent(1)], 6), Some(agent(1)));
    assert_eq!(follower.state().is_dead([agent(2)], 4), Some(agent(2)));
    let heartbeat = applied(&mut follower, &message(5, 5, 40, &[]));
    assert!(matches!(heartbeat, Err(FeedError::Alarm(_))));
}

#[test]
fn a_new_generation_needs_a_snapshot_above_any_counter_seen() {
    let restored = |from, to, seconds, entries: &[Entry]| Message {
        generation: 2,
        ..message(from, to, seconds, entries)
    };
    let mut follower = follower();
    applied(&mut follower, &message(0, 7, 0, &[entry(1, 7)])).expect("a snapshot");
    let delta = applied(&mut follower, &restored(7, 8, 1, &[]));
    assert_eq!(delta, Err(FeedError::NeedsSnapshot));
    let low = applied(&mut follower, &restored(0, 6, 2, &[]));
    assert!(matches!(low, Err(FeedError::Alarm(Alarm::RolledBack { .. }))));
    assert_eq!(applied(&mut follower, &restored(0, 8, 3, &[])), Ok(Applied::Snapshot));
    assert_eq!(follower.state().generation(), 2);
    assert_eq!(follower.state().is_dead([agent(1)], 6), Some(agent(1)), "the union is kept");
    let old = applied(&mut follower, &message(0, 9, 4, &[]));
    assert!(matches!(old, Err(FeedError::Alarm(Alarm::RolledBack { .. }))));
}

#[test]
fn a_message_of_another_issuer_is_refused() {
    let mut other = Follower::new("https://id.example/o/other".to_owned(), None);
    assert_eq!(other.apply(&signed(&message(0, 1, 0, &[])), &[], at(0)), Err(FeedError::Issuer));
}

#[test]
fn what_was_written_to_disk_goes_on_where_it_was() {
    let mut log = Log::new(b'a', 3);
    let first = Follower::new(ISSUER.to_owned(), Some(LogWitness::new(log.vkeys())));
    let mut first = asking(first);
    assert_eq!(first.to_bytes(at(0)), None);
    let mut snapshot = message(0, 7, 0, &[entry(1, 7), entry(2, 3)]);
    snapshot.log = vec![log.checkpoint(0)];
    first.apply(&signed(&snapshot), &[], at(-30)).expect("a snapshot");
    first.ask(Nonce::new([8; 16]), at(-40));
    let again = Message { nonce: Some(Nonce::new([8; 16])), reading: reading(1), ..snapshot };
    first.apply(&signed(&again), &[], at(-30)).expect("a snapshot");
    let bytes = first.to_bytes(at(40)).expect("bytes");
    let mut again = Follower::from_bytes(&bytes, ISSUER, Some(log.vkeys())).expect("again");
    let anchor = again.anchor().expect("an anchor");
    assert_eq!(
        (anchor.at(), anchor.received_at(), anchor.signed_after()),
        (at(0), at(-30), at(-40))
    );
    assert_eq!(anchor.reading(), None, "which no message goes on from");
    assert_eq!(again.seen(), at(40));
    assert_eq!(again.state().is_dead([agent(1)], 6), Some(agent(1)));
    assert_eq!((again.state().rev(), again.state().generation()), (7, 1));
    log.append(b'b');
    let mut heartbeat = message(7, 7, 60, &[]);
    heartbeat.log = vec![log.checkpoint(0)];
    assert_eq!(applied(&mut again, &heartbeat), Ok(Applied::Old), "nothing says that it is later");
    again.ask(NONCE, at(50));
    let needs = FeedError::NeedsProof { lane: 0, from: 3, to: 4 };
    assert_eq!(applied(&mut again, &heartbeat), Err(needs), "the witness goes on too");

    assert_eq!(
        Follower::from_bytes(&bytes, "https://id.example/o/x", None).err(),
        Some(RestoreError::Issuer)
    );
    for cut in [0, 1, 20, bytes.len() / 2, bytes.len() - 1] {
        assert!(Follower::from_bytes(&bytes[..cut], ISSUER, None).is_err(), "{cut}");
    }
    let text = String::from_utf8(bytes).expect("text");
    let bent = text.replace("\"rev\":7", "\"rev\":8");
    assert_eq!(
        Follower::from_bytes(bent.as_bytes(), ISSUER, None).err(),
        Some(RestoreError::Checksum)
    );
}

#[test]
fn a_token_or_an_instance_is_a_target_like_any_other() {
    let token = TokenId::new(5, [5; 10]).any();
    let instance = InstanceId::new(6, [6; 10]).any();
    let target = |target| Entry { target, below: 2, keep_until: FOREVER };
    let state = State::new(1, 2, at(0), &[target(token), target(instance)]);
    assert_eq!(state.is_dead([token], 1), Some(token));
    assert_eq!(state.is_dead([instance], 1), Some(instance));
}
