//! Blocks in other words than the vocabulary: what they may cost, and the question they are asked.
//!
//! They are Datalog of whoever held the token. They are evaluated at each question, after the
//! lattice said yes, and can only say no. What that takes is bounded beforehand, from the text
//! alone: how many facts each predicate of a query can match, multiplied. What is beyond is
//! refused with the token, so that no question ever costs more than another.
//!
//! Absent on purpose: regular expressions, functions of others, and closures over elements, whose
//! cost does not follow from the text.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Attenuable;
use super::envelope::Envelope;
use super::proto::Fields;
use super::symbols::Symbols;
use crate::authority::Arguments;
use crate::crypto::PublicKey;
use crate::time::Time;

/// The most facts that added blocks may have.
pub const FACTS_MAX: usize = 32;

/// The most rules that added blocks may have.
pub const RULES_MAX: usize = 8;

/// The most queries in the checks of added blocks that are not of the vocabulary.
pub const CHECKS_MAX: usize = 64;

/// The most conditions in their queries and rules.
pub const EXPRESSIONS_MAX: usize = 128;

/// The most operations in those.
pub const OPERATIONS_MAX: usize = 512;

/// The deepest that operations stand in one another.
const DEPTH_MAX: usize = 8;

/// The most arguments of a question.
pub const ARGUMENTS_MAX: usize = 32;

/// The most facts that their rules may derive.
const DERIVED_MAX: usize = 64;

/// How often their rules are applied.
pub const ITERATIONS_MAX: u64 = 8;

/// The most combinations of facts that one question may try.
pub const WORK_MAX: usize = 4096;

/// The most time that one question may take.
pub const TIME_MAX: Duration = Duration::from_millis(50);

/// One question.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "biscuit"), expect(dead_code, reason = "nobody answers it"))]
pub(crate) struct Asked<'a> {
    pub(crate) resource: &'a str,
    pub(crate) action: &'a str,
    pub(crate) object: Option<&'a str>,
    pub(crate) arguments: &'a Arguments,
    pub(crate) now: Time,
}

#[cfg(feature = "biscuit")]
use super::run::Evaluator;

/// Where Datalog is not compiled in, there is none.
#[cfg(not(feature = "biscuit"))]
type Evaluator = std::convert::Infallible;

/// A token with blocks that are evaluated.
#[derive(Clone, Debug)]
pub(super) struct Datalog {
    evaluator: Evaluator,
    words: usize,
}

impl Datalog {
    /// Nothing where that is beyond the limits, or not compiled in.
    pub(super) fn new(
        bytes: &[u8],
        (envelope, root): (&Envelope<'_>, &PublicKey),
        (attenuable, symbols): (&Attenuable, &Symbols<'_>),
    ) -> Option<Self> {
        let mut cost = Cost::of(symbols);
        cost.block(envelope.authority.block, false)?;
        for (signed, narrowing) in envelope.added.iter().zip(attenuable.narrowings()) {
            // One that hands on is of the vocabulary, and has texts of its own.
            if signed.external.is_none() {
                cost.block(signed.block, narrowing.is_none())?;
            }
        }
        if !cost.is_within() {
            return None;
        }
        let evaluator = evaluator(bytes, root, attenuable)?;
        Some(Self { evaluator, words: bytes.len().div_ceil(16) })
    }

    pub(super) fn allows(&self, asked: &Asked<'_>) -> bool {
        #[cfg(feature = "biscuit")]
        return self.evaluator.allows(asked);
        #[cfg(not(feature = "biscuit"))]
        match (self.evaluator, asked) {}
    }

    pub(super) fn words(&self) -> usize {
        self.words
    }
}

#[cfg(feature = "biscuit")]
fn evaluator(bytes: &[u8], root: &PublicKey, attenuable: &Attenuable) -> Option<Evaluator> {
    Evaluator::new(bytes, root, attenuable)
}

#[cfg(not(feature = "biscuit"))]
fn evaluator(_: &[u8], _: &PublicKey, _: &Attenuable) -> Option<Evaluator> {
    None
}

/// A predicate as far as its cost goes: its name, and whether its first term is a constant.
type Matched = (u64, bool);

/// What blocks say, as far as their cost goes. Names are numbers of the symbol table.
struct Cost<'s, 'a> {
    symbols: &'s Symbols<'a>,
    /// How many facts there are of a name.
    facts: BTreeMap<u64, usize>,
    /// What rules derive.
    heads: BTreeSet<u64>,
    rules: Vec<Vec<Matched>>,
    queries: Vec<Vec<Matched>>,
    added_facts: usize,
    expressions: usize,
    operations: usize,
}

impl<'s, 'a> Cost<'s, 'a> {
    fn of(symbols: &'s Symbols<'a>) -> Self {
        Self {
            symbols,
            facts: BTreeMap::new(),
            heads: BTreeSet::new(),
            rules: Vec::new(),
            queries: Vec::new(),
            added_facts: 0,
            expressions: 0,
            operations: 0,
        }
    }

    /// Counts a block: all of it where it is evaluated, its facts alone where it is not.
    fn block(&mut self, block: &[u8], is_evaluated: bool) -> Option<()> {
        for field in Fields(block) {
            match field.ok()? {
                (4, value) => {
                    let (name, _) = predicate(sole(value.bytes().ok()?, 1)?)?;
                    *self.facts.entry(name).or_default() += 1;
                    self.added_facts += usize::from(is_evaluated);
                }
                (5, value) if is_evaluated => {
                    let (head, body) = self.rule(value.bytes().ok()?)?;
                    self.heads.insert(head);
                    self.rules.push(body);
                }
                (6, value) if is_evaluated => {
                    for field in Fields(value.bytes().ok()?) {
                        match field.ok()? {
                            (1, value) => {
                                let (_, body) = self.rule(value.bytes().ok()?)?;
                                self.queries.push(body);
                            }
                            // `check all`, `reject if`.
                            (2, _) => {}
                            _ => return None,
                        }
                    }
                }
                // Keys of others, whose blocks one could trust: there are none.
                (8, _) if is_evaluated => return None,
                _ => {}
            }
        }
        Some(())
    }

    fn rule(&mut self, rule: &[u8]) -> Option<(u64, Vec<Matched>)> {
        let (mut head, mut body) = (None, Vec::new());
        for field in Fields(rule) {
            match field.ok()? {
                (1, value) => head = Some(predicate(value.bytes().ok()?)?.0),
                (2, value) => body.push(predicate(value.bytes().ok()?)?),
                (3, value) => {
                    self.expressions += 1;
                    self.operations(value.bytes().ok()?, 0)?;
                }
                (4, _) => {}
                _ => return None,
            }
        }
        Some((head?, body))
    }

    /// The operations of an expression, or of what stands within one.
    fn operations(&mut self, operations: &[u8], depth: usize) -> Option<()> {
        /// `matches`, `all`, `any`, and functions of others.
        const REFUSED: [u64; 4] = [8, 25, 26, 28];
        if depth == DEPTH_MAX {
            return None;
        }
        for field in Fields(operations) {
            let (1, operation) = field.ok()? else { return None };
            self.operations += 1;
            for field in Fields(operation.bytes().ok()?) {
                match field.ok()? {
                    (1, value) => shallow(value.bytes().ok()?, 0)?,
                    // A function of others is kind 4.
                    (2, value) => {
                        let kind = sole_number(value.bytes().ok()?)?;
                        (kind < 4).then_some(())?;
                    }
                    (3, value) => {
                        let kind = sole_number(value.bytes().ok()?)?;
                        (!REFUSED.contains(&kind)).then_some(())?;
                    }
                    // `&&` and `||` have their right side so. One with parameters goes over
                    // elements.
                    (4, value) => self.closure(value.bytes().ok()?, depth)?,
                    _ => return None,
                }
            }
        }
        Some(())
    }

    fn closure(&mut self, closure: &[u8], depth: usize) -> Option<()> {
        let mut inner = Vec::new();
        for field in Fields(closure) {
            match field.ok()? {
                (2, value) => inner.push(value.bytes().ok()?),
                _ => return None,
            }
        }
        for operation in inner {
            // One operation, as it stands in an expression.
            let mut one = super::proto::Message::default();
            one.bytes(1, operation);
            self.operations(&one.0, depth + 1)?;
        }
        Some(())
    }

    fn is_within(&self) -> bool {
        let tried = |body: &Vec<Matched>| {
            body.iter().fold(1, |all: usize, one| all.saturating_mul(self.matches(*one)))
        };
        let queries = self.queries.iter().map(tried);
        let rules =
            self.rules.iter().map(|body| tried(body).saturating_mul(ITERATIONS_MAX as usize));
        let work = queries.chain(rules).fold(0, usize::saturating_add);
        work <= WORK_MAX
            && self.added_facts <= FACTS_MAX
            && self.rules.len() <= RULES_MAX
            && self.queries.len() <= CHECKS_MAX
            && self.expressions <= EXPRESSIONS_MAX
            && self.operations <= OPERATIONS_MAX
    }

    /// How many facts a predicate can match, at most and never none.
    fn matches(&self, (name, is_constant): Matched) -> usize {
        let supplied = match self.symbols.text(name) {
            Ok("argument" | "number" | "text") if is_constant => 1,
            Ok("argument" | "number" | "text") => ARGUMENTS_MAX,
            Ok("holder") => super::BLOCKS_MAX + 1,
            Ok(_) | Err(_) => 1,
        };
        let derived = if self.heads.contains(&name) { DERIVED_MAX } else { 0 };
        supplied + derived + self.facts.get(&name).copied().unwrap_or(0)
    }
}

/// How many facts there may be in the end, for an evaluation that was found within the limits.
#[cfg_attr(not(feature = "biscuit"), expect(dead_code, reason = "nothing is evaluated"))]
pub(super) const fn facts_in_all() -> u64 {
    // Those of the authority block, which are bounded by the size of a token, and the supplied.
    (4096 + FACTS_MAX + DERIVED_MAX + 3 * ARGUMENTS_MAX) as u64
}

fn sole(message: &[u8], number: u32) -> Option<&[u8]> {
    match Fields(message).next()?.ok()? {
        (found, value) if found == number => value.bytes().ok(),
        _ => None,
    }
}

fn sole_number(message: &[u8]) -> Option<u64> {
    let mut fields = Fields(message);
    match (fields.next()?.ok()?, fields.next()) {
        ((1, value), None) => value.number().ok(),
        _ => None,
    }
}

fn predicate(message: &[u8]) -> Option<Matched> {
    let (mut name, mut first_term) = (None, None);
    for field in Fields(message) {
        match field.ok()? {
            (1, value) => name = Some(value.number().ok()?),
            (2, value) => {
                let term = value.bytes().ok()?;
                shallow(term, 0)?;
                // Field 1 of a term is a variable.
                let (kind, _) = Fields(term).next()?.ok()?;
                first_term.get_or_insert(kind != 1);
            }
            _ => return None,
        }
    }
    Some((name?, first_term.unwrap_or(false)))
}

/// Terms stand in one another only so deep.
fn shallow(term: &[u8], depth: usize) -> Option<()> {
    if depth == DEPTH_MAX {
        return None;
    }
    for field in Fields(term) {
        // Sets, arrays and maps, and what is in them.
        if let (7 | 9 | 10, value) = field.ok()? {
            for field in Fields(value.bytes().ok()?) {
                let (_, inner) = field.ok()?;
                nested(inner.bytes().ok()?, depth + 1)?;
            }
        }
    }
    Some(())
}

/// An element: a term, or an entry of a map whose second field is one.
fn nested(element: &[u8], depth: usize) -> Option<()> {
    shallow(element, depth)?;
    for field in Fields(element) {
        if let (2, super::proto::Value::Bytes(term)) = field.ok()? {
            shallow(term, depth + 1)?;
        }
    }
    Some(())
}
