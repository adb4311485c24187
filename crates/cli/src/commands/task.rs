//! `accredit task`: Tasks, units of work that tokens are minted for and end with.

use std::path::PathBuf;
use std::time::Duration;

use accredit_wire::authority::Permission;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use crate::args::lists::Expires;
use crate::args::{self, Body, StateList};
use crate::commands;
use crate::commands::as_agent::{self, AsAgent};
use crate::commands::token::read_secret;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::{Answer, Column, Page};
use crate::request_path::RequestPath;

const COLUMNS: [Column; 5] = [
    Column::new("ID", "id"),
    Column::new("AGENT", "agent"),
    Column::new("PURPOSE", "purpose"),
    Column::new("STATE", "state"),
    Column::new("DEADLINE", "expires_at"),
];

/// The noun.
#[derive(Debug, Args)]
pub(crate) struct Task {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a task that an agent begins
    #[command(
        after_help = "Example:\n  accredit task create --agent planner --purpose \"plan the week\" \
                      --expires-in 8h\n  accredit task create --client-id agt_… --secret-file secret \
                      --purpose \"plan the week\" \\\n    --subject-token users-token --allow crm:read\n\n\
                      An agent makes its own with --client-id; with a user's token it holds what the \
                      user\ngrants, for `accredit token exchange --for-task`."
    )]
    Create(Create),
    /// List tasks
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  accredit task list --state active\n\n\
                      With --client-id an agent sees its own that are not over."
    )]
    List(List),
    /// Show one task
    #[command(visible_alias = "show", after_help = "Example:\n  accredit task get tsk_…")]
    Get(One),
    /// End a task, with every token that was minted for it or derived from one
    #[command(after_help = "Example:\n  accredit task end tsk_… --reason \"done\"")]
    End(End),
}

#[derive(Debug, Args)]
struct Create {
    /// The agent that begins it, by id or name
    #[arg(
        long,
        value_name = "ID|NAME",
        required_unless_present = "client_id",
        conflicts_with = "client_id"
    )]
    agent: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// Its deadline, from now (24h)
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    expires_in: Option<Duration>,
    /// A file with a user's token of a registered issuer: the task holds what is granted with it
    #[arg(long, value_name = "FILE", requires_all = ["client_id", "allow"])]
    subject_token: Option<PathBuf>,
    /// What the user's token is
    #[arg(long, value_name = "TYPE", default_value = "jwt", value_parser = ["jwt", "id_token"])]
    subject_token_type: String,
    /// What the user grants: crm:read, 'crm:update(amount<=100)'
    #[arg(long, value_name = "RESOURCE:ACTION", num_args = 1.., value_parser = args::permission,
          requires = "subject_token")]
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
    among: StateList,
    #[command(flatten)]
    by: AsAgent,
}

#[derive(Debug, Args)]
struct One {
    /// Its id
    id: String,
}

#[derive(Debug, Args)]
struct End {
    /// Its id
    id: String,
    /// Why; stands in the audit log
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    by: AsAgent,
}

fn all() -> RequestPath {
    RequestPath::new("/v1/tasks")
}

/// Runs one of its verbs.
pub(crate) async fn run(task: Task, cx: &Context) -> Result<(), Failure> {
    match task.verb {
        Verb::Create(args) if args.by.client_id.is_some() => create_own(args, cx).await,
        Verb::Create(args) => {
            let body = Body::new()
                .with_opt("agent", args.agent)
                .with("purpose", args.purpose)
                .with_opt("expires_in", args.expires_in.map(|expires| expires.as_secs()));
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body.json())).await?)
        }
        Verb::List(args) if args.by.client_id.is_some() => list_own(&args.by, cx).await,
        Verb::List(args) => {
            let path = all().query_opt("agent", args.agent.as_deref());
            let path = args.expires.of(path);
            commands::list(args.among.of(path), args.among.paging, &COLUMNS, cx).await
        }
        Verb::Get(one) => commands::show(all().segment(&one.id), cx).await,
        Verb::End(args) if args.by.client_id.is_some() => {
            let form = vec![("task", args.id), ("reason", args.reason)];
            cx.out.object(&own(&args.by, "tasks/end", form, cx).await?)
        }
        Verb::End(args) => {
            let path = all().segment(&args.id);
            commands::change_state(path, "end", Some(&args.reason), cx).await
        }
    }
}

/// Asks as the agent that is named.
async fn own(
    by: &AsAgent,
    endpoint: &str,
    form: Vec<(&str, String)>,
    cx: &Context,
) -> Result<Answer, Failure> {
    by.post(by.client_id.as_deref().unwrap_or_default(), endpoint, form, cx).await
}

async fn create_own(args: Create, cx: &Context) -> Result<(), Failure> {
    let mut form = vec![("purpose", args.purpose)];
    form.extend(args.expires_in.map(|expires| ("expires_in", expires.as_secs().to_string())));
    if let Some(file) = &args.subject_token {
        let kind = format!("urn:ietf:params:oauth:token-type:{}", args.subject_token_type);
        form.push(("subject_token", read_secret(Some(file)).await?.expose().to_owned()));
        form.push(("subject_token_type", kind));
        form.extend(as_agent::asked(&args.allow)?);
    }
    cx.out.created(&own(&args.by, "tasks", form, cx).await?)
}

/// A page after the other, until there is no next one.
async fn list_own(by: &AsAgent, cx: &Context) -> Result<(), Failure> {
    let (mut items, mut cursor) = (Vec::new(), None);
    loop {
        let form = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
        let page = own(by, "tasks/list", form, cx).await?.value;
        let found = page.get("items").and_then(Value::as_array);
        items.extend(found.into_iter().flatten().cloned());
        cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if cursor.is_none() || items.len() >= args::LIST_ITEMS_MAX as usize {
            return cx.out.list(&Page::of(items.into_iter()), &COLUMNS);
        }
    }
}
