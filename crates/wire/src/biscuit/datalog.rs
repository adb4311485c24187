//! Biscuit's Datalog as it travels, as much of it as the vocabulary uses: facts, and checks whose
//! queries have predicates and comparisons.
//!
//! A block with anything else in it is not read here and is no part of the vocabulary.

use std::borrow::Cow;

use super::BiscuitError;
use super::proto::{Fields, Message, Value, once};
use super::symbols::{Adding, Symbols};

/// The version that blocks are written in: Datalog 3.3, whose arrays may hold different types.
const VERSION: u64 = 6;

/// The versions that are read: Datalog 3.0 to 3.3.
const VERSIONS: std::ops::RangeInclusive<u64> = 3..=VERSION;

/// A constant, or a variable of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term<'a> {
    Variable(Cow<'a, str>),
    Integer(i64),
    Text(Cow<'a, str>),
    /// Seconds of Unix time.
    Date(u64),
    Array(Vec<Self>),
}

impl<'a> Term<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    pub(super) fn variable(name: impl Into<Cow<'a, str>>) -> Self {
        Self::Variable(name.into())
    }
}

/// `name(term, …)`: a fact, or what a query looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Predicate<'a> {
    pub(super) name: &'a str,
    pub(super) terms: Vec<Term<'a>>,
}

impl<'a> Predicate<'a> {
    pub(super) fn new(name: &'a str, terms: impl Into<Vec<Term<'a>>>) -> Self {
        Self { name, terms: terms.into() }
    }
}

/// What two terms are compared by, with the number that it has on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Less = 0,
    AtMost = 2,
    AtLeast = 3,
    Contains = 5,
    Prefix = 6,
}

/// A condition of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression<'a> {
    Compared(Term<'a>, Comparison, Term<'a>),
    /// `false`: nothing fulfils it.
    Never,
}

/// One way to fulfil a check.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Query<'a> {
    pub(super) body: Vec<Predicate<'a>>,
    pub(super) expressions: Vec<Expression<'a>>,
}

/// What a block says: facts, and checks, each of which is fulfilled by one of its queries.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Content<'a> {
    pub(super) facts: Vec<Predicate<'a>>,
    pub(super) checks: Vec<Vec<Query<'a>>>,
}

impl<'a> Content<'a> {
    /// The names of its predicates.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        let queries = self.checks.iter().flatten().flat_map(|query| &query.body);
        self.facts.iter().chain(queries).map(|predicate| predicate.name)
    }
}

/// A block as it travels: its own texts, and what is not looked into yet.
#[derive(Debug, Default)]
pub(super) struct Raw<'a> {
    pub(super) symbols: Vec<&'a str>,
    facts: Vec<&'a [u8]>,
    checks: Vec<&'a [u8]>,
    /// Rules, scopes, keys, a note: what the vocabulary has none of.
    has_more: bool,
}

impl<'a> Raw<'a> {
    /// Reads the outermost layer, of which nothing may be unknown.
    pub(super) fn read(block: &'a [u8]) -> Result<Self, BiscuitError> {
        let (mut raw, mut version) = (Self::default(), None);
        for field in Fields(block) {
            match field? {
                (1, value) => raw.symbols.push(value.text()?),
                (2, value) => raw.has_more |= !value.text()?.is_empty(),
                (3, value) => once(&mut version, value.number()?)?,
                (4, value) => raw.facts.push(value.bytes()?),
                (5 | 7 | 8, Value::Bytes(_)) => raw.has_more = true,
                (6, value) => raw.checks.push(value.bytes()?),
                _ => return Err(BiscuitError::Malformed),
            }
        }
        match version {
            Some(version) if VERSIONS.contains(&version) => Ok(raw),
            _ => Err(BiscuitError::Version),
        }
    }

    /// What it says, where that is in the words that are read here.
    pub(super) fn content(&self, symbols: &Symbols<'a>) -> Result<Content<'a>, BiscuitError> {
        if self.has_more {
            return Err(BiscuitError::Malformed);
        }
        let facts = self.facts.iter().map(|fact| {
            let fact = only(Fields(fact), 1)?;
            let fact = predicate(fact.bytes()?, symbols)?;
            let is_plain = !fact.terms.iter().any(|term| matches!(term, Term::Variable(_)));
            is_plain.then_some(fact).ok_or(BiscuitError::Malformed)
        });
        let checks = self.checks.iter().map(|check| {
            Fields(check)
                .map(|field| field.and_then(|(number, value)| query(number, value, symbols)))
                .collect()
        });
        Ok(Content {
            facts: facts.collect::<Result<_, _>>()?,
            checks: checks.collect::<Result<_, _>>()?,
        })
    }
}

/// The one field of a message.
fn only(mut fields: Fields<'_>, number: u32) -> Result<Value<'_>, BiscuitError> {
    match (fields.next(), fields.next()) {
        (Some(Ok((found, value))), None) if found == number => Ok(value),
        _ => Err(BiscuitError::Malformed),
    }
}

fn predicate<'a>(bytes: &'a [u8], symbols: &Symbols<'a>) -> Result<Predicate<'a>, BiscuitError> {
    let (mut name, mut terms) = (None, Vec::new());
    for field in Fields(bytes) {
        match field? {
            (1, value) => once(&mut name, symbols.text(value.number()?)?)?,
            (2, value) => terms.push(term(value.bytes()?, symbols, true)?),
            _ => return Err(BiscuitError::Malformed),
        }
    }
    Ok(Predicate { name: name.ok_or(BiscuitError::Malformed)?, terms })
}

fn term<'a>(
    bytes: &'a [u8],
    symbols: &Symbols<'a>,
    is_outermost: bool,
) -> Result<Term<'a>, BiscuitError> {
    let mut fields = Fields(bytes);
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return Err(BiscuitError::Malformed);
    };
    match field? {
        (1, value) if is_outermost => {
            Ok(Term::variable(symbols.text(u64::from(value.number32()?))?))
        }
        (2, value) => Ok(Term::Integer(value.number()? as i64)),
        (3, value) => Ok(Term::text(symbols.text(value.number()?)?)),
        (4, value) => Ok(Term::Date(value.number()?)),
        (9, value) if is_outermost => {
            let elements = Fields(value.bytes()?).map(|field| match field? {
                (1, value) => term(value.bytes()?, symbols, false),
                _ => Err(BiscuitError::Malformed),
            });
            Ok(Term::Array(elements.collect::<Result<_, _>>()?))
        }
        _ => Err(BiscuitError::Malformed),
    }
}

/// A query of a check; a check of another kind than `check if` has a second field.
fn query<'a>(
    number: u32,
    value: Value<'a>,
    symbols: &Symbols<'a>,
) -> Result<Query<'a>, BiscuitError> {
    if number != 1 {
        return Err(BiscuitError::Malformed);
    }
    let (mut head, mut query) = (None, Query::default());
    for field in Fields(value.bytes()?) {
        match field? {
            (1, value) => once(&mut head, predicate(value.bytes()?, symbols)?)?,
            (2, value) => query.body.push(predicate(value.bytes()?, symbols)?),
            (3, value) => query.expressions.push(expression(value.bytes()?, symbols)?),
            _ => return Err(BiscuitError::Malformed),
        }
    }
    match head {
        Some(head) if head == HEAD => Ok(query),
        _ => Err(BiscuitError::Malformed),
    }
}

/// What every implementation writes as the head of a check's query.
const HEAD: Predicate<'static> = Predicate { name: "query", terms: Vec::new() };

fn expression<'a>(bytes: &'a [u8], symbols: &Symbols<'a>) -> Result<Expression<'a>, BiscuitError> {
    let ops = Fields(bytes).map(|field| match field? {
        (1, value) => value.bytes(),
        _ => Err(BiscuitError::Malformed),
    });
    let ops: Vec<_> = ops.collect::<Result<_, _>>()?;
    match *ops.as_slice() {
        [left, right, by] => {
            let operand = |op| only(Fields(op), 1)?.bytes().and_then(|op| term(op, symbols, true));
            let by = only(Fields(only(Fields(by), 3)?.bytes()?), 1)?.number()?;
            let known = [
                Comparison::Less,
                Comparison::AtMost,
                Comparison::AtLeast,
                Comparison::Contains,
                Comparison::Prefix,
            ];
            let by = known.into_iter().find(|known| *known as u64 == by);
            let by = by.ok_or(BiscuitError::Malformed)?;
            Ok(Expression::Compared(operand(left)?, by, operand(right)?))
        }
        [one] => {
            let value = only(Fields(only(Fields(one), 1)?.bytes()?), 6)?.number()?;
            if value == 0 { Ok(Expression::Never) } else { Err(BiscuitError::Malformed) }
        }
        _ => Err(BiscuitError::Malformed),
    }
}

impl Content<'_> {
    /// The block that says this, behind the texts of the blocks before it.
    pub(super) fn to_block(&self, symbols: &mut Adding<'_>) -> Vec<u8> {
        let mut rest = Message::with_capacity(1024);
        rest.number(3, VERSION);
        for fact in &self.facts {
            rest.message(4, |out| out.message(1, |out| write_predicate(out, fact, symbols)));
        }
        for check in &self.checks {
            rest.message(6, |out| {
                for query in check {
                    out.message(1, |out| write_query(out, query, symbols));
                }
            });
        }
        let mut block = Message::with_capacity(2048);
        for text in symbols.added() {
            block.bytes(1, text.as_bytes());
        }
        block.0.extend_from_slice(&rest.0);
        block.0
    }
}

fn write_predicate(out: &mut Message, predicate: &Predicate<'_>, symbols: &mut Adding<'_>) {
    out.number(1, symbols.number(predicate.name));
    for term in &predicate.terms {
        out.message(2, |out| write_term(out, term, symbols));
    }
}

fn write_term(out: &mut Message, term: &Term<'_>, symbols: &mut Adding<'_>) {
    match term {
        Term::Variable(name) => out.number(1, symbols.number(name)),
        Term::Integer(number) => out.number(2, *number as u64),
        Term::Text(text) => out.number(3, symbols.number(text)),
        Term::Date(seconds) => out.number(4, *seconds),
        Term::Array(elements) => out.message(9, |out| {
            for element in elements {
                out.message(1, |out| write_term(out, element, symbols));
            }
        }),
    }
}

fn write_query(out: &mut Message, query: &Query<'_>, symbols: &mut Adding<'_>) {
    out.message(1, |out| write_predicate(out, &HEAD, symbols));
    for predicate in &query.body {
        out.message(2, |out| write_predicate(out, predicate, symbols));
    }
    for expression in &query.expressions {
        out.message(3, |out| match expression {
            Expression::Compared(left, by, right) => {
                for operand in [left, right] {
                    out.message(1, |op| op.message(1, |out| write_term(out, operand, symbols)));
                }
                out.message(1, |op| op.message(3, |out| out.number(1, *by as u64)));
            }
            Expression::Never => out.message(1, |op| op.message(1, |out| out.number(6, 0))),
        });
    }
}
