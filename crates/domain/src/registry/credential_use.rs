//! Use: what one holder's secret is for, such as `ci` or `prod-worker`.
//!
//! Of one holder's secrets at most one for each use is live and has no successor: so a use that
//! leaks is ended without touching the others, and who shares a secret is seen. While a rotation
//! overlaps, the old one is still live and has a successor. The store holds the rule; here the
//! refusal says which one there is. A public key bears a use too and need not be the only one.

use std::borrow::Cow;
use std::fmt;

use accredit_wire::ids::AnyId;

use super::DecideError;
use super::credential::Holder;
use crate::context::Cx;
use crate::refusal::{Fault, Refusal, Rule};

/// Bytes of a use's name.
pub const USE_BYTES_MAX: usize = 63;
/// Live secrets of one holder that have no successor.
pub const USES_MAX: usize = 500;

/// The name of a use: lower-case letters, digits, `.`, `_` and `-`, first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseName(Cow<'static, str>);

impl UseName {
    /// The use where nobody said one.
    pub const DEFAULT: Self = Self(Cow::Borrowed("default"));

    /// From how it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = text.len() <= USE_BYTES_MAX
            && text.bytes().next().is_some_and(letter)
            && text.bytes().all(|byte| letter(byte) || b"._-".contains(&byte));
        is_name.then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The n-th name for a secret of which nobody said what it is for, from 1.
    fn unsaid(n: usize) -> Self {
        if n == 1 { Self::DEFAULT } else { Self(Cow::Owned(format!("{}-{n}", Self::DEFAULT))) }
    }
}

impl fmt::Display for UseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a use that was asked for.
pub(super) fn asked(text: &str) -> Result<UseName, Refusal> {
    UseName::parse(text).ok_or_else(|| {
        Refusal::field(
            "use",
            format!("must be 1 to {USE_BYTES_MAX} of `a-z 0-9 . _ -`, first a letter or digit"),
            "name what the secret is for, such as `ci`",
        )
    })
}

fn id(holder: &Holder) -> Option<AnyId> {
    match holder {
        Holder::Agent(id) => Some(id.any()),
        Holder::Instance(id, _) => Some(id.any()),
        Holder::Resource(id) => Some(id.any()),
        Holder::Admin(_) => None,
    }
}

/// The use of a new secret: the one that was named, where it is free; else the first free one.
pub(super) async fn free(
    cx: &Cx,
    holder: &Holder,
    named: Option<&UseName>,
) -> Result<UseName, DecideError> {
    let Some(holder) = id(holder) else { return Ok(UseName::DEFAULT) };
    let live = cx.world.store.uses_of(cx.tenant.id, holder, cx.now, USES_MAX).await?;
    if live.len() >= USES_MAX {
        return Err(Refusal::new(
            Rule::UseTaken,
            format!("there are {USES_MAX} live secrets already"),
            "revoke some, or register instances: each has a secret of its own",
        )
        .into());
    }
    let taken = |wanted: &UseName| live.iter().find(|(held, _)| held == wanted);
    if let Some(named) = named {
        return match taken(named) {
            None => Ok(named.clone()),
            Some((_, other)) => Err(Refusal::new(
                Rule::UseTaken,
                format!("credential `{other}` is live for the use `{named}`"),
                format!(
                    "replace it with an overlap: `accredit credential rotate {other}`; or name \
                     another use"
                ),
            )
            .into()),
        };
    }
    let free = (1..=USES_MAX).map(UseName::unsaid).find(|name| taken(name).is_none());
    Ok(free.ok_or_else(|| Fault::new("use", "none is free among more than there are"))?)
}
