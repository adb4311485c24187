//! WHATWG HTML section 9.2: server-sent events, strictly and within bounds.
//!
//! Differences from a browser: text that is not UTF-8 and lines or events beyond the bounds end
//! the stream (a browser would repair or grow), and `retry` is not honoured: how often to come
//! back is the client's own decision.

use std::collections::VecDeque;
use std::fmt;

use crate::client::Chunks;
use crate::error::NetError;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// The type; `message` where the stream names none.
    pub event: String,
    /// The last id the stream has named, empty where it named none.
    pub id: String,
    /// The data lines, joined with line feeds.
    pub data: String,
}

/// How large a line and an event may be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest line, without its end.
    pub line_max: usize,
    /// The most data of one event.
    pub event_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line_max: 1024 * 1024, event_max: 1024 * 1024 }
    }
}

/// The stream is not one we accept. The parser is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A line is longer than [`Limits::line_max`].
    LineTooLong,
    /// An event has more data than [`Limits::event_max`].
    EventTooLarge,
    /// A line is not UTF-8.
    NotUtf8,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineTooLong => "a line of the event stream is too long",
            Self::EventTooLarge => "an event of the stream is too large",
            Self::NotUtf8 => "the event stream is not UTF-8",
        })
    }
}

impl std::error::Error for Malformed {}

/// Bytes in, events out. No I/O.
#[derive(Debug)]
pub struct Parser {
    limits: Limits,
    line: Vec<u8>,
    first_line: bool,
    after_carriage_return: bool,
    event: String,
    id: String,
    data: String,
    has_data: bool,
    ready: VecDeque<Event>,
}

impl Parser {
    /// A parser at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            line: Vec::new(),
            first_line: true,
            after_carriage_return: false,
            event: String::new(),
            id: String::new(),
            data: String::new(),
            has_data: false,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        if self.after_carriage_return && !bytes.is_empty() {
            self.after_carriage_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend_line(&bytes[..end])?;
            self.end_line()?;
            let carriage_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if carriage_return {
                self.after_carriage_return = bytes.is_empty();
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
        }
        self.extend_line(bytes)
    }

    /// The next complete event. An event that the end of the stream cut off never comes.
    pub fn next_event(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if bytes.len() > self.limits.line_max.saturating_sub(self.line.len()) {
            return Err(Malformed::LineTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Malformed> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&bytes).map_err(|_| Malformed::NotUtf8)?;
        if std::mem::take(&mut self.first_line) {
            // "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are present."
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            self.end_event();
            return Ok(());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            // "If the field value does not contain U+0000 NULL …, otherwise, ignore the field."
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "data" => self.extend_data(value)?,
            // Comments (an empty field name), `retry`, and fields that nobody knows.
            _ => {}
        }
        Ok(())
    }

    fn extend_data(&mut self, value: &str) -> Result<(), Malformed> {
        if self.data.len() + value.len() + 1 > self.limits.event_max {
            return Err(Malformed::EventTooLarge);
        }
        if self.has_data {
            self.data.push('\n');
        }
        self.has_data = true;
        self.data.push_str(value);
        Ok(())
    }

    fn end_event(&mut self) {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) && !data.is_empty() {
            let event = if event.is_empty() { "message".to_owned() } else { event };
            self.ready.push_back(Event { event, id: self.id.clone(), data });
        }
    }
}

/// Why no further event comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The transport failed.
    Net(NetError),
    /// The other side sent what is not an event stream.
    Malformed(Malformed),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StreamError {}

/// The events of a body.
#[derive(Debug)]
pub struct Events {
    chunks: Chunks,
    parser: Parser,
}

impl Events {
    /// The events in `chunks`.
    pub fn new(chunks: Chunks, limits: Limits) -> Self {
        Self { chunks, parser: Parser::new(limits) }
    }

    /// The next event; nothing at the orderly end. Cancelling the wait loses nothing.
    pub async fn next(&mut self) -> Result<Option<Event>, StreamError> {
        loop {
            if let Some(event) = self.parser.next_event() {
                return Ok(Some(event));
            }
            match self.chunks.next().await.map_err(StreamError::Net)? {
                None => return Ok(None),
                Some(bytes) => self.parser.push(&bytes).map_err(StreamError::Malformed)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits { line_max: 40, event_max: 60 };

    fn check(pieces: &[&[u8]]) -> Result<Vec<Event>, Malformed> {
        let mut parser = Parser::new(LIMITS);
        for piece in pieces {
            parser.push(piece)?;
        }
        Ok(std::iter::from_fn(|| parser.next_event()).collect())
    }

    fn event(event: &str, id: &str, data: &str) -> Event {
        Event { event: event.into(), id: id.into(), data: data.into() }
    }

    #[test]
    fn events_have_a_type_an_id_and_data() {
        let text = b"\xef\xbb\xbfevent: revocations\nid: 1.17\ndata: abc\ndata:def\n: comment\n\ndata: x\n\n";
        let expected = [event("revocations", "1.17", "abc\ndef"), event("message", "1.17", "x")];
        assert_eq!(check(&[text]).expect("events"), expected);
    }

    #[test]
    fn an_event_without_data_or_without_its_end_does_not_come() {
        assert_eq!(check(&[b"event: x\nid: 3\n\ndata\n\ndata: half\n"]).expect("events"), []);
    }

    #[test]
    fn all_three_ends_of_line_count() {
        let expected = [event("message", "", "a"), event("message", "", "b")];
        for text in
            ["data: a\n\ndata: b\n\n", "data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\rdata: b\r\r"]
        {
            assert_eq!(check(&[text.as_bytes()]).expect("events"), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_not_text_ends_the_stream() {
        assert_eq!(check(&[&[b'x'; 41]]), Err(Malformed::LineTooLong));
        assert_eq!(check(&[&[b'x'; 40], b"x"]), Err(Malformed::LineTooLong));
        let line = b"data: 12345678901234567890123456789\n".as_slice();
        assert_eq!(check(&[line, line, line]), Err(Malformed::EventTooLarge));
        assert_eq!(check(&[b"data: \xff\n"]), Err(Malformed::NotUtf8));
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_does_not_matter(
            text in "(data|id|event|: |\r|\n|\r\n|a|é){0,60}",
            cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(check(&pieces), check(&[bytes]));
        }
    }
}
