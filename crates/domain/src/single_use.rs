//! RFC 7519 section 4.1.7, RFC 9449 section 11.1: what is taken once, and what a request has used up.

use accredit_wire::ids::AnyId;
use accredit_wire::time::Time;

/// A single-use value, such as an assertion's `jti`: the second to come is refused.
#[derive(Clone, Debug)]
pub struct SingleUse {
    /// Whose it is.
    pub client: AnyId,
    /// SHA-256 of the value.
    pub hash: [u8; 32],
    /// Until when it must be remembered.
    pub until: Time,
}

/// What a request has used up, to be consumed with whatever is decided.
#[derive(Clone, Debug, Default)]
pub struct UsedUp {
    /// The client assertion.
    pub assertion: Option<SingleUse>,
    /// The proof of possession.
    pub possession: Option<SingleUse>,
}

impl UsedUp {
    /// Nothing.
    pub const NOTHING: Self = Self { assertion: None, possession: None };

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &SingleUse> {
        self.assertion.iter().chain(&self.possession)
    }

    /// Whether there is none.
    pub fn is_nothing(&self) -> bool {
        self.each().next().is_none()
    }
}

impl From<SingleUse> for UsedUp {
    fn from(assertion: SingleUse) -> Self {
        Self { assertion: Some(assertion), possession: None }
    }
}
