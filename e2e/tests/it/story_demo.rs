//! `accredit demo`: the main job from end to end, every promise kept.

use std::time::{Duration, Instant};

use crate::stage::binary::{self, accredit};

#[test]
fn the_demo_keeps_every_promise() {
    accredit();
    let start = Instant::now();
    let shown = binary::run(binary::command(&["demo", "--output", "json"])).json();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(shown["ok"], true, "{shown}");
    let steps = shown["steps"].as_array().expect("steps");
    assert!(steps.len() >= 10, "{shown}");
    for step in steps {
        assert_eq!(step["ok"], true, "{step}");
        assert!(step["promise"].as_str().is_some_and(|text| !text.is_empty()), "{step}");
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
    let files = std::fs::read_dir(kept).expect("a folder").count();
    assert!(files > 0);
    // A folder that exists is somebody's.
    let again = binary::run(binary::command(&["demo", "--keep", kept, "--output", "json"]));
    assert_ne!(again.code, 0, "{again:?}");
    assert!(again.err.contains("hint"), "{again:?}");
}
