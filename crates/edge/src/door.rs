//! Who is answered: which instance a process is, or that it is none.

use std::fmt;
use std::sync::Arc;

use crate::identity::Identity;
use crate::peer::Peer;
use crate::process;

/// Why a process is not answered. What is said of it to the process is that it is none that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It is over by now.
    Gone,
    /// It is of another user.
    User,
    /// It is none of the processes that are answered here.
    Stranger,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the process is over",
            Self::User => "the process is of another user",
            Self::Stranger => "the process is none that is answered here",
        })
    }
}

impl std::error::Error for Denied {}

/// Says which instance a process is.
pub trait Door: Send + Sync + 'static {
    /// The instance, or why there is none. Asked for each question again: what was so a moment ago need
    /// not be so any more.
    fn identity(&self, peer: &Peer) -> Result<Arc<Identity>, Denied>;
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
}

impl Door for Tree {
    fn identity(&self, peer: &Peer) -> Result<Arc<Identity>, Denied> {
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
