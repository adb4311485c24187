//! `accredit demo`: the main job from end to end, every promise kept.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::stage::binary::{self, accredit};

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
}

/// Whether a word is as long as a secret: a mask is shorter.
fn may_be_secret(word: &str) -> bool {
    word.starts_with("acr_") && word.len() > 80
}

fn shows_no_secret(text: &str) {
    assert!(!words(text).any(may_be_secret), "a secret is shown");
}

#[test]
fn the_demo_keeps_every_promise() {
    accredit();
    let start = Instant::now();
    let shown = binary::run(binary::command(&["demo", "--output", "json"])).json();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(shown["ok"], true, "{shown}");
    let steps = shown["steps"].as_array().expect("steps");
    assert!(steps.len() >= 30, "{shown}");
    shows_no_secret(&shown.to_string());
    for step in steps {
        assert_eq!(step["ok"], true, "{step}");
    }
    let promises: Vec<&str> = steps.iter().filter_map(|step| step["promise"].as_str()).collect();
    for promise in [
        "starts a server",
        "has an owner",
        "gets a short-lived token",
        "beyond the token's scope is refused",
        "breaks off the stream",
        "its sibling goes on",
        "its certificate is on the list",
        "its open mutual-TLS connection",
        "goes on for the user",
        "no more than was passed on",
        "a kill ends one chain at every enforcement point",
        "a credential is rotated",
        "not one call fails",
        "a leaked secret is recognized",
        "a stolen token that is bound to a key is refused",
        "goes on verifying",
        "nothing is issued",
        "verifies offline",
        "an edited event is found",
    ] {
        assert!(promises.iter().any(|text| text.contains(promise)), "no step: {promise}");
    }
    for what in ["stream", "connection"] {
        let of = |step: &&serde_json::Value| step["promise"].as_str().unwrap_or("").contains(what);
        let ended = steps.iter().find(of);
        assert!(ended.is_some_and(|step| step["ms"].as_f64().unwrap_or(0.0) > 0.0), "{ended:?}");
    }
}

#[test]
fn the_demo_is_readable_and_keeps_what_it_made_where_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let kept = kept.to_str().expect("a path");
    let out = binary::run(binary::command(&["demo", "--keep", kept])).good();
    assert!(!out.contains('\u{1b}'), "no colours where nobody looks: {out}");
    for word in ["revok", "stream", "sibling", "rotat", "leaked", "verif", "edited"] {
        assert!(out.contains(word), "it does not speak of `{word}`: {out}");
    }
    shows_no_secret(&out);

    // The log in which the secret lies is there to be looked through by hand.
    let log = std::fs::read_to_string(format!("{kept}/service.log")).expect("a log");
    let secrets: Vec<&str> = words(&log).filter(|word| may_be_secret(word)).collect();
    let [secret, mistyped] = secrets[..] else { panic!("{} secrets", secrets.len()) };
    let proof = secret.split('_').nth(3).expect("what it proves");
    assert!(!out.contains(proof), "it is shown");
    let key_check = |found: &str| {
        let file = folder.path().join("found");
        std::fs::write(&file, found).expect("written");
        let mut command = binary::command(&["key-check", "--offline", "--output", "json"]);
        command.stdin(std::fs::File::open(&file).expect("a file"));
        binary::run(command)
    };
    let told = key_check(secret).json();
    assert!(out.contains(told["id"].as_str().expect("an id")), "it was spoken of: {told}");
    assert_eq!(key_check(mistyped).code, 9);

    // A folder that exists is somebody's.
    let again = binary::run(binary::command(&["demo", "--keep", kept, "--output", "json"]));
    assert_ne!(again.code, 0, "{again:?}");
    assert!(again.err.contains("hint"), "{again:?}");
}

/// The process that another one has started, once it has.
fn child_of(parent: u32) -> u32 {
    let parent = parent.to_string();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // "pid (name) state ppid …", and the name may hold anything.
            let after_name = stat.rsplit(')').next().unwrap_or_default();
            if after_name.split_whitespace().nth(1) == Some(&parent) {
                return entry.file_name().to_string_lossy().parse().expect("a number");
            }
        }
        assert!(Instant::now() < deadline, "it started no server");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_demo_fails_where_a_promise_does_not_hold() {
    let mut demo = binary::command(&["demo", "--output", "json"]);
    let demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let server = child_of(demo.id()).to_string();
    let killed = Command::new("kill").args(["-KILL", &server]).status().expect("kill runs");
    assert!(killed.success());

    let out = demo.wait_with_output().expect("it ends");
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let shown: serde_json::Value = serde_json::from_slice(&out.stdout).expect("a document");
    assert_eq!(shown["ok"], false, "{shown}");
    let steps = shown["steps"].as_array().expect("steps");
    assert!(steps.iter().any(|step| step["ok"] == false), "{shown}");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("not every promise held"), "{said}");
}
