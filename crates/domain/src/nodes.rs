//! What the nodes on one store tell each other of those who follow them: how far each has come in what
//! all of them commit, and, by organization, a word that only they read.
//!
//! A node raises a beat with whatever it tells. One whose beat stands still for [`NODE_AGE_MAX`], by the
//! monotonic clock of whoever looks, is not heard from: what it told last is old, and nothing is counted
//! on it. Nothing is decided by any of this: it is for people who want to know where a revocation has
//! arrived (`docs/decisions/0010`).

use std::collections::HashMap;
use std::time::Duration;

use accredit_wire::ids::OrganizationId;

use crate::ports::BoxFuture;
use crate::refusal::Fault;

/// How long a node may be silent before it is not heard from.
pub const NODE_AGE_MAX: Duration = Duration::from_secs(5);
/// How often a node tells something at least.
pub const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long what a silent node told is kept: as long as whoever follows it may go by what it was sent.
pub const SILENT_KEPT: Duration = Duration::from_mins(70);
/// Nodes that are read, those that ended without a word within [`SILENT_KEPT`] among them. More is a
/// fault, since somebody would be left out.
pub const NODES_MAX: usize = 1024;

/// What a node tells at a time.
#[derive(Clone, Debug)]
pub struct Telling {
    /// The name of its process, which no other one has.
    pub node: String,
    /// Up to which place of what all commit its observers were told before it looked at what follows.
    pub place: u64,
    /// Its word about organizations, where it is another one than before; an empty one is none.
    pub words: Vec<(OrganizationId, String)>,
}

/// What a node has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The name of its process.
    pub node: String,
    /// How often it told something.
    pub beat: u64,
    /// How far it had come.
    pub place: u64,
    /// Its word about the organization that was asked about; empty where there is none.
    pub word: String,
}

/// What nodes tell each other.
pub trait Nodes: Send + Sync {
    /// Up to which place of what all commit observers were told; 0 where no other process writes.
    fn place(&self) -> u64;

    /// Writes what this node tells, all of it at once.
    fn tell(&self, telling: Telling) -> BoxFuture<'_, Result<(), Fault>>;

    /// What all nodes told last, this one included, as of one moment; their words only about this
    /// organization.
    fn told(&self, org: Option<OrganizationId>) -> BoxFuture<'_, Result<Vec<Told>, Fault>>;

    /// Forgets what a node told.
    fn forget_node(&self, node: String) -> BoxFuture<'_, Result<(), Fault>>;
}

/// Since when each node has told nothing new, as one process has seen it.
#[derive(Debug, Default)]
pub struct Silence(HashMap<String, (u64, Duration)>);

impl Silence {
    /// Takes what was told, as read before the monotonic clock showed `up`, and forgets nodes that are
    /// not among it.
    pub fn heard<'t>(&mut self, told: impl Iterator<Item = (&'t str, u64)>, up: Duration) {
        let mut before = std::mem::take(&mut self.0);
        self.0 = told
            .map(|(node, beat)| {
                let same = before.remove(node).filter(|(last, _)| *last >= beat);
                (node.to_owned(), same.unwrap_or((beat, up)))
            })
            .collect();
    }

    /// For how long a node has told nothing new, where that is too long.
    pub fn of(&self, node: &str, up: Duration) -> Option<Duration> {
        let (_, since) = self.0.get(node)?;
        Some(up.saturating_sub(*since)).filter(|silent| *silent >= NODE_AGE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_beat_stands_still_is_not_heard_from_until_it_beats() {
        let secs = Duration::from_secs;
        let mut silence = Silence::default();
        silence.heard([("a", 7), ("b", 1)].into_iter(), secs(100));
        let almost = (secs(100) + NODE_AGE_MAX).saturating_sub(Duration::from_nanos(1));
        silence.heard([("a", 7), ("b", 2)].into_iter(), almost);
        assert_eq!(silence.of("a", almost), None);
        let later = secs(100) + NODE_AGE_MAX;
        assert_eq!(silence.of("a", later), Some(NODE_AGE_MAX));
        assert_eq!(silence.of("b", later), None, "it has beaten");
        // What was read late is no beat.
        silence.heard([("a", 6)].into_iter(), later);
        assert_eq!(silence.of("a", later), Some(NODE_AGE_MAX));
        silence.heard([("a", 8)].into_iter(), later);
        assert_eq!(silence.of("a", later), None);
        assert_eq!(silence.of("b", secs(900)), None, "it is gone");
    }
}
