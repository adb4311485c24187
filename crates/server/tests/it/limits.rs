//! The bounds of the server, as the guide tells them.

use accredit_server::connections::{CONNECTIONS_MAX, CONNECTIONS_OF_NETWORK_MAX};
use accredit_server::dispatch::BODY_TIME_MAX;
use accredit_server::followers::FOLLOWERS_MAX;
use accredit_server::patience::{FIRST_TIME_MAX, WRITE_TIME_MAX};
use accredit_server::room::{
    ACQUAINTED_AT_DOOR_MAX, REQUESTS_MAX, STOPS_MAX, STRANGERS_AT_DOOR_MAX,
};
use accredit_server::serve::{
    HANDSHAKE_TIME_MAX, HEADER_TIME_MAX, PING_EVERY, PING_TIME_MAX, STREAMS_MAX,
};

#[test]
fn the_guide_tells_every_bound_as_it_is() {
    let guide = include_str!("../../../../docs/guide/running.md");
    let seconds = |time: std::time::Duration| format!("{} s", time.as_secs());
    for (what, bound) in [
        ("connections", CONNECTIONS_MAX.to_string()),
        ("connections of one network", CONNECTIONS_OF_NETWORK_MAX.to_string()),
        ("a TLS handshake", seconds(HANDSHAKE_TIME_MAX)),
        ("until a new connection", seconds(FIRST_TIME_MAX)),
        ("the head of a request", seconds(HEADER_TIME_MAX)),
        ("the body of a request", seconds(BODY_TIME_MAX)),
        ("a quiet connection of HTTP/2", seconds(PING_EVERY)),
        ("the answer to a ping", seconds(PING_TIME_MAX)),
        ("requests of one connection of HTTP/2", STREAMS_MAX.to_string()),
        ("while nothing of an answer is taken", seconds(WRITE_TIME_MAX)),
        ("requests that are worked on", REQUESTS_MAX.to_string()),
        ("requests of known administrators to stop something", STOPS_MAX.to_string()),
        ("keys that are looked up for these, of those", ACQUAINTED_AT_DOOR_MAX.to_string()),
        ("keys that are looked up for these, of all", STRANGERS_AT_DOOR_MAX.to_string()),
        ("followers of the feed", FOLLOWERS_MAX.to_string()),
    ] {
        let told = guide.lines().filter_map(|line| line.strip_prefix(&format!("| {what}")));
        let bounds: Vec<&str> = told.filter_map(|rest| rest.split(" | ").nth(1)).collect();
        assert!(bounds.contains(&&*bound), "{what}: {bound}, the guide says {bounds:?}");
    }
}
