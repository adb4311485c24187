//! DESIGN "each user's context is its own": whether a token that is good belongs to what the request
//! is part of: the user whose session it is, the unit of work, and how far from its root a chain may
//! have come.
//!
//! A token says for whom it was issued; only the resource server knows for whom it is about to act.
//! One instance serves many users at once, and a token of one that is used in the session of another
//! is how their data mix. So a token that speaks for a user is of use only where the request says
//! which user it is about, unless the resource waives that.

use super::{Principal, Rejection};
use crate::ids::{AnyId, PersonId, TaskId};
use crate::token::SubjectKind;

/// What a resource demands of chains and users, for all its requests. The default demands that a
/// request says which user it is about, where its token speaks for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// A person must be at the root of the chain.
    pub user_at_root: bool,
    /// The most hops from the root; nothing demands none, the issuer has its own bound.
    pub depth_max: Option<usize>,
    /// A token of a user is taken where the request does not say which user it is about. One that
    /// says so is held to it all the same.
    pub user_unsaid: bool,
}

/// What a request is part of, from the resource server's own session or route; never from the
/// token, nor from a header that the agent writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The user whose context it is.
    pub user: Option<PersonId>,
    /// The task whose context it is.
    pub task: Option<TaskId>,
}

impl Principal {
    /// Refuses where the token does not belong to this context or is not what is demanded. What the
    /// issuer asserts at top level is looked at alone (RFC 8693 section 4.1).
    pub fn fits(&self, demands: Demands, context: Context) -> Result<(), Rejection> {
        let token = self.token();
        let user = match token.kind {
            SubjectKind::User => Some(token.subject),
            SubjectKind::Agent => None,
        };
        if demands.user_at_root && user.is_none() {
            return Err(Rejection::NoUser);
        }
        if let Some(max) = demands.depth_max
            && token.depth() > max
        {
            return Err(Rejection::ChainTooDeep { depth: token.depth(), max });
        }
        match (user, context.user.map(AnyId::from)) {
            (None, _) => {}
            (Some(_), None) if demands.user_unsaid => {}
            (Some(_), None) => return Err(Rejection::UserUnsaid),
            (Some(user), Some(of)) if user == of => {}
            (Some(_), Some(_)) => return Err(Rejection::OtherUser),
        }
        if context.task.is_some() && token.task() != context.task {
            return Err(Rejection::OtherTask);
        }
        Ok(())
    }
}
