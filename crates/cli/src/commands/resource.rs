//! `accredit resource`: Resources, what is protected.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;

use crate::args::{self, Body, NameList, Named, NamedReason};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 5] = [
    Column::new("ID", "id"),
    Column::new("NAME", "name"),
    Column::new("STATE", "state"),
    Column::new("AUDIENCE", "audience"),
    Column::new("ACTIONS", "actions"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Resource {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Register a resource: an API, an MCP server, a database
    #[command(
        after_help = "Example:\n  accredit resource create crm --audience https://crm.example \
                      --action read --action write"
    )]
    Create(Create),
    /// List resources
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit resource list")]
    List(NameList),
    /// Show one resource
    #[command(visible_alias = "show", after_help = "Example:\n  accredit resource get crm")]
    Get(Named),
    /// Replace its actions, the agent that serves it, or the age up to which its verifiers trust
    /// revocations
    #[command(
        after_help = "Example:\n  accredit resource update crm --action read --revocations-age-max 30s"
    )]
    Update(Update),
    /// Suspend it: no token is issued for it, and those issued end
    #[command(after_help = "Example:\n  accredit resource suspend crm --reason \"under attack\"")]
    Suspend(NamedReason),
    /// Activate a suspended resource
    #[command(after_help = "Example:\n  accredit resource activate crm --reason \"repaired\"")]
    Activate(NamedReason),
}

#[derive(Debug, Args)]
struct Create {
    /// Its name: the first half of a scope, immutable and never used again
    name: String,
    /// The URI that its tokens are addressed to
    #[arg(long, value_name = "URI")]
    audience: String,
    /// What can be done at it; the second half of a scope
    #[arg(long = "action", value_name = "ACTION", required = true, num_args = 1..)]
    actions: Vec<String>,
    /// Where it runs (dev); agents of other environments do not reach it
    #[arg(long, value_name = "ENVIRONMENT", value_parser = ["dev", "staging", "prod"])]
    environment: Option<String>,
    /// The shortest age of revocations at which its verifiers are set to refuse (60s); heartbeats
    /// come at least three times within it
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    revocations_age_max: Option<Duration>,
    /// The agent that serves it, where it is one: that may exchange the tokens that are sent to it
    #[arg(long, value_name = "ID|NAME")]
    agent: Option<String>,
    /// There are tokens for it only that are bound to a key, by a DPoP proof in the request
    #[arg(long)]
    bound_only: bool,
    /// Its tokens name a status list, where a server that follows no feed reads that one was revoked
    #[arg(long)]
    status_list: bool,
}

#[derive(Debug, Args)]
struct Update {
    /// Its id or name
    #[arg(value_name = "ID|NAME")]
    name: String,
    /// All its actions from now on
    #[arg(long = "action", value_name = "ACTION", num_args = 1..)]
    actions: Option<Vec<String>>,
    /// The shortest age of revocations at which its verifiers are set to refuse; heartbeats come
    /// at least three times within it
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    revocations_age_max: Option<Duration>,
    /// The agent that serves it from now on; "" for none
    #[arg(long, value_name = "ID|NAME")]
    agent: Option<String>,
    /// Whether there are tokens for it only that are bound to a key; the live tokens for it end
    #[arg(long, value_name = "BOOL")]
    bound_only: Option<bool>,
    /// Whether tokens that are issued for it from now on name a status list
    #[arg(long, value_name = "BOOL")]
    status_list: Option<bool>,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/resources")
}

/// Runs one of its verbs.
pub(crate) async fn run(resource: Resource, cx: &Context) -> Result<(), Failure> {
    match resource.verb {
        Verb::Create(args) => {
            let body = Body::new()
                .with("name", args.name)
                .with("audience", args.audience)
                .with("actions", args.actions)
                .with_opt("environment", args.environment)
                .with_opt("revocations_age_max", args.revocations_age_max.map(|age| age.as_secs()))
                .with_opt("agent", args.agent)
                .with_opt("bound_only", args.bound_only.then_some(true))
                .with_opt("status_list", args.status_list.then_some(true));
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body.json())).await?)
        }
        Verb::List(args) => commands::list(args.of(all()), args.among.paging, &COLUMNS, cx).await,
        Verb::Get(resource) => commands::show(all().segment(&resource.name), cx).await,
        Verb::Update(args) => {
            let body = Body::new()
                .with_opt("actions", args.actions)
                .with_opt("revocations_age_max", args.revocations_age_max.map(|age| age.as_secs()))
                .with_opt("agent", args.agent)
                .with_opt("bound_only", args.bound_only)
                .with_opt("status_list", args.status_list)
                .changed(
                    "--action, --revocations-age-max, --agent, --bound-only and --status-list",
                )?;
            let path = all().segment(&args.name);
            cx.out.object(&cx.api()?.call(Method::PATCH, path, Some(body)).await?)
        }
        Verb::Suspend(resource) => {
            let path = all().segment(&resource.name);
            commands::change_state(path, "suspend", Some(&resource.reason), cx).await
        }
        Verb::Activate(resource) => {
            let path = all().segment(&resource.name);
            commands::change_state(path, "activate", Some(&resource.reason), cx).await
        }
    }
}
