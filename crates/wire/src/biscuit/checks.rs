//! The vocabulary of narrowings: checks, which any implementation of Biscuit can write and decide,
//! and which are read back here as what they mean, exactly.
//!
//! There are three kinds, decided on facts that a Verifier supplies:
//!
//! ```text
//! check if time($time), $time < 2026-11-27T20:00:00Z;             until then; <= and >= as well
//! check if holder("agt_…", "<thumbprint>");                       by this agent's key alone
//! check if resource("crm"), operation("read")                     one of these permissions
//!       or resource("crm"), operation("update"),
//!          object($object), $object.starts_with("/customers/eu/"),
//!          number("amount", $v0), $v0 <= 100;
//! check if false;                                                 no permission
//! ```
//!
//! A check that says anything else, or says it in another way, is not of the vocabulary.

use std::collections::{BTreeMap, BTreeSet};

use super::datalog::{Comparison, Expression, Predicate, Query, Term};
use super::{BiscuitError, Holder, Narrowing};
use crate::authority::{
    ActionName, ArgumentName, Authority, Constraint, Limits, ObjectPattern, Permission,
    ResourceName, Shape, Value, WINDOW_SECONDS_MAX,
};

/// The words of those checks, apart from values.
pub(super) const WORDS: [&str; 8] =
    ["time", "holder", "resource", "operation", "object", "argument", "number", "text"];

type Check<'a> = Vec<Query<'a>>;

impl Narrowing {
    /// The checks that say this.
    pub(super) fn to_checks(&self) -> Vec<Check<'_>> {
        let mut checks = Vec::new();
        if self.not_before.is_some() || self.expires_at.is_some() {
            let mut query = Query::default();
            let bounds =
                [(self.not_before, Comparison::AtLeast), (self.expires_at, Comparison::Less)];
            push_time(&mut query, bounds);
            checks.push(vec![query]);
        }
        if let Some(Holder { agent, key }) = &self.holder {
            let terms = [Term::text(agent.to_string()), Term::text(key.to_string())];
            let body = vec![Predicate::new("holder", terms)];
            checks.push(vec![Query { body, expressions: Vec::new() }]);
        }
        if let Some(authority) = &self.authority {
            let queries = authority.permissions().iter().flat_map(queries);
            let mut queries: Vec<_> = queries.collect();
            if queries.is_empty() {
                queries.push(Query { body: Vec::new(), expressions: vec![Expression::Never] });
            }
            checks.push(queries);
        }
        checks
    }

    /// What these checks say together.
    pub(super) fn of_checks(checks: &[Check<'_>]) -> Result<Self, BiscuitError> {
        let mut all = Self::default();
        for check in checks {
            all.and(one_check(check)?)?;
        }
        Ok(all)
    }

    /// This and another one of the same block.
    fn and(&mut self, other: Self) -> Result<(), BiscuitError> {
        self.not_before = self.not_before.max(other.not_before);
        self.expires_at = [self.expires_at, other.expires_at].into_iter().flatten().min();
        self.authority = match (self.authority.take(), other.authority) {
            (Some(one), Some(other)) => {
                Some(one.try_meet(&other).map_err(|_| BiscuitError::Malformed)?)
            }
            (one, other) => one.or(other),
        };
        match (self.holder, other.holder) {
            (Some(_), Some(_)) => return Err(BiscuitError::Malformed),
            (one, other) => self.holder = one.or(other),
        }
        Ok(())
    }
}

fn queries(permission: &Permission) -> impl Iterator<Item = Query<'_>> {
    permission.actions.iter().map(move |action| {
        let mut query = Query::default();
        let texts = [("resource", permission.resource.as_str()), ("operation", action.as_str())];
        query.body.extend(texts.map(|(name, text)| Predicate::new(name, [Term::text(text)])));
        if let Some(limits) = &permission.limits {
            push_limits(&mut query, limits);
        }
        query
    })
}

fn push_limits<'a>(query: &mut Query<'a>, limits: &'a Limits) {
    if let Some(pattern) = limits.object() {
        match pattern.as_str().strip_suffix('*') {
            None => {
                query.body.push(Predicate::new("object", [Term::text(pattern.as_str())]));
            }
            Some(stem) => {
                let of = |name| Term::variable(name);
                query.body.push(Predicate::new("object", [of("object")]));
                let below =
                    Expression::Compared(of("object"), Comparison::Prefix, Term::text(stem));
                query.expressions.push(below);
            }
        }
    }
    for (number, (name, constraint)) in limits.constraints().iter().enumerate() {
        push_constraint(query, (name.as_str(), format!("v{number}")), constraint);
    }
    let bounds =
        [(limits.not_before(), Comparison::AtLeast), (limits.not_after(), Comparison::AtMost)];
    if bounds.iter().any(|(end, _)| end.is_some()) {
        push_time(query, bounds);
    }
}

fn push_time(query: &mut Query<'_>, bounds: [(Option<i64>, Comparison); 2]) {
    query.body.push(Predicate::new("time", [Term::variable("time")]));
    for (end, by) in bounds {
        if let Some(end) = end {
            let end = Term::Date(end as u64);
            query.expressions.push(Expression::Compared(Term::variable("time"), by, end));
        }
    }
}

fn push_constraint<'a>(
    query: &mut Query<'a>,
    (name, variable): (&'a str, String),
    constraint: &'a Constraint,
) {
    let variable = || Term::variable(variable.clone());
    let (predicate, second) = match &constraint.0 {
        Shape::Values(values) => {
            if let (1, Some(value)) = (values.len(), values.first()) {
                ("argument", term(value))
            } else {
                let values = Term::Array(values.iter().map(term).collect());
                let is_one = Expression::Compared(values, Comparison::Contains, variable());
                query.expressions.push(is_one);
                ("argument", variable())
            }
        }
        Shape::Prefix(prefix) => {
            let begins =
                Expression::Compared(variable(), Comparison::Prefix, Term::text(&**prefix));
            query.expressions.push(begins);
            ("text", variable())
        }
        Shape::Range(min, max) => {
            for (end, by) in [(min, Comparison::AtLeast), (max, Comparison::AtMost)] {
                if let Some(end) = end {
                    let within = Expression::Compared(variable(), by, Term::Integer(*end));
                    query.expressions.push(within);
                }
            }
            ("number", variable())
        }
    };
    query.body.push(Predicate::new(predicate, [Term::text(name), second]));
}

fn term(value: &Value) -> Term<'_> {
    match value {
        Value::Integer(number) => Term::Integer(*number),
        Value::Text(text) => Term::text(&**text),
    }
}

fn one_check(check: &[Query<'_>]) -> Result<Narrowing, BiscuitError> {
    let mut narrowing = Narrowing::default();
    match check {
        [Query { body, expressions }] if body.is_empty() && *expressions == [Expression::Never] => {
            narrowing.authority = Some(Authority::none());
        }
        [Query { body, expressions }] if body.len() == 1 && is_named(body, "holder") => {
            narrowing.holder = Some(holder(body, expressions)?);
        }
        [query] if query.body.len() == 1 && is_named(&query.body, "time") => {
            let read = Reading::of(query)?;
            narrowing.not_before = read.window.0;
            // Whole seconds: until one is until before the next.
            let included = read.window.1.map(|last| last.saturating_add(1));
            narrowing.expires_at = [read.before, included].into_iter().flatten().min();
        }
        queries => {
            let permissions = queries.iter().map(permission).collect::<Result<Vec<_>, _>>()?;
            if permissions.is_empty() {
                return Err(BiscuitError::Malformed);
            }
            let authority = Authority::new(permissions).map_err(|_| BiscuitError::Malformed)?;
            narrowing.authority = Some(authority);
        }
    }
    Ok(narrowing)
}

fn is_named(body: &[Predicate<'_>], name: &str) -> bool {
    body.iter().all(|predicate| predicate.name == name)
}

fn holder(body: &[Predicate<'_>], expressions: &[Expression<'_>]) -> Result<Holder, BiscuitError> {
    match (body, expressions) {
        ([Predicate { terms, .. }], []) => match terms.as_slice() {
            [Term::Text(agent), Term::Text(key)] => {
                let agent = agent.parse().map_err(|_| BiscuitError::Malformed)?;
                let key = key.parse().map_err(|_| BiscuitError::Malformed)?;
                Ok(Holder { agent, key })
            }
            _ => Err(BiscuitError::Malformed),
        },
        _ => Err(BiscuitError::Malformed),
    }
}

fn permission(query: &Query<'_>) -> Result<Permission, BiscuitError> {
    let read = Reading::of(query)?;
    let (Some(resource), Some(operation), None) = (read.resource, read.operation, read.before)
    else {
        return Err(BiscuitError::Malformed);
    };
    let mut constraints = BTreeMap::new();
    for (name, said) in read.arguments {
        let name = ArgumentName::new(name).map_err(|_| BiscuitError::Malformed)?;
        constraints.insert(name, said.constraint()?);
    }
    let limits = Limits::new(read.object, constraints, read.window);
    let limits = limits.map_err(|_| BiscuitError::Malformed)?;
    Ok(Permission::limited(resource, BTreeSet::from([operation]), limits))
}

/// What a query says of one argument.
enum Said<'q> {
    Equals(&'q Term<'q>),
    OneOf(&'q [Term<'q>]),
    Prefix(&'q str),
    Range(Option<i64>, Option<i64>),
    /// A variable that nothing was said of yet, as `argument`, `text` or `number` binds it.
    Bound(&'q str),
}

impl Said<'_> {
    fn constraint(self) -> Result<Constraint, BiscuitError> {
        let value = |term: &Term<'_>| match term {
            Term::Integer(number) => Ok(Value::Integer(*number)),
            Term::Text(text) => Ok(Value::from(&**text)),
            Term::Variable(_) | Term::Date(_) | Term::Array(_) => Err(BiscuitError::Malformed),
        };
        let constraint = match self {
            Self::Equals(term) => Constraint::equals(value(term)?),
            Self::OneOf(terms) => {
                Constraint::one_of(terms.iter().map(value).collect::<Result<Vec<_>, _>>()?)
            }
            Self::Prefix(prefix) => Constraint::prefix(prefix),
            Self::Range(min, max) => Constraint::range(min, max),
            Self::Bound(_) => return Err(BiscuitError::Malformed),
        };
        constraint.map_err(|_| BiscuitError::Malformed)
    }
}

/// What a variable stands for.
#[derive(Clone, Copy)]
enum Meaning<'q> {
    Object,
    Time,
    Argument(&'q str),
}

/// A query while it is read.
#[derive(Default)]
struct Reading<'q> {
    resource: Option<ResourceName>,
    operation: Option<ActionName>,
    object: Option<ObjectPattern>,
    arguments: BTreeMap<&'q str, Said<'q>>,
    window: (Option<i64>, Option<i64>),
    /// The first second that is too late.
    before: Option<i64>,
    variables: Vec<(&'q str, Meaning<'q>)>,
}

impl<'q> Reading<'q> {
    /// Reads a query. Everything in it is said once, and of each variable something is said.
    fn of(query: &'q Query<'q>) -> Result<Self, BiscuitError> {
        let mut read = Self::default();
        for predicate in &query.body {
            read.predicate(predicate)?;
        }
        for expression in &query.expressions {
            match expression {
                Expression::Compared(left, by, right) => read.compared(left, *by, right)?,
                Expression::Never => return Err(BiscuitError::Malformed),
            }
        }
        let is_said = |(_, meaning): &(&str, Meaning<'_>)| match meaning {
            Meaning::Object => read.object.is_some(),
            Meaning::Time => read.window != (None, None) || read.before.is_some(),
            // Said::Bound is refused when it becomes a constraint.
            Meaning::Argument(_) => true,
        };
        if read.variables.iter().all(is_said) { Ok(read) } else { Err(BiscuitError::Malformed) }
    }

    fn predicate(&mut self, predicate: &'q Predicate<'q>) -> Result<(), BiscuitError> {
        match (predicate.name, predicate.terms.as_slice()) {
            ("resource", [Term::Text(name)]) => {
                first(&mut self.resource, name.parse().map_err(|_| BiscuitError::Malformed)?)
            }
            ("operation", [Term::Text(name)]) => {
                first(&mut self.operation, name.parse().map_err(|_| BiscuitError::Malformed)?)
            }
            // A pattern that is no stem: this very object.
            ("object", [Term::Text(object)]) if !object.ends_with('*') => {
                first(&mut self.object, object.parse().map_err(|_| BiscuitError::Malformed)?)
            }
            ("object", [Term::Variable(name)]) => self.bind(name, Meaning::Object),
            ("time", [Term::Variable(name)]) => self.bind(name, Meaning::Time),
            ("argument" | "text" | "number", [Term::Text(argument), Term::Variable(name)]) => {
                self.bind(name, Meaning::Argument(argument))?;
                self.argument(argument, Said::Bound(predicate.name))
            }
            ("argument", [Term::Text(argument), value]) => {
                self.argument(argument, Said::Equals(value))
            }
            _ => Err(BiscuitError::Malformed),
        }
    }

    /// One variable for one thing.
    fn bind(&mut self, name: &'q str, meaning: Meaning<'q>) -> Result<(), BiscuitError> {
        let is_same = |known: &Meaning<'_>| match (known, meaning) {
            (Meaning::Object, Meaning::Object) | (Meaning::Time, Meaning::Time) => true,
            (Meaning::Object | Meaning::Time | Meaning::Argument(_), _) => false,
        };
        if self.variables.iter().any(|(known, meant)| *known == name || is_same(meant)) {
            return Err(BiscuitError::Malformed);
        }
        self.variables.push((name, meaning));
        Ok(())
    }

    fn argument(&mut self, name: &'q str, said: Said<'q>) -> Result<(), BiscuitError> {
        match self.arguments.insert(name, said) {
            None => Ok(()),
            Some(_) => Err(BiscuitError::Malformed),
        }
    }

    fn compared(
        &mut self,
        left: &'q Term<'q>,
        by: Comparison,
        right: &'q Term<'q>,
    ) -> Result<(), BiscuitError> {
        let (variable, other) = match (left, by, right) {
            (other, Comparison::Contains, Term::Variable(name)) => (name, other),
            (_, Comparison::Contains, _) => return Err(BiscuitError::Malformed),
            (Term::Variable(name), _, other) => (name, other),
            _ => return Err(BiscuitError::Malformed),
        };
        let known = self.variables.iter().find(|(known, _)| known == variable);
        match known.ok_or(BiscuitError::Malformed)?.1 {
            Meaning::Object => self.compared_object(by, other),
            Meaning::Time => self.compared_time(by, other),
            Meaning::Argument(name) => self.compared_argument(name, by, other),
        }
    }

    fn compared_object(&mut self, by: Comparison, other: &Term<'_>) -> Result<(), BiscuitError> {
        match (by, other) {
            (Comparison::Prefix, Term::Text(stem)) if stem.ends_with('/') => {
                let pattern = ObjectPattern::new(&format!("{stem}*"));
                first(&mut self.object, pattern.map_err(|_| BiscuitError::Malformed)?)
            }
            _ => Err(BiscuitError::Malformed),
        }
    }

    fn compared_time(&mut self, by: Comparison, other: &Term<'_>) -> Result<(), BiscuitError> {
        let Term::Date(second) = other else { return Err(BiscuitError::Malformed) };
        let second = i64::try_from(*second).ok().filter(|second| *second <= WINDOW_SECONDS_MAX);
        let second = second.ok_or(BiscuitError::Malformed)?;
        match by {
            Comparison::Less => first(&mut self.before, second),
            Comparison::AtMost => first(&mut self.window.1, second),
            Comparison::AtLeast => first(&mut self.window.0, second),
            Comparison::Contains | Comparison::Prefix => Err(BiscuitError::Malformed),
        }
    }

    fn compared_argument(
        &mut self,
        name: &'q str,
        by: Comparison,
        other: &'q Term<'q>,
    ) -> Result<(), BiscuitError> {
        let said = self.arguments.remove(name).ok_or(BiscuitError::Malformed)?;
        let said = match (said, by, other) {
            (Said::Bound("argument"), Comparison::Contains, Term::Array(values)) => {
                Said::OneOf(values)
            }
            (Said::Bound("text"), Comparison::Prefix, Term::Text(prefix)) => Said::Prefix(prefix),
            (Said::Bound("number"), Comparison::AtLeast, Term::Integer(min)) => {
                Said::Range(Some(*min), None)
            }
            (Said::Bound("number"), Comparison::AtMost, Term::Integer(max)) => {
                Said::Range(None, Some(*max))
            }
            (Said::Range(None, max), Comparison::AtLeast, Term::Integer(min)) => {
                Said::Range(Some(*min), max)
            }
            (Said::Range(min, None), Comparison::AtMost, Term::Integer(max)) => {
                Said::Range(min, Some(*max))
            }
            _ => return Err(BiscuitError::Malformed),
        };
        self.argument(name, said)
    }
}

fn first<T>(slot: &mut Option<T>, value: T) -> Result<(), BiscuitError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(BiscuitError::Malformed),
    }
}
