//! `accredit edge`: nodes, which vouch for the processes of their machine.

mod invite;
mod kept;
mod run;

use clap::{Args, Subcommand};

use super::interruptible;
use crate::context::Context;
use crate::errors::Failure;

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Edge {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a join token, shown once: whoever shows it first becomes a node
    #[command(after_help = "Examples:\n  accredit edge invite --agent node --name host-7\n  \
                      accredit edge invite --agent node --expires-in 1h --node-expires-in 90d\n  \
                      accredit edge invite --agent node --output json | jq -r .join_token\n\n\
                      End one that was not used: accredit revoke crd_…; list them: accredit credential list.")]
    Invite(invite::Invite),
    /// Run a node's daemon: each process of this machine that a rule names gets its own instance
    Run(run::Run),
}

impl Edge {
    /// Whether it runs for long and does little.
    pub(crate) fn is_daemon(&self) -> bool {
        matches!(self.verb, Verb::Run(_))
    }
}

/// Runs one of its verbs.
pub(crate) async fn run(edge: Edge, cx: &Context) -> Result<(), Failure> {
    match edge.verb {
        Verb::Invite(args) => interruptible(invite::run(args, cx)).await,
        Verb::Run(args) => run::run(args, cx).await,
    }
}
