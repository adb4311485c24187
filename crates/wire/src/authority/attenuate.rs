//! Attenuation: the only constructor of an Authority that is derived from another.

use std::fmt;

use super::{Authority, ScopeToken};

/// How many tokens of an [`Excess`] its message names; the rest are counted.
pub const EXCESS_SHOWN_MAX: usize = 8;

/// The Authority `asked`, where `parent` covers it; else what it would have had beyond `parent`.
///
/// The result is built as a meet, so it cannot exceed `parent` even if the comparison above it
/// were wrong.
pub fn attenuate(parent: &Authority, asked: &Authority) -> Result<Authority, Excess> {
    let excess: Vec<ScopeToken> =
        asked.tokens().filter(|token| !parent.allows(&token.resource, &token.action)).collect();
    if excess.is_empty() { Ok(parent.meet(asked)) } else { Err(Excess(excess)) }
}

/// What was asked for beyond what there was to give: at least one scope token, in order.
///
/// It names only what the caller itself asked for, so it cannot be used to learn what exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess(Vec<ScopeToken>);

impl Excess {
    /// The scope tokens that would have grown.
    pub fn tokens(&self) -> &[ScopeToken] {
        &self.0
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().take(EXCESS_SHOWN_MAX).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{token}`")?;
        }
        let unnamed = self.0.len().saturating_sub(EXCESS_SHOWN_MAX);
        if unnamed > 0 {
            write!(f, " and {unnamed} more")?;
        }
        f.write_str(" would exceed the authority it is derived from")
    }
}

impl std::error::Error for Excess {}
