//! `accredit permission`: what an agent may do at a resource.

use clap::{Args, Subcommand};
use http::Method;

use crate::args::{Body, Paging, Sort};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
use crate::request_path::RequestPath;

const COLUMNS: [Column; 2] =
    [Column::new("RESOURCE", "resource"), Column::new("ACTIONS", "actions")];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Permission {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Set what an agent may do at a resource; replaces what it could do there
    #[command(
        visible_alias = "create",
        alias = "update",
        after_help = "Example:\n  accredit permission set --agent planner --resource crm \
                      --action read"
    )]
    Set(Set),
    /// Take everything at a resource from an agent
    #[command(after_help = "Example:\n  accredit permission delete --agent planner --resource crm")]
    Delete(At),
    /// List what an agent may do
    #[command(
        visible_aliases = ["ls", "get", "show"],
        after_help = "Example:\n  accredit permission list --agent planner"
    )]
    List(List),
}

#[derive(Debug, Args)]
struct Of {
    /// The agent's id or name
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    sort: Sort,
    #[command(flatten)]
    paging: Paging,
}

#[derive(Debug, Args)]
struct At {
    #[command(flatten)]
    of: Of,
    /// The resource's id or name
    #[arg(long, value_name = "ID|NAME")]
    resource: String,
}

#[derive(Debug, Args)]
struct Set {
    #[command(flatten)]
    at: At,
    /// All that it may do there from now on
    #[arg(long = "action", value_name = "ACTION", required = true, num_args = 1..)]
    actions: Vec<String>,
    /// Although agent and resource are in different environments
    #[arg(long)]
    across_environments: bool,
}

impl Of {
    fn path(&self) -> RequestPath {
        RequestPath::new("/v1/agents").segment(&self.agent).segment("permissions")
    }
}

impl At {
    fn path(&self) -> RequestPath {
        self.of.path().segment(&self.resource)
    }
}

/// Runs one of its verbs.
pub(crate) async fn run(permission: Permission, cx: &Context) -> Result<(), Failure> {
    match permission.verb {
        Verb::Set(args) => {
            let body = Body::new().with("actions", args.actions);
            let body =
                body.with_opt("across_environments", args.across_environments.then_some(true));
            let body = body.json();
            cx.out.object(&cx.api()?.call(Method::PUT, args.at.path(), Some(body)).await?)
        }
        Verb::Delete(at) => {
            let answer = cx.api()?.call(Method::DELETE, at.path(), None).await?;
            cx.out.say(&format!("`{}` may do nothing at `{}` any more", at.of.agent, at.resource));
            cx.out.object(&answer)
        }
        Verb::List(args) => {
            let path = args.sort.of(args.of.path());
            commands::list(path, args.paging, &COLUMNS, cx).await
        }
    }
}
