//! `accredit permission`: what an agent may do at a resource.

use accredit_wire::authority::Permission;
use clap::{Args, Subcommand};
use http::Method;

use crate::args::{self, Body, Paging, Sort};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{self, Column};
use crate::request_path::RequestPath;

const COLUMNS: [Column; 3] = [
    Column::new("RESOURCE", "resource"),
    Column::new("ACTIONS", "actions"),
    Column::made("LIMITS", output::limits),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Permissions {
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
                      --action read\n  \
                      accredit permission set --agent planner --allow crm:read \
                      'crm:update(/customers/eu/*; amount<=100; currency in CHF,EUR)'\n\n\
                      Limits stand in parentheses behind an action, with semicolons between them: \
                      an object (a path, whose last segment may be *), arguments (name=value, \
                      name<=9, name>=1, name in 1..9, name in a,b, name starts a), and a time \
                      (from TIME, until TIME)."
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
    of: Of,
    /// The resource's id or name
    #[arg(long, value_name = "ID|NAME", required_unless_present = "allow", requires = "actions")]
    resource: Option<String>,
    /// All that it may do there from now on
    #[arg(long = "action", value_name = "ACTION", required_unless_present = "allow", num_args = 1..)]
    actions: Vec<String>,
    /// The same, at one resource, with limits
    #[arg(long, value_name = "RESOURCE:ACTION", num_args = 1.., value_parser = args::permission,
          conflicts_with_all = ["resource", "actions"])]
    allow: Vec<Permission>,
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

/// At which resource, and what there.
fn asked(
    resource: Option<String>,
    actions: Vec<String>,
    allow: &[Permission],
) -> Result<(String, Body), Failure> {
    let wrong = |detail: &str| {
        let hint = "write `--allow` with actions of one resource, or `--resource` and `--action`";
        Failure::usage("this permission cannot be set", detail, hint)
    };
    let Some(first) = allow.first() else {
        let resource = resource.ok_or_else(|| wrong("no resource is named"))?;
        return Ok((resource, Body::new().with("actions", actions)));
    };
    if allow.iter().any(|one| one.resource != first.resource) {
        return Err(wrong("it names two resources"));
    }
    let (mut plain, mut limited) = (Vec::new(), Vec::new());
    for one in allow {
        if one.limits.is_none() {
            plain.extend(one.actions.iter().map(ToString::to_string));
            continue;
        }
        // A permission without its resource, which stands in the path.
        let mut members = serde_json::to_value(one).unwrap_or_default();
        members.as_object_mut().map(|members| members.remove("resource"));
        limited.push(members);
    }
    let body = Body::new().with("actions", plain);
    let body = body.with_opt("limited", (!limited.is_empty()).then_some(limited));
    Ok((first.resource.to_string(), body))
}

/// Runs one of its verbs.
pub(crate) async fn run(permission: Permissions, cx: &Context) -> Result<(), Failure> {
    match permission.verb {
        Verb::Set(args) => {
            let across = args.across_environments.then_some(true);
            let (resource, body) = asked(args.resource, args.actions, &args.allow)?;
            let body = body.with_opt("across_environments", across).json();
            let path = args.of.path().segment(&resource);
            cx.out.object(&cx.api()?.call(Method::PUT, path, Some(body)).await?)
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
