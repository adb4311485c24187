//! The lines of a body, within a bound: for what is too long to be held as a whole.

use std::fmt;

use crate::client::Chunks;
use crate::error::NetError;

/// Why no further line comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The transport failed.
    Net(NetError),
    /// A line is longer than the bound.
    TooLong,
    /// A line is not UTF-8.
    NotUtf8,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(error) => error.fmt(f),
            Self::TooLong => f.write_str("a line of the answer is too long"),
            Self::NotUtf8 => f.write_str("the answer is not UTF-8"),
        }
    }
}

impl std::error::Error for LineError {}

/// The lines of a body. The last one needs no end.
#[derive(Debug)]
pub struct Lines {
    chunks: Chunks,
    max: usize,
    /// What came and was not handed out.
    waiting: Vec<u8>,
    /// How much of it has no line feed for certain.
    searched: usize,
    ended: bool,
}

impl Lines {
    /// The lines in `chunks`, of at most `max` bytes each, without their ends.
    pub fn new(chunks: Chunks, max: usize) -> Self {
        Self { chunks, max, waiting: Vec::new(), searched: 0, ended: false }
    }

    /// The next line; nothing at the orderly end.
    pub async fn next(&mut self) -> Result<Option<String>, LineError> {
        loop {
            let behind = self.waiting.get(self.searched..).unwrap_or_default();
            if let Some(end) = behind.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let rest = self.waiting.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.waiting, rest);
                line.truncate(end);
                self.searched = 0;
                return self.checked(line).map(Some);
            }
            self.searched = self.waiting.len();
            if self.searched > self.max {
                return Err(LineError::TooLong);
            }
            if self.ended {
                let line = std::mem::take(&mut self.waiting);
                self.searched = 0;
                return if line.is_empty() { Ok(None) } else { self.checked(line).map(Some) };
            }
            match self.chunks.next().await.map_err(LineError::Net)? {
                Some(bytes) => self.waiting.extend_from_slice(&bytes),
                None => self.ended = true,
            }
        }
    }

    fn checked(&self, line: Vec<u8>) -> Result<String, LineError> {
        if line.len() > self.max {
            return Err(LineError::TooLong);
        }
        String::from_utf8(line).map_err(|_| LineError::NotUtf8)
    }
}
