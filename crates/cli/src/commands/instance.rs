//! `accredit instance`: Instances, single running copies of an agent.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;

use crate::args::lists::{Expires, LastSeen};
use crate::args::{self, Body, StateList};
use crate::commands::{self, revocation};
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 6] = [
    Column::new("ID", "id"),
    Column::new("AGENT", "agent"),
    Column::new("NAME", "name"),
    Column::new("STATE", "state"),
    Column::new("EXPIRES", "expires_at"),
    Column::new("LAST SEEN", "last_seen_at"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Instance {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register a copy with a credential of its own, shown once
    #[command(after_help = "Example:\n  accredit instance create --agent planner --expires-in 24h")]
    Create(Create),
    /// List instances
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  accredit instance list --agent planner"
    )]
    List(List),
    /// Show one instance
    #[command(visible_alias = "show", after_help = "Example:\n  accredit instance get ins_…")]
    Get(One),
    /// End one instance; its siblings go on
    #[command(after_help = "Example:\n  accredit instance revoke ins_… --reason \"task done\"")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Create {
    /// The agent's id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// When it ends by itself, from now
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
}

#[derive(Debug, Args)]
struct List {
    /// Only of this agent, by id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: Option<String>,
    #[command(flatten)]
    expires: Expires,
    #[command(flatten)]
    last_seen: LastSeen,
    #[command(flatten)]
    among: StateList,
}

#[derive(Debug, Args)]
struct One {
    /// Its id
    id: String,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Its id
    id: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/instances")
}

/// Runs one of its verbs.
pub(crate) async fn run(instance: Instance, cx: &Context) -> Result<(), Failure> {
    match instance.verb {
        Verb::Create(args) => {
            let body = Body::new()
                .with("agent", args.agent)
                .with_opt("name", args.name)
                .with_opt("expires_in", args.expires_in.map(|expires| expires.as_secs()));
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body.json())).await?)
        }
        Verb::List(args) => {
            let path = all().query_opt("agent", args.agent.as_deref());
            let path = args.last_seen.of(args.expires.of(path));
            commands::list(args.among.of(path), args.among.paging, &COLUMNS, cx).await
        }
        Verb::Get(one) => commands::show(all().segment(&one.id), cx).await,
        Verb::Revoke(args) => {
            revocation::check_kind::<accredit_wire::ids::InstanceId>(&args.id)?;
            revocation::revoke(&args.id, &args.reason, cx).await
        }
    }
}
