//! The parser of server-sent events of `accredit-net`, apart from the other targets because it is
//! another crate's.

use accredit_net::sse::{Event, Limits, Parser};

/// Bounds small enough that the fuzzer reaches them.
const LIMITS: Limits = Limits { line_max: 96, event_max: 160 };

/// However the stream is cut, the same events come of it, and none is beyond the bounds.
pub(crate) fn run(bytes: &[u8]) {
    let whole = events(bytes, bytes.len().max(1));
    for chunk in [1, 7] {
        assert_eq!(events(bytes, chunk), whole, "cut every {chunk} bytes");
    }
    assert!(whole.0.iter().all(|event| event.data.len() <= LIMITS.event_max));
}

/// The events, and whether the stream was taken to its end.
fn events(bytes: &[u8], chunk: usize) -> (Vec<Event>, bool) {
    let (mut parser, mut events) = (Parser::new(LIMITS), Vec::new());
    for part in bytes.chunks(chunk) {
        let taken = parser.push(part).is_ok();
        events.extend(std::iter::from_fn(|| parser.next_event()));
        if !taken {
            return (events, false);
        }
    }
    (events, true)
}
