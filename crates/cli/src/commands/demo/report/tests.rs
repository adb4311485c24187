use super::*;

fn card(json: bool, colour: bool) -> ScoreCard {
    ScoreCard {
        json,
        paint: Paint(colour),
        started: clock::now(),
        steps: Vec::new(),
        chapters: 0,
        took: Duration::from_millis(1234),
    }
}

fn held(card: &mut ScoreCard, promise: Promise) {
    let proven = Proven::new((), format!("seen {promise:?}"));
    let outcome = card.record(promise, Ok(proven), Duration::from_micros(2449));
    assert_eq!(outcome.expect("told"), Some(()));
}

#[test]
fn all_promises_have_their_own_words() {
    let mut texts: Vec<&str> = Promise::ALL.iter().map(|promise| promise.text()).collect();
    assert!(Promise::ALL.is_sorted(), "in the order of the story");
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), Promise::ALL.len());
}

#[test]
fn the_document_is_ok_only_where_every_promise_held() {
    let mut card = card(true, false);
    for promise in Promise::ALL {
        held(&mut card, promise);
    }
    card.finish(clock::now()).expect("told");
    let document = card.document();
    assert_eq!(document["ok"], true);
    let steps = document["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 32);
    let first = json!({
        "promise": "one command starts a server", "ok": true, "proof": "seen Starts", "ms": 2.4,
    });
    assert_eq!(steps[0], first);
    assert!(card.failed().is_empty());

    card.steps[7].ok = false;
    assert_eq!(card.document()["ok"], false);
    assert_eq!(card.failed(), [Promise::EndsCalls.text()]);
}

#[test]
fn what_failed_is_told_with_what_was_seen_and_what_was_not_reached_has_failed_too() {
    let mut card = card(true, false);
    held(&mut card, Promise::Starts);
    let seen = Err::<Proven<()>, _>("409:\n\u{1b}[2J".to_owned());
    let outcome = card.record(Promise::Registers, seen, Duration::from_millis(3));
    assert_eq!(outcome.expect("told"), None);
    card.finish(clock::now()).expect("told");
    let document = card.document();
    assert_eq!(document["ok"], false);
    assert_eq!(document["steps"][1]["proof"], "409: \\u{1b}[2J");
    assert_eq!(document["steps"][1]["ms"], 3.0);
    assert_eq!(document["steps"][2]["ok"], false);
    assert_eq!(document["steps"][2]["ms"], Value::Null);
    assert_eq!(card.failed().len(), 31);
    let text = card.text();
    assert!(text.contains("FAILED    3.0 ms  every agent has an owner"), "{text}");
    assert!(text.contains("FAILED         -  an instance gets"), "{text}");
    assert!(text.contains("1 of 32 promises held"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn the_time_that_counts_is_the_one_that_was_measured() {
    let mut card = card(true, false);
    let proven = Proven::new((), String::new()).took(Duration::from_micros(1260));
    let outcome = card.record(Promise::EndsStreams, Ok(proven), Duration::from_secs(1));
    assert!(outcome.expect("told").is_some());
    assert_eq!(card.document()["steps"][0]["ms"], 1.3);
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    let mut plain = card(true, false);
    held(&mut plain, Promise::Starts);
    assert!(plain.text().contains("ok        2.4 ms  one command"), "{}", plain.text());
    let mut coloured = card(true, true);
    held(&mut coloured, Promise::Starts);
    assert!(coloured.text().contains("\u{1b}[1;32mok    \u{1b}[0m"), "{}", coloured.text());
    let codes = ["\u{1b}[1m", "\u{1b}[2m", "\u{1b}[1;32m", "\u{1b}[0m"];
    let stripped = codes.iter().fold(coloured.text(), |text, code| text.replace(code, ""));
    assert_eq!(stripped, plain.text());
}

#[test]
fn long_texts_are_wrapped_between_words() {
    let text = wrapped(&"word ".repeat(60), 6);
    assert!(text.lines().count() > 3);
    assert!(text.lines().all(|line| line.chars().count() <= WIDTH && line.starts_with("      w")));
    assert_eq!(text.split_whitespace().count(), 60);
    let long = "x".repeat(200);
    assert_eq!(wrapped(&long, 2), format!("  {long}"));
    assert_eq!(wrapped(&format!("a {long}"), 0), format!("a\n{long}"));
}
