//! How far a revocation has come, as an administrator is told.
//!
//! Kept apart from [`crate::points`], which knows it, so that what is told can be read at a glance.

use accredit_domain::issuance::TOKEN_LIFETIME_MAX_SECONDS;
use accredit_wire::authority::ResourceName;
use accredit_wire::ids::{CredentialId, ResourceId};
use accredit_wire::time::Time;
use serde::Serialize;

/// How an enforcement point stands to a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PointStatus {
    /// It says that it has applied it.
    Acknowledged,
    /// It followed a node that is not heard from any more: nobody knows before its bound is over.
    Unheard,
    /// It left, and may accept what it accepted until its state is too old.
    Gone,
    /// It follows and does not acknowledge: nobody knows before its bound is over.
    Silent,
    /// It follows, and has not said so yet.
    Waiting,
}

/// One enforcement point and its word.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PointView {
    /// The name of the resource whose server it is; nothing for a follower with an administrator's
    /// key.
    pub resource: Option<String>,
    /// The resource's id.
    #[schema(value_type = Option<String>)]
    pub resource_id: Option<ResourceId>,
    /// The credential with which it follows.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// The id that the follower drew; nothing where it does not acknowledge.
    pub follower: Option<String>,
    /// What its operator calls it.
    pub name: Option<String>,
    /// How it stands.
    pub status: PointStatus,
    /// The counter up to which it says that it has applied all.
    pub applied: Option<u64>,
    /// When it said so.
    #[schema(value_type = Option<String>)]
    pub applied_at: Option<Time>,
    /// From the request that revoked, or from its commit where the request was not sent to the node that it follows, to
    /// the acknowledgement, microseconds.
    pub microseconds: Option<u64>,
    /// Where it has not acknowledged: for how long it may accept what has ended at most, seconds,
    /// the smaller of its age bound and the longest life of a token.
    pub bound_seconds: Option<u64>,
}

/// How far a state has come.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Propagation {
    /// The counter that is asked about.
    pub rev: u64,
    /// Enforcement points that say they have applied it.
    pub acknowledged: u64,
    /// Those that follow and have not yet said so.
    pub waiting: u64,
    /// Those that follow and do not acknowledge.
    pub silent: u64,
    /// Those that left lately and may accept what they accepted until their bound is over.
    pub gone: u64,
    /// Those of nodes that are not heard from any more.
    pub unheard: u64,
    /// Nodes that have not yet told who follows them as of this counter.
    pub nodes_waiting: u64,
    /// Nodes that are not heard from any more.
    pub nodes_unheard: u64,
    /// Half of the acknowledgements came within, microseconds.
    pub microseconds_p50: Option<u64>,
    /// 99 of 100 came within.
    pub microseconds_p99: Option<u64>,
    /// All came within.
    pub microseconds_max: Option<u64>,
    /// For how long any of those that have not acknowledged may accept what has ended, seconds.
    pub bound_seconds: Option<u64>,
    /// The points, those that have not acknowledged first, then the slowest.
    pub points: Vec<PointView>,
    /// The active resources that nobody follows for, where they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfollowed: Option<Unfollowed>,
}

impl Propagation {
    /// Whether anybody is still to be waited for: a point that has not answered, or a node that has not
    /// told which points it has.
    pub fn is_waiting(&self) -> bool {
        self.waiting + self.nodes_waiting > 0
    }

    /// Whether every point of every node has acknowledged.
    pub fn is_complete(&self) -> bool {
        let others = self.silent + self.gone + self.unheard + self.nodes_unheard;
        self.acknowledged > 0 && !self.is_waiting() && others == 0
    }
}

/// Active resources that nobody follows for: what checks tokens there learns of what has ended by
/// introspection, or when the tokens expire.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Unfollowed {
    /// Their names.
    pub resources: Vec<String>,
    /// Whether there may be more.
    pub more: bool,
    /// The longest life of a token, seconds.
    pub bound_seconds: u64,
}

impl Unfollowed {
    /// As the registry knows them.
    pub fn of((resources, more): (Vec<ResourceName>, bool)) -> Self {
        let resources = resources.iter().map(ToString::to_string).collect();
        Self { resources, more, bound_seconds: u64::from(TOKEN_LIFETIME_MAX_SECONDS) }
    }
}
