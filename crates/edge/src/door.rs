//! Who is answered: which instance a process is, or that it is none.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::attest::Unattested;
use crate::identity::Identity;
use crate::peer::Peer;
use crate::process;

/// Why a process is not answered. What is said of it to the process is that it is none that is known, or
/// that this is not known for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is over by now.
    Gone,
    /// It is of another user.
    User,
    /// It is none of the processes that are answered here.
    Stranger,
    /// What the kernel says of it does not fit together.
    Unattested(Unattested),
    /// No rule says which agent it is.
    Unruled,
    /// A rule says which agent it is, and the server gives it no instance all the same: it was ended, or its
    /// agent may not act.
    Refused,
    /// The server refuses this node.
    Node,
    /// The server does not answer.
    Silent,
    /// Too much is asked for now.
    Busy,
    /// The server says that too many were born lately; after this time it may be asked again.
    Later(Duration),
}

impl Denied {
    /// Whether it is worth asking again in a moment.
    pub fn is_for_now(self) -> bool {
        match self {
            Self::Silent | Self::Busy | Self::Later(_) => true,
            Self::Gone
            | Self::User
            | Self::Stranger
            | Self::Unattested(_)
            | Self::Unruled
            | Self::Refused
            | Self::Node => false,
        }
    }
}

impl Denied {
    /// Tells the log who was refused. What any process can cause again and again is told to whoever looks
    /// for it; what the server said is told where it said it.
    pub(crate) fn log(self, peer: &Peer) {
        match self {
            Self::User | Self::Stranger => {
                tracing::warn!(pid = peer.pid, uid = peer.uid, denied = %self, "refused");
            }
            _ => tracing::debug!(pid = peer.pid, uid = peer.uid, denied = %self, "refused"),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the process is over",
            Self::User => "the process is of another user",
            Self::Stranger => "the process is none that is answered here",
            Self::Unattested(why) => return why.fmt(f),
            Self::Unruled => "no rule says which agent the process is",
            Self::Refused => "the server refuses the instance that the process would be",
            Self::Node => "the server refuses this node",
            Self::Silent => "the server does not answer, and the process was not known before",
            Self::Busy => "too much is asked for now",
            Self::Later(_) => "too many processes were born lately",
        })
    }
}

impl std::error::Error for Denied {}

impl From<Unattested> for Denied {
    fn from(why: Unattested) -> Self {
        match why {
            Unattested::Gone => Self::Gone,
            Unattested::TwoUsers | Unattested::Changed => Self::Unattested(why),
        }
    }
}

/// Says which instance a process is.
pub trait Door: Send + Sync + 'static {
    /// The instance, or why there is none. Asked for each question again: what was so a moment ago need
    /// not be so any more.
    fn identity<'a>(&'a self, peer: &'a Arc<Peer>) -> BoxFuture<'a, Result<Arc<Identity>, Denied>>;
}

/// One instance for one process and whatever descends from it.
#[derive(Debug)]
pub struct Tree {
    identity: Arc<Identity>,
    root: i32,
    uid: u32,
}

impl Tree {
    /// For whatever descends from the process `root` and is of the user `uid`. A root that takes in
    /// orphans (PR_SET_CHILD_SUBREAPER) loses none of its descendants.
    pub fn new(identity: Arc<Identity>, root: i32, uid: u32) -> Self {
        Self { identity, root, uid }
    }

    fn look(&self, peer: &Peer) -> Result<Arc<Identity>, Denied> {
        if peer.uid != self.uid {
            return Err(Denied::User);
        }
        let descends = process::descends(peer.pid, self.root);
        // Only now is it known that the id meant this process while it was looked at.
        match (peer.is_alive(), descends) {
            (false, _) => Err(Denied::Gone),
            (true, false) => Err(Denied::Stranger),
            (true, true) => Ok(Arc::clone(&self.identity)),
        }
    }
}

impl Door for Tree {
    fn identity<'a>(&'a self, peer: &'a Arc<Peer>) -> BoxFuture<'a, Result<Arc<Identity>, Denied>> {
        Box::pin(std::future::ready(self.look(peer)))
    }
}
