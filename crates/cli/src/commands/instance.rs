//! `accredit instance`: Instances, single running copies of an agent.

use std::time::Duration;

use accredit_wire::authority::Permission;
use clap::{Args, Subcommand};
use http::Method;

use crate::args::lists::{Expires, LastSeen};
use crate::args::{self, Body, StateList};
use crate::commands::as_agent::{self, AsAgent};
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
    #[command(
        after_help = "Examples:\n  accredit instance create --agent planner --expires-in 24h\n  \
                      accredit instance create --agent worker --parent ins_… --task tsk_… --allow \
                      crm:read\n  accredit instance create --agent worker --client-id agt_… \
                      --secret-file secret --org dev \\\n    --task tsk_… --allow crm:read\n\n\
                      With a parent it has no more than --allow passes on to it, and ends with its \
                      parent\nand its task. With --client-id the agent that asks is the parent."
    )]
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
    /// Who stands before it: an instance, or an agent by id or name
    #[arg(long, value_name = "ID|NAME", requires = "allow", conflicts_with = "client_id")]
    parent: Option<String>,
    /// The parent's task that it works in; a parent that was born into one says which
    #[arg(long, value_name = "ID")]
    task: Option<String>,
    /// What the parent passes on to it: crm:read, 'crm:update(amount<=100)'
    #[arg(long, value_name = "RESOURCE:ACTION", num_args = 1.., value_parser = args::permission)]
    allow: Vec<Permission>,
    #[command(flatten)]
    by: AsAgent,
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
        Verb::Create(args) if args.by.client_id.is_some() => spawn(args, cx).await,
        Verb::Create(args) => {
            let body = Body::new()
                .with("agent", args.agent)
                .with_opt("name", args.name)
                .with_opt("parent", args.parent)
                .with_opt("task", args.task)
                .with_opt("allow", Some(args::texts(&args.allow)).filter(|allow| !allow.is_empty()))
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

/// Brings one into being as the agent that asks.
async fn spawn(args: Create, cx: &Context) -> Result<(), Failure> {
    let mut form = vec![("agent", args.agent)];
    form.extend(args.name.map(|name| ("name", name)));
    form.extend(args.task.map(|task| ("task", task)));
    form.extend(args.expires_in.map(|expires| ("expires_in", expires.as_secs().to_string())));
    form.extend(as_agent::asked(&args.allow)?);
    let client_id = args.by.client_id.clone().unwrap_or_default();
    cx.out.created(&args.by.post(&client_id, "instances", form, cx).await?)
}
