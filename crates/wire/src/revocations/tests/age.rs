//! The age of a state against a model that knows the true time: whatever an attacker on the
//! network and the clocks do, a state never looks younger than it is, and one answer mends it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::revocations::Anchor;
use crate::revocations::age::{BACKWARDS_MAX, DRIFT};

const SECOND: Duration = Duration::from_secs(1);

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A heartbeat for everybody.
fn heartbeat(clock: u64, up: u64, at: Time) -> Message {
    Message { reading: Reading { clock, up }, nonce: None, at, ..message(1, 1, 0, &[]) }
}

/// The snapshot that answers a question.
fn answer(clock: u64, up: u64, at: Time, nonce: Nonce) -> Message {
    Message { from: 0, nonce: Some(nonce), ..heartbeat(clock, up, at) }
}

fn nonce(number: u8) -> Nonce {
    Nonce::new([number; 16])
}

fn age(follower: &Follower, now: Time) -> Option<Duration> {
    follower.anchor().and_then(|anchor| anchor.age(now, follower.seen()))
}

/// Asked at 0 and answered at 1, with the server's clock at 1000 seconds.
fn answered() -> Follower {
    let mut follower = Follower::new(ISSUER.to_owned(), None);
    follower.ask(nonce(1), at(0));
    let first = answer(1, 1_000_000_000, at(0), nonce(1));
    assert_eq!(follower.apply(&signed(&first), &[], at(1)), Ok(Applied::Snapshot));
    follower
}

#[test]
fn without_an_answer_no_age_is_known_and_entries_count() {
    let mut follower = Follower::new(ISSUER.to_owned(), None);
    let snapshot = Message { nonce: None, ..message(0, 4, 0, &[entry(1, 4)]) };
    assert_eq!(follower.apply(&signed(&snapshot), &[], at(0)), Ok(Applied::Snapshot));
    assert!(follower.anchor().is_none());
    assert_eq!(follower.state().is_dead([agent(1)], 3), Some(agent(1)));
    // Neither does an answer to a question that nobody put, or not yet.
    for question in [NONCE, nonce(2)] {
        follower.ask(nonce(2), at(50));
        let told = Message { nonce: Some(question), ..message(0, 4, 2, &[]) };
        assert_eq!(follower.apply(&signed(&told), &[], at(2)), Ok(Applied::Old));
        assert!(follower.anchor().is_none());
    }
}

#[test]
fn an_answer_is_as_old_as_its_question_and_what_follows_it_is_younger() {
    let mut follower = answered();
    assert_eq!(age(&follower, at(21)), Some(seconds(21)));
    // Signed 20 s later, held back for 30 s: known to be 31 s old, and no younger.
    let late = heartbeat(1, 1_020_000_000, at(20));
    assert_eq!(follower.apply(&signed(&late), &[], at(51)), Ok(Applied::Heartbeat));
    let shown = age(&follower, at(51)).expect("an age");
    assert!((seconds(31)..seconds(32)).contains(&shown), "{shown:?}");
}

#[test]
fn a_wrong_time_of_day_at_the_server_changes_no_age_and_is_mended() {
    let mut follower = answered();
    // Ahead by a year for one heartbeat, then right, then far behind.
    for (up, wall) in [(1_020, 365 * 86_400), (1_040, 40), (1_060, -9_000_000), (1_080, 80)] {
        let beat = heartbeat(1, up * 1_000_000, at(wall));
        let now = at(up as i64 - 999);
        assert_eq!(follower.apply(&signed(&beat), &[], now), Ok(Applied::Heartbeat));
        let shown = age(&follower, now).expect("an age");
        assert!(shown < seconds(2), "{shown:?} at {wall}");
        assert_eq!(follower.anchor().expect("an anchor").at(), at(wall));
    }
    let time = follower.anchor().expect("an anchor").server_time(at(81));
    assert!((at(81)..at(83)).contains(&time), "{time}");
    // And the next process of the server, whose clock begins anew.
    follower.ask(nonce(2), at(90));
    let first = answer(2, 5, at(-7), nonce(2));
    assert_eq!(follower.apply(&signed(&first), &[], at(90)), Ok(Applied::Snapshot));
    assert_eq!(age(&follower, at(91)), Some(SECOND));
}

#[test]
fn messages_of_an_earlier_life_of_the_server_refresh_nothing() {
    let mut follower = answered();
    // Asked of the first process, whose answer is held back.
    follower.ask(nonce(2), at(10));
    let held_back = answer(1, 1_010_000_000, at(10), nonce(2));
    follower.ask(nonce(3), at(20));
    let now = answer(2, 5_000_000, at(20), nonce(3));
    assert_eq!(follower.apply(&signed(&now), &[], at(20)), Ok(Applied::Snapshot));
    let anchor = follower.anchor();
    for old in [held_back, heartbeat(1, 1_019_000_000, at(19)), heartbeat(1, u64::MAX, at(5000))] {
        assert_eq!(follower.apply(&signed(&old), &[], at(21)), Ok(Applied::Old));
        assert_eq!(follower.anchor(), anchor);
    }
    // The same under one clock, and the answer told again.
    let next = heartbeat(2, 6_000_000, at(21));
    assert_eq!(follower.apply(&signed(&next), &[], at(21)), Ok(Applied::Heartbeat));
    for old in [now, heartbeat(2, 5_500_000, at(20)), next] {
        assert_eq!(follower.apply(&signed(&old), &[], at(22)), Ok(Applied::Old));
    }
}

#[test]
fn a_local_clock_that_jumps_forwards_makes_a_state_older_until_the_next_answer() {
    let mut follower = answered();
    let beat = heartbeat(1, 1_020_000_000, at(20));
    assert_eq!(follower.apply(&signed(&beat), &[], at(521)), Ok(Applied::Heartbeat));
    assert!(age(&follower, at(521)).expect("an age") >= seconds(501));
    follower.ask(nonce(2), at(522));
    let told = answer(1, 1_021_000_000, at(21), nonce(2));
    assert_eq!(follower.apply(&signed(&told), &[], at(522)), Ok(Applied::Snapshot));
    assert_eq!(age(&follower, at(522)), Some(Duration::ZERO));
    let beat = heartbeat(1, 1_041_000_000, at(41));
    assert_eq!(follower.apply(&signed(&beat), &[], at(542)), Ok(Applied::Heartbeat));
    assert!(age(&follower, at(542)).expect("an age") < SECOND);
}

#[test]
fn after_the_local_clock_is_set_back_nobody_knows_the_age_until_an_answer() {
    let anchor = Anchor::current(at(0));
    assert_eq!(anchor.age(at(100).minus(BACKWARDS_MAX), at(100)), Some(seconds(95)));
    assert_eq!(anchor.age(at(94), at(100)), None);
    assert_eq!(anchor.age(at(-6), at(-6)), None, "before the message came");

    let mut follower = answered();
    for up in [1_020, 1_021] {
        let beat = heartbeat(1, up * 1_000_000, at(20));
        assert_eq!(follower.apply(&signed(&beat), &[], at(-100)), Ok(Applied::Old));
        assert_eq!(age(&follower, at(-100)), None);
    }
    // The answer to a question of before came before it was put: it says nothing.
    follower.ask(nonce(2), at(5));
    let told = answer(1, 1_022_000_000, at(22), nonce(2));
    assert_eq!(follower.apply(&signed(&told), &[], at(-99)), Ok(Applied::Old));
    follower.ask(nonce(3), at(-98));
    let told = answer(1, 1_023_000_000, at(23), nonce(3));
    assert_eq!(follower.apply(&signed(&told), &[], at(-97)), Ok(Applied::Snapshot));
    assert_eq!(age(&follower, at(-97)), Some(SECOND));
}

#[test]
fn a_server_that_is_ahead_makes_nobody_forget_what_has_ended() {
    let mut follower = Follower::new(ISSUER.to_owned(), None);
    follower.ask(nonce(1), at(0));
    let kept = Entry { keep_until: at(3720).seconds(), ..entry(1, 1) };
    let ahead = answer(1, 5, at(40 * 86_400), nonce(1));
    let ahead = Message { entries: vec![kept], ..ahead };
    assert_eq!(follower.apply(&signed(&ahead), &[], at(0)), Ok(Applied::Snapshot));
    assert_eq!(follower.state().len(), 1);
    let right = heartbeat(1, 6_000_000, at(7));
    assert_eq!(follower.apply(&signed(&right), &[], at(7)), Ok(Applied::Heartbeat));
    let bytes = follower.to_bytes(at(7)).expect("bytes");
    let again = Follower::from_bytes(&bytes, ISSUER, None).expect("again");
    assert_eq!(again.state().is_dead([agent(1)], 0), Some(agent(1)));
}

#[test]
fn nonces_are_read_in_one_spelling() {
    for text in ["07".repeat(16), "f".repeat(32), "0".repeat(32)] {
        assert_eq!(text.parse::<Nonce>().expect("a nonce").to_string(), text);
    }
    for text in ["", "0", &"F".repeat(32), &"+".repeat(32), &"0".repeat(31), &"0".repeat(33)] {
        assert!(text.parse::<Nonce>().is_err(), "{text}");
    }
}

/// What happens next, in the model.
#[derive(Clone, Debug)]
enum Step {
    /// Time goes on, microseconds.
    Wait(u64),
    /// The local time jumps forwards, microseconds.
    Jump(u64),
    /// The server's time of day is set to anything.
    Set(i64),
    /// A new process of the server.
    Restart,
    /// A message for everybody goes on its way.
    Beat,
    /// A question is put and its answer goes on its way.
    Ask,
    /// Any message that was ever sent comes.
    Deliver(prop::sample::Index),
    /// The follower's process starts again, from what it wrote.
    Reread,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..90_000_000).prop_map(Step::Wait),
        1 => (0u64..200_000_000_000).prop_map(Step::Jump),
        1 => (-9_000_000i64..9_000_000).prop_map(Step::Set),
        1 => Just(Step::Restart),
        4 => Just(Step::Beat),
        3 => Just(Step::Ask),
        6 => any::<prop::sample::Index>().prop_map(Step::Deliver),
        1 => Just(Step::Reread),
    ]
}

/// The world as it truly is.
struct Model {
    /// The true time, microseconds.
    now: u64,
    /// How far the local clock is off.
    local: i64,
    /// By how many millionths the server's monotonic clock is fast.
    fast: i64,
    /// Which process of the server runs, and since when.
    server: (u64, u64),
    wall: Time,
    /// Every message ever sent, with the true time of its signature.
    sent: Vec<(Message, u64)>,
    asked: u8,
}

impl Model {
    fn local(&self) -> Time {
        at(0).plus(Duration::from_micros(self.now)).plus(Duration::from_micros(self.local as u64))
    }

    fn up(&self) -> u64 {
        let since = (self.now - self.server.1) as i64;
        (since + since * self.fast / 1_000_000) as u64
    }

    fn send(&mut self, nonce: Option<Nonce>) {
        let beat = heartbeat(self.server.0, self.up(), self.wall);
        let message = match nonce {
            Some(_) => Message { from: 0, nonce, ..beat },
            None => beat,
        };
        self.sent.push((message, self.now));
    }

    fn ask(&mut self, follower: &mut Follower) {
        self.asked += 1;
        let nonce = nonce(self.asked);
        follower.ask(nonce, self.local());
        self.send(Some(nonce));
    }

    /// The true time at which the message was signed whose reading is held.
    fn signed_at(&self, reading: Reading) -> u64 {
        let of = |(message, _): &&(Message, u64)| message.reading == reading;
        self.sent.iter().filter(of).map(|(_, signed)| *signed).max().expect("a message")
    }
}

proptest! {
    #[test]
    fn no_state_ever_looks_younger_than_it_is(
        steps in prop::collection::vec(step(), 1..60),
        fast in -1900i64..1900,
        local in 0i64..1_000_000_000,
    ) {
        // As far apart as two clocks may be.
        prop_assert!(fast.unsigned_abs() * DRIFT < 1_000_000);
        let mut model = Model {
            now: 0,
            local,
            fast,
            server: (1, 0),
            wall: at(0),
            sent: Vec::new(),
            asked: 0,
        };
        let mut follower = Follower::new(ISSUER.to_owned(), None);
        // What is held was signed at this true time.
        let mut held = None;
        model.ask(&mut follower);
        for step in steps {
            match step {
                Step::Wait(micros) => model.now += micros,
                Step::Jump(micros) => model.local += micros as i64,
                Step::Set(seconds) => model.wall = at(seconds),
                Step::Restart => model.server = (model.server.0 + 1, model.now),
                Step::Beat => model.send(None),
                Step::Ask => model.ask(&mut follower),
                Step::Deliver(which) => {
                    let message = which.get(&model.sent).0.clone();
                    let before = follower.anchor();
                    let told = follower.apply(&signed(&message), &[], model.local());
                    prop_assert!(
                        matches!(told, Ok(_) | Err(FeedError::NeedsSnapshot)),
                        "an honest server raised an alarm: {:?}", told
                    );
                    if follower.anchor() != before {
                        held = Some(model.signed_at(message.reading));
                    }
                }
                Step::Reread => if let Some(bytes) = follower.to_bytes(model.local()) {
                    follower = Follower::from_bytes(&bytes, ISSUER, None).expect("read");
                },
            }
            if let Some(signed_at) = held {
                let shown = age(&follower, model.local()).expect("no clock was set back");
                let truly = Duration::from_micros(model.now - signed_at);
                prop_assert!(shown >= truly, "{:?} old, and shown as {:?}", truly, shown);
            }
        }
        // Whatever was, one answer in time mends it.
        model.now += 1;
        model.ask(&mut follower);
        let last = model.sent.last().expect("the answer").0.clone();
        prop_assert_eq!(follower.apply(&signed(&last), &[], model.local()), Ok(Applied::Snapshot));
        prop_assert_eq!(age(&follower, model.local()), Some(Duration::ZERO));
    }
}
