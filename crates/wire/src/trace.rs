//! W3C Trace Context: `traceparent`, by which a request names the trace that it belongs to.
//!
//! Only the trace's id is taken: it links our events to the caller's records. Absent on purpose:
//! `tracestate`, and sampling flags; what is recorded here is not up to the caller.

use std::fmt;

use serde::{Serialize, Serializer};

/// Characters of a `traceparent` of version 00: `00-<32>-<16>-<2>`.
const TRACEPARENT_CHARS: usize = 55;

/// The id of a trace: 16 bytes, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// Takes the trace's id out of a `traceparent`; nothing where the header is not well formed,
    /// which is then treated as absent (section 2.2).
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let fields = text.get(..TRACEPARENT_CHARS)?;
        let mut fields = fields.split('-');
        let (version, trace) = (fields.next()?, fields.next()?);
        let (parent, flags) = (fields.next()?, fields.next()?);
        let lengths = [version.len(), trace.len(), parent.len(), flags.len()];
        if fields.next().is_some() || lengths != [2, 32, 16, 2] || version == "ff" {
            return None;
        }
        // Version 00 ends here; a later one may go on after a dash.
        let rest = text.get(TRACEPARENT_CHARS..)?;
        if !(rest.is_empty() || version != "00" && rest.starts_with('-')) {
            return None;
        }
        let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let zero = |text: &str| text.bytes().all(|b| b == b'0');
        if ![version, trace, parent, flags].into_iter().all(hex) || zero(trace) || zero(parent) {
            return None;
        }
        u128::from_str_radix(trace, 16).ok().map(|id| Self(id.to_be_bytes()))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn the_trace_is_taken_from_a_well_formed_header() {
        for header in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-00"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later"),
        ] {
            let id = TraceId::from_traceparent(&header).expect(&header);
            assert_eq!(id.to_string(), TRACE);
        }
    }

    #[test]
    fn anything_else_is_as_if_it_were_absent() {
        let zero = "0".repeat(32);
        for header in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01.more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{zero}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-00f067aa0ba902b7-0g"),
            format!("00-{TRACE}-00f067aa0ba902b7-é"),
            format!("00--{TRACE}00f067aa0ba902b7-01"),
        ] {
            assert_eq!(TraceId::from_traceparent(&header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it_and_what_is_taken_stood_there(text in "\\PC{0,70}") {
            if let Some(id) = TraceId::from_traceparent(&text) {
                prop_assert!(text.contains(&id.to_string()));
            }
        }

        #[test]
        fn every_id_but_zero_comes_back(id in 1u128..) {
            let header = format!("00-{id:032x}-00f067aa0ba902b7-01");
            let taken = TraceId::from_traceparent(&header).expect("well formed");
            prop_assert_eq!(taken.to_string(), format!("{id:032x}"));
        }
    }
}
