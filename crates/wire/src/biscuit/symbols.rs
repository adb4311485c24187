//! Biscuit's symbol table: texts stand once in a token, and are named by their number.
//!
//! A block adds texts to those of the blocks before it. One that is signed by an external key has
//! a table of its own, so that it can be made without seeing the token.

use super::BiscuitError;

/// The texts that every table begins with, by their numbers (specification, "Symbol table").
const DEFAULT: [&str; 28] = [
    "read",
    "write",
    "resource",
    "operation",
    "right",
    "time",
    "role",
    "owner",
    "tenant",
    "namespace",
    "user",
    "team",
    "service",
    "admin",
    "email",
    "group",
    "member",
    "ip_address",
    "client",
    "client_ip",
    "domain",
    "path",
    "version",
    "cluster",
    "node",
    "hostname",
    "nonce",
    "query",
];

/// The number of the first text that a token brings along.
const FIRST: u64 = 1024;

/// The texts of the blocks that were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols<'a>(Vec<&'a str>);

impl<'a> Symbols<'a> {
    /// Takes the texts that a block adds. One that is there already is refused: it would have two
    /// numbers.
    pub(super) fn extend(&mut self, added: &[&'a str]) -> Result<(), BiscuitError> {
        for text in added {
            if self.number(text).is_some() {
                return Err(BiscuitError::Malformed);
            }
            self.0.push(text);
        }
        Ok(())
    }

    pub(super) fn text(&self, number: u64) -> Result<&'a str, BiscuitError> {
        let found = match number.checked_sub(FIRST) {
            Some(place) => self.0.get(place as usize),
            None => DEFAULT.get(number as usize),
        };
        found.copied().ok_or(BiscuitError::Malformed)
    }

    fn number(&self, text: &str) -> Option<u64> {
        let of_all = DEFAULT.iter().position(|known| *known == text).map(|at| at as u64);
        of_all.or_else(|| {
            let own = self.0.iter().position(|known| *known == text);
            own.map(|at| FIRST + at as u64)
        })
    }
}

/// The texts of a block that is written, behind those of the blocks before it.
#[derive(Debug, Default)]
pub(super) struct Adding<'a> {
    before: Symbols<'a>,
    added: Vec<String>,
}

impl<'a> Adding<'a> {
    pub(super) fn behind(before: Symbols<'a>) -> Self {
        Self { before, added: Vec::new() }
    }

    /// The number of `text`, which is added where it is new.
    pub(super) fn number(&mut self, text: &str) -> u64 {
        if let Some(known) = self.before.number(text) {
            return known;
        }
        let first = FIRST + self.before.0.len() as u64;
        let at = self.added.iter().position(|known| known == text);
        first
            + at.unwrap_or_else(|| {
                self.added.push(text.to_owned());
                self.added.len() - 1
            }) as u64
    }

    pub(super) fn added(&self) -> &[String] {
        &self.added
    }
}
