//! What a list is asked for: how much, in which order, and which rows. Each flag is a parameter of
//! the server's query with `-` for `_`, so that both are learned once.

use accredit_wire::time::Time;
use clap::Args;

use super::{LIST_ITEMS_MAX, time};
use crate::request_path::RequestPath;

/// How much of a list is wanted.
#[derive(Debug, Args)]
pub(crate) struct Paging {
    /// The most items to print
    #[arg(long, value_name = "N", default_value_t = 50,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(LIST_ITEMS_MAX)))]
    pub(crate) limit: u32,
    /// Go on where an earlier list in the same order and with the same filters ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
    /// Print everything
    #[arg(long, conflicts_with = "limit")]
    pub(crate) all: bool,
}

impl Paging {
    /// The most items to print.
    pub(crate) fn items_max(&self) -> usize {
        if self.all { LIST_ITEMS_MAX as usize } else { self.limit as usize }
    }
}

/// The order of a list.
#[derive(Debug, Args)]
pub(crate) struct Sort {
    /// In which order, such as created_at, or backwards, -created_at; the server says which it has
    #[arg(long, value_name = "ORDER", allow_hyphen_values = true)]
    sort: Option<String>,
}

impl Sort {
    /// The path with what is asked for.
    pub(crate) fn of(&self, path: RequestPath) -> RequestPath {
        path.query_opt("sort", self.sort.as_deref())
    }
}

/// A list of what has states.
#[derive(Debug, Args)]
pub(crate) struct StateList {
    /// Only those in this state
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    #[command(flatten)]
    sort: Sort,
    #[command(flatten)]
    created: Created,
    #[command(flatten)]
    pub(crate) paging: Paging,
}

impl StateList {
    /// The path with what is asked for.
    pub(crate) fn of(&self, path: RequestPath) -> RequestPath {
        let path = path.query_opt("state", self.state.as_deref());
        self.created.of(self.sort.of(path))
    }
}

/// A list of what has states and unique names.
#[derive(Debug, Args)]
pub(crate) struct NameList {
    /// Only those whose name (of a person: address) begins so
    #[arg(long, value_name = "PREFIX")]
    search: Option<String>,
    #[command(flatten)]
    pub(crate) among: StateList,
}

impl NameList {
    /// The path with what is asked for.
    pub(crate) fn of(&self, path: RequestPath) -> RequestPath {
        self.among.of(path).query_opt("q", self.search.as_deref())
    }
}

/// Two flags that say between which times something of a row is.
macro_rules! times {
    ($name:ident, $after:ident, $before:ident, $of:literal) => {
        #[doc = concat!("Between which times a row ", $of, ".")]
        #[derive(Debug, Args)]
        pub(crate) struct $name {
            #[arg(long, value_name = "TIME", value_parser = time)]
            #[arg(help = concat!("Only what ", $of, " at this time or later"))]
            $after: Option<Time>,
            #[arg(long, value_name = "TIME", value_parser = time)]
            #[arg(help = concat!("Only what ", $of, " before this time"))]
            $before: Option<Time>,
        }

        impl $name {
            /// The path with what is asked for.
            pub(crate) fn of(&self, path: RequestPath) -> RequestPath {
                let text = |time: Option<Time>| time.map(|time| time.to_string());
                let path = path.query_opt(stringify!($after), text(self.$after).as_deref());
                path.query_opt(stringify!($before), text(self.$before).as_deref())
            }
        }
    };
}

times!(Created, created_after, created_before, "was made");
times!(Expires, expires_after, expires_before, "expires");
times!(ReviewDue, review_due_after, review_due_before, "is to be looked at again");
times!(LastSeen, last_seen_after, last_seen_before, "was last seen");
times!(LastUsed, last_used_after, last_used_before, "was last used");
