//! The crate `biscuit-auth`, which evaluates the Datalog of others.
//!
//! The one policy allows everything: what is allowed was decided by the lattice, and here checks
//! fail or hold. Facts are built as values, never as text.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use biscuit_auth::builder::{Algorithm, Fact, Term};
use biscuit_auth::{AuthorizerBuilder, AuthorizerLimits, Biscuit};

use super::evaluate::{ARGUMENTS_MAX, Asked, ITERATIONS_MAX, TIME_MAX, facts_in_all};
use super::{Attenuable, Holder};
use crate::authority::Value;
use crate::crypto::PublicKey;

/// A token, ready to be asked.
#[derive(Clone)]
pub(super) struct Evaluator {
    token: Arc<Biscuit>,
    /// What is the same for each question.
    supplied: AuthorizerBuilder,
}

/// Without the token, which whoever has it may use.
impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Evaluator")
    }
}

impl Evaluator {
    pub(super) fn new(bytes: &[u8], root: &PublicKey, attenuable: &Attenuable) -> Option<Self> {
        let root = biscuit_auth::PublicKey::from_bytes(root.bytes(), Algorithm::Ed25519).ok()?;
        let token = Biscuit::from(bytes, root).ok()?;
        let limits = AuthorizerLimits {
            max_facts: facts_in_all(),
            max_iterations: ITERATIONS_MAX,
            max_time: TIME_MAX,
        };
        let mut supplied =
            AuthorizerBuilder::new().set_limits(limits).policy("allow if true").ok()?;
        for Holder { agent, key } in attenuable.holders() {
            let holder = fact("holder", [text(&agent.to_string()), text(&key.to_string())]);
            supplied = supplied.fact(holder).ok()?;
        }
        Some(Self { token: Arc::new(token), supplied })
    }

    /// Whether every check holds. Whatever goes wrong is a no.
    pub(super) fn allows(&self, asked: &Asked<'_>) -> bool {
        // It is the code of others over the words of others.
        catch_unwind(AssertUnwindSafe(|| self.run(asked).is_some())).unwrap_or(false)
    }

    fn run(&self, asked: &Asked<'_>) -> Option<()> {
        let second = u64::try_from(asked.now.seconds()).ok()?;
        let mut facts = vec![
            fact("time", [Term::Date(second)]),
            fact("resource", [text(asked.resource)]),
            fact("operation", [text(asked.action)]),
        ];
        facts.extend(asked.object.map(|object| fact("object", [text(object)])));
        for (number, (name, value)) in asked.arguments.values().enumerate() {
            if number == ARGUMENTS_MAX {
                return None;
            }
            let (typed, value) = match value {
                Value::Integer(value) => ("number", Term::Integer(*value)),
                Value::Text(value) => ("text", text(value)),
            };
            facts.push(fact("argument", [text(name), value.clone()]));
            facts.push(fact(typed, [text(name), value]));
        }
        let mut authorizer = self.supplied.clone();
        for fact in facts {
            authorizer = authorizer.fact(fact).ok()?;
        }
        authorizer.build(&self.token).ok()?.authorize().ok().map(drop)
    }
}

fn fact(name: &str, terms: impl Into<Vec<Term>>) -> Fact {
    Fact::new(name.to_owned(), terms)
}

fn text(text: &str) -> Term {
    Term::Str(text.to_owned())
}
