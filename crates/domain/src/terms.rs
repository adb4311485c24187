//! RFC 9110 section 13.1.1 and the `Idempotency-Key` header: the terms under which a request wants
//! to be carried out.
//!
//! *On which version it builds*: every decision reads its row, compares the row's version with the
//! one expected, and commits on the condition that the row is still as it was read. So a request
//! that names a version never overwrites a change that its sender has not seen.
//!
//! *Done once*: what a creating request made is kept, without its secrets, in the transaction that
//! made it. A repetition under the same key finds it and makes nothing.

use std::time::Duration;

use accredit_wire::crypto::sha256_of;
use accredit_wire::ids::{CredentialId, OrganizationId};
use accredit_wire::time::Time;
use accredit_wire::trace::TraceId;

use crate::lease::Fence;
use crate::refusal::{Refusal, Rule};

/// Characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 128;
/// How long the answer to a creating request is kept.
pub const ANSWER_KEPT: Duration = Duration::from_hours(24);

/// The terms of one request; by default none.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The version that it builds on.
    pub expected: Expected,
    /// Under which key it is done once.
    pub once: Option<Once>,
    /// When what it suspends goes on by itself.
    pub ends_at: Option<Time>,
    /// The trace that it belongs to.
    pub trace: Option<TraceId>,
    /// The lease under which it is done by the clock: refused where another node has it by now.
    pub lease: Option<Fence>,
}

/// Which version of a thing a request wants to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expected {
    /// Whichever there is.
    #[default]
    Any,
    /// One of these; with none named, no version will do.
    OneOf(Vec<i64>),
}

impl Expected {
    /// Refuses a row of another version than expected.
    pub fn check(&self, version: i64) -> Result<(), Refusal> {
        match self {
            Self::OneOf(versions) if versions.contains(&version) => Ok(()),
            _ => self.check_none(),
        }
    }

    /// Refuses whatever is expected where nothing has versions.
    pub fn check_none(&self) -> Result<(), Refusal> {
        match self {
            Self::Any => Ok(()),
            Self::OneOf(_) => Err(Refusal::new(
                Rule::PreconditionFailed,
                "it is not, or no longer, the version that `If-Match` names",
                "read it again, look at what changed, and send the new `ETag`",
            )),
        }
    }
}

/// An idempotency key as it is kept, bound to who sent it and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    /// The caller's organization; nothing where the installation's operator calls, who is in none.
    pub org: Option<OrganizationId>,
    /// The caller.
    pub caller: CredentialId,
    /// SHA-256 of the key: it was chosen by somebody else, who may have put anything into it.
    pub key: [u8; 32],
    /// SHA-256 of method, path and body: what the key stands for.
    pub asked: [u8; 32],
    /// Until when the answer is kept.
    pub until: Time,
}

impl Once {
    /// Checks a key and binds it to a request. `asked` is method, path and body.
    pub fn new(
        (org, caller): (Option<OrganizationId>, CredentialId),
        key: &str,
        asked: [&[u8]; 3],
        now: Time,
    ) -> Result<Self, Refusal> {
        let plain = key.bytes().all(|b| b.is_ascii_graphic());
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_CHARS_MAX || !plain {
            return Err(Refusal::field(
                "Idempotency-Key",
                format!("must be 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters"),
                "make a random UUID for each creation, and keep it for its repetitions",
            ));
        }
        let [method, path, body] = asked;
        Ok(Self {
            org,
            caller,
            key: sha256_of(&[key.as_bytes()]),
            asked: sha256_of(&[method, b" ", path, b"\n", body]),
            until: now.plus(ANSWER_KEPT),
        })
    }
}

/// What a creating request made, as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Under which key.
    pub once: Once,
    /// The object as JSON, without its secrets.
    pub object: String,
}

impl KeptAnswer {
    /// The object, for a repetition of the same request; a refusal for another request under the
    /// same key.
    pub fn repeated(self, by: &Once) -> Result<String, Refusal> {
        if self.once.asked == by.asked {
            return Ok(self.object);
        }
        Err(Refusal::new(
            Rule::IdempotencyKeyReused,
            "this idempotency key came with another request before",
            "make a new key for each creation; repeat a request exactly as it was",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn once(key: &str, body: &str) -> Result<Once, Refusal> {
        let who = (Some(OrganizationId::new(1, [1; 10])), CredentialId::new(1, [2; 10]));
        let asked = [b"POST".as_slice(), b"/v1/agents", body.as_bytes()];
        Once::new(who, key, asked, Time::from_seconds(1))
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        for good in ["a", "\"quoted\"", &"k".repeat(IDEMPOTENCY_KEY_CHARS_MAX)] {
            assert!(once(good, "").is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a\n", "é", &"k".repeat(IDEMPOTENCY_KEY_CHARS_MAX + 1)] {
            let refusal = once(bad, "").expect_err(bad);
            assert_eq!(refusal.rule, Rule::FieldInvalid);
        }
    }

    #[test]
    fn a_kept_answer_is_for_the_same_request_alone() {
        let (first, other) = (once("k", "{}").expect("a key"), once("k", "{ }").expect("a key"));
        assert_eq!(first.key, other.key);
        let kept = KeptAnswer { once: first.clone(), object: "{}".to_owned() };
        assert_eq!(kept.clone().repeated(&first).expect("the same"), "{}");
        let refusal = kept.repeated(&other).expect_err("another body");
        assert_eq!(refusal.rule, Rule::IdempotencyKeyReused);
    }

    proptest! {
        #[test]
        fn a_version_passes_iff_it_is_expected(
            versions in prop::collection::vec(0i64..9, 0..5),
            version in 0i64..9,
        ) {
            let expected = Expected::OneOf(versions.clone());
            prop_assert_eq!(expected.check(version).is_ok(), versions.contains(&version));
            prop_assert!(expected.check_none().is_err());
            prop_assert!(Expected::Any.check(version).is_ok());
        }
    }
}
