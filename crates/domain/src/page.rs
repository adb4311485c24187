//! What a page of a list asks for: in which order, which rows, and how many.

use accredit_wire::ids::{AgentId, AnyId, InstanceId, PersonId, ResourceId};
use accredit_wire::time::Time;

use crate::registry::environment::Environment;

/// In which order a list is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By id, which is the order of creation.
    #[default]
    Oldest,
    /// By id, the newest first.
    Newest,
    /// By name; persons by e-mail address.
    Name,
    /// By name, backwards.
    NameBackwards,
    /// By when something about it is due: an agent's review, a credential's end.
    Due,
    /// By when something about it is due, the last first.
    DueBackwards,
}

impl Order {
    /// Whether it is an order by name.
    pub const fn is_by_name(self) -> bool {
        matches!(self, Self::Name | Self::NameBackwards)
    }

    /// Whether it is an order by when something is due.
    pub const fn is_by_due(self) -> bool {
        matches!(self, Self::Due | Self::DueBackwards)
    }

    /// The order of a list whose rows have no unique name.
    #[must_use]
    pub const fn without_name(self) -> Self {
        match self {
            Self::Oldest | Self::Name => Self::Oldest,
            Self::Newest | Self::NameBackwards => Self::Newest,
            Self::Due | Self::DueBackwards => self,
        }
    }

    /// The order of a list of whose rows nothing is due.
    #[must_use]
    pub const fn without_due(self) -> Self {
        match self {
            Self::Oldest | Self::Due => Self::Oldest,
            Self::Newest | Self::DueBackwards => Self::Newest,
            Self::Name | Self::NameBackwards => self,
        }
    }

    /// Whether what is less comes later.
    pub const fn is_backwards(self) -> bool {
        matches!(self, Self::Newest | Self::NameBackwards | Self::DueBackwards)
    }
}

/// Times from one on and before another, as far as they are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// At this time or after it.
    pub from: Option<Time>,
    /// Before this time.
    pub before: Option<Time>,
}

impl Span {
    /// Whether every time is in it.
    pub const fn is_all(self) -> bool {
        self.from.is_none() && self.before.is_none()
    }

    /// Whether a time is in it.
    pub fn holds(self, time: Time) -> bool {
        self.from.is_none_or(|from| time >= from) && self.before.is_none_or(|end| time < end)
    }
}

/// Rows that one page looks at, at most, where no index leads to those that are wanted: some ten
/// milliseconds.
pub const LOOKED_ROWS_MAX: usize = 5_000;

/// What one page of a list asks for: rows after `cursor`, at most `limit`, in its order.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Where the page before said that the next one starts; it holds for that page's order.
    pub cursor: Option<String>,
    /// In which order; those without a name or a due time are read by id.
    pub order: Order,
    /// Only rows whose name begins so; the order is by name then.
    pub prefix: Option<String>,
    /// At most so many rows.
    pub limit: usize,
    /// At most so many rows are looked at, where no index leads to those that are wanted:
    /// [`LOOKED_ROWS_MAX`] where nothing is said. A page that ends there goes on with the next one.
    pub looked_max: Option<usize>,
    /// Only rows with this state.
    pub state: Option<String>,
    /// The time at which it is told whether a row has expired.
    pub at: Time,
    /// Only rows that were made then. An id holds the millisecond at which its row was made.
    pub created: Span,
    /// Only rows of which something is due then: an agent's review, or the end of what ends. What
    /// never ends does so after every time.
    pub due: Span,
    /// Only rows that were last used then; what never was, was so before every time.
    pub used: Span,
    /// Only rows in this environment.
    pub environment: Option<Environment>,
    /// Only rows of this owner.
    pub owner: Option<PersonId>,
    /// Only rows of this agent.
    pub agent: Option<AgentId>,
    /// Only rows of this instance.
    pub instance: Option<InstanceId>,
    /// Only rows of this resource.
    pub resource: Option<ResourceId>,
    /// Only revocations of this.
    pub target: Option<AnyId>,
}
