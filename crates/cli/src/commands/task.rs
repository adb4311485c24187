//! `accredit task`: Tasks, units of work that tokens are minted for and end with.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;

use crate::args::lists::Expires;
use crate::args::{self, Body, StateList};
use crate::commands;
use crate::context::Context;
use crate::errors::Failure;
use crate::output::Column;
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
                      --expires-in 8h"
    )]
    Create(Create),
    /// List tasks
    #[command(visible_alias = "ls", after_help = "Example:\n  accredit task list --state active")]
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
    #[arg(long, value_name = "ID|NAME")]
    agent: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// Its deadline, from now (24h)
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
    among: StateList,
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
}

fn all() -> RequestPath {
    RequestPath::new("/v1/tasks")
}

/// Runs one of its verbs.
pub(crate) async fn run(task: Task, cx: &Context) -> Result<(), Failure> {
    match task.verb {
        Verb::Create(args) => {
            let body = Body::new()
                .with("agent", args.agent)
                .with("purpose", args.purpose)
                .with_opt("expires_in", args.expires_in.map(|expires| expires.as_secs()));
            cx.out.created(&cx.api()?.call(Method::POST, all(), Some(body.json())).await?)
        }
        Verb::List(args) => {
            let path = all().query_opt("agent", args.agent.as_deref());
            let path = args.expires.of(path);
            commands::list(args.among.of(path), args.among.paging, &COLUMNS, cx).await
        }
        Verb::Get(one) => commands::show(all().segment(&one.id), cx).await,
        Verb::End(args) => {
            let path = all().segment(&args.id);
            commands::change_state(path, "end", Some(&args.reason), cx).await
        }
    }
}
